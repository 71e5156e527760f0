//! Whose a delivery is, and where it stands in a courier's run.

use reqwest::Method;
use serde_json::json;

use super::super::server::{ADMIN_KEY, TestServer};
use super::{events, step};
use crate::domain::CourierId;

#[tokio::test]
async fn a_run_has_an_order_that_can_be_changed() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    for id in ["a", "b", "c"] {
        server
            .delivery(id, json!({"courier_id": "c-1"}))
            .await
            .expect(201);
    }
    let courier = CourierId::try_from("c-1").expect("an id");
    let run = || {
        let run = server.directory.run_of(&courier);
        run.iter()
            .map(|d| d.id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        run(),
        ["a", "b", "c"],
        "in the order in which they were given"
    );
    server
        .put(
            "/v1/couriers/c-1/run",
            json!({"deliveries": ["c", "a", "b"]}),
        )
        .await
        .expect(200);
    assert_eq!(run(), ["c", "a", "b"]);
    for bad in [
        json!(["c", "a"]),
        json!(["c", "a", "a"]),
        json!(["c", "a", "x"]),
    ] {
        server
            .put("/v1/couriers/c-1/run", json!({"deliveries": bad}))
            .await
            .expect(409);
    }
    assert_eq!(run(), ["c", "a", "b"], "nothing changed");
    let body = json!({"courier_id": "c-1", "sequence": 0});
    server
        .post("/v1/deliveries/b/assign", body)
        .await
        .expect(200);
    assert_eq!(run(), ["b", "c", "a"]);
    step(&server, "c", "picked_up").await.expect(200);
    step(&server, "c", "delivered").await.expect(200);
    assert_eq!(run(), ["b", "a"]);
    let stop = server
        .directory
        .run(&courier)
        .previous
        .expect("where he was last");
    assert!((stop.position.lat() - 35.9122).abs() < 1e-6);
    server.stop().await;
}

#[tokio::test]
async fn a_delivery_is_not_taken_from_another_courier_by_accident() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    server.courier("c-2").await;
    server
        .delivery("d-1", json!({"courier_id": "c-1"}))
        .await
        .expect(201);
    let path = "/v1/deliveries/d-1/assign";
    let refused = server
        .post(path, json!({"courier_id": "c-2"}))
        .await
        .expect(409);
    assert_eq!(refused.text("type"), "urn:waylog:already_assigned");
    server
        .post(path, json!({"courier_id": "c-1"}))
        .await
        .expect(200);
    let tag = server
        .get("/v1/deliveries/d-1")
        .await
        .header("etag")
        .to_owned();
    let assign = |tag: &str| {
        let request = server.request(Method::POST, path, ADMIN_KEY);
        request
            .header("if-match", tag)
            .json(&json!({"courier_id": "c-2"}))
    };
    server.send(assign("\"99\"")).await.expect(412);
    let taken = server.send(assign(&tag)).await.expect(200);
    assert_eq!(taken.text("courier_id"), "c-2");
    assert_eq!(
        events(&server, "d-1").await,
        ["delivery.assigned", "delivery.assigned"]
    );
    step(&server, "d-1", "picked_up").await.expect(200);
    let tag = server
        .get("/v1/deliveries/d-1")
        .await
        .header("etag")
        .to_owned();
    let back = server.request(Method::POST, path, ADMIN_KEY);
    let back = back
        .header("if-match", tag)
        .json(&json!({"courier_id": "c-1"}));
    server.send(back).await.expect(409);
    server.stop().await;
}
