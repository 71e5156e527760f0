//! Reading a verified frame's records.

use bytes::{Bytes, BytesMut};

use super::{FRAME_HEADER_LEN, FrameFault, FrameHeader};
use crate::stream::{Offset, StoredRecord};

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

pub(super) fn put_varint(bytes: &mut BytesMut, mut value: u64) {
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

pub(super) fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)).cast_unsigned()
}

fn unzigzag(value: u64) -> i64 {
    (value >> 1).cast_signed() ^ -((value & 1).cast_signed())
}
