//! What a log is opened with.

use std::path::PathBuf;
use std::time::Duration;

use super::frame::MAX_FRAME_LEN;
use crate::stream::{LogError, TopicSpec};

/// Most partitions of a topic: each holds at least one preallocated file.
const MAX_PARTITIONS: u32 = 1024;

/// How a log is laid out, written, kept and bounded.
#[derive(Debug, Clone)]
pub struct EmbeddedLogOptions {
    /// The folder; one process at a time owns it.
    pub dir: PathBuf,
    /// Topics that must exist. Those missing are created; a count that differs from the one
    /// pinned in `META` is refused. Empty opens whatever there is.
    pub topics: Vec<TopicSpec>,
    /// Whether an empty or absent folder may become a new log; tools say no.
    pub create: bool,
    /// The uuid of a new log; `None` takes a random one.
    pub uuid: Option<uuid::Uuid>,
    /// Threads that write and sync; each owns fixed partitions.
    pub sync_threads: usize,
    /// Least time between two syncs of a thread: fewer, larger writes for slow disks.
    pub min_sync_interval: Duration,
    /// Bytes that may wait in one partition for the next sync; more is answered with "busy".
    pub buffer_bytes: usize,
    /// Bytes of newest frames that are kept in memory for live readers, over all partitions.
    pub ring_bytes: usize,
    /// Sizes of segment files.
    pub segments: SegmentSizes,
    /// What is deleted, and when.
    pub retention: Retention,
    /// Groups whose unread records are never deleted.
    pub protected: Vec<ProtectedGroup>,
    /// How often retention, lag and headroom are looked at.
    pub housekeeping_interval: Duration,
    /// Bytes a second that the background check of sealed segments reads; 0 turns it off.
    pub scrub_bytes_per_s: u64,
}

/// A group that retention waits for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ProtectedGroup {
    /// The topic it reads.
    pub topic: String,
    /// Its name.
    pub group: String,
}

/// Segment files grow fourfold from `first` to `max` bytes, so that an empty log is small and a
/// busy one rolls seldom.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct SegmentSizes {
    /// Bytes of a partition's first file.
    pub first: u64,
    /// Bytes of its later ones, at most.
    pub max: u64,
}

/// What is kept.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Retention {
    /// Segments whose records are all older are deleted.
    pub age: Duration,
    /// Bytes of the whole log above which the oldest segments are deleted.
    pub bytes: u64,
    /// Bytes of the whole log at which appends are refused.
    pub hard_cap_bytes: u64,
}

impl EmbeddedLogOptions {
    /// The defaults for a log in `dir` with Waylog's two topics.
    #[must_use]
    pub fn new(dir: impl Into<PathBuf>, partitions: u32) -> Self {
        Self {
            dir: dir.into(),
            topics: TopicSpec::ours(partitions),
            create: true,
            uuid: None,
            sync_threads: 4,
            min_sync_interval: Duration::ZERO,
            buffer_bytes: 4 << 20,
            ring_bytes: 64 << 20,
            segments: SegmentSizes {
                first: 4 << 20,
                max: 256 << 20,
            },
            retention: Retention {
                age: Duration::from_secs(7 * 24 * 3600),
                bytes: 20 << 30,
                hard_cap_bytes: 40 << 30,
            },
            protected: Vec::new(),
            housekeeping_interval: Duration::from_secs(10),
            scrub_bytes_per_s: 4 << 20,
        }
    }

    /// Refuses what cannot work, naming the setting.
    pub(super) fn check(&self) -> Result<(), LogError> {
        let refuse = |what: String| Err(LogError::Refused(what));
        for topic in &self.topics {
            check_name("topic", &topic.name)?;
            if !(1..=MAX_PARTITIONS).contains(&topic.partitions) {
                return refuse(format!(
                    "topic {} cannot have {} partitions: set 1 to {MAX_PARTITIONS}",
                    topic.name, topic.partitions
                ));
            }
        }
        if self.sync_threads == 0 {
            return refuse("the log needs at least one sync thread".to_owned());
        }
        if !(4096..=MAX_FRAME_LEN / 2).contains(&self.buffer_bytes) {
            return refuse(format!(
                "a partition's buffer of {} bytes is out of range: set 4096 to {}",
                self.buffer_bytes,
                MAX_FRAME_LEN / 2
            ));
        }
        if self.segments.first < 8192 || self.segments.max < self.segments.first {
            return refuse("segment sizes must be at least 8192 bytes, and first ≤ max".to_owned());
        }
        if self.segments.max > u64::from(u32::MAX) / 2 {
            return refuse("segments cannot be larger than 2 GiB".to_owned());
        }
        if self.retention.hard_cap_bytes < self.retention.bytes {
            return refuse("the log's hard cap is below its retention: raise the cap".to_owned());
        }
        Ok(())
    }
}

/// Names become file names, so they are kept plain.
pub(super) fn check_name(what: &str, name: &str) -> Result<(), LogError> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | '-');
    if name.is_empty() || name.len() > 100 || name.starts_with('.') || !name.chars().all(plain) {
        return Err(LogError::Refused(format!(
            "{what} name {name:?} is not allowed: use 1–100 of A–Z a–z 0–9 . _ -, no leading dot"
        )));
    }
    Ok(())
}
