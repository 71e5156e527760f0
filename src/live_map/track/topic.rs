//! One delivery as it is told to all who watch it.
//!
//! Nothing is computed for a delivery that nobody watches. Whoever of its sessions is woken first
//! looks at the world again ([`TrackTopic::collect`]), and what changed becomes frames that all
//! sessions share; a session is only a cursor into them.
//!
//! Invariants:
//! - Sequence numbers rise by one a frame; `epoch` names this telling, so that a number of another
//!   process or of an earlier telling is never taken for one of this.
//! - Of fixes only the newest is kept; every other frame is kept until [`KEPT`] came after it. A
//!   cursor that lacks one that is gone gets a snapshot.
//! - Frames hold only what [`crate::live_map::visibility`] let through when they were made.

use std::collections::VecDeque;
use std::sync::Arc;

use axum::extract::ws::Utf8Bytes;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::messages::{
    ShownCourier, ShownDelivery, ShownFix, ShownPlace, ToCustomer, TrackSnapshot, lon_lat,
};
use super::world::World;
use crate::directory::Run;
use crate::domain::eta::Pace;
use crate::domain::{Delivery, DeliveryId, Position, UnixMs};
use crate::live_map::eta::{self, EtaRange};
use crate::live_map::state::{Live, off_line_m, simplify};
use crate::live_map::visibility::{self, Sight, WhyHidden};

/// Frames that are kept for sessions that are behind.
const KEPT: usize = 8;
/// Most corners of a path.
const MOST_CORNERS: usize = 256;
/// A customer's dot moves at most this often, milliseconds …
const FIX_EVERY_MS: i64 = 1_000;
/// … except that so many may come at once.
const FIX_BURST: i64 = 2;
/// An ETA is thought over after a twentieth of the time that is left, but not sooner than this,
/// milliseconds …
const ETA_SOONEST_MS: i64 = 10_000;
/// … and not later.
const ETA_LATEST_MS: i64 = 60_000;
/// A courier further than this from the route has taken another one, metres.
const OFF_ROUTE_M: f64 = 150.0;

/// The delivery is completed for longer than the grace, or gone from the books.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Gone;

/// Where a session stands.
#[derive(Debug, Clone, Copy)]
pub(super) enum Cursor {
    /// It has just said hello, and where it left off.
    New { resume: Option<(u32, u32)> },
    /// Everything up to this sequence number was sent.
    At(u32),
}

/// What a session sends next.
#[derive(Debug)]
pub(super) enum Told {
    /// A frame; with the time that its fix came to us, if it is one.
    Frame(Utf8Bytes, Option<UnixMs>),
    /// Nothing is missing: a heartbeat says so.
    NothingNew,
}

/// See the module.
pub(super) struct TrackTopic {
    id: DeliveryId,
    epoch: u32,
    inner: Mutex<Inner>,
}

struct Inner {
    seq: u32,
    /// What the frames so far have told.
    known: Option<Known>,
    frames: VecDeque<Frame>,
    /// Frames up to this one are not all kept.
    lost_to: u32,
    bucket: Bucket,
    /// How the courier gets on, as far as it was watched.
    pace: Pace,
    sessions: Vec<(u64, Arc<Notify>)>,
    /// When it was first seen that nobody watches.
    idle_since: Option<UnixMs>,
}

struct Frame {
    seq: u32,
    text: Utf8Bytes,
    /// When its fix came to us; it is no fix without.
    received_at: Option<UnixMs>,
}

/// What watchers have been told.
struct Known {
    delivery: Arc<Delivery>,
    courier: Option<ShownCourier>,
    shown: Result<ShownFix, WhyHidden>,
    stops_before: u32,
    way_from: Option<UnixMs>,
    eta: Option<EtaRange>,
    /// When the ETA is to be thought over.
    eta_due: UnixMs,
    /// The way ahead.
    route: Option<Box<[Position]>>,
    /// When it must be looked at again though nobody says so.
    due: Option<UnixMs>,
}

/// The world around the delivery at one instant.
struct Now {
    delivery: Arc<Delivery>,
    run: Run,
    sight: Sight,
    courier: Option<ShownCourier>,
    at: UnixMs,
}

impl TrackTopic {
    pub(super) fn new(id: DeliveryId, epoch: u32) -> Self {
        Self {
            id,
            epoch,
            inner: Mutex::new(Inner {
                seq: 0,
                known: None,
                frames: VecDeque::new(),
                lost_to: 0,
                bucket: Bucket::default(),
                pace: Pace::default(),
                sessions: Vec::new(),
                idle_since: None,
            }),
        }
    }

    pub(super) fn id(&self) -> &DeliveryId {
        &self.id
    }

    pub(super) fn join(&self, session: u64, wake: Arc<Notify>) {
        let mut inner = self.inner.lock();
        inner.sessions.push((session, wake));
        inner.idle_since = None;
    }

    pub(super) fn leave(&self, session: u64) {
        self.inner.lock().sessions.retain(|(id, _)| *id != session);
    }

    /// For how long nobody has watched, milliseconds, as far as anybody asked; `None` while
    /// somebody does.
    pub(super) fn idle_for_ms(&self, now: UnixMs) -> Option<i64> {
        let mut inner = self.inner.lock();
        if !inner.sessions.is_empty() {
            return None;
        }
        Some(now.since(*inner.idle_since.get_or_insert(now)))
    }

    /// Wakes every session: something about the delivery, its courier or a link has changed.
    pub(super) fn wake(&self) {
        for (_, wake) in &self.inner.lock().sessions {
            wake.notify_one();
        }
    }

    /// Gives what the session at `cursor` lacks. Answers when to ask again, if not woken before.
    pub(super) fn collect(
        &self,
        world: &World,
        cursor: &mut Cursor,
        now: UnixMs,
        mut send: impl FnMut(Told),
    ) -> Result<Option<UnixMs>, Gone> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        // Looked at under the lock: nobody tells what is older than what was told.
        let seen = self.look(world, now)?;
        self.tell(inner, world, &seen);
        let resumed = match *cursor {
            Cursor::At(seq) => Some(seq),
            Cursor::New { resume } => resume.filter(|(e, _)| *e == self.epoch).map(|(_, s)| s),
        };
        match resumed.filter(|seq| (inner.lost_to..=inner.seq).contains(seq)) {
            Some(seq) => {
                let missing = inner.frames.iter().filter(|f| f.seq > seq);
                missing.for_each(|f| send(Told::Frame(f.text.clone(), f.received_at)));
                if seq == inner.seq && matches!(cursor, Cursor::New { .. }) {
                    send(Told::NothingNew);
                }
            }
            None => {
                let text = self.snapshot(inner, world, &seen, inner.seq);
                send(Told::Frame(text.into(), None));
            }
        }
        *cursor = Cursor::At(inner.seq);
        Ok(inner.known.as_ref().and_then(|known| known.due))
    }

    /// The snapshot as JSON, for those who poll.
    pub(super) fn snapshot_now(&self, world: &World, now: UnixMs) -> Result<String, Gone> {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let seen = self.look(world, now)?;
        self.tell(inner, world, &seen);
        Ok(self.snapshot(inner, world, &seen, inner.seq))
    }

    fn look(&self, world: &World, now: UnixMs) -> Result<Now, Gone> {
        let delivery = world.directory.delivery(&self.id).ok_or(Gone)?;
        if visibility::is_gone(&delivery, &world.rules, now) {
            return Err(Gone);
        }
        let id = delivery.courier_id.as_ref();
        let run = id.map(|id| world.directory.run(id)).unwrap_or_default();
        let live = id.and_then(|id| world.state.get(id));
        let courier = id
            .and_then(|id| world.directory.courier(id))
            .map(|c| ShownCourier {
                name: c.name.clone(),
                vehicle: c.vehicle,
            });
        Ok(Now {
            sight: visibility::look(&delivery, &run, live.as_ref(), &world.rules, now),
            delivery,
            run,
            courier,
            at: now,
        })
    }

    /// Turns what has changed since it was last looked at into frames.
    fn tell(&self, inner: &mut Inner, world: &World, seen: &Now) {
        let Some(mut known) = inner.known.take() else {
            inner.known = Some(known_of(world, seen, &mut inner.pace));
            return;
        };
        if must_resync(&known, seen) || is_off_route(&known, seen) {
            inner.known = Some(known_of(world, seen, &mut inner.pace));
            inner.seq += 1;
            let text = self.snapshot(inner, world, seen, inner.seq);
            inner.keep(text, None);
            return;
        }
        let steps_told = known.delivery.timeline.len();
        for step in &seen.delivery.timeline[steps_told..] {
            inner.say(None, |seq| ToCustomer::Status {
                seq,
                status: step.status,
                at: step.at,
            });
        }
        let held_until = tell_position(inner, &mut known, &seen.sight, seen.at);
        let stepped = steps_told != seen.delivery.timeline.len();
        if stepped || known.eta_due <= seen.at {
            let eta = eta_of(world, seen, &mut inner.pace);
            known.eta_due = eta_due(eta, seen.at);
            if eta != known.eta {
                known.eta = eta;
                inner.say(None, |seq| ToCustomer::Eta {
                    seq,
                    from: eta.map(|e| e.from),
                    to: eta.map(|e| e.to),
                });
            }
        }
        known.delivery = seen.delivery.clone();
        known.due = earliest(held_until, seen.sight.until);
        inner.known = Some(known);
    }

    fn snapshot(&self, inner: &Inner, world: &World, seen: &Now, seq: u32) -> String {
        let delivery = &*seen.delivery;
        let known = inner.known.as_ref();
        let trail = |from| match &delivery.courier_id {
            Some(id) => world.state.trail(id, from),
            None => Vec::new(),
        };
        let path = seen.sight.way_from.and_then(|from| {
            let corners = trail(from);
            visibility::path(&seen.sight, &corners, delivery, &seen.run, &world.rules)
        });
        let snapshot = TrackSnapshot {
            epoch: self.epoch,
            seq,
            delivery: ShownDelivery {
                status: delivery.status,
                timeline: &delivery.timeline,
                dropoff: ShownPlace {
                    lat: delivery.dropoff.position.lat(),
                    lon: delivery.dropoff.position.lon(),
                    label: delivery.dropoff.label.as_deref(),
                },
                window: delivery.window,
                reference: delivery.reference.as_deref(),
            },
            courier: seen.courier.clone(),
            brand: &world.brand,
            position: seen.sight.position.as_ref().ok().map(ShownFix::of),
            why_hidden: seen.sight.position.as_ref().err().copied(),
            eta: known.and_then(|known| known.eta),
            stops_before: seen.sight.stops_before,
            path: path.map(|path| lon_lat(&simplify(&path, MOST_CORNERS))),
            route: known.and_then(|known| known.route.as_deref()).map(lon_lat),
            viewers: u32::try_from(inner.sessions.len()).unwrap_or(u32::MAX),
        };
        ToCustomer::Snapshot(Box::new(snapshot)).text()
    }
}

/// Whether the change is one that only a snapshot can tell.
fn must_resync(known: &Known, seen: &Now) -> bool {
    let (old, new) = (&*known.delivery, &*seen.delivery);
    let told = old.timeline.len();
    known.courier != seen.courier
        || known.stops_before != seen.sight.stops_before
        || (seen.sight.way_from.is_some() && known.way_from != seen.sight.way_from)
        || old.courier_id != new.courier_id
        || old.dropoff != new.dropoff
        || old.window != new.window
        || old.reference != new.reference
        || new.timeline.get(..told) != Some(&old.timeline[..])
        || (old.status != new.status && new.timeline.len() == told)
}

/// Whether the way ahead that was told is not the one that the courier takes.
fn is_off_route(known: &Known, seen: &Now) -> bool {
    match (&known.route, &seen.sight.position) {
        (Some(route), Ok(live)) => {
            known.eta_due <= seen.at && off_line_m(live.fix.position, route) > OFF_ROUTE_M
        }
        _ => false,
    }
}

fn known_of(world: &World, seen: &Now, pace: &mut Pace) -> Known {
    let eta = eta_of(world, seen, pace);
    Known {
        delivery: seen.delivery.clone(),
        courier: seen.courier.clone(),
        shown: seen
            .sight
            .position
            .as_ref()
            .map(ShownFix::of)
            .map_err(|why| *why),
        stops_before: seen.sight.stops_before,
        way_from: seen.sight.way_from,
        eta,
        eta_due: eta_due(eta, seen.at),
        route: route_of(world, seen),
        due: seen.sight.until,
    }
}

/// The way ahead by road, while it may be shown.
fn route_of(world: &World, seen: &Now) -> Option<Box<[Position]>> {
    let (Some(_), Ok(live)) = (seen.sight.way_from, &seen.sight.position) else {
        return None;
    };
    let to = seen.delivery.dropoff.position;
    let route = world.roads.route(live.fix.position, to)?;
    Some(simplify(&route.path, MOST_CORNERS).into())
}

/// Tells of a newer fix, or that there is none to be seen. Answers when a fix that had to wait is
/// due.
fn tell_position(
    inner: &mut Inner,
    known: &mut Known,
    sight: &Sight,
    now: UnixMs,
) -> Option<UnixMs> {
    let shown = sight
        .position
        .as_ref()
        .map(ShownFix::of)
        .map_err(|why| *why);
    if shown == known.shown {
        return None;
    }
    match &sight.position {
        Ok(live) => {
            if let Err(ready_at) = inner.bucket.take(now) {
                return Some(ready_at);
            }
            let received_at = live.received_at;
            let fix = ShownFix::of(live);
            inner.say(Some(received_at), |seq| ToCustomer::Fix { seq, fix });
        }
        Err(why) => {
            inner.say(None, |seq| ToCustomer::Hidden { seq, why: *why });
            known.way_from = None;
        }
    }
    known.shown = shown;
    None
}

/// When the courier is expected: while it is on its way with these goods, hidden or not.
fn eta_of(world: &World, seen: &Now, pace: &mut Pace) -> Option<EtaRange> {
    let under_way = match &seen.sight.position {
        Ok(_) | Err(WhyHidden::OtherStop) => true,
        Err(_) => false,
    };
    let id = seen.delivery.courier_id.as_ref().filter(|_| under_way)?;
    let live: Live = world.state.get(id)?;
    let stops = eta::stops_until(seen.run.open.iter().map(|open| &**open), &seen.delivery);
    let vehicle = seen.courier.as_ref().and_then(|c| c.vehicle);
    eta::expect(&world.roads, &live, &stops, vehicle, pace, seen.at)
}

fn eta_due(eta: Option<EtaRange>, now: UnixMs) -> UnixMs {
    let left_ms = eta.map_or(0, |eta| eta.to.since(now));
    now.plus_ms((left_ms / 20).clamp(ETA_SOONEST_MS, ETA_LATEST_MS))
}

impl Inner {
    fn say<'a>(&mut self, received_at: Option<UnixMs>, message: impl Fn(u32) -> ToCustomer<'a>) {
        self.seq += 1;
        let text = message(self.seq).text();
        self.keep(text, received_at);
    }

    /// Keeps the frame of the sequence number that was just given.
    fn keep(&mut self, text: String, received_at: Option<UnixMs>) {
        if received_at.is_some() {
            self.frames.retain(|frame| frame.received_at.is_none());
        }
        if self.frames.len() >= KEPT
            && let Some(lost) = self.frames.pop_front()
        {
            self.lost_to = lost.seq;
        }
        self.frames.push_back(Frame {
            seq: self.seq,
            text: text.into_boxed_str().into_string().into(),
            received_at,
        });
    }
}

fn earliest(a: Option<UnixMs>, b: Option<UnixMs>) -> Option<UnixMs> {
    match (a, b) {
        (Some(a), Some(b)) => Some(a.min(b)),
        (one, other) => one.or(other),
    }
}

/// A token bucket: one fix a second, two at once.
#[derive(Debug, Clone, Copy, Default)]
struct Bucket {
    /// When it will be full again.
    full_at: UnixMs,
}

impl Bucket {
    /// Takes a token, or says when there will be one.
    fn take(&mut self, now: UnixMs) -> Result<(), UnixMs> {
        let full_at = self.full_at.max(now);
        let ready_at = full_at.plus_ms(-(FIX_BURST - 1) * FIX_EVERY_MS);
        if ready_at > now {
            return Err(ready_at);
        }
        self.full_at = full_at.plus_ms(FIX_EVERY_MS);
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_fixes_at_once_then_one_a_second() {
        let mut bucket = Bucket::default();
        let t0 = UnixMs(1_000_000);
        assert_eq!(bucket.take(t0), Ok(()));
        assert_eq!(bucket.take(t0), Ok(()));
        assert_eq!(bucket.take(t0), Err(t0.plus_ms(1_000)));
        assert_eq!(bucket.take(t0.plus_ms(999)), Err(t0.plus_ms(1_000)));
        assert_eq!(bucket.take(t0.plus_ms(1_000)), Ok(()));
        assert_eq!(bucket.take(t0.plus_ms(1_500)), Err(t0.plus_ms(2_000)));
        assert_eq!(bucket.take(t0.plus_ms(9_000)), Ok(()));
        assert_eq!(bucket.take(t0.plus_ms(9_000)), Ok(()));
    }
}
