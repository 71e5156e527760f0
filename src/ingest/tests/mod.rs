//! Ingest as phones see it: over a real listener, into a real log.

mod acknowledged;
mod bad_input;
mod duplicates;
mod phone_apps;

use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use axum::{Extension, Router};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};
use tokio_util::sync::CancellationToken;

use super::Ingest;
use crate::access::{Access, hash_secret};
use crate::clock::ManualClock;
use crate::config::{Config, HttpConfig, IngestConfig};
use crate::directory::{ApiKey, Device, Directory, Role};
use crate::domain::{Courier, CourierId, FixBatch, Quarantined, SpeedUnit};
use crate::http::Listen;
use crate::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use crate::stream::{
    Log, Partition, SeekTo, StreamEvent, TOPIC_DELIVERY_LOCATION, TOPIC_QUARANTINE,
};

/// What the clock of every test shows at first: 2026-11-18T13:33:20Z.
const NOW_MS: i64 = 1_795_008_800_000;
const ADMIN_KEY: &str = "wlk_admin";
const PATIENCE: Duration = Duration::from_secs(20);

/// What a test may want otherwise.
struct Setup {
    config: IngestConfig,
    http: HttpConfig,
    body_timeout: Duration,
    min_sync_interval: Duration,
}

impl Default for Setup {
    fn default() -> Self {
        let config = Config::defaults().expect("defaults");
        Self {
            config: config.ingest,
            http: config.http,
            body_timeout: Duration::from_secs(30),
            min_sync_interval: Duration::ZERO,
        }
    }
}

struct Server {
    address: SocketAddr,
    ingest: Ingest,
    log: Arc<EmbeddedLog>,
    directory: Arc<Directory>,
    clock: Arc<ManualClock>,
    stop: CancellationToken,
    dir: Option<TempDir>,
}

impl Server {
    async fn start() -> Self {
        Self::with(Setup::default()).await
    }

    async fn with(setup: Setup) -> Self {
        Self::on(tempfile::tempdir().expect("a directory"), setup).await
    }

    /// A server on a log that may hold something already.
    async fn on(dir: TempDir, setup: Setup) -> Self {
        let clock = ManualClock::at(NOW_MS);
        let options = EmbeddedLogOptions {
            min_sync_interval: setup.min_sync_interval,
            ..EmbeddedLogOptions::new(dir.path(), 3)
        };
        let log = EmbeddedLog::open(options, clock.clone()).expect("opens");
        let directory = Directory::new();
        directory.put_api_key(ApiKey {
            id: uuid::Uuid::from_u128(1),
            name: None,
            role: Role::Admin,
            key_hash: hash_secret(ADMIN_KEY),
        });
        let access = Access::new(directory.clone(), clock.clone());
        let ingest = Ingest::new(
            &setup.config,
            setup.body_timeout,
            log.clone(),
            directory.clone(),
            access.clone(),
            clock.clone(),
        )
        .expect("the log has the topics");
        ingest.rebuild().await.expect("reads the log");
        let router = Router::from(ingest.routes())
            .merge(ingest.osmand_port())
            .layer(Extension(access));
        let listener = TcpListener::bind("127.0.0.1:0").await.expect("a free port");
        let address = listener.local_addr().expect("bound");
        let stop = CancellationToken::new();
        tokio::spawn(Listen::of(&setup.http).serve(listener, router, stop.clone()));
        Self {
            address,
            ingest,
            log,
            directory,
            clock,
            stop,
            dir: Some(dir),
        }
    }

    /// Closes the log and gives its directory to the next server.
    async fn shut_down(mut self) -> TempDir {
        self.stop.cancel();
        self.log.close().await.expect("closes");
        self.dir.take().expect("still ours")
    }

    /// Makes `courier` known with one device, whose token it answers.
    fn device(&self, courier: &str) -> String {
        self.device_with(courier, SpeedUnit::Knots)
    }

    fn device_with(&self, courier: &str, speed_unit: SpeedUnit) -> String {
        let courier_id = CourierId::try_from(courier).expect("an id");
        let token = format!("wld_{}", courier.replace(':', "-"));
        self.directory.put_courier(Courier {
            id: courier_id.clone(),
            name: None,
            vehicle: None,
            tags: Box::default(),
            on_duty: true,
        });
        self.directory.put_device(Device {
            id: uuid::Uuid::new_v4(),
            courier_id,
            speed_unit,
            token_hash: hash_secret(&token),
        });
        token
    }

    async fn send(&self, request: Request) -> Reply {
        request.send(self.address).await
    }

    /// Posts to the native route.
    async fn post(&self, token: &str, body: &str) -> Reply {
        self.send(Request::native(token).body(body)).await
    }

    /// Every stored upload with its courier, in offset order a partition.
    async fn stored(&self) -> Vec<(String, FixBatch)> {
        let records = records(&*self.log, TOPIC_DELIVERY_LOCATION).await;
        let decode = |value: &[u8]| FixBatch::decode(value).expect("a batch");
        records
            .into_iter()
            .map(|(key, value)| (key, decode(&value)))
            .collect()
    }

    /// All stored fix times of a courier, sorted.
    async fn stored_times(&self, courier: &str) -> Vec<i64> {
        let stored = self.stored().await;
        let own = stored.iter().filter(|(key, _)| key == courier);
        let mut times: Vec<i64> = own
            .flat_map(|(_, batch)| batch.fixes.iter().map(|f| f.fix_time.0))
            .collect();
        times.sort_unstable();
        times
    }

    async fn quarantined(&self) -> Vec<(String, Quarantined)> {
        let records = records(&*self.log, TOPIC_QUARANTINE).await;
        let decode = |value: &[u8]| Quarantined::decode(value).expect("a record of ours");
        records
            .into_iter()
            .map(|(key, value)| (key, decode(&value)))
            .collect()
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.stop.cancel();
    }
}

/// Everything durable in a topic.
async fn records(log: &dyn Log, topic: &str) -> Vec<(String, Vec<u8>)> {
    let topics = log.topics().await.expect("topics");
    let status = topics.iter().find(|t| t.topic == topic).expect("the topic");
    let mut found = Vec::new();
    for partition in &status.partitions {
        let this = Partition(partition.partition);
        let mut reader = log
            .reader(topic, &[this], SeekTo::Earliest)
            .await
            .expect("reads");
        let mut next = partition.log_start_offset;
        while next < partition.durable_offset {
            if let StreamEvent::Records { records, .. } =
                reader.poll(PATIENCE).await.expect("reads")
            {
                next = records.last().map_or(next, |r| r.offset.0 + 1);
                let text = |key: &[u8]| String::from_utf8(key.to_vec()).expect("an id");
                found.extend(
                    records
                        .into_iter()
                        .map(|r| (text(&r.key), r.value.to_vec())),
                );
            }
        }
    }
    found
}

/// A request as bytes on the wire.
struct Request {
    head: String,
    body: Vec<u8>,
}

impl Request {
    fn new(method: &str, target: &str) -> Self {
        let head = format!("{method} {target} HTTP/1.1\r\nHost: waylog\r\nConnection: close\r\n");
        Self {
            head,
            body: Vec::new(),
        }
    }

    fn native(token: &str) -> Self {
        Self::new("POST", "/v1/positions").header("Authorization", &format!("Bearer {token}"))
    }

    fn owntracks(user: &str, token: &str) -> Self {
        let credentials = BASE64_STANDARD.encode(format!("{user}:{token}"));
        Self::new("POST", "/owntracks").header("Authorization", &format!("Basic {credentials}"))
    }

    fn header(mut self, name: &str, value: &str) -> Self {
        self.head.push_str(&format!("{name}: {value}\r\n"));
        self
    }

    fn body(mut self, body: impl AsRef<[u8]>) -> Self {
        self.body = body.as_ref().to_vec();
        self
    }

    /// Head and body, with the length announced.
    fn bytes(&self) -> Vec<u8> {
        let mut bytes = format!("{}Content-Length: {}\r\n\r\n", self.head, self.body.len());
        let mut bytes = std::mem::take(&mut bytes).into_bytes();
        bytes.extend_from_slice(&self.body);
        bytes
    }

    async fn send(&self, address: SocketAddr) -> Reply {
        exchange(address, &self.bytes()).await
    }
}

/// Writes while it reads: a server that refuses a long body answers before it is all written.
async fn exchange(address: SocketAddr, bytes: &[u8]) -> Reply {
    let stream = TcpStream::connect(address).await.expect("connects");
    let (mut read, mut write) = stream.into_split();
    let bytes = bytes.to_vec();
    // The server may close before everything is written; its answer is what counts.
    let writing = tokio::spawn(async move {
        drop(write.write_all(&bytes).await);
        write
    });
    let reply = Reply::read(&mut read).await;
    writing.abort();
    reply
}

#[derive(Debug)]
struct Reply {
    status: u16,
    head: String,
    body: String,
}

impl Reply {
    /// Reads an answer to the end of the connection.
    async fn read(stream: &mut (impl tokio::io::AsyncRead + Unpin)) -> Self {
        let mut bytes = Vec::new();
        let read = tokio::time::timeout(PATIENCE, async {
            let mut chunk = [0; 4096];
            // A connection that is reset after the answer has still answered.
            while let Ok(n @ 1..) = stream.read(&mut chunk).await {
                bytes.extend_from_slice(&chunk[..n]);
            }
        });
        read.await.expect("an answer");
        let text = String::from_utf8(bytes).expect("text");
        let (head, body) = text
            .split_once("\r\n\r\n")
            .unwrap_or_else(|| panic!("no answer: {text:?}"));
        let status = head
            .split(' ')
            .nth(1)
            .and_then(|s| s.parse().ok())
            .expect("a status");
        Self {
            status,
            head: head.to_lowercase(),
            body: body.to_owned(),
        }
    }

    fn json(&self) -> Value {
        serde_json::from_str(&self.body).unwrap_or_else(|e| panic!("{e}: {self:?}"))
    }

    /// `accepted`, `duplicate`, and how many `quarantined` of a native answer.
    fn counts(&self) -> (u64, u64, usize) {
        assert_eq!(self.status, 200, "{self:?}");
        let json = self.json();
        let n = |name: &str| json[name].as_u64().expect("a number");
        let quarantined = json["quarantined"].as_array().expect("a list").len();
        (n("accepted"), n("duplicate"), quarantined)
    }
}

fn fix(time_ms: i64) -> String {
    format!(r#"{{"fix_time":{time_ms},"lat":35.9,"lon":14.5}}"#)
}

fn fixes(times_ms: impl IntoIterator<Item = i64>) -> String {
    let fixes: Vec<String> = times_ms.into_iter().map(fix).collect();
    format!("[{}]", fixes.join(","))
}
