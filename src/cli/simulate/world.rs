//! Where simulated deliveries can go: shops and doors of the extract that roads join.

use anyhow::bail;
use rand::RngExt;

use super::Chance;
use crate::domain::{Position, geo};
use crate::roads::{Roads, Route, Stop, Stops};

/// A stop further than this from any road is not used, metres.
const MOST_AWAY_M: f64 = 60.0;
/// Shops that are tried as the one from which most others can be reached.
const ANCHORS: usize = 20;

/// The roads with the places along them. All places can be reached from each other.
#[derive(Debug, Clone)]
pub(super) struct World {
    roads: Roads,
    shops: Vec<Stop>,
    doors: Vec<Stop>,
}

impl World {
    /// Keeps the places that can be reached.
    ///
    /// # Errors
    /// If no delivery can be made of what is left.
    pub(super) fn new(roads: Roads, mut stops: Stops) -> anyhow::Result<Self> {
        let near = |stop: &Stop| {
            roads
                .nearest(stop.position)
                .is_some_and(|n| n.away_m < MOST_AWAY_M)
        };
        stops.shops.retain(near);
        stops.doors.retain(near);
        let joined = |from: &Stop, to: &Stop| roads.route(from.position, to.position).is_some();
        let step = (stops.shops.len() / ANCHORS).max(1);
        let anchors = stops.shops.iter().step_by(step);
        let anchor = anchors.max_by_key(|anchor| {
            let step = (stops.doors.len() / ANCHORS).max(1);
            stops
                .doors
                .iter()
                .step_by(step)
                .filter(|door| joined(anchor, door))
                .count()
        });
        let Some(anchor) = anchor.cloned() else {
            bail!("the extract has no food shops near roads: nothing can be delivered from there");
        };
        let kept = |stops: Vec<Stop>| {
            stops
                .into_iter()
                .filter(|stop| joined(&anchor, stop))
                .collect()
        };
        let (shops, doors): (Vec<_>, Vec<_>) = (kept(stops.shops), kept(stops.doors));
        if doors.len() < 2 {
            bail!(
                "the extract has {} house numbers near its roads; 2 are needed",
                doors.len()
            );
        }
        Ok(Self {
            roads,
            shops,
            doors,
        })
    }

    /// Any shop.
    pub(super) fn any_shop(&self, chance: &mut Chance) -> &Stop {
        &self.shops[chance.random_range(0..self.shops.len())]
    }

    /// A shop nearby: the nearest of `looked_at`.
    pub(super) fn shop_near(&self, here: Position, looked_at: u32, chance: &mut Chance) -> &Stop {
        let mut best = self.any_shop(chance);
        for _ in 1..looked_at {
            let other = self.any_shop(chance);
            if geo::distance_m(here, other.position) < geo::distance_m(here, best.position) {
                best = other;
            }
        }
        best
    }

    /// A door about as far away as asked, metres: the first that fits, or else the one that misses
    /// by least.
    pub(super) fn door_within(
        &self,
        here: Position,
        metres: std::ops::Range<f64>,
        chance: &mut Chance,
    ) -> &Stop {
        const LOOKED_AT: usize = 60;
        let mut best = (f64::MAX, &self.doors[0]);
        for _ in 0..LOOKED_AT {
            let door = &self.doors[chance.random_range(0..self.doors.len())];
            let away_m = geo::distance_m(here, door.position);
            let miss_m = (metres.start - away_m).max(away_m - metres.end).max(0.0);
            if miss_m < best.0 {
                best = (miss_m, door);
            }
            if miss_m <= 0.0 {
                break;
            }
        }
        best.1
    }

    /// The way from one place to another; a straight line, should there be none.
    pub(super) fn route(&self, from: Position, to: Position) -> Route {
        self.roads.route(from, to).unwrap_or_else(|| {
            let travel = self.roads.travel(from, to, None);
            Route {
                path: vec![from, to],
                elapsed_s: vec![0.0, travel.duration_s as f32],
                distance_m: travel.distance_m,
                duration_s: travel.duration_s,
            }
        })
    }
}
