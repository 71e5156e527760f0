//! The slice as the program wires it.

use std::sync::Arc;
use std::time::Duration;

use parking_lot::Mutex;
use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;

use super::backtest::{Archive, Backtests};
use super::estimates::Estimates;
use super::group::{Group, stream_id};
use super::judge::Bench;
use super::outbox::{Outbox, OutboxLimits, Sender};
use super::routes::Api;
use super::store::Store;
use crate::clock::SharedClock;
use crate::config::NotificationsConfig;
use crate::directory::Directory;
use crate::domain::rules::FenceIndex;
use crate::roads::Roads;
use crate::stream::Log;

/// Judges the log's fixes and calls webhooks. Cheap to clone.
#[derive(Clone)]
pub struct Notifications {
    config: NotificationsConfig,
    log: Arc<dyn Log>,
    directory: Arc<Directory>,
    clock: SharedClock,
    pool: PgPool,
    sender: Sender,
    rng: Arc<Mutex<StdRng>>,
    roads: Roads,
    backtests: Backtests,
}

impl Notifications {
    /// The slice, not yet running. `rng` must be cryptographically secure: it makes the webhooks'
    /// secrets.
    #[must_use]
    pub fn new(
        config: &NotificationsConfig,
        log: Arc<dyn Log>,
        directory: Arc<Directory>,
        clock: SharedClock,
        pool: PgPool,
        rng: StdRng,
    ) -> Self {
        let timeout = Duration::from_secs(config.timeout_s);
        let sender = Sender::new(clock.clone(), timeout, config.allow_private_endpoints);
        Self {
            config: config.clone(),
            log,
            directory,
            clock,
            pool,
            sender,
            rng: Arc::new(Mutex::new(rng)),
            roads: Roads::none(),
            backtests: Backtests::default(),
        }
    }

    /// Estimates arrivals by these roads; without, by the straight line with a factor.
    #[must_use]
    pub fn with_roads(mut self, roads: Roads) -> Self {
        self.roads = roads;
        self
    }

    /// `/v1/webhooks`, `/v1/events` and `/v1/backtests`.
    pub fn routes(&self) -> OpenApiRouter {
        Api {
            pool: self.pool.clone(),
            sender: self.sender.clone(),
            clock: self.clock.clone(),
            rng: self.rng.clone(),
            allow_private: self.config.allow_private_endpoints,
            rules: self.config.rules(),
            backtests: self.backtests.clone(),
        }
        .routes()
    }

    /// Reads the log, sends what is in the outbox, and runs backtests, until `stop`.
    ///
    /// # Errors
    /// If the log refuses the group.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let store = Store::new(self.pool.clone(), &stream_id(&*self.log)?);
        let archive = Archive {
            log: self.log.clone(),
            pool: self.pool.clone(),
            directory: self.directory.clone(),
            roads: self.roads.clone(),
        };
        let bench = Bench {
            rules: Arc::new(self.config.rules()),
            directory: self.directory,
            fences: FenceIndex::default(),
            estimates: Estimates { roads: self.roads },
        };
        let group = Group {
            log: self.log,
            bench,
            store,
            clock: self.clock.clone(),
        };
        let outbox = Outbox {
            pool: self.pool,
            sender: self.sender,
            clock: self.clock,
            limits: OutboxLimits::from(&self.config),
            rng: StdRng::from_rng(&mut *self.rng.lock()),
        };
        // Should one fail, the other is dropped: the process stops anyway.
        tokio::try_join!(
            group.run(stop.clone()),
            outbox.run(stop.clone()),
            self.backtests.run(archive, stop)
        )?;
        Ok(())
    }
}
