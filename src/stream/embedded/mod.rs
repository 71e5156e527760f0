//! The embedded backend: the log as files of this machine, owned by one process.
//!
//! ```text
//! log/META                              uuid, format version, topics with their partition counts
//! log/LOCK                              flock: one process at a time
//! log/{topic}/p007/{base:020}.seg       segments: a header and frames, preallocated
//! log/{topic}/p007/checkpoint           where recovery may start, and what must be there
//! log/{topic}/p007/torn/                what recovery cut off
//! log/groups/{group}.off                committed offsets
//! ```
//!
//! Formats: [`frame`] for frames and records, `segment` for segment headers, `snapshot` for the
//! small files.
//!
//! # The way of a record
//! `append` puts it into its partition's pending group (`partition`). The sync thread that owns
//! the partition (`syncer`, `writer`) takes the group, makes it one frame, writes and syncs it,
//! shows it to readers (`ring`, `consumer`, `read`) and acknowledges it. What can wait (next
//! segment files, checkpoints, `retention`, `scrub`, metrics) is the `keeper`'s.
//!
//! # Invariants
//! - An acknowledged record is on disk, and no recovery cuts it away in silence (`recovery`).
//! - A partition has at most one group that is written and not synced.
//! - Nothing is visible before it is durable. No reader holds up a writer: appenders and readers
//!   share only short locks, and no lock is held over input or output on the way of a record.
//! - After a failed sync the process acknowledges nothing any more.

mod checkpoint;
mod consumer;
mod copy;
mod core;
mod folder;
pub mod frame;
mod index;
mod keeper;
mod load;
mod log;
mod membership;
mod meta;
mod metrics;
mod offsets;
mod open;
mod options;
mod partition;
mod read;
mod recovery;
mod repair;
mod retention;
mod ring;
mod scan;
mod scrub;
mod segment;
mod snapshot;
mod state;
mod status;
mod storage;
mod syncer;
mod tail;
#[cfg(test)]
mod tests;
mod topic;
mod verify;
mod writer;

pub use super::record::TopicSpec;
pub use copy::{
    CopiedLog, CopiedPartition, copy, extent, hold, holder, identity, pinned_partitions,
};
pub use log::EmbeddedLog;
pub use options::{EmbeddedLogOptions, ProtectedGroup, Retention, SegmentSizes};
pub use repair::{Repaired, repair};
pub use verify::{LogReport, PartitionReport, verify, verify_copy};
