//! Appends through the seam, beside Kafka's producer-performance tool with the same bytes and
//! settings, and beside the embedded log.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use waylog::clock::SystemClock;
use waylog::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use waylog::stream::{Log, Partition, Record, TOPIC_DELIVERY_LOCATION, TOPIC_QUARANTINE};

use crate::PARTITIONS;
use crate::load::{RUNS, Rate, drop_topics, load, make_topic, median, open};
use crate::tracks::Tracks;

/// Records of one run of Kafka's tool: about as long as one of ours.
const TOOL_RECORDS: usize = 600_000;

/// Through the seam, and by Kafka's own producer: the same values as text, since the tool reads
/// lines.
pub async fn producer(broker: &str, tracks: &Tracks) {
    let as_text = |(partition, record): &(Partition, Record)| {
        let value = BASE64.encode(&record.value).into_bytes().into();
        (
            *partition,
            Record {
                value,
                ..record.clone()
            },
        )
    };
    let records: Vec<_> = tracks.hundreds.iter().map(as_text).collect();
    let payloads = std::env::temp_dir().join(format!("waylog-bench-{}", std::process::id()));
    let lines: Vec<_> = records
        .iter()
        .map(|(_, record)| &record.value[..])
        .collect();
    std::fs::write(&payloads, lines.join(&b'\n')).expect("written");
    let (mut ours, mut theirs) = (Vec::new(), Vec::new());
    for run in 0..RUNS {
        let name = format!("seam{run}");
        ours.push(through_seam(broker, &name, &[], &records).await);
        theirs.push(by_tool(broker, run, &payloads).await);
    }
    std::fs::remove_file(&payloads).expect("removed");
    let (ours, theirs) = (median(ours), median(theirs));
    println!(
        "producer: through the seam {:.0} records/s, {:.1} MB/s; Kafka's producer-performance tool \
         with the same values, acks=all, idempotence, lz4, linger and batch size {:.0} records/s, \
         {:.1} MB/s; the seam reaches {:.0} %",
        ours.records,
        ours.bytes / 1e6,
        theirs.records,
        theirs.bytes / 1e6,
        100.0 * ours.records / theirs.records
    );
}

async fn through_seam(
    broker: &str,
    name: &str,
    settings: &[(&str, &str)],
    records: &[(Partition, Record)],
) -> Rate {
    let log = open(broker, name, settings).await;
    let remote = |topic| {
        let id = log.stream_id(topic).expect("known");
        id.rsplit_once(':').expect("a topic").1.to_owned()
    };
    let topics = [remote(TOPIC_DELIVERY_LOCATION), remote(TOPIC_QUARANTINE)];
    let shared: Arc<dyn Log> = log.clone();
    let rate = load(&shared, records).await;
    log.close().await.expect("closed");
    drop_topics(broker, &[&topics[0], &topics[1]]).await;
    rate
}

/// One run of `org.apache.kafka.tools.ProducerPerformance`.
async fn by_tool(broker: &str, run: usize, payloads: &Path) -> Rate {
    let topic = format!("bench-tool{run}-{}", std::process::id());
    make_topic(broker, &topic, PARTITIONS, &[]).await;
    let jars = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("var/kafka-jars/*");
    let output = Command::new("java")
        .args(["-Xms256m", "-Xmx512m", "-cp"])
        .arg(jars)
        .args([
            "org.apache.kafka.tools.ProducerPerformance",
            "--topic",
            &topic,
        ])
        .args([
            "--num-records",
            &TOOL_RECORDS.to_string(),
            "--throughput",
            "-1",
        ])
        .arg("--payload-file")
        .arg(payloads)
        .arg("--producer-props")
        .arg(format!("bootstrap.servers={broker}"))
        .args([
            "acks=all",
            "enable.idempotence=true",
            "compression.type=lz4",
        ])
        .args([
            "linger.ms=2",
            "batch.size=1000000",
            "buffer.memory=67108864",
        ])
        .output()
        .expect("java runs");
    drop_topics(broker, &[&topic]).await;
    let said = String::from_utf8_lossy(&output.stdout);
    // "600000 records sent, 98765.4 records/sec (90.12 MB/sec), …" is the last of its lines.
    let total = said
        .lines()
        .rev()
        .find(|line| line.contains("records sent"));
    let total =
        total.unwrap_or_else(|| panic!("{said}{}", String::from_utf8_lossy(&output.stderr)));
    let number = |after: &str| {
        let rest = total.split_once(after).expect("as always").1;
        let text: String = rest
            .chars()
            .take_while(|c| c.is_ascii_digit() || *c == '.')
            .collect();
        text.parse::<f64>().expect("a number")
    };
    Rate {
        records: number("records sent, "),
        bytes: number("records/sec (") * f64::from(1 << 20),
    }
}

/// The embedded log, which syncs, beside a broker that is told to sync every message, and beside
/// one that is not.
pub async fn synced(broker: &str, tracks: &Tracks) {
    let (mut embedded, mut flushed, mut unsynced) = (Vec::new(), Vec::new(), Vec::new());
    for run in 0..RUNS {
        embedded.push(in_files(run, &tracks.hundreds).await);
        let every = [("flush.messages", "1")];
        let name = format!("flush{run}");
        flushed.push(through_seam(broker, &name, &every, &tracks.hundreds).await);
        let name = format!("free{run}");
        unsynced.push(through_seam(broker, &name, &[], &tracks.hundreds).await);
    }
    let (embedded, flushed, unsynced) = (median(embedded), median(flushed), median(unsynced));
    println!(
        "synced: embedded log (fdatasync before every acknowledgement) {:.0} records/s, {:.1} MB/s; \
         a broker with flush.messages=1 {:.0} records/s ({:.1} times); a broker that does not sync \
         {:.0} records/s ({:.1} times)",
        embedded.records,
        embedded.bytes / 1e6,
        flushed.records,
        embedded.records / flushed.records,
        unsynced.records,
        embedded.records / unsynced.records
    );
}

async fn in_files(run: usize, records: &[(Partition, Record)]) -> Rate {
    let base = std::env::var_os("WAYLOG_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = base.join(format!("waylog-bench-kafka-{run}-{}", std::process::id()));
    let mut options = EmbeddedLogOptions::new(&dir, PARTITIONS);
    options.retention.bytes = 4 << 30;
    options.retention.hard_cap_bytes = 30 << 30;
    options.housekeeping_interval = std::time::Duration::from_secs(1);
    let log = EmbeddedLog::open(options, SystemClock::shared()).expect("opens");
    let shared: Arc<dyn Log> = log.clone();
    let rate = load(&shared, records).await;
    log.close().await.expect("closes");
    drop((log, shared));
    std::fs::remove_dir_all(&dir).expect("removed");
    rate
}
