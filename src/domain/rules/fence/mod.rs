//! A geofence as rules judge by it: is a place inside, how far is its border, does a way touch it.
//!
//! Circles are compared as chords between unit vectors: no poles, no antimeridian. Polygons are
//! those of RFC 7946, straight lines in degrees; see [`polygon`].

mod extent;
mod index;
mod outline;
mod polygon;
#[cfg(test)]
mod tests;

use std::sync::Arc;

pub use index::{FenceIndex, Handle};
pub use outline::CrossingEdges;

use self::extent::Extent;
use self::polygon::Polygon;
use crate::domain::geo::EARTH_RADIUS_M;
use crate::domain::{Geofence, GeofenceEvent, GeofenceId, Position, Shape};

/// Why a shape cannot be judged by. Such a geofence tells nothing; everything else goes on.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum FenceError {
    /// A radius that is no positive number.
    #[error("the radius must be more than 0")]
    Radius,
    /// No ring, or one of fewer than three positions.
    #[error("a polygon needs a ring of at least three positions")]
    Empty,
    /// Its positions lie on one line.
    #[error("the polygon bounds no area")]
    NoArea,
    /// It goes once around the earth.
    #[error("the polygon surrounds a pole or spans more than 360 degrees")]
    Wraps,
    /// Its outline crosses itself, or a hole crosses the outline. Only [`Fence::check`] says so.
    #[error(
        "the polygon crosses itself: the edge from position {} of ring {} and the edge from \
         position {} of ring {} (from 0)", .0.first.1, .0.first.0, .0.second.1, .0.second.0
    )]
    Crosses(CrossingEdges),
}

/// A place, prepared for many comparisons.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Spot {
    /// Where.
    pub position: Position,
    unit: [f64; 3],
}

impl From<Position> for Spot {
    fn from(position: Position) -> Self {
        let (lat_sin, lat_cos) = position.lat().to_radians().sin_cos();
        let (lon_sin, lon_cos) = position.lon().to_radians().sin_cos();
        Self {
            position,
            unit: [lat_cos * lon_cos, lat_cos * lon_sin, lat_sin],
        }
    }
}

impl Spot {
    /// Squared length of the straight line through the earth, in earth radii.
    fn chord2(&self, other: &Self) -> f64 {
        chord2(&self.unit, &other.unit)
    }

    /// Great-circle distance in metres.
    #[must_use]
    pub fn distance_m(&self, other: &Self) -> f64 {
        meters(self.chord2(other))
    }
}

fn chord2(a: &[f64; 3], b: &[f64; 3]) -> f64 {
    let d = [a[0] - b[0], a[1] - b[1], a[2] - b[2]];
    d[0] * d[0] + d[1] * d[1] + d[2] * d[2]
}

/// The great-circle distance of a squared chord, metres.
fn meters(chord2: f64) -> f64 {
    2.0 * EARTH_RADIUS_M * (chord2.sqrt() / 2.0).min(1.0).asin()
}

/// The squared chord of a great-circle distance.
fn chord2_of(distance_m: f64) -> f64 {
    let half = (distance_m / (2.0 * EARTH_RADIUS_M)).min(std::f64::consts::FRAC_PI_2);
    (2.0 * half.sin()).powi(2)
}

/// A geofence, prepared. What is asked with every fix lies here and not behind a pointer: with
/// thousands of geofences it is memory that takes the time.
#[derive(Debug, Clone)]
pub struct Fence {
    /// Its id.
    pub id: GeofenceId,
    /// Seconds after which a stay is a dwell.
    pub dwell_s: Option<u32>,
    /// Whether a way through is told.
    pub tells_crossings: bool,
    /// What it was made from.
    pub geofence: Arc<Geofence>,
    area: Area,
}

#[derive(Debug, Clone)]
enum Area {
    Circle {
        center: Spot,
        radius_m: f64,
        chord2: f64,
    },
    Polygon {
        /// A box that lies in it, if its middle does.
        core: Option<Extent>,
        size_m: f64,
        polygon: Box<Polygon>,
    },
}

impl Area {
    fn new(shape: &Shape) -> Result<Self, FenceError> {
        match shape {
            Shape::Circle { center, radius_m } => {
                if !(*radius_m > 0.0 && radius_m.is_finite()) {
                    return Err(FenceError::Radius);
                }
                let (center, radius_m) = (Spot::from(*center), *radius_m);
                Ok(Self::Circle {
                    center,
                    radius_m,
                    chord2: chord2_of(radius_m),
                })
            }
            Shape::Polygon { rings } => {
                let polygon = Box::new(Polygon::new(rings)?);
                Ok(Self::Polygon {
                    core: polygon.core_deg().map(Extent::within_degrees),
                    size_m: polygon.size_m(),
                    polygon,
                })
            }
        }
    }
}

impl Fence {
    /// Prepares a geofence.
    pub fn new(geofence: Arc<Geofence>) -> Result<Self, FenceError> {
        let area = Area::new(&geofence.shape)?;
        Ok(Self {
            id: geofence.id.clone(),
            dwell_s: geofence.dwell_s,
            tells_crossings: geofence.events.contains(&GeofenceEvent::Cross),
            geofence,
            area,
        })
    }

    /// Refuses a shape that a geofence should not be made of, with the reason. Stricter than
    /// [`Fence::new`], which judges by what is stored as well as it can: what is inside an outline
    /// that crosses itself is hardly what its author meant.
    pub fn check(shape: &Shape) -> Result<(), FenceError> {
        // The two halves of a bow tie may cancel out: say first what is wrong with it.
        if let Shape::Polygon { rings } = shape
            && let Some(met) = outline::crossing(rings)
        {
            return Err(FenceError::Crosses(met));
        }
        Area::new(shape).map(drop)
    }

    /// Whether a place is inside; on the border of a circle counts as inside.
    #[must_use]
    pub fn contains(&self, spot: &Spot) -> bool {
        match &self.area {
            Area::Circle { center, chord2, .. } => center.chord2(spot) <= *chord2,
            Area::Polygon { core, polygon, .. } => {
                core.is_some_and(|core| core.holds(spot.position))
                    || polygon.contains(spot.position)
            }
        }
    }

    /// Metres to the border, negative inside. Exact up to `reach_m`; what is further away may be
    /// given as any distance beyond.
    #[must_use]
    pub fn border_m(&self, spot: &Spot, reach_m: f64) -> f64 {
        match &self.area {
            Area::Circle {
                center, radius_m, ..
            } => center.distance_m(spot) - radius_m,
            Area::Polygon { polygon, .. } => {
                let away_m = polygon.border_m(spot.position, reach_m);
                if polygon.contains(spot.position) {
                    -away_m
                } else {
                    away_m
                }
            }
        }
    }

    /// Whether the straight way from `a` to `b`, a few kilometres at most, goes through.
    #[must_use]
    pub fn is_touched_by(&self, a: &Spot, b: &Spot) -> bool {
        match &self.area {
            Area::Circle {
                center,
                chord2: reach,
                ..
            } => {
                let way = [
                    b.unit[0] - a.unit[0],
                    b.unit[1] - a.unit[1],
                    b.unit[2] - a.unit[2],
                ];
                let to = [
                    center.unit[0] - a.unit[0],
                    center.unit[1] - a.unit[1],
                    center.unit[2] - a.unit[2],
                ];
                let dot = |u: &[f64; 3], v: &[f64; 3]| u[0] * v[0] + u[1] * v[1] + u[2] * v[2];
                let share =
                    (dot(&to, &way) / dot(&way, &way).max(f64::MIN_POSITIVE)).clamp(0.0, 1.0);
                let nearest = [
                    a.unit[0] + share * way[0],
                    a.unit[1] + share * way[1],
                    a.unit[2] + share * way[2],
                ];
                chord2(&nearest, &center.unit) <= *reach
            }
            Area::Polygon { polygon, .. } => polygon.is_touched_by(a.position, b.position),
        }
    }

    /// Its radius, or that of a circle as large as the polygon, metres: what margins depend on.
    #[must_use]
    pub fn size_m(&self) -> f64 {
        match &self.area {
            Area::Circle { radius_m, .. } => *radius_m,
            Area::Polygon { size_m, .. } => *size_m,
        }
    }

    /// A circle around it: its middle, and a radius in metres that is not too small.
    fn bounds(&self) -> (Spot, f64) {
        match &self.area {
            Area::Circle {
                center, radius_m, ..
            } => (*center, *radius_m),
            Area::Polygon { polygon, .. } => polygon.bounds(),
        }
    }

    /// The box around it.
    fn extent(&self) -> Extent {
        match &self.area {
            Area::Circle {
                center, radius_m, ..
            } => Extent::around(center.position, *radius_m),
            Area::Polygon { polygon, .. } => Extent::of_degrees(polygon.edges_deg()),
        }
    }

    /// Whether something of it may lie within `within_m` of a place. Never says no wrongly.
    fn is_near(&self, spot: &Spot, within_m: f64) -> bool {
        let (middle, radius_m) = self.bounds();
        if middle.distance_m(spot) > radius_m + within_m {
            return false;
        }
        match &self.area {
            Area::Circle { .. } => true,
            Area::Polygon { polygon, .. } => {
                polygon.contains(spot.position)
                    || polygon.border_m(spot.position, within_m) <= within_m
            }
        }
    }
}
