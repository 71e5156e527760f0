//! Everything of an open log, as its consumers, its keeper and its face share it.

use std::collections::BTreeMap;
use std::sync::Arc;

use super::core::Core;
use super::offsets::CommittedOffsets;
use super::partition::Partition;
use super::read::{ReadDamage, find_timestamp};
use super::topic::Topic;
use crate::stream::{LogError, SeekTo};

/// An open log without its threads.
pub(super) struct State {
    pub(super) core: Arc<Core>,
    pub(super) topics: BTreeMap<String, Arc<Topic>>,
    pub(super) offsets: CommittedOffsets,
}

impl State {
    pub(super) fn topic(&self, name: &str) -> Result<&Arc<Topic>, LogError> {
        self.topics.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.topics.keys().map(String::as_str).collect();
            LogError::Refused(format!(
                "there is no topic {name}; there is {}",
                known.join(", ")
            ))
        })
    }

    pub(super) fn partitions(&self) -> impl Iterator<Item = &Arc<Partition>> {
        self.topics.values().flat_map(|topic| &topic.partitions)
    }
}

/// The offset that `to` means in a partition. One below the log's start stays as it is, so that
/// the reader is told what it lost; one beyond the end becomes the end. Blocks on the disk for a
/// timestamp.
pub(super) fn resolve(partition: &Partition, to: SeekTo) -> Result<u64, ReadDamage> {
    let durable = partition.durable();
    match to {
        SeekTo::Earliest => Ok(partition.start()),
        SeekTo::Latest => Ok(durable),
        SeekTo::Offset(offset) if offset.0 <= durable => Ok(offset.0),
        SeekTo::Offset(offset) => {
            tracing::error!(
                topic = %partition.topic, partition = partition.number, offset = offset.0, durable,
                "an offset beyond the end of the log was asked for: reading starts at the end; \
                 either the log lost records or the offset is of another log"
            );
            Ok(durable)
        }
        SeekTo::TimestampMs(at) => Ok(find_timestamp(partition, at)?.unwrap_or(durable)),
    }
}
