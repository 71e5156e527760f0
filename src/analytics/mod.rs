//! Analytics: every fix of the delivery-location log in Postgres exactly once, and what is asked of
//! it there.
//!
//! ```text
//!   log ──▶ sink (group `analytics`) ──▶ track_segment + stream_offset, one transaction a flush
//!                                             │
//!                                             └──▶ fixes over HTTP; view `fix` and `fixes()` in SQL
//! ```
//!
//! Owns the tables of `migrations/0002_analytics.sql`. Invariants:
//! - rows and offsets move in the same transaction, so that a crash between them cannot be;
//! - a fix (courier, `fix_time`) is stored once, whoever sends it again and however late;
//! - nothing read from the log is skipped: what cannot be stored goes to quarantine, and while
//!   Postgres is away the sink waits.

mod columns;
mod days;
mod fixes;
mod sink;

use std::sync::Arc;

use sqlx::PgPool;
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
    }

    /// Moves the log into Postgres until `stop`, then finishes the flush under way.
    ///
    /// # Errors
    /// If the log refuses the group. Postgres being away is no error: the sink waits.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        sink::Sink::new(self.config, self.log, self.clock, self.pool)
            .run(stop)
            .await
    }
}
