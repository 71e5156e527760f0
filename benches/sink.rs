//! How fast the sink moves a filled log into Postgres, beside the two usual ways of storing fixes:
//! `cargo bench --bench sink`.
//!
//! Wants `WAYLOG_TEST_DATABASE_URL`, a Postgres on this machine with durable settings. Everything
//! runs on the same cores: reading the log, the sink and Postgres.

#[path = "support/database.rs"]
mod database;
#[path = "support/drain.rs"]
mod drain;
#[path = "support/fleet.rs"]
mod fleet;

use std::time::{Duration, Instant};

use futures_util::future::try_join_all;
use sqlx::{Executor, PgPool};
use waylog::clock::SystemClock;
use waylog::domain::{Fix, UnixMs};

use database::Database;
use drain::drain;
use fleet::{Courier, fill};

/// Fixes for the comparison, by one INSERT each and by COPY.
const INSERTED: usize = 60_000;
const COPIED: usize = 1_500_000;
const CONNECTIONS: usize = 8;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let database = Database::create().await?;
    let settings: String = sqlx::query_scalar(
        "select string_agg(name || '=' || setting, ' ') from pg_settings \
         where name in ('fsync', 'synchronous_commit', 'server_version', 'shared_buffers')",
    )
    .fetch_one(&database.pool)
    .await?;
    let cores = std::thread::available_parallelism()?;
    println!("{cores} cores, Postgres on the same ones: {settings}\n");
    println!("| what | fixes | seconds | fixes/s |");
    println!("| --- | ---: | ---: | ---: |");
    let start = start_of_today();
    let mut couriers: Vec<Courier> = (0..1_000).map(|n| Courier::new(n, start, 1_000)).collect();
    sink(
        &database.pool,
        "sink, uploads of 100 fixes, 1,000 couriers",
        &mut couriers,
        100,
        100,
    )
    .await?;
    let mut couriers: Vec<Courier> = (10_000..20_000)
        .map(|n| Courier::new(n, start, 1_000))
        .collect();
    sink(
        &database.pool,
        "sink, uploads of 1 fix, 10,000 couriers at 1 Hz",
        &mut couriers,
        300,
        1,
    )
    .await?;
    plain(&database.pool, start).await?;
    database.drop_database().await
}

/// Midnight UTC a day ago: all of the fixes lie within the retention and one day.
fn start_of_today() -> UnixMs {
    let now = SystemClock::shared().now_ms();
    UnixMs(now - now.rem_euclid(86_400_000) - 86_400_000)
}

async fn sink(
    pool: &PgPool,
    what: &str,
    couriers: &mut [Courier],
    rounds: usize,
    fixes: usize,
) -> anyhow::Result<()> {
    let folder = tempfile::tempdir()?;
    let log = fill(folder.path(), couriers, rounds, fixes).await?;
    let expected = couriers.len() * rounds * fixes;
    let before = database::stored(pool).await?;
    let records = couriers.len() * rounds;
    let took = drain(pool, log.clone(), records as i64).await?;
    report(what, expected, took);
    log.close().await?;
    anyhow::ensure!(
        database::stored(pool).await? - before == expected as i64,
        "all of them stored"
    );
    Ok(())
}

fn report(what: &str, fixes: usize, took: Duration) {
    let seconds = took.as_secs_f64();
    println!(
        "| {what} | {fixes} | {seconds:.2} | {:.0} |",
        fixes as f64 / seconds
    );
}

/// The usual table: a row a fix, the usual two indexes, a partition a day.
const PLAIN: &str = "create schema plain;
    create table plain.fix (id bigint generated always as identity, courier_id text not null,
        fix_time timestamptz not null, received_at timestamptz not null default now(),
        lat double precision not null, lon double precision not null, accuracy_m real,
        speed_mps real, heading_deg real, altitude_m real, battery_pct smallint)
        partition by range (fix_time);
    create table plain.fix_today partition of plain.fix default;
    create index on plain.fix (courier_id, fix_time);
    create index on plain.fix (fix_time);";

async fn plain(pool: &PgPool, start: UnixMs) -> anyhow::Result<()> {
    pool.execute(PLAIN).await?;
    let begun = Instant::now();
    let writers = (0..CONNECTIONS).map(|n| async move {
        let mut courier = Courier::new(n, start, 1_000);
        let mut connection = pool.acquire().await?;
        for _ in 0..INSERTED / CONNECTIONS {
            insert(&mut connection, &courier.id.clone(), &courier.fix()).await?;
        }
        Ok::<_, sqlx::Error>(())
    });
    try_join_all(writers).await?;
    report("one INSERT a fix, 8 connections", INSERTED, begun.elapsed());

    let mut couriers: Vec<Courier> = (100..1_100)
        .map(|n| Courier::new(n, start, 1_000))
        .collect();
    let mut text = String::new();
    for n in 0..COPIED {
        let count = couriers.len();
        let courier = &mut couriers[n % count];
        let fix = courier.fix();
        database::push_row(&mut text, &courier.id, &fix);
    }
    let begun = Instant::now();
    let mut connection = pool.acquire().await?;
    // As a flush would: 200,000 rows in a transaction.
    for rows in database::chunks(&text, 200_000) {
        let mut copy = connection.copy_in_raw(database::COPY_PLAIN).await?;
        copy.send(rows.as_bytes()).await?;
        copy.finish().await?;
    }
    report("COPY of plain rows", COPIED, begun.elapsed());
    let rows = (INSERTED + COPIED) as f64;
    let bytes: i64 = sqlx::query_scalar("select pg_total_relation_size('plain.fix_today')")
        .fetch_one(pool)
        .await?;
    println!(
        "\nplain rows take {:.0} bytes a fix, indexes and all",
        bytes as f64 / rows
    );
    Ok(())
}

async fn insert(connection: &mut sqlx::PgConnection, id: &str, fix: &Fix) -> sqlx::Result<()> {
    sqlx::query(
        "insert into plain.fix (courier_id, fix_time, lat, lon, accuracy_m, speed_mps, heading_deg, \
         altitude_m, battery_pct) values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(id)
    .bind(fix.fix_time.to_datetime())
    .bind(fix.position.lat())
    .bind(fix.position.lon())
    .bind(fix.accuracy_m)
    .bind(fix.speed_mps)
    .bind(fix.heading_deg)
    .bind(fix.altitude_m)
    .bind(fix.battery_pct.map(i16::from))
    .execute(connection)
    .await?;
    Ok(())
}
