//! The fleet's hub: every tick, what changed, once a topic for all who watch it.
//!
//! Topics exist while somebody watches them. Those of a region share a shard; the shards tick one
//! after another, so that not all sockets are written at once. A tick looks into live state where
//! its topics lie, and each [`Topic`] makes messages of what is different.

use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Message;
use h3o::Resolution;
use parking_lot::Mutex;
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::content::{Counts, Seen};
use super::frame::Entry;
use super::topic::{Cursor, Teller, Topic};
use super::view::TopicId;
use crate::clock::SharedClock;
use crate::directory::Directory;
use crate::domain::UnixMs;
use crate::live_map::state::{LiveState, Patience, Slot};
use crate::telemetry::metrics as names;

/// Shards, each ticking in its own part of the interval.
const SHARDS: u32 = 8;
/// Topics of a region of this resolution are in one shard, so that a screen is written once a tick.
const REGION: Resolution = Resolution::Three;

/// All topics that somebody watches.
pub(crate) struct Hub {
    state: Arc<LiveState>,
    directory: Arc<Directory>,
    clock: SharedClock,
    patience: Patience,
    tick_ms: u64,
    epoch: u32,
    topics: Mutex<FxHashMap<TopicId, Arc<Topic>>>,
    /// Held from a scan until its result is in the topics: an older one never comes after a newer.
    ticking: Mutex<()>,
    sessions: Mutex<FxHashMap<u64, Arc<Notify>>>,
}

impl Hub {
    pub(crate) fn new(
        state: Arc<LiveState>,
        directory: Arc<Directory>,
        clock: SharedClock,
        patience: Patience,
        tick_ms: u64,
        epoch: u32,
    ) -> Arc<Self> {
        Arc::new(Self {
            state,
            directory,
            clock,
            patience,
            tick_ms,
            epoch,
            topics: Mutex::default(),
            ticking: Mutex::default(),
            sessions: Mutex::default(),
        })
    }

    pub(super) fn epoch(&self) -> u32 {
        self.epoch
    }

    pub(super) fn tick_ms(&self) -> u64 {
        self.tick_ms
    }

    /// Ticks until `stop`.
    pub(crate) async fn run(self: Arc<Self>, stop: CancellationToken) -> anyhow::Result<()> {
        let pause = Duration::from_millis(self.tick_ms) / SHARDS;
        let mut every = tokio::time::interval(pause.max(Duration::from_millis(1)));
        every.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for shard in (0..SHARDS).cycle() {
            tokio::select! {
                () = stop.cancelled() => break,
                _ = every.tick() => {}
            }
            metrics::gauge!(names::LIVE_COURIERS).set(self.state.len() as f64);
            let topics: Vec<Arc<Topic>> = {
                let topics = self.topics.lock();
                topics
                    .values()
                    .filter(|t| shard_of(t.id) == shard)
                    .cloned()
                    .collect()
            };
            self.tick(&topics);
        }
        Ok(())
    }

    /// Looks at live state again on behalf of `topics`, and tells what has changed.
    pub(super) fn tick(&self, topics: &[Arc<Topic>]) {
        if topics.is_empty() {
            return;
        }
        let _one_at_a_time = self.ticking.lock();
        let teller = self.teller();
        for topic in topics {
            topic.take(self.look(topic.id, teller.now), teller);
        }
    }

    /// What a topic holds now.
    fn look(&self, topic: TopicId, now: UnixMs) -> Seen {
        let level = topic.level();
        let mut seen = Seen::nothing(level);
        let mut look = |slot: &Slot| {
            let live = slot.live();
            let status = live.status(now, self.patience);
            match &mut seen {
                Seen::Couriers(couriers) => {
                    let entry = Entry::of(live, status);
                    couriers.push((u64::from(live.handle), (entry, slot.id().clone())));
                }
                Seen::Cells(cells) => {
                    let cell = slot.cell();
                    let counted = u64::from(cell.parent(level.cells()).unwrap_or(cell));
                    // Slots come in order of their cells, and so do the parents of these.
                    if cells.last().is_none_or(|(last, _)| *last != counted) {
                        cells.push((counted, Counts::default()));
                    }
                    if let Some((_, counts)) = cells.last_mut() {
                        counts[status as usize] += 1;
                    }
                }
            }
        };
        self.state.scan_cell(topic.cell(), &mut look);
        seen
    }

    /// Begins to watch topics on behalf of a session; those that are new are filled at once.
    pub(super) fn join(
        &self,
        session: u64,
        wake: &Arc<Notify>,
        ids: &[TopicId],
    ) -> Vec<Arc<Topic>> {
        let mut fresh = Vec::new();
        let joined: Vec<Arc<Topic>> = {
            let mut topics = self.topics.lock();
            let mut join = |id: &TopicId| {
                let topic = topics.entry(*id).or_insert_with(|| {
                    let topic = Arc::new(Topic::new(*id));
                    fresh.push(topic.clone());
                    topic
                });
                topic.join(session, wake.clone());
                topic.clone()
            };
            ids.iter().map(&mut join).collect()
        };
        self.tick(&fresh);
        joined
    }

    /// Ends the watching of a topic; without anybody it is forgotten.
    pub(super) fn leave(&self, session: u64, topic: &Topic) {
        let mut topics = self.topics.lock();
        if topic.leave(session) {
            topics.remove(&topic.id);
        }
    }

    pub(super) fn register(&self, session: u64, wake: Arc<Notify>) {
        self.sessions.lock().insert(session, wake);
    }

    pub(super) fn unregister(&self, session: u64) {
        self.sessions.lock().remove(&session);
    }

    /// Whether no topic and no session is left.
    #[cfg(test)]
    pub(crate) fn nobody_watches(&self) -> bool {
        self.topics.lock().is_empty() && self.sessions.lock().is_empty()
    }

    /// How many topics somebody watches.
    #[cfg(test)]
    pub(crate) fn watched_topics(&self) -> usize {
        self.topics.lock().len()
    }

    /// Wakes every session: they look whether they may stay.
    pub(crate) fn wake_all(&self) {
        self.sessions
            .lock()
            .values()
            .for_each(|wake| wake.notify_one());
    }

    /// Gives what a session at `cursor` lacks of a topic, and ends soon after `room` bytes.
    pub(super) fn tell(
        &self,
        topic: &Topic,
        cursor: &mut Cursor,
        room: usize,
        out: &mut Vec<Message>,
    ) {
        if topic.is_ahead_of(*cursor) {
            topic.tell(cursor, self.teller(), room, out);
        }
    }

    fn teller(&self) -> Teller<'_> {
        Teller {
            directory: &self.directory,
            epoch: self.epoch,
            now: UnixMs(self.clock.now_ms()),
        }
    }
}

fn shard_of(topic: TopicId) -> u32 {
    let region = topic
        .cell()
        .map_or(0, |cell| u64::from(cell.parent(REGION).unwrap_or(cell)));
    // The cell's digits above the resolution's unused ones, mixed.
    (region.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as u32 % SHARDS
}
