//! What tests of the live map share: a live map over a real log, on a real port.

mod counted;
mod raw;

use std::sync::Arc;
use std::time::Duration;

use axum::Extension;
use axum::body::Body;
use axum::http::{Request, StatusCode};
use bytes::Bytes;
use futures_util::stream::BoxStream;
use futures_util::{SinkExt, StreamExt};
use rand::SeedableRng;
use rand::rngs::StdRng;
use serde_json::Value;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::client::IntoClientRequest;
use tokio_tungstenite::tungstenite::protocol::Message;
use tokio_tungstenite::{MaybeTlsStream, WebSocketStream, connect_async};
use tokio_util::sync::CancellationToken;
use tower::ServiceExt;
use uuid::Uuid;

use super::socket::Manners;
use super::{LiveMap, Parts};
use crate::access::{Access, SecretKind, hash_secret, issue};
use crate::clock::ManualClock;
use crate::config::Config;
use crate::directory::{ApiKey, Directory, Link, Role};
use crate::domain::{
    Courier, CourierId, Delivery, DeliveryId, DeliveryStatus, Fix, FixBatch, Place, Position,
    TimelineEntry, UnixMs, Vehicle,
};
use crate::roads::Roads;
use crate::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use crate::stream::{Log, Record, TOPIC_DELIVERY_LOCATION, partition_for_key};

pub(crate) use counted::Counted;
pub(crate) use raw::{RawClient, SOON, frame};

/// When tests begin: 2026-11-22T10:00:00Z.
pub(crate) const T0: UnixMs = UnixMs(1_795_341_600_000);
/// Longer than anything takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);
const PARTITIONS: u32 = 3;

pub(crate) fn at(lat: f64, lon: f64) -> Position {
    Position::from_degrees(lat, lon).expect("a position")
}

pub(crate) fn courier_id(id: &str) -> CourierId {
    CourierId::try_from(id).expect("an id")
}

/// A delivery of which everything else is plain.
pub(crate) fn delivery(id: &str, courier: Option<&str>, sequence: i32, to: Position) -> Delivery {
    Delivery {
        id: DeliveryId::try_from(id).expect("an id"),
        courier_id: courier.map(courier_id),
        status: DeliveryStatus::Created,
        sequence,
        pickup: Place {
            position: at(35.80, 14.40),
            label: None,
        },
        dropoff: Place {
            position: to,
            label: Some("Door".into()),
        },
        window: None,
        timeline: Vec::new(),
        reference: None,
        tags: Box::default(),
        version: 1,
    }
}

/// The delivery after its next step.
pub(crate) fn stepped(mut delivery: Delivery, status: DeliveryStatus, at: UnixMs) -> Delivery {
    delivery.status = status;
    delivery.timeline.push(TimelineEntry { status, at });
    delivery.version += 1;
    delivery
}

/// An upload of one fix, received when it was taken.
pub(crate) fn upload(fix_time: UnixMs, position: Position) -> FixBatch {
    FixBatch {
        received_at: fix_time,
        fixes: vec![Fix::new(fix_time, position)],
        sos: false,
    }
}

/// A running live map.
pub(crate) struct Rig {
    pub(crate) live: LiveMap,
    pub(crate) directory: Arc<Directory>,
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) key: String,
    log: Arc<dyn Log>,
    router: axum::Router,
    address: std::net::SocketAddr,
    stop: CancellationToken,
    running: tokio::task::JoinHandle<anyhow::Result<()>>,
    rng: StdRng,
    dir: tempfile::TempDir,
}

impl Rig {
    pub(crate) async fn start() -> Self {
        Self::start_with(Manners::default()).await
    }

    /// One that is less patient, or more.
    pub(crate) async fn start_with(manners: Manners) -> Self {
        let config = Config::defaults().expect("defaults");
        Self::start_over(manners, Roads::none(), config).await
    }

    /// One over roads and with settings of its own.
    pub(crate) async fn start_over(manners: Manners, roads: Roads, config: Config) -> Self {
        let dir = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::at(T0.0);
        Self::start_on(dir, Directory::new(), clock, (manners, roads, config)).await
    }

    async fn start_on(
        dir: tempfile::TempDir,
        directory: Arc<Directory>,
        clock: Arc<ManualClock>,
        (manners, roads, mut config): (Manners, Roads, Config),
    ) -> Self {
        let options = EmbeddedLogOptions::new(dir.path(), PARTITIONS);
        let log: Arc<dyn Log> = EmbeddedLog::open(options, clock.clone()).expect("the log opens");
        let access = Access::new(directory.clone(), clock.clone());
        let listener = tokio::net::TcpListener::bind("127.0.0.1:0")
            .await
            .expect("a port");
        let address = listener.local_addr().expect("an address");
        config.live_map.tick_ms = 40;
        let parts = Parts {
            log: log.clone(),
            directory: directory.clone(),
            roads,
            access: access.clone(),
            clock: clock.clone(),
            public_url: format!("http://{address}").into(),
            rng: StdRng::seed_from_u64(7),
        };
        let live = LiveMap::with_manners(&config, parts, manners);
        let router: axum::Router = live.routes().into();
        let router = router.layer(Extension(access));
        let stop = CancellationToken::new();
        let running = tokio::spawn(live.clone().run(stop.clone()));
        let listen = crate::http::Listen::of(&config.http);
        let server = listen.serve(listener, router.clone(), stop.clone());
        tokio::spawn(server);
        let mut rng = StdRng::seed_from_u64(11);
        let key = issue(SecretKind::ApiKey, &mut rng);
        directory.put_api_key(ApiKey {
            id: Uuid::from_u128(1),
            name: None,
            role: Role::Dispatcher,
            key_hash: key.hash,
        });
        let rig = Self {
            live,
            directory,
            clock,
            key: key.secret,
            log,
            router,
            address,
            stop,
            running,
            rng,
            dir,
        };
        rig.until(|live| live.is_restored()).await;
        rig
    }

    /// Stops the live map and its log, and starts another on the same log.
    pub(crate) async fn restart(self) -> Self {
        let (directory, clock) = (self.directory.clone(), self.clock.clone());
        let (dir, log) = (self.dir, self.log);
        self.stop.cancel();
        self.running.await.expect("no panic").expect("stops well");
        log.close().await.expect("closes");
        drop((self.live, self.router, log));
        let config = Config::defaults().expect("defaults");
        let usual = (Manners::default(), Roads::none(), config);
        Self::start_on(dir, directory, clock, usual).await
    }

    pub(crate) fn address(&self) -> std::net::SocketAddr {
        self.address
    }

    /// Begins to stop.
    pub(crate) fn stop(&self) {
        self.stop.cancel();
    }

    pub(crate) async fn stopped(self) {
        self.stop.cancel();
        let ended = tokio::time::timeout(PATIENCE, self.running).await;
        ended
            .expect("in time")
            .expect("no panic")
            .expect("stops well");
    }

    pub(crate) fn now(&self) -> UnixMs {
        self.live.now()
    }

    /// Waits until `done`.
    pub(crate) async fn until(&self, done: impl Fn(&LiveMap) -> bool) {
        let wait = async {
            while !done(&self.live) {
                tokio::time::sleep(Duration::from_millis(2)).await;
            }
        };
        tokio::time::timeout(PATIENCE, wait)
            .await
            .expect("it comes to pass");
    }

    pub(crate) fn put_courier(&self, id: &str) {
        self.directory.put_courier(Courier {
            id: courier_id(id),
            name: Some(format!("Courier {id}").into()),
            vehicle: Some(Vehicle::Bike),
            tags: Box::default(),
            on_duty: true,
        });
    }

    /// A link to the delivery; answers its number and token.
    pub(crate) fn put_link(&mut self, delivery: &str) -> (Uuid, String) {
        let issued = issue(SecretKind::Link, &mut self.rng);
        let id = Uuid::from_u128(u128::from_be_bytes(
            issued.hash.0[..16].try_into().expect("sixteen bytes"),
        ));
        self.directory.put_link(Link {
            id,
            delivery_id: DeliveryId::try_from(delivery).expect("an id"),
            expires_at: T0.plus_ms(24 * 3600 * 1000),
            token_hash: hash_secret(&issued.secret),
        });
        (id, issued.secret)
    }

    /// Appends an upload to the log, as ingest does.
    pub(crate) async fn post(&self, courier: &str, batch: &FixBatch) {
        let partition = partition_for_key(courier.as_bytes(), PARTITIONS);
        let record = Record {
            key: Bytes::copy_from_slice(courier.as_bytes()),
            value: batch.encode(),
            timestamp_ms: batch.received_at.0,
        };
        let appended = self
            .log
            .append(TOPIC_DELIVERY_LOCATION, partition, vec![record])
            .await;
        appended.expect("appended");
    }

    /// Posts one fix of now.
    pub(crate) async fn fix(&self, courier: &str, position: Position) {
        self.post(courier, &upload(self.now(), position)).await;
    }

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

/// Compares with `web/fixtures/{name}`, which the pages' tests read; writes it instead where
/// `WAYLOG_WRITE_FIXTURES` is set.
pub(crate) fn check_fixture(name: &str, bytes: &[u8]) {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("web/fixtures")
        .join(name);
    if std::env::var_os("WAYLOG_WRITE_FIXTURES").is_some() {
        std::fs::create_dir_all(path.parent().expect("a folder")).expect("a folder");
        std::fs::write(&path, bytes).expect("written");
    }
    let committed = std::fs::read(&path).unwrap_or_default();
    assert!(
        committed == bytes,
        "{name} is not what the server says now; look at the difference after \
         WAYLOG_WRITE_FIXTURES=1 cargo test --lib fixtures"
    );
}

/// Messages one a line, in an array, so that a difference is easily read.
pub(crate) fn lines_of_json(messages: &[String]) -> Vec<u8> {
    format!("[\n{}\n]\n", messages.join(",\n")).into_bytes()
}
