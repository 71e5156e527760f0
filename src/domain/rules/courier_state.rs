//! Everything that rules know about one courier, and the ways to tell them more.

use std::sync::Arc;

use super::fences::{self, FenceState, FenceStates};
use super::presence::Presence;
use super::stillness::Stillness;
use super::stops::{self, StopState};
use super::window::{self, Delayed};
use super::{Evidence, FenceIndex, Recent, RuleSet, Sighting, Stop, Told};
use crate::domain::eta::{Eta, Pace};
use crate::domain::event::EventType;
use crate::domain::{Delivery, DeliveryId, FixBatch, Position, UnixMs};

/// What a fix is judged against.
#[derive(Debug, Clone, Copy)]
pub struct Ground<'a> {
    /// The numbers.
    pub rules: &'a RuleSet,
    /// The courier's open deliveries, in the order of the run.
    pub run: &'a [Arc<Delivery>],
    /// The geofences.
    pub fences: &'a FenceIndex,
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
///
/// Most couriers have no delivery and are in few geofences at any time: what only the others need
/// is behind a pointer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct CourierState {
    /// The newest fixes judged.
    pub(super) recent: Recent,
    /// Whether the phone is heard.
    pub(super) presence: Presence,
    /// Where the courier stands.
    pub(super) still: Option<Stillness>,
    /// Geofences that the courier is in, or is passing.
    pub(super) fences: Option<Box<FenceStates>>,
    /// What has to do with deliveries.
    pub(super) run: Option<Box<RunState>>,
    /// When the last alarm was told of; 0: never.
    pub(super) sos_at: UnixMs,
}

/// What rules know about a courier's deliveries.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct RunState {
    /// The stops that are next.
    pub(super) stops: Vec<StopState>,
    /// Deliveries that were told to be late.
    pub(super) delayed: Vec<Delayed>,
    /// How the courier gets on.
    pub(super) pace: Pace,
    /// When the arrival was estimated last.
    pub(super) estimated_at: UnixMs,
}

/// A place that a courier is going to, for an estimate of when.
#[derive(Debug, Clone, PartialEq)]
pub struct PlannedStop {
    /// Whose stop it is.
    pub delivery: DeliveryId,
    /// Which of its stops.
    pub stop: Stop,
    /// Where it is.
    pub position: Position,
}

/// An alarm pressed again within this time is the same alarm, milliseconds.
const SAME_ALARM_MS: i64 = 60_000;
/// Arrivals are estimated this often, milliseconds.
const ESTIMATE_EVERY_MS: i64 = 15_000;
/// Stops that an estimate looks ahead.
pub const STOPS_AHEAD: usize = 8;

impl CourierState {
    /// Judges one upload. Events are added to `told` in the order in which they happened.
    pub fn see(&mut self, batch: &FixBatch, ground: Ground<'_>, told: &mut Vec<Told>) -> Seen {
        self.align(ground.run);
        self.presence.hear(batch.received_at, &self.recent, told);
        let seen = if batch.fixes.is_sorted_by_key(|f| f.fix_time) {
            let fixes = batch.fixes.iter();
            self.see_in_order(
                fixes.map(|f| Sighting::of(f, batch.received_at)),
                batch,
                ground,
                told,
            )
        } else {
            let fixes = batch.fixes.iter();
            let mut fixes: Vec<_> = fixes.map(|f| Sighting::of(f, batch.received_at)).collect();
            fixes.sort_by_key(|s| s.at);
            self.see_in_order(fixes.into_iter(), batch, ground, told)
        };
        if batch.fixes.is_empty() {
            self.stay(batch.received_at, ground, told);
        }
        if batch.sos {
            self.alarm(batch.received_at, told);
        }
        seen
    }

    fn see_in_order(
        &mut self,
        fixes: impl Iterator<Item = Sighting>,
        batch: &FixBatch,
        ground: Ground<'_>,
        told: &mut Vec<Told>,
    ) -> Seen {
        let mut seen = Seen::default();
        let stale_after_ms = ground.rules.stale_after_s.saturating_mul(1000);
        for sighting in fixes {
            if self
                .recent
                .newest()
                .is_some_and(|newest| sighting.at <= newest.at)
            {
                seen.out_of_order += 1;
                continue;
            }
            seen.judged += 1;
            let first = told.len();
            self.recent.push(sighting);
            self.judge(&sighting, ground, told);
            if batch.received_at.since(sighting.at) > stale_after_ms {
                told[first..]
                    .iter_mut()
                    .for_each(|t| t.evidence.late = true);
            }
        }
        seen
    }

    fn judge(&mut self, newest: &Sighting, ground: Ground<'_>, told: &mut Vec<Told>) {
        if let Some(run) = &mut self.run {
            for state in &mut run.stops {
                if let Some(delivery) = ground.run.iter().find(|d| d.id == state.delivery) {
                    state.see(delivery, &self.recent, ground.rules, told);
                }
            }
        }
        let still = self.still.get_or_insert_with(|| Stillness::at(newest));
        still.see(newest);
        still.judge(newest.at, ground.run, ground.rules, &self.recent, told);
        fences::see(&mut self.fences, &self.recent, ground.fences, told);
    }

    /// A heartbeat: the phone lives and has nothing new to say, so the courier is where it was.
    fn stay(&mut self, now: UnixMs, ground: Ground<'_>, told: &mut Vec<Told>) {
        if let Some(still) = &mut self.still {
            still.judge(now, ground.run, ground.rules, &self.recent, told);
        }
        let known = self.fences.as_mut().map(|known| known.states_mut());
        for state in known.into_iter().flatten() {
            if let Some(fence) = ground.fences.find(&state.geofence, &mut state.handle) {
                state.dwell(fence, now, &self.recent, told);
            }
        }
    }

    /// Where the courier stands with geofences.
    pub(super) fn fences(&self) -> &[FenceState] {
        self.fences.as_ref().map_or(&[], |known| known.states())
    }

    fn alarm(&mut self, at: UnixMs, told: &mut Vec<Told>) {
        if at.since(self.sos_at) < SAME_ALARM_MS {
            return;
        }
        self.sos_at = at;
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

    /// Brings what is known of deliveries in line with the run.
    fn align(&mut self, run: &[Arc<Delivery>]) {
        if run.is_empty() {
            self.run = None;
            return;
        }
        let state = self.run.get_or_insert_default();
        stops::align(&mut state.stops, run);
        state
            .delayed
            .retain(|d| run.iter().any(|r| r.id == d.delivery));
    }

    // Estimates -----------------------------------------------------------------------------------

    /// The stops ahead in the order of the run, if an estimate of the arrivals is due and some rule
    /// would judge by it.
    #[must_use]
    pub fn wants_estimate(&self, ground: Ground<'_>) -> Option<(Sighting, Vec<PlannedStop>)> {
        let (state, newest) = (self.run.as_ref()?, self.recent.newest()?);
        if newest.at.since(state.estimated_at) < ESTIMATE_EVERY_MS {
            return None;
        }
        let near = ground.rules.approaching_s > 0.0 && state.stops.iter().any(|s| !s.told_near);
        let known = |d: &Delivery| state.delayed.iter().any(|k| k.delivery == d.id);
        if !near && !ground.run.iter().any(|d| d.window.is_some() && !known(d)) {
            return None;
        }
        let ahead = ground.run.iter().filter_map(|d| {
            let stop = Stop::ahead(d.status)?;
            let position = stop.position(d);
            Some(PlannedStop {
                delivery: d.id.clone(),
                stop,
                position,
            })
        });
        let ahead: Vec<_> = ahead.take(STOPS_AHEAD).collect();
        (!ahead.is_empty()).then_some((*newest, ahead))
    }

    /// Seconds of driving from the newest fix to the first stop ahead were measured; answers the
    /// courier's pace.
    pub fn observe(&mut self, next: Position, drive_s: f64) -> Pace {
        let (Some(state), Some(newest)) = (&mut self.run, self.recent.newest()) else {
            return Pace::default();
        };
        state.estimated_at = newest.at;
        state.pace.observe(newest.at, next, drive_s);
        state.pace
    }

    /// Judges by estimates of the stops that [`CourierState::wants_estimate`] named.
    pub fn expect(
        &mut self,
        estimates: &[(PlannedStop, Eta)],
        ground: Ground<'_>,
        told: &mut Vec<Told>,
    ) {
        let Some(at) = self.recent.newest().map(|s| s.at) else {
            return;
        };
        let Some(state) = &mut self.run else { return };
        for (planned, eta) in estimates {
            let Some(delivery) = ground.run.iter().find(|d| d.id == planned.delivery) else {
                continue;
            };
            let next = state
                .stops
                .iter_mut()
                .find(|s| s.delivery == planned.delivery);
            if let Some(next) = next.filter(|s| s.stop == planned.stop) {
                let ahead_s = eta.median.since(at) as f64 / 1000.0;
                next.expect(ahead_s, delivery, &self.recent, ground.rules, told);
            }
            let times = (at, eta.half.0, eta.median);
            window::foreseen(&mut state.delayed, delivery, times, &self.recent, told);
        }
    }

    // Timers: only while everything that was received has been read -------------------------------

    /// Whether [`CourierState::miss`] would tell something: a quick look.
    #[must_use]
    pub fn is_overdue(&self, now: UnixMs, listening_since: UnixMs, rules: &RuleSet) -> bool {
        self.overdue_at(listening_since, rules)
            .is_some_and(|at| now >= at)
    }

    /// When [`CourierState::miss`] will have something to tell, if nothing is heard until then.
    #[must_use]
    pub fn overdue_at(&self, listening_since: UnixMs, rules: &RuleSet) -> Option<UnixMs> {
        self.presence.overdue_at(listening_since, rules)
    }

    /// Judges a courier who was not heard of. Silence before `listening_since` does not count.
    pub fn miss(
        &mut self,
        on_duty: bool,
        (now, listening_since): (UnixMs, UnixMs),
        rules: &RuleSet,
        told: &mut Vec<Told>,
    ) {
        if on_duty {
            self.presence
                .miss(now, listening_since, rules, &self.recent, told);
        } else {
            self.presence.excuse(now);
        }
    }

    /// Judges a delivery of this courier by the time of its window alone.
    pub fn wait_for(
        &mut self,
        delivery: &Delivery,
        now: UnixMs,
        rules: &RuleSet,
        told: &mut Vec<Told>,
    ) {
        let state = self.run.get_or_insert_default();
        window::missed(&mut state.delayed, delivery, now, rules, &self.recent, told);
    }
}
