//! The sparse index of one segment, in memory only: an entry every 64 KiB.
//!
//! It knows the part of the segment that was written or recovered since the start of the process;
//! the rest is added at the first read that needs it. It is never evidence about the log: every
//! frame found through it is verified before it is used.

use parking_lot::Mutex;

/// Bytes of frames between two entries.
pub(super) const INDEX_INTERVAL: u64 = 64 << 10;

/// A frame's place, and what came before it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct IndexEntry {
    /// Offset of the frame's first record.
    pub(super) offset: u64,
    /// Position of the frame in the file.
    pub(super) pos: u64,
    /// Latest record timestamp of everything before the frame, Unix milliseconds.
    pub(super) max_timestamp_before_ms: i64,
}

/// Entries in order of offset, from some frame on without a hole.
#[derive(Default)]
pub(super) struct SparseIndex {
    entries: Mutex<Vec<IndexEntry>>,
}

impl SparseIndex {
    /// Tells of the next frame; kept if it is far enough from the entry before.
    pub(super) fn note(&self, entry: IndexEntry) {
        note(&mut self.entries.lock(), entry);
    }

    /// Puts entries of the segment's earlier part before those there are.
    pub(super) fn prepend(&self, mut earlier: Vec<IndexEntry>) {
        let mut entries = self.entries.lock();
        let known_from = entries.first().map_or(u64::MAX, |first| first.pos);
        earlier.retain(|entry| entry.pos < known_from);
        earlier.append(&mut entries);
        *entries = earlier;
    }

    /// Position of the first frame that the index knows; `None` if it knows nothing.
    pub(super) fn known_from(&self) -> Option<u64> {
        self.entries.lock().first().map(|first| first.pos)
    }

    /// The last entry at or below `offset`.
    pub(super) fn floor_offset(&self, offset: u64) -> Option<IndexEntry> {
        let entries = self.entries.lock();
        let after = entries.partition_point(|entry| entry.offset <= offset);
        after.checked_sub(1).map(|at| entries[at])
    }

    /// The last entry before which every timestamp is below `timestamp_ms`: the first record at
    /// or after that instant comes no earlier.
    pub(super) fn floor_timestamp(&self, timestamp_ms: i64) -> Option<IndexEntry> {
        let entries = self.entries.lock();
        let after = entries.partition_point(|entry| entry.max_timestamp_before_ms < timestamp_ms);
        after.checked_sub(1).map(|at| entries[at])
    }

    /// Bytes of memory that it takes.
    pub(super) fn memory_bytes(&self) -> usize {
        self.entries.lock().capacity() * size_of::<IndexEntry>()
    }
}

/// Adds `entry` if it is far enough from the last.
pub(super) fn note(entries: &mut Vec<IndexEntry>, entry: IndexEntry) {
    if entries
        .last()
        .is_none_or(|last| entry.pos >= last.pos + INDEX_INTERVAL)
    {
        entries.push(entry);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn entry(offset: u64, pos: u64, ts: i64) -> IndexEntry {
        IndexEntry {
            offset,
            pos,
            max_timestamp_before_ms: ts,
        }
    }

    #[test]
    fn finds_the_entry_at_or_before() {
        let index = SparseIndex::default();
        assert_eq!(index.floor_offset(5), None);
        index.note(entry(100, 200_000, 50));
        index.note(entry(110, 200_500, 51));
        index.note(entry(200, 300_000, 60));
        assert_eq!(index.known_from(), Some(200_000));
        assert_eq!(index.floor_offset(99), None);
        index.prepend(vec![entry(0, 4096, i64::MIN), entry(100, 200_000, 50)]);
        assert_eq!(index.floor_offset(99), Some(entry(0, 4096, i64::MIN)));
        assert_eq!(index.floor_offset(199), Some(entry(100, 200_000, 50)));
        assert_eq!(index.floor_offset(u64::MAX), Some(entry(200, 300_000, 60)));
        assert_eq!(index.floor_timestamp(60), Some(entry(100, 200_000, 50)));
        assert_eq!(index.floor_timestamp(61), Some(entry(200, 300_000, 60)));
    }
}
