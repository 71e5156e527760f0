//! A day of ten million fixes: a thousand couriers, one fix every 8 s, and one courier at 1 Hz.

use std::time::Instant;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use serde_json::json;
use sqlx::{Executor, PgPool};
use waylog::clock::SystemClock;
use waylog::domain::UnixMs;

use super::drain::{analytics, drain};
use super::fleet::{Courier, fill as fill_log};
use super::{database, row};

const COURIERS: usize = 1_000;
const FIXES: usize = 10_000;
/// Fixes in an upload.
const UPLOAD: usize = 100;
/// A courier's day, a fix every second.
const SECONDS: usize = 86_400;
const DELIVERIES: usize = 20_000;

/// The day, and whom to ask for.
pub struct Day {
    pub date: String,
    pub busiest: String,
    pub busiest_fixes: usize,
    pub fixes: usize,
}

pub async fn fill(pool: &PgPool) -> anyhow::Result<Day> {
    let now = SystemClock::shared().now_ms();
    let start = UnixMs(now - now.rem_euclid(86_400_000) - 86_400_000);
    let folder = tempfile::tempdir()?;
    let mut couriers: Vec<Courier> = (0..COURIERS)
        .map(|n| Courier::new(n, start, 8_000))
        .collect();
    let log = fill_log(folder.path(), &mut couriers, FIXES / UPLOAD, UPLOAD).await?;
    let took = drain(pool, log.clone(), (COURIERS * FIXES / UPLOAD) as i64).await?;
    let rate = (COURIERS * FIXES) as f64 / took.as_secs_f64();
    row("sink, uploads of 100 fixes", &format!("{rate:.0} fixes/s"));
    log.close().await?;

    // Fixes of a second each without noise in their times, so that none falls beyond midnight.
    let mut busiest = Courier::new(99_999, start, 999);
    let folder = tempfile::tempdir()?;
    let one = std::slice::from_mut(&mut busiest);
    let log = fill_log(folder.path(), one, SECONDS / UPLOAD, UPLOAD).await?;
    drain(pool, log.clone(), (SECONDS / UPLOAD) as i64).await?;

    deliveries(pool, start).await?;
    let analytics = analytics(pool, log.clone())?;
    let begun = Instant::now();
    analytics.catch_up().await?;
    let rate = (COURIERS * FIXES + SECONDS) as f64 / begun.elapsed().as_secs_f64();
    row("trips, stops and heat", &format!("{rate:.0} fixes/s"));
    size(pool, "before merging").await?;
    // As if nothing had come for an hour.
    pool.execute("update analytics.unmerged set touched_at = now() - interval '1 hour'")
        .await?;
    let begun = Instant::now();
    analytics.tidy_up().await?;
    row(
        "merging and compaction",
        &format!("{:.0} s", begun.elapsed().as_secs_f64()),
    );
    size(pool, "after merging, indexes and all").await?;
    pool.execute("vacuum analyze").await?;
    log.close().await?;
    Ok(Day {
        date: start.to_rfc3339()[..10].to_owned(),
        busiest: "courier-99999".to_owned(),
        busiest_fixes: SECONDS,
        fixes: database::stored(pool).await? as usize,
    })
}

async fn size(pool: &PgPool, when: &str) -> anyhow::Result<()> {
    let bytes: i64 = sqlx::query_scalar(
        "select sum(pg_total_relation_size(inhrelid))::bigint from pg_inherits \
          where inhparent = 'track_segment'::regclass",
    )
    .fetch_one(pool)
    .await?;
    let fixes = database::stored(pool).await?;
    row(
        when,
        &format!("{:.1} bytes a fix", bytes as f64 / fixes as f64),
    );
    Ok(())
}

/// Deliveries in the course of the day, most of them done.
async fn deliveries(pool: &PgPool, start: UnixMs) -> anyhow::Result<()> {
    let mut chance = SmallRng::seed_from_u64(3);
    let mut rows = Vec::with_capacity(DELIVERIES);
    for n in 0..DELIVERIES {
        let picked_up = start.plus_ms(chance.random_range(0..70_000_000));
        let done = picked_up.plus_ms(chance.random_range(300_000..3_600_000));
        let step = |status: &str, at: UnixMs| json!({"status": status, "at": at.to_rfc3339()});
        rows.push(json!({
            "id": format!("d-{n}"),
            "courier_id": format!("courier-{:05}", n % COURIERS),
            "window_to": picked_up.plus_ms(1_800_000).to_rfc3339(),
            "timeline": [step("picked_up", picked_up), step("delivered", done)],
        }));
    }
    sqlx::query(
        "with row as ( \
             select * from jsonb_to_recordset($1) \
                    as r(id text, courier_id text, window_to timestamptz, timeline jsonb) \
         ), courier as ( \
             insert into dispatch.courier (id, name) select distinct courier_id, courier_id from row \
         ) \
         insert into dispatch.delivery (id, courier_id, status, window_to, timeline, pickup_lat, \
                pickup_lon, dropoff_lat, dropoff_lon) \
         select id, courier_id, 'delivered', window_to, timeline, 35.9, 14.5, 35.9, 14.5 from row",
    )
    .bind(serde_json::Value::Array(rows))
    .execute(pool)
    .await?;
    Ok(())
}
