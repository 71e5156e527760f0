//! What the embedded log does on this disk: `cargo bench --bench log [section…]`.
//!
//! Sections: `throughput`, `single`, `paced`, `readers`, `size`, `idle`, `open`. Every figure is the
//! median of several runs and stands beside what it is compared with, measured in the same run. The
//! files lie under `WAYLOG_BENCH_DIR`, or the system's folder for temporary files.

use std::fs::File;
use std::os::unix::fs::FileExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use waylog::clock::SystemClock;
use waylog::domain::{Fix, FixBatch, Position, UnixMs};
use waylog::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use waylog::stream::{
    AppendError, Consumer, FromCommitted, Log, Partition, Record, SeekTo, StreamEvent,
    TOPIC_DELIVERY_LOCATION, partition_for_key,
};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const PARTITIONS: u32 = 12;
const APPENDERS: usize = 64;
const IN_FLIGHT: usize = 128;
const RUNS: usize = 5;
const RUN: Duration = Duration::from_secs(3);
const WARM_UP: Duration = Duration::from_secs(1);

fn main() {
    let wanted: Vec<String> = std::env::args()
        .skip(1)
        .filter(|a| !a.starts_with('-'))
        .collect();
    let on = |section: &str| wanted.is_empty() || wanted.iter().any(|w| w == section);
    if let Some(dir) = std::env::var_os("WAYLOG_BENCH_FILL") {
        fill_and_die(Path::new(&dir));
    }
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    println!("cores {cores}, {PARTITIONS} partitions, fdatasync before every acknowledgement");
    let tracks = Tracks::load();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build();
    let runtime = runtime.expect("a runtime");
    if on("throughput") {
        runtime.block_on(throughput(&tracks));
    }
    if on("single") {
        runtime.block_on(single(&tracks));
    }
    if on("paced") {
        runtime.block_on(paced(&tracks));
    }
    if on("readers") {
        runtime.block_on(readers(&tracks));
    }
    if on("size") {
        runtime.block_on(size(&tracks));
    }
    if on("idle") {
        runtime.block_on(idle());
    }
    if on("open") {
        runtime.block_on(open());
    }
}

/// Records of real tracks: uploads of 100 fixes, and of one.
struct Tracks {
    hundreds: Vec<(Partition, Record)>,
    singles: Vec<(Partition, Record)>,
}

impl Tracks {
    fn load() -> Self {
        let file =
            Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/traces/delivery-agents.csv");
        let mut couriers: Vec<(String, Vec<Fix>)> = Vec::new();
        match std::fs::read_to_string(&file) {
            Ok(text) => {
                for line in text.lines().skip(1) {
                    let columns: Vec<&str> = line.split(',').collect();
                    let (id, fix) = (columns[0], parse(&columns));
                    match couriers.iter_mut().find(|(known, _)| known == id) {
                        Some((_, fixes)) => fixes.push(fix),
                        None => couriers.push((id.to_owned(), vec![fix])),
                    }
                }
                println!(
                    "records of {} real tracks, {}",
                    couriers.len(),
                    file.display()
                );
            }
            Err(error) => {
                println!("records of made-up tracks: {}: {error}", file.display());
                couriers = (0..150).map(made_up).collect();
            }
        }
        let batch = |id: &str, fixes: &[Fix]| {
            let received_at = fixes[fixes.len() - 1].fix_time;
            let value = FixBatch {
                received_at,
                fixes: fixes.to_vec(),
                sos: false,
            }
            .encode();
            let key = Bytes::copy_from_slice(id.as_bytes());
            let partition = partition_for_key(&key, PARTITIONS);
            (
                partition,
                Record {
                    key,
                    value,
                    timestamp_ms: received_at.0,
                },
            )
        };
        let mut tracks = Self {
            hundreds: Vec::new(),
            singles: Vec::new(),
        };
        for (id, fixes) in &couriers {
            // Tracks shorter than an upload are repeated an hour later until they fill it.
            let mut long = fixes.clone();
            for round in 1.. {
                if long.len() >= 100 {
                    break;
                }
                long.extend(fixes.iter().map(|fix| Fix {
                    fix_time: UnixMs(fix.fix_time.0 + round * 3_600_000),
                    ..*fix
                }));
            }
            tracks
                .hundreds
                .extend(long.chunks_exact(100).map(|chunk| batch(id, chunk)));
            tracks
                .singles
                .extend(fixes.iter().map(|fix| batch(id, std::slice::from_ref(fix))));
        }
        tracks
    }
}

fn parse(columns: &[&str]) -> Fix {
    let number = |at: usize| {
        columns
            .get(at)
            .and_then(|text| text.trim().parse::<f64>().ok())
    };
    let narrow = |at: usize| number(at).map(|value| value as f32);
    Fix {
        fix_time: UnixMs(columns[1].parse().expect("a time")),
        position: Position::from_degrees(number(2).expect("lat"), number(3).expect("lon"))
            .expect("a position"),
        speed_mps: narrow(4),
        heading_deg: narrow(5),
        accuracy_m: narrow(6),
        altitude_m: None,
        battery_pct: None,
    }
}

fn made_up(n: u32) -> (String, Vec<Fix>) {
    let fixes = (0..100_u32).map(|i| {
        let wobble = f64::from((i * 7919 + n * 104_729) % 1000) * 1e-6;
        Fix {
            fix_time: UnixMs(1_700_000_000_000 + i64::from(i) * 5_000),
            position: Position::from_degrees(35.9 + wobble, 14.5 + f64::from(i) * 1e-4)
                .expect("a position"),
            speed_mps: Some(5.0 + (i % 10) as f32 * 0.3),
            heading_deg: Some((i * 13 % 360) as f32),
            accuracy_m: Some(5.0),
            altitude_m: None,
            battery_pct: None,
        }
    });
    (format!("courier-{n}"), fixes.collect())
}

/// A log in a folder that goes with it.
struct Bench {
    log: Arc<EmbeddedLog>,
    dir: PathBuf,
}

impl Bench {
    fn open(name: &str) -> Self {
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

    async fn close(self) {
        self.log.close().await.expect("closes");
        drop(self.log);
        std::fs::remove_dir_all(&self.dir).expect("removed");
    }
}

fn bench_dir(name: &str) -> PathBuf {
    let base = std::env::var_os("WAYLOG_BENCH_DIR").map_or_else(std::env::temp_dir, PathBuf::from);
    let dir = base.join(format!("waylog-bench-{name}-{}", std::process::id()));
    if dir.exists() {
        std::fs::remove_dir_all(&dir).expect("removed");
    }
    dir
}

/// What one run of appenders did.
#[derive(Clone, Copy)]
struct Load {
    records_per_s: f64,
    bytes_per_s: f64,
    /// Mean bytes that one sync made durable.
    batch: f64,
    /// Processor time a record, the appenders' own included, microseconds.
    cpu_us: f64,
}

/// [`APPENDERS`] tasks with [`IN_FLIGHT`] appends each, for [`RUN`] after a warm-up.
async fn load(log: &Arc<EmbeddedLog>, records: &[(Partition, Record)]) -> Load {
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

fn median(mut values: Vec<f64>) -> f64 {
    values.sort_by(f64::total_cmp);
    values[values.len() / 2]
}

/// The bare loop: the same number of bytes a batch, written with pwrite and fdatasync into
/// preallocated files in turn, `threads` at once. Answers bytes a second.
fn bare(batch: usize, threads: u32) -> f64 {
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

async fn measure(name: &str, records: &[(Partition, Record)]) -> Vec<Load> {
    let mut loads = Vec::new();
    for _ in 0..RUNS {
        let bench = Bench::open(name);
        loads.push(load(&bench.log, records).await);
        bench.close().await;
    }
    loads
}

fn of(loads: &[Load], figure: impl Fn(&Load) -> f64) -> f64 {
    median(loads.iter().map(figure).collect())
}

async fn throughput(tracks: &Tracks) {
    let loads = measure("throughput", &tracks.hundreds).await;
    let (records, bytes) = (
        of(&loads, |l| l.records_per_s),
        of(&loads, |l| l.bytes_per_s),
    );
    let batch = of(&loads, |l| l.batch) as usize;
    let threads = EmbeddedLogOptions::new("", 1).sync_threads as u32;
    let alike = median((0..RUNS).map(|_| bare(batch, threads)).collect());
    let alone = median((0..RUNS).map(|_| bare(batch, 1)).collect());
    println!(
        "throughput: 100-fix records, {APPENDERS} appenders × {IN_FLIGHT}: {:.2} M fixes/s, \
         {:.0} MB/s, {:.0} KiB a sync, {:.2} µs of processor a record",
        records / 1e4,
        bytes / 1e6,
        batch as f64 / 1024.0,
        of(&loads, |l| l.cpu_us)
    );
    println!(
        "  bare pwrite + fdatasync of the same batches: {:.0} MB/s with {threads} threads \
         (the log: {:.0} %), {:.0} MB/s with one (the log: {:.0} %)",
        alike / 1e6,
        100.0 * bytes / alike,
        alone / 1e6,
        100.0 * bytes / alone
    );
}

async fn single(tracks: &Tracks) {
    let loads = measure("single", &tracks.singles).await;
    println!(
        "single: 1-fix records, {APPENDERS} appenders × {IN_FLIGHT}: {:.0} durable records/s, \
         {:.0} KiB a sync, {:.2} µs of processor a record",
        of(&loads, |l| l.records_per_s),
        of(&loads, |l| l.batch) / 1024.0,
        of(&loads, |l| l.cpu_us)
    );
}

/// 100,000 records a second, each timed from its append to its acknowledgement.
async fn paced(tracks: &Tracks) {
    const TASKS: usize = 20;
    const TICK: Duration = Duration::from_millis(1);
    const A_TICK: usize = 5;
    let (mut p50, mut p99, mut rates) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let bench = Bench::open("paced");
        let mut tasks = tokio::task::JoinSet::new();
        let start = Instant::now();
        for task in 0..TASKS {
            let log = Arc::clone(&bench.log);
            let records = tracks.singles.clone();
            tasks.spawn(async move {
                let mut took: Vec<u32> = Vec::new();
                let mut ticks = tokio::time::interval(TICK);
                ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Burst);
                let mut flying = FuturesUnordered::new();
                let mut at = task * records.len() / TASKS;
                while start.elapsed() < WARM_UP + RUN {
                    tokio::select! {
                        _ = ticks.tick() => for _ in 0..A_TICK {
                            let (partition, record) = &records[at % records.len()];
                            at += 1;
                            let record = vec![record.clone()];
                            let append = log.append(TOPIC_DELIVERY_LOCATION, *partition, record);
                            let sent = Instant::now();
                            flying.push(async move {
                                append.await.expect("appended");
                                sent.elapsed()
                            });
                        },
                        Some(elapsed) = flying.next(), if !flying.is_empty() => {
                            if start.elapsed() > WARM_UP {
                                took.push(u32::try_from(elapsed.as_micros()).unwrap_or(u32::MAX));
                            }
                        }
                    }
                }
                took
            });
        }
        let mut all: Vec<u32> = Vec::new();
        while let Some(took) = tasks.join_next().await {
            all.extend(took.expect("no panic"));
        }
        all.sort_unstable();
        rates.push(all.len() as f64 / RUN.as_secs_f64());
        p50.push(f64::from(all[all.len() / 2]) / 1e3);
        p99.push(f64::from(all[all.len() * 99 / 100]) / 1e3);
        bench.close().await;
    }
    println!(
        "paced: {:.0} single-fix records/s: acknowledged p50 {:.2} ms, p99 {:.2} ms",
        median(rates),
        median(p50),
        median(p99)
    );
}

/// The writer with and without three groups reading behind it, in turn.
async fn readers(tracks: &Tracks) {
    let (mut without, mut with, mut read) = (Vec::new(), Vec::new(), Vec::new());
    for _ in 0..RUNS {
        let bench = Bench::open("alone");
        without.push(load(&bench.log, &tracks.hundreds).await.records_per_s);
        bench.close().await;
        let bench = Bench::open("readers");
        let count = Arc::new(AtomicU64::new(0));
        let mut tasks = tokio::task::JoinSet::new();
        for group in ["live-map", "analytics", "notifications"] {
            let start = Arc::new(FromCommitted);
            let consumer = bench
                .log
                .subscribe(TOPIC_DELIVERY_LOCATION, group, start)
                .await;
            tasks.spawn(drain(consumer.expect("subscribed"), Arc::clone(&count)));
        }
        let start = Instant::now();
        with.push(load(&bench.log, &tracks.hundreds).await.records_per_s);
        read.push(count.load(Ordering::Relaxed) as f64 / start.elapsed().as_secs_f64());
        bench.close().await;
        while tasks.join_next().await.is_some() {}
    }
    let (without, with) = (median(without), median(with));
    println!(
        "readers: {:.2} M fixes/s alone, {:.2} M with three groups reading {:.2} M together: \
         {:.0} % less",
        without / 1e4,
        with / 1e4,
        median(read) / 1e4,
        100.0 * (1.0 - with / without)
    );
}

async fn drain(mut consumer: Box<dyn Consumer>, count: Arc<AtomicU64>) {
    while let Ok(event) = consumer.poll(Duration::from_secs(1)).await {
        if let StreamEvent::Records { records, .. } = event {
            count.fetch_add(records.len() as u64, Ordering::Relaxed);
        }
    }
}

async fn size(tracks: &Tracks) {
    for (name, records, fixes) in [
        ("100-fix", &tracks.hundreds, 100.0),
        ("single-fix", &tracks.singles, 1.0),
    ] {
        let bench = Bench::open("size");
        let load = load(&bench.log, records).await;
        let topics = bench.log.topics().await.expect("asked");
        let topic = topics
            .iter()
            .find(|t| t.topic == TOPIC_DELIVERY_LOCATION)
            .expect("listed");
        let count: u64 = topic.partitions.iter().map(|p| p.durable_offset).sum();
        let frames = bench.log.frame_bytes() as f64;
        println!(
            "size: {name} records: {:.1} bytes a fix on disk, frames and all, at {:.0} records/s",
            frames / count as f64 / fixes,
            load.records_per_s
        );
        bench.close().await;
    }
    let bench = Bench::open("empty");
    let bytes = disk_bytes(&bench.dir);
    println!(
        "size: an empty log takes {:.1} MiB of disk",
        bytes as f64 / f64::from(1 << 20)
    );
    bench.close().await;
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

/// Processor time of this process so far, seconds.
fn cpu_seconds() -> f64 {
    let stat = std::fs::read_to_string("/proc/self/stat").expect("Linux");
    let after_name = stat.rsplit(')').next().expect("fields");
    let fields: Vec<&str> = after_name.split_whitespace().collect();
    let ticks: f64 = fields[11..13]
        .iter()
        .map(|t| t.parse::<f64>().expect("a number"))
        .sum();
    ticks / 100.0
}

async fn idle() {
    const GROUPS: usize = 50;
    let bench = Bench::open("idle");
    let mut tasks = tokio::task::JoinSet::new();
    for group in 0..GROUPS {
        let name = format!("group-{group}");
        let start = Arc::new(FromCommitted);
        let consumer = bench
            .log
            .subscribe(TOPIC_DELIVERY_LOCATION, &name, start)
            .await;
        tasks.spawn(drain(consumer.expect("subscribed"), Arc::default()));
    }
    tokio::time::sleep(WARM_UP).await;
    let (before, start) = (cpu_seconds(), Instant::now());
    tokio::time::sleep(Duration::from_secs(20)).await;
    let share = (cpu_seconds() - before) / start.elapsed().as_secs_f64();
    println!(
        "idle: {GROUPS} groups × {PARTITIONS} partitions: {:.2} % of a core",
        share * 100.0
    );
    bench.close().await;
    while tasks.join_next().await.is_some() {}
}

/// Opening 10 GB that a killed process has left.
async fn open() {
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
fn fill_and_die(dir: &Path) -> ! {
    let tracks = Tracks::load();
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
