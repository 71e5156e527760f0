//! Coming near a stop, and being there.
//!
//! Judged for the stops that are next: of the deliveries under way those with the smallest
//! `sequence`. A courier who drives by a later stop has not come for it.

use std::sync::Arc;

use super::zone::{Crossing, Vote, Zone, vote};
use super::{Evidence, Recent, RuleSet, Told};
use crate::domain::event::EventType;
use crate::domain::{Delivery, DeliveryId, DeliveryStatus, Position, UnixMs, geo};

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

    /// Where it is.
    #[must_use]
    pub fn position(self, delivery: &Delivery) -> Position {
        match self {
            Self::Pickup => delivery.pickup.position,
            Self::Dropoff => delivery.dropoff.position,
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
    /// The zone of `approaching_s`.
    pub soon: Zone,
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
    let measured = newest.speed_mps().map(f64::from);
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
    let first = |stop: Stop| {
        let heading = run.iter().filter(|d| Stop::ahead(d.status) == Some(stop));
        heading.map(|d| d.sequence).min()
    };
    let (pickup, dropoff) = (first(Stop::Pickup), first(Stop::Dropoff));
    // Which stop of the delivery is next, if one is.
    let next = |d: &Delivery| {
        let stop = Stop::ahead(d.status)?;
        let smallest = if stop == Stop::Pickup {
            pickup
        } else {
            dropoff
        };
        (smallest == Some(d.sequence)).then_some(stop)
    };
    states.retain(|state| {
        let delivery = run.iter().find(|d| d.id == state.delivery);
        delivery.is_some_and(|d| next(d) == Some(state.stop) && since(d) == state.since)
    });
    for delivery in run {
        if let Some(stop) = next(delivery)
            && !states.iter().any(|s| s.delivery == delivery.id)
        {
            states.push(StopState::new(delivery, stop));
        }
    }
}

/// When the delivery reached its present status.
pub(super) fn since(delivery: &Delivery) -> UnixMs {
    let step = delivery
        .timeline
        .iter()
        .rev()
        .find(|e| e.status == delivery.status);
    step.map_or(UnixMs(0), |e| e.at)
}

impl StopState {
    fn new(delivery: &Delivery, stop: Stop) -> Self {
        Self {
            delivery: delivery.id.clone(),
            stop,
            since: since(delivery),
            near: Zone::default(),
            soon: Zone::default(),
            here: Zone::default(),
            told_near: false,
            told_here: false,
        }
    }

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
        let place = self.stop.position(delivery);
        let distance_m = geo::distance_m(newest.position, place);
        let near = vote(
            distance_m - rules.approaching_m,
            rules.approaching_m,
            newest.accuracy_m(),
        );
        let mut here = vote(
            distance_m - rules.arrived_m,
            rules.arrived_m,
            newest.accuracy_m(),
        );
        let too_fast = speed_mps(recent).is_some_and(|v| v > rules.arrived_below_mps);
        if here == Vote::Inside && too_fast {
            here = Vote::Neither;
        }
        if self.near.take(near) == Some(Crossing::Entered) {
            let (at, told_before) = (self.began_at(self.near, recent), told.len());
            self.approach(at, "approaching", delivery, recent, told);
            for event in &mut told[told_before..] {
                event.evidence.radius_m = Some(rules.approaching_m);
            }
        }
        if self.here.take(here) == Some(Crossing::Entered) && !self.told_here {
            self.told_here = true;
            let at = self.began_at(self.here, recent);
            let mut arrived = self.tell(self.stop.arrived(), at, "arrived", delivery, recent);
            arrived.evidence.radius_m = Some(rules.arrived_m);
            told.push(arrived);
        }
    }

    /// Judges by when the courier will probably be there, in seconds from the newest fix. Two of
    /// the last three estimates must agree.
    pub(super) fn expect(
        &mut self,
        ahead_s: f64,
        delivery: &Delivery,
        recent: &Recent,
        rules: &RuleSet,
        told: &mut Vec<Told>,
    ) {
        let soon = if ahead_s <= rules.approaching_s {
            Vote::Inside
        } else {
            Vote::Outside
        };
        let Some(newest) = recent.newest() else {
            return;
        };
        if self.soon.take(soon) == Some(Crossing::Entered) {
            let told_before = told.len();
            self.approach(newest.at, "approaching_soon", delivery, recent, told);
            for event in &mut told[told_before..] {
                event.evidence.ahead_s = Some(ahead_s.round());
            }
        }
    }

    /// Event time of the first fix that agrees with where the courier is now.
    fn began_at(&self, zone: Zone, recent: &Recent) -> UnixMs {
        recent
            .back(zone.oldest_agreeing())
            .map_or(self.since, |s| s.at)
    }

    /// `approaching`, once a stop, by whichever rule comes first.
    fn approach(
        &mut self,
        at: UnixMs,
        rule: &'static str,
        delivery: &Delivery,
        recent: &Recent,
        told: &mut Vec<Told>,
    ) {
        if !self.told_near {
            self.told_near = true;
            told.push(self.tell(self.stop.approaching(), at, rule, delivery, recent));
        }
    }

    fn tell(
        &self,
        kind: EventType,
        at: UnixMs,
        rule: &'static str,
        delivery: &Delivery,
        recent: &Recent,
    ) -> Told {
        let place = self.stop.position(delivery);
        Told {
            kind,
            at,
            delivery: Some(delivery.id.clone()),
            geofence: None,
            position: recent.newest().map(|s| s.position),
            evidence: Evidence::new(rule, recent, |p| Some(geo::distance_m(p, place))),
            key: format!("{kind}/{}/{}", delivery.id, self.since.0),
        }
    }
}
