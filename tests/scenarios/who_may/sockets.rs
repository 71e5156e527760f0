//! Sockets tell after the upgrade whom they let in: by what is heard first, or by the close code.

use futures_util::{SinkExt, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};
use tokio_tungstenite::connect_async;
use tokio_tungstenite::tungstenite::Message;

use super::callers::{Callers, Kind, Role};
use crate::support::server::Server;

/// What is heard first.
#[derive(Debug, PartialEq)]
enum Heard {
    Message(Value),
    Closed(u16),
}

async fn hello(server: &Server, path: &str, hello: Value) -> Heard {
    let url = format!("{}{path}", server.url.replace("http://", "ws://"));
    let (mut socket, _) = connect_async(url).await.expect("it upgrades");
    socket
        .send(Message::text(hello.to_string()))
        .await
        .expect("said");
    loop {
        match socket.next().await.expect("an answer").expect("readable") {
            Message::Text(text) => {
                let message: Value = serde_json::from_str(text.as_str()).expect("JSON");
                // The reason before the close.
                if message["type"] != "error" {
                    return Heard::Message(message);
                }
            }
            Message::Close(frame) => return Heard::Closed(frame.expect("a code").code.into()),
            _ => {}
        }
    }
}

pub async fn each_lets_in_its_own_and_nobody_else(server: &Server, callers: &Callers) {
    for caller in &callers.all {
        let Some(token) = caller.token() else {
            continue;
        };
        let heard = hello(
            server,
            "/ws/track",
            json!({"type": "hello", "token": token}),
        )
        .await;
        match (caller.kind, heard) {
            // Each sees its own delivery, and can name no other.
            (Kind::Link, Heard::Message(m)) if m["delivery"]["dropoff"]["label"] == "d-1" => {}
            (Kind::OthersLink, Heard::Message(m)) if m["delivery"]["dropoff"]["label"] == "d-2" => {
            }
            (Kind::RevokedLink | Kind::ExpiredLink, Heard::Closed(4010)) => {}
            (_, Heard::Closed(4001)) => {}
            (kind, heard) => panic!("/ws/track heard {heard:?} for {kind:?}"),
        }
        let fleet = hello(
            server,
            "/ws/fleet",
            json!({"type": "hello", "ticket": token}),
        )
        .await;
        assert_eq!(fleet, Heard::Closed(4001), "no token is a ticket");
    }
    for path in ["/ws/track", "/ws/fleet"] {
        let heard = hello(server, path, json!({"type": "hello"})).await;
        assert_eq!(heard, Heard::Closed(4000), "{path}");
    }
    // A ticket opens one socket, once; and none when its key was revoked meanwhile.
    for role in [Role::Dispatcher, Role::Admin] {
        let key = callers.token_of(Kind::Key(role));
        let ticket = ticket(server, key).await;
        let said = json!({"type": "hello", "ticket": ticket});
        let first = hello(server, "/ws/fleet", said.clone()).await;
        assert!(matches!(first, Heard::Message(m) if m["type"] == "hello"));
        assert_eq!(hello(server, "/ws/fleet", said).await, Heard::Closed(4001));
    }
    let key = server
        .create("/v1/api-keys", json!({"role": "dispatcher"}))
        .await;
    let ticket = ticket(server, key["key"].as_str().expect("a key")).await;
    let path = format!("/v1/api-keys/{}", key["id"].as_str().expect("an id"));
    assert_eq!(server.admin(Method::DELETE, &path, None).await.0, 204);
    let said = json!({"type": "hello", "ticket": ticket});
    assert_eq!(hello(server, "/ws/fleet", said).await, Heard::Closed(4001));
}

async fn ticket(server: &Server, key: &str) -> Value {
    let (status, mut ticket) = server
        .request(Method::POST, "/v1/fleet/ticket", Some(key), None)
        .await;
    assert_eq!(status, 200, "{ticket}");
    ticket["ticket"].take()
}
