//! Everything that rules know about one courier, and the one way to tell them more.

use std::sync::Arc;

use super::stops::{self, StopState};
use super::{Evidence, Recent, RuleSet, Sighting, Told};
use crate::domain::event::EventType;
use crate::domain::{Delivery, FixBatch, UnixMs};

/// What a fix is judged against.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The numbers.
    pub rules: &'a RuleSet,
    /// The courier's open deliveries, in the order of the run.
    pub run: &'a [Arc<Delivery>],
}

/// What became of a batch's fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Seen {
    /// Judged.
    pub judged: usize,
    /// Older than the newest one judged before: nothing to say about now.
    pub out_of_order: usize,
}

/// What rules know about one courier.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CourierState {
    /// The newest fixes judged.
    pub(super) recent: Recent,
    /// The stops that are next.
    pub(super) stops: Vec<StopState>,
    /// When the last alarm was told of.
    pub(super) sos_at: Option<UnixMs>,
}

/// An alarm pressed again within this time is the same alarm, milliseconds.
const SAME_ALARM_MS: i64 = 60_000;

impl CourierState {
    /// Judges one upload. Events are added to `told` in the order in which they happened.
    pub fn see(&mut self, batch: &FixBatch, ground: Ground<'_>, told: &mut Vec<Told>) -> Seen {
        let mut seen = Seen::default();
        let first_told = told.len();
        stops::align(&mut self.stops, ground.run);
        let mut order: Vec<Sighting> = batch
            .fixes
            .iter()
            .map(|f| Sighting::of(f, batch.received_at))
            .collect();
        order.sort_by_key(|s| s.at);
        for sighting in order {
            if self
                .recent
                .newest()
                .is_some_and(|newest| sighting.at <= newest.at)
            {
                seen.out_of_order += 1;
                continue;
            }
            seen.judged += 1;
            self.recent.push(sighting);
            self.judge(ground, told);
            let lag_ms = batch.received_at.since(sighting.at);
            if lag_ms > ground.rules.stale_after_s.saturating_mul(1000) {
                told[first_told..]
                    .iter_mut()
                    .for_each(|t| t.evidence.late = true);
            }
        }
        if batch.sos {
            self.alarm(batch.received_at, told);
        }
        seen
    }

    fn judge(&mut self, ground: Ground<'_>, told: &mut Vec<Told>) {
        for state in &mut self.stops {
            if let Some(delivery) = ground.run.iter().find(|d| d.id == state.delivery) {
                state.see(delivery, &self.recent, ground.rules, told);
            }
        }
    }

    fn alarm(&mut self, at: UnixMs, told: &mut Vec<Told>) {
        if self
            .sos_at
            .is_some_and(|last| at.since(last) < SAME_ALARM_MS)
        {
            return;
        }
        self.sos_at = Some(at);
        let kind = EventType::CourierSos;
        told.push(Told {
            kind,
            at,
            delivery: None,
            geofence: None,
            position: self.recent.newest().map(|s| s.position),
            evidence: Evidence::new("sos", &self.recent, |_| None),
            key: format!("{kind}/{}", at.0),
        });
    }
}
