//! How phones begin.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use reqwest::Method;
use serde_json::{Value, json};

use super::server::TestServer;
use crate::access::hash_secret;

#[tokio::test]
async fn a_phone_is_given_links_that_configure_its_apps() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let made = server
        .post("/v1/couriers/c-1/devices", json!({"label": "phone 1"}))
        .await
        .expect(201);
    let (token, links) = (made.text("token"), &made.body["links"]);
    let traccar = links["osmand"].as_str().expect("a link");
    let query = traccar
        .strip_prefix(&format!("{}/osmand?", server.url))
        .expect("ours");
    let has = |pair: &str| query.split('&').any(|p| p == pair);
    assert!(
        has(&format!("id={token}")) && has("interval=5") && has("distance=10"),
        "{query}"
    );
    assert!(has("accuracy=high"), "{query}");
    assert_eq!(links["native"], format!("{}/v1/positions", server.url));

    let owntracks = links["owntracks"].as_str().expect("a link");
    let inline = owntracks
        .strip_prefix("owntracks:///config?inline=")
        .expect("a configuration");
    let inline = inline
        .replace("%2B", "+")
        .replace("%2F", "/")
        .replace("%3D", "=");
    let configuration = STANDARD.decode(inline).expect("base64");
    let configuration: Value = serde_json::from_slice(&configuration).expect("JSON");
    assert_eq!(configuration["_type"], "configuration");
    assert_eq!(configuration["mode"], 3, "HTTP");
    assert_eq!(configuration["url"], format!("{}/owntracks", server.url));
    assert_eq!(
        (&configuration["username"], &configuration["password"]),
        (&json!("c-1"), &json!(token))
    );
    for app in ["osmand", "owntracks", "join"] {
        assert!(
            made.body["qr"][app]
                .as_str()
                .is_some_and(|qr| qr.contains("<svg")),
            "{app}"
        );
    }
    server.stop().await;
}

#[tokio::test]
async fn a_code_joins_one_phone_within_fifteen_minutes() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let code = async || {
        let made = server
            .post("/v1/couriers/c-1/join-codes", json!({}))
            .await
            .expect(201);
        assert_eq!(
            made.text("url"),
            format!("{}/join/{}", server.url, made.text("code"))
        );
        made.text("code").to_owned()
    };
    let join = |code: &str| {
        let request = server.request(Method::POST, "/v1/join", "");
        server.send(request.json(&json!({"code": code, "label": "Ann's phone"})))
    };
    let first = code().await;
    let joined = join(&first).await.expect(201);
    assert_eq!(
        (joined.text("courier_id"), joined.text("courier_name")),
        ("c-1", "Courier c-1")
    );
    let device = server
        .directory
        .device(&hash_secret(joined.text("token")))
        .expect("known");
    assert_eq!(device.courier_id.as_str(), "c-1");
    join(&first).await.expect(401);
    join("wlj_made_up").await.expect(401);
    let late = code().await;
    server.clock.advance(15 * 60 * 1000 + 1);
    join(&late).await.expect(401);
    server
        .post("/v1/couriers/nobody/join-codes", json!({}))
        .await
        .expect(404);
    server.stop().await;
}

#[tokio::test]
async fn guessing_codes_is_slowed_down() {
    let server = TestServer::start().await;
    let mut statuses = Vec::new();
    for n in 0..40 {
        let request = server.request(Method::POST, "/v1/join", "");
        let answer = server
            .send(request.json(&json!({"code": format!("guess-{n}")})))
            .await;
        if answer.status == 429 {
            assert!(
                answer
                    .header("retry-after")
                    .parse::<u32>()
                    .is_ok_and(|s| s > 0)
            );
        }
        statuses.push(answer.status);
    }
    assert!(
        statuses.starts_with(&[401]) && statuses.ends_with(&[429]),
        "{statuses:?}"
    );
    server.stop().await;
}
