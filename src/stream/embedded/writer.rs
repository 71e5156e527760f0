//! The one writer of a partition's files: frames, writes, syncs, rolls.
//!
//! At most one group is written and not yet synced; recovery depends on it. A failed sync poisons
//! the log, since Linux then marks the pages clean and a second sync would lie. When space runs
//! out the group fails, and its place is not used again before it has been cut off, allocated
//! anew and synced.

mod roll;

use std::io;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use bytes::{Bytes, BytesMut};
pub(super) use roll::prepare_segment;

use super::checkpoint::{CHECKPOINT_INTERVAL, Checkpoint, CheckpointFrame};
use super::core::Core;
use super::frame::{FrameBuilder, FrameHeader, FramePlace};
use super::index::IndexEntry;
use super::metrics;
use super::partition::{Acknowledgement, GroupFate, Partition, Shut};
use super::ring::RingFrame;
use super::segment::Segment;
use super::storage::is_full;

/// How long a partition rests before its marker frame is written.
const IDLE_BEFORE_MARKER_US: u64 = 100_000;

/// A segment that is made in haste, because none was prepared.
const ROLL_FILE: &str = "roll.tmp";
/// A segment that is prepared in the background.
pub(super) const NEXT_FILE: &str = "next.tmp";

/// Where a partition's log ends.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Tail {
    /// Position behind the last frame.
    pub(super) pos: u64,
    /// Offset of the next record.
    pub(super) next_offset: u64,
    /// Checksum of the last frame of the segment, 0 without one.
    pub(super) last_crc: u32,
    /// Latest record timestamp so far, Unix milliseconds; `i64::MIN` without records.
    pub(super) max_timestamp_ms: i64,
    /// Whether a frame on disk says that everything below `next_offset` was synced.
    pub(super) marked: bool,
}

/// Why a group was not written.
#[derive(Debug)]
enum WriteError {
    /// No room; passes by itself.
    Full(String),
    /// Nothing more may be written by this process.
    Fatal(String),
}

/// A group that is written and not yet synced.
struct InFlight {
    header: FrameHeader,
    bytes: Bytes,
    max_timestamp_ms: i64,
    acknowledgement: Option<Acknowledgement>,
}

/// Owns a partition's files for writing.
pub(super) struct Writer {
    core: Arc<Core>,
    pub(super) partition: Arc<Partition>,
    active: Arc<Segment>,
    tail: Tail,
    /// Behind `tail.pos` there may be bytes of a failed group, or no allocation.
    unclean: bool,
    in_flight: Option<InFlight>,
    spare: Option<BytesMut>,
    last_append_us: i64,
    /// What a checkpoint would say now, and the bytes written since the last one.
    checkpoint: Checkpoint,
    since_checkpoint: u64,
    /// Whether the last group was refused for want of room.
    refusing: bool,
}

impl Writer {
    /// The writer of `partition`, whose newest segment ends at `tail`.
    pub(super) fn new(
        core: Arc<Core>,
        partition: Arc<Partition>,
        active: Arc<Segment>,
        tail: Tail,
        unclean: bool,
    ) -> Self {
        let last_append_us = core.clock.now_us();
        let checkpoint = partition.checkpoint.lock().0;
        Self {
            core,
            partition,
            active,
            tail,
            unclean,
            in_flight: None,
            spare: None,
            last_append_us,
            checkpoint,
            since_checkpoint: 0,
            refusing: false,
        }
    }

    /// Writes the pending group, if there is one; answers whether a sync is due.
    pub(super) fn write_pending(&mut self) -> bool {
        if self.core.failure().is_some() {
            return false;
        }
        if self.partition.roll_due.swap(false, Ordering::AcqRel) && self.has_records() {
            self.roll_for_retention();
        }
        let Some(group) = self.partition.take_pending(&mut self.spare) else {
            return false;
        };
        let (frame, acknowledgement) = group.split();
        self.last_append_us = self.core.clock.now_us();
        self.write(frame, Some(acknowledgement))
    }

    /// Whether a marker frame is still to be written.
    pub(super) fn marker_due(&self) -> bool {
        !self.tail.marked && self.core.failure().is_none()
    }

    /// Writes the marker frame that proves the last group synced, once the partition has rested
    /// or if `now` is set; answers whether a sync is due.
    pub(super) fn write_marker(&mut self, now: bool) -> bool {
        let rested = self.core.clock.now_us().abs_diff(self.last_append_us);
        if !self.marker_due() || !(now || rested >= IDLE_BEFORE_MARKER_US) {
            return false;
        }
        self.write(FrameBuilder::with_capacity(0), None)
    }

    /// Syncs what was written, shows it to readers and acknowledges it; answers whether there is
    /// something new to read.
    pub(super) fn sync(&mut self) -> bool {
        let Some(group) = self.in_flight.take() else {
            return false;
        };
        let before = self.core.clock.now_us();
        if let Err(error) = self.active.file.sync_data() {
            metrics::sync_failed();
            let why = self.failed("sync", &self.active.path, &error);
            self.core.poison(&why);
            if let Some(acknowledgement) = group.acknowledgement {
                acknowledgement.tell(GroupFate::Stopped(why.into()));
            }
            return false;
        }
        let took_us = self.core.clock.now_us().saturating_sub(before);
        metrics::synced(took_us);
        self.core.syncs.fetch_add(1, Ordering::Relaxed);
        let news = group.header.record_count > 0;
        self.publish(group);
        news
    }

    fn publish(&mut self, group: InFlight) {
        let header = group.header;
        let frame_len = header.frame_len as u64;
        self.active.index.note(IndexEntry {
            offset: header.base_offset,
            pos: self.tail.pos,
            max_timestamp_before_ms: self.tail.max_timestamp_ms,
        });
        self.checkpoint.synced_offset = header.end_offset();
        self.checkpoint.frame = Some(CheckpointFrame {
            segment_base: self.active.base(),
            pos: self.tail.pos,
            offset: header.base_offset,
            prev_crc: self.tail.last_crc,
            max_timestamp_before_ms: self.tail.max_timestamp_ms,
        });
        self.tail = Tail {
            pos: self.tail.pos + frame_len,
            next_offset: header.end_offset(),
            last_crc: header.crc,
            max_timestamp_ms: self.tail.max_timestamp_ms.max(group.max_timestamp_ms),
            marked: header.record_count == 0,
        };
        if header.record_count > 0 {
            let dropped = self.partition.ring.push(RingFrame {
                header,
                bytes: group.bytes,
            });
            self.spare = dropped.and_then(|bytes| bytes.try_into_mut().ok());
        }
        self.active.set_end(self.tail.pos);
        self.partition.set_durable(self.tail.next_offset);
        if let Some(acknowledgement) = group.acknowledgement {
            acknowledgement.tell(GroupFate::Durable(header.base_offset));
        }
        metrics::appended(header.record_count, frame_len);
        self.since_checkpoint += frame_len;
        if self.since_checkpoint >= CHECKPOINT_INTERVAL {
            self.request_checkpoint();
        }
        if self.tail.pos > self.active.allocated() / 2 {
            self.request_next_segment();
        }
    }

    /// Takes no more records; what waits is still written.
    pub(super) fn refuse(&self, why: &str) {
        self.partition.shut(Shut::Stopped(why.into()));
    }

    /// Fails everyone who waits and takes no more records.
    pub(super) fn stop(&mut self, why: &str) {
        self.refuse(why);
        while let Some(group) = self.partition.take_pending(&mut self.spare) {
            group.split().1.tell(GroupFate::Stopped(why.into()));
        }
    }

    /// Asks for a checkpoint of what is on disk now.
    pub(super) fn request_checkpoint(&mut self) {
        self.since_checkpoint = 0;
        let mut shared = self.partition.checkpoint.lock();
        // Where the log starts is retention's word.
        self.checkpoint.log_start_offset = shared.0.log_start_offset;
        *shared = (self.checkpoint, true);
        drop(shared);
        self.core.keeper.wake();
    }

    fn write(&mut self, frame: FrameBuilder, acknowledgement: Option<Acknowledgement>) -> bool {
        let max_timestamp_ms = frame.max_timestamp_ms();
        match self.place(frame) {
            Ok((bytes, header)) => {
                if std::mem::take(&mut self.refusing) {
                    tracing::info!(
                        topic = %self.partition.topic,
                        partition = self.partition.number,
                        "there is room again: appends go on"
                    );
                }
                self.in_flight = Some(InFlight {
                    header,
                    bytes,
                    max_timestamp_ms,
                    acknowledgement,
                });
                true
            }
            Err(WriteError::Full(why)) => {
                metrics::refused();
                if !std::mem::replace(&mut self.refusing, true) {
                    tracing::error!(
                        topic = %self.partition.topic,
                        partition = self.partition.number,
                        why,
                        "appends are refused"
                    );
                }
                if let Some(acknowledgement) = acknowledgement {
                    acknowledgement.tell(GroupFate::Full(why.into()));
                }
                false
            }
            Err(WriteError::Fatal(why)) => {
                self.core.poison(&why);
                if let Some(acknowledgement) = acknowledgement {
                    acknowledgement.tell(GroupFate::Stopped(why.into()));
                }
                false
            }
        }
    }

    /// Gives the frame its place and writes it there.
    fn place(&mut self, frame: FrameBuilder) -> Result<(Bytes, FrameHeader), WriteError> {
        if self.unclean {
            self.clean_up()?;
        }
        let frame_len = frame.frame_len() as u64;
        if self.tail.pos + frame_len > self.active.allocated() {
            self.roll(frame_len)?;
        }
        let place = FramePlace {
            base_offset: self.tail.next_offset,
            synced_offset: self.tail.next_offset,
            prev_frame_crc: self.tail.last_crc,
            append_ts_us: self.core.clock.now_us(),
        };
        let (bytes, header) = frame.finish(place, self.active.seed);
        if let Err(error) = self.active.file.write_all_at(&bytes, self.tail.pos) {
            self.unclean = true;
            return Err(self.classify("write to", &self.active.path, &error));
        }
        Ok((bytes, header))
    }

    /// Cuts off what a failed group may have left, so that no byte of it can ever be taken for
    /// part of the log.
    fn clean_up(&mut self) -> Result<(), WriteError> {
        let file = &self.active.file;
        let path = &self.active.path;
        let allocated = self.active.allocated();
        file.truncate(self.tail.pos)
            .map_err(|e| self.classify("cut", path, &e))?;
        file.allocate(allocated)
            .map_err(|e| self.classify("allocate", path, &e))?;
        file.sync_data()
            .map_err(|e| WriteError::Fatal(self.failed("sync", path, &e)))?;
        self.unclean = false;
        Ok(())
    }

    /// Whether the newest segment holds a record; it may hold marker frames only.
    fn has_records(&self) -> bool {
        self.tail.next_offset > self.active.base()
    }

    fn classify(&self, verb: &str, path: &Path, error: &io::Error) -> WriteError {
        if is_full(error) {
            WriteError::Full(format!(
                "cannot {verb} {}: {error}; free space on this disk, writing resumes by itself",
                path.display()
            ))
        } else {
            WriteError::Fatal(self.failed(verb, path, error))
        }
    }

    fn failed(&self, verb: &str, path: &Path, error: &io::Error) -> String {
        format!(
            "cannot {verb} {} at offset {}: {error}; check the disk, then start Waylog again: \
             recovery keeps every acknowledged record",
            path.display(),
            self.tail.next_offset
        )
    }
}
