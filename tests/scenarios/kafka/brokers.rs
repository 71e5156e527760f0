//! Brokers are killed, paused and restarted; three of them, three replicas. A long form: the brokers
//! alone take a minute to start.

use std::time::Duration;

use rustix::process::Signal;

use super::kit::{Brokers, Installation, broker, long, wait_for_no_lag};
use super::phones::{Acknowledged, Fleet, empty_queues};

/// How long a broker is paused: as long as a bad garbage collection or a machine that is moved.
const PAUSE: Duration = Duration::from_secs(30);

#[tokio::test(flavor = "multi_thread")]
async fn kafka_brokers_that_die_or_stand_still_cost_no_acknowledged_fix() {
    if broker().is_none() || !long() {
        return;
    }
    let brokers = tokio::task::spawn_blocking(|| Brokers::start(3))
        .await
        .expect("started");
    let house = Installation::on(&brokers.addresses(), 3).await;
    let mut fronts = [
        house.node("ingest,live-map,dispatch"),
        house.node("ingest,live-map,dispatch"),
    ];
    let mut sinks = [
        house.node("analytics,notifications"),
        house.node("analytics,notifications"),
    ];
    let mut nodes = Vec::new();
    for setup in fronts.iter_mut().chain(&mut sinks) {
        nodes.push(setup.start().await);
    }
    let (phones, _) = house.crew(&nodes[0], 12).await;
    let urls = [nodes[0].url.clone(), nodes[1].url.clone()];
    let fleet = Fleet::start(phones, &urls, Acknowledged::default());
    fleet.more(1_000).await;

    brokers.signal(2, Signal::KILL);
    fleet.more(1_000).await;
    brokers.gone(2).await;
    let brokers = again(brokers).await;
    fleet.more(1_000).await;

    brokers.signal(3, Signal::STOP);
    tokio::time::sleep(PAUSE).await;
    brokers.signal(3, Signal::CONT);
    fleet.more(1_000).await;

    // A rolling restart of everything, one after the other.
    let mut brokers = brokers;
    for number in 1..=3 {
        brokers.signal(number, Signal::TERM);
        fleet.more(200).await;
        brokers.gone(number).await;
        brokers = again(brokers).await;
        fleet.more(200).await;
    }
    let mut restarted = Vec::new();
    for (setup, node) in fronts.iter_mut().chain(&mut sinks).zip(nodes) {
        assert!(node.stop().await, "a clean stop exits with 0");
        restarted.push(setup.start().await);
        fleet.more(200).await;
    }
    let done = fleet.done.clone();
    let mut phones = fleet.stop().await;
    empty_queues(&mut phones, &urls, &done).await;
    for group in ["analytics", "notifications"] {
        wait_for_no_lag(&restarted[0], group).await;
    }
    house.check(&restarted[0], &done).await;
    for node in restarted {
        assert!(node.stop().await, "a clean stop exits with 0");
    }
    house.database.drop_database().await;
}

/// Starts the brokers that do not run.
async fn again(brokers: Brokers) -> Brokers {
    let started = tokio::task::spawn_blocking(move || {
        brokers.start_again();
        brokers
    });
    started.await.expect("started")
}
