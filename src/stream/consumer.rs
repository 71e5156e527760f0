//! The reading side of the seam.

use std::time::Duration;

use async_trait::async_trait;

use super::{LogError, Offset, Partition, StoredRecord};

/// Where reading should go on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SeekTo {
    /// The record with this offset, or the next that exists.
    Offset(Offset),
    /// `log_start_offset`.
    Earliest,
    /// `durable_offset`: only what comes from now on.
    Latest,
    /// The first record received at or after this instant, Unix milliseconds.
    TimestampMs(i64),
}

/// What a consumer is told by [`Consumer::poll`].
#[derive(Debug)]
pub enum StreamEvent {
    /// These partitions are this member's from now on; each with the offset it starts at.
    Assigned {
        /// The group's generation.
        generation: u64,
        /// Partition and first offset to be read.
        partitions: Vec<(Partition, Offset)>,
    },
    /// Records of one partition, in offset order; never empty.
    Records {
        /// Where they are from.
        partition: Partition,
        /// The records.
        records: Vec<StoredRecord>,
        /// `durable_offset` as far as the reader knew it, never below the last record's offset + 1;
        /// [`Consumer::end_offsets`] asks for it anew.
        durable_offset: Offset,
    },
    /// These partitions belong to another member now; state about them must be dropped.
    Revoked {
        /// The partitions.
        partitions: Vec<Partition>,
    },
    /// Retention overtook this reader: `from..to` is gone, reading goes on at `to`.
    OffsetLost {
        /// The partition.
        partition: Partition,
        /// The offset that was to be read next.
        from: Offset,
        /// The first offset that still exists.
        to: Offset,
    },
    /// Nothing new came in the time that `poll` was given.
    Idle,
}

/// Why a poll failed. The consumer may be polled again after a pause.
#[derive(Debug, thiserror::Error)]
pub enum PollError {
    /// A partition is damaged; the others go on being served by later polls.
    #[error("partition {partition} cannot be read: {reason}")]
    Damaged {
        /// The partition.
        partition: Partition,
        /// File, offset and next step.
        reason: String,
    },
    /// Where the group starts in a partition could not be told; the next poll asks again.
    #[error("where partition {partition} starts is not known: {source:#}")]
    NoStart {
        /// The partition.
        partition: Partition,
        /// Why.
        source: anyhow::Error,
    },
    /// The log is closed or the broker is away.
    #[error("the log has stopped: {0}")]
    Stopped(String),
}

/// Why a commit was refused.
#[derive(Debug, thiserror::Error)]
pub enum CommitError {
    /// A rebalance has given the partition to another member.
    #[error("the generation is stale: partition {0} belongs to another member now")]
    Stale(Partition),
    /// A groupless reader has nothing to commit to.
    #[error("a reader without a group cannot commit")]
    NoGroup,
    /// It could not be stored.
    #[error("the committed offset could not be stored: {0}")]
    Failed(String),
}

/// Answers where a group starts in a partition, at the moment that the partition is assigned.
#[async_trait]
pub trait StartOffsets: Send + Sync + 'static {
    /// The place to start at; `None` leaves it to the group's committed offset.
    async fn start_at(&self, partition: Partition) -> anyhow::Result<Option<SeekTo>>;
}

/// Leaves the start to the group's committed offset, and the earliest record without one.
#[derive(Debug, Clone, Copy, Default)]
pub struct FromCommitted;

#[async_trait]
impl StartOffsets for FromCommitted {
    async fn start_at(&self, _partition: Partition) -> anyhow::Result<Option<SeekTo>> {
        Ok(None)
    }
}

/// A member of a group, or a groupless reader.
#[async_trait]
pub trait Consumer: Send + Sync + 'static {
    /// Waits at most `timeout` for the next event. Cancel-safe: a dropped poll loses nothing.
    async fn poll(&mut self, timeout: Duration) -> Result<StreamEvent, PollError>;

    /// Stores `next` (the offset to be read next) as the group's committed offset.
    async fn commit(&mut self, partition: Partition, next: Offset) -> Result<(), CommitError>;

    /// Moves the place in an assigned partition; answers the offset it resolved to.
    async fn seek(&mut self, partition: Partition, to: SeekTo) -> Result<Offset, LogError>;

    /// `durable_offset` of every assigned partition.
    async fn end_offsets(&self) -> Result<Vec<(Partition, Offset)>, LogError>;

    /// Leaves the group. Commits nothing by itself.
    async fn close(self: Box<Self>, deadline: Duration);
}
