//! The live map: where couriers are now, told to customers and dispatchers as it changes.
//!
//! ```text
//!   log ──follow──▶ state (newest fix a courier) ──wake──▶ track: one delivery a customer, at once
//!   Directory ──feed──▶  "                        ◀─scan── fleet: cells and couriers, every tick
//! ```
//!
//! Owns live state, the customer channel (`/ws/track`, `/v1/track…`), the fleet channel
//! (`/ws/fleet`) and the reads of positions that are now. What customers may see is decided in
//! [`visibility`] and nowhere else.
//!
//! Invariants:
//! - A reader of the map never slows the log: it follows by itself, and everything here may be lost
//!   and is found again in the log.
//! - A socket has no queue: it holds a cursor into frames that all who watch the same share.
//! - Nobody waits for Postgres here.

#[cfg(test)]
mod bad_clients;
mod close;
mod eta;
mod feed;
mod fleet;
mod follow;
mod gate;
mod meters;
mod socket;
mod state;
#[cfg(test)]
mod test_kit;
mod track;
mod visibility;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use rand::Rng;
use rand::rngs::StdRng;
use tokio_util::sync::CancellationToken;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use crate::access::Access;
use crate::clock::SharedClock;
use crate::config::Config;
use crate::directory::Directory;
use crate::domain::UnixMs;
use crate::http::Problem;
use crate::roads::Roads;
use crate::stream::Log;
use fleet::{Fleet, Hub};
use gate::Gate;
use meters::Meters;
use socket::{Line, Manners};
use state::{LiveState, Patience};
use track::{Brand, Tracks, World};
use visibility::Rules;

/// Tellings are tended, and watched couriers named, this often.
const TEND_EVERY: Duration = Duration::from_secs(10);

/// What the live map is made of.
pub struct Parts {
    /// Where fixes come from.
    pub log: Arc<dyn Log>,
    /// Couriers, deliveries and links.
    pub directory: Arc<Directory>,
    /// For ways and travel times.
    pub roads: Roads,
    /// Who may watch.
    pub access: Arc<Access>,
    /// The time.
    pub clock: SharedClock,
    /// What our own pages' addresses begin with.
    pub public_url: Arc<str>,
    /// Makes tickets; cryptographically secure.
    pub rng: StdRng,
}

/// The live map. Cheap to clone.
#[derive(Clone)]
pub struct LiveMap(Arc<Inner>);

struct Inner {
    log: Arc<dyn Log>,
    directory: Arc<Directory>,
    access: Arc<Access>,
    line: Line,
    roads: Roads,
    state: Arc<LiveState>,
    patience: Patience,
    tracks: Arc<Tracks>,
    fleet: Fleet,
    restored: AtomicBool,
}

impl LiveMap {
    /// A live map that knows nothing yet; [`LiveMap::run`] fills it.
    #[must_use]
    pub fn new(config: &Config, parts: Parts) -> Self {
        Self::with_manners(config, parts, Manners::default())
    }

    fn with_manners(config: &Config, parts: Parts, manners: Manners) -> Self {
        let state = Arc::new(LiveState::default());
        let patience = Patience::new(&config.ingest);
        let mut rng = parts.rng;
        // Another process has another, and sequence numbers begin anew.
        let epoch = rng.next_u32();
        let world = World {
            directory: parts.directory.clone(),
            state: state.clone(),
            roads: parts.roads.clone(),
            rules: Rules::new(&config.live_map),
            brand: Brand::new(&config.web),
        };
        let hub = Hub::new(
            state.clone(),
            parts.directory.clone(),
            parts.clock.clone(),
            patience,
            config.live_map.tick_ms,
            epoch,
        );
        Self(Arc::new(Inner {
            log: parts.log,
            directory: parts.directory,
            access: parts.access,
            line: Line {
                gate: Gate::new(&parts.public_url, &config.http.cors_origins),
                clock: parts.clock,
                manners,
                meters: Meters::new(),
            },
            roads: parts.roads,
            state,
            patience,
            tracks: Arc::new(Tracks::new(world, epoch)),
            fleet: Fleet::new(hub, rng),
            restored: AtomicBool::new(false),
        }))
    }

    /// The routes, each with its documentation.
    pub fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(track::socket))
            .routes(routes!(track::track))
            .routes(routes!(track::track_events))
            .routes(routes!(fleet::ticket))
            .routes(routes!(fleet::socket))
            .routes(routes!(fleet::couriers))
            .routes(routes!(fleet::candidates))
            .routes(routes!(fleet::attention))
            .routes(routes!(fleet::positions))
            .routes(routes!(fleet::position))
            .routes(routes!(fleet::trail))
            .with_state(self.clone())
    }

    /// Follows the log and the Directory until `stop`, then sends everybody away and returns.
    ///
    /// # Errors
    /// If one of its tasks panics.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let mut tasks = tokio::task::JoinSet::new();
        tasks.spawn(follow::run(self.clone(), stop.clone()));
        tasks.spawn(feed::run(self.clone(), stop.clone()));
        tasks.spawn(self.fleet().hub.clone().run(stop.clone()));
        tasks.spawn(tend(self.clone(), stop.clone()));
        while let Some(ended) = tasks.join_next().await {
            ended??;
        }
        self.line().gate.close().await;
        Ok(())
    }

    /// Whether the positions of before the start are known again; not ready to serve before.
    #[must_use]
    pub fn is_restored(&self) -> bool {
        self.0.restored.load(Ordering::Acquire)
    }

    /// Refuses connections that would be told nonsense.
    fn admit(&self) -> Result<(), Problem> {
        if !self.is_restored() {
            return Err(Problem::unavailable(
                "positions are being read from the log",
                1,
            ));
        }
        self.line().gate.admit()
    }

    fn restored(&self) {
        for id in self.state().ids() {
            feed::refresh_work(self, &id);
        }
        self.0.restored.store(true, Ordering::Release);
        self.tracks().wake_all();
        tracing::info!(couriers = self.state().len(), "positions are restored");
    }

    fn log(&self) -> &Arc<dyn Log> {
        &self.0.log
    }

    fn directory(&self) -> &Arc<Directory> {
        &self.0.directory
    }

    fn access(&self) -> &Access {
        &self.0.access
    }

    fn line(&self) -> &Line {
        &self.0.line
    }

    fn roads(&self) -> &Roads {
        &self.0.roads
    }

    fn state(&self) -> &LiveState {
        &self.0.state
    }

    fn patience(&self) -> Patience {
        self.0.patience
    }

    fn tracks(&self) -> &Arc<Tracks> {
        &self.0.tracks
    }

    fn fleet(&self) -> &Fleet {
        &self.0.fleet
    }

    fn hub(&self) -> &Arc<Hub> {
        &self.0.fleet.hub
    }

    fn now(&self) -> UnixMs {
        self.line().now()
    }
}

/// Says who is watched, and forgets what nobody needs.
async fn tend(live: LiveMap, stop: CancellationToken) -> anyhow::Result<()> {
    let mut every = tokio::time::interval(TEND_EVERY);
    every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            _ = every.tick() => {}
        }
        live.tracks().tend(live.now());
        live.fleet().tend(live.directory(), live.now());
    }
}
