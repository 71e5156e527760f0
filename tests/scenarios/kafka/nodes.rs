//! Nodes are killed, one role after the other, under load: no acknowledged fix is lost, none is in
//! Postgres twice, customers see on at another node, webhooks come at least once with the same id.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Instant;

use serde_json::json;
use sqlx::Connection;

use super::kit::{Installation, broker, long, wait_for_no_lag};
use super::phones::{Acknowledged, Fleet, empty_queues};
use super::watchers::Watchers;
use crate::support::eventually;
use crate::support::receiver::Receiver;
use crate::support::server::Setup;

#[tokio::test(flavor = "multi_thread")]
async fn kafka_nodes_that_are_killed_lose_and_double_nothing() {
    let Some(broker) = broker() else { return };
    let house = Installation::on(&broker, 1).await;
    let receiver = Receiver::start().await;
    let mut maps = [
        house.node("live-map,dispatch"),
        house.node("live-map,dispatch"),
    ];
    let mut ingests = [house.node("ingest"), house.node("ingest")];
    let mut sink = house.node("analytics");
    let mut rules = house.node("notifications");
    // The first node makes the topics and migrates; the others find both.
    let first = maps[0].start().await;
    let [_, second] = &mut maps;
    let (second, one, two) = {
        let [a, b] = &mut ingests;
        tokio::join!(second.start(), a.start(), b.start())
    };
    let (store, judge) = tokio::join!(sink.start(), rules.start());

    let hook = json!({"url": receiver.url, "events": ["delivery.*"]});
    judge.create("/v1/webhooks", hook).await;
    let (phones, links) = house.crew(&first, 8).await;
    let uploads = [one.url.clone(), two.url.clone()];
    let fleet = Fleet::start(phones, &uploads, Acknowledged::default());
    let customers = if long() { 1_000 } else { 40 };
    let pages = [first.url.clone(), second.url.clone()];
    let watchers = Watchers::start(&links, customers, &pages);
    eventually("every customer to see the courier", || async {
        (watchers.snapshots(0) >= customers as u64).then_some(())
    })
    .await;

    // An ingest node, while uploads are on their way to it.
    fleet.more(200).await;
    one.kill().await;
    fleet.more(200).await;
    let one = ingests[0].start().await;

    // An analytics node, after its rows were copied and before they are committed.
    let mut lock = sqlx::PgConnection::connect(&house.database.url)
        .await
        .expect("connects");
    let mut holding = lock.begin().await.expect("begun");
    sqlx::query("lock table analytics.mark in exclusive mode")
        .execute(&mut *holding)
        .await
        .expect("locked");
    eventually(
        "the sink to stand in the middle of its transaction",
        || async {
            let waiting = "select count(*) from pg_locks where not granted \
                       and relation = 'analytics.mark'::regclass";
            (house.database.number(waiting).await? > 0).then_some(())
        },
    )
    .await;
    store.kill().await;
    holding.rollback().await.expect("given back");
    let store = sink.start().await;

    // A live-map node with everybody's sockets.
    let killed_at = Instant::now();
    first.kill().await;
    eventually("every customer to see on at the other node", || async {
        (watchers.snapshots(1) >= customers as u64).then_some(())
    })
    .await;
    println!(
        "{customers} customers saw on after {:?}",
        killed_at.elapsed()
    );
    let before = watchers.messages();
    eventually("the courier to move on their pages", || async {
        (watchers.messages() > before + customers as u64).then_some(())
    })
    .await;

    // The node that judges and sends, while it has something to tell.
    judge.kill().await;
    for n in 0..4 {
        let path = format!("/v1/deliveries/d-{n}/status");
        second.create(&path, json!({"status": "delivered"})).await;
    }
    let judge = rules.start().await;

    fleet.more(200).await;
    let done = fleet.done.clone();
    let mut phones = fleet.stop().await;
    empty_queues(&mut phones, &uploads, &done).await;
    wait_for_no_lag(&second, "notifications").await;
    house.check(&second, &done).await;
    check_webhooks(&house, &receiver).await;
    for node in [second, one, two, store, judge] {
        assert!(node.stop().await, "a clean stop exits with 0");
    }
    house.database.drop_database().await;
}

/// Every event that the webhook wants has come, and one event always by the same id.
async fn check_webhooks(house: &Installation, receiver: &Receiver) {
    eventually("every event at the receiver", || async {
        // Those that are known too late for an alarm are recorded and not sent.
        let recorded = "select count(*) from public.event where type like 'delivery.%' \
                        and not coalesce((evidence ->> 'late')::boolean, false)";
        let recorded = house.database.number(recorded).await?.cast_unsigned();
        let events: BTreeSet<String> = receiver.ids().into_iter().map(|(_, event)| event).collect();
        (recorded > 0 && events.len() as u64 >= recorded).then_some(())
    })
    .await;
    let mut by_event: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    for (id, event) in receiver.ids() {
        by_event.entry(event).or_default().insert(id);
    }
    let twice = by_event.iter().find(|(_, ids)| ids.len() > 1);
    assert_eq!(twice, None, "an event came by two ids");
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_ingest_nodes_take_a_re_sent_upload_and_postgres_keeps_one() {
    let Some(broker) = broker() else { return };
    let house = Installation::on(&broker, 1).await;
    let mut all: Setup = house.node("ingest,analytics,dispatch");
    let mut other = house.node("ingest");
    let first = all.start().await;
    let second = other.start().await;
    let token = first.courier_with_phone("c-1").await;
    let fixes = json!([{"fix_time": crate::support::now_ms(), "lat": 35.9, "lon": 14.5}]);
    for node in [&first, &second, &first] {
        let (status, answer) = node.post_fixes(&token, fixes.clone()).await;
        assert_eq!(status, 200, "{answer}");
    }
    wait_for_no_lag(&first, "analytics").await;
    assert_eq!(
        house.database.number("select count(*) from fix").await,
        Some(1)
    );
    assert!(first.stop().await && second.stop().await);
    house.database.drop_database().await;
}
