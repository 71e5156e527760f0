//! Track segments as `COPY … (FORMAT binary)` wants them.
//!
//! The format is Postgres' own (documented under COPY, "Binary Format"): a header, then a row a
//! segment of length-prefixed values, big-endian; an array is its dimensions and length-prefixed
//! elements.

use crate::analytics::columns::{self, Day};
use crate::domain::{Fix, UnixMs};

/// Goes with [`SegmentCopy`]: its columns in its order.
pub(super) const COPY_SEGMENTS: &str = "copy public.track_segment (courier_id, day, segment_from, \
     segment_to, fixes, lat_min, lat_max, lon_min, lon_max, received_from, received_to, \
     fix_time_ms, lat_e7, lon_e7, accuracy_dm, speed_cmps, heading_ddeg, altitude_dm, battery_pct) \
     from stdin (format binary)";
const COLUMNS: i16 = 19;

/// Postgres' epoch, 2000-01-01, in Unix days.
const PG_EPOCH_DAY: i32 = 10_957;
const PG_EPOCH_MS: i64 = 946_684_800_000;
const INT2_OID: u32 = 21;
const INT4_OID: u32 = 23;

/// One segment to be: fixes of one courier and one day, by time, no two of the same time.
#[derive(Debug, Clone, Copy)]
pub(super) struct NewSegment<'a> {
    pub(super) courier_id: &'a str,
    pub(super) day: Day,
    pub(super) fixes: &'a [Fix],
    /// When the first and the last of its uploads were received.
    pub(super) received: (UnixMs, UnixMs),
}

/// The bytes of one COPY.
#[derive(Debug)]
pub(super) struct SegmentCopy {
    bytes: Vec<u8>,
}

impl SegmentCopy {
    /// A COPY of no rows yet.
    pub(super) fn new() -> Self {
        let mut bytes = Vec::with_capacity(1 << 20);
        bytes.extend_from_slice(b"PGCOPY\n\xff\r\n\0");
        bytes.extend_from_slice(&[0; 8]);
        Self { bytes }
    }

    /// Bytes that were not taken yet.
    pub(super) fn len(&self) -> usize {
        self.bytes.len()
    }

    /// The bytes so far; the COPY goes on.
    pub(super) fn take(&mut self) -> Vec<u8> {
        let next = Vec::with_capacity(self.bytes.capacity());
        std::mem::replace(&mut self.bytes, next)
    }

    /// Adds a segment; one of no fixes adds nothing.
    pub(super) fn push(&mut self, segment: NewSegment<'_>) {
        let fixes = segment.fixes;
        let (Some(first), Some(last)) = (fixes.first(), fixes.last()) else {
            return;
        };
        self.bytes.extend_from_slice(&COLUMNS.to_be_bytes());
        self.value(segment.courier_id.as_bytes());
        self.value(&(segment.day.0 - PG_EPOCH_DAY).to_be_bytes());
        self.timestamp(first.fix_time);
        self.timestamp(last.fix_time);
        self.value(&i32::try_from(fixes.len()).unwrap_or(i32::MAX).to_be_bytes());
        let (lat, lon) = bounds(fixes);
        for degrees in [lat.0, lat.1, lon.0, lon.1] {
            self.value(&(f64::from(degrees) / 1e7).to_be_bytes());
        }
        self.timestamp(segment.received.0);
        self.timestamp(segment.received.1);
        let midnight = segment.day.start();
        self.int4s(fixes, |f| i32::try_from(f.fix_time.since(midnight)).ok());
        self.int4s(fixes, |f| Some(f.position.lat_e7()));
        self.int4s(fixes, |f| Some(f.position.lon_e7()));
        self.int4s(fixes, columns::accuracy_dm);
        self.int4s(fixes, columns::speed_cmps);
        self.int2s(fixes, columns::heading_ddeg);
        self.int4s(fixes, columns::altitude_dm);
        self.int2s(fixes, columns::battery_pct);
    }

    /// The last bytes.
    pub(super) fn finish(mut self) -> Vec<u8> {
        self.bytes.extend_from_slice(&(-1_i16).to_be_bytes());
        self.bytes
    }

    fn value(&mut self, bytes: &[u8]) {
        let length = i32::try_from(bytes.len()).unwrap_or(i32::MAX);
        self.bytes.extend_from_slice(&length.to_be_bytes());
        self.bytes.extend_from_slice(bytes);
    }

    fn null(&mut self) {
        self.bytes.extend_from_slice(&(-1_i32).to_be_bytes());
    }

    fn timestamp(&mut self, at: UnixMs) {
        self.value(&(at.since(UnixMs(PG_EPOCH_MS)).saturating_mul(1000)).to_be_bytes());
    }

    fn int4s(&mut self, fixes: &[Fix], of: impl Fn(&Fix) -> Option<i32>) {
        self.array(fixes, INT4_OID, |bytes, fix| match of(fix) {
            Some(value) => {
                let mut element = [0, 0, 0, 4, 0, 0, 0, 0];
                element[4..].copy_from_slice(&value.to_be_bytes());
                bytes.extend_from_slice(&element);
                true
            }
            None => false,
        });
    }

    fn int2s(&mut self, fixes: &[Fix], of: impl Fn(&Fix) -> Option<i16>) {
        self.array(fixes, INT2_OID, |bytes, fix| match of(fix) {
            Some(value) => {
                let mut element = [0, 0, 0, 2, 0, 0];
                element[4..].copy_from_slice(&value.to_be_bytes());
                bytes.extend_from_slice(&element);
                true
            }
            None => false,
        });
    }

    /// Writes an array; `element` appends one value, or nothing and answers false where it is
    /// unknown. An array of unknown values only becomes null.
    fn array(
        &mut self,
        fixes: &[Fix],
        element_oid: u32,
        element: impl Fn(&mut Vec<u8>, &Fix) -> bool,
    ) {
        let start = self.bytes.len();
        let count = i32::try_from(fixes.len()).unwrap_or(i32::MAX);
        // The value's length and the flag "has nulls" are known at the end.
        for word in [0, 1, 0, element_oid.cast_signed(), count, 1] {
            self.bytes.extend_from_slice(&i32::to_be_bytes(word));
        }
        let mut nulls = 0;
        for fix in fixes {
            if !element(&mut self.bytes, fix) {
                self.null();
                nulls += 1;
            }
        }
        if nulls == fixes.len() {
            self.bytes.truncate(start);
            self.null();
            return;
        }
        let length = i32::try_from(self.bytes.len() - start - 4).unwrap_or(i32::MAX);
        self.bytes[start..start + 4].copy_from_slice(&length.to_be_bytes());
        self.bytes[start + 11] = u8::from(nulls > 0);
    }
}

fn bounds(fixes: &[Fix]) -> ((i32, i32), (i32, i32)) {
    let mut lat = (i32::MAX, i32::MIN);
    let mut lon = lat;
    for fix in fixes {
        let position = fix.position;
        lat = (lat.0.min(position.lat_e7()), lat.1.max(position.lat_e7()));
        lon = (lon.0.min(position.lon_e7()), lon.1.max(position.lon_e7()));
    }
    (lat, lon)
}
