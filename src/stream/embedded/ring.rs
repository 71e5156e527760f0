//! The newest frames of a partition, shared in memory with live readers.

use std::collections::VecDeque;

use bytes::Bytes;
use parking_lot::RwLock;

use super::frame::FrameHeader;

/// A durable frame in memory.
#[derive(Debug, Clone)]
pub(super) struct RingFrame {
    pub(super) header: FrameHeader,
    pub(super) bytes: Bytes,
}

/// Durable frames without a hole, the oldest dropped when they exceed `limit` bytes.
pub(super) struct Ring {
    limit: usize,
    frames: RwLock<Frames>,
}

#[derive(Default)]
struct Frames {
    queue: VecDeque<RingFrame>,
    bytes: usize,
}

impl Ring {
    pub(super) fn new(limit: usize) -> Self {
        Self {
            limit,
            frames: RwLock::default(),
        }
    }

    /// Adds a frame that has just become durable; answers the last one dropped for it, whose
    /// memory may be used again. The newest frame stays, whatever its size.
    pub(super) fn push(&self, frame: RingFrame) -> Option<Bytes> {
        let mut frames = self.frames.write();
        frames.bytes += frame.bytes.len();
        frames.queue.push_back(frame);
        let mut dropped = None;
        while frames.bytes > self.limit && frames.queue.len() > 1 {
            if let Some(old) = frames.queue.pop_front() {
                frames.bytes -= old.bytes.len();
                dropped = Some(old.bytes);
            }
        }
        dropped
    }

    /// Frames from the one that holds `offset` on, about `max_bytes` of them; `None` if `offset`
    /// lies before the ring.
    pub(super) fn read(&self, offset: u64, max_bytes: usize) -> Option<Vec<RingFrame>> {
        let frames = self.frames.read();
        if frames
            .queue
            .front()
            .is_none_or(|first| offset < first.header.base_offset)
        {
            return None;
        }
        let start = frames
            .queue
            .partition_point(|frame| frame.header.end_offset() <= offset);
        let mut bytes = 0;
        let batch = frames.queue.range(start..).take_while(|frame| {
            let room = bytes < max_bytes;
            bytes += frame.bytes.len();
            room
        });
        Some(batch.cloned().collect())
    }

    /// The newest frames, which together hold about `records` records.
    pub(super) fn newest(&self, records: usize) -> Vec<RingFrame> {
        let frames = self.frames.read();
        let mut held = 0;
        let newest = frames.queue.iter().rev().take_while(|frame| {
            let wanted = held < records;
            held += frame.header.record_count as usize;
            wanted
        });
        newest.cloned().collect()
    }

    /// When the frame with `offset` was written, Unix microseconds, if the ring holds it.
    pub(super) fn append_ts_us(&self, offset: u64) -> Option<i64> {
        let frames = self.frames.read();
        if frames
            .queue
            .front()
            .is_none_or(|first| offset < first.header.base_offset)
        {
            return None;
        }
        let at = frames
            .queue
            .partition_point(|frame| frame.header.end_offset() <= offset);
        frames.queue.get(at).map(|frame| frame.header.append_ts_us)
    }
}
