//! Plans: made one by one or many at once, refused, replaced.

use serde_json::{Value, json};

use super::super::server::TestServer;
use super::step;
use crate::access::hash_secret;
use crate::domain::CourierId;

#[tokio::test]
async fn a_delivery_with_a_courier_and_a_link_is_assigned_and_shareable_at_once() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let made = server
        .delivery("d-1", json!({"courier_id": "c-1", "link": true}))
        .await
        .expect(201);
    assert_eq!(made.text("status"), "assigned");
    let token = made
        .text("tracking_url")
        .strip_prefix(&format!("{}/t/", server.url));
    let token = token.expect("a link on this installation");
    let link = server.directory.link(&hash_secret(token)).expect("known");
    assert_eq!(link.delivery_id.as_str(), "d-1");
    let read = server.get("/v1/deliveries/d-1").await.expect(200);
    assert_eq!(read.body.get("tracking_url"), None, "shown once");
    let answer = server
        .delivery("d-2", json!({"courier_id": "nobody"}))
        .await
        .expect(422);
    assert!(answer.text("detail").contains("nobody"), "{}", answer.body);
    assert_eq!(
        server.get("/v1/deliveries/d-2").await.status,
        404,
        "nothing was created"
    );
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_delivery_is_refused_and_changes_nothing() {
    let server = TestServer::start().await;
    let place = json!({"lat": 35.9, "lon": 14.5});
    let at = |lat: Value| json!({"lat": lat, "lon": 14.5});
    let window = |from: &str, to: &str| json!({"from": from, "to": to});
    for more in [
        json!({"pickup": {"label": "Bakery"}}),
        json!({"pickup": at(json!(90.1))}),
        json!({"pickup": at(json!("x"))}),
        json!({"pickup": at(Value::Null)}),
        json!({"dropoff": {"lat": 35.9, "lon": 200}}),
        json!({"pickup": null}),
        json!({"window": window("2026-11-22T11:00:00Z", "2026-11-22T10:00:00Z")}),
        json!({"window": window("yesterday", "2026-11-22T10:00:00Z")}),
        json!({"window": window("2026-11-22T09:00:00 Mars/Olympus", "2026-11-22T10:00:00Z")}),
        json!({"window": window("2026-11-22T10:00:00Z", "2036-11-22T10:00:00Z")}),
        json!({"note": "x".repeat(2001)}),
        json!({"sequence": 1.5}),
        json!({"sequence": 3_000_000_000_i64}),
        json!({"customer": {"name": "a\u{1}"}}),
        json!({"link": "yes"}),
    ] {
        let answer = server.delivery("d-1", more.clone()).await;
        assert_eq!(answer.status, 422, "{more}: {}", answer.body);
    }
    let answer = server
        .delivery("d-1", json!({"pickup": {"label": "Bakery"}}))
        .await;
    assert!(
        answer.text("detail").contains("geocoder.url"),
        "{}",
        answer.body
    );
    let other = json!({"id": "other", "pickup": place, "dropoff": place});
    server.put("/v1/deliveries/d-1", other).await.expect(422);
    assert_eq!(server.get("/v1/deliveries").await.body["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_plan_is_replaced_and_where_it_stands_stays() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let place = json!({"lat": 35.9, "lon": 14.5});
    let body = json!({"pickup": place, "dropoff": place, "note": "ring twice"});
    server
        .put("/v1/deliveries/d-1", body.clone())
        .await
        .expect(201);
    server
        .post("/v1/deliveries/d-1/assign", json!({"courier_id": "c-1"}))
        .await
        .expect(200);
    let moved = json!({"pickup": place, "dropoff": {"lat": 35.95, "lon": 14.4}});
    let put = server.put("/v1/deliveries/d-1", moved).await.expect(200);
    assert_eq!(
        (put.text("status"), put.text("courier_id")),
        ("assigned", "c-1")
    );
    assert_eq!(
        (&put.body["note"], &put.body["dropoff"]["lat"]),
        (&Value::Null, &json!(35.95))
    );
    step(&server, "d-1", "cancelled").await.expect(200);
    server.put("/v1/deliveries/d-1", body).await.expect(409);
    server.delete("/v1/deliveries/d-1").await.expect(204);
    server.get("/v1/deliveries/d-1").await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn many_deliveries_are_created_at_once_or_none() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let place = json!({"lat": 35.9, "lon": 14.5});
    let one = |n: usize| json!({"id": format!("d-{n}"), "pickup": place, "dropoff": place, "courier_id": "c-1"});
    let many = |count: usize| json!({"deliveries": (0..count).map(one).collect::<Vec<_>>()});
    let mut wrong = many(3);
    wrong["deliveries"][2]["id"] = json!("d-0");
    let refused = server.post("/v1/deliveries/bulk", wrong).await.expect(409);
    assert!(
        refused.text("detail").starts_with("deliveries[2]"),
        "{}",
        refused.body
    );
    assert_eq!(
        server.get("/v1/deliveries").await.body["items"],
        json!([]),
        "none"
    );
    server
        .post("/v1/deliveries/bulk", many(0))
        .await
        .expect(422);
    server
        .post("/v1/deliveries/bulk", many(1_001))
        .await
        .expect(422);
    let made = server
        .post("/v1/deliveries/bulk", many(200))
        .await
        .expect(201);
    assert_eq!(made.body["items"].as_array().expect("items").len(), 200);
    let courier = CourierId::try_from("c-1").expect("an id");
    assert_eq!(server.directory.run_of(&courier).len(), 200);
    server.stop().await;
}
