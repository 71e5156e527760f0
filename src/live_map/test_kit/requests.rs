//! Requests to a live map: without a socket, over the real port, and streams of events.

use axum::body::Body;
use axum::http::{Request, StatusCode};
use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use serde_json::Value;
use tower::ServiceExt;

use super::{PATIENCE, Rig};

impl Rig {
    /// A request without a socket; answers status and JSON.
    pub(crate) async fn request(&self, method: &str, path: &str, token: &str) -> (u16, Value) {
        let (status, body) = self.request_body(method, path, token).await;
        let bytes = axum::body::to_bytes(body, usize::MAX)
            .await
            .expect("a body");
        (
            status.as_u16(),
            serde_json::from_slice(&bytes).unwrap_or(Value::Null),
        )
    }

    pub(crate) async fn request_body(
        &self,
        method: &str,
        path: &str,
        token: &str,
    ) -> (StatusCode, Body) {
        let request = Request::builder()
            .method(method)
            .uri(path)
            .header("authorization", format!("Bearer {token}"))
            .body(Body::empty())
            .expect("a request");
        let response = self
            .router
            .clone()
            .oneshot(request)
            .await
            .expect("an answer");
        (response.status(), response.into_body())
    }

    /// A GET over the real port; answers status and JSON.
    pub(crate) async fn http_get(&self, path: &str, token: &str) -> (u16, Value) {
        let answer = self.ask(path, token).await;
        let status = answer.status().as_u16();
        let body = answer.bytes().await.expect("a body");
        (status, serde_json::from_slice(&body).unwrap_or(Value::Null))
    }

    /// The messages of a stream of events over the real port, without heartbeats; none where it is
    /// refused.
    pub(crate) async fn events(
        &self,
        path: &str,
        token: &str,
    ) -> Option<BoxStream<'static, Value>> {
        let answer = self.ask(path, token).await;
        if !answer.status().is_success() {
            return None;
        }
        let chunks = answer.bytes_stream().map(|chunk| chunk.expect("bytes"));
        let messages = futures_util::stream::unfold(
            (chunks.boxed(), Vec::new()),
            |(mut chunks, mut read)| async move {
                loop {
                    if let Some(end) = read.windows(2).position(|pair| pair == b"\n\n") {
                        let event: Vec<u8> = read.drain(..end + 2).collect();
                        let text = String::from_utf8(event).expect("text");
                        let data = text.trim().strip_prefix("data: ").expect("data");
                        let message: Value = serde_json::from_str(data).expect("JSON");
                        return Some((message, (chunks, read)));
                    }
                    let next = tokio::time::timeout(PATIENCE, chunks.next());
                    read.extend_from_slice(&next.await.expect("something is heard")?);
                }
            },
        );
        let told = messages.filter(|message| std::future::ready(message["type"] != "hb"));
        Some(told.boxed())
    }

    async fn ask(&self, path: &str, token: &str) -> reqwest::Response {
        // An error says only that there is a provider already.
        drop(rustls::crypto::ring::default_provider().install_default());
        let request = reqwest::Client::new().get(format!("http://{}{path}", self.address));
        request.bearer_auth(token).send().await.expect("an answer")
    }

    pub(crate) async fn get(&self, path: &str) -> (u16, Value) {
        self.request("GET", path, &self.key).await
    }
}
