//! Going into geofences, out of them, staying in them, and going through between two fixes.
//!
//! A state is kept only of geofences that a courier is in or is just passing: of all others the
//! courier is known to be outside. A geofence that is changed is judged by its new shape from the
//! next fix on; one that is removed is forgotten without an event.
//!
//! A crossing is told when a fix outside is followed by a way through the geofence and by a fix
//! outside again, and the courier was never found inside; and when the next fix has shown that none
//! of them was a spike, there and back in one step.

use super::fence::{Fence, FenceIndex, Handle, Spot};
use super::zone::{Crossing, Vote, Zone, exit_margin_m, is_vague, vote};
use super::{Evidence, Recent, Sighting, Told};
use crate::domain::event::EventType;
use crate::domain::geo::flat_m;
use crate::domain::{GeofenceEvent, GeofenceId, Position, UnixMs};

/// Where a courier stands with one geofence.
#[derive(Debug, Clone, PartialEq)]
pub struct FenceState {
    /// Which.
    pub geofence: GeofenceId,
    /// Where the index has it.
    pub handle: Handle,
    /// In or out.
    pub zone: Zone,
    /// Since when inside, while inside.
    pub since: UnixMs,
    /// `dwell` was told.
    pub dwelled: bool,
    /// A way through it was begun here.
    pub passing: Option<Passing>,
}

/// Where a courier stands with all geofences; most stand with none, so that this is behind a pointer.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct FenceStates(Vec<FenceState>);

impl FenceStates {
    /// As a courier keeps them.
    pub(super) fn of(states: Vec<FenceState>) -> Option<Box<Self>> {
        (!states.is_empty()).then(|| Box::new(Self(states)))
    }

    /// One after the other.
    pub(super) fn states(&self) -> &[FenceState] {
        &self.0
    }

    /// To be changed.
    pub(super) fn states_mut(&mut self) -> &mut [FenceState] {
        &mut self.0
    }
}

/// A way through a geofence.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Passing {
    /// The last fix before.
    pub before: Sighting,
    /// Event time of the fix whose way there touched the geofence.
    pub touched_at: UnixMs,
}

/// Between fixes further apart than this a straight way is no more than a guess, milliseconds.
const WAY_WITHIN_MS: i64 = 600_000;
/// A fix nearer than this to the one before is no spike, metres.
const SPIKE_ABOVE_M: f64 = 50.0;
/// Distances for evidence are measured up to this, metres.
const EVIDENT_WITHIN_M: f64 = 20_000.0;

/// Whether `middle` leads away and back in one step: a lying fix, more likely than a way.
fn is_spike(before: Position, middle: Position, after: Position) -> bool {
    let (there, back) = (flat_m(before, middle), flat_m(middle, after));
    there > SPIKE_ABOVE_M && flat_m(before, after) * 2.0 < there.min(back)
}

/// Judges the newest fix of `recent`.
pub(super) fn see(
    known: &mut Option<Box<FenceStates>>,
    recent: &Recent,
    index: &FenceIndex,
    told: &mut Vec<Told>,
) {
    let Some(newest) = recent.newest() else {
        return;
    };
    if index.is_empty() && known.is_none() {
        return;
    }
    let spot = Spot::from(newest.position);
    let spike = match (recent.back(2), recent.previous()) {
        (Some(a), Some(b)) if a != b => is_spike(a.position, b.position, newest.position),
        _ => false,
    };
    if let Some(known) = known {
        for state in &mut known.0 {
            if let Some(fence) = index.find(&state.geofence, &mut state.handle) {
                state.see(fence, &spot, spike, recent, told);
            } else {
                state.zone = Zone::default();
                state.passing = None;
            }
        }
        known
            .0
            .retain(|state| !state.zone.is_blank() || state.passing.is_some());
    }
    let from = if spike {
        recent.back(2)
    } else {
        recent.previous()
    };
    let from = from.filter(|from| newest.at.since(from.at) <= WAY_WITHIN_MS);
    for handle in index.near_way(from.map(|f| f.position), newest.position) {
        let state = known
            .as_mut()
            .and_then(|known| known.0.iter_mut().find(|s| s.handle.is(handle)));
        // Inside is the usual case, and needs no look at the geofence.
        if state
            .as_ref()
            .is_some_and(|s| s.zone.is_inside() || s.passing.is_some())
        {
            continue;
        }
        let Some(fence) = index.at(handle) else {
            continue;
        };
        let passing = passing(fence, &spot, newest, from);
        match state {
            Some(state) => state.passing = passing,
            None => {
                if let Some(met) = meet(fence, handle, &spot, newest, passing) {
                    known.get_or_insert_default().0.push(met);
                }
            }
        }
    }
    if known.as_ref().is_some_and(|known| known.0.is_empty()) {
        *known = None;
    }
}

/// The way to the newest fix, if it goes through from outside. Of a way whose ends are vague nobody
/// knows where it went.
fn passing(
    fence: &Fence,
    spot: &Spot,
    newest: &Sighting,
    from: Option<&Sighting>,
) -> Option<Passing> {
    let before = *from.filter(|_| fence.tells_crossings)?;
    let size_m = fence.size_m();
    if [&before, newest]
        .iter()
        .any(|end| is_vague(size_m, end.accuracy_m()))
    {
        return None;
    }
    let start = Spot::from(before.position);
    let through = fence.is_touched_by(&start, spot) && !fence.contains(&start);
    through.then_some(Passing {
        before,
        touched_at: newest.at,
    })
}

/// The first that is known of a geofence: the newest fix is in it, or the way there goes through.
fn meet(
    fence: &Fence,
    handle: Handle,
    spot: &Spot,
    newest: &Sighting,
    passing: Option<Passing>,
) -> Option<FenceState> {
    // The usual case, that it is only near, is the quick one.
    if passing.is_none() && !fence.contains(spot) {
        return None;
    }
    let vote = vote_of(fence, spot, newest);
    if passing.is_none() && vote != Vote::Inside {
        return None;
    }
    let mut zone = Zone::default();
    zone.take(vote);
    let geofence = fence.id.clone();
    Some(FenceState {
        geofence,
        handle,
        zone,
        since: newest.at,
        dwelled: false,
        passing,
    })
}

fn vote_of(fence: &Fence, spot: &Spot, sighting: &Sighting) -> Vote {
    let size_m = fence.size_m();
    let border_m = if fence.contains(spot) {
        0.0
    } else {
        let accuracy_m = sighting.accuracy_m().map_or(0.0, f64::from);
        fence.border_m(spot, exit_margin_m(size_m) + accuracy_m + 1.0)
    };
    vote(border_m, size_m, sighting.accuracy_m())
}

impl FenceState {
    fn see(
        &mut self,
        fence: &Fence,
        spot: &Spot,
        previous_was_spike: bool,
        recent: &Recent,
        told: &mut Vec<Told>,
    ) {
        let Some(newest) = recent.newest() else {
            return;
        };
        let crossing = self.zone.take(vote_of(fence, spot, newest));
        let turned_at = recent
            .back(self.zone.oldest_agreeing())
            .map_or(newest.at, |s| s.at);
        match crossing {
            Some(Crossing::Entered) => {
                (self.since, self.dwelled) = (turned_at, false);
                self.tell(GeofenceEvent::Enter, fence, turned_at, recent, told);
            }
            Some(Crossing::Left) => self.tell(GeofenceEvent::Exit, fence, turned_at, recent, told),
            None => {}
        }
        self.pass(fence, previous_was_spike, recent, told);
        self.dwell(fence, newest.at, recent, told);
    }

    /// Tells of a stay that has lasted long enough at `now`.
    pub(super) fn dwell(
        &mut self,
        fence: &Fence,
        now: UnixMs,
        recent: &Recent,
        told: &mut Vec<Told>,
    ) {
        let Some(dwell_s) = fence.dwell_s.filter(|_| self.zone.is_inside()) else {
            return;
        };
        let due_at = self.since.plus_ms(i64::from(dwell_s) * 1000);
        if self.dwelled || now < due_at {
            return;
        }
        self.dwelled = true;
        self.tell(GeofenceEvent::Dwell, fence, due_at, recent, told);
        if let Some(last) = told
            .last_mut()
            .filter(|t| t.kind == EventType::GeofenceDwell)
        {
            last.evidence.lasted_s = Some(now.since(self.since) / 1000);
        }
    }

    /// Follows a way through.
    fn pass(
        &mut self,
        fence: &Fence,
        previous_was_spike: bool,
        recent: &Recent,
        told: &mut Vec<Told>,
    ) {
        let (Some(passing), Some(previous), Some(newest)) =
            (self.passing, recent.previous(), recent.newest())
        else {
            return;
        };
        let lied = previous_was_spike && passing.touched_at == previous.at;
        let too_long = newest.at.since(passing.before.at) > WAY_WITHIN_MS;
        if lied || too_long || self.zone.is_inside() {
            self.passing = None;
        } else if !previous_was_spike && self.zone.voted_outside_before() {
            self.passing = None;
            let ends = [passing.before, *previous].map(|s| Spot::from(s.position));
            if fence.is_touched_by(&ends[0], &ends[1]) {
                let fixes = Recent::from_newest_first([*previous, passing.before]);
                self.tell(GeofenceEvent::Cross, fence, previous.at, &fixes, told);
            }
        }
    }

    fn tell(
        &self,
        what: GeofenceEvent,
        fence: &Fence,
        at: UnixMs,
        fixes: &Recent,
        told: &mut Vec<Told>,
    ) {
        if !fence.geofence.events.contains(&what) {
            return;
        }
        let kind = EventType::from(what);
        let border_m = |p: Position| {
            let border_m = fence.border_m(&Spot::from(p), EVIDENT_WITHIN_M);
            (border_m.abs() <= EVIDENT_WITHIN_M).then_some(border_m)
        };
        let evidence = Evidence {
            radius_m: Some((fence.size_m() * 10.0).round() / 10.0),
            geofence_version: Some(fence.geofence.version),
            ..Evidence::new(what.as_str(), fixes, border_m)
        };
        told.push(Told {
            kind,
            at,
            delivery: None,
            geofence: Some(self.geofence.clone()),
            position: fixes.newest().map(|s| s.position),
            evidence,
            key: format!("{kind}/{}/{}", self.geofence, at.0),
        });
    }
}
