//! A real HTTP receiver for webhooks, as a user would write one.

use std::sync::Arc;

use axum::Router;
use axum::body::Bytes;
use axum::extract::State;
use axum::http::HeaderMap;
use axum::routing::post;
use parking_lot::Mutex;
use serde_json::Value;

/// What has arrived so far, oldest first.
#[derive(Clone, Default)]
pub struct Receiver {
    received: Arc<Mutex<Vec<(HeaderMap, Bytes)>>>,
    pub url: String,
}

impl Receiver {
    /// Listens on a free port of loopback.
    pub async fn start() -> Self {
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("bound");
        let receiver = Self {
            url: format!("http://{address}/hook"),
            ..Self::default()
        };
        let app = Router::new()
            .route("/hook", post(take))
            .with_state(receiver.clone());
        tokio::spawn(async move { axum::serve(listener, app).await });
        receiver
    }

    /// The id that each call bore, and the event that its body names.
    pub fn ids(&self) -> Vec<(String, String)> {
        let received = self.received.lock();
        let ids = received.iter().map(|(headers, body)| {
            let id = headers.get("webhook-id").and_then(|id| id.to_str().ok());
            let body: Value = serde_json::from_slice(body).expect("JSON");
            let event = body["data"]["id"].as_str().expect("an event");
            (id.expect("an id").to_owned(), event.to_owned())
        });
        ids.collect()
    }

    /// Events whose signature `secret` proves; one that does not fails the test.
    pub fn verified(&self, secret: &str) -> Vec<Value> {
        let webhook = standardwebhooks::Webhook::new(secret).expect("a whsec_ secret");
        let received = self.received.lock();
        received
            .iter()
            .map(|(headers, body)| {
                webhook
                    .verify(body, headers)
                    .expect("the signature is right");
                serde_json::from_slice(body).expect("JSON")
            })
            .collect()
    }
}

async fn take(State(receiver): State<Receiver>, headers: HeaderMap, body: Bytes) {
    receiver.received.lock().push((headers, body));
}
