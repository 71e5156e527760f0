//! The writing side of the seam, and what operators may ask of a log.

use std::ops::Range;
use std::sync::Arc;

use async_trait::async_trait;

use super::{Consumer, Offset, Partition, Record, SeekTo, StartOffsets};

/// Why an append was not acknowledged. Nothing of it may be assumed stored, unless said so.
#[derive(Debug, thiserror::Error)]
pub enum AppendError {
    /// Buffers are full; try again after a moment.
    #[error("the log is busy: its buffers are full")]
    Busy,
    /// The disk, or the log's own cap, is full. Writing resumes by itself when there is room.
    #[error("the log is full: {0}")]
    Full(String),
    /// A record that can never be stored (too large, empty key).
    #[error("the record cannot be stored: {0}")]
    Invalid(String),
    /// No such topic or partition.
    #[error("topic {topic} has no partition {partition}")]
    UnknownPartition {
        /// The topic asked for.
        topic: String,
        /// The partition asked for.
        partition: Partition,
    },
    /// This partition is damaged and waits for `waylog stream repair`.
    #[error("the partition is quarantined: {0}")]
    Quarantined(String),
    /// A sync failed or the log is closed; whether the records survive is unknown.
    #[error("the log has stopped: {0}")]
    Stopped(String),
}

/// Why a log could not be opened or asked.
#[derive(Debug, thiserror::Error)]
pub enum LogError {
    /// The message names the file or the setting, and the next step.
    #[error("{0}")]
    Refused(String),
    /// Input or output failed.
    #[error("{context}: {error}")]
    Io {
        /// What was being done, and to what.
        context: String,
        /// What the system said; part of this error's text, so not its source as well.
        error: std::io::Error,
    },
}

/// A durable, partitioned log. Cheap to share behind an [`Arc`].
#[async_trait]
pub trait Log: Send + Sync + 'static {
    /// Names this very stream for offsets stored elsewhere (`stream_offset.stream_id`): a new
    /// directory or another cluster has another id.
    fn stream_id(&self, topic: &str) -> Result<String, LogError>;

    /// How many partitions `topic` has; pinned when it was created.
    fn partitions(&self, topic: &str) -> Result<u32, LogError>;

    /// How far `group` can have read before its first commit in this process, where nobody else
    /// writes the log: to where it ended when it was opened. A place beyond that was stored elsewhere
    /// is one of records that the log has lost, even where new ones have taken their offsets since.
    /// `None` after the first commit, and where others write as well.
    fn furthest_read(&self, _topic: &str, _group: &str, _partition: Partition) -> Option<Offset> {
        None
    }

    /// Appends `records` to one partition, together and in order.
    ///
    /// Ok means durable: embedded, fdatasync has returned; Kafka, acks=all. The range holds the
    /// offset of the first record and one past that of the last.
    async fn append(
        &self,
        topic: &str,
        partition: Partition,
        records: Vec<Record>,
    ) -> Result<Range<Offset>, AppendError>;

    /// Joins `group` as a new member. `start` is asked when a partition is assigned; where it
    /// answers `None` the group's own committed offset counts, and without one the earliest.
    async fn subscribe(
        &self,
        topic: &str,
        group: &str,
        start: Arc<dyn StartOffsets>,
    ) -> Result<Box<dyn Consumer>, LogError>;

    /// Reads `partitions` from `start` on, without a group: nothing is assigned, revoked or
    /// committed.
    async fn reader(
        &self,
        topic: &str,
        partitions: &[Partition],
        start: SeekTo,
    ) -> Result<Box<dyn Consumer>, LogError>;

    /// Topics with their partitions, as they stand now.
    async fn topics(&self) -> Result<Vec<TopicStatus>, LogError>;

    /// Consumer groups with members, committed offsets and lag, as they stand now.
    async fn groups(&self) -> Result<Vec<GroupStatus>, LogError>;

    /// Sets the committed offset of an idle group's partition. Refused while it has members.
    async fn reset_group(
        &self,
        topic: &str,
        group: &str,
        partition: Partition,
        to: SeekTo,
    ) -> Result<Offset, LogError>;

    /// Syncs what is buffered and closes the files. Later appends fail with `Stopped`.
    async fn close(&self) -> Result<(), LogError>;
}

/// A topic as it stands.
#[derive(Debug, Clone, serde::Serialize)]
pub struct TopicStatus {
    /// Its name.
    pub topic: String,
    /// Its partitions, by number.
    pub partitions: Vec<PartitionStatus>,
}

/// A partition as it stands.
#[derive(Debug, Clone, serde::Serialize)]
pub struct PartitionStatus {
    /// Its number.
    pub partition: u32,
    /// First offset that can still be read.
    pub log_start_offset: u64,
    /// Everything below is on disk.
    pub durable_offset: u64,
    /// Next offset to be written.
    pub log_end_offset: u64,
    /// Bytes on disk; with Kafka an estimate, before compression and of one replica.
    pub disk_bytes: u64,
    /// Why it serves neither reads nor writes, if so.
    pub quarantined: Option<String>,
    /// Damage that was met in its older records: they cannot be read, new ones are taken.
    pub damaged: Option<String>,
    /// What keeps it from being written or read now though nothing is lost, if so: no broker leads
    /// it, or too few have it.
    pub unavailable: Option<String>,
    /// How busy it is, and with whom.
    pub load: PartitionLoad,
}

/// How busy a partition is.
#[derive(Debug, Clone, Default, serde::Serialize)]
pub struct PartitionLoad {
    /// Bytes appended a second, averaged over about a minute.
    pub bytes_per_s: f64,
    /// Mean bytes of its newest records, key and value.
    pub record_bytes: f64,
    /// Different keys among its newest records, of which up to 4,096 are looked at.
    pub active_keys: u32,
    /// The key with the most bytes among them.
    pub busiest_key: Option<String>,
    /// That key's share of them, 0 to 1.
    pub busiest_share: f64,
}

/// A consumer group as it stands.
#[derive(Debug, Clone, serde::Serialize)]
pub struct GroupStatus {
    /// Its name.
    pub group: String,
    /// The topic it reads.
    pub topic: String,
    /// Members that are joined now.
    pub members: u32,
    /// Raised by one at every rebalance; `None` where the backend keeps it to itself.
    pub generation: Option<u64>,
    /// A row a partition.
    pub partitions: Vec<GroupState>,
}

/// A group's place in one partition.
#[derive(Debug, Clone, serde::Serialize)]
pub struct GroupState {
    /// The partition.
    pub partition: u32,
    /// The member that owns it now.
    pub member: Option<String>,
    /// Next offset to be read; `None` before the first commit.
    pub committed: Option<u64>,
    /// `durable_offset − committed`, records.
    pub lag_records: u64,
    /// Age of the oldest unread record, seconds.
    pub lag_seconds: f64,
}
