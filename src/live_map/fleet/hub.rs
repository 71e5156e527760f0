//! The fleet's hub: every tick, what changed, once a topic for all who watch it.
//!
//! Topics exist while somebody watches them. Those of a region share a shard; the shards tick one
//! after another, so that not all sockets are written at once. A tick scans live state, puts each
//! topic's difference into messages, keeps the last [`RING`] differences and wakes the sessions;
//! a session is a cursor: one tick behind it takes the shared messages, further behind the
//! differences merged, beyond the ring a snapshot.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::ws::Message;
use h3o::Resolution;
use parking_lot::Mutex;
use rustc_hash::{FxHashMap, FxHashSet};
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;

use super::content::{Content, Counts, Diff};
use super::frame::{Entry, Head};
use super::view::{Level, TopicId};
use crate::clock::SharedClock;
use crate::directory::Directory;
use crate::domain::UnixMs;
use crate::live_map::state::{LiveState, Patience};
use crate::telemetry::metrics as names;

/// Shards, each ticking in its own part of the interval.
const SHARDS: u32 = 4;
/// Ticks that a session may be behind without starting anew.
const RING: usize = 64;
/// Topics of a region of this resolution are in one shard.
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

/// What a few cells hold, told to whoever looks at them.
pub(super) struct Topic {
    pub(super) id: TopicId,
    inner: Mutex<Inner>,
}

struct Inner {
    seq: u32,
    /// `None` before the first scan.
    content: Option<Content>,
    ring: VecDeque<Tick>,
    /// The messages of a snapshot, for as long as nothing has changed since.
    snapshot: Option<(u32, Arc<[Message]>)>,
    sessions: Vec<(u64, Arc<Notify>)>,
}

/// What the sequence number went up for.
struct Tick {
    diff: Diff,
    messages: Arc<[Message]>,
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
        let now = self.now();
        let seen = self.scan(topics, now);
        for (topic, content) in topics.iter().zip(seen) {
            topic.take(content, self.epoch, now, &self.directory);
        }
    }

    /// What each of `topics` holds now.
    fn scan(&self, topics: &[Arc<Topic>], now: UnixMs) -> Vec<Content> {
        let mut contents: Vec<Content> = topics.iter().map(|t| empty(t.id.level())).collect();
        let places: FxHashMap<TopicId, usize> = topics
            .iter()
            .enumerate()
            .map(|(place, topic)| (topic.id, place))
            .collect();
        let levels: FxHashSet<Level> = topics.iter().map(|topic| topic.id.level()).collect();
        self.state.scan(|slot| {
            let cell = slot.cell();
            for level in &levels {
                let Some(place) = places.get(&level.topic_of(cell)) else {
                    continue;
                };
                let live = slot.live();
                let status = live.status(now, self.patience);
                match &mut contents[*place] {
                    Content::Couriers(couriers) => {
                        let entry = Entry::of(live, status);
                        couriers.insert(live.handle, (entry, slot.id().clone()));
                    }
                    Content::Cells(cells) => {
                        let counted = cell.parent(level.cells()).unwrap_or(cell);
                        let counts: &mut Counts = cells.entry(counted).or_default();
                        counts[status as usize] += 1;
                    }
                }
            }
        });
        contents
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
                topic.inner.lock().sessions.push((session, wake.clone()));
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
        let mut inner = topic.inner.lock();
        inner.sessions.retain(|(id, _)| *id != session);
        if inner.sessions.is_empty() {
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

    /// Wakes every session: they look whether they may stay.
    pub(crate) fn wake_all(&self) {
        self.sessions
            .lock()
            .values()
            .for_each(|wake| wake.notify_one());
    }

    /// Gives what a session at `cursor` lacks of a topic.
    pub(super) fn collect(&self, topic: &Topic, cursor: &mut Option<u32>, out: &mut Vec<Message>) {
        let mut inner = topic.inner.lock();
        if inner.content.is_none() || *cursor == Some(inner.seq) {
            return;
        }
        let head = Head {
            topic: topic.id,
            epoch: self.epoch,
            seq: inner.seq,
            now: self.now(),
        };
        inner.tell(*cursor, head, &self.directory, out);
        *cursor = Some(inner.seq);
    }

    fn now(&self) -> UnixMs {
        UnixMs(self.clock.now_ms())
    }
}

impl Topic {
    fn new(id: TopicId) -> Self {
        Self {
            id,
            inner: Mutex::new(Inner {
                seq: 0,
                content: None,
                ring: VecDeque::new(),
                snapshot: None,
                sessions: Vec::new(),
            }),
        }
    }

    /// Takes what a scan found.
    fn take(&self, new: Content, epoch: u32, now: UnixMs, directory: &Directory) {
        let mut inner = self.inner.lock();
        let Some(content) = &mut inner.content else {
            inner.content = Some(new);
            inner.wake();
            return;
        };
        let diff = content.replace(new);
        if diff.is_empty() {
            return;
        }
        let seq = inner.seq + 1;
        let head = Head {
            topic: self.id,
            epoch,
            seq,
            now,
        };
        let messages = inner
            .content
            .as_ref()
            .map(|content| content.delta(&diff, head, directory));
        if inner.ring.len() >= RING {
            inner.ring.pop_front();
        }
        inner.seq = seq;
        inner.snapshot = None;
        inner.ring.push_back(Tick {
            diff,
            messages: messages.unwrap_or_default().into(),
        });
        inner.wake();
    }
}

impl Inner {
    fn wake(&self) {
        for (_, wake) in &self.sessions {
            wake.notify_one();
        }
    }

    fn tell(
        &mut self,
        cursor: Option<u32>,
        head: Head,
        directory: &Directory,
        out: &mut Vec<Message>,
    ) {
        let Some(content) = &self.content else { return };
        let missing = cursor.map_or(usize::MAX, |seq| (head.seq - seq) as usize);
        if missing > self.ring.len() {
            let messages = match &self.snapshot {
                Some((seq, messages)) if *seq == head.seq => messages.clone(),
                _ => Arc::from(content.snapshot(head, directory)),
            };
            out.extend(messages.iter().cloned());
            self.snapshot = Some((head.seq, messages));
            return;
        }
        let ticks = self.ring.range(self.ring.len() - missing..);
        if missing == 1 {
            out.extend(ticks.flat_map(|tick| tick.messages.iter().cloned()));
            return;
        }
        let diff = Diff::merged(ticks.map(|tick| &tick.diff));
        out.extend(content.delta(&diff, head, directory));
    }
}

fn empty(level: Level) -> Content {
    match level {
        Level::Couriers => Content::Couriers(FxHashMap::default()),
        Level::Cells(_) | Level::World => Content::Cells(FxHashMap::default()),
    }
}

fn shard_of(topic: TopicId) -> u32 {
    let region = topic
        .cell()
        .map_or(0, |cell| u64::from(cell.parent(REGION).unwrap_or(cell)));
    // The cell's digits above the resolution's unused ones, mixed.
    (region.wrapping_mul(0x9e37_79b9_7f4a_7c15) >> 62) as u32 % SHARDS
}
