//! One partition as the group sees it: what the rules know about its couriers, and what has been
//! read since the last transaction.

use std::sync::Arc;

use rustc_hash::{FxHashMap, FxHashSet};

use super::store::{Loaded, PartitionWrite};
use crate::directory::Directory;
use crate::domain::rules::{CourierState, Ground, RuleSet, Told};
use crate::domain::{CourierId, FixBatch};
use crate::stream::{Offset, Partition, StoredRecord};

/// An event and the courier it is about.
pub(super) type CourierTold = (CourierId, Told);

/// Invariant: `couriers` is what the records below `next` have made of what was stored at
/// `stored_next`; whatever differs from the store is in `changed`.
pub(super) struct JudgedPartition {
    partition: Partition,
    /// What the store holds: the next flush moves it on from here.
    stored_next: Offset,
    /// Next offset to be read.
    next: Offset,
    couriers: FxHashMap<CourierId, CourierState>,
    changed: FxHashSet<CourierId>,
    told: Vec<CourierTold>,
}

impl JudgedPartition {
    pub(super) fn new(partition: Partition, loaded: Loaded, reading_from: Offset) -> Self {
        Self {
            partition,
            stored_next: loaded.next,
            next: reading_from,
            couriers: loaded.couriers,
            changed: FxHashSet::default(),
            told: Vec::new(),
        }
    }

    /// Judges records in the order of the log.
    pub(super) fn read(
        &mut self,
        records: &[StoredRecord],
        rules: &RuleSet,
        directory: &Directory,
    ) {
        for record in records {
            self.next = record.offset.advance(1);
            // Ingest wrote it; a record that is none of ours says nothing about a courier.
            let Some((courier, batch)) = decode(record) else {
                tracing::warn!(partition = %self.partition, offset = %record.offset,
                    "skipped a record that is no batch of fixes");
                continue;
            };
            self.read_batch(courier, &batch, rules, directory);
        }
    }

    fn read_batch(
        &mut self,
        courier: CourierId,
        batch: &FixBatch,
        rules: &RuleSet,
        directory: &Directory,
    ) {
        let run = directory.run_of(&courier);
        let state = self.couriers.entry(courier.clone()).or_default();
        let mut told = Vec::new();
        state.see(batch, Ground { rules, run: &run }, &mut told);
        self.told
            .extend(told.into_iter().map(|t| (courier.clone(), t)));
        self.changed.insert(courier);
    }

    /// Some records are gone, or were skipped: reading goes on at `next`.
    pub(super) fn skip_to(&mut self, next: Offset) {
        self.next = next;
    }

    /// Whether an event waits for its transaction.
    pub(super) fn is_due(&self) -> bool {
        !self.told.is_empty()
    }

    /// Whether there is anything to write.
    pub(super) fn is_behind(&self) -> bool {
        self.next != self.stored_next
    }

    /// Next offset to be read.
    pub(super) fn next(&self) -> Offset {
        self.next
    }

    /// What the next transaction has to write.
    pub(super) fn to_write(&self) -> PartitionWrite<'_> {
        let state_of = |id: &CourierId| self.couriers.get(id).map(|s| (id.clone(), s.to_bytes()));
        PartitionWrite {
            partition: self.partition,
            expected: self.stored_next,
            next: self.next,
            states: self.changed.iter().filter_map(state_of).collect(),
            told: &self.told,
        }
    }

    /// The transaction is in: memory and store agree.
    pub(super) fn written(&mut self) {
        self.stored_next = self.next;
        self.changed.clear();
        self.told.clear();
    }
}

fn decode(record: &StoredRecord) -> Option<(CourierId, FixBatch)> {
    let courier = CourierId::try_from(std::str::from_utf8(&record.key).ok()?).ok()?;
    Some((courier, FixBatch::decode(&record.value).ok()?))
}

/// What partitions are judged by.
#[derive(Clone)]
pub(super) struct Bench {
    pub(super) rules: Arc<RuleSet>,
    pub(super) directory: Arc<Directory>,
}
