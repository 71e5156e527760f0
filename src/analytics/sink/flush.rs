//! What is collected for one transaction.
//!
//! Invariant: a flush holds *all* records of its partitions between `expected` and `next`, in order;
//! what of them cannot be stored is in `rejects`.

use std::collections::BTreeMap;

use bytes::Bytes;
use rustc_hash::FxHashMap;

use crate::analytics::columns::DAY_MS;
use crate::directory::Directory;
use crate::domain::{CourierId, Fix, FixBatch, UnixMs};
use crate::stream::{Offset, Partition, StoredRecord};

/// A phone's clock may be this far ahead of ours when its fix is received, milliseconds. Ingest
/// refuses more; other producers of the topic are held to the same.
const MAX_AHEAD_MS: i64 = 2 * DAY_MS;

/// The records of one partition that a flush covers: from `expected`, which Postgres must have as
/// its next offset, up to but not with `next`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Span {
    pub(super) expected: Offset,
    pub(super) next: Offset,
}

/// Fixes of one courier: in the order of the log, and once the flush is settled by time.
#[derive(Debug)]
pub(super) struct CourierFixes {
    pub(super) partition: Partition,
    /// Records received before this were erased.
    erased_before: Option<UnixMs>,
    /// When the first and the last of its uploads were received.
    pub(super) received: (UnixMs, UnixMs),
    pub(super) fixes: Vec<Fix>,
}

/// Something that cannot be stored, with the reason.
#[derive(Debug, Clone)]
pub(super) struct Reject {
    pub(super) partition: Partition,
    /// The record it came in, where it was refused as a record.
    pub(super) offset: Option<Offset>,
    pub(super) key: Bytes,
    pub(super) value: Bytes,
    pub(super) reason: String,
    /// Fixes that it holds, as far as they could be counted.
    pub(super) fixes: u64,
}

/// Records on their way into one transaction.
#[derive(Debug, Default)]
pub(super) struct Flush {
    pub(super) spans: BTreeMap<Partition, Span>,
    pub(super) couriers: FxHashMap<CourierId, CourierFixes>,
    pub(super) rejects: Vec<Reject>,
    /// Fixes that stood twice in this very flush, by partition; known when it is settled.
    pub(super) duplicates: BTreeMap<Partition, u64>,
    /// Fixes left out because their courier's data was erased after they were received.
    pub(super) erased: u64,
    /// Fixes collected.
    pub(super) fixes: usize,
    /// Memory that they take, and values kept, bytes.
    pub(super) bytes: usize,
}

impl Flush {
    /// Whether it covers no record.
    pub(super) fn is_empty(&self) -> bool {
        self.spans.is_empty()
    }

    /// Adds `records`, which follow on what is covered of `partition` so far. `expected` is where
    /// Postgres will stand before this flush. Fixes before `oldest` are past the retention.
    pub(super) fn add(
        &mut self,
        partition: Partition,
        expected: Offset,
        records: &[StoredRecord],
        oldest: UnixMs,
        directory: &Directory,
    ) {
        let Some(last) = records.last() else {
            return;
        };
        let next = last.offset.advance(1);
        self.spans
            .entry(partition)
            .and_modify(|span| span.next = next)
            .or_insert(Span { expected, next });
        for record in records {
            self.add_record(partition, record, oldest, directory);
        }
    }

    fn reject(&mut self, reject: Reject) {
        self.bytes += reject.value.len();
        self.rejects.push(reject);
    }

    fn add_record(
        &mut self,
        partition: Partition,
        record: &StoredRecord,
        oldest: UnixMs,
        directory: &Directory,
    ) {
        let reject = |reason: String, fixes: u64| Reject {
            partition,
            offset: Some(record.offset),
            key: record.key.clone(),
            value: record.value.clone(),
            reason,
            fixes,
        };
        let batch = match FixBatch::decode(&record.value) {
            Ok(batch) => batch,
            Err(error) => return self.reject(reject(error.to_string(), 0)),
        };
        if batch.fixes.is_empty() {
            return; // a heartbeat
        }
        let Ok(key) = std::str::from_utf8(&record.key) else {
            let fixes = batch.fixes.len() as u64;
            return self.reject(reject("the key is not text".into(), fixes));
        };
        let latest = batch.received_at.plus_ms(MAX_AHEAD_MS);
        let storable = |fix: &Fix| (oldest..=latest).contains(&fix.fix_time);
        let outside = batch.fixes.iter().filter(|fix| !storable(fix)).count();
        if outside > 0 {
            let reason = format!("{outside} fixes are older than the retention or in the future");
            self.reject(reject(reason, outside as u64));
        }
        let entry = match self.couriers.get_mut(key) {
            Some(entry) => entry,
            None => match CourierId::try_from(key) {
                Ok(id) => self.couriers.entry(id.clone()).or_insert(CourierFixes {
                    partition,
                    erased_before: directory.erased_before(&id),
                    received: (batch.received_at, batch.received_at),
                    fixes: Vec::new(),
                }),
                Err(error) => {
                    let fixes = (batch.fixes.len() - outside) as u64;
                    return self.reject(reject(error.to_string(), fixes));
                }
            },
        };
        if entry
            .erased_before
            .is_some_and(|before| batch.received_at < before)
        {
            self.erased += (batch.fixes.len() - outside) as u64;
            return;
        }
        entry.received.0 = entry.received.0.min(batch.received_at);
        entry.received.1 = entry.received.1.max(batch.received_at);
        let before = entry.fixes.len();
        entry.fixes.extend(batch.fixes.into_iter().filter(storable));
        let added = entry.fixes.len() - before;
        self.fixes += added;
        self.bytes += added * size_of::<Fix>();
    }

    /// Brings every courier's fixes into the order of time and removes those that stand twice: the
    /// first in the log wins. Settling again changes nothing.
    pub(super) fn settle(&mut self) {
        for courier in self.couriers.values_mut() {
            let fixes = &mut courier.fixes;
            if fixes.is_sorted_by(|a, b| a.fix_time < b.fix_time) {
                continue;
            }
            fixes.sort_by_key(|fix| fix.fix_time); // stable: equal times stay in log order
            let before = fixes.len();
            fixes.dedup_by_key(|fix| fix.fix_time);
            let twice = (before - fixes.len()) as u64;
            *self.duplicates.entry(courier.partition).or_default() += twice;
        }
    }
}
