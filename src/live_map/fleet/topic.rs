//! A few cells, told to whoever looks at them.
//!
//! A session is a cursor. One tick behind, it takes the messages that all who are one tick behind
//! share; further behind, the rows that changed since, in pieces that are made when they are sent;
//! beyond what is remembered, everything.

use std::collections::VecDeque;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use axum::extract::ws::Message;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::content::{Content, Lack, Seen};
use super::frame::Head;
use super::view::TopicId;
use crate::directory::Directory;
use crate::domain::UnixMs;
use crate::live_map::socket::size;

/// Ticks that a session may be behind without starting anew.
const RING: u32 = 64;
/// Removals that are remembered, however many ticks they are from.
const MOST_GONE: usize = 20_000;

/// Where a session stands in a topic.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Cursor {
    /// Nothing was told.
    #[default]
    New,
    /// Everything up to this tick.
    At(u32),
    /// So many of the shared messages of this tick, and everything before it.
    Sharing { seq: u32, told: usize },
    /// In the middle of telling what was different at the tick `began`.
    Between { lack: Lack, began: u32 },
}

impl Cursor {
    /// Whether a telling was begun and not ended.
    pub(super) fn is_between(self) -> bool {
        matches!(self, Self::Sharing { .. } | Self::Between { .. })
    }
}

/// What the messages of a topic are made with.
#[derive(Clone, Copy)]
pub(super) struct Teller<'a> {
    pub(super) directory: &'a Directory,
    pub(super) epoch: u32,
    pub(super) now: UnixMs,
}

/// See the module.
pub(super) struct Topic {
    pub(super) id: TopicId,
    /// Of [`Inner::seq`], one more; 0 before the first scan. For a look without the lock.
    version: AtomicU32,
    inner: Mutex<Inner>,
}

struct Inner {
    seq: u32,
    content: Content,
    /// What the newest tick told.
    newest: Arc<[Message]>,
    /// The tick of each removal that is remembered.
    gone: VecDeque<(u32, u64)>,
    /// Of what left in this tick or before, not everything is known any more.
    forgotten: u32,
    sessions: Vec<(u64, Arc<Notify>)>,
}

impl Topic {
    pub(super) fn new(id: TopicId) -> Self {
        Self {
            id,
            version: AtomicU32::new(0),
            inner: Mutex::new(Inner {
                seq: 0,
                content: Content::new(id.level()),
                newest: Arc::default(),
                gone: VecDeque::new(),
                forgotten: 0,
                sessions: Vec::new(),
            }),
        }
    }

    pub(super) fn join(&self, session: u64, wake: Arc<Notify>) {
        self.inner.lock().sessions.push((session, wake));
    }

    /// Answers whether nobody is left.
    pub(super) fn leave(&self, session: u64) -> bool {
        let sessions = &mut self.inner.lock().sessions;
        sessions.retain(|(id, _)| *id != session);
        sessions.is_empty()
    }

    /// Whether a session at `cursor` lacks something.
    pub(super) fn is_ahead_of(&self, cursor: Cursor) -> bool {
        match self.version.load(Ordering::Acquire) {
            0 => false,
            version => cursor != Cursor::At(version - 1),
        }
    }

    /// Takes what a tick found, and wakes those who do not know it.
    pub(super) fn take(&self, seen: Seen, teller: Teller<'_>) {
        let mut inner = self.inner.lock();
        let inner = &mut *inner;
        let is_first = self.version.load(Ordering::Acquire) == 0;
        let seq = if is_first { 0 } else { inner.seq + 1 };
        let replaced = inner.content.replace(seen, seq);
        if !is_first && replaced.touched == 0 && replaced.gone.is_empty() {
            return;
        }
        inner.seq = seq;
        let mut messages = Vec::new();
        if !is_first {
            inner.remember(&replaced.gone);
            let head = self.head(seq, teller);
            let mut next = Some(0);
            while let Some(key) = next {
                let lack = Lack {
                    since: Some(seq - 1),
                    next: key,
                };
                let directory = teller.directory;
                next = inner.content.piece(lack, head, directory, &mut messages);
            }
            let gone = replaced.gone.into_iter();
            inner.content.removals(gone, head, &mut messages);
        }
        inner.newest = messages.into();
        self.version.store(seq + 1, Ordering::Release);
        for (_, wake) in &inner.sessions {
            wake.notify_one();
        }
    }

    /// Gives what a session at `cursor` lacks now, and ends soon after `room` bytes.
    pub(super) fn tell(
        &self,
        cursor: &mut Cursor,
        teller: Teller<'_>,
        mut room: usize,
        out: &mut Vec<Message>,
    ) {
        while room > 0 && self.is_ahead_of(*cursor) {
            let from = out.len();
            let inner = self.inner.lock();
            *cursor = inner.step(inner.begin(*cursor), self, teller, out);
            drop(inner);
            if !cursor.is_between() {
                // What has come meanwhile is another telling: other topics have their turn first.
                return;
            }
            room = room.saturating_sub(out[from..].iter().map(size).sum());
        }
    }

    fn head(&self, seq: u32, teller: Teller<'_>) -> Head {
        Head {
            topic: self.id,
            epoch: teller.epoch,
            seq,
            now: teller.now,
        }
    }
}

impl Inner {
    fn remember(&mut self, gone: &[u64]) {
        self.gone.extend(gone.iter().map(|key| (self.seq, *key)));
        let oldest = self.seq.saturating_sub(RING);
        while let Some((seq, _)) = self.gone.front().copied()
            && (seq <= oldest || self.gone.len() > MOST_GONE)
        {
            self.gone.pop_front();
            self.forgotten = seq;
        }
    }

    /// What a session does next that lacks something.
    fn begin(&self, cursor: Cursor) -> Cursor {
        let since = match cursor {
            Cursor::Between { .. } => return cursor,
            Cursor::Sharing { seq, .. } if seq == self.seq => return cursor,
            // Another tick has come: what was shared is old.
            Cursor::Sharing { seq, .. } => Some(seq - 1),
            Cursor::At(seq) if seq + 1 == self.seq => {
                return Cursor::Sharing {
                    seq: self.seq,
                    told: 0,
                };
            }
            Cursor::At(seq) => Some(seq),
            Cursor::New => None,
        };
        let lack = Lack {
            since: since.filter(|seq| *seq >= self.forgotten),
            next: 0,
        };
        Cursor::Between {
            lack,
            began: self.seq,
        }
    }

    /// Tells a piece. Answers where the session stands then.
    fn step(
        &self,
        cursor: Cursor,
        topic: &Topic,
        teller: Teller<'_>,
        out: &mut Vec<Message>,
    ) -> Cursor {
        match cursor {
            Cursor::Sharing { seq, told } => {
                out.extend(self.newest.get(told).cloned());
                match told + 1 < self.newest.len() {
                    true => Cursor::Sharing {
                        seq,
                        told: told + 1,
                    },
                    false => Cursor::At(seq),
                }
            }
            Cursor::Between { lack, began } => {
                let head = topic.head(began, teller);
                let next = self.content.piece(lack, head, teller.directory, out);
                if let Some(next) = next {
                    let lack = Lack { next, ..lack };
                    return Cursor::Between { lack, began };
                }
                if let Some(since) = lack.since {
                    if since < self.forgotten {
                        // It took so long that removals were forgotten meanwhile.
                        return Cursor::New;
                    }
                    let gone = self.gone.iter().filter(|(seq, _)| *seq > since);
                    self.content.removals(gone.map(|(_, key)| *key), head, out);
                }
                Cursor::At(began)
            }
            Cursor::New | Cursor::At(_) => cursor,
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::{BTreeMap, BTreeSet};

    use proptest::prelude::*;
    use rand::rngs::StdRng;
    use rand::{RngExt, SeedableRng};

    use super::*;
    use crate::domain::CourierId;
    use crate::live_map::fleet::frame::{ENTRY_BYTES, Entry, HEADER_BYTES, SNAPSHOT};
    use crate::live_map::state::CourierStatus;

    /// Handle and heading of everybody.
    type Truth = BTreeMap<u32, u8>;

    fn seen(truth: &Truth) -> Seen {
        let courier = |(handle, heading): (&u32, &u8)| {
            let entry = Entry {
                handle: *handle,
                lat_e7: 0,
                lon_e7: 0,
                heading: *heading,
                speed: 0,
                placed_at: UnixMs(0),
                status: CourierStatus::Idle,
            };
            let id = CourierId::try_from(format!("c-{handle}")).expect("an id");
            (u64::from(*handle), (entry, id))
        };
        Seen::Couriers(truth.iter().map(courier).collect())
    }

    /// What a page knows.
    #[derive(Default)]
    struct Screen {
        dots: Truth,
        named: BTreeSet<u32>,
    }

    impl Screen {
        fn hear(&mut self, message: Message) {
            match message {
                Message::Text(text) => self.hear_json(text.as_str()),
                Message::Binary(frame) => self.hear_frame(&frame),
                other => panic!("{other:?}"),
            }
        }

        fn hear_json(&mut self, text: &str) {
            let message: serde_json::Value = serde_json::from_str(text).expect("JSON");
            let handle = |value: &serde_json::Value| value.as_u64().expect("a handle") as u32;
            let list = |key: &str| message[key].as_array().cloned().unwrap_or_default();
            if message["type"] == "snapshot" {
                self.dots.clear();
            }
            self.named
                .extend(list("couriers").iter().map(|c| handle(&c["handle"])));
            for gone in list("handles") {
                self.dots.remove(&handle(&gone));
            }
        }

        fn hear_frame(&mut self, frame: &[u8]) {
            if frame[0] == SNAPSHOT {
                self.dots.clear();
            }
            for entry in frame[HEADER_BYTES..].chunks(ENTRY_BYTES) {
                let handle = u32::from_le_bytes(entry[..4].try_into().expect("four"));
                assert!(self.named.contains(&handle), "{handle} has no name");
                self.dots.insert(handle, entry[12]);
            }
        }
    }

    proptest! {
        #![proptest_config(ProptestConfig::with_cases(48))]

        /// Whatever a screen misses, and however little it takes at a time, it ends up knowing what
        /// there is: within a tick, ticks behind, and beyond what is remembered.
        #[test]
        fn a_screen_that_takes_little_at_a_time_ends_up_right(
            seed in any::<u64>(), steps in 1..400_usize, ticks_a_telling in 1..20_u32,
        ) {
            let mut rng = StdRng::seed_from_u64(seed);
            let directory = Directory::new();
            let teller = Teller { directory: &directory, epoch: 1, now: UnixMs(0) };
            let cell = h3o::CellIndex::first(h3o::Resolution::Seven);
            let topic = Topic::new(TopicId(cell.into()));
            let (mut truth, mut screen, mut cursor) = (Truth::new(), Screen::default(), Cursor::New);
            let tell = |cursor: &mut Cursor, screen: &mut Screen, room: usize| {
                let mut out = Vec::new();
                topic.tell(cursor, teller, room, &mut out);
                out.into_iter().for_each(|message| screen.hear(message));
            };
            for _ in 0..steps {
                if rng.random_range(0..=ticks_a_telling) == 0 {
                    tell(&mut cursor, &mut screen, rng.random_range(1..6_000));
                    continue;
                }
                for _ in 0..rng.random_range(0..60) {
                    let handle = rng.random_range(0..500);
                    match rng.random_range(0..3) {
                        0 => drop(truth.remove(&handle)),
                        _ => drop(truth.insert(handle, rng.random())),
                    }
                }
                topic.take(seen(&truth), teller);
            }
            topic.take(seen(&truth), teller);
            while topic.is_ahead_of(cursor) {
                tell(&mut cursor, &mut screen, 1_000);
            }
            prop_assert_eq!(screen.dots, truth);
        }
    }
}
