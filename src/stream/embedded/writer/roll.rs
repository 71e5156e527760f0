//! Rolling to the next segment: one prepared in the background, or made in haste.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::{ROLL_FILE, WriteError, Writer};
use crate::stream::embedded::core::Core;
use crate::stream::embedded::partition::PreparedSegment;
use crate::stream::embedded::segment::{SEGMENT_HEADER_LEN, Segment, SegmentHeader, segment_path};
use crate::stream::embedded::storage::Storage;

impl Writer {
    pub(super) fn roll_for_retention(&mut self) {
        match self.roll(0) {
            Ok(()) => {}
            Err(WriteError::Full(why)) => tracing::warn!(why, "a segment could not be closed"),
            Err(WriteError::Fatal(why)) => self.core.poison(&why),
        }
    }

    /// Starts the next segment: header written and synced, then its name, then the first frame.
    pub(super) fn roll(&mut self, frame_len: u64) -> Result<(), WriteError> {
        let needed = SEGMENT_HEADER_LEN + frame_len;
        let prepared = self.next_file(needed)?;
        let partition = &self.partition;
        let header = self.next_header();
        let path = segment_path(&partition.dir, header.base_offset);
        if let Err(error) = self.name_segment(&prepared, &header, &path) {
            discard(&self.core, &prepared);
            return Err(error);
        }
        let seed = header.seed(&partition.topic);
        let PreparedSegment { file, len, .. } = prepared;
        let next = Arc::new(Segment::new(
            path,
            header,
            seed,
            file,
            SEGMENT_HEADER_LEN,
            len,
        ));
        {
            let mut segments = partition.segments.write();
            if self.has_records() {
                self.trim_active();
            } else {
                // The new file has taken its name.
                self.core.budget.release(self.active.allocated());
                segments.pop();
            }
            segments.push(Arc::clone(&next));
        }
        self.active = next;
        self.tail.pos = SEGMENT_HEADER_LEN;
        self.tail.last_crc = 0;
        self.checkpoint.newest_base = self.active.base();
        self.checkpoint.synced_offset = self.tail.next_offset;
        self.request_checkpoint();
        Ok(())
    }

    /// The header of the segment that comes next. One that holds no record is replaced, since its
    /// name would be the same: the new one then follows what that one followed.
    pub(super) fn next_header(&self) -> SegmentHeader {
        let created_ts_us = self.core.clock.now_us();
        let active = &self.active.header;
        if !self.has_records() {
            return SegmentHeader {
                created_ts_us,
                ..active.clone()
            };
        }
        SegmentHeader {
            log: active.log,
            partition: active.partition,
            base_offset: self.tail.next_offset,
            prev_base_offset: active.base_offset,
            prev_end_offset: self.tail.next_offset,
            prev_end_pos: self.tail.pos,
            prev_last_crc: self.tail.last_crc,
            created_ts_us,
            prev_max_timestamp_ms: self.tail.max_timestamp_ms,
        }
    }

    /// Makes a prepared file the segment that `header` describes; Ok means durable.
    pub(super) fn name_segment(
        &self,
        prepared: &PreparedSegment,
        header: &SegmentHeader,
        path: &Path,
    ) -> Result<(), WriteError> {
        let dir = &self.partition.dir;
        let fatal = |error: io::Error| WriteError::Fatal(self.failed("sync", path, &error));
        let classify = |error: io::Error| self.classify("create", path, &error);
        prepared
            .file
            .write_all_at(&header.encode(&self.partition.topic), 0)
            .map_err(classify)?;
        prepared.file.sync_data().map_err(fatal)?;
        self.core
            .storage
            .rename(&prepared.path, path)
            .map_err(classify)?;
        self.core.storage.sync_dir(dir).map_err(fatal)
    }

    /// The file for the next segment: the prepared one if it is large enough, else a new one.
    pub(super) fn next_file(&self, needed: u64) -> Result<PreparedSegment, WriteError> {
        let ready = self.partition.preparation.lock().ready.take();
        match ready {
            Some(ready) if ready.len >= needed => return Ok(ready),
            Some(small) => {
                discard(&self.core, &small);
            }
            None => {}
        }
        let len = self
            .next_len()
            .max(needed.next_multiple_of(SEGMENT_HEADER_LEN));
        self.core.budget.reserve(len).map_err(WriteError::Full)?;
        let path = self.partition.dir.join(ROLL_FILE);
        prepare_segment(&*self.core.storage, path, len).map_err(|error| {
            self.core.budget.release(len);
            self.classify("create a segment in", &self.partition.dir, &error)
        })
    }

    /// Bytes of the next segment: four times this one, if this one was filled.
    pub(super) fn next_len(&self) -> u64 {
        let sizes = self.core.options.segments;
        let now = self.active.allocated();
        let grown = if self.tail.pos > now / 2 {
            now.saturating_mul(4)
        } else {
            now
        };
        grown.clamp(sizes.first, sizes.max)
    }

    pub(super) fn request_next_segment(&self) {
        let mut preparation = self.partition.preparation.lock();
        if preparation.ready.is_none() && preparation.requested.is_none() {
            preparation.requested = Some(self.next_len());
            drop(preparation);
            self.core.keeper.wake();
        }
    }

    /// Gives back the preallocated space behind the last frame. It only saves disk, so a failure
    /// is no more than a waste.
    pub(super) fn trim_active(&self) {
        let (end, allocated) = (self.tail.pos, self.active.allocated());
        match self.active.file.truncate(end) {
            Ok(()) => {
                self.active.set_allocated(end);
                self.core.budget.release(allocated - end);
            }
            Err(error) => {
                tracing::warn!(%error, path = %self.active.path.display(), "not trimmed");
            }
        }
    }
}

/// Creates and allocates a segment file under a temporary name.
pub(in crate::stream::embedded) fn prepare_segment(
    storage: &dyn Storage,
    path: PathBuf,
    len: u64,
) -> io::Result<PreparedSegment> {
    let file = storage.create(&path)?;
    if let Err(error) = file.allocate(len).and_then(|()| file.sync_data()) {
        // What could not be allocated must not stay behind as a file that takes room.
        storage.remove(&path)?;
        return Err(error);
    }
    Ok(PreparedSegment { file, path, len })
}

/// Removes a prepared file that is of no use.
pub(in crate::stream::embedded) fn discard(core: &Core, prepared: &PreparedSegment) {
    core.budget.release(prepared.len);
    if let Err(error) = core.storage.remove(&prepared.path) {
        tracing::warn!(%error, path = %prepared.path.display(), "not removed");
    }
}
