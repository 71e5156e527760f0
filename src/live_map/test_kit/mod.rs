//! What tests of the live map share: a live map over a real log, on a real port.

mod client;
mod counted;
mod fixtures;
mod raw;
mod requests;
mod rig;

use std::time::Duration;

use crate::domain::{
    CourierId, Delivery, DeliveryId, DeliveryStatus, Fix, FixBatch, Place, Position, TimelineEntry,
    UnixMs,
};

pub(crate) use client::{Client, Heard};
pub(crate) use counted::Counted;
pub(crate) use fixtures::{check_fixture, lines_of_json};
pub(crate) use raw::{RawClient, SOON, frame};
pub(crate) use rig::Rig;

/// When tests begin: 2026-11-22T10:00:00Z.
pub(crate) const T0: UnixMs = UnixMs(1_795_341_600_000);
/// Longer than anything takes; only a failing test waits for it.
const PATIENCE: Duration = Duration::from_secs(20);

pub(crate) fn at(lat: f64, lon: f64) -> Position {
    Position::from_degrees(lat, lon).expect("a position")
}

pub(crate) fn courier_id(id: &str) -> CourierId {
    CourierId::try_from(id).expect("an id")
}

/// A delivery of which everything else is plain.
pub(crate) fn delivery(id: &str, courier: Option<&str>, sequence: i32, to: Position) -> Delivery {
    Delivery {
        id: DeliveryId::try_from(id).expect("an id"),
        courier_id: courier.map(courier_id),
        status: DeliveryStatus::Created,
        sequence,
        pickup: Place {
            position: at(35.80, 14.40),
            label: None,
        },
        dropoff: Place {
            position: to,
            label: Some("Door".into()),
        },
        window: None,
        timeline: Vec::new(),
        reference: None,
        tags: Box::default(),
        version: 1,
    }
}

/// The delivery after its next step.
pub(crate) fn stepped(mut delivery: Delivery, status: DeliveryStatus, at: UnixMs) -> Delivery {
    delivery.status = status;
    delivery.timeline.push(TimelineEntry { status, at });
    delivery.version += 1;
    delivery
}

/// An upload of one fix, received when it was taken.
pub(crate) fn upload(fix_time: UnixMs, position: Position) -> FixBatch {
    FixBatch {
        received_at: fix_time,
        fixes: vec![Fix::new(fix_time, position)],
        sos: false,
    }
}
