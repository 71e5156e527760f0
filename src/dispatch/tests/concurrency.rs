//! The same request twice, and two people at once.

use futures_util::future::join_all;
use reqwest::Method;
use serde_json::json;

use super::server::{ADMIN_KEY, TestServer};

#[tokio::test]
async fn the_same_idempotency_key_gets_the_same_answer() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let make = |path: &str, key: &str, bearer: &str, body| {
        let request = server.request(Method::POST, path, bearer);
        request.header("idempotency-key", key).json(&body)
    };
    let path = "/v1/couriers/c-1/devices";
    let first = server
        .send(make(path, "k-1", ADMIN_KEY, json!({})))
        .await
        .expect(201);
    let second = server
        .send(make(path, "k-1", ADMIN_KEY, json!({})))
        .await
        .expect(201);
    assert_eq!(first.body, second.body, "the token as well");
    assert_eq!(second.header("idempotent-replayed"), "true");
    assert_eq!(second.header("location"), first.header("location"));
    let other = make(path, "k-1", ADMIN_KEY, json!({"label": "other"}));
    let refused = server.send(other).await.expect(422);
    assert_eq!(refused.text("type"), "urn:waylog:idempotency_mismatch");

    // A key is its caller's and its route's own.
    let dispatcher = server.key("dispatcher").await;
    let theirs = server
        .send(make(path, "k-1", &dispatcher, json!({})))
        .await
        .expect(201);
    assert_ne!(theirs.body["token"], first.body["token"]);
    let courier = make("/v1/couriers", "k-1", ADMIN_KEY, json!({"id": "c-2"}));
    server.send(courier).await.expect(201);

    // The token is nowhere in the database in the clear.
    let token = first.text("token");
    let stored: Vec<Vec<u8>> = sqlx::query_scalar("select sealed from dispatch.idempotency")
        .fetch_all(&server.database.pool)
        .await
        .expect("read");
    assert!(
        stored
            .iter()
            .all(|s| !s.windows(token.len()).any(|w| w == token.as_bytes()))
    );

    // What was refused may be sent again.
    let early = |body| make("/v1/deliveries", "k-2", ADMIN_KEY, body);
    let body = json!({"id": "d-9", "courier_id": "c-9", "pickup": {"lat": 35.9, "lon": 14.5},
        "dropoff": {"lat": 35.9, "lon": 14.5}});
    server.send(early(body.clone())).await.expect(422);
    server
        .post("/v1/couriers", json!({"id": "c-9"}))
        .await
        .expect(201);
    server.send(early(body)).await.expect(201);
    server
        .send(make(path, "", ADMIN_KEY, json!({})))
        .await
        .expect(400);
    server.stop().await;
}

#[tokio::test]
async fn equal_requests_at_once_have_one_effect() {
    let server = TestServer::start().await;
    let requests = (0..8).map(|_| {
        let request = server.request(Method::POST, "/v1/api-keys", ADMIN_KEY);
        let request = request
            .header("idempotency-key", "k")
            .json(&json!({"role": "analyst"}));
        server.send(request)
    });
    let answers = join_all(requests).await;
    assert!(
        answers
            .iter()
            .all(|a| a.status == 201 && a.body == answers[0].body)
    );
    let list = server.get("/v1/api-keys").await.expect(200);
    assert_eq!(list.body["items"].as_array().expect("items").len(), 1);
    server.stop().await;
}

#[tokio::test]
async fn of_two_who_create_one_id_one_is_told() {
    let server = TestServer::start().await;
    let both = join_all((0..6).map(|_| server.post("/v1/couriers", json!({"id": "c"})))).await;
    let mut statuses: Vec<u16> = both.iter().map(|a| a.status).collect();
    statuses.sort_unstable();
    assert_eq!(statuses, [201, 409, 409, 409, 409, 409]);
    server.stop().await;
}

#[tokio::test]
async fn of_two_dispatchers_who_change_one_delivery_one_is_told() {
    let server = TestServer::start().await;
    for courier in ["c-1", "c-2", "c-3", "c-4"] {
        server
            .post("/v1/couriers", json!({"id": courier}))
            .await
            .expect(201);
    }
    server.delivery("d-1", json!({})).await.expect(201);
    let assign = |courier: &str| {
        let request = server.request(Method::POST, "/v1/deliveries/d-1/assign", ADMIN_KEY);
        request
            .header("if-match", "\"1\"")
            .json(&json!({"courier_id": courier}))
    };
    let answers = join_all(["c-1", "c-2", "c-3", "c-4"].map(|c| server.send(assign(c)))).await;
    let won: Vec<_> = answers.iter().filter(|a| a.status == 200).collect();
    assert_eq!(won.len(), 1);
    assert_eq!(answers.iter().filter(|a| a.status == 412).count(), 3);
    let read = server.get("/v1/deliveries/d-1").await.expect(200);
    assert_eq!(read.body["courier_id"], won[0].body["courier_id"]);

    let steps =
        (0..4).map(|_| server.post("/v1/deliveries/d-1/status", json!({"status": "picked_up"})));
    let taken = join_all(steps)
        .await
        .iter()
        .filter(|a| a.status == 200)
        .count();
    assert_eq!(taken, 1);
    let events: i64 = sqlx::query_scalar("select count(*) from event")
        .fetch_one(&server.database.pool)
        .await
        .expect("read");
    assert_eq!(events, 2, "assigned and picked_up, once each");
    let malformed = server.request(Method::POST, "/v1/deliveries/d-1/status", ADMIN_KEY);
    let malformed = malformed
        .header("if-match", "W/x")
        .json(&json!({"status": "arrived"}));
    server.send(malformed).await.expect(400);
    server.stop().await;
}

#[tokio::test]
async fn deliveries_given_at_once_get_places_of_their_own() {
    let server = TestServer::start().await;
    server
        .post("/v1/couriers", json!({"id": "c-1"}))
        .await
        .expect(201);
    let made = join_all((0..6).map(|n| {
        let id = format!("d-{n}");
        let server = &server;
        async move { server.delivery(&id, json!({"courier_id": "c-1"})).await }
    }));
    let mut places: Vec<i64> = made
        .await
        .into_iter()
        .map(|a| a.expect(201).body["sequence"].as_i64().expect("one"))
        .collect();
    places.sort_unstable();
    assert_eq!(places, [1, 2, 3, 4, 5, 6]);
    server.stop().await;
}
