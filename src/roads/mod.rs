//! Roads: from an OpenStreetMap extract to routes, travel times and the nearest road.
//!
//! ```text
//! .osm.pbf ─osm─▶ ways, nodes ─graph─▶ pieces between junctions ─router─▶ contraction hierarchy
//!                                            └────────── cache: one file ──────────┘
//! ```
//!
//! [`Roads`] is opened once and cloned cheaply. Invariants: a query never blocks on anything but
//! the processor, once the graph is in memory, and always has an answer for a travel time: where no
//! road leads, as the straight line with a factor. The routing profile is documented in
//! `profile.rs`, the cache file in `cache.rs`.

mod cache;
mod graph;
mod grid;
mod on_demand;
mod osm;
mod profile;
mod router;
mod stops;
#[cfg(test)]
mod tests;

use std::path::Path;
use std::sync::Arc;

use anyhow::{Context, bail};

pub use stops::{Stop, Stops};

use self::cache::Prepared;
use self::on_demand::OnDemand;
use self::osm::Source;
use self::router::Router;
use crate::config::RoadsConfig;
use crate::domain::eta::{self, Ahead, Eta, Pace};
use crate::domain::{Position, UnixMs, Vehicle, geo};

/// How much longer a way by road is than the straight line, where there is no road graph.
const DETOUR: f64 = 1.4;
/// Speed of a motor vehicle over such a way, metres a second.
const STRAIGHT_MPS: f64 = 8.0;
/// Speed of a bicycle courier, metres a second.
const BIKE_MPS: f64 = 4.5;
/// Speed of a walking courier, metres a second.
const FOOT_MPS: f64 = 1.35;

/// The roads of one extract. Cheap to clone.
#[derive(Debug, Clone)]
pub struct Roads(Option<Arc<OnDemand>>);

/// A way by road.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Route {
    /// The way, from the road nearest to the start to the road nearest to the end.
    pub path: Vec<Position>,
    /// Seconds from the start, for each position of `path`.
    pub elapsed_s: Vec<f32>,
    /// Its length in metres.
    pub distance_m: f64,
    /// Travel time in seconds, as a motor vehicle drives.
    pub duration_s: f64,
}

/// How far it is and how long it takes.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Travel {
    /// Metres.
    pub distance_m: f64,
    /// Seconds, for the vehicle that was asked for.
    pub duration_s: f64,
    /// Whether this is by road; otherwise it is the straight line with a factor.
    pub by_road: bool,
}

/// A place on a road.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct NearestRoad {
    /// Where.
    pub position: Position,
    /// Metres from what was asked for.
    pub away_m: f64,
}

impl Roads {
    /// Opens the extract of the configuration, else the bundled one. The prepared graph is kept in
    /// `cache_dir`, so that only the first start has to build it (about 1 s for the bundled one).
    /// Blocks: not for an async task.
    ///
    /// # Errors
    /// If the configured file cannot be read or holds no roads. A cache that cannot be read or
    /// written is only a warning.
    pub fn open(config: &RoadsConfig, cache_dir: &Path) -> anyhow::Result<Self> {
        Ok(Self::open_with_stops(config, cache_dir)?.0)
    }

    /// As [`Roads::open`], with the shops and doors of the extract.
    ///
    /// # Errors
    /// As [`Roads::open`].
    pub fn open_with_stops(
        config: &RoadsConfig,
        cache_dir: &Path,
    ) -> anyhow::Result<(Self, Stops)> {
        let prepared =
            open(&Source::of(config), cache_dir).context("open the road graph (roads.file)")?;
        let router = Router::new(prepared.graph, prepared.hierarchy);
        let loaded = OnDemand::loaded(router);
        Ok((Self(Some(Arc::new(loaded))), prepared.stops))
    }

    /// As [`Roads::open`], but leaves the graph on disk (about 35 MiB of memory for the bundled one)
    /// until [`Roads::load`], or the first query, which waits for it then.
    ///
    /// # Errors
    /// As [`Roads::open`].
    pub fn prepare(config: &RoadsConfig, cache_dir: &Path) -> anyhow::Result<Self> {
        let prepared = OnDemand::prepare(Source::of(config), cache_dir);
        let prepared = prepared.context("open the road graph (roads.file)")?;
        Ok(Self(Some(Arc::new(prepared))))
    }

    /// Brings the graph into memory, if it is not there. Blocks: not for an async task.
    pub fn load(&self) {
        // Whoever asks finds it; that there is none has been said.
        let _: Option<&Router> = self.router();
    }

    fn router(&self) -> Option<&Router> {
        self.0.as_ref()?.router()
    }

    /// No roads: every travel time is the straight line with a factor.
    #[must_use]
    pub fn none() -> Self {
        Self(None)
    }

    /// The road nearest to a position, within a kilometre.
    #[must_use]
    pub fn nearest(&self, at: Position) -> Option<NearestRoad> {
        let found = self.router()?.nearest(at)?;
        Some(NearestRoad {
            position: found.position,
            away_m: found.away_m,
        })
    }

    /// The fastest way by road; `None` if a place is further than a kilometre from any road, or no
    /// road joins them.
    #[must_use]
    pub fn route(&self, from: Position, to: Position) -> Option<Route> {
        self.router()?.route(from, to)
    }

    /// How far it is and how long it takes with `vehicle`; by road, where there is one.
    #[must_use]
    pub fn travel(&self, from: Position, to: Position, vehicle: Option<Vehicle>) -> Travel {
        let by_road = self.router().and_then(|router| router.measure(from, to));
        let (distance_m, drive_s) = by_road.unwrap_or_else(|| {
            let distance_m = geo::distance_m(from, to) * DETOUR;
            (distance_m, distance_m / STRAIGHT_MPS)
        });
        let duration_s = duration_s(distance_m, drive_s, vehicle);
        Travel {
            distance_m,
            duration_s,
            by_road: by_road.is_some(),
        }
    }

    /// Seconds from one place to another with `vehicle`.
    #[must_use]
    pub fn travel_time(&self, from: Position, to: Position, vehicle: Option<Vehicle>) -> f64 {
        self.travel(from, to, vehicle).duration_s
    }

    /// When a courier who was at `from` at the time `at` will be at the last of `stops`, which are
    /// all open stops of the run in their order, the next one first; `None` without a stop.
    ///
    /// `pace` is the courier's own; it is fed by the way, so call this with the courier's positions
    /// in the order of their time, every ten seconds or more seldom, and keep it.
    #[must_use]
    pub fn eta(
        &self,
        at: UnixMs,
        from: Position,
        stops: &[Position],
        vehicle: Option<Vehicle>,
        pace: &mut Pace,
    ) -> Option<Eta> {
        let (&next, later) = stops.split_first()?;
        let first_s = self.travel_time(from, next, vehicle);
        let legs = stops
            .windows(2)
            .map(|leg| self.travel_time(leg[0], leg[1], vehicle));
        let drive_s = first_s + legs.sum::<f64>();
        pace.observe(at, next, first_s);
        Some(eta::estimate(
            at,
            Ahead {
                drive_s,
                stops_before: later.len(),
            },
            pace,
        ))
    }

    /// Vertices and pieces of the graph, for a log line.
    #[must_use]
    pub fn size(&self) -> (usize, usize) {
        let graph = self.router().map(Router::graph);
        graph.map_or((0, 0), |graph| (graph.vertices(), graph.pieces.len()))
    }
}

/// Seconds that a vehicle needs for a way that a motor vehicle drives in `drive_s`: bicycles and
/// walkers have a speed of their own, and a bicycle is not faster than the traffic.
#[must_use]
pub fn duration_s(distance_m: f64, drive_s: f64, vehicle: Option<Vehicle>) -> f64 {
    match vehicle {
        None | Some(Vehicle::Car | Vehicle::Van) => drive_s,
        Some(Vehicle::Bike) => drive_s.max(distance_m / BIKE_MPS),
        Some(Vehicle::Foot) => drive_s.max(distance_m / FOOT_MPS),
    }
}

fn open(source: &Source, cache_dir: &Path) -> anyhow::Result<Prepared> {
    let hash = source.hash()?;
    let path = cache::path(cache_dir, &hash);
    match cache::read(&path, &hash) {
        Ok(prepared) => return Ok(prepared),
        Err(error) if path.exists() => {
            tracing::warn!("the road graph {} is built anew: {error:#}", path.display());
        }
        Err(_) => tracing::info!("preparing the road graph of {source}, once"),
    }
    let extract = osm::read(source)?;
    let graph = graph::Graph::build(&extract);
    if graph.pieces.is_empty() {
        bail!("the roads of {source} do not join: is the extract complete?");
    }
    let hierarchy = router::contract(&graph);
    let prepared = Prepared {
        graph,
        hierarchy,
        stops: extract.stops,
    };
    let written = std::fs::create_dir_all(cache_dir)
        .with_context(|| format!("create {}", cache_dir.display()))
        .and_then(|()| cache::write(&path, &hash, &prepared));
    if let Err(error) = written {
        tracing::warn!("the road graph is not kept, the next start builds it again: {error:#}");
    }
    Ok(prepared)
}
