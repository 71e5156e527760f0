//! Standing still for too long with a delivery, away from every stop.

use std::sync::Arc;

use super::stops::since;
use super::{Evidence, Recent, RuleSet, Sighting, Stop, Told};
use crate::domain::event::EventType;
use crate::domain::{Delivery, Position, UnixMs, geo};

/// Within this distance of where it stands a courier stands still, metres.
const STANDS_WITHIN_M: f64 = 60.0;
/// Fixes away in a row that mean moving on: one alone may lie.
const MOVES_AFTER: u8 = 2;
/// Within this distance of a stop standing still is work, metres.
const AT_WORK_WITHIN_M: f64 = 150.0;

/// Where a courier stands.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Stillness {
    /// The first fix here.
    pub place: Position,
    /// Since when.
    pub since: UnixMs,
    /// Fixes away in a row.
    pub away: u8,
    /// `stopped` was told.
    pub told: bool,
}

impl Stillness {
    /// Begins at a fix.
    pub(super) fn at(sighting: &Sighting) -> Self {
        Self {
            place: sighting.position,
            since: sighting.at,
            away: 0,
            told: false,
        }
    }

    /// Takes a fix.
    pub(super) fn see(&mut self, sighting: &Sighting) {
        let slack_m = sighting
            .accuracy_m()
            .map_or(0.0, f64::from)
            .min(STANDS_WITHIN_M);
        if geo::distance_m(self.place, sighting.position) <= STANDS_WITHIN_M + slack_m {
            self.away = 0;
            return;
        }
        self.away += 1;
        if self.away >= MOVES_AFTER {
            *self = Self::at(sighting);
        }
    }

    /// Tells, if the courier stands for too long at `now`. The phone was heard at `now`: a phone
    /// that is silent may be anywhere.
    pub(super) fn judge(
        &mut self,
        now: UnixMs,
        run: &[Arc<Delivery>],
        rules: &RuleSet,
        recent: &Recent,
        told: &mut Vec<Told>,
    ) {
        if rules.stopped_after_s == 0 || self.told || self.away > 0 {
            return;
        }
        // Who was given a delivery after an hour's rest has not stopped for an hour.
        let begun = run
            .iter()
            .filter(|d| Stop::ahead(d.status).is_some())
            .map(|d| since(d))
            .max();
        let Some(begun) = begun else { return };
        let since = self.since.max(begun);
        if now.since(since) < rules.stopped_after_s.saturating_mul(1000) || self.is_at_work(run) {
            return;
        }
        self.told = true;
        let kind = EventType::CourierStopped;
        let place = self.place;
        let distance_m = |p: Position| Some(geo::distance_m(p, place));
        told.push(Told {
            kind,
            at: since.plus_ms(rules.stopped_after_s.saturating_mul(1000)),
            delivery: None,
            geofence: None,
            position: Some(place),
            evidence: Evidence {
                radius_m: Some(STANDS_WITHIN_M),
                lasted_s: Some(now.since(since) / 1000),
                ..Evidence::new("stopped", recent, distance_m)
            },
            key: format!("{kind}/{}", since.0),
        });
    }

    fn is_at_work(&self, run: &[Arc<Delivery>]) -> bool {
        let near = |p: Position| geo::distance_m(self.place, p) <= AT_WORK_WITHIN_M;
        run.iter()
            .any(|d| near(d.pickup.position) || near(d.dropoff.position))
    }
}
