//! A geofence: an area whose border means something.

use serde::{Deserialize, Serialize};

use super::{GeofenceId, Position};

/// What a geofence tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GeofenceEvent {
    /// A courier came in.
    Enter,
    /// A courier went out.
    Exit,
    /// A courier stayed for `dwell_s`.
    Dwell,
    /// A courier went through between two fixes.
    Cross,
}

/// The area.
#[derive(Debug, Clone, PartialEq)]
pub enum Shape {
    /// Everything within a distance.
    Circle {
        /// The middle.
        center: Position,
        /// The distance in metres.
        radius_m: f64,
    },
    /// A polygon with holes: rings of positions, the first one the outline; each ring is closed
    /// implicitly (the first position is not repeated).
    Polygon {
        /// The rings.
        rings: Vec<Vec<Position>>,
    },
}

/// A geofence.
#[derive(Debug, Clone, PartialEq)]
pub struct Geofence {
    /// The caller's own id.
    pub id: GeofenceId,
    /// What people call it.
    pub name: Box<str>,
    /// The area.
    pub shape: Shape,
    /// How long inside counts as dwelling, seconds.
    pub dwell_s: Option<u32>,
    /// What it tells of.
    pub events: Box<[GeofenceEvent]>,
    /// Raised by one at every change.
    pub version: i64,
}
