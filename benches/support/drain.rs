//! The sink at work on a filled log.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::sync::Arc;
use std::time::{Duration, Instant};

use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use waylog::analytics::Analytics;
use waylog::clock::SystemClock;
use waylog::config::Config;
use waylog::directory::Directory;
use waylog::stream::{Log, TOPIC_DELIVERY_LOCATION};

use super::database;

/// The slice over `log` and `pool`, with the default settings.
pub fn analytics(pool: &PgPool, log: Arc<dyn Log>) -> anyhow::Result<Analytics> {
    let mut config = Config::load(None, std::iter::empty())?.analytics;
    // The usual 5 s would be added to the end, where the last flush is not full.
    config.flush_after_ms = 250;
    let (directory, clock) = (Directory::new(), SystemClock::shared());
    let rng = StdRng::seed_from_u64(1);
    Ok(Analytics::new(
        &config,
        log,
        directory,
        clock,
        pool.clone(),
        rng,
    ))
}

/// Moves `records` of `log` into Postgres, and tells how long that took.
pub async fn drain(pool: &PgPool, log: Arc<dyn Log>, records: i64) -> anyhow::Result<Duration> {
    let analytics = analytics(pool, log.clone())?;
    let stop = CancellationToken::new();
    let stream_id = log.stream_id(TOPIC_DELIVERY_LOCATION)?;
    let begun = Instant::now();
    let running = tokio::spawn(analytics.store(stop.clone()));
    while database::read(pool, &stream_id).await? < records {
        anyhow::ensure!(!running.is_finished(), "the sink has ended early");
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let took = begun.elapsed();
    stop.cancel();
    running.await??;
    Ok(took)
}
