//! A running installation moves from the embedded log to Kafka as the README says: ingest stops,
//! the groups read to the end, the backend is switched; phones keep what they have meanwhile.

use super::kit::{Installation, broker, wait_for_no_lag};
use super::phones::{Acknowledged, Fleet, empty_queues};
use crate::support::server::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn kafka_takes_over_from_the_embedded_log_and_nothing_is_lost() {
    let Some(broker) = broker() else { return };
    let house = Installation::on(&broker, 1).await;
    let mut setup = Setup::new(Some(&house.database.url));
    let server = setup.start().await;
    let (phones, _) = house.crew(&server, 8).await;
    let nodes = [server.url.clone()];
    let fleet = Fleet::start(phones, &nodes, Acknowledged::default());
    fleet.more(500).await;

    // Phones go on posting, and are not answered from here on.
    assert!(server.stop().await);
    setup.roles = Some("live-map,analytics,notifications,dispatch".to_owned());
    let mut uploads_off = Setup::new(Some(&house.database.url));
    std::mem::swap(&mut uploads_off.data, &mut setup.data);
    uploads_off.roles = setup.roles.take();
    let draining = uploads_off.start().await;
    for group in ["analytics", "notifications"] {
        wait_for_no_lag(&draining, group).await;
    }
    assert!(draining.stop().await);
    std::mem::swap(&mut uploads_off.data, &mut setup.data);

    let mut setup = house.with_kafka(setup);
    let server = setup.start().await;
    fleet.more(500).await;
    let done = fleet.done.clone();
    let mut phones = fleet.stop().await;
    empty_queues(&mut phones, &nodes, &done).await;
    wait_for_no_lag(&server, "analytics").await;
    let done = done.lock().expect("no panic").clone();
    house.wait_for_rows(&done).await;
    println!(
        "{} acknowledged over both logs, each in Postgres once",
        done.len()
    );
    assert!(server.stop().await);
    house.database.drop_database().await;
}
