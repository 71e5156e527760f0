//! The packed positions of the fleet channel.
//!
//! Little-endian. Header of 40 bytes: type u8 (1 snapshot, 2 delta), version u8 (1), entries u16,
//! topic u64, epoch u32, seq u32, server time u64 (Unix ms), origin latitude and longitude i32 at
//! 1e-7°, reserved u32. Then 16 bytes an entry: handle u32, latitude and longitude from the origin
//! i32 at 1e-6°, heading u8 in 360/256°, speed u8 in 0.5 m/s, age u8 in s (255: that or more),
//! status u8.

use bytes::{BufMut, Bytes, BytesMut};
use h3o::LatLng;

use super::view::TopicId;
use crate::domain::UnixMs;
use crate::live_map::state::{CourierStatus, Live};

pub(super) const SNAPSHOT: u8 = 1;
pub(super) const DELTA: u8 = 2;
const VERSION: u8 = 1;
pub(super) const HEADER_BYTES: usize = 40;
pub(super) const ENTRY_BYTES: usize = 16;
/// Most entries of a frame: 4 KiB with its header.
pub(super) const MOST_ENTRIES: usize = 253;
/// Units of 1e-7° in one of an entry's 1e-6°.
const E7_A_STEP: i64 = 10;

/// What a topic's frames have in common.
#[derive(Debug, Clone, Copy)]
pub(super) struct Head {
    pub(super) topic: TopicId,
    pub(super) epoch: u32,
    pub(super) seq: u32,
    pub(super) now: UnixMs,
}

/// A courier in a frame.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Entry {
    pub(super) handle: u32,
    pub(super) lat_e7: i32,
    pub(super) lon_e7: i32,
    pub(super) heading: u8,
    pub(super) speed: u8,
    /// When the position was last true; the age is told from it.
    pub(super) placed_at: UnixMs,
    pub(super) status: CourierStatus,
}

impl Entry {
    pub(super) fn of(live: &Live, status: CourierStatus) -> Self {
        let heading = live.fix.heading_deg.unwrap_or(0.0) * 256.0 / 360.0;
        let speed = live.fix.speed_mps.unwrap_or(0.0) * 2.0;
        Self {
            handle: live.handle,
            lat_e7: live.fix.position.lat_e7(),
            lon_e7: live.fix.position.lon_e7(),
            // Both casts saturate; a heading rounded up to 256 is north again.
            heading: (heading.round() as u32 % 256) as u8,
            speed: speed.round() as u8,
            placed_at: live.placed_at(),
            status,
        }
    }

    /// Whether a client would show the two differently.
    pub(super) fn differs(&self, other: &Self) -> bool {
        (self.lat_e7, self.lon_e7, self.placed_at) != (other.lat_e7, other.lon_e7, other.placed_at)
            || (self.heading, self.speed, self.status) != (other.heading, other.speed, other.status)
    }
}

/// The entries, at most [`MOST_ENTRIES`] of them, as a frame.
pub(super) fn encode<'a>(
    kind: u8,
    head: Head,
    entries: impl ExactSizeIterator<Item = &'a Entry>,
) -> Bytes {
    let origin = origin_e7(head.topic);
    let mut frame = BytesMut::with_capacity(HEADER_BYTES + entries.len() * ENTRY_BYTES);
    frame.put_u8(kind);
    frame.put_u8(VERSION);
    // At most MOST_ENTRIES.
    frame.put_u16_le(entries.len() as u16);
    frame.put_u64_le(head.topic.0);
    frame.put_u32_le(head.epoch);
    frame.put_u32_le(head.seq);
    frame.put_u64_le(head.now.0.unsigned_abs());
    frame.put_i32_le(origin.0);
    frame.put_i32_le(origin.1);
    frame.put_u32_le(0);
    for entry in entries {
        frame.put_u32_le(entry.handle);
        frame.put_i32_le(step(entry.lat_e7, origin.0));
        frame.put_i32_le(step(entry.lon_e7, origin.1));
        frame.put_u8(entry.heading);
        frame.put_u8(entry.speed);
        frame.put_u8(age_s(entry.placed_at, head.now));
        frame.put_u8(entry.status as u8);
    }
    frame.freeze()
}

fn age_s(placed_at: UnixMs, now: UnixMs) -> u8 {
    u8::try_from(now.since(placed_at).max(0) / 1000).unwrap_or(u8::MAX)
}

/// The way from the origin, the short one round the earth, in steps of 1e-6°.
fn step(at_e7: i32, origin_e7: i32) -> i32 {
    const ROUND_E7: i64 = 3_600_000_000;
    let mut way = i64::from(at_e7) - i64::from(origin_e7);
    if way > ROUND_E7 / 2 {
        way -= ROUND_E7;
    } else if way < -ROUND_E7 / 2 {
        way += ROUND_E7;
    }
    // Half the way round is 1.8e8 steps.
    ((way + way.signum() * E7_A_STEP / 2) / E7_A_STEP) as i32
}

/// The middle of the topic's cell.
fn origin_e7(topic: TopicId) -> (i32, i32) {
    let Some(cell) = topic.cell() else {
        return (0, 0);
    };
    let middle = LatLng::from(cell);
    // Below 1.8e9.
    (
        (middle.lat() * 1e7).round() as i32,
        (middle.lng() * 1e7).round() as i32,
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_entry_costs_sixteen_bytes_and_reads_back_to_a_tenth_of_a_metre() {
        let topic = TopicId(h3o::CellIndex::first(h3o::Resolution::Seven).into());
        let entry = Entry {
            handle: 7,
            lat_e7: 795_000_004,
            lon_e7: -1_799_999_996,
            heading: 64,
            speed: 21,
            placed_at: UnixMs(1_000_000),
            status: CourierStatus::Stopped,
        };
        let head = Head {
            topic,
            epoch: 9,
            seq: 3,
            now: UnixMs(1_004_999),
        };
        let bytes = encode(SNAPSHOT, head, [entry].iter());
        assert_eq!(bytes.len(), HEADER_BYTES + ENTRY_BYTES);
        let i32_at = |at: usize| {
            i64::from(i32::from_le_bytes(
                bytes[at..at + 4].try_into().expect("four bytes"),
            ))
        };
        assert!((i32_at(28) + i32_at(44) * 10 - 795_000_004).abs() <= 5);
        let lon = i32_at(32) + i32_at(48) * 10;
        assert!(((lon + 1_799_999_996).rem_euclid(3_600_000_000) + 5) % 3_600_000_000 <= 10);
        assert_eq!(&bytes[52..56], [64, 21, 4, 3]);
    }
}
