//! The checkpoint of a partition: where recovery may start, and what must be there.
//!
//! It is written after what it speaks of is on disk, every 16 MiB, at every roll, at a clean
//! close, and before retention deletes a file. It makes opening fast and a missing or cut file
//! noticed; without it the log is read as well, only slower.

use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::snapshot::{SnapshotError, SnapshotKind};
use super::storage::Storage;

/// Bytes of frames after which the next checkpoint is due.
pub(super) const CHECKPOINT_INTERVAL: u64 = 16 << 20;

pub(super) const CHECKPOINT_FILE: &str = "checkpoint";
const KIND: SnapshotKind = SnapshotKind {
    name: "waylog-checkpoint",
    version: 1,
};

/// What was on disk when it was written.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Checkpoint {
    /// First offset that retention has left.
    pub(super) log_start_offset: u64,
    /// The newest segment.
    pub(super) newest_base: u64,
    /// Everything below is on disk.
    pub(super) synced_offset: u64,
    /// A synced frame from which recovery may go on; `None` in a partition without frames.
    pub(super) frame: Option<CheckpointFrame>,
}

/// A frame that was on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct CheckpointFrame {
    /// The segment that holds it.
    pub(super) segment_base: u64,
    /// Its position.
    pub(super) pos: u64,
    /// Its base offset.
    pub(super) offset: u64,
    /// The checksum before it, which it repeats.
    pub(super) prev_crc: u32,
    /// Latest record timestamp before it, Unix milliseconds.
    pub(super) max_timestamp_before_ms: i64,
}

impl Checkpoint {
    pub(super) fn write(&self, storage: &dyn Storage, dir: &Path) -> io::Result<()> {
        KIND.write(storage, &path(dir), self)
    }

    pub(super) fn read(storage: &dyn Storage, dir: &Path) -> Result<Self, SnapshotError> {
        KIND.read(storage, &path(dir))
    }
}

fn path(dir: &Path) -> PathBuf {
    dir.join(CHECKPOINT_FILE)
}
