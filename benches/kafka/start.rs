//! A live-map node's start, to the first customer who sees a courier, with the newest positions of
//! 100,000 couriers to be read back from Kafka.

use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::{SinkExt, StreamExt};
use serde_json::{Value, json};
use sqlx::Executor;
use sqlx::postgres::PgPoolOptions;
use tokio_tungstenite::tungstenite::Message;
use waylog::clock::{Clock, SystemClock};
use waylog::domain::{Fix, FixBatch, Position, UnixMs};
use waylog::stream::kafka::{KafkaLog, KafkaOptions};
use waylog::stream::{Log, Record, TOPIC_DELIVERY_LOCATION, partition_for_key};

use crate::PARTITIONS;
use crate::load::{RUNS, drop_topics};

const COURIERS: usize = 100_000;
const KEY: &str = "bench-admin-key-0123456789abcdef0123";
const PORT: u16 = 18_471;

pub async fn start(broker: &str) {
    let url = std::env::var("WAYLOG_TEST_DATABASE_URL").expect("WAYLOG_TEST_DATABASE_URL is set");
    let name = format!("waylog_bench_{}", std::process::id());
    let (server, _) = url.rsplit_once('/').expect("a URL with a database");
    let admin = PgPoolOptions::new().connect(&url).await.expect("Postgres");
    let statement = |text: String| sqlx::AssertSqlSafe(text);
    admin
        .execute(statement(format!("create database {name}")))
        .await
        .expect("made");
    let database = format!("{server}/{name}");
    let prefix = format!("bench-start-{}.", std::process::id());
    let scratch = std::env::temp_dir().join(format!("waylog-bench-start-{}", std::process::id()));
    let node = |roles: &str| node(broker, &database, &prefix, &scratch, roles);

    let mut first = node("dispatch");
    let link = prepare().await;
    let pool = PgPoolOptions::new()
        .connect(&database)
        .await
        .expect("the database");
    let crowd = format!(
        "insert into dispatch.courier (id, name) select 'c-' || n, 'Courier ' || n \
         from generate_series(1, {}) n on conflict do nothing",
        COURIERS - 1
    );
    pool.execute(statement(crowd)).await.expect("couriers");
    fill(broker, &prefix).await;
    stop(&mut first);

    let mut took = Vec::new();
    for _ in 0..RUNS {
        let began = Instant::now();
        let mut map = node("live-map");
        served(&link).await;
        took.push(began.elapsed());
        stop(&mut map);
    }
    took.sort();
    println!(
        "start: a live-map node with {COURIERS} couriers' newest positions in Kafka serves its first \
         socket after {:.2} s (runs: {took:.2?})",
        took[RUNS / 2].as_secs_f64()
    );
    pool.close().await;
    admin
        .execute(statement(format!("drop database {name} with (force)")))
        .await
        .expect("dropped");
    let topics =
        ["delivery-location", "delivery-location.quarantine"].map(|t| format!("{prefix}{t}"));
    drop_topics(broker, &[&topics[0], &topics[1]]).await;
    std::fs::remove_dir_all(&scratch).expect("removed");
}

fn node(
    broker: &str,
    database: &str,
    prefix: &str,
    scratch: &std::path::Path,
    roles: &str,
) -> Child {
    Command::new("target/release/waylog")
        .args(["serve", "--roles", roles])
        .env("WAYLOG__HTTP__LISTEN", format!("127.0.0.1:{PORT}"))
        .env("WAYLOG__DATA_DIR", scratch)
        .env("WAYLOG__ADMIN_KEY", KEY)
        .env("WAYLOG__DATABASE__URL", database)
        .env("WAYLOG__STREAM__BACKEND", "kafka")
        .env("WAYLOG__STREAM__KAFKA__BROKERS", broker)
        .env("WAYLOG__STREAM__KAFKA__TOPIC_PREFIX", prefix)
        .env("WAYLOG__STREAM__KAFKA__GROUP_PREFIX", prefix)
        .env("WAYLOG__STREAM__KAFKA__REPLICATION_FACTOR", "1")
        .env("WAYLOG__STREAM__KAFKA__MIN_INSYNC_REPLICAS", "1")
        .env("WAYLOG__TELEMETRY__LOG", "warn")
        .stdout(Stdio::null())
        .spawn()
        .expect("target/release/waylog runs: build it before")
}

fn stop(node: &mut Child) {
    node.kill().expect("it ran");
    node.wait().expect("it ended");
}

/// Couriers under way: the one who is watched. Answers the token of the customer's link.
async fn prepare() -> String {
    drop(rustls::crypto::ring::default_provider().install_default());
    let http = reqwest::Client::new();
    let base = format!("http://127.0.0.1:{PORT}");
    let ready = async || {
        let answer = http.get(format!("{base}/readyz")).send().await.ok()?;
        answer.status().is_success().then_some(())
    };
    while ready().await.is_none() {
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    let post = async |path: &str, body: Value| -> Value {
        let request = http
            .post(format!("{base}{path}"))
            .bearer_auth(KEY)
            .json(&body);
        request
            .send()
            .await
            .expect("sent")
            .json()
            .await
            .expect("JSON")
    };
    post("/v1/couriers", json!({"id": "c-0", "name": "Courier 0"})).await;
    let delivery = json!({"id": "d-0", "courier_id": "c-0", "link": true,
        "pickup": {"lat": 35.9, "lon": 14.5}, "dropoff": {"lat": 36.0, "lon": 14.5}});
    let delivery = post("/v1/deliveries", delivery).await;
    post("/v1/deliveries/d-0/status", json!({"status": "picked_up"})).await;
    let link = delivery["tracking_url"].as_str().expect("a link");
    link.rsplit('/').next().expect("a token").to_owned()
}

/// One position of each courier.
async fn fill(broker: &str, prefix: &str) {
    let mut options = KafkaOptions::new(broker, PARTITIONS);
    options.replication_factor = 1;
    options.min_insync_replicas = 1;
    options.topic_prefix = prefix.to_owned();
    options.group_prefix = prefix.to_owned();
    let log = KafkaLog::open(options, SystemClock::shared())
        .await
        .expect("opens");
    let now = UnixMs(SystemClock.now_ms());
    let appends = (0..COURIERS).map(|n| {
        let (log, key) = (log.clone(), Bytes::from(format!("c-{n}")));
        let offset = n as f64 * 1e-6;
        let position = Position::from_degrees(35.8 + offset, 14.4 + offset).expect("near Malta");
        let batch = FixBatch {
            received_at: now,
            fixes: vec![Fix::new(now, position)],
            sos: false,
        };
        async move {
            let partition = partition_for_key(&key, PARTITIONS);
            let record = Record {
                key,
                value: batch.encode(),
                timestamp_ms: now.0,
            };
            log.append(TOPIC_DELIVERY_LOCATION, partition, vec![record])
                .await
                .expect("appended");
        }
    });
    futures_util::stream::iter(appends)
        .for_each_concurrent(2_000, |append| append)
        .await;
    log.close().await.expect("closed");
}

/// Tries until a socket is told where the courier is.
async fn served(link: &str) {
    loop {
        let url = format!("ws://127.0.0.1:{PORT}/ws/track");
        if let Ok((mut socket, _)) = tokio_tungstenite::connect_async(url).await {
            let hello = json!({"type": "hello", "token": link}).to_string();
            if socket.send(Message::text(hello)).await.is_ok()
                && let Some(Ok(message)) = socket.next().await
            {
                let text = message.into_text().expect("text");
                let value: Value = serde_json::from_str(&text).expect("JSON");
                if value["type"] == "snapshot" && value["position"]["lat"].is_number() {
                    return;
                }
            }
        }
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
}
