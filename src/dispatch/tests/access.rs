//! Keys, sessions and who may do what.

use reqwest::{Method, RequestBuilder};
use serde_json::json;

use super::server::{ADMIN_KEY, Answer, TestServer};

async fn sign_in(server: &TestServer, body: serde_json::Value) -> Answer {
    server
        .send(server.request(Method::POST, "/v1/session", "").json(&body))
        .await
}

/// The cookie of an answer, as a browser sends it back.
fn cookie(answer: &Answer) -> String {
    let set = answer.header("set-cookie");
    assert!(
        set.contains("HttpOnly") && set.contains("SameSite=Lax"),
        "{set}"
    );
    set.split(';').next().expect("a pair").to_owned()
}

fn with_cookie(server: &TestServer, method: Method, path: &str, cookie: &str) -> RequestBuilder {
    server
        .request(method, path, "")
        .header("cookie", format!("theme=dark; {cookie}"))
}

#[tokio::test]
async fn keys_are_shown_once_listed_by_prefix_and_revoked_at_once() {
    let server = TestServer::start().await;
    let key = server.key("dispatcher").await;
    let list = server.get("/v1/api-keys").await.expect(200);
    assert!(!list.body.to_string().contains(&key));
    let id = list.body["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let couriers = || server.send(server.request(Method::GET, "/v1/couriers", &key));
    couriers().await.expect(200);
    let session = sign_in(&server, json!({"key": key})).await.expect(201);
    let cookie = cookie(&session);
    let me = || server.send(with_cookie(&server, Method::GET, "/v1/me", &cookie));
    assert_eq!(me().await.expect(200).text("role"), "dispatcher");
    server
        .delete(&format!("/v1/api-keys/{id}"))
        .await
        .expect(204);
    couriers().await.expect(401);
    me().await.expect(401);
    server
        .delete(&format!("/v1/api-keys/{id}"))
        .await
        .expect(404);
    let stored: String =
        sqlx::query_scalar("select string_agg(k::text, ',') from dispatch.api_key k")
            .fetch_one(&server.database.pool)
            .await
            .expect("read");
    assert!(!stored.contains(&key), "only its hash is stored");
    server
        .post("/v1/api-keys", json!({"role": "king"}))
        .await
        .expect(422);
    server.stop().await;
}

#[tokio::test]
async fn a_browser_signs_in_changes_things_with_its_csrf_token_and_signs_out() {
    let server = TestServer::start().await;
    let session = sign_in(&server, json!({"key": ADMIN_KEY}))
        .await
        .expect(201);
    assert_eq!(session.text("role"), "admin");
    let cookie = cookie(&session);
    let me = server
        .send(with_cookie(&server, Method::GET, "/v1/me", &cookie))
        .await
        .expect(200);
    assert_eq!(me.text("csrf_token"), session.text("csrf_token"));

    let create = |id: &str| {
        let request = with_cookie(&server, Method::POST, "/v1/couriers", &cookie);
        request.json(&json!({"id": id}))
    };
    let refused = server.send(create("c-1")).await.expect(403);
    assert_eq!(refused.text("type"), "urn:waylog:csrf");
    server
        .send(create("c-1").header("x-csrf-token", "guess"))
        .await
        .expect(403);
    let token = session.text("csrf_token").to_owned();
    server
        .send(create("c-1").header("x-csrf-token", &token))
        .await
        .expect(201);

    let out = with_cookie(&server, Method::DELETE, "/v1/session", &cookie);
    let out = server
        .send(out.header("x-csrf-token", &token))
        .await
        .expect(204);
    assert!(out.header("set-cookie").contains("Max-Age=0"));
    server
        .send(with_cookie(&server, Method::GET, "/v1/me", &cookie))
        .await
        .expect(401);
    let key = server.get("/v1/me").await.expect(200);
    assert_eq!(key.body["csrf_token"], serde_json::Value::Null);
    server.stop().await;
}

#[tokio::test]
async fn a_session_ends_with_its_time() {
    let server = TestServer::start().await;
    let session = sign_in(&server, json!({"key": ADMIN_KEY}))
        .await
        .expect(201);
    let cookie = cookie(&session);
    server.clock.advance(7 * 24 * 3_600_000 + 1);
    server
        .send(with_cookie(&server, Method::GET, "/v1/me", &cookie))
        .await
        .expect(401);
    server.stop().await;
}

#[tokio::test]
async fn a_link_signs_in_once_within_fifteen_minutes() {
    let server = TestServer::start().await;
    let code = async || {
        let made = server
            .post("/v1/sign-in-codes", json!({}))
            .await
            .expect(201);
        let url = made.text("url").to_owned();
        let code = url.strip_prefix(&format!("{}/sign-in#code=", server.url));
        code.expect("a page of ours").to_owned()
    };
    let first = code().await;
    let session = sign_in(&server, json!({"code": first})).await.expect(201);
    assert_eq!(session.text("role"), "admin");
    sign_in(&server, json!({"code": first})).await.expect(401);
    let late = code().await;
    server.clock.advance(15 * 60 * 1000 + 1);
    sign_in(&server, json!({"code": late})).await.expect(401);
    // A code to join is no code to sign in, nor the other way round.
    server.courier("c-1").await;
    let join = server
        .post("/v1/couriers/c-1/join-codes", json!({}))
        .await
        .expect(201);
    sign_in(&server, json!({"code": join.text("code")}))
        .await
        .expect(401);
    let body = json!({"code": code().await});
    server
        .send(server.request(Method::POST, "/v1/join", "").json(&body))
        .await
        .expect(401);
    server.stop().await;
}

#[tokio::test]
async fn wrong_sign_ins_are_refused_and_slowed_down() {
    let server = TestServer::start().await;
    for body in [
        json!({}),
        json!({"username": "ann"}),
        json!({"key": ADMIN_KEY, "code": "x"}),
        json!({"key": ADMIN_KEY, "more": 1}),
    ] {
        sign_in(&server, body).await.expect(422);
    }
    sign_in(&server, json!({"key": "wlk_nobody"}))
        .await
        .expect(401);
    let mut last = 0;
    for _ in 0..12 {
        let body = json!({"username": "ann", "password": "a wrong password"});
        last = sign_in(&server, body).await.status;
    }
    assert_eq!(last, 429);
    server.stop().await;
}

#[tokio::test]
async fn a_user_signs_in_by_password_and_is_signed_out_when_disabled() {
    let server = TestServer::start().await;
    let ann = json!({"username": "ann", "password": "correct horse", "role": "dispatcher"});
    let made = server.post("/v1/users", ann.clone()).await.expect(201);
    assert!(!made.body.to_string().contains("horse"));
    server.post("/v1/users", ann).await.expect(409);
    for bad in [
        json!({"username": "bob", "password": "short", "role": "admin"}),
        json!({"username": "b b", "password": "long enough!", "role": "admin"}),
        json!({"username": "bob", "password": "long enough!", "role": "king"}),
    ] {
        server.post("/v1/users", bad).await.expect(422);
    }
    let wrong = json!({"username": "ann", "password": "wrong horse!"});
    sign_in(&server, wrong).await.expect(401);
    let right = json!({"username": "ann", "password": "correct horse"});
    let session = sign_in(&server, right.clone()).await.expect(201);
    let cookie = cookie(&session);
    let me = || server.send(with_cookie(&server, Method::GET, "/v1/me", &cookie));
    assert_eq!(me().await.expect(200).text("name"), "ann");

    let path = format!("/v1/users/{}", made.text("id"));
    let disable = server
        .request(Method::PATCH, &path, ADMIN_KEY)
        .json(&json!({"disabled": true}));
    server.send(disable).await.expect(200);
    me().await.expect(401);
    sign_in(&server, right).await.expect(401);
    server.delete(&path).await.expect(204);
    server.delete(&path).await.expect(404);

    let audit = server.get("/v1/audit?subject=ann").await.expect(200);
    let actions: Vec<&str> = audit.body["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|entry| entry["action"].as_str().expect("an action"))
        .collect();
    assert_eq!(actions, ["user.delete", "user.patch", "user.create"]);
    assert!(!audit.body.to_string().contains("horse"));
    server.stop().await;
}

#[tokio::test]
async fn an_admin_sees_who_is_signed_in_and_signs_them_out() {
    let server = TestServer::start().await;
    let key = server.key("dispatcher").await;
    let session = sign_in(&server, json!({"key": key})).await.expect(201);
    let cookie = cookie(&session);
    let list = server.get("/v1/sessions").await.expect(200);
    let row = &list.body["items"][0];
    assert_eq!(
        (&row["role"], &row["current"]),
        (&json!("dispatcher"), &json!(false))
    );
    assert!(!list.body.to_string().contains("wls_"));
    let me = || server.send(with_cookie(&server, Method::GET, "/v1/me", &cookie));
    me().await.expect(200);
    let path = format!("/v1/sessions/{}", row["id"].as_str().expect("an id"));
    server.delete(&path).await.expect(204);
    me().await.expect(401);
    server.delete(&path).await.expect(404);
    server.stop().await;
}
