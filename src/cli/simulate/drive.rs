//! One drive along a route, decided in advance: where the courier is at every instant.
//!
//! Real driving is not the road graph's: stretches go faster or slower, and now and then there is a
//! wait at a light. On average (`ON_AVERAGE`) it takes as long as the graph says, times the factor
//! that is asked for.

use rand::RngExt;

use super::Chance;
use crate::domain::{Position, geo};
use crate::roads::Route;

/// Stretches with one speed each, metres.
const STRETCH_M: f64 = 120.0;
/// Spread of the logarithm of a stretch' speed.
const STRETCH_SD: f64 = 0.25;
/// Lights and crossings on the way, one in so many metres.
const LIGHT_EVERY_M: f64 = 350.0;
/// How often one has to wait there.
const RED: f64 = 0.3;
/// How long, seconds.
const RED_S: std::ops::Range<f64> = 5.0..35.0;
/// Driving without the waits is so much faster than the graph says, so that both together are not.
const ON_AVERAGE: f64 = 0.82;
/// No stretch takes less than this share of what the graph says.
const FASTEST: f64 = 0.75;
/// From the road to the door and back, metres a second.
const STEPS_MPS: f64 = 1.6;

/// A drive.
#[derive(Debug, Clone)]
pub(super) struct Drive {
    /// When the courier is where, in order of time.
    knots: Vec<(i64, Position)>,
}

/// Where a courier is, and how it moves.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct Place {
    pub(super) position: Position,
    /// Metres a second.
    pub(super) speed_mps: f64,
    /// Degrees; `None` while standing.
    pub(super) heading_deg: Option<f64>,
}

impl Place {
    /// Standing somewhere.
    pub(super) fn standing(position: Position) -> Self {
        Self {
            position,
            speed_mps: 0.0,
            heading_deg: None,
        }
    }
}

impl Drive {
    /// From `here` along `route` to the door `to`, beginning at `begun_ms`, `factor` times as long
    /// as the road graph expects.
    pub(super) fn new(
        begun_ms: i64,
        here: Position,
        route: &Route,
        to: Position,
        factor: f64,
        chance: &mut Chance,
    ) -> Self {
        let mut at_ms = begun_ms as f64;
        let mut knots = vec![(begun_ms, here)];
        let walk = |at_ms: &mut f64, knots: &mut Vec<(i64, Position)>, to: Position| {
            let last = knots.last().map_or(to, |knot| knot.1);
            *at_ms += geo::distance_m(last, to) / STEPS_MPS * 1000.0;
            knots.push((*at_ms as i64, to));
        };
        walk(
            &mut at_ms,
            &mut knots,
            route.path.first().copied().unwrap_or(to),
        );
        let (mut stretch_m, mut light_m, mut speed) = (0.0, 0.0, stretch(chance));
        for (path, elapsed_s) in route.path.windows(2).zip(route.elapsed_s.windows(2)) {
            let metres = geo::distance_m(path[0], path[1]);
            stretch_m += metres;
            light_m += metres;
            if stretch_m > STRETCH_M {
                stretch_m = 0.0;
                speed = stretch(chance);
            }
            if light_m > LIGHT_EVERY_M {
                light_m = 0.0;
                if chance.random_bool(RED) {
                    at_ms += chance.random_range(RED_S) * factor.min(1.5) * 1000.0;
                    knots.push((at_ms as i64, path[0]));
                }
            }
            let expected_s = f64::from(elapsed_s[1] - elapsed_s[0]);
            let slower = (ON_AVERAGE * factor * speed).max(FASTEST);
            at_ms += expected_s * slower * 1000.0;
            knots.push((at_ms as i64, path[1]));
        }
        walk(&mut at_ms, &mut knots, to);
        Self { knots }
    }

    /// When the courier is there, Unix milliseconds.
    pub(super) fn ends_ms(&self) -> i64 {
        self.knots.last().map_or(0, |knot| knot.0)
    }

    /// Where the drive ends.
    pub(super) fn goal(&self) -> Option<Position> {
        self.knots.last().map(|knot| knot.1)
    }

    /// Where the courier is at `now_ms`.
    pub(super) fn place(&self, now_ms: i64) -> Option<Place> {
        let next = self.knots.partition_point(|knot| knot.0 <= now_ms);
        let Some(&(after_ms, after)) = self.knots.get(next) else {
            return self.goal().map(Place::standing);
        };
        let Some(&(before_ms, before)) = next.checked_sub(1).and_then(|i| self.knots.get(i)) else {
            return Some(Place::standing(after));
        };
        let metres = geo::distance_m(before, after);
        if metres < 0.01 {
            return Some(Place::standing(after));
        }
        let share = (now_ms - before_ms) as f64 / (after_ms - before_ms) as f64;
        let heading_deg = geo::bearing_deg(before, after);
        Some(Place {
            position: geo::destination(before, heading_deg, metres * share),
            speed_mps: metres / ((after_ms - before_ms) as f64 / 1000.0),
            heading_deg: Some(heading_deg),
        })
    }
}

/// How much longer than usual a stretch takes; 1 on average.
fn stretch(chance: &mut Chance) -> f64 {
    (normal(chance) * STRETCH_SD - STRETCH_SD * STRETCH_SD / 2.0).exp()
}

/// A standard normal number (G. E. P. Box, M. E. Muller, 1958).
pub(super) fn normal(chance: &mut Chance) -> f64 {
    let radius = (-2.0 * (1.0 - chance.random::<f64>()).ln()).sqrt();
    radius * (std::f64::consts::TAU * chance.random::<f64>()).cos()
}
