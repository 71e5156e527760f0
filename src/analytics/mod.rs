//! Analytics: every fix of the delivery-location log in Postgres exactly once, and what is asked of
//! it there.
//!
//! ```text
//!   log ──▶ sink (group `analytics`) ──▶ track_segment + stream_offset, one transaction a flush
//!                                             ├──▶ fixes over HTTP; view `fix` and `fixes()` in SQL
//!                                             └──▶ derive: trip, stop, heat_hour
//! ```
//!
//! Owns the tables of `migrations/0002_analytics.sql`. Invariants:
//! - rows and offsets move in the same transaction, so that a crash between them cannot be;
//! - a fix (courier, `fix_time`) is stored once, whoever sends it again and however late;
//! - nothing read from the log is skipped: what cannot be stored goes to quarantine, and while
//!   Postgres is away the sink waits.

mod columns;
mod days;
mod derive;
mod fixes;
mod range;
mod sink;
mod tracks;
mod trips;

use std::sync::Arc;

use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::clock::SharedClock;
use crate::config::AnalyticsConfig;
use crate::directory::Directory;
use crate::stream::Log;

pub use sink::GROUP;

/// The slice: its routes and its tasks. Cheap to clone.
#[derive(Clone)]
pub struct Analytics {
    config: AnalyticsConfig,
    log: Arc<dyn Log>,
    directory: Arc<Directory>,
    clock: SharedClock,
    pool: PgPool,
}

impl Analytics {
    /// Analytics over `log`, kept in `pool`'s database. Does nothing before [`Analytics::run`].
    #[must_use]
    pub fn new(
        config: &AnalyticsConfig,
        log: Arc<dyn Log>,
        directory: Arc<Directory>,
        clock: SharedClock,
        pool: PgPool,
    ) -> Self {
        Self {
            config: config.clone(),
            log,
            directory,
            clock,
            pool,
        }
    }

    /// What analysts may ask over HTTP.
    pub fn routes(&self) -> OpenApiRouter {
        fixes::routes(fixes::Fixes::new(self.pool.clone(), self.directory.clone()))
            .merge(trips::routes(self.pool.clone()))
    }

    /// Moves the log into Postgres, and keeps what follows from the fixes up to date, until `stop`;
    /// then finishes the flush under way.
    ///
    /// # Errors
    /// If the log refuses the group. Postgres being away is no error: everything waits for it.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let derive = derive::Derive::new(&self.config, self.pool.clone());
        let sink = sink::Sink::new(self.config, self.log, self.clock, self.pool);
        let mut tasks = JoinSet::new();
        tasks.spawn(sink.run(stop.clone()));
        tasks.spawn(derive.run(stop));
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
