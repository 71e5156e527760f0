//! Couriers, devices, geofences: what can be made, found, changed and removed.

use reqwest::Method;
use serde_json::json;

use super::server::{ADMIN_KEY, TestServer};
use crate::access::hash_secret;
use crate::domain::CourierId;

#[tokio::test]
async fn a_courier_is_created_read_changed_and_deleted() {
    let server = TestServer::start().await;
    let body = json!({"id": "c-17", "name": "Ann", "phone": "+356 1", "vehicle": "bike",
        "tags": ["fast", "north", "fast"]});
    let made = server.post("/v1/couriers", body).await.expect(201);
    assert_eq!(made.header("location"), "/v1/couriers/c-17");
    assert_eq!(made.body["tags"], json!(["fast", "north"]));
    let id = CourierId::try_from("c-17").expect("an id");
    let known = server
        .directory
        .courier(&id)
        .expect("in the Directory before the answer");
    assert_eq!(known.name.as_deref(), Some("Ann"));

    assert_eq!(
        server
            .post("/v1/couriers", json!({"id": "c-17"}))
            .await
            .expect(409)
            .body["status"],
        409
    );
    let read = server.get("/v1/couriers/c-17").await.expect(200);
    assert_eq!(
        (read.header("etag"), read.text("phone")),
        ("\"1\"", "+356 1")
    );

    let patch = |body| {
        server
            .request(Method::PATCH, "/v1/couriers/c-17", ADMIN_KEY)
            .json(&body)
    };
    let patched = server
        .send(patch(json!({"phone": null, "on_duty": false})))
        .await
        .expect(200);
    assert_eq!(patched.body["phone"], json!(null));
    assert_eq!(patched.text("name"), "Ann", "what is not named stays");
    assert!(!server.directory.courier(&id).expect("known").on_duty);
    let stale = patch(json!({"name": "Bea"})).header("if-match", "\"1\"");
    server.send(stale).await.expect(412);
    let replaced = server
        .put("/v1/couriers/c-17", json!({"name": "Cee"}))
        .await
        .expect(200);
    assert_eq!(
        (replaced.text("name"), &replaced.body["tags"]),
        ("Cee", &json!([]))
    );
    server.put("/v1/couriers/c-18", json!({})).await.expect(201);

    server.delete("/v1/couriers/c-17").await.expect(204);
    assert!(server.directory.courier(&id).is_none());
    server.get("/v1/couriers/c-17").await.expect(404);
    server.delete("/v1/couriers/c-17").await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn couriers_are_listed_in_pages_and_found() {
    let server = TestServer::start().await;
    for n in 0..7 {
        let body = json!({"id": format!("c-{n}"), "name": format!("100% {n}"),
            "tags": if n % 2 == 0 { vec!["even"] } else { vec![] }});
        server.post("/v1/couriers", body).await.expect(201);
    }
    let mut ids = Vec::new();
    let mut path = "/v1/couriers?limit=3".to_owned();
    loop {
        let page = server.get(&path).await.expect(200);
        let items = page.body["items"].as_array().expect("items").clone();
        ids.extend(
            items
                .iter()
                .map(|c| c["id"].as_str().expect("an id").to_owned()),
        );
        let Some(cursor) = page.body["next_cursor"].as_str() else {
            break;
        };
        path = format!("/v1/couriers?limit=3&cursor={cursor}");
    }
    assert_eq!(ids, ["c-0", "c-1", "c-2", "c-3", "c-4", "c-5", "c-6"]);
    let count = async |query: &str| {
        let page = server
            .get(&format!("/v1/couriers?{query}"))
            .await
            .expect(200);
        page.body["items"].as_array().expect("items").len()
    };
    assert_eq!(count("tag=even").await, 4);
    assert_eq!(count("q=100%25%205").await, 1);
    assert_eq!(count("q=1_0").await, 0, "wildcards mean themselves");
    assert_eq!(count("on_duty=false").await, 0);
    for bad in ["limit=0", "limit=x", "cursor=!", "vehicle=plane"] {
        server.get(&format!("/v1/couriers?{bad}")).await.expect(422);
    }
    server.stop().await;
}

#[tokio::test]
async fn bad_ids_and_texts_are_refused_and_change_nothing() {
    let server = TestServer::start().await;
    let long = "x".repeat(201);
    for body in [
        json!({}),
        json!({"id": ""}),
        json!({"id": "a b"}),
        json!({"id": "c\u{0430}"}),
        json!({"id": "a/../b"}),
        json!({"id": "a\r\nSet-Cookie: x=y"}),
        json!({"id": "x".repeat(65)}),
        json!({"id": 17}),
        json!({"id": "c", "name": ""}),
        json!({"id": "c", "name": long}),
        json!({"id": "c", "name": "a\u{0}b"}),
        json!({"id": "c", "name": "a\u{202e}b"}),
        json!({"id": "c", "vehicle": "plane"}),
        json!({"id": "c", "tags": ["x".repeat(41)]}),
        json!({"id": "c", "tags": (0..21).map(|n| n.to_string()).collect::<Vec<_>>()}),
        json!([]),
    ] {
        let answer = server.post("/v1/couriers", body.clone()).await;
        assert_eq!(answer.status, 422, "{body}: {}", answer.body);
        assert!(
            answer
                .header("content-type")
                .starts_with("application/problem+json")
        );
    }
    for path in [
        "/v1/couriers/a%20b",
        "/v1/couriers/..%2f..%2fetc",
        "/v1/couriers/%00",
    ] {
        server.get(path).await.expect(404);
    }
    let raw = |body: &'static str, kind: &str| {
        let request = server.request(Method::POST, "/v1/couriers", ADMIN_KEY);
        request.header("content-type", kind).body(body)
    };
    server
        .send(raw("{\"id\":", "application/json"))
        .await
        .expect(400);
    server
        .send(raw("id=c", "application/x-www-form-urlencoded"))
        .await
        .expect(415);
    let large = format!("{{\"id\":\"c\",\"name\":\"{}\"}}", "x".repeat(300_000));
    let large = server
        .request(Method::POST, "/v1/couriers", ADMIN_KEY)
        .header("content-type", "application/json")
        .body(large);
    server.send(large).await.expect(413);
    let page = server.get("/v1/couriers").await.expect(200);
    assert_eq!(page.body["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_phones_token_is_shown_once_and_revoked_at_once() {
    let server = TestServer::start().await;
    let token = server.courier("c-1").await;
    assert!(server.directory.device(&hash_secret(&token)).is_some());
    let list = server.get("/v1/couriers/c-1/devices").await.expect(200);
    let device = &list.body["items"][0];
    assert!(!list.body.to_string().contains(&token), "shown once");
    assert!(token.starts_with(device["prefix"].as_str().expect("a prefix")));
    server
        .post("/v1/couriers/nobody/devices", json!({}))
        .await
        .expect(404);
    server.get("/v1/couriers/nobody/devices").await.expect(404);
    server
        .post("/v1/couriers/c-1/devices", json!({"speed_unit": "mph"}))
        .await
        .expect(422);

    let mine = server.request(Method::GET, "/v1/me/deliveries", &token);
    server.send(mine).await.expect(200);
    let path = format!(
        "/v1/couriers/c-1/devices/{}",
        device["id"].as_str().expect("an id")
    );
    server.delete(&path).await.expect(204);
    let mine = server.request(Method::GET, "/v1/me/deliveries", &token);
    server.send(mine).await.expect(401);
    server.delete(&path).await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn a_courier_with_open_deliveries_is_not_deleted() {
    let server = TestServer::start().await;
    let token = server.courier("c-1").await;
    server
        .delivery("d-1", json!({"courier_id": "c-1"}))
        .await
        .expect(201);
    server.delete("/v1/couriers/c-1").await.expect(409);
    server
        .post("/v1/deliveries/d-1/status", json!({"status": "cancelled"}))
        .await
        .expect(200);
    server.delete("/v1/couriers/c-1").await.expect(204);
    assert!(
        server.directory.device(&hash_secret(&token)).is_none(),
        "the phone goes with him"
    );
    server.stop().await;
}

#[tokio::test]
async fn geofences_are_kept_as_given() {
    let server = TestServer::start().await;
    let circle = json!({"id": "depot", "name": "Depot",
        "circle": {"lat": 35.9, "lon": 14.5, "radius_m": 80.0}});
    let made = server.post("/v1/geofences", circle).await.expect(201);
    assert_eq!(made.body["events"], json!(["enter", "exit"]));
    let ring = json!([[14.5, 35.9], [14.6, 35.9], [14.6, 36.0], [14.5, 35.9]]);
    let polygon = json!({"name": "Centre", "polygon": {"type": "Polygon", "coordinates": [ring]},
        "dwell_s": 60, "events": ["dwell", "cross"]});
    let put = server
        .put("/v1/geofences/centre", polygon.clone())
        .await
        .expect(201);
    assert_eq!(put.body["polygon"], polygon["polygon"]);
    assert_eq!(server.directory.geofences().len(), 2);
    for bad in [
        json!({"id": "x", "name": "X"}),
        json!({"id": "x", "name": "X", "circle": {"lat": 35.9, "lon": 14.5, "radius_m": 0}}),
        json!({"id": "x", "name": "X", "circle": {"lat": 200, "lon": 14.5, "radius_m": 5}}),
        json!({"id": "x", "name": "X", "circle": {"lat": 35.9, "lon": 14.5, "radius_m": 5},
            "events": ["dwell"]}),
        json!({"id": "x", "name": "X", "circle": {"lat": 35.9, "lon": 14.5, "radius_m": 5},
            "events": []}),
        json!({"id": "x", "name": "X", "polygon": {"type": "Point", "coordinates": []}}),
    ] {
        let answer = server.post("/v1/geofences", bad.clone()).await;
        assert_eq!(answer.status, 422, "{bad}");
    }
    server.delete("/v1/geofences/depot").await.expect(204);
    assert_eq!(server.directory.geofences().len(), 1);
    server.stop().await;
}
