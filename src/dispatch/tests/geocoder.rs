//! Addresses become places, where somebody is configured who knows them.

use std::collections::HashMap;
use std::time::Duration;

use axum::extract::Query;
use axum::response::IntoResponse;
use axum::routing::get;
use axum::{Json, Router};
use serde_json::json;

use super::server::TestServer;

async fn search(Query(query): Query<HashMap<String, String>>) -> axum::response::Response {
    match query["q"].as_str() {
        "Tower Road 12" => {
            Json(json!([{"lat": "35.9122", "lon": "14.5040", "display_name": "…"}])).into_response()
        }
        "broken" => "<html>".into_response(),
        "long" => "x".repeat(1 << 20).into_response(),
        "slow" => {
            tokio::time::sleep(Duration::from_secs(60)).await;
            Json(json!([])).into_response()
        }
        _ => Json(json!([])).into_response(),
    }
}

async fn service() -> String {
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("bound");
    let url = format!("http://{}/", listener.local_addr().expect("an address"));
    let router = Router::new().route("/search", get(search));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn to(label: serde_json::Value) -> serde_json::Value {
    json!({"dropoff": {"label": label}})
}

#[tokio::test]
async fn a_stop_without_coordinates_is_found_by_its_label_or_refused_with_a_way_out() {
    let url = service().await;
    let server = TestServer::start_with(|config| {
        config.geocoder.url = Some(url);
        config.geocoder.timeout_ms = 300;
    })
    .await;
    let made = server
        .delivery("d-1", to(json!("Tower Road 12")))
        .await
        .expect(201);
    assert_eq!(made.body["dropoff"]["lat"], 35.9122);
    assert_eq!(made.body["dropoff"]["label"], "Tower Road 12");
    let put = json!({"pickup": {"lat": 35.9, "lon": 14.5}, "dropoff": {"label": "Tower Road 12"}});
    server
        .put("/v1/deliveries/d-2", put.clone())
        .await
        .expect(201);
    let mut third = put;
    third["id"] = json!("d-3");
    server
        .post("/v1/deliveries/bulk", json!({"deliveries": [third]}))
        .await
        .expect(201);
    for (label, status, says) in [
        (json!("nowhere"), 422, "dropoff: there is no such address"),
        (json!(null), 422, "dropoff: give lat and lon, or a label"),
        (json!("broken"), 503, "did not answer"),
        (json!("long"), 503, "did not answer"),
        (json!("slow"), 503, "did not answer"),
    ] {
        let refused = server.delivery("d-4", to(label)).await.expect(status);
        assert!(refused.text("detail").contains(says), "{}", refused.body);
    }
    server.get("/v1/deliveries/d-4").await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn without_one_it_is_named() {
    let server = TestServer::start().await;
    let refused = server
        .delivery("d-1", to(json!("Tower Road 12")))
        .await
        .expect(422);
    assert!(
        refused.text("detail").contains("geocoder.url"),
        "{}",
        refused.body
    );
    server.stop().await;
}
