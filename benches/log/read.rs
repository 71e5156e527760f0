//! Groups behind the writer, and groups with nothing to read.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use waylog::stream::{Consumer, FromCommitted, Log, StreamEvent, TOPIC_DELIVERY_LOCATION};

use crate::PARTITIONS;
use crate::kit::{Bench, RUNS, WARM_UP, cpu_seconds, load, median};
use crate::tracks::Tracks;

/// The writer with and without three groups reading behind it, in turn.
pub async fn readers(tracks: &Tracks) {
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

/// What many groups cost while nothing arrives.
pub async fn idle() {
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
