//! How topics and groups stand, for operators and metrics. Every call blocks on the brokers.

use std::collections::BTreeMap;

use super::cluster::{Cluster, Member, Topic};
use super::scout::{ANSWER, Bounds, Replicas};
use crate::stream::{GroupState, GroupStatus, LogError, PartitionStatus, TopicStatus};

/// Newest records of a partition by which its records' size is known at the start.
const FIRST_SAMPLE: u64 = 64;

/// Every topic with its partitions.
pub(super) fn topics(cluster: &Cluster) -> Result<Vec<TopicStatus>, LogError> {
    let topics = cluster.topics.values();
    topics.map(|topic| topic_status(cluster, topic)).collect()
}

fn topic_status(cluster: &Cluster, topic: &Topic) -> Result<TopicStatus, LogError> {
    let name = topic.remote();
    let layout = cluster.scout.layout(name, ANSWER);
    let layout = layout.map_err(|error| cluster.scout.refused("look at the topic", &error))?;
    let layout = layout.ok_or_else(|| {
        LogError::Refused(format!(
            "the topic {name} is not there any more: what was in it is lost; stop the nodes and \
             start them again, and it is made anew"
        ))
    })?;
    let bounds = cluster.scout.bounds(name, &topic.numbers())?;
    know_sizes(cluster, topic, &bounds)?;
    let status = |(number, bounds): (&u32, &Bounds)| {
        let state = topic.partitions.get(*number as usize);
        let load = state.map_or_else(Default::default, |state| state.load.lock().load());
        let replicas = layout.get(*number as usize).cloned().unwrap_or_default();
        PartitionStatus {
            partition: *number,
            log_start_offset: bounds.start,
            durable_offset: bounds.end,
            log_end_offset: bounds.end,
            disk_bytes: ((bounds.end - bounds.start) as f64 * load.record_bytes) as u64,
            quarantined: None,
            damaged: None,
            unavailable: trouble(&replicas, topic.opened.min_in_sync),
            load,
        }
    };
    Ok(TopicStatus {
        topic: topic.name().to_owned(),
        partitions: bounds.iter().map(status).collect(),
    })
}

/// The same with what was measured meanwhile.
pub(super) fn with_loads(cluster: &Cluster, mut topics: Vec<TopicStatus>) -> Vec<TopicStatus> {
    for status in &mut topics {
        let Some(topic) = cluster.topics.get(&status.topic) else {
            continue;
        };
        for (partition, state) in status.partitions.iter_mut().zip(&topic.partitions) {
            partition.load = state.load.lock().load();
        }
    }
    topics
}

/// Looks at the newest records of partitions whose records were never looked at.
fn know_sizes(
    cluster: &Cluster,
    topic: &Topic,
    bounds: &BTreeMap<u32, Bounds>,
) -> Result<(), LogError> {
    let unknown = |number: &u32| {
        let state = topic.partitions.get(*number as usize);
        state.is_some_and(|state| state.load.lock().load().record_bytes == 0.0)
    };
    let unknown: BTreeMap<u32, Bounds> = bounds
        .iter()
        .filter(|(number, b)| b.end > b.start && unknown(number))
        .map(|(number, b)| (*number, *b))
        .collect();
    let samples = cluster
        .scout
        .newest(topic.remote(), &unknown, FIRST_SAMPLE)?;
    for (number, (sample, _)) in samples {
        if let Some(state) = topic.partitions.get(number as usize) {
            state.load.lock().note(&sample);
        }
    }
    Ok(())
}

fn trouble(replicas: &Replicas, min_in_sync: usize) -> Option<String> {
    if replicas.leader.is_none() {
        return Some("no broker leads it: it can be neither written nor read".to_owned());
    }
    (replicas.in_sync < min_in_sync).then(|| {
        format!(
            "{} of {} replicas are in sync, fewer than min.insync.replicas ({min_in_sync}): it \
             cannot be written",
            replicas.in_sync, replicas.all
        )
    })
}

/// Every group that is known here, with its place in its topic.
pub(super) fn groups(cluster: &Cluster) -> Result<Vec<GroupStatus>, LogError> {
    let known = cluster.known_groups().into_iter();
    known
        .map(|(group, topic)| group_status(cluster, group, cluster.topic(&topic)?))
        .collect()
}

fn group_status(cluster: &Cluster, group: String, topic: &Topic) -> Result<GroupStatus, LogError> {
    let desk = cluster.desk(&group)?;
    let id = cluster.options.group_id(&group);
    let members = desk.members(&id, topic.remote())?;
    let committed = desk.committed(topic.remote(), &topic.numbers())?;
    let bounds = cluster.scout.bounds(topic.remote(), &topic.numbers())?;
    let next = |number: &u32, bounds: &Bounds| {
        let next = committed.get(number).copied().unwrap_or(bounds.start);
        next.clamp(bounds.start, bounds.end)
    };
    let unread = bounds
        .iter()
        .map(|(number, b)| (*number, next(number, b)..b.end.min(next(number, b) + 1)));
    let mut oldest: BTreeMap<u32, i64> = BTreeMap::new();
    cluster
        .scout
        .sample(topic.remote(), unread.collect(), |number, at, _, _| {
            oldest.insert(number, at);
        })?;
    let now_ms = cluster.clock.now_ms();
    let age = |at: &i64| now_ms.saturating_sub(*at).max(0) as f64 / 1e3;
    let state = |(number, bounds): (&u32, &Bounds)| GroupState {
        partition: *number,
        member: owner(&members, *number),
        committed: committed.get(number).copied(),
        lag_records: bounds.end - next(number, bounds),
        lag_seconds: oldest.get(number).map_or(0.0, age),
    };
    Ok(GroupStatus {
        group,
        topic: topic.name().to_owned(),
        members: u32::try_from(members.len()).unwrap_or(u32::MAX),
        generation: None,
        partitions: bounds.iter().map(state).collect(),
    })
}

fn owner(members: &[Member], number: u32) -> Option<String> {
    let owner = members.iter().find(|m| m.partitions.contains(&number))?;
    Some(owner.id.clone())
}

/// The share of the retention that lies between a group and the loss of records: 1 is at the end
/// of the topic, 0 is about to lose.
pub(super) fn headroom(topic: &Topic, group: &GroupStatus) -> f64 {
    let Some(retention_ms) = topic.opened.retention_ms else {
        return 1.0;
    };
    let seconds = group
        .partitions
        .iter()
        .map(|p| p.lag_seconds)
        .fold(0.0, f64::max);
    (1.0 - seconds * 1e3 / (retention_ms.max(1)) as f64).clamp(0.0, 1.0)
}
