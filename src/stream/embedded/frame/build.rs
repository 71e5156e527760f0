//! Writing a frame: records are gathered first, the header is filled in when its place is known.

use bytes::{Bytes, BytesMut};

use super::records::{put_varint, zigzag};
use super::{
    CODEC_STORED, CrcSeed, FLAG_MARKER, FRAME_ALIGN, FRAME_HEADER_LEN, FrameHeader, MAGIC,
    MAX_RECORD_OVERHEAD, VERSION,
};
use crate::stream::Record;

/// Collects records and becomes a frame.
#[derive(Debug)]
pub struct FrameBuilder {
    bytes: BytesMut,
    records: u32,
    last_timestamp_ms: i64,
    max_timestamp_ms: i64,
}

/// What only the writer of a frame knows.
#[derive(Debug, Clone, Copy)]
pub struct FramePlace {
    /// Offset of the first record.
    pub base_offset: u64,
    /// Everything below is on disk.
    pub synced_offset: u64,
    /// Checksum of the frame before, 0 in a segment's first.
    pub prev_frame_crc: u32,
    /// Now, Unix microseconds.
    pub append_ts_us: i64,
}

impl FrameBuilder {
    /// An empty frame with room for `capacity` bytes.
    #[must_use]
    pub fn with_capacity(capacity: usize) -> Self {
        Self::reusing(BytesMut::with_capacity(capacity.max(FRAME_HEADER_LEN)))
    }

    /// An empty frame in the memory of an old one.
    #[must_use]
    pub fn reusing(mut bytes: BytesMut) -> Self {
        bytes.clear();
        bytes.resize(FRAME_HEADER_LEN, 0);
        Self {
            bytes,
            records: 0,
            last_timestamp_ms: 0,
            max_timestamp_ms: i64::MIN,
        }
    }

    /// Records so far.
    #[must_use]
    pub fn record_count(&self) -> u32 {
        self.records
    }

    /// Bytes so far, header included, padding not.
    #[must_use]
    pub fn len(&self) -> usize {
        self.bytes.len()
    }

    /// Whether it holds no record.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.records == 0
    }

    /// The latest timestamp so far; [`i64::MIN`] without records.
    #[must_use]
    pub fn max_timestamp_ms(&self) -> i64 {
        self.max_timestamp_ms
    }

    /// Adds a record. The caller sees to it that the frame stays below [`MAX_FRAME_LEN`].
    pub fn push(&mut self, record: &Record) {
        let needed = record.key.len() + record.value.len() + MAX_RECORD_OVERHEAD;
        self.bytes.reserve(needed);
        put_varint(&mut self.bytes, record.key.len() as u64);
        put_varint(&mut self.bytes, record.value.len() as u64);
        self.bytes.extend_from_slice(&record.key);
        self.bytes.extend_from_slice(&record.value);
        let delta = record.timestamp_ms.wrapping_sub(self.last_timestamp_ms);
        put_varint(&mut self.bytes, zigzag(delta));
        self.last_timestamp_ms = record.timestamp_ms;
        self.max_timestamp_ms = self.max_timestamp_ms.max(record.timestamp_ms);
        self.records += 1;
    }

    /// Bytes that the finished frame takes.
    #[must_use]
    pub fn frame_len(&self) -> usize {
        self.bytes.len().next_multiple_of(FRAME_ALIGN)
    }

    /// Finishes the frame: pads it, writes the header and the checksum. Without records it is a
    /// marker.
    #[must_use]
    pub fn finish(mut self, place: FramePlace, seed: CrcSeed) -> (Bytes, FrameHeader) {
        let payload_len = self.bytes.len() - FRAME_HEADER_LEN;
        let frame_len = self.frame_len();
        self.bytes.resize(frame_len, 0);
        let flags = if self.records == 0 { FLAG_MARKER } else { 0 };
        let frame = &mut self.bytes;
        frame[..4].copy_from_slice(&MAGIC);
        put(frame, 4, &fit_u32(frame_len).to_le_bytes());
        frame[12] = VERSION;
        frame[13] = CODEC_STORED;
        put(frame, 14, &flags.to_le_bytes());
        put(frame, 16, &place.base_offset.to_le_bytes());
        put(frame, 24, &self.records.to_le_bytes());
        put(frame, 28, &fit_u32(payload_len).to_le_bytes());
        put(frame, 32, &place.append_ts_us.to_le_bytes());
        put(frame, 40, &place.synced_offset.to_le_bytes());
        put(frame, 48, &place.prev_frame_crc.to_le_bytes());
        let crc = seed.of(frame);
        put(frame, 8, &crc.to_le_bytes());
        let header = FrameHeader {
            frame_len,
            crc,
            base_offset: place.base_offset,
            record_count: self.records,
            payload_len,
            append_ts_us: place.append_ts_us,
            synced_offset: place.synced_offset,
            prev_frame_crc: place.prev_frame_crc,
        };
        (self.bytes.freeze(), header)
    }
}

/// Rewrites header and checksum of a valid frame for another place, records unchanged.
#[must_use]
pub fn relocate(frame: &[u8], place: FramePlace, seed: CrcSeed) -> (Bytes, u32) {
    let mut moved = BytesMut::from(frame);
    put(&mut moved, 16, &place.base_offset.to_le_bytes());
    put(&mut moved, 32, &place.append_ts_us.to_le_bytes());
    put(&mut moved, 40, &place.synced_offset.to_le_bytes());
    put(&mut moved, 48, &place.prev_frame_crc.to_le_bytes());
    let crc = seed.of(&moved);
    put(&mut moved, 8, &crc.to_le_bytes());
    (moved.freeze(), crc)
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
}

/// Lengths of a frame are bounded by [`MAX_FRAME_LEN`], far below `u32::MAX`.
fn fit_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}
