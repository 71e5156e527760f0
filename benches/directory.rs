//! The Directory of a large house: `cargo bench --bench directory`.
//!
//! A million couriers with a phone each, 200,000 open deliveries with a link each. Prints how much
//! memory that takes, how long the start takes (from Postgres, and from `directory.snap`), how soon a
//! change by another process is there, and how long it takes to find out who is asking.
//!
//! Wants `WAYLOG_TEST_DATABASE_URL`, a Postgres on this machine.

#[path = "support/database.rs"]
mod database;

use std::hint::black_box;
use std::sync::Arc;
use std::time::{Duration, Instant};

use anyhow::{Context, ensure};
use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use sqlx::{Executor, PgPool};
use tokio_util::sync::CancellationToken;
use waylog::access::{Access, Limits};
use waylog::clock::SystemClock;
use waylog::config::Config;
use waylog::directory::{Change, Directory, Filled, Sync};

use database::Database;

// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEED: u64 = 17;
const DEVICES: usize = 1_000_000;
const DELIVERIES: usize = 200_000;
/// Changes that are waited for.
const CHANGES: usize = 300;
/// Requests whose callers are asked for.
const REQUESTS: usize = 500_000;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let database = Database::create().await?;
    fill(&database.pool).await?;
    let cores = std::thread::available_parallelism()?;
    println!(
        "{DEVICES} couriers and phones, {DELIVERIES} open deliveries and links; {cores} cores"
    );
    println!("| what | figure |");
    println!("| --- | --- |");

    let folder = tempfile::tempdir()?;
    let (clock, directory) = (SystemClock::shared(), Directory::new());
    let data_dir = folder.path().to_owned();
    let sync = Sync::new(
        database.pool.clone(),
        directory.clone(),
        clock.clone(),
        data_dir,
    );
    let before_mib = resident_mib("VmRSS")?;
    let began = Instant::now();
    let filled = sync.load_or_snapshot().await?;
    let took = began.elapsed();
    ensure!(filled == Filled::FromPostgres, "filled from {filled:?}");
    ensure!(
        directory.couriers().len() == DEVICES,
        "all of them are there"
    );
    ensure!(
        directory.deliveries().len() == DELIVERIES,
        "all of them are there"
    );
    show(
        "start from Postgres",
        format!("{:.2} s", took.as_secs_f64()),
    );
    show(
        "memory after it",
        format!(
            "{:.0} MiB more than before",
            resident_mib("VmRSS")? - before_mib
        ),
    );
    show(
        "memory at its highest",
        format!("{:.0} MiB of the process", resident_mib("VmHWM")?),
    );
    changes(&database.pool, &sync, &directory).await?;
    callers(&sync, &directory).await?;
    snapshot(&database.pool, folder.path()).await?;
    database.drop_database().await
}

fn show(what: &str, figure: String) {
    println!("| {what} | {figure} |");
}

/// Without the triggers that tell Directories of each row: none is there yet.
async fn fill(pool: &PgPool) -> anyhow::Result<()> {
    let tables = ["courier", "device", "delivery", "tracking_link"];
    for table in tables {
        let off = format!("alter table dispatch.{table} disable trigger tell");
        pool.execute(sqlx::AssertSqlSafe(off)).await?;
    }
    let statements = [
        format!(
            "insert into dispatch.courier (id, name, vehicle) \
             select 'c-' || n, 'Courier number ' || n, 'bike' from generate_series(1, {DEVICES}) n"
        ),
        format!(
            "insert into dispatch.device (id, courier_id, token_hash, token_prefix) \
             select gen_random_uuid(), 'c-' || n, sha256(('device-' || n)::bytea), 'wld_' \
               from generate_series(1, {DEVICES}) n"
        ),
        format!(
            "insert into dispatch.delivery (id, courier_id, status, sequence, pickup_lat, pickup_lon, \
                pickup_label, dropoff_lat, dropoff_lon, dropoff_label, window_from, window_to, \
                reference, timeline) \
             select 'd-' || n, 'c-' || (n % 50000 + 1), 'picked_up', n / 50000, 35.9, 14.5, \
                    'Bakery ' || n % 100, 35.8 + n % 1000 * 0.0002, 14.4 + n / 1000 * 0.001, \
                    n % 300 || ' Tower Road, Sliema', now(), now() + interval '1 hour', 'A-' || n, \
                    '[{{\"status\": \"created\", \"at\": \"2026-11-29T10:00:00.000Z\"}}, \
                      {{\"status\": \"assigned\", \"at\": \"2026-11-29T10:05:00.000Z\"}}, \
                      {{\"status\": \"picked_up\", \"at\": \"2026-11-29T10:20:00.000Z\"}}]' \
               from generate_series(1, {DELIVERIES}) n"
        ),
        format!(
            "insert into dispatch.tracking_link (id, delivery_id, token_hash, token_prefix, expires_at) \
             select gen_random_uuid(), 'd-' || n, sha256(('link-' || n)::bytea), 'wlt_', \
                    now() + interval '1 day' from generate_series(1, {DELIVERIES}) n"
        ),
        "analyze dispatch.courier, dispatch.device, dispatch.delivery, dispatch.tracking_link"
            .into(),
    ];
    for statement in statements {
        pool.execute(sqlx::AssertSqlSafe(statement)).await?;
    }
    for table in tables {
        let on = format!("alter table dispatch.{table} enable trigger tell");
        pool.execute(sqlx::AssertSqlSafe(on)).await?;
    }
    Ok(())
}

/// Another process writes; how soon is it here?
async fn changes(pool: &PgPool, sync: &Sync, directory: &Arc<Directory>) -> anyhow::Result<()> {
    let stop = CancellationToken::new();
    let following = tokio::spawn(sync.clone().run(stop.clone()));
    while !sync.is_fresh() {
        tokio::time::sleep(Duration::from_millis(10)).await;
    }
    let mut told = directory.changes();
    let mut delays = Vec::new();
    for n in 1..=CHANGES {
        let revoke = "update dispatch.tracking_link set revoked_at = now() where delivery_id = $1 \
                      returning id";
        let began = Instant::now();
        let link: uuid::Uuid = sqlx::query_scalar(revoke)
            .bind(format!("d-{n}"))
            .fetch_one(pool)
            .await?;
        while told.recv().await? != Change::Link(link) {}
        delays.push(began.elapsed());
        ensure!(directory.link_by_id(&link).is_none(), "revoked");
    }
    delays.sort_unstable();
    let ms = |at: usize| delays[at].as_secs_f64() * 1e3;
    show(
        "a link revoked by another process is unknown here",
        format!(
            "p50 {:.1} ms, p99 {:.1} ms, at most {:.1} ms after the statement was sent",
            ms(CHANGES / 2),
            ms(CHANGES * 99 / 100),
            ms(CHANGES - 1)
        ),
    );
    stop.cancel();
    following.await?
}

/// Who is asking? Random phones, one after the other, so that nothing is in a cache.
async fn callers(sync: &Sync, directory: &Arc<Directory>) -> anyhow::Result<()> {
    let limits = Limits::new(Config::defaults()?.limits);
    let access = Access::over(sync.clone(), SystemClock::shared(), None, limits);
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut tokens = |kind: &str, most: usize| -> Vec<String> {
        let numbers = (0..REQUESTS).map(|_| chance.random_range(CHANGES + 1..=most));
        numbers.map(|n| format!("{kind}-{n}")).collect()
    };
    let phones = tokens("device", DEVICES);
    let mut took = Vec::with_capacity(REQUESTS);
    for token in &phones {
        let began = Instant::now();
        let device = access.device(token).await;
        took.push(began.elapsed());
        black_box(device.context("a phone that is known")?);
    }
    show("a phone's token, its limit counted", percentiles(took));
    let links = tokens("link", DELIVERIES);
    let mut took = Vec::with_capacity(REQUESTS);
    for token in &links {
        let began = Instant::now();
        let link = access.link(token);
        took.push(began.elapsed());
        black_box(link.context("a link that is known")?);
    }
    show("a link's token", percentiles(took));
    black_box(directory);
    Ok(())
}

fn percentiles(mut took: Vec<Duration>) -> String {
    took.sort_unstable();
    let ns = |share: f64| took[(took.len() as f64 * share) as usize].as_nanos();
    format!(
        "p50 {} ns, p90 {} ns, p99 {} ns",
        ns(0.5),
        ns(0.9),
        ns(0.99)
    )
}

/// Stopping has written the snapshot: a start while Postgres is away.
async fn snapshot(pool: &PgPool, data_dir: &std::path::Path) -> anyhow::Result<()> {
    let bytes = std::fs::metadata(data_dir.join("directory.snap"))?.len();
    let away = sqlx::postgres::PgPoolOptions::new()
        .acquire_timeout(Duration::from_millis(100))
        .connect_lazy("postgres://nobody@127.0.0.1:1/nowhere")?;
    let directory = Directory::new();
    let clock = SystemClock::shared();
    let sync = Sync::new(away, directory.clone(), clock, data_dir.to_owned());
    let began = Instant::now();
    let filled = sync.load_or_snapshot().await?;
    let took = began.elapsed();
    ensure!(filled == Filled::FromSnapshot, "filled from {filled:?}");
    ensure!(
        directory.couriers().len() == DEVICES,
        "all of them are there"
    );
    show(
        "start from directory.snap",
        format!("{:.2} s, {} MB", took.as_secs_f64(), bytes / 1_000_000),
    );
    ensure!(!pool.is_closed(), "the database is still there");
    Ok(())
}

fn resident_mib(field: &str) -> anyhow::Result<f64> {
    let status = std::fs::read_to_string("/proc/self/status")?;
    let line = status.lines().find_map(|line| line.strip_prefix(field));
    let kib = line.and_then(|rest| {
        rest.trim_matches([':', ' ', '\t', 'k', 'B'])
            .parse::<f64>()
            .ok()
    });
    Ok(kib.context("an unknown form of /proc/self/status")? / 1024.0)
}
