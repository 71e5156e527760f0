//! How phones begin.

use std::collections::BTreeMap;

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
    let traccar = joined.body["links"]["traccar"].as_str().expect("a link");
    let pairs = traccar
        .strip_prefix("org.traccar.client://config?")
        .expect("the app's own");
    let pairs: BTreeMap<_, _> = form_urlencoded::parse(pairs.as_bytes()).collect();
    assert_eq!(pairs["url"], format!("{}/osmand", server.url));
    assert_eq!(
        (&*pairs["id"], &*pairs["interval"]),
        (joined.text("token"), "5")
    );
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

#[tokio::test]
async fn a_sheet_has_a_code_for_each_or_none() {
    let server = TestServer::start().await;
    for courier in ["c-1", "c-2"] {
        server
            .put(&format!("/v1/couriers/{courier}"), json!({"name": courier}))
            .await
            .expect(201);
    }
    let sheet = |couriers: Value| server.post("/v1/join-codes", json!({"couriers": couriers}));
    for bad in [
        json!([]),
        json!(["c-1", "c-1"]),
        json!(["c-1", "nobody"]),
        json!(["c 1"]),
        (0..201).map(|n| format!("c-{n}")).collect(),
    ] {
        sheet(bad).await.expect(422);
    }
    let codes = "select count(*) from dispatch.one_time_code";
    let codes: i64 = sqlx::query_scalar(codes)
        .fetch_one(&server.database.pool)
        .await
        .expect("counted");
    assert_eq!(codes, 0, "none");
    let made = sheet(json!(["c-2", "c-1"])).await.expect(201);
    let items = made.body["items"].as_array().expect("items");
    assert_eq!((items.len(), &items[0]["courier_id"]), (2, &json!("c-2")));
    for item in items {
        assert!(item["qr"].as_str().is_some_and(|qr| qr.contains("<svg")));
        let request = server.request(Method::POST, "/v1/join", "");
        let joined = server
            .send(request.json(&json!({"code": item["code"]})))
            .await
            .expect(201);
        assert_eq!(joined.body["courier_id"], item["courier_id"]);
    }
    server.stop().await;
}
