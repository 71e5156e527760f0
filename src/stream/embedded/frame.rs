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

use bytes::{Bytes, BytesMut};

use crate::stream::{Offset, Record, StoredRecord};

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

/// Walks over the records of a verified frame; values share the frame's memory.
#[derive(Debug)]
pub struct FrameRecords {
    frame: Bytes,
    pos: usize,
    end: usize,
    next_offset: u64,
    end_offset: u64,
    timestamp_ms: i64,
}

impl FrameRecords {
    /// The records of `frame`, whose header was verified as `header`.
    #[must_use]
    pub fn new(frame: Bytes, header: &FrameHeader) -> Self {
        Self {
            frame,
            pos: FRAME_HEADER_LEN,
            end: FRAME_HEADER_LEN + header.payload_len,
            next_offset: header.base_offset,
            end_offset: header.end_offset(),
            timestamp_ms: 0,
        }
    }

    /// Offset of the record that [`Self::next_record`] answers next.
    #[must_use]
    pub fn next_offset(&self) -> u64 {
        self.next_offset
    }

    /// Passes over everything below `offset`.
    pub fn skip_to(&mut self, offset: u64) -> Result<(), FrameFault> {
        while self.next_offset < offset && self.step()?.is_some() {}
        Ok(())
    }

    /// The next record, or `None` behind the last.
    pub fn next_record(&mut self) -> Result<Option<StoredRecord>, FrameFault> {
        let offset = self.next_offset;
        let Some((key, value)) = self.step()? else {
            return Ok(None);
        };
        Ok(Some(StoredRecord {
            offset: Offset(offset),
            key: self.frame.slice(key),
            value: self.frame.slice(value),
            timestamp_ms: self.timestamp_ms,
        }))
    }

    /// The next record's offset and timestamp, without touching its key and value.
    pub fn next_timestamp(&mut self) -> Result<Option<(u64, i64)>, FrameFault> {
        let offset = self.next_offset;
        Ok(self.step()?.map(|_| (offset, self.timestamp_ms)))
    }

    #[expect(clippy::type_complexity, reason = "two ranges: key and value")]
    fn step(
        &mut self,
    ) -> Result<Option<(std::ops::Range<usize>, std::ops::Range<usize>)>, FrameFault> {
        if self.next_offset >= self.end_offset {
            return if self.pos == self.end {
                Ok(None)
            } else {
                Err(FrameFault::Records)
            };
        }
        let key_len = self.length()?;
        let value_len = self.length()?;
        let key = self.pos..self.pos.checked_add(key_len).ok_or(FrameFault::Records)?;
        let value = key.end..key.end.checked_add(value_len).ok_or(FrameFault::Records)?;
        if value.end > self.end {
            return Err(FrameFault::Records);
        }
        self.pos = value.end;
        let delta = unzigzag(self.varint()?);
        self.timestamp_ms = self.timestamp_ms.wrapping_add(delta);
        self.next_offset += 1;
        Ok(Some((key, value)))
    }

    fn length(&mut self) -> Result<usize, FrameFault> {
        usize::try_from(self.varint()?).map_err(|_| FrameFault::Records)
    }

    fn varint(&mut self) -> Result<u64, FrameFault> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let byte = *self.frame[..self.end]
                .get(self.pos)
                .ok_or(FrameFault::Records)?;
            self.pos += 1;
            value |= u64::from(byte & 0x7f) << shift;
            if byte < 0x80 {
                return Ok(value);
            }
        }
        Err(FrameFault::Records)
    }
}

fn put_varint(bytes: &mut BytesMut, mut value: u64) {
    let mut buf = [0_u8; 10];
    let mut len = 0;
    while value >= 0x80 {
        buf[len] = (value as u8 & 0x7f) | 0x80;
        value >>= 7;
        len += 1;
    }
    buf[len] = value as u8;
    bytes.extend_from_slice(&buf[..=len]);
}

fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}

fn put(frame: &mut [u8], at: usize, bytes: &[u8]) {
    frame[at..at + bytes.len()].copy_from_slice(bytes);
}

fn u32_at(bytes: &[u8], at: usize) -> u32 {
    u32::from_le_bytes([bytes[at], bytes[at + 1], bytes[at + 2], bytes[at + 3]])
}

fn u64_at(bytes: &[u8], at: usize) -> u64 {
    u64::from(u32_at(bytes, at)) | u64::from(u32_at(bytes, at + 4)) << 32
}

/// Lengths of a frame are bounded by [`MAX_FRAME_LEN`], far below `u32::MAX`.
fn fit_u32(len: usize) -> u32 {
    u32::try_from(len).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn seed() -> CrcSeed {
        CrcSeed::new(&[7; 16], "t", 3, 100)
    }

    fn build(records: &[Record]) -> (Bytes, FrameHeader) {
        let mut builder = FrameBuilder::with_capacity(0);
        for record in records {
            builder.push(record);
        }
        let place = FramePlace {
            base_offset: 100,
            synced_offset: 100,
            prev_frame_crc: 9,
            append_ts_us: 1_700_000_000_000_000,
        };
        builder.finish(place, seed())
    }

    fn any_record() -> impl Strategy<Value = Record> {
        let bytes = prop::collection::vec(any::<u8>(), 0..200);
        (bytes.clone(), bytes, any::<i64>()).prop_map(|(key, value, timestamp_ms)| Record {
            key: key.into(),
            value: value.into(),
            timestamp_ms,
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(records in prop::collection::vec(any_record(), 0..20)) {
            let (frame, header) = build(&records);
            prop_assert_eq!(frame.len() % FRAME_ALIGN, 0);
            prop_assert_eq!(verify(&frame, seed()), Ok(header));
            let mut walk = FrameRecords::new(frame, &header);
            for (i, record) in records.iter().enumerate() {
                let read = walk.next_record().unwrap().unwrap();
                prop_assert_eq!(read.offset, Offset(100 + i as u64));
                prop_assert_eq!(&read.key, &record.key);
                prop_assert_eq!(&read.value, &record.value);
                prop_assert_eq!(read.timestamp_ms, record.timestamp_ms);
            }
            prop_assert_eq!(walk.next_record().unwrap(), None);
        }

        #[test]
        fn any_bytes_are_refused_without_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
            prop_assert!(verify(&bytes, seed()).is_err());
        }
    }

    #[test]
    fn every_flipped_bit_is_noticed() {
        let record = Record {
            key: "c-1".into(),
            value: "somewhere".into(),
            timestamp_ms: 5,
        };
        let (frame, _) = build(&[record]);
        for bit in 0..frame.len() * 8 {
            let mut damaged = frame.to_vec();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(verify(&damaged, seed()).is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_frame_is_valid_in_its_own_place_only() {
        let (frame, _) = build(&[]);
        for other in [
            CrcSeed::new(&[8; 16], "t", 3, 100),
            CrcSeed::new(&[7; 16], "u", 3, 100),
            CrcSeed::new(&[7; 16], "t", 4, 100),
            CrcSeed::new(&[7; 16], "t", 3, 101),
        ] {
            assert_eq!(verify(&frame, other), Err(FrameFault::Crc));
        }
    }
}
