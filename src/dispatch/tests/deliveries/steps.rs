//! The steps of a delivery, as a dispatcher and as its courier take them.

use reqwest::Method;
use serde_json::{Value, json};

use super::super::server::TestServer;
use super::{events, step};
use crate::clock::Clock;
use crate::domain::{CourierId, DeliveryId, DeliveryStatus, UnixMs};

#[tokio::test]
async fn a_delivery_goes_its_way_and_each_step_is_an_event() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let made = server
        .delivery("d-1", json!({"reference": "A-7", "tags": ["cold"]}))
        .await;
    let made = made.expect(201);
    assert_eq!(
        (made.text("status"), made.header("etag")),
        ("created", "\"1\"")
    );
    assert_eq!(made.body["courier_id"], Value::Null);
    step(&server, "d-1", "picked_up").await.expect(409);
    let assigned = server
        .post("/v1/deliveries/d-1/assign", json!({"courier_id": "c-1"}))
        .await
        .expect(200);
    assert_eq!(
        (assigned.text("status"), assigned.text("courier_id")),
        ("assigned", "c-1")
    );
    for status in ["picked_up", "arrived", "delivered"] {
        let answer = step(&server, "d-1", status).await.expect(200);
        assert_eq!(answer.text("status"), status);
        let id = DeliveryId::try_from("d-1").expect("an id");
        let held = server
            .directory
            .delivery(&id)
            .expect("in the Directory before the answer");
        assert_eq!(held.status.as_str(), status);
    }
    for status in [
        "created",
        "assigned",
        "picked_up",
        "delivered",
        "failed",
        "cancelled",
    ] {
        let refused = step(&server, "d-1", status).await.expect(409);
        assert_eq!(refused.text("type"), "urn:waylog:wrong_step");
    }
    step(&server, "d-1", "lost").await.expect(422);
    let read = server.get("/v1/deliveries/d-1").await.expect(200);
    let timeline: Vec<&str> = read.body["timeline"]
        .as_array()
        .expect("a timeline")
        .iter()
        .map(|entry| entry["status"].as_str().expect("a status"))
        .collect();
    assert_eq!(
        timeline,
        ["created", "assigned", "picked_up", "arrived", "delivered"]
    );
    let expected = [
        "delivery.assigned",
        "delivery.picked_up",
        "delivery.arrived",
        "delivery.delivered",
    ];
    assert_eq!(events(&server, "d-1").await, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_courier_sees_his_own_stops_and_moves_them_on() {
    let server = TestServer::start().await;
    let (mine, theirs) = (server.courier("c-1").await, server.courier("c-2").await);
    let more = json!({"courier_id": "c-1", "note": "ring", "customer": {"phone": "+356 2"}});
    server.delivery("d-1", more).await.expect(201);
    let get = |token: &str| server.request(Method::GET, "/v1/me/deliveries", token);
    let run = server.send(get(&mine)).await.expect(200);
    assert_eq!(run.body["courier"]["id"], "c-1");
    assert_eq!(run.body["items"][0]["customer"]["phone"], "+356 2");
    assert_eq!(
        server.send(get(&theirs)).await.expect(200).body["items"],
        json!([])
    );

    let take = |token: &str, body: Value| {
        server
            .request(Method::POST, "/v1/me/deliveries/d-1/status", token)
            .json(&body)
    };
    server
        .send(take(&theirs, json!({"status": "picked_up"})))
        .await
        .expect(404);
    server.clock.advance(60_000);
    let at = UnixMs(server.clock.now_ms() - 30_000);
    let body = json!({"status": "picked_up", "at": at});
    let taken = server.send(take(&mine, body.clone())).await.expect(200);
    let timeline = taken.body["timeline"].as_array().expect("a timeline");
    assert_eq!(
        timeline.last().expect("a step")["at"],
        at.to_string(),
        "the phone's own time"
    );
    let again = server.send(take(&mine, body)).await.expect(200);
    assert_eq!(
        again.body["timeline"].as_array().expect("a timeline").len(),
        timeline.len()
    );
    let future = UnixMs(server.clock.now_ms() + 3_600_000);
    let failed = json!({"status": "failed", "at": future, "reason": "nobody home"});
    let failed = server.send(take(&mine, failed)).await.expect(200);
    let last = failed.body["timeline"]
        .as_array()
        .and_then(|t| t.last())
        .expect("a step");
    assert_eq!(
        last["at"],
        UnixMs(server.clock.now_ms()).to_string(),
        "not in the future"
    );
    let reason: Value = sqlx::query_scalar(
        "select evidence from event where type = 'delivery.failed' and delivery_id = 'd-1'",
    )
    .fetch_one(&server.database.pool)
    .await
    .expect("read");
    assert_eq!(reason, json!({"by": "courier", "reason": "nobody home"}));
    server
        .send(take(&mine, json!({"status": "delivered"})))
        .await
        .expect(409);
    assert_eq!(
        DeliveryStatus::parse("failed"),
        Some(DeliveryStatus::Failed)
    );

    let duty = server.request(Method::POST, "/v1/me/duty", &mine);
    server
        .send(duty.json(&json!({"on_duty": false})))
        .await
        .expect(200);
    let courier = CourierId::try_from("c-1").expect("an id");
    assert!(!server.directory.courier(&courier).expect("known").on_duty);
    server.stop().await;
}
