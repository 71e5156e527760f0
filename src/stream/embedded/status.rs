//! How topics and groups stand, for operators and metrics.

use std::collections::BTreeSet;

use super::partition::Partition;
use super::state::State;
use super::topic::Topic;
use crate::stream::{GroupState, GroupStatus, PartitionStatus, TopicStatus};

/// Every topic with its partitions.
pub(super) fn topics(state: &State) -> Vec<TopicStatus> {
    let topics = state.topics.values().map(|topic| TopicStatus {
        topic: topic.name.to_string(),
        partitions: topic
            .partitions
            .iter()
            .map(|partition| partition_status(partition))
            .collect(),
    });
    topics.collect()
}

fn partition_status(partition: &Partition) -> PartitionStatus {
    PartitionStatus {
        partition: partition.number,
        log_start_offset: partition.start(),
        durable_offset: partition.durable(),
        log_end_offset: partition.durable() + partition.waiting_records(),
        disk_bytes: partition.disk_bytes(),
        quarantined: partition.quarantined().map(|why| why.to_string()),
        damaged: partition
            .damage
            .lock()
            .as_ref()
            .map(|what| what.to_string()),
        unavailable: None,
        load: partition.load.lock().load(),
    }
}

/// Every group that reads or has read a topic.
pub(super) fn groups(state: &State) -> Vec<GroupStatus> {
    let mut groups = Vec::new();
    for topic in state.topics.values() {
        let mut names: BTreeSet<String> = topic.group_names().into_iter().collect();
        names.extend(state.offsets.groups_of(&topic.name));
        groups.extend(
            names
                .into_iter()
                .map(|name| group_status(state, topic, name)),
        );
    }
    groups
}

fn group_status(state: &State, topic: &Topic, group: String) -> GroupStatus {
    let now_us = state.core.clock.now_us();
    let partitions = topic.partitions.iter().map(|partition| {
        let committed = state.offsets.get(&group, &topic.name, partition.number);
        let next = committed.unwrap_or_else(|| partition.start());
        let owner = topic.group(&group, |membership| membership.owner(partition.number));
        GroupState {
            partition: partition.number,
            member: owner.flatten().map(|id| id.to_string()),
            committed,
            lag_records: partition.durable().saturating_sub(next),
            lag_seconds: lag_seconds(partition, next, now_us),
        }
    });
    let partitions = partitions.collect();
    let membership = topic.group(&group, |m| (m.member_count(), m.generation()));
    let (members, generation) = membership.unwrap_or_default();
    GroupStatus {
        group,
        topic: topic.name.to_string(),
        members: u32::try_from(members).unwrap_or(u32::MAX),
        generation: Some(generation),
        partitions,
    }
}

/// Age of the record at `next`, from what is in memory: exact in the ring, within 64 KiB where an
/// index is known, within a segment otherwise.
fn lag_seconds(partition: &Partition, next: u64, now_us: i64) -> f64 {
    if next >= partition.durable() {
        return 0.0;
    }
    let appended_us = partition.ring.append_ts_us(next).or_else(|| {
        let (segment, _) = partition.segment_for(next)?;
        let entry = segment.index.floor_offset(next);
        let before_ms = entry
            .map(|entry| entry.max_timestamp_before_ms)
            .filter(|ms| *ms > 0);
        Some(before_ms.map_or(segment.header.created_ts_us, |ms| ms.saturating_mul(1000)))
    });
    appended_us.map_or(0.0, |at| now_us.saturating_sub(at).max(0) as f64 / 1e6)
}

/// The share of the retention that lies between a group and the loss of records: 1 is at the end
/// of the log, 0 is about to lose.
pub(super) fn headroom(state: &State, group: &GroupStatus) -> f64 {
    let retention = state.core.options.retention;
    let seconds = group
        .partitions
        .iter()
        .map(|p| p.lag_seconds)
        .fold(0.0, f64::max);
    let by_age = 1.0 - seconds / retention.age.as_secs_f64().max(1.0);
    let Some(topic) = state.topics.get(&group.topic) else {
        return by_age;
    };
    let unread: f64 = topic
        .partitions
        .iter()
        .zip(&group.partitions)
        .map(|(partition, place)| {
            let records = partition.durable().saturating_sub(partition.start()).max(1);
            partition.frame_bytes() as f64 * place.lag_records as f64 / records as f64
        })
        .sum();
    by_age
        .min(1.0 - unread / (retention.bytes.max(1)) as f64)
        .clamp(0.0, 1.0)
}
