//! What rules know about a courier, as the blob that is stored with the group's offset.
//!
//! A protobuf message: unknown fields of a newer version are skipped, missing ones are blank.

use prost::Message;

use super::courier_state::RunState;
use super::fence::Handle;
use super::fences::{FenceState, FenceStates, Passing};
use super::presence::Presence;
use super::stillness::Stillness;
use super::stops::{Stop, StopState};
use super::window::Delayed;
use super::{CourierState, Recent, Sighting, Zone};
use crate::domain::{DeliveryId, GeofenceId, Position, UnixMs};

#[derive(Clone, PartialEq, Message)]
struct Blob {
    #[prost(message, repeated, tag = "1")]
    recent: Vec<SightingBlob>,
    #[prost(message, repeated, tag = "2")]
    stops: Vec<StopBlob>,
    #[prost(sint64, optional, tag = "3")]
    sos_at_ms: Option<i64>,
    #[prost(message, repeated, tag = "4")]
    fences: Vec<FenceBlob>,
    #[prost(sint64, tag = "5")]
    silent_since_ms: i64,
    #[prost(bool, tag = "6")]
    offline: bool,
    #[prost(message, optional, tag = "7")]
    still: Option<StillBlob>,
    #[prost(message, repeated, tag = "8")]
    delayed: Vec<DelayedBlob>,
    #[prost(sint64, optional, tag = "9")]
    estimated_at_ms: Option<i64>,
    /// The pace as JSON: it belongs to another module, which says how it is written.
    #[prost(string, tag = "10")]
    pace: String,
}

#[derive(Clone, PartialEq, Message)]
struct SightingBlob {
    #[prost(sint64, tag = "1")]
    at_ms: i64,
    #[prost(sint32, tag = "2")]
    lat_e7: i32,
    #[prost(sint32, tag = "3")]
    lon_e7: i32,
    #[prost(float, optional, tag = "4")]
    accuracy_m: Option<f32>,
    #[prost(float, optional, tag = "5")]
    speed_mps: Option<f32>,
}

#[derive(Clone, PartialEq, Message)]
struct StopBlob {
    #[prost(string, tag = "1")]
    delivery: String,
    #[prost(bool, tag = "2")]
    pickup: bool,
    #[prost(sint64, tag = "3")]
    since_ms: i64,
    #[prost(uint32, tag = "4")]
    near: u32,
    #[prost(uint32, tag = "5")]
    here: u32,
    #[prost(bool, tag = "6")]
    told_near: bool,
    #[prost(bool, tag = "7")]
    told_here: bool,
    #[prost(uint32, tag = "8")]
    soon: u32,
}

#[derive(Clone, PartialEq, Message)]
struct FenceBlob {
    #[prost(string, tag = "1")]
    geofence: String,
    #[prost(uint32, tag = "2")]
    zone: u32,
    #[prost(sint64, tag = "3")]
    since_ms: i64,
    #[prost(bool, tag = "4")]
    dwelled: bool,
    #[prost(message, optional, tag = "5")]
    before: Option<SightingBlob>,
    #[prost(sint64, tag = "6")]
    touched_at_ms: i64,
}

#[derive(Clone, PartialEq, Message)]
struct StillBlob {
    #[prost(sint32, tag = "1")]
    lat_e7: i32,
    #[prost(sint32, tag = "2")]
    lon_e7: i32,
    #[prost(sint64, tag = "3")]
    since_ms: i64,
    #[prost(uint32, tag = "4")]
    away: u32,
    #[prost(bool, tag = "5")]
    told: bool,
}

#[derive(Clone, PartialEq, Message)]
struct DelayedBlob {
    #[prost(string, tag = "1")]
    delivery: String,
    #[prost(sint64, tag = "2")]
    window_to_ms: i64,
}

/// Why bytes are not a courier's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the rules' state of a courier: {0}")]
pub struct StateError(String);

impl StateError {
    fn of(error: impl std::fmt::Display) -> Self {
        Self(error.to_string())
    }
}

impl CourierState {
    /// As it is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        let run = self.run.as_deref();
        Blob {
            recent: self.recent.iter().map(SightingBlob::from).collect(),
            stops: run.map_or(Vec::new(), |r| r.stops.iter().map(StopBlob::from).collect()),
            sos_at_ms: (self.sos_at > UnixMs(0)).then_some(self.sos_at.0),
            fences: self.fences().iter().map(FenceBlob::from).collect(),
            silent_since_ms: self.presence.silent_since.0,
            offline: self.presence.offline,
            still: self.still.as_ref().map(StillBlob::from),
            delayed: run.map_or(Vec::new(), |r| {
                r.delayed.iter().map(DelayedBlob::from).collect()
            }),
            estimated_at_ms: run.map(|r| r.estimated_at.0),
            pace: run
                .and_then(|r| serde_json::to_string(&r.pace).ok())
                .unwrap_or_default(),
        }
        .encode_to_vec()
    }

    /// As it was stored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let blob = Blob::decode(bytes).map_err(StateError::of)?;
        let recent: Result<Vec<_>, _> = blob.recent.iter().map(Sighting::try_from).collect();
        let fences: Result<Vec<_>, _> = blob.fences.iter().map(FenceState::try_from).collect();
        Ok(Self {
            recent: Recent::from_newest_first(recent?),
            presence: Presence {
                silent_since: UnixMs(blob.silent_since_ms),
                offline: blob.offline,
            },
            still: blob.still.as_ref().map(Stillness::try_from).transpose()?,
            fences: FenceStates::of(fences?),
            sos_at: UnixMs(blob.sos_at_ms.unwrap_or_default()),
            run: run_of(&blob)?,
        })
    }
}

fn run_of(blob: &Blob) -> Result<Option<Box<RunState>>, StateError> {
    let Some(estimated_at_ms) = blob.estimated_at_ms else {
        return Ok(None);
    };
    let stops: Result<Vec<_>, _> = blob.stops.iter().map(StopState::try_from).collect();
    let delayed: Result<Vec<_>, _> = blob.delayed.iter().map(Delayed::try_from).collect();
    Ok(Some(Box::new(RunState {
        stops: stops?,
        delayed: delayed?,
        pace: serde_json::from_str(&blob.pace).map_err(StateError::of)?,
        estimated_at: UnixMs(estimated_at_ms),
    })))
}

impl From<&Sighting> for SightingBlob {
    fn from(sighting: &Sighting) -> Self {
        Self {
            at_ms: sighting.at.0,
            lat_e7: sighting.position.lat_e7(),
            lon_e7: sighting.position.lon_e7(),
            accuracy_m: sighting.accuracy_m(),
            speed_mps: sighting.speed_mps(),
        }
    }
}

impl TryFrom<&SightingBlob> for Sighting {
    type Error = StateError;

    fn try_from(blob: &SightingBlob) -> Result<Self, StateError> {
        let (at, position) = (UnixMs(blob.at_ms), position(blob.lat_e7, blob.lon_e7)?);
        Ok(Self::new(at, position, blob.accuracy_m, blob.speed_mps))
    }
}

impl From<&StopState> for StopBlob {
    fn from(state: &StopState) -> Self {
        Self {
            delivery: state.delivery.as_str().to_owned(),
            pickup: state.stop == Stop::Pickup,
            since_ms: state.since.0,
            near: state.near.to_byte().into(),
            here: state.here.to_byte().into(),
            told_near: state.told_near,
            told_here: state.told_here,
            soon: state.soon.to_byte().into(),
        }
    }
}

impl TryFrom<&StopBlob> for StopState {
    type Error = StateError;

    fn try_from(blob: &StopBlob) -> Result<Self, StateError> {
        Ok(Self {
            delivery: DeliveryId::try_from(blob.delivery.as_str()).map_err(StateError::of)?,
            stop: if blob.pickup {
                Stop::Pickup
            } else {
                Stop::Dropoff
            },
            since: UnixMs(blob.since_ms),
            near: zone(blob.near),
            soon: zone(blob.soon),
            here: zone(blob.here),
            told_near: blob.told_near,
            told_here: blob.told_here,
        })
    }
}

impl From<&FenceState> for FenceBlob {
    fn from(state: &FenceState) -> Self {
        Self {
            geofence: state.geofence.as_str().to_owned(),
            zone: state.zone.to_byte().into(),
            since_ms: state.since.0,
            dwelled: state.dwelled,
            before: state.passing.map(|p| SightingBlob::from(&p.before)),
            touched_at_ms: state.passing.map_or(0, |p| p.touched_at.0),
        }
    }
}

impl TryFrom<&FenceBlob> for FenceState {
    type Error = StateError;

    fn try_from(blob: &FenceBlob) -> Result<Self, StateError> {
        let before = blob.before.as_ref().map(Sighting::try_from).transpose()?;
        let touched_at = UnixMs(blob.touched_at_ms);
        Ok(Self {
            geofence: GeofenceId::try_from(blob.geofence.as_str()).map_err(StateError::of)?,
            handle: Handle::default(),
            zone: zone(blob.zone),
            since: UnixMs(blob.since_ms),
            dwelled: blob.dwelled,
            passing: before.map(|before| Passing { before, touched_at }),
        })
    }
}

impl From<&Stillness> for StillBlob {
    fn from(still: &Stillness) -> Self {
        Self {
            lat_e7: still.place.lat_e7(),
            lon_e7: still.place.lon_e7(),
            since_ms: still.since.0,
            away: still.away.into(),
            told: still.told,
        }
    }
}

impl TryFrom<&StillBlob> for Stillness {
    type Error = StateError;

    fn try_from(blob: &StillBlob) -> Result<Self, StateError> {
        Ok(Self {
            place: position(blob.lat_e7, blob.lon_e7)?,
            since: UnixMs(blob.since_ms),
            away: u8::try_from(blob.away).unwrap_or_default(),
            told: blob.told,
        })
    }
}

impl From<&Delayed> for DelayedBlob {
    fn from(delayed: &Delayed) -> Self {
        Self {
            delivery: delayed.delivery.as_str().to_owned(),
            window_to_ms: delayed.window_to.0,
        }
    }
}

impl TryFrom<&DelayedBlob> for Delayed {
    type Error = StateError;

    fn try_from(blob: &DelayedBlob) -> Result<Self, StateError> {
        Ok(Self {
            delivery: DeliveryId::try_from(blob.delivery.as_str()).map_err(StateError::of)?,
            window_to: UnixMs(blob.window_to_ms),
        })
    }
}

fn position(lat_e7: i32, lon_e7: i32) -> Result<Position, StateError> {
    Position::from_e7(lat_e7.into(), lon_e7.into()).map_err(StateError::of)
}

fn zone(byte: u32) -> Zone {
    Zone::from_byte(u8::try_from(byte).unwrap_or_default())
}
