//! An event that a rule made, and why.

use serde::Serialize;

use super::{RULES_VERSION, Recent};
use crate::domain::event::EventType;
use crate::domain::{DeliveryId, GeofenceId, Position, UnixMs};

/// A fix that was looked at.
#[derive(Debug, Clone, Copy, PartialEq, Serialize)]
pub struct FixEvidence {
    /// Event time of the fix.
    pub at: UnixMs,
    /// Latitude, degrees.
    pub lat: f64,
    /// Longitude, degrees.
    pub lon: f64,
    /// Radius of accuracy in metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy_m: Option<f32>,
    /// Distance to what the rule watches (a stop, or a geofence's border, negative inside), metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub distance_m: Option<f64>,
}

/// Why an event was made. Stored with it and sent with it.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Evidence {
    /// The rule.
    pub rule: &'static str,
    /// Version of the rules; raised whenever the same fixes may be judged otherwise.
    pub version: u32,
    /// Radius of the zone, metres.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub radius_m: Option<f64>,
    /// How soon the courier will probably be there, seconds from the newest fix.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub ahead_s: Option<f64>,
    /// How long it had lasted, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lasted_s: Option<i64>,
    /// By how much the limit was passed, or is going to be, seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub late_by_s: Option<i64>,
    /// Version of the geofence that was judged by.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub geofence_version: Option<i64>,
    /// Known too late for an alarm: recorded, not sent.
    #[serde(skip_serializing_if = "std::ops::Not::not")]
    pub late: bool,
    /// The fixes, newest first.
    pub fixes: Vec<FixEvidence>,
}

impl Evidence {
    /// Of `rule`, with the recent fixes and their distances.
    #[must_use]
    pub fn new(
        rule: &'static str,
        recent: &Recent,
        distance_m: impl Fn(Position) -> Option<f64>,
    ) -> Self {
        let fixes = recent.iter().map(|s| FixEvidence {
            at: s.at,
            lat: s.position.lat(),
            lon: s.position.lon(),
            accuracy_m: s.accuracy_m(),
            distance_m: distance_m(s.position).map(|m| (m * 10.0).round() / 10.0),
        });
        Self {
            rule,
            version: RULES_VERSION,
            radius_m: None,
            ahead_s: None,
            lasted_s: None,
            late_by_s: None,
            geofence_version: None,
            late: false,
            fixes: fixes.collect(),
        }
    }
}

/// An event that a rule made.
#[derive(Debug, Clone, PartialEq)]
pub struct Told {
    /// What happened.
    pub kind: EventType,
    /// When: event time of the first fix that showed it.
    pub at: UnixMs,
    /// The delivery it is about.
    pub delivery: Option<DeliveryId>,
    /// The geofence it is about.
    pub geofence: Option<GeofenceId>,
    /// Where the courier was.
    pub position: Option<Position>,
    /// Why.
    pub evidence: Evidence,
    /// Names this very event: judged again, it gets the same key. To be prefixed by the courier.
    pub key: String,
}
