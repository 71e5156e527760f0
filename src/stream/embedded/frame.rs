//! The frame: what one group of records looks like on disk.
//!
//! A frame is a 64-byte little-endian header and a payload of records, padded with zeros to a
//! multiple of 8 bytes. Frames follow one another without a gap from byte 4096 of a segment on.
//!
//! | off | size | field |
//! | --- | --- | --- |
//! | 0 | 4 | magic `WLF1`, never zero: preallocated space reads as zeros |
//! | 4 | 4 | `frame_len`, header and padding included, at most 16 MiB, checked before it is used |
//! | 8 | 4 | crc32c of all other bytes of the frame, seeded with the log's uuid, the topic, the partition and the segment's base offset, so that a frame is valid in its own place only |
//! | 12 | 1 | version, 1 |
//! | 13 | 1 | codec, 0 = stored as it is |
//! | 14 | 2 | flags, bit 0: a marker without records |
//! | 16 | 8 | `base_offset`, that of the first record |
//! | 24 | 4 | `record_count` |
//! | 28 | 4 | `uncompressed_len`, bytes of records |
//! | 32 | 8 | `append_ts`, Unix microseconds |
//! | 40 | 8 | `synced_offset`: everything below it was synced before this frame was built |
//! | 48 | 4 | `prev_frame_crc`, 0 in a segment's first frame |
//! | 52 | 12 | reserved, zero |
//!
//! A record is `key_len` varint, `value_len` varint, key, value, and its timestamp in
//! milliseconds as a zigzag varint, relative to the record before it (to 0 in the first).
//! The log never looks into a value.

mod build;
mod records;
#[cfg(test)]
mod tests;

pub use build::{FrameBuilder, FramePlace, relocate};
pub use records::FrameRecords;

/// Bytes of a frame's header.
pub const FRAME_HEADER_LEN: usize = 64;
/// No frame is longer; a length beyond is damage.
pub const MAX_FRAME_LEN: usize = 16 << 20;
/// Frames start at multiples of this.
pub const FRAME_ALIGN: usize = 8;
/// Most bytes that a record takes besides its key and value.
pub const MAX_RECORD_OVERHEAD: usize = 20;

const MAGIC: [u8; 4] = *b"WLF1";
const VERSION: u8 = 1;
const CODEC_STORED: u8 = 0;
const FLAG_MARKER: u16 = 1;

/// Where the CRC of a segment's frames starts from.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrcSeed(u32);

impl CrcSeed {
    /// The seed of one segment of one partition of one log.
    #[must_use]
    pub fn new(log: &[u8; 16], topic: &str, partition: u32, segment_base: u64) -> Self {
        let crc = crc32c::crc32c(log);
        let crc = crc32c::crc32c_append(crc, topic.as_bytes());
        let crc = crc32c::crc32c_append(crc, &partition.to_le_bytes());
        Self(crc32c::crc32c_append(crc, &segment_base.to_le_bytes()))
    }

    fn of(self, frame: &[u8]) -> u32 {
        crc32c::crc32c_append(crc32c::crc32c_append(self.0, &frame[..8]), &frame[12..])
    }
}

/// A frame's header, without what is constant.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FrameHeader {
    /// Bytes of the whole frame.
    pub frame_len: usize,
    /// Checksum of the frame; the next one repeats it.
    pub crc: u32,
    /// Offset of the first record; of the next record to come in a marker.
    pub base_offset: u64,
    /// Records in the frame.
    pub record_count: u32,
    /// Bytes of records.
    pub payload_len: usize,
    /// When the frame was built, Unix microseconds.
    pub append_ts_us: i64,
    /// Everything below was on disk when the frame was built.
    pub synced_offset: u64,
    /// Checksum of the frame before, 0 in a segment's first.
    pub prev_frame_crc: u32,
}

impl FrameHeader {
    /// One past the offset of the last record.
    #[must_use]
    pub fn end_offset(&self) -> u64 {
        self.base_offset
            .saturating_add(u64::from(self.record_count))
    }
}

/// Why bytes are not a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum FrameFault {
    /// Nothing that looks like a frame starts here.
    #[error("no frame starts here")]
    NoMagic,
    /// The length is impossible.
    #[error("the frame's length of {0} bytes is impossible")]
    Length(u32),
    /// The bytes end before the frame does.
    #[error("the frame of {0} bytes is cut short")]
    Short(usize),
    /// The checksum does not fit.
    #[error("the frame's checksum does not match its bytes")]
    Crc,
    /// Valid, but from another version of the format.
    #[error("the frame has version {0} and codec {1}; this Waylog reads version 1, codec 0")]
    Version(u8, u8),
    /// Valid, but not what must come after the frame before it.
    #[error("the frame does not follow the one before it")]
    Chain,
    /// Valid, but its records are not what its header says.
    #[error("the frame's records do not fit its header")]
    Records,
}

/// Reads the length of the frame that `bytes` starts with, as far as the header can be trusted
/// before its checksum is known.
pub fn peek_len(bytes: &[u8]) -> Result<usize, FrameFault> {
    if bytes.len() < 8 {
        return Err(FrameFault::Short(FRAME_HEADER_LEN));
    }
    if bytes[..4] != MAGIC {
        return Err(FrameFault::NoMagic);
    }
    let len = u32_at(bytes, 4);
    let fits = (FRAME_HEADER_LEN..=MAX_FRAME_LEN).contains(&(len as usize));
    if !fits || !(len as usize).is_multiple_of(FRAME_ALIGN) {
        return Err(FrameFault::Length(len));
    }
    Ok(len as usize)
}

/// Whether `bytes` start with a frame's magic.
#[must_use]
pub fn starts_like_a_frame(bytes: &[u8]) -> bool {
    bytes.starts_with(&MAGIC)
}

/// Whether `header` could be that of a frame, judged without its checksum: keeps a search for
/// frames in damaged bytes from reading megabytes behind every chance match.
#[must_use]
pub fn plausible(header: &[u8]) -> bool {
    header.len() >= FRAME_HEADER_LEN
        && peek_len(header).is_ok_and(|len| u32_at(header, 28) as usize <= len)
        && (header[12], header[13]) == (VERSION, CODEC_STORED)
        && header[52..FRAME_HEADER_LEN].iter().all(|byte| *byte == 0)
}

/// Checks the frame that `bytes` starts with and reads its header.
pub fn verify(bytes: &[u8], seed: CrcSeed) -> Result<FrameHeader, FrameFault> {
    let frame_len = peek_len(bytes)?;
    let Some(frame) = bytes.get(..frame_len) else {
        return Err(FrameFault::Short(frame_len));
    };
    let crc = u32_at(frame, 8);
    if seed.of(frame) != crc {
        return Err(FrameFault::Crc);
    }
    let header = FrameHeader {
        frame_len,
        crc,
        base_offset: u64_at(frame, 16),
        record_count: u32_at(frame, 24),
        payload_len: u32_at(frame, 28) as usize,
        append_ts_us: u64_at(frame, 32).cast_signed(),
        synced_offset: u64_at(frame, 40),
        prev_frame_crc: u32_at(frame, 48),
    };
    if (frame[12], frame[13]) != (VERSION, CODEC_STORED) {
        return Err(FrameFault::Version(frame[12], frame[13]));
    }
    let marker = u16::from_le_bytes([frame[14], frame[15]]) & FLAG_MARKER != 0;
    let room = frame_len - FRAME_HEADER_LEN;
    if header.payload_len > room
        || room - header.payload_len >= FRAME_ALIGN
        || marker != (header.record_count == 0)
        || header
            .base_offset
            .checked_add(u64::from(header.record_count))
            .is_none()
    {
        return Err(FrameFault::Records);
    }
    Ok(header)
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}
