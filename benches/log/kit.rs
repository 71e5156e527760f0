//! A log of its own for each run, the load on it, and the bare loop that it is compared with.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use waylog::clock::SystemClock;
use waylog::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use waylog::stream::{AppendError, Log, Partition, Record, TOPIC_DELIVERY_LOCATION};

use crate::PARTITIONS;

/// Tasks that append at once.
pub const APPENDERS: usize = 64;
/// Appends that each of them has under way.
pub const IN_FLIGHT: usize = 128;
/// Runs of which the median is told.
pub const RUNS: usize = 5;
/// How long a run is measured.
pub const RUN: Duration = Duration::from_secs(3);
/// What is not measured before it.
pub const WARM_UP: Duration = Duration::from_secs(1);

/// A log in a folder that goes with it.
pub struct Bench {
    pub log: Arc<EmbeddedLog>,
    pub dir: PathBuf,
}

impl Bench {
    pub fn open(name: &str) -> Self {
        let dir = bench_dir(name);
        let mut options = EmbeddedLogOptions::new(&dir, PARTITIONS);
        // Only the disk in use limits these runs.
        options.retention.bytes = 4 << 30;
        options.retention.hard_cap_bytes = 30 << 30;
        options.housekeeping_interval = Duration::from_secs(1);
        if let Some(threads) = std::env::var_os("WAYLOG_BENCH_SYNC_THREADS") {
            options.sync_threads = threads.to_string_lossy().parse().expect("a number");
        }
        let log = EmbeddedLog::open(options, SystemClock::shared()).expect("opens");
        Self { log, dir }
    }

    pub async fn close(self) {
        self.log.close().await.expect("closes");
        drop(self.log);
        std::fs::remove_dir_all(&self.dir).expect("removed");
    }
}

pub fn bench_dir(name: &str) -> PathBuf {
    let base = std::env::var_os("WAYLOG_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = base.join(format!("waylog-bench-{name}-{}", std::process::id()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir).expect("removed");
    }
    dir
}

/// What one run of appenders did.
#[derive(Clone, Copy)]
pub struct Load {
    pub records_per_s: f64,
    pub bytes_per_s: f64,
    /// Mean bytes that one sync made durable.
    pub batch: f64,
    /// Processor time a record, the appenders' own included, microseconds.
    pub cpu_us: f64,
}

/// [`APPENDERS`] tasks with [`IN_FLIGHT`] appends each, for [`RUN`] after a warm-up.
pub async fn load(log: &Arc<EmbeddedLog>, records: &[(Partition, Record)]) -> Load {
    let records: Arc<[(Partition, Record)]> = records.into();
    let (done, bytes) = (Arc::new(AtomicU64::new(0)), Arc::new(AtomicU64::new(0)));
    let stop = Arc::new(AtomicU64::new(0));
    let mut tasks = tokio::task::JoinSet::new();
    for appender in 0..APPENDERS {
        let (log, records) = (Arc::clone(log), Arc::clone(&records));
        let (done, bytes, stop) = (Arc::clone(&done), Arc::clone(&bytes), Arc::clone(&stop));
        tasks.spawn(async move {
            let mut at = appender * records.len() / APPENDERS;
            let mut flying = FuturesUnordered::new();
            while stop.load(Ordering::Relaxed) == 0 {
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
                        done.fetch_add(1, Ordering::Relaxed);
                        bytes.fetch_add(size, Ordering::Relaxed);
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
    let (start, cpu) = (Instant::now(), cpu_seconds());
    let before = (
        done.load(Ordering::Relaxed),
        bytes.load(Ordering::Relaxed),
        log.syncs(),
    );
    tokio::time::sleep(RUN).await;
    let after = (
        done.load(Ordering::Relaxed),
        bytes.load(Ordering::Relaxed),
        log.syncs(),
    );
    let (seconds, cpu) = (start.elapsed().as_secs_f64(), cpu_seconds() - cpu);
    stop.store(1, Ordering::Relaxed);
    while tasks
        .join_next()
        .await
        .transpose()
        .expect("no panic")
        .is_some()
    {}
    let (records, bytes) = ((after.0 - before.0) as f64, (after.1 - before.1) as f64);
    Load {
        records_per_s: records / seconds,
        bytes_per_s: bytes / seconds,
        batch: bytes / (after.2 - before.2).max(1) as f64,
        cpu_us: cpu * 1e6 / records,
    }
}

pub fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The bare loop: the same number of bytes a batch, written with pwrite and fdatasync into
/// preallocated files in turn, `threads` at once. Answers bytes a second.
pub fn bare(batch: usize, threads: u32) -> f64 {
    let dir = bench_dir("bare");
    std::fs::create_dir_all(&dir).expect("created");
    let written = AtomicU64::new(0);
    let start = Instant::now();
    std::thread::scope(|scope| {
        for thread in 0..threads {
            let (dir, written) = (&dir, &written);
            scope.spawn(move || {
                let block = vec![0x5a_u8; batch];
                let files: Vec<File> = (0..PARTITIONS)
                    .filter(|n| n % threads == thread)
                    .map(|n| preallocated(&dir.join(format!("bare-{n}")), 256 << 20))
                    .collect();
                let mut pos = 0;
                while start.elapsed() < RUN {
                    for file in &files {
                        file.write_all_at(&block, pos % (200 << 20))
                            .expect("written");
                        file.sync_data().expect("synced");
                        written.fetch_add(batch as u64, Ordering::Relaxed);
                    }
                    pos += batch as u64;
                }
            });
        }
    });
    let rate = written.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64();
    std::fs::remove_dir_all(&dir).expect("removed");
    rate
}

fn preallocated(path: &Path, len: u64) -> File {
    let file = File::options()
        .write(true)
        .create_new(true)
        .open(path)
        .expect("created");
    rustix::fs::fallocate(&file, rustix::fs::FallocateFlags::empty(), 0, len).expect("allocated");
    file.sync_all().expect("synced");
    file
}

pub async fn measure(name: &str, records: &[(Partition, Record)]) -> Vec<Load> {
    let mut loads = Vec::new();
    for _ in 0..RUNS {
        let bench = Bench::open(name);
        loads.push(load(&bench.log, records).await);
        bench.close().await;
    }
    loads
}

pub fn of(loads: &[Load], figure: impl Fn(&Load) -> f64) -> f64 {
    median(loads.iter().map(figure).collect())
}

/// Processor time of this process so far, seconds.
pub fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("fields");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|t| t.parse::<f64>().expect("a number"))
        .sum();
    ticks / 100.0
}
