//! What goes wrong with Kafka is told by the program itself: a clear error with the setting's name,
//! or quarantine, and never a loop of crashes without a reason.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::producer::{BaseProducer, BaseRecord, Producer};
use reqwest::Method;
use serde_json::json;

use super::kit::{Installation, broker, wait_for_no_lag};
use crate::support::{eventually, now_ms};

async fn refusal(setup: &crate::support::server::Setup) -> String {
    let ended = { setup.command(&["serve"]) }
        .output()
        .await
        .expect("it runs");
    assert!(!ended.status.success());
    String::from_utf8_lossy(&ended.stderr).into_owned()
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_settings_that_cannot_work_end_the_start_with_their_name() {
    let Some(broker) = broker() else { return };
    let house = Installation::on(&broker, 1).await;
    let server = house.node("dispatch").start().await;
    assert!(server.stop().await);
    let other_count = house
        .node("dispatch")
        .set("WAYLOG__STREAM__PARTITIONS", "24");
    let said = refusal(&other_count).await;
    assert!(said.contains("set stream.partitions to 12"), "{said}");
    let promise = house
        .node("dispatch")
        .set("WAYLOG__STREAM__KAFKA__PROPERTIES__ACKS", "1");
    let said = refusal(&promise).await;
    assert!(said.contains("must not hold acks"), "{said}");
    let too_many = house
        .node("dispatch")
        .set("WAYLOG__STREAM__KAFKA__TOPIC_PREFIX", "other.");
    let too_many = too_many.set("WAYLOG__STREAM__KAFKA__REPLICATION_FACTOR", "3");
    let said = refusal(&too_many).await;
    assert!(said.contains("stream.kafka.replication_factor"), "{said}");
    house.database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kafka_records_of_others_and_clocks_that_disagree_hold_up_nothing() {
    let Some(broker) = broker() else { return };
    let house = Installation::on(&broker, 1).await;
    let server = house
        .node("ingest,live-map,analytics,dispatch")
        .start()
        .await;
    let token = server.courier_with_phone("c-1").await;
    let foreign: BaseProducer = ClientConfig::new()
        .set("bootstrap.servers", &broker)
        .create()
        .expect("a producer");
    let topic = house.topic();
    for partition in 0..12 {
        // Another program's record, from a machine whose clock is an hour ahead.
        let record = BaseRecord::<(), [u8]>::to(&topic)
            .partition(partition)
            .payload(&b"not a fix batch"[..])
            .timestamp(now_ms() + 3_600_000);
        foreign
            .send(record)
            .map_err(|(error, _)| error)
            .expect("sent");
    }
    foreign.flush(Duration::from_secs(30)).expect("delivered");
    let fix = json!({"fix_time": now_ms(), "lat": 35.9, "lon": 14.5});
    let (status, answer) = server.post_fixes(&token, fix).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    wait_for_no_lag(&server, "analytics").await;
    assert_eq!(
        house.database.number("select count(*) from fix").await,
        Some(1)
    );
    let path = "/v1/stream/delivery-location.quarantine/records?from=earliest&limit=100";
    let (_, quarantine) = server.admin(Method::GET, path, None).await;
    let kept = quarantine["items"].as_array().map_or(0, Vec::len);
    assert_eq!(kept, 12, "{quarantine}");
    eventually("the clocks' difference to be told", || async {
        let metrics = server
            .http
            .get(format!("{}/metrics", server.url))
            .send()
            .await
            .ok()?;
        let metrics = metrics.text().await.ok()?;
        let line = metrics
            .lines()
            .find(|l| l.starts_with("waylog_log_clock_ahead_seconds "))?;
        let seconds: f64 = line.rsplit(' ').next()?.parse().ok()?;
        (seconds > 3_000.0).then_some(())
    })
    .await;
    assert!(server.stop().await);
    house.database.drop_database().await;
}
