//! One partition as the group sees it: what the rules know about its couriers, and what has been
//! read since the last transaction.
//!
//! A courier's state is written with every event that it told, and otherwise only every
//! [`CHECKPOINT_AFTER_MS`]: couriers who drive and drive change theirs with every fix. The stored
//! offset stands at the first record that some stored state does not hold, and each stored state
//! bears the offset up to which it has read. After a crash the partition is read from the stored
//! offset again; states skip what they hold, and an event that was recorded before has the same key.

use std::collections::VecDeque;
use std::collections::hash_map::Entry;
use std::sync::Arc;

use metrics::counter;
use rustc_hash::{FxHashMap, FxHashSet};

use super::estimates::Estimates;
use super::store::{CourierWrite, Loaded, PartitionWrite};
use crate::directory::Directory;
use crate::domain::rules::{CourierState, FenceIndex, Ground, RuleSet, Seen, Told};
use crate::domain::{CourierId, Delivery, FixBatch, GeofenceId, UnixMs};
use crate::stream::{Offset, Partition, StoredRecord};
use crate::telemetry::metrics::NOTIFICATIONS_FIXES;

/// A state is written at the latest so long after it has changed, milliseconds.
const CHECKPOINT_AFTER_MS: i64 = 30_000;
/// Most states that one transaction takes of a partition, events' own aside; the others wait for the
/// next, or are read from the log again.
const MOST_STATES: usize = 20_000;
/// Records read within this time count as read together, milliseconds.
const READ_AT_EVERY_MS: i64 = 1_000;

/// An event and the courier it is about.
pub(super) type CourierTold = (CourierId, Told);

/// What the rules know about a courier, and from where in the log. There is one for every courier
/// that was ever heard of, so its size is watched by a test.
#[derive(Debug)]
struct Known {
    state: CourierState,
    /// Records below are in `state`.
    as_of: Offset,
    /// The first record that is in `state` and not in the store, or [`ALL_WRITTEN`].
    unwritten: Offset,
}

/// After every record.
const ALL_WRITTEN: Offset = Offset(u64::MAX);

impl Default for Known {
    fn default() -> Self {
        Self {
            state: CourierState::default(),
            as_of: Offset(0),
            unwritten: ALL_WRITTEN,
        }
    }
}

/// What partitions are judged by.
pub(super) struct Bench {
    pub(super) rules: Arc<RuleSet>,
    pub(super) directory: Arc<Directory>,
    pub(super) fences: FenceIndex,
    pub(super) estimates: Estimates,
}

impl Bench {
    /// Takes over one geofence as it stands in the Directory.
    pub(super) fn take_geofence(&mut self, id: &GeofenceId) {
        let Some(geofence) = self.directory.geofence(id) else {
            return self.fences.remove(id);
        };
        if let Err(error) = self.fences.put(geofence) {
            tracing::warn!(geofence = %id, %error, "a geofence cannot be judged by");
        }
    }

    /// Takes over all geofences; those that have not changed stay as they are.
    pub(super) fn take_all_geofences(&mut self) {
        let known: FxHashMap<GeofenceId, i64> = self
            .fences
            .versions()
            .map(|(id, version)| (id.clone(), version))
            .collect();
        for id in known
            .keys()
            .filter(|id| self.directory.geofence(id).is_none())
        {
            self.fences.remove(id);
        }
        for geofence in self.directory.geofences() {
            if known.get(&geofence.id) != Some(&geofence.version) {
                self.take_geofence(&geofence.id);
            }
        }
    }
}

/// Invariant: each state in `couriers` is what the records from the stored one's `as_of` up to its
/// own have made of the stored one; `waiting` holds an entry for each that is not in the store.
pub(super) struct JudgedPartition {
    partition: Partition,
    /// What the store holds: the next flush moves it on from here.
    stored_next: Offset,
    /// Next offset to be read.
    next: Offset,
    couriers: FxHashMap<CourierId, Box<Known>>,
    /// Couriers by the first record that their stored states do not hold; entries that no longer
    /// hold true are dropped when they come to the front.
    waiting: VecDeque<(Offset, CourierId)>,
    /// Fixes since the last look at the metrics.
    seen: Seen,
    /// When records were read: the first offset of each second or so in which there were some.
    read_at: VecDeque<(UnixMs, Offset)>,
    told: Vec<CourierTold>,
    /// Somebody has been listening to this partition's phones without a gap since then.
    listening_since: Option<UnixMs>,
}

impl JudgedPartition {
    /// A partition as it is stored, to be read from `reading_from` on; the log ends at `end`.
    pub(super) fn new(
        partition: Partition,
        loaded: Loaded,
        reading_from: Offset,
        end: Option<Offset>,
    ) -> Self {
        let known = |(id, (state, as_of)): (CourierId, (CourierState, Offset))| {
            // A state that is ahead of the log was made from records that it has lost.
            let as_of = end.map_or(as_of, |end| as_of.min(end));
            (
                id,
                Box::new(Known {
                    state,
                    as_of,
                    unwritten: ALL_WRITTEN,
                }),
            )
        };
        Self {
            partition,
            stored_next: loaded.next,
            next: reading_from,
            couriers: loaded.couriers.into_iter().map(known).collect(),
            waiting: VecDeque::new(),
            read_at: VecDeque::new(),
            seen: Seen::default(),
            told: Vec::new(),
            listening_since: None,
        }
    }

    /// Judges records in the order of the log.
    pub(super) fn read(&mut self, records: &[StoredRecord], bench: &Bench, now: UnixMs) {
        let since = self
            .read_at
            .back()
            .map_or(i64::MAX, |(at, _)| now.since(*at));
        if let Some(first) = records.first().filter(|_| since >= READ_AT_EVERY_MS) {
            self.read_at.push_back((now, first.offset));
        }
        for record in records {
            self.next = record.offset.advance(1);
            // Ingest wrote it; a record that is none of ours says nothing about a courier.
            let Some((courier, batch)) = decode(record) else {
                tracing::warn!(partition = %self.partition, offset = %record.offset,
                    "skipped a record that is no batch of fixes");
                continue;
            };
            let erased = bench.directory.erased_before(&courier);
            if erased.is_none_or(|before| batch.received_at >= before) {
                self.read_batch(courier, record.offset, &batch, bench);
            }
        }
        let seen = std::mem::take(&mut self.seen);
        for (outcome, fixes) in [("judged", seen.judged), ("out_of_order", seen.out_of_order)] {
            counter!(NOTIFICATIONS_FIXES, "outcome" => outcome).increment(fixes as u64);
        }
    }

    fn read_batch(
        &mut self,
        mut courier: CourierId,
        offset: Offset,
        batch: &FixBatch,
        bench: &Bench,
    ) {
        if !self.couriers.contains_key(&courier)
            && let Some(known) = bench.directory.courier(&courier)
        {
            // One copy of the id in memory for the Directory and the rules.
            courier = known.id.clone();
        }
        let mut entry = match self.couriers.entry(courier) {
            Entry::Occupied(entry) => entry,
            Entry::Vacant(entry) => entry.insert_entry(Box::default()),
        };
        let courier = entry.key().clone();
        let known = entry.get_mut();
        if offset < known.as_of {
            return;
        }
        known.as_of = offset.advance(1);
        let run = bench.directory.run_of(&courier);
        let ground = Ground {
            rules: &bench.rules,
            run: &run,
            fences: &bench.fences,
        };
        let mut told = Vec::new();
        let seen = known.state.see(batch, ground, &mut told);
        bench.estimates.judge(
            &mut known.state,
            &courier,
            ground,
            &bench.directory,
            &mut told,
        );
        self.seen.judged += seen.judged;
        self.seen.out_of_order += seen.out_of_order;
        if known.unwritten == ALL_WRITTEN {
            known.unwritten = offset;
            self.waiting.push_back((offset, courier.clone()));
        }
        self.told
            .extend(told.into_iter().map(|t| (courier.clone(), t)));
    }

    /// Judges silence and missed windows. Only for a partition that is read to its end.
    pub(super) fn tick(&mut self, deliveries: &[Arc<Delivery>], bench: &Bench, now: UnixMs) {
        let listening_since = *self.listening_since.get_or_insert(now);
        for (courier, known) in &mut self.couriers {
            if !known.state.is_overdue(now, listening_since, &bench.rules) {
                continue;
            }
            let Some(courier_now) = bench.directory.courier(courier) else {
                continue;
            };
            let mut told = Vec::new();
            let times = (now, listening_since);
            known
                .state
                .miss(courier_now.on_duty, times, &bench.rules, &mut told);
            self.told
                .extend(told.into_iter().map(|t| (courier.clone(), t)));
        }
        for delivery in deliveries {
            let Some(courier) = &delivery.courier_id else {
                continue;
            };
            let known = self.couriers.entry(courier.clone()).or_default();
            let mut told = Vec::new();
            known.state.wait_for(delivery, now, &bench.rules, &mut told);
            self.told
                .extend(told.into_iter().map(|t| (courier.clone(), t)));
        }
    }

    /// Forgets what is known of a courier.
    pub(super) fn forget(&mut self, courier: &CourierId) {
        self.couriers.remove(courier);
        self.told.retain(|(about, _)| about != courier);
    }

    /// Some records are gone, or were skipped: reading goes on at `next`.
    pub(super) fn skip_to(&mut self, next: Offset) {
        self.next = next;
    }

    /// Whether an event waits for its transaction.
    pub(super) fn is_due(&self) -> bool {
        !self.told.is_empty()
    }

    /// Next offset to be read.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// The offset below which everything was read by then.
    fn read_by(&mut self, then: UnixMs) -> Offset {
        while self.read_at.front().is_some_and(|(at, _)| *at <= then) {
            self.read_at.pop_front();
        }
        self.read_at.front().map_or(self.next, |(_, first)| *first)
    }

    /// What the next transaction has to write, if anything: events with their couriers' states, and
    /// states that have waited for long; or `all` states. What it answers is no longer held here.
    pub(super) fn take_write(&mut self, now: UnixMs, all: bool) -> Option<PartitionWrite> {
        let told = std::mem::take(&mut self.told);
        let mut chosen: FxHashSet<CourierId> = told.iter().map(|(c, _)| c.clone()).collect();
        let most = chosen.len() + MOST_STATES;
        let due = if all {
            ALL_WRITTEN
        } else {
            self.read_by(now.plus_ms(-CHECKPOINT_AFTER_MS))
        };
        while let Some((first, courier)) = self.waiting.front() {
            let known = self.couriers.get(courier);
            let waits = known.is_some_and(|k| k.unwritten == *first) && !chosen.contains(courier);
            if waits && (*first >= due || chosen.len() >= most) {
                break;
            }
            if let Some((_, courier)) = self.waiting.pop_front().filter(|_| waits) {
                chosen.insert(courier);
            }
        }
        let mut states = Vec::with_capacity(chosen.len());
        for courier in chosen {
            if let Some(known) = self.couriers.get_mut(&courier) {
                known.unwritten = ALL_WRITTEN;
                let (as_of, state) = (known.as_of, known.state.to_bytes());
                states.push(CourierWrite {
                    courier,
                    as_of,
                    state,
                });
            }
        }
        states.sort_unstable_by(|a, b| a.courier.cmp(&b.courier));
        let next = self.waiting.front().map_or(self.next, |(first, _)| *first);
        if told.is_empty() && states.is_empty() && next == self.stored_next {
            return None;
        }
        let expected = std::mem::replace(&mut self.stored_next, next);
        Some(PartitionWrite {
            partition: self.partition,
            expected,
            next,
            states,
            told,
        })
    }
}

/// Whose record it is, and what is in it; `None` if it is none of ours.
pub(super) fn decode(record: &StoredRecord) -> Option<(CourierId, FixBatch)> {
    let courier = CourierId::try_from(std::str::from_utf8(&record.key).ok()?).ok()?;
    Some((courier, FixBatch::decode(&record.value).ok()?))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A courier without a delivery, the map's entry at its emptiest, the place in `waiting` with
    /// the room that a growing queue leaves, and the allocator's steps.
    #[test]
    fn a_courier_takes_no_more_than_300_bytes() {
        let entry = size_of::<(CourierId, Box<Known>)>() + 1;
        let emptiest = entry * 16 / 7;
        let waiting = 2 * size_of::<(Offset, CourierId)>();
        let known = size_of::<Known>().next_multiple_of(32);
        let bytes = known + emptiest + waiting;
        assert!(bytes <= 300, "{known} + {emptiest} + {waiting} = {bytes}");
    }
}
