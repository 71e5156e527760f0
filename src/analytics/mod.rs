//! Analytics: every fix of the delivery-location log in Postgres exactly once, and what is asked of
//! it there.
//!
//! ```text
//!   log ──▶ sink (group `analytics`) ──▶ track_segment + stream_offset, one transaction a flush
//!                                             ├──▶ fixes over HTTP; view `fix` and `fixes()` in SQL
//!                                             ├──▶ derive: trip, stop, heat_hour
//!                                             └──▶ upkeep: merging, partitions, retention, erasure
//! ```
//!
//! Owns the tables of `migrations/0002_analytics.sql`. Invariants:
//! - rows and offsets move in the same transaction, so that a crash between them cannot be;
//! - a fix (courier, `fix_time`) is stored once, whoever sends it again and however late;
//! - nothing read from the log is skipped: what cannot be stored goes to quarantine, and while
//!   Postgres is away the sink waits.

mod analysts;
mod columns;
mod days;
mod derive;
mod fixes;
mod heatmap;
mod range;
mod rebuild;
mod sink;
mod tracks;
mod trips;
mod upkeep;

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use crate::clock::SharedClock;
use crate::config::AnalyticsConfig;
use crate::directory::Directory;
use crate::stream::Log;

pub use sink::{GROUP, ResetError, reset};

/// The slice: its routes and its tasks. Cheap to clone.
#[derive(Clone)]
pub struct Analytics {
    config: AnalyticsConfig,
    log: Arc<dyn Log>,
    directory: Arc<Directory>,
    clock: SharedClock,
    pool: PgPool,
    rng: Arc<Mutex<StdRng>>,
}

impl Analytics {
    /// Analytics over `log`, kept in `pool`'s database; `rng`, cryptographically secure, makes the
    /// passwords of analysts. Does nothing before [`Analytics::run`].
    #[must_use]
    pub fn new(
        config: &AnalyticsConfig,
        log: Arc<dyn Log>,
        directory: Arc<Directory>,
        clock: SharedClock,
        pool: PgPool,
        rng: StdRng,
    ) -> Self {
        Self {
            config: config.clone(),
            log,
            directory,
            clock,
            pool,
            rng: Arc::new(Mutex::new(rng)),
        }
    }

    /// What analysts may ask over HTTP.
    pub fn routes(&self) -> OpenApiRouter {
        fixes::routes(fixes::Fixes::new(self.pool.clone(), self.directory.clone()))
            .merge(trips::routes(
                self.pool.clone(),
                derive::rules(&self.config),
            ))
            .merge(heatmap::routes(self.pool.clone()))
            .merge(rebuild::routes(self.pool.clone()))
            .merge(analysts::routes(self.pool.clone(), self.rng.clone()))
    }

    /// Moves the log into Postgres, and keeps what follows from the fixes up to date, until `stop`;
    /// then finishes the flush under way.
    ///
    /// # Errors
    /// If the log refuses the group. Postgres being away is no error: everything waits for it.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut tasks = JoinSet::new();
        tasks.spawn(self.derive().run(stop.clone()));
        tasks.spawn(self.upkeep().run(stop.clone()));
        tasks.spawn(self.store(stop));
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        Ok(())
    }

    /// The sink alone: moves the log into Postgres until `stop`.
    ///
    /// # Errors
    /// If the log refuses the group.
    pub async fn store(self, stop: CancellationToken) -> anyhow::Result<()> {
        let sink = sink::Sink::new(self.config, self.log, self.directory, self.clock, self.pool);
        sink.run(stop).await
    }

    /// Computes trips, stops and heat of everything that is stored, and returns.
    ///
    /// # Errors
    /// If Postgres is away.
    pub async fn catch_up(&self) -> anyhow::Result<()> {
        let derive = self.derive();
        while derive.round().await? != derive::Round::Done {}
        Ok(())
    }

    /// Makes partitions, merges, drops and erases whatever is due now, and returns.
    ///
    /// # Errors
    /// If Postgres is away.
    pub async fn tidy_up(&self) -> anyhow::Result<()> {
        Ok(self.upkeep().round().await?)
    }

    fn derive(&self) -> derive::Derive {
        derive::Derive::new(&self.config, self.pool.clone())
    }

    fn upkeep(&self) -> upkeep::Upkeep {
        upkeep::Upkeep::new(&self.config, self.clock.clone(), self.pool.clone())
    }
}

#[cfg(test)]
mod tests;
