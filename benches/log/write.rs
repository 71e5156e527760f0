//! Appends to acknowledgements: as many as go, one fix each, and at a steady pace.

use std::sync::Arc;
use std::time::{Duration, Instant};

use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use waylog::stream::embedded::EmbeddedLogOptions;
use waylog::stream::{Log, TOPIC_DELIVERY_LOCATION};

use crate::kit::{APPENDERS, Bench, IN_FLIGHT, RUN, RUNS, WARM_UP, bare, measure, median, of};
use crate::tracks::Tracks;

/// Uploads of 100 fixes, beside the bare loop with batches of the same size.
pub async fn throughput(tracks: &Tracks) {
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

/// Uploads of one fix.
pub async fn single(tracks: &Tracks) {
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
pub async fn paced(tracks: &Tracks) {
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
