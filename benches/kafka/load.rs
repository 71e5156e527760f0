//! Appenders over any backend.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use rdkafka::ClientConfig;
use rdkafka::admin::{AdminClient, AdminOptions, NewTopic, TopicReplication};
use rdkafka::client::DefaultClientContext;
use waylog::clock::SystemClock;
use waylog::stream::kafka::{KafkaLog, KafkaOptions};
use waylog::stream::{AppendError, Log, Partition, Record, TOPIC_DELIVERY_LOCATION};

use crate::PARTITIONS;

/// Tasks that append at once, and appends that each has under way.
const APPENDERS: usize = 64;
const IN_FLIGHT: usize = 128;
/// How long a run is measured, and what is not measured before it.
pub const RUN: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(2);
/// Runs of which the median is told.
pub const RUNS: usize = 3;

/// Durable records and bytes a second.
#[derive(Clone, Copy)]
pub struct Rate {
    pub records: f64,
    pub bytes: f64,
}

/// As many appends as go.
pub async fn load(log: &Arc<dyn Log>, records: &[(Partition, Record)]) -> Rate {
    let records: Arc<[(Partition, Record)]> = records.into();
    let counts = Arc::new([AtomicU64::new(0), AtomicU64::new(0)]);
    let stop = Arc::new(AtomicBool::new(false));
    let mut tasks = tokio::task::JoinSet::new();
    for appender in 0..APPENDERS {
        let (log, records) = (Arc::clone(log), Arc::clone(&records));
        let (counts, stop) = (Arc::clone(&counts), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut at = appender * records.len() / APPENDERS;
            let mut flying = FuturesUnordered::new();
            while !stop.load(Ordering::Relaxed) {
                while flying.len() < IN_FLIGHT {
                    let (partition, record) = &records[at % records.len()];
                    at += 1;
                    let size = (record.key.len() + record.value.len()) as u64;
                    let append =
                        log.append(TOPIC_DELIVERY_LOCATION, *partition, vec![record.clone()]);
                    flying.push(async move { (append.await, size) });
                }
                match flying.next().await {
                    Some((Ok(_), size)) => {
                        counts[0].fetch_add(1, Ordering::Relaxed);
                        counts[1].fetch_add(size, Ordering::Relaxed);
                    }
                    Some((Err(AppendError::Busy), _)) => tokio::task::yield_now().await,
                    Some((Err(error), _)) => panic!("{error}"),
                    None => {}
                }
            }
            while flying.next().await.is_some() {}
        });
    }
    tokio::time::sleep(WARM_UP).await;
    let now = || [0, 1].map(|n: usize| counts[n].load(Ordering::Relaxed));
    let (began, before) = (Instant::now(), now());
    tokio::time::sleep(RUN).await;
    let (after, seconds) = (now(), began.elapsed().as_secs_f64());
    stop.store(true, Ordering::Relaxed);
    while let Some(ended) = tasks.join_next().await {
        ended.expect("no panic");
    }
    Rate {
        records: (after[0] - before[0]) as f64 / seconds,
        bytes: (after[1] - before[1]) as f64 / seconds,
    }
}

pub fn median(mut rates: Vec<Rate>) -> Rate {
    rates.sort_by(|a, b| a.records.total_cmp(&b.records));
    rates[rates.len() / 2]
}

/// A log on Kafka with topics of its own; `settings` are the topics' own.
pub async fn open(broker: &str, name: &str, settings: &[(&str, &str)]) -> Arc<KafkaLog> {
    let mut options = KafkaOptions::new(broker, PARTITIONS);
    options.replication_factor = 1;
    options.min_insync_replicas = 1;
    // Records of recorded tracks are years old.
    options.retention = None;
    options.topic_prefix = format!("bench-{name}-{}.", std::process::id());
    options.group_prefix.clone_from(&options.topic_prefix);
    for spec in &options.topics {
        let remote = format!("{}{}", options.topic_prefix, spec.name);
        make_topic(broker, &remote, spec.partitions, settings).await;
    }
    let log = KafkaLog::open(options, SystemClock::shared()).await;
    log.expect("it opens")
}

pub fn admin(broker: &str) -> AdminClient<DefaultClientContext> {
    let mut config = ClientConfig::new();
    config.set("bootstrap.servers", broker);
    config.create().expect("a client")
}

pub async fn make_topic(broker: &str, name: &str, partitions: u32, settings: &[(&str, &str)]) {
    let partitions = i32::try_from(partitions).expect("few");
    let mut topic = NewTopic::new(name, partitions, TopicReplication::Fixed(1));
    topic = topic.set("retention.ms", "-1");
    for (key, value) in settings {
        topic = topic.set(key, value);
    }
    let made = admin(broker)
        .create_topics([&topic], &AdminOptions::new())
        .await;
    made.expect("an answer").remove(0).expect("made");
}

pub async fn drop_topics(broker: &str, names: &[&str]) {
    let dropped = admin(broker)
        .delete_topics(names, &AdminOptions::new())
        .await;
    dropped.expect("an answer");
}
