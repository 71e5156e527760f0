//! Coming near a stop, and being there.
//!
//! Judged for the stops that are next: of the deliveries under way those with the smallest
//! `sequence`. A courier who drives by a later stop has not come for it.

use std::sync::Arc;

use super::zone::{Crossing, Vote, Zone, vote};
use super::{Evidence, Recent, RuleSet, Told};
use crate::domain::event::EventType;
use crate::domain::{Delivery, DeliveryId, DeliveryStatus, UnixMs, geo};

/// Which of a delivery's two places.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Stop {
    /// Where the goods are fetched; judged while the delivery is assigned.
    Pickup,
    /// Where they go; judged while the courier has them.
    Dropoff,
}

impl Stop {
    /// The stop that a delivery of this status is on its way to.
    #[must_use]
    pub fn ahead(status: DeliveryStatus) -> Option<Self> {
        match status {
            DeliveryStatus::Assigned => Some(Self::Pickup),
            DeliveryStatus::PickedUp => Some(Self::Dropoff),
            _ => None,
        }
    }

    fn approaching(self) -> EventType {
        match self {
            Self::Pickup => EventType::DeliveryPickupApproaching,
            Self::Dropoff => EventType::DeliveryApproaching,
        }
    }

    fn arrived(self) -> EventType {
        match self {
            Self::Pickup => EventType::DeliveryPickupArrived,
            Self::Dropoff => EventType::DeliveryArrived,
        }
    }
}

/// Where a courier stands with one stop.
#[derive(Debug, Clone, PartialEq)]
pub struct StopState {
    /// Whose stop it is.
    pub delivery: DeliveryId,
    /// Which of its stops.
    pub stop: Stop,
    /// When the step was taken that made this stop the one ahead.
    pub since: UnixMs,
    /// The zone of `approaching_m`.
    pub near: Zone,
    /// The zone of `arrived_m`.
    pub here: Zone,
    /// `approaching` was told.
    pub told_near: bool,
    /// `arrived` was told.
    pub told_here: bool,
}

/// A step is taken by our clock or a phone's, fixes have another phone's: they may differ this
/// much, milliseconds.
const CLOCKS_DIFFER_MS: i64 = 60_000;

/// Speed of the newest fix in metres a second: what the phone measured or what the way from the fix
/// before says, whichever is less. Standing still shows in either, sooner or later.
fn speed_mps(recent: &Recent) -> Option<f64> {
    let newest = recent.newest()?;
    let measured = newest.speed_mps.map(f64::from);
    let implied = recent.previous().map(|before| {
        let seconds = newest.at.since(before.at).max(1) as f64 / 1000.0;
        geo::distance_m(newest.position, before.position) / seconds
    });
    match (measured, implied) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (measured, _) => measured,
    }
}

/// Brings `states` in line with `run`, in place: stops that are no longer next are forgotten.
pub(super) fn align(states: &mut Vec<StopState>, run: &[Arc<Delivery>]) {
    let heading = |d: &Delivery| Stop::ahead(d.status).map(|stop| (stop, d.sequence));
    let next = run
        .iter()
        .filter_map(|d| heading(d).map(|(_, sequence)| sequence))
        .min();
    let is_next = |d: &Delivery| {
        heading(d)
            .filter(|(_, sequence)| Some(*sequence) == next)
            .map(|(s, _)| s)
    };
    states.retain(|state| {
        let delivery = run.iter().find(|d| d.id == state.delivery);
        delivery.is_some_and(|d| is_next(d) == Some(state.stop) && since(d) == state.since)
    });
    for delivery in run {
        if let Some(stop) = is_next(delivery)
            && !states.iter().any(|s| s.delivery == delivery.id)
        {
            states.push(StopState {
                delivery: delivery.id.clone(),
                stop,
                since: since(delivery),
                near: Zone::default(),
                here: Zone::default(),
                told_near: false,
                told_here: false,
            });
        }
    }
}

/// When the delivery reached its present status.
fn since(delivery: &Delivery) -> UnixMs {
    let step = delivery
        .timeline
        .iter()
        .rev()
        .find(|e| e.status == delivery.status);
    step.map_or(UnixMs(0), |e| e.at)
}

impl StopState {
    /// Judges the newest fix of `recent`. `delivery` is the one whose stop this is.
    pub(super) fn see(
        &mut self,
        delivery: &Delivery,
        recent: &Recent,
        rules: &RuleSet,
        told: &mut Vec<Told>,
    ) {
        let Some(newest) = recent.newest() else {
            return;
        };
        if newest.at.since(self.since) < -CLOCKS_DIFFER_MS {
            return;
        }
        let place = match self.stop {
            Stop::Pickup => delivery.pickup.position,
            Stop::Dropoff => delivery.dropoff.position,
        };
        let distance_m = geo::distance_m(newest.position, place);
        let near = vote(
            distance_m - rules.approaching_m,
            rules.approaching_m,
            newest.accuracy_m,
        );
        let mut here = vote(
            distance_m - rules.arrived_m,
            rules.arrived_m,
            newest.accuracy_m,
        );
        let too_fast = speed_mps(recent).is_some_and(|v| v > rules.arrived_below_mps);
        if here == Vote::Inside && too_fast {
            here = Vote::Neither;
        }
        if self.near.take(near) == Some(Crossing::Entered) && !self.told_near {
            self.told_near = true;
            let zone = (self.near, rules.approaching_m, "approaching");
            told.push(self.tell(self.stop.approaching(), zone, delivery, recent));
        }
        if self.here.take(here) == Some(Crossing::Entered) && !self.told_here {
            self.told_here = true;
            let zone = (self.here, rules.arrived_m, "arrived");
            told.push(self.tell(self.stop.arrived(), zone, delivery, recent));
        }
    }

    fn tell(
        &self,
        kind: EventType,
        (zone, radius_m, rule): (Zone, f64, &'static str),
        delivery: &Delivery,
        recent: &Recent,
    ) -> Told {
        let place = match self.stop {
            Stop::Pickup => delivery.pickup.position,
            Stop::Dropoff => delivery.dropoff.position,
        };
        let evidence = Evidence {
            radius_m: Some(radius_m),
            ..Evidence::new(rule, recent, |p| Some(geo::distance_m(p, place)))
        };
        Told {
            kind,
            at: recent
                .back(zone.oldest_agreeing())
                .map_or(self.since, |s| s.at),
            delivery: Some(delivery.id.clone()),
            geofence: None,
            position: recent.newest().map(|s| s.position),
            evidence,
            key: format!("{kind}/{}/{}", delivery.id, self.since.0),
        }
    }
}
