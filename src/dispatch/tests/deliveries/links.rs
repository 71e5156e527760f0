//! Tracking links: for how long they are good, who sees them, how they end.

use serde_json::json;

use super::super::server::TestServer;
use crate::access::hash_secret;
use crate::clock::Clock;
use crate::domain::UnixMs;

#[tokio::test]
async fn links_are_bounded_listed_by_prefix_and_revoked_at_once() {
    let server = TestServer::start().await;
    let now = UnixMs(server.clock.now_ms());
    let window = json!({"from": now, "to": now.plus_ms(3_600_000)});
    server
        .delivery("d-1", json!({"window": window}))
        .await
        .expect(201);
    let path = "/v1/deliveries/d-1/links";
    let made = server.post(path, json!({})).await.expect(201);
    let token = made.text("token").to_owned();
    assert_eq!(made.text("url"), format!("{}/t/{token}", server.url));
    let latest = now.plus_ms(25 * 3_600_000);
    assert_eq!(
        made.text("expires_at"),
        latest.to_string(),
        "24 hours after the window"
    );
    server
        .post(path, json!({"expires_at": now.plus_ms(60_000)}))
        .await
        .expect(201);
    for bad in [now.plus_ms(-1), latest.plus_ms(60_000)] {
        server
            .post(path, json!({"expires_at": bad}))
            .await
            .expect(422);
    }
    server
        .post("/v1/deliveries/none/links", json!({}))
        .await
        .expect(404);

    let list = server.get(path).await.expect(200);
    assert!(!list.body.to_string().contains(&token), "shown once");
    assert_eq!(list.body["items"].as_array().expect("items").len(), 2);
    let id = made.text("id");
    assert!(server.directory.link(&hash_secret(&token)).is_some());
    server
        .delete(&format!("/v1/deliveries/other/links/{id}"))
        .await
        .expect(404);
    server.delete(&format!("{path}/{id}")).await.expect(204);
    assert!(server.directory.link(&hash_secret(&token)).is_none());
    server.delete(&format!("{path}/{id}")).await.expect(404);

    // The links that end with the window follow it.
    let second = server.post(path, json!({})).await.expect(201);
    let later = json!({"from": now, "to": now.plus_ms(7_200_000)});
    let place = json!({"lat": 35.9, "lon": 14.5});
    let body = json!({"pickup": place, "dropoff": place, "window": later});
    server.put("/v1/deliveries/d-1", body).await.expect(200);
    let link = server
        .directory
        .link(&hash_secret(second.text("token")))
        .expect("known");
    assert_eq!(link.expires_at, now.plus_ms(26 * 3_600_000));
    server.stop().await;
}
