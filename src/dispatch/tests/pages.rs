//! What surrounds the API: the document, headers, pages, the demo.

use reqwest::Method;
use serde_json::{Value, json};

use super::server::TestServer;

#[tokio::test]
async fn the_document_describes_every_route_and_who_may_call_it() {
    let server = TestServer::start().await;
    let document = server.get("/v1/openapi.json").await.expect(200).body;
    assert_eq!(document["openapi"], "3.1.0");
    for path in [
        "/v1/couriers",
        "/v1/deliveries/{id}/status",
        "/v1/session",
        "/v1/me/duty",
    ] {
        assert!(document["paths"][path].is_object(), "{path}");
    }
    assert!(document["components"]["securitySchemes"]["session"].is_object());
    server.stop().await;
}

#[tokio::test]
async fn answers_bear_the_headers_that_protect_people() {
    let server = TestServer::start().await;
    for path in ["/v1/couriers", "/", "/t/wlt_abc", "/nowhere"] {
        let answer = server.get(path).await;
        assert_eq!(answer.header("referrer-policy"), "no-referrer", "{path}");
        assert_eq!(answer.header("x-content-type-options"), "nosniff");
        let policy = answer.header("content-security-policy");
        assert!(
            policy.contains("default-src 'self'") && !policy.contains("unsafe"),
            "{policy}"
        );
        assert!(policy.contains("frame-ancestors 'none'"), "{policy}");
    }
    let missing = server.get("/v1/nowhere").await.expect(404);
    assert_eq!(missing.text("type"), "urn:waylog:not_found");
    let method = server.request(Method::PATCH, "/v1/session", "");
    assert_eq!(
        server.send(method).await.expect(405).text("type"),
        "urn:waylog:method_not_allowed"
    );
    server.stop().await;
}

#[tokio::test]
async fn the_basemap_is_read_by_parts() {
    let server = TestServer::start().await;
    let path = "/basemap/malta.pmtiles";
    let ask = |range: &str| {
        let request = server.request(Method::GET, path, "").header("range", range);
        async move { request.send().await.expect("answered") }
    };
    let part = ask("bytes=0-6").await;
    assert_eq!(part.status(), 206);
    assert!(
        part.headers()["content-range"]
            .to_str()
            .expect("text")
            .starts_with("bytes 0-6/")
    );
    assert_eq!(&part.bytes().await.expect("bytes")[..], b"PMTiles");
    assert_eq!(ask("bytes=999999999-").await.status(), 416);
    assert_eq!(ask("bytes=5-1").await.status(), 416);
    server.get("/basemap/other.pmtiles").await.expect(404);
    server.get("/basemap/..%2fREADME.md").await.expect(404);
    let settings = server.get("/web-config.json").await.expect(200);
    assert_eq!(
        settings.body["basemap"],
        json!({"url": path, "kind": "pmtiles"})
    );
    assert_eq!(settings.body["demo"], false);
    server.stop().await;
}

#[tokio::test]
async fn the_demo_is_found_and_removed_and_nothing_else() {
    let server = TestServer::start().await;
    server.get("/demo").await.expect(404);
    server
        .post("/v1/couriers", json!({"id": "real"}))
        .await
        .expect(201);
    server
        .post("/v1/couriers", json!({"id": "show", "tags": ["demo"]}))
        .await
        .expect(201);
    server
        .post("/v1/couriers/show/devices", json!({}))
        .await
        .expect(201);
    server
        .delivery("d-real", json!({"courier_id": "real"}))
        .await
        .expect(201);
    let made = server
        .delivery("d-show", json!({"courier_id": "show", "link": true}))
        .await;
    let made = made.expect(201);
    let url = made.text("tracking_url");
    server
        .put(
            "/v1/demo",
            json!({"tracking_url": "https://elsewhere.example/t/x"}),
        )
        .await
        .expect(422);
    server
        .put("/v1/demo", json!({"tracking_url": url}))
        .await
        .expect(200);
    let go = server.get("/demo").await.expect(302);
    assert_eq!(go.header("location"), url);
    assert_eq!(
        server
            .get("/v1/demo")
            .await
            .expect(200)
            .text("tracking_url"),
        url
    );
    assert_eq!(server.get("/web-config.json").await.body["demo"], true);

    server.delete("/v1/demo").await.expect(204);
    server.get("/demo").await.expect(404);
    server.get("/v1/couriers/show").await.expect(404);
    server.get("/v1/deliveries/d-show").await.expect(404);
    server.get("/v1/couriers/real").await.expect(200);
    server.get("/v1/deliveries/d-real").await.expect(200);
    assert_eq!(
        server.get("/web-config.json").await.body["demo"],
        Value::Bool(false)
    );
    server.stop().await;
}
