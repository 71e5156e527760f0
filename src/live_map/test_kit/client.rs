//! Sockets to a live map, and what is said and heard on them.

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};

use super::{PATIENCE, Rig};

impl Rig {
    /// A socket on which nothing was said yet.
    pub(crate) async fn socket(&self, path: &str) -> Client {
        self.socket_from(path, None).await.expect("it upgrades")
    }

    /// The same from a page of `origin`; an HTTP status where it is refused.
    pub(crate) async fn socket_from(
        &self,
        path: &str,
        origin: Option<&str>,
    ) -> Result<Client, u16> {
        use tokio_tungstenite::tungstenite::Error;
        let url = format!("ws://{}{path}", self.address);
        let mut request = url.into_client_request().expect("a request");
        if let Some(origin) = origin {
            request
                .headers_mut()
                .insert("origin", origin.parse().expect("a value"));
        }
        match connect_async(request).await {
            Ok((socket, _)) => Ok(Client(socket)),
            Err(Error::Http(response)) => Err(response.status().as_u16()),
            Err(error) => panic!("{error}"),
        }
    }

    /// A customer's socket after its hello.
    pub(crate) async fn customer(&self, token: &str) -> Client {
        let mut client = self.socket("/ws/track").await;
        client
            .say(&serde_json::json!({"type": "hello", "token": token}))
            .await;
        client
    }

    /// A dispatcher's hello, with a ticket that was not used yet.
    pub(crate) async fn hello(&self) -> Value {
        let (status, ticket) = self.request("POST", "/v1/fleet/ticket", &self.key).await;
        assert_eq!(status, 200, "{ticket}");
        serde_json::json!({"type": "hello", "ticket": ticket["ticket"]})
    }

    /// A dispatcher's socket after its hello.
    pub(crate) async fn dispatcher(&self) -> Client {
        let mut client = self.socket("/ws/fleet").await;
        client.say(&self.hello().await).await;
        let hello = client.json().await;
        assert_eq!(hello["type"], "hello", "{hello}");
        client
    }
}

/// The other end of a socket.
pub(crate) struct Client(WebSocketStream<MaybeTlsStream<TcpStream>>);

/// What a client hears.
#[derive(Debug)]
pub(crate) enum Heard {
    Json(Value),
    Binary(Bytes),
    Closed(u16),
}

impl Client {
    pub(crate) async fn say(&mut self, message: &Value) {
        self.say_raw(Message::text(message.to_string())).await;
    }

    /// Says anything; a socket that is closed meanwhile is no error here.
    pub(crate) async fn say_raw(&mut self, message: Message) {
        drop(self.0.send(message).await);
    }

    pub(crate) async fn hear(&mut self) -> Heard {
        let wait = async {
            loop {
                match self.0.next().await {
                    Some(Ok(Message::Text(text))) => {
                        return Heard::Json(serde_json::from_str(text.as_str()).expect("JSON"));
                    }
                    Some(Ok(Message::Binary(bytes))) => return Heard::Binary(bytes),
                    Some(Ok(Message::Close(Some(frame)))) => {
                        return Heard::Closed(frame.code.into());
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                    other => panic!("the socket ended without a close frame: {other:?}"),
                }
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("something is heard")
    }

    /// Listens, answering pings, until so many have come; the socket must not be closed meanwhile.
    pub(crate) async fn answer_pings(&mut self, pings: usize) {
        let mut heard = 0;
        while heard < pings {
            let next = tokio::time::timeout(PATIENCE, self.0.next()).await;
            let said = next.expect("a ping").expect("open").expect("sound");
            assert!(!matches!(said, Message::Close(_)), "closed: {said:?}");
            heard += usize::from(matches!(said, Message::Ping(_)));
        }
    }

    /// The next text message that is no heartbeat.
    pub(crate) async fn json(&mut self) -> Value {
        loop {
            match self.hear().await {
                Heard::Json(message) if message["type"] == "hb" => {}
                Heard::Json(message) => return message,
                other => panic!("expected a message, heard {other:?}"),
            }
        }
    }

    /// The next text message of this type; others are passed over.
    pub(crate) async fn json_of(&mut self, kind: &str) -> Value {
        loop {
            match self.hear().await {
                Heard::Json(message) if message["type"] == kind => return message,
                Heard::Closed(code) => panic!("closed with {code} while waiting for {kind}"),
                _ => {}
            }
        }
    }

    /// The close code, and the error message before it.
    pub(crate) async fn closed(&mut self) -> (u16, Option<Value>) {
        let mut error = None;
        loop {
            match self.hear().await {
                Heard::Json(message) if message["type"] == "error" => error = Some(message),
                Heard::Closed(code) => return (code, error),
                _ => {}
            }
        }
    }
}
