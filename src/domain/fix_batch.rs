//! One upload of one courier: the value of a record, and its bytes (`proto/fix_batch.proto`).
//!
//! Numbers are kept in the file's steps: fix_time ms, positions 1e-7°, accuracy and altitude dm,
//! speed cm/s, heading 0.1°, battery %. Encoding rounds to these steps once, at ingest; decoding
//! what was encoded gives the same fixes back.

use bytes::Bytes;
use prost::Message;

use super::{Fix, Position, UnixMs, wire};

mod columns;

pub use columns::{encode, fix_times};

/// Most fixes one batch may hold.
pub const MAX_FIXES: usize = 1_000;

const UNKNOWN: i32 = -1;
const UNKNOWN_ALTITUDE: i64 = i32::MIN as i64;

/// One upload of one courier: 0..N fixes in the order they were sent. No fixes: a heartbeat.
#[derive(Debug, Clone, PartialEq)]
pub struct FixBatch {
    /// Our clock when the upload arrived.
    pub received_at: UnixMs,
    /// The fixes.
    pub fixes: Vec<Fix>,
    /// The courier pressed the alarm.
    pub sos: bool,
}

/// Why bytes are not a batch.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum DecodeError {
    /// Not this protobuf message.
    #[error("not a FixBatch: {0}")]
    Protobuf(String),
    /// A column has another length than `fix_time_ms`.
    #[error("column {column} has {got} entries, fix_time_ms has {expected}")]
    ColumnLength {
        /// The column's field name.
        column: &'static str,
        /// Its entries.
        got: usize,
        /// Entries of `fix_time_ms`.
        expected: usize,
    },
    /// More than [`MAX_FIXES`].
    #[error("{0} fixes in one batch, at most {MAX_FIXES} are allowed")]
    TooMany(usize),
    /// A number out of its range.
    #[error("fix {index}: {what} is out of range")]
    OutOfRange {
        /// Which fix, from 0.
        index: usize,
        /// Which number.
        what: &'static str,
    },
}

impl FixBatch {
    /// The batch as the bytes of a record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        encode(self.received_at, &self.fixes, self.sos)
    }

    /// Reads a record's bytes. Never panics, whatever they are.
    pub fn decode(bytes: &[u8]) -> Result<Self, DecodeError> {
        let wire =
            wire::FixBatch::decode(bytes).map_err(|e| DecodeError::Protobuf(e.to_string()))?;
        let n = wire.fix_time_ms.len();
        if n > MAX_FIXES {
            return Err(DecodeError::TooMany(n));
        }
        required("lat_e7", wire.lat_e7.len(), n)?;
        required("lon_e7", wire.lon_e7.len(), n)?;
        optional("accuracy_dm", wire.accuracy_dm.len(), n)?;
        optional("speed_cmps", wire.speed_cmps.len(), n)?;
        optional("heading_ddeg", wire.heading_ddeg.len(), n)?;
        optional("altitude_dm", wire.altitude_dm.len(), n)?;
        optional("battery_pct", wire.battery_pct.len(), n)?;

        let mut sums = Sums::default();
        let mut fixes = Vec::with_capacity(n);
        for index in 0..n {
            fixes.push(sums.next_fix(&wire, index)?);
        }
        Ok(Self {
            received_at: UnixMs(wire.received_at_ms),
            fixes,
            sos: wire.sos,
        })
    }
}

/// Running sums of the delta columns while a batch is read.
#[derive(Default)]
struct Sums {
    time: i64,
    lat: i64,
    lon: i64,
    accuracy: i32,
    speed: i32,
    heading: i32,
    altitude: i64,
    battery: i32,
}

impl Sums {
    fn next_fix(&mut self, wire: &wire::FixBatch, index: usize) -> Result<Fix, DecodeError> {
        let out = |what| DecodeError::OutOfRange { index, what };
        let time = add64(&mut self.time, &wire.fix_time_ms, index).ok_or(out("fix_time_ms"))?;
        let lat = add64(&mut self.lat, &wire.lat_e7, index).ok_or(out("lat_e7"))?;
        let lon = add64(&mut self.lon, &wire.lon_e7, index).ok_or(out("lon_e7"))?;
        let position = Position::from_e7(lat, lon).map_err(|_| out("position"))?;
        let mut fix = Fix::new(UnixMs(time), position);
        if !wire.accuracy_dm.is_empty() {
            let dm = add32(&mut self.accuracy, &wire.accuracy_dm, index);
            fix.accuracy_m = scaled(dm.ok_or(out("accuracy_dm"))?, 10.0);
        }
        if !wire.speed_cmps.is_empty() {
            let cmps = add32(&mut self.speed, &wire.speed_cmps, index);
            fix.speed_mps = scaled(cmps.ok_or(out("speed_cmps"))?, 100.0);
        }
        if !wire.heading_ddeg.is_empty() {
            let ddeg = add32(&mut self.heading, &wire.heading_ddeg, index);
            let ddeg = ddeg.filter(|d| *d < 3600).ok_or(out("heading_ddeg"))?;
            fix.heading_deg = scaled(ddeg, 10.0);
        }
        if !wire.altitude_dm.is_empty() {
            let dm = add64(&mut self.altitude, &wire.altitude_dm, index);
            let dm = dm
                .filter(|dm| *dm == UNKNOWN_ALTITUDE || dm.abs() <= columns::MOST_STEPS as i64)
                .ok_or(out("altitude_dm"))?;
            fix.altitude_m = (dm != UNKNOWN_ALTITUDE).then_some(dm as f32 / 10.0);
        }
        if !wire.battery_pct.is_empty() {
            let pct = add32(&mut self.battery, &wire.battery_pct, index);
            let pct = pct.filter(|p| *p <= 100).ok_or(out("battery_pct"))?;
            fix.battery_pct = u8::try_from(pct).ok();
        }
        Ok(fix)
    }
}

fn required(column: &'static str, got: usize, expected: usize) -> Result<(), DecodeError> {
    if got == expected {
        Ok(())
    } else {
        Err(DecodeError::ColumnLength {
            column,
            got,
            expected,
        })
    }
}

fn optional(column: &'static str, got: usize, expected: usize) -> Result<(), DecodeError> {
    if got == 0 {
        Ok(())
    } else {
        required(column, got, expected)
    }
}

fn add64(sum: &mut i64, column: &[i64], index: usize) -> Option<i64> {
    *sum = sum.checked_add(*column.get(index)?)?;
    Some(*sum)
}

fn add32(sum: &mut i32, column: &[i32], index: usize) -> Option<i32> {
    *sum = sum.checked_add(*column.get(index)?)?;
    (UNKNOWN..=columns::MOST_STEPS as i32)
        .contains(sum)
        .then_some(*sum)
}

fn scaled(steps: i32, steps_a_unit: f32) -> Option<f32> {
    (steps != UNKNOWN).then_some(steps as f32 / steps_a_unit)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    pub(super) fn any_fix() -> impl Strategy<Value = Fix> {
        (
            0_i64..4_000_000_000_000,
            -900_000_000_i64..=900_000_000,
            -1_800_000_000_i64..=1_800_000_000,
            proptest::option::of(0_u32..100_000),
            proptest::option::of(0_u32..10_000),
            proptest::option::of(0_u32..3600),
            proptest::option::of(-5_000_i32..100_000),
            proptest::option::of(0_u8..=100),
        )
            .prop_map(
                |(t, lat, lon, accuracy, speed, heading, altitude, battery)| Fix {
                    fix_time: UnixMs(t),
                    position: Position::from_e7(lat, lon).expect("in range"),
                    accuracy_m: accuracy.map(|v| v as f32 / 10.0),
                    speed_mps: speed.map(|v| v as f32 / 100.0),
                    heading_deg: heading.map(|v| v as f32 / 10.0),
                    altitude_m: altitude.map(|v| v as f32 / 10.0),
                    battery_pct: battery,
                },
            )
    }

    proptest! {
        #[test]
        fn decodes_what_it_encoded(
            received in 0_i64..4_000_000_000_000,
            fixes in proptest::collection::vec(any_fix(), 0..60),
            sos: bool,
        ) {
            let batch = FixBatch { received_at: UnixMs(received), fixes, sos };
            prop_assert_eq!(FixBatch::decode(&batch.encode()).expect("own bytes"), batch);
        }

        #[test]
        fn never_panics_on_foreign_bytes(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(batch) = FixBatch::decode(&bytes) {
                prop_assert!(batch.fixes.len() <= MAX_FIXES);
                prop_assert_eq!(FixBatch::decode(&batch.encode()).expect("own bytes"), batch);
            }
        }
    }

    #[test]
    fn refuses_what_it_could_not_write_again() {
        let bytes = wire::FixBatch {
            fix_time_ms: vec![1],
            lat_e7: vec![1],
            lon_e7: vec![1],
            accuracy_dm: vec![10_000_001],
            ..Default::default()
        }
        .encode_to_vec();
        assert_eq!(
            FixBatch::decode(&bytes),
            Err(DecodeError::OutOfRange {
                index: 0,
                what: "accuracy_dm"
            })
        );
    }

    #[test]
    fn refuses_columns_of_different_lengths() {
        let bytes = wire::FixBatch {
            fix_time_ms: vec![1, 1],
            lat_e7: vec![1],
            ..Default::default()
        }
        .encode_to_vec();
        assert_eq!(
            FixBatch::decode(&bytes),
            Err(DecodeError::ColumnLength {
                column: "lat_e7",
                got: 1,
                expected: 2
            })
        );
    }
}
