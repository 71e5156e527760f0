//! The delivery-location log as the rest of Waylog sees it: the seam between it and its backends.
//!
//! This module owns the words (topic, partition, record, offset, group, generation) and the two
//! traits [`Log`] and [`Consumer`]. It moves bytes only and never looks into a value. Below it lie
//! the backends: `embedded/` (one machine, our own files) and `kafka/`.
//!
//! ```text
//!   log_start_offset          committed          durable_offset      log_end_offset
//!         │  readable by anyone   │     lag            │  not on disk yet   │
//!   ──────┼───────────────────────┼────────────────────┼────────────────────┼──▶
//! ```
//!
//! Invariants every backend keeps (the conformance suite checks them):
//! - `append` answers Ok only after the records are durable; offsets of a partition are dense or
//!   at least strictly increasing, and records of one `append` stay together and in order.
//! - Readers never see a record at or beyond `durable_offset`.
//! - A reader, however slow, never slows `append`.
//! - `commit` of a stale generation is refused; a partition has at most one owner a generation.

pub mod advice;
mod consumer;
mod group;
mod load;
mod log;
mod metrics;
mod partitioner;
mod record;

#[cfg(test)]
pub(crate) mod conformance;
pub mod embedded;
pub mod kafka;

pub use consumer::{
    CommitError, Consumer, FromCommitted, PollError, SeekTo, StartOffsets, StreamEvent,
};
pub use group::{Handler, Progress, run_group};
pub use log::{
    AppendError, GroupState, GroupStatus, Log, LogError, PartitionLoad, PartitionStatus,
    TopicStatus,
};
pub use partitioner::partition_for_key;
pub use record::{
    Offset, Partition, Record, StoredRecord, TOPIC_DELIVERY_LOCATION, TOPIC_QUARANTINE, TopicSpec,
};
