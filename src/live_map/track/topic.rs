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

use super::known::Known;
use super::messages::{ShownFix, ToCustomer};
use super::scene::{Scene, Telling};
use super::world::World;
use crate::domain::eta::Pace;
use crate::domain::{DeliveryId, UnixMs};
use crate::live_map::visibility::Sight;

/// Frames that are kept for sessions that are behind.
const KEPT: usize = 8;
/// A customer's dot moves at most this often, milliseconds …
const FIX_EVERY_MS: i64 = 1_000;
/// … except that so many may come at once.
const FIX_BURST: i64 = 2;

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
        let scene = Scene::look(world, &self.id, now)?;
        self.tell(inner, world, &scene);
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
                let text = self.snapshot(inner, world, &scene);
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
        let scene = Scene::look(world, &self.id, now)?;
        self.tell(inner, world, &scene);
        Ok(self.snapshot(inner, world, &scene))
    }

    /// Turns what has changed since it was last looked at into frames.
    fn tell(&self, inner: &mut Inner, world: &World, scene: &Scene) {
        let Some(mut known) = inner.known.take() else {
            inner.known = Some(Known::of(scene, world, &mut inner.pace));
            return;
        };
        if known.must_resync(scene) {
            inner.known = Some(Known::of(scene, world, &mut inner.pace));
            inner.seq += 1;
            let text = self.snapshot(inner, world, scene);
            inner.keep(text, None);
            return;
        }
        let steps_told = known.delivery.timeline.len();
        let steps = &scene.delivery.timeline[steps_told..];
        for step in steps {
            inner.say(None, |seq| ToCustomer::Status {
                seq,
                status: step.status,
                at: step.at,
            });
        }
        let held_until = tell_position(inner, &mut known, &scene.sight, scene.at);
        let eta = known.rethink_eta(scene, world, &mut inner.pace, !steps.is_empty());
        if let Some(eta) = eta {
            inner.say(None, |seq| ToCustomer::Eta {
                seq,
                from: eta.map(|e| e.from),
                to: eta.map(|e| e.to),
            });
        }
        known.delivery = scene.delivery.clone();
        known.due = earliest(held_until, scene.sight.until);
        inner.known = Some(known);
    }

    fn snapshot(&self, inner: &Inner, world: &World, scene: &Scene) -> String {
        let known = inner.known.as_ref();
        let telling = Telling {
            epoch: self.epoch,
            seq: inner.seq,
            eta: known.and_then(|known| known.eta),
            route: known.and_then(|known| known.route.as_deref()),
            viewers: inner.sessions.len(),
        };
        scene.snapshot(world, telling)
    }
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
            known.shown = Ok(fix);
            inner.say(Some(received_at), |seq| ToCustomer::Fix { seq, fix });
        }
        Err(why) => {
            inner.say(None, |seq| ToCustomer::Hidden { seq, why: *why });
            known.hide(*why);
        }
    }
    None
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
