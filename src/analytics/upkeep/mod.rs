//! What keeps the stored tracks small, present and lawful: partitions made ahead, small segments
//! merged, old days dropped, erased couriers' data removed, views for PostGIS made when it comes.
//!
//! Invariants:
//! - no step changes what `fix` shows, but for what retention and erasure remove;
//! - no lock that readers could hold for long is waited for longer than [`LOCK_TIMEOUT`]: a request
//!   that waits holds up everybody behind it, the sink first of all.

mod compact;
mod erasure;
mod merge;
mod retention;

use std::time::Duration;

use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio_util::sync::CancellationToken;

use super::columns::{DAY_MS, Day};
use super::days::ensure_day;
use crate::clock::SharedClock;
use crate::config::AnalyticsConfig;
use crate::domain::UnixMs;

/// Between two rounds.
const EVERY: Duration = Duration::from_secs(5);
/// Days that have their partition ahead of time.
const DAYS_AHEAD: i32 = 2;
/// How long an exclusive lock is waited for; later it is tried again.
const LOCK_TIMEOUT: &str = "set lock_timeout = '200ms'";

/// Looks after the tables.
pub(super) struct Upkeep {
    pool: PgPool,
    clock: SharedClock,
    retention_days: u32,
    /// Nothing must have come for an hour for this long before it is merged, seconds.
    pub(super) quiet_s: f64,
}

impl Upkeep {
    pub(super) fn new(config: &AnalyticsConfig, clock: SharedClock, pool: PgPool) -> Self {
        Self {
            pool,
            clock,
            retention_days: config.retention_days,
            quiet_s: merge::QUIET_S,
        }
    }

    /// Runs until `stop`; a step under way is rolled back.
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                done = self.round() => if let Err(error) = done {
                    tracing::warn!(%error, "upkeep of the tracks failed; will try again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(EVERY) => {}
            }
        }
    }

    /// Does everything that is due.
    pub(super) async fn round(&self) -> sqlx::Result<()> {
        let now = UnixMs(self.clock.now_ms());
        let today = Day::of(now);
        for ahead in 0..=DAYS_AHEAD {
            ensure_day(&self.pool, today.plus(ahead)).await?;
        }
        sqlx::query("select analytics.postgis_views()")
            .execute(&self.pool)
            .await?;
        // A session of its own: settings and locks must not wander into the pool, whatever happens.
        let mut session = PgConnection::connect_with(&self.pool.connect_options()).await?;
        session.execute(LOCK_TIMEOUT).await?;
        erasure::erase(&mut session).await?;
        merge::merge(&mut session, now, self.quiet_s).await?;
        let oldest = Day::of(now.plus_ms(-i64::from(self.retention_days) * DAY_MS));
        retention::forget(&mut session, oldest).await?;
        compact::compact(&mut session, today).await?;
        session.close().await
    }
}

/// Whether somebody else holds the lock that was wanted.
fn is_locked(error: &sqlx::Error) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    code.is_some_and(|code| code == "55P03")
}
