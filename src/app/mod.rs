//! All wiring: which role is made of what, and in which order things start and stop. `backend` alone
//! names a concrete log.
//!
//! Start: log (recover, or reach the brokers) → Postgres → migrations → Directory → consumers →
//! router → bind → ready.
//! Stop: unready → stop accepting → consumers commit → drain ingest → sync the log → Postgres.
//!
//! Where Postgres is away at the start, the Directory comes from its snapshot, ingest and live map
//! get ready, and migrations and the rest follow when it is back.

mod backend;
mod database;
mod listeners;
mod operator;
mod roads;
mod roles;
mod slices;
mod stream_routes;
pub mod tools;
mod vitals;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use anyhow::Context;
use metrics_exporter_prometheus::PrometheusHandle;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;

pub use roles::{Role, Roles};
pub use vitals::LAST_BACKUP_FILE;

use crate::access::{Access, Chance, Limits};
use crate::clock::{SharedClock, SystemClock};
use crate::config::{Backend, Config};
use crate::directory::{self, Directory};
use crate::http;
use crate::lifecycle::Lifecycle;
use crate::local_postgres::LocalPostgres;
use crate::roads::Roads;
use crate::stream::Log;
use crate::telemetry;
use backend::OpenedLog;
use slices::Slices;

/// How much longer than the grace a completed delivery stays in the Directory, seconds.
const HELD_AFTER_GRACE_S: i64 = 600;

/// Runs the server until the lifecycle's soft stop, then winds it down in order.
///
/// # Errors
/// If something that the server cannot be without does not start; the message names the setting.
pub async fn run(config: Config, roles: Roles, lifecycle: Lifecycle) -> anyhow::Result<()> {
    let metrics = telemetry::init_metrics()?;
    let clock = SystemClock::shared();
    std::fs::create_dir_all(&config.data_dir).with_context(|| {
        format!(
            "cannot make data_dir {}: set data_dir to a folder that this user may write to",
            config.data_dir.display()
        )
    })?;
    let log = OpenedLog::open(&config, &clock).await?;
    log.watch(&lifecycle);
    // After the log: whoever holds the log's lock may look after the cluster beside it.
    let local = match &config.database.url {
        Some(_) => None,
        None => Some(LocalPostgres::start(&config.data_dir).await?),
    };
    let named = config.database.url.as_ref().map(|url| url.expose());
    let url = named
        .or(local.as_ref().map(LocalPostgres::url))
        .context("database.url is not set")?;
    let pool = database::pool(&config.database, url)?;
    let outcome = serve(
        &config,
        &roles,
        &lifecycle,
        metrics,
        clock,
        &log.shared,
        &pool,
    )
    .await;
    if let Err(error) = log.shared.close().await {
        lifecycle.fail(format!("close the log: {error}"));
    }
    pool.close().await;
    if let Some(local) = local {
        local.stop().await?;
    }
    outcome
}

/// From the Directory to the last answered request.
async fn serve(
    config: &Config,
    roles: &Roles,
    lifecycle: &Lifecycle,
    metrics: PrometheusHandle,
    clock: SharedClock,
    log: &Arc<dyn Log>,
    pool: &PgPool,
) -> anyhow::Result<()> {
    let migrated = database::migrate_at_start(pool).await?;

    let directory = Directory::new();
    let sync = directory::Sync::new(
        pool.clone(),
        directory.clone(),
        clock.clone(),
        config.data_dir.clone(),
    )
    // Completed deliveries are shown for the grace; a little longer, so that it ends by its own rule.
    .holding_completed((i64::from(config.live_map.grace_s) + HELD_AFTER_GRACE_S) * 1000);
    // The embedded log is one process's, and so is everything else then.
    let sync = match config.stream.backend {
        Backend::Embedded => sync,
        Backend::Kafka => sync.sharing_watched(),
    };
    let filled = sync.load_or_snapshot().await?;
    tracing::info!(?filled, migrated, "the Directory is filled");

    let listeners = listeners::Listeners::bind(&config.http).await?;
    let public_url: Arc<str> = listeners.public_url(&config.http).into();
    let admin_key = config.admin_key.as_ref().map(|key| key.expose());
    let access = Access::over(
        sync.clone(),
        clock.clone(),
        admin_key,
        Limits::new(config.limits),
    );
    let chance = Chance::from_system()?;
    let ready = Arc::new(AtomicBool::new(false));
    let operator = operator::Operator {
        pool: pool.clone(),
        metrics,
        ready: ready.clone(),
    };
    let vitals = vitals::Vitals {
        operator: operator.clone(),
        data_dir: config.data_dir.clone(),
        started_ms: clock.now_ms(),
    };
    lifecycle.spawn("vital signs", vitals.run(lifecycle.soft()));
    let roads = roads::prepare(config, roles, &directory).await?;
    let loading = roads::load_when_needed(roads.clone(), directory.clone(), lifecycle.soft());
    lifecycle.spawn("roads", loading);
    let slices = Slices::build(slices::Ground {
        config,
        roles,
        log: log.clone(),
        directory,
        roads,
        sync: sync.clone(),
        access: access.clone(),
        clock,
        pool: pool.clone(),
        chance,
        public_url: public_url.clone(),
    })?;

    // Consumers outlive the listeners: they store what the last requests appended.
    let consumers = CancellationToken::new();
    slices.prepare().await?;
    slices.spawn(lifecycle, &consumers, (!migrated).then(|| pool.clone()));
    let stop = lifecycle.soft();
    lifecycle.spawn("directory", sync.run(consumers.clone()));
    let (uploads, mut api) = slices.routes();
    if config.http.operator_listen.is_none() {
        api = api.merge(operator.probes().into());
    }
    let site = http::Site {
        uploads,
        api,
        access: access.clone(),
        demo: slices.demo_flag(),
    };
    let router = http::assemble(site, config, &public_url);
    let serving = listeners.serve(
        &config.http,
        router,
        slices.osmand_port(access),
        operator.probes(),
        lifecycle,
    );

    slices.wait_until_restored(&stop).await;
    ready.store(true, Ordering::SeqCst);
    println!("listening on {}", serving.url);

    stop.cancelled().await;
    ready.store(false, Ordering::SeqCst);
    serving.closed().await;
    consumers.cancel();
    lifecycle.finish().await;
    Ok(())
}

/// The HTTP API as a document, from the very routes that are served.
///
/// # Errors
/// If there is no room for the empty log that the routes are made over.
pub async fn openapi() -> anyhow::Result<utoipa::openapi::OpenApi> {
    let scratch = std::env::temp_dir().join(format!("waylog-{}", uuid::Uuid::new_v4().simple()));
    let mut config = Config::defaults()?;
    config.data_dir.clone_from(&scratch);
    config.stream.partitions = 1;
    let clock = SystemClock::shared();
    let log = OpenedLog::open(&config, &clock).await?;
    let pool = database::pool(&config.database, "postgres://localhost/nowhere")?;
    let directory = Directory::new();
    let sync = directory::Sync::new(
        pool.clone(),
        directory.clone(),
        clock.clone(),
        scratch.clone(),
    );
    let slices = Slices::build(slices::Ground {
        config: &config,
        roles: &Roles::all(),
        log: log.shared.clone(),
        directory,
        roads: Roads::none(),
        access: Access::over(sync.clone(), clock.clone(), None, Limits::none()),
        sync,
        clock,
        pool,
        chance: Chance::from_system()?,
        public_url: "http://localhost".into(),
    })?;
    let (uploads, api) = slices.routes();
    let document = http::document(uploads.into_openapi(), api.into_openapi());
    log.shared.close().await?;
    std::fs::remove_dir_all(&scratch)?;
    Ok(document)
}

/// Brings the database to this version's schema, for `waylog migrate`: the named one, or the private
/// cluster.
///
/// # Errors
/// If Postgres does not answer, is too old, or holds a newer program's schema.
pub async fn migrate_once(config: &Config) -> anyhow::Result<()> {
    let database = tools::ToolDatabase::open(config).await?;
    let pool = database::pool(&config.database, database.url())?;
    let migrated = database::migrate(&pool).await;
    pool.close().await;
    database.close().await?;
    migrated
}
