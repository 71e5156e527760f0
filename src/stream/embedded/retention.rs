//! What is deleted, and when: whole segments, the oldest first.
//!
//! A protected group's unread records are never deleted; at the hard cap appends are refused
//! instead. A checkpoint that names the new start is durable before a file goes, so that a file
//! that is missing for any other reason is noticed.

use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use super::partition::Partition;
use super::segment::SEGMENT_HEADER_LEN;
use super::state::State;

/// An active segment is closed at this share of the retention's age, so that whole segments can
/// be deleted in time where few records come.
const ROLLS_PER_RETENTION: i64 = 7;

/// Deletes what may go; answers how many segments went.
pub(super) fn retain(state: &State) -> usize {
    let options = &state.core.options;
    let now_us = state.core.clock.now_us();
    let age_us = i64::try_from(options.retention.age.as_micros()).unwrap_or(i64::MAX);
    let mut held_by = BTreeSet::new();
    let mut deleted = 0;
    for partition in state.partitions() {
        roll_if_old(partition, now_us, age_us / ROLLS_PER_RETENTION);
        while oldest(partition).is_some_and(|(closed_us, _)| now_us - closed_us > age_us) {
            if !delete_oldest(state, partition, &mut held_by) {
                break;
            }
            deleted += 1;
        }
    }
    let mut stuck: BTreeSet<(&str, u32)> = BTreeSet::new();
    while state.core.budget.used() > options.retention.bytes {
        let candidates = state
            .partitions()
            .filter(|p| !stuck.contains(&(&*p.topic, p.number)));
        let next = candidates
            .filter_map(|p| Some((oldest(p)?.0, p)))
            .min_by_key(|(at, _)| *at);
        let Some((_, partition)) = next else { break };
        if delete_oldest(state, partition, &mut held_by) {
            deleted += 1;
        } else {
            stuck.insert((&partition.topic, partition.number));
        }
    }
    *state.core.budget.held_by.lock() = held_by.into_iter().collect();
    deleted
}

/// When the oldest sealed segment was closed (Unix microseconds) and where it ends.
fn oldest(partition: &Partition) -> Option<(i64, u64)> {
    let segments = partition.segments.read();
    let next = segments.get(1)?;
    Some((next.header.created_ts_us, next.header.prev_end_offset))
}

fn roll_if_old(partition: &Partition, now_us: i64, after_us: i64) {
    let old = partition.segments.read().last().is_some_and(|active| {
        active.end() > SEGMENT_HEADER_LEN && now_us - active.header.created_ts_us > after_us
    });
    if old {
        partition.roll_due.store(true, Ordering::Release);
        partition.wake_writer();
    }
}

/// Deletes the oldest segment unless a protected group still needs it.
fn delete_oldest(
    state: &State,
    partition: &Arc<Partition>,
    held_by: &mut BTreeSet<String>,
) -> bool {
    let Some((_, end)) = oldest(partition) else {
        return false;
    };
    let protected = &state.core.options.protected;
    for wanted in protected
        .iter()
        .filter(|wanted| *wanted.topic == *partition.topic)
    {
        let next = state
            .offsets
            .get(&wanted.group, &wanted.topic, partition.number);
        if next.unwrap_or(0) < end {
            held_by.insert(wanted.group.clone());
            return false;
        }
    }
    match remove_first(state, partition) {
        Ok(()) => true,
        Err(error) => {
            tracing::warn!(
                topic = %partition.topic, partition = partition.number, %error,
                "an old segment could not be deleted; it is tried again"
            );
            false
        }
    }
}

fn remove_first(state: &State, partition: &Partition) -> io::Result<()> {
    let storage = &*state.core.storage;
    let (first, start) = {
        let segments = partition.segments.read();
        let [first, next, ..] = segments.as_slice() else {
            return Ok(());
        };
        (Arc::clone(first), next.base())
    };
    let checkpoint = {
        let mut shared = partition.checkpoint.lock();
        shared.0.log_start_offset = start;
        shared.1 = false;
        shared.0
    };
    if let Err(error) = checkpoint.write(storage, &partition.dir) {
        partition.checkpoint.lock().1 = true;
        return Err(error);
    }
    partition.set_start(start);
    partition
        .segments
        .write()
        .retain(|segment| segment.base() != first.base());
    state.core.budget.release(first.allocated());
    storage.remove(&first.path)?;
    storage.sync_dir(&partition.dir)
}
