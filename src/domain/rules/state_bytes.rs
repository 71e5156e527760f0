//! What rules know about a courier, as the blob that is stored with the group's offset.
//!
//! A protobuf message: unknown fields of a newer version are skipped, missing ones are blank.

use prost::Message;

use super::stops::{Stop, StopState};
use super::{CourierState, Recent, Sighting, Zone};
use crate::domain::{DeliveryId, Position, UnixMs};

#[derive(Clone, PartialEq, Message)]
struct Blob {
    #[prost(message, repeated, tag = "1")]
    recent: Vec<SightingBlob>,
    #[prost(message, repeated, tag = "2")]
    stops: Vec<StopBlob>,
    #[prost(sint64, optional, tag = "3")]
    sos_at_ms: Option<i64>,
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
}

/// Why bytes are not a courier's state.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("not the rules' state of a courier: {0}")]
pub struct StateError(String);

impl CourierState {
    /// As it is stored.
    #[must_use]
    pub fn to_bytes(&self) -> Vec<u8> {
        Blob {
            recent: self.recent.iter().map(SightingBlob::from).collect(),
            stops: self.stops.iter().map(StopBlob::from).collect(),
            sos_at_ms: self.sos_at.map(|at| at.0),
        }
        .encode_to_vec()
    }

    /// As it was stored.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, StateError> {
        let blob = Blob::decode(bytes).map_err(|e| StateError(e.to_string()))?;
        let recent: Result<Vec<_>, _> = blob.recent.iter().map(Sighting::try_from).collect();
        let stops: Result<Vec<_>, _> = blob.stops.iter().map(StopState::try_from).collect();
        Ok(Self {
            recent: Recent::from_newest_first(recent?),
            stops: stops?,
            sos_at: blob.sos_at_ms.map(UnixMs),
        })
    }
}

impl From<&Sighting> for SightingBlob {
    fn from(sighting: &Sighting) -> Self {
        Self {
            at_ms: sighting.at.0,
            lat_e7: sighting.position.lat_e7(),
            lon_e7: sighting.position.lon_e7(),
            accuracy_m: sighting.accuracy_m,
            speed_mps: sighting.speed_mps,
        }
    }
}

impl TryFrom<&SightingBlob> for Sighting {
    type Error = StateError;

    fn try_from(blob: &SightingBlob) -> Result<Self, StateError> {
        let position = Position::from_e7(blob.lat_e7.into(), blob.lon_e7.into());
        Ok(Self {
            at: UnixMs(blob.at_ms),
            position: position.map_err(|e| StateError(e.to_string()))?,
            accuracy_m: blob.accuracy_m,
            speed_mps: blob.speed_mps,
        })
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
        }
    }
}

impl TryFrom<&StopBlob> for StopState {
    type Error = StateError;

    fn try_from(blob: &StopBlob) -> Result<Self, StateError> {
        let delivery = DeliveryId::try_from(blob.delivery.as_str());
        Ok(Self {
            delivery: delivery.map_err(|e| StateError(e.to_string()))?,
            stop: if blob.pickup {
                Stop::Pickup
            } else {
                Stop::Dropoff
            },
            since: UnixMs(blob.since_ms),
            near: zone(blob.near),
            here: zone(blob.here),
            told_near: blob.told_near,
            told_here: blob.told_here,
        })
    }
}

fn zone(byte: u32) -> Zone {
    Zone::from_byte(u8::try_from(byte).unwrap_or_default())
}
