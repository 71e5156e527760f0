//! What the tests of the Kafka backend share: topics of their own on the broker of the tests.

use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;

use crate::clock::SystemClock;
use crate::stream::kafka::{KafkaLog, KafkaOptions};
use crate::stream::{Consumer, LogError, Record, StoredRecord, StreamEvent, TopicSpec};

/// Longest that anything here may take; only a hang is that slow.
pub(super) const PATIENCE: Duration = Duration::from_secs(60);

/// Where the tests' broker is. `make test` starts one; where its jars cannot be had it says so by
/// `none`, and each test that would need it is counted as skipped.
pub(super) fn broker() -> Option<String> {
    let broker = std::env::var("WAYLOG_TEST_KAFKA")
        .expect("WAYLOG_TEST_KAFKA is not set: run the tests by `make test`, or give `none`");
    if broker != "none" {
        return Some(broker);
    }
    println!("SKIPPED: there is no Kafka here");
    if let Some(path) = std::env::var_os("WAYLOG_TEST_SKIPPED") {
        use std::io::Write;
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        writeln!(file.unwrap(), "{name}").unwrap();
    }
    None
}

/// Options with one topic of its own of three partitions, for a group prefix of its own.
pub(super) fn options(broker: &str) -> KafkaOptions {
    let name = uuid::Uuid::new_v4().simple().to_string();
    let mut options = KafkaOptions::new(broker, 3);
    options.topics = vec![TopicSpec {
        name: "t".to_owned(),
        partitions: 3,
    }];
    options.topic_prefix = format!("{name}.");
    options.group_prefix = format!("{name}.");
    options.replication_factor = 1;
    options.min_insync_replicas = 1;
    // Records of 1970 must not be deleted before they are read.
    options.retention = None;
    options.delivery_timeout = Duration::from_secs(30);
    // Rebalances that do not keep a test waiting.
    options.properties = properties(&[
        ("heartbeat.interval.ms", "200"),
        ("session.timeout.ms", "6000"),
    ]);
    options
}

pub(super) fn properties(pairs: &[(&str, &str)]) -> Vec<(String, String)> {
    let owned = |(key, value): &(&str, &str)| ((*key).to_owned(), (*value).to_owned());
    pairs.iter().map(owned).collect()
}

pub(super) async fn open(options: &KafkaOptions) -> Result<Arc<KafkaLog>, LogError> {
    KafkaLog::open(options.clone(), SystemClock::shared()).await
}

/// Why a log with these options is not opened.
pub(super) async fn refusal(options: &KafkaOptions) -> String {
    match open(options).await {
        Ok(_) => panic!("it was opened"),
        Err(error) => error.to_string(),
    }
}

pub(super) fn admin(options: &KafkaOptions) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", &options.brokers);
    config.create().unwrap()
}

/// Makes the topic before Waylog does, with a setting of its own.
pub(super) async fn make_topic(options: &KafkaOptions, partitions: i32, setting: (&str, &str)) {
    let name = options.remote("t");
    let topic = NewTopic::new(&name, partitions, TopicReplication::Fixed(1));
    let topic = topic.set(setting.0, setting.1);
    let made = admin(options)
        .create_topics([&topic], &AdminOptions::new())
        .await;
    made.unwrap().remove(0).unwrap();
}

pub(super) fn record(key: &str, value: impl Into<Bytes>, timestamp_ms: i64) -> Record {
    Record {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.into(),
        timestamp_ms,
    }
}

/// The next event that is not idle, or what the poll failed with.
pub(super) async fn event(
    consumer: &mut Box<dyn Consumer>,
) -> Result<StreamEvent, crate::stream::PollError> {
    let next = async {
        loop {
            match consumer.poll(Duration::from_millis(200)).await {
                Ok(StreamEvent::Idle) => {}
                other => return other,
            }
        }
    };
    tokio::time::timeout(PATIENCE, next)
        .await
        .expect("an event")
}

/// Polls until so many records have come.
pub(super) async fn read(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<StoredRecord> {
    let mut read = Vec::new();
    while read.len() < count {
        if let StreamEvent::Records { records, .. } = event(consumer).await.expect("polled") {
            read.extend(records);
        }
    }
    read
}
