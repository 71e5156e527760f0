//! What stands before the server, and which other sites may ask.

use reqwest::Method;
use serde_json::json;

use super::server::{ADMIN_KEY, TestServer};

#[tokio::test]
async fn a_trusted_proxy_names_the_client_and_nobody_else_does() {
    for (trusted, believed) in [("127.0.0.0/8", true), ("10.0.0.0/8", false)] {
        let server = TestServer::start_with(|config| {
            config.http.trusted_proxies = vec![trusted.parse().expect("a network")];
            config.limits.address_per_s = 1;
        })
        .await;
        let ask = async |header: &str, value: &str| {
            let request = server.request(Method::GET, "/v1/couriers", ADMIN_KEY);
            server.send(request.header(header, value)).await
        };
        let mut seen = Vec::new();
        for _ in 0..30 {
            seen.push(ask("x-forwarded-for", "203.0.113.9").await.status);
        }
        // This machine's own addresses are not bounded: who is refused was taken for somebody else.
        assert_eq!(seen.contains(&429), believed, "{trusted}: {seen:?}");
        if believed {
            // The chain is read from its end: what a client writes before it counts for nothing.
            let forged = ask("x-forwarded-for", "198.51.100.1, 203.0.113.9").await;
            assert_eq!(forged.status, 429);
            assert!(!forged.header("retry-after").is_empty());
            let standard = ask("forwarded", "for=203.0.113.9;proto=https").await;
            assert_eq!(standard.status, 429);
            ask("x-forwarded-for", "198.51.100.1").await.expect(200);
        }
        server.stop().await;
    }
}

#[tokio::test]
async fn other_sites_may_ask_where_the_settings_say_so() {
    let server = TestServer::start_with(|config| {
        config.http.cors_origins = vec!["https://shop.example".into()];
    })
    .await;
    let preflight = |origin: &str| {
        let request = server.request(Method::OPTIONS, "/v1/deliveries", "");
        request
            .header("origin", origin)
            .header("access-control-request-method", "POST")
            .header(
                "access-control-request-headers",
                "authorization,content-type",
            )
    };
    let allowed = server.send(preflight("https://shop.example")).await;
    assert_eq!(
        allowed.header("access-control-allow-origin"),
        "https://shop.example"
    );
    // A cookie is never sent along by another site's page.
    let credentials = "access-control-allow-credentials";
    assert!(!allowed.headers.contains_key(credentials));
    for evil in [
        "https://evil.example",
        "https://shop.example.evil.example",
        "http://shop.example",
        "null",
    ] {
        let refused = server.send(preflight(evil)).await;
        let answer = &refused.headers;
        assert!(
            !answer.contains_key("access-control-allow-origin"),
            "{evil}"
        );
    }
    server.stop().await;

    let server = TestServer::start().await;
    let request = server.request(Method::GET, "/v1/couriers", ADMIN_KEY);
    let answer = server.send(request.header("origin", "https://shop.example"));
    let answer = answer.await.expect(200);
    assert!(
        !answer.headers.contains_key("access-control-allow-origin"),
        "by default none"
    );
    server.stop().await;
}

#[tokio::test]
async fn answers_of_the_api_are_kept_by_nobody_and_pages_say_what_they_may() {
    let server = TestServer::start().await;
    for path in ["/v1/couriers", "/v1/me", "/v1/deliveries/none"] {
        assert_eq!(server.get(path).await.header("cache-control"), "no-store");
    }
    let made = server
        .post("/v1/api-keys", json!({"role": "analyst"}))
        .await;
    assert_eq!(made.expect(201).header("cache-control"), "no-store");
    let policy = server
        .get("/courier")
        .await
        .header("permissions-policy")
        .to_owned();
    assert!(policy.contains("geolocation=(self)"), "{policy}");
    server.stop().await;
}
