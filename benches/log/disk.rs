//! Bytes on disk, and how long 10 GB of them take to open.

use std::path::Path;
use std::sync::Arc;
use std::time::{Duration, Instant};

use waylog::clock::SystemClock;
use waylog::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use waylog::stream::{
    AppendError, Log, Partition, Record, SeekTo, StreamEvent, TOPIC_DELIVERY_LOCATION,
};

use crate::PARTITIONS;
use crate::kit::{APPENDERS, Bench, bench_dir, load};
use crate::tracks::Tracks;

/// Bytes a fix, frames and all, by size of upload, and of a log without any.
pub async fn size(tracks: &Tracks) {
    let recorded = ["delivery-agents.csv", "buses.csv"]
        .map(|file| Tracks::recorded(file).map(|tracks| (file, tracks)));
    let recorded = recorded
        .iter()
        .flatten()
        .map(|(file, tracks)| (*file, tracks));
    for (name, tracks) in std::iter::once(("every column filled", tracks)).chain(recorded) {
        for (records, fixes) in [(&tracks.hundreds, 100), (&tracks.singles, 1)] {
            let bytes = bytes_a_record(records).await / f64::from(fixes);
            println!("size: {name}: {bytes:.1} bytes a fix on disk at {fixes} a record");
        }
    }
    let bench = Bench::open("empty");
    let bytes = disk_bytes(&bench.dir);
    println!(
        "size: an empty log takes {:.1} MiB of disk",
        bytes as f64 / f64::from(1 << 20)
    );
    bench.close().await;
}

async fn bytes_a_record(records: &[(Partition, Record)]) -> f64 {
    let bench = Bench::open("size");
    load(&bench.log, records).await;
    let topics = bench.log.topics().await.expect("asked");
    let topic = topics
        .iter()
        .find(|topic| topic.topic == TOPIC_DELIVERY_LOCATION)
        .expect("listed");
    let count: u64 = topic.partitions.iter().map(|p| p.durable_offset).sum();
    let bytes = bench.log.frame_bytes() as f64 / count as f64;
    bench.close().await;
    bytes
}

fn disk_bytes(dir: &Path) -> u64 {
    use std::os::unix::fs::MetadataExt as _;
    let entries = std::fs::read_dir(dir)
        .expect("listed")
        .map(|entry| entry.expect("an entry"));
    let sizes = entries.map(|entry| {
        let meta = entry.metadata().expect("known");
        if meta.is_dir() {
            disk_bytes(&entry.path())
        } else {
            meta.blocks() * 512
        }
    });
    sizes.sum()
}

/// Opening 10 GB that a killed process has left.
pub async fn open() {
    let dir = bench_dir("open");
    let program = std::env::current_exe().expect("this program");
    let status = std::process::Command::new(program)
        .env("WAYLOG_BENCH_FILL", &dir)
        .status();
    println!(
        "open: filled 10 GB, the writer was killed ({})",
        status.expect("started")
    );
    let mut options = EmbeddedLogOptions::new(&dir, PARTITIONS);
    options.scrub_bytes_per_s = 0;
    let start = Instant::now();
    let log = EmbeddedLog::open(options, SystemClock::shared()).expect("opens");
    let opened = start.elapsed();
    let partition = Partition(0);
    let record = Record {
        key: "c".into(),
        value: "x".into(),
        timestamp_ms: 0,
    };
    log.append(TOPIC_DELIVERY_LOCATION, partition, vec![record])
        .await
        .expect("appended");
    let serving = start.elapsed();
    let mut read = 0;
    for number in 0..PARTITIONS {
        // Every index is built when its segment is first looked into.
        let only = [Partition(number)];
        for at in 0..200 {
            let topics = log.topics().await.expect("asked");
            let end = topics[0].partitions[number as usize].durable_offset;
            let from = SeekTo::Offset(waylog::stream::Offset(end * at / 200));
            let mut reader = log
                .reader(TOPIC_DELIVERY_LOCATION, &only, from)
                .await
                .expect("opens");
            if let Ok(StreamEvent::Records { records, .. }) =
                reader.poll(Duration::from_secs(10)).await
            {
                read += records.len();
            }
        }
    }
    println!(
        "open: {:.1} GB open in {:.2} s, first record durable after {:.2} s; index of all of it \
         {:.1} MiB ({read} records read through it)",
        log.frame_bytes() as f64 / 1e9,
        opened.as_secs_f64(),
        serving.as_secs_f64(),
        log.index_bytes() as f64 / f64::from(1 << 20)
    );
    log.close().await.expect("closes");
    std::fs::remove_dir_all(&dir).expect("removed");
}

/// Fills a log with 10 GB and dies in the middle of it, as kill -9 would have it.
pub fn fill_and_die(dir: &Path) -> ! {
    let tracks = Tracks::as_phones_send();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    runtime.expect("a runtime").block_on(async {
        let log = EmbeddedLog::open(
            EmbeddedLogOptions::new(dir, PARTITIONS),
            SystemClock::shared(),
        );
        let log = log.expect("opens");
        let mut tasks = tokio::task::JoinSet::new();
        let hundreds: Arc<[_]> = tracks.hundreds.into();
        for appender in 0..APPENDERS {
            let (log, records) = (Arc::clone(&log), Arc::clone(&hundreds));
            tasks.spawn(async move {
                for at in appender.. {
                    let (_, record) = &records[at % records.len()];
                    let partition = Partition((at % PARTITIONS as usize) as u32);
                    let records = vec![record.clone(); 20];
                    match log
                        .append(TOPIC_DELIVERY_LOCATION, partition, records)
                        .await
                    {
                        Ok(_) => {}
                        Err(AppendError::Busy) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                }
            });
        }
        while log.frame_bytes() < 10_000_000_000 {
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
        let me = rustix::process::getpid();
        rustix::process::kill_process(me, rustix::process::Signal::KILL).expect("killed");
    });
    unreachable!("the process was killed")
}
