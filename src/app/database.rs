//! Postgres, which may be away: the pool, and migrations as soon as it answers.

use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use sqlx::migrate::MigrateError;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::sync::CancellationToken;

use crate::config::DatabaseConfig;

/// How long a request may wait for a connection before it is told that Postgres is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the start waits for Postgres before it goes on without.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries while Postgres is away.
const RETRY_PAUSE: Duration = Duration::from_secs(1);

/// A pool that connects when it is first used.
pub(super) fn pool(config: &DatabaseConfig, url: &str) -> anyhow::Result<PgPool> {
    let options: PgConnectOptions = url
        .parse()
        .map_err(|_| anyhow::anyhow!("database.url is not a Postgres URL"))?;
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options.application_name("waylog")))
}

/// Brings the schema up to date.
pub(super) async fn migrate(pool: &PgPool) -> Result<(), MigrateError> {
    sqlx::migrate!().run(pool).await
}

/// Migrates now if Postgres answers soon; answers whether it did. A migration that fails for
/// another reason than an absent Postgres is an error.
pub(super) async fn migrate_at_start(pool: &PgPool) -> anyhow::Result<bool> {
    match tokio::time::timeout(START_PATIENCE, migrate(pool)).await {
        Ok(Ok(())) => Ok(true),
        Ok(Err(error)) if is_away(&error) => Ok(false),
        Ok(Err(error)) => Err(error).context("bring the database to this version's schema"),
        Err(_) => Ok(false),
    }
}

/// Migrates when Postgres is back; answers false if it was told to stop first.
pub(super) async fn migrate_when_back(
    pool: &PgPool,
    stop: &CancellationToken,
) -> anyhow::Result<bool> {
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(false),
            () = tokio::time::sleep(RETRY_PAUSE) => {}
        }
        if migrate_at_start(pool).await? {
            tracing::info!("Postgres is back");
            return Ok(true);
        }
    }
}

fn is_away(error: &MigrateError) -> bool {
    let cause = match error {
        MigrateError::Execute(cause) => cause,
        MigrateError::ExecuteMigration(cause, _) => cause,
        _ => return false,
    };
    match cause {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => true,
        // 57P01–57P03: the server is shutting down or starting up.
        sqlx::Error::Database(e) => e.code().is_some_and(|code| code.starts_with("57P")),
        _ => false,
    }
}
