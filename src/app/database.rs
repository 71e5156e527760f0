//! Postgres, which may be away: the pool, and migrations as soon as it answers.

use std::time::Duration;

use anyhow::{Context, anyhow, bail};
use sqlx::PgPool;
use sqlx::migrate::{MigrateError, Migrator};
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use tokio_util::sync::CancellationToken;

use crate::config::DatabaseConfig;

/// How long a request may wait for a connection before it is told that Postgres is away.
const ACQUIRE_TIMEOUT: Duration = Duration::from_secs(3);
/// How long the start waits for Postgres before it goes on without.
const START_PATIENCE: Duration = Duration::from_secs(5);
/// How long a Postgres that answers may take to bring its schema up to date.
const MIGRATION_PATIENCE: Duration = Duration::from_secs(600);
/// Between two tries while Postgres is away.
const RETRY_PAUSE: Duration = Duration::from_secs(1);
/// Oldest major version of Postgres that is tested.
const OLDEST_POSTGRES: i32 = 15;

static MIGRATIONS: Migrator = sqlx::migrate!();

/// A pool that connects when it is first used.
pub(super) fn pool(config: &DatabaseConfig, url: &str) -> anyhow::Result<PgPool> {
    let ours = url.starts_with("postgres://") || url.starts_with("postgresql://");
    // The parser takes any scheme.
    let options = ours.then(|| url.parse::<PgConnectOptions>().ok()).flatten();
    let options = options.with_context(
        || "database.url is not a Postgres URL: give one as in postgres://user@host/database",
    )?;
    Ok(PgPoolOptions::new()
        .max_connections(config.max_connections)
        .acquire_timeout(ACQUIRE_TIMEOUT)
        .connect_lazy_with(options.application_name("waylog")))
}

/// Number of the newest migration that this program knows.
pub(super) fn newest_migration() -> i64 {
    MIGRATIONS.iter().map(|m| m.version).max().unwrap_or(0)
}

/// Why the schema is not this version's.
enum Unmigrated {
    /// Postgres is away; it may come back.
    Away,
    /// It will stay so until somebody does what the message says.
    Refused(anyhow::Error),
}

/// Brings the schema up to date.
///
/// # Errors
/// If Postgres is away or too old, refuses us, or its schema is a newer program's.
pub(super) async fn migrate(pool: &PgPool) -> anyhow::Result<()> {
    answer(try_migrate(pool).await)
}

/// Whether the database could be migrated and served, without changing it.
///
/// # Errors
/// If Postgres is away or too old, refuses us, or its schema is a newer program's.
pub(super) async fn check(pool: &PgPool) -> anyhow::Result<()> {
    let looked = async {
        new_enough(pool).await?;
        let known = "select to_regclass('_sqlx_migrations') is not null";
        let is_ours: bool = sqlx::query_scalar(known)
            .fetch_one(pool)
            .await
            .map_err(away_or_refused)?;
        if !is_ours {
            return Ok(());
        }
        let newest: Option<i64> = sqlx::query_scalar("select max(version) from _sqlx_migrations")
            .fetch_one(pool)
            .await
            .map_err(away_or_refused)?;
        match newest {
            Some(newest) if newest > newest_migration() => {
                Err(explained(MigrateError::VersionMissing(newest)))
            }
            _ => Ok(()),
        }
    };
    answer(looked.await)
}

fn answer(outcome: Result<(), Unmigrated>) -> anyhow::Result<()> {
    match outcome {
        Ok(()) => Ok(()),
        Err(Unmigrated::Away) => bail!(
            "Postgres does not answer: start it, or set database.url to where it is, then try again"
        ),
        Err(Unmigrated::Refused(error)) => Err(error),
    }
}

async fn try_migrate(pool: &PgPool) -> Result<(), Unmigrated> {
    new_enough(pool).await?;
    MIGRATIONS.run(pool).await.map_err(explained)?;
    let raised: i64 = sqlx::query_scalar("select dispatch.settle_event_order()")
        .fetch_one(pool)
        .await
        .map_err(away_or_refused)?;
    if raised > 0 {
        tracing::warn!(
            raised,
            "this database was restored into another Postgres; new events are counted on behind \
             those that it holds"
        );
    }
    Ok(())
}

async fn new_enough(pool: &PgPool) -> Result<(), Unmigrated> {
    let version: i32 = sqlx::query_scalar("select current_setting('server_version_num')::int")
        .fetch_one(pool)
        .await
        .map_err(away_or_refused)?;
    too_old(version).map_or(Ok(()), |error| Err(Unmigrated::Refused(error)))
}

/// Why a server of this `server_version_num` is not served, if so.
fn too_old(version: i32) -> Option<anyhow::Error> {
    let (major, minor) = (version / 10_000, version % 10_000);
    (major < OLDEST_POSTGRES).then(|| {
        anyhow!(
            "Postgres {major}.{minor} is too old: Waylog needs {OLDEST_POSTGRES} or newer; upgrade \
             it, or name another server in database.url"
        )
    })
}

/// Migrates now if Postgres answers soon; answers whether it did. A migration that fails for
/// another reason than an absent Postgres is an error.
pub(super) async fn migrate_at_start(pool: &PgPool) -> anyhow::Result<bool> {
    let soon = tokio::time::timeout(START_PATIENCE, new_enough(pool)).await;
    let done = match soon {
        Ok(Ok(())) => tokio::time::timeout(MIGRATION_PATIENCE, try_migrate(pool)).await,
        unanswered => unanswered,
    };
    match done {
        Ok(Ok(())) => Ok(true),
        Ok(Err(Unmigrated::Refused(error))) => Err(error),
        Ok(Err(Unmigrated::Away)) | Err(_) => Ok(false),
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

fn explained(error: MigrateError) -> Unmigrated {
    match error {
        MigrateError::Execute(cause) => away_or_refused(cause),
        MigrateError::ExecuteMigration(cause, number) => match away_or_refused(cause) {
            Unmigrated::Away => Unmigrated::Away,
            Unmigrated::Refused(error) => {
                let error = error.context(format!(
                    "migration {number} of the database has failed and left nothing behind"
                ));
                Unmigrated::Refused(error)
            }
        },
        MigrateError::VersionMissing(number) => Unmigrated::Refused(anyhow!(
            "the database is a newer Waylog's: it holds migration {number}, and this program ({}) \
             knows none beyond {}; install the newer program, or name another database in \
             database.url",
            env!("CARGO_PKG_VERSION"),
            newest_migration()
        )),
        MigrateError::VersionMismatch(number) => Unmigrated::Refused(anyhow!(
            "migration {number} of the database has another text than this program's: the database \
             was made by a changed or unreleased Waylog; run that one, or restore a backup into \
             another database"
        )),
        other => Unmigrated::Refused(
            anyhow::Error::new(other).context("bring the database to this version's schema"),
        ),
    }
}

/// Whether it may pass by itself; if not, the setting and the next step.
fn away_or_refused(error: sqlx::Error) -> Unmigrated {
    let code = match &error {
        sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut => return Unmigrated::Away,
        sqlx::Error::Database(e) => e.code().map(|code| code.into_owned()),
        _ => None,
    };
    let next = match code.as_deref() {
        // It shuts down or starts up, or has no connection to spare.
        Some(code) if code.starts_with("57P") || code == "53300" => return Unmigrated::Away,
        Some("28P01" | "28000") => "give a user and password in database.url that Postgres accepts",
        Some("3D000") => "create the database that database.url names: createdb",
        Some("42501") => {
            "make the user of database.url the owner of the database: ALTER DATABASE … OWNER TO …"
        }
        Some("53100") => "free space on the disk of Postgres",
        _ => "Postgres refuses what Waylog needs of it",
    };
    Unmigrated::Refused(anyhow::Error::new(error).context(next))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_database_of_a_newer_program_is_refused_with_what_to_do() {
        let Unmigrated::Refused(error) = explained(MigrateError::VersionMissing(9_999)) else {
            panic!("it will not pass by itself");
        };
        let said = format!("{error:#}");
        assert!(said.contains("9999") && said.contains("newer"), "{said}");
    }

    #[test]
    fn an_old_postgres_is_refused_by_its_version() {
        assert!(too_old(150_013).is_none());
        let said = too_old(130_022).expect("too old").to_string();
        assert!(said.contains("Postgres 13.22 is too old"), "{said}");
    }

    #[test]
    fn an_absent_postgres_is_no_refusal() {
        let gone = sqlx::Error::Io(std::io::ErrorKind::ConnectionRefused.into());
        assert!(matches!(away_or_refused(gone), Unmigrated::Away));
    }
}
