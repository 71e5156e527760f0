//! The hot ends of the codec: a batch written straight into its bytes, and the one column that
//! finding duplicates needs read out of them. The bytes are those that prost would write.

use bytes::Bytes;
use prost::encoding::{WireType, decode_key, decode_varint};

use super::{DecodeError, Fix, MAX_FIXES, UNKNOWN, UNKNOWN_ALTITUDE};
use crate::domain::UnixMs;

/// Room a fix needs as a rule; more only costs a reallocation.
const BYTES_A_FIX: usize = 16;
/// Field number of `fix_time_ms`.
const FIX_TIME: u32 = 2;

/// The bytes of a record that holds `fixes`; what [`FixBatch::encode`](super::FixBatch::encode) gives, without a batch.
#[must_use]
pub fn encode(received_at: UnixMs, fixes: &[Fix], sos: bool) -> Bytes {
    let mut out = Vec::with_capacity(24 + fixes.len() * BYTES_A_FIX);
    if received_at.0 != 0 {
        out.push(1 << 3);
        put_varint(&mut out, zigzag(received_at.0));
    }
    column(&mut out, 2, fixes, |f| f.fix_time.0);
    column(&mut out, 3, fixes, |f| f.position.lat_e7().into());
    column(&mut out, 4, fixes, |f| f.position.lon_e7().into());
    if fixes.iter().any(|f| f.accuracy_m.is_some()) {
        column(&mut out, 5, fixes, |f| steps(f.accuracy_m, 10.0));
    }
    if fixes.iter().any(|f| f.speed_mps.is_some()) {
        column(&mut out, 6, fixes, |f| steps(f.speed_mps, 100.0));
    }
    if fixes.iter().any(|f| f.heading_deg.is_some()) {
        // Just below 360 rounds to the last step of the circle, not beyond it.
        column(&mut out, 7, fixes, |f| steps(f.heading_deg, 10.0).min(3599));
    }
    if fixes.iter().any(|f| f.altitude_m.is_some()) {
        column(&mut out, 8, fixes, |f| altitude_dm(f.altitude_m));
    }
    if fixes.iter().any(|f| f.battery_pct.is_some()) {
        column(&mut out, 9, fixes, |f| {
            f.battery_pct.map_or(UNKNOWN.into(), i64::from)
        });
    }
    if sos {
        out.extend_from_slice(&[10 << 3, 1]);
    }
    Bytes::from(out)
}

/// A packed column of zigzag deltas; nothing when there are no fixes.
#[inline]
fn column(out: &mut Vec<u8>, field: u8, fixes: &[Fix], value: impl Fn(&Fix) -> i64) {
    if fixes.is_empty() {
        return;
    }
    out.push(field << 3 | WireType::LengthDelimited as u8);
    // Most columns are shorter than 128 bytes: room for one byte of length, moved up if it needs more.
    let at = out.len();
    out.push(0);
    let mut last = 0_i64;
    for fix in fixes {
        let value = value(fix);
        put_varint(out, zigzag(value.wrapping_sub(last)));
        last = value;
    }
    let length = out.len() - at - 1;
    if length < 0x80 {
        out[at] = length as u8;
    } else {
        let mut prefix = Vec::with_capacity(4);
        put_varint(&mut prefix, length as u64);
        out.splice(at..=at, prefix);
    }
}

#[inline]
fn zigzag(value: i64) -> u64 {
    ((value << 1) ^ (value >> 63)) as u64
}

#[inline]
fn unzigzag(value: u64) -> i64 {
    (value >> 1) as i64 ^ -((value & 1) as i64)
}

#[inline]
fn put_varint(out: &mut Vec<u8>, mut value: u64) {
    while value >= 0x80 {
        out.push(value as u8 | 0x80);
        value >>= 7;
    }
    out.push(value as u8);
}

/// Ten million in the column's steps is far beyond any real measurement and far from overflow.
pub(super) const MOST_STEPS: f32 = 1e7;

fn steps(value: Option<f32>, steps_a_unit: f32) -> i64 {
    value.map_or(UNKNOWN.into(), |v| {
        (v * steps_a_unit).round().clamp(0.0, MOST_STEPS) as i64
    })
}

fn altitude_dm(value: Option<f32>) -> i64 {
    value.map_or(UNKNOWN_ALTITUDE, |v| {
        (v * 10.0).round().clamp(-MOST_STEPS, MOST_STEPS) as i64
    })
}

/// The fix times of a record, Unix milliseconds, without decoding the rest of it. Never panics,
/// whatever the bytes are.
pub fn fix_times(mut bytes: &[u8]) -> Result<Vec<i64>, DecodeError> {
    let bad = |e: prost::DecodeError| DecodeError::Protobuf(e.to_string());
    let short = || DecodeError::Protobuf("a field is longer than the message".into());
    let mut times = Vec::new();
    let mut time = 0_i64;
    let mut take = |delta: u64| {
        if times.len() == MAX_FIXES {
            return Err(DecodeError::TooMany(MAX_FIXES + 1));
        }
        let index = times.len();
        time = time
            .checked_add(unzigzag(delta))
            .ok_or(DecodeError::OutOfRange {
                index,
                what: "fix_time_ms",
            })?;
        times.push(time);
        Ok(())
    };
    while !bytes.is_empty() {
        let (field, wire_type) = decode_key(&mut bytes).map_err(bad)?;
        match wire_type {
            WireType::Varint => {
                let value = decode_varint(&mut bytes).map_err(bad)?;
                if field == FIX_TIME {
                    take(value)?;
                }
            }
            WireType::LengthDelimited => {
                let length = decode_varint(&mut bytes).map_err(bad)?;
                let length = usize::try_from(length).map_err(|_| short())?;
                let (mut packed, rest) = bytes.split_at_checked(length).ok_or_else(short)?;
                bytes = rest;
                while field == FIX_TIME && !packed.is_empty() {
                    take(decode_varint(&mut packed).map_err(bad)?)?;
                }
            }
            _ => {
                return Err(DecodeError::Protobuf(
                    "a field of a type that the schema does not have".into(),
                ));
            }
        }
    }
    Ok(times)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::super::tests::any_fix;
    use super::*;
    use crate::domain::fix_batch::FixBatch;
    use crate::domain::wire;

    proptest! {
        #[test]
        fn writes_the_very_bytes_that_prost_writes(
            received in -1_i64..4_000_000_000_000,
            fixes in proptest::collection::vec(any_fix(), 0..200),
            sos: bool,
        ) {
            let batch = FixBatch { received_at: UnixMs(received), fixes, sos };
            let bytes = batch.encode();
            let message = wire::FixBatch::decode(&bytes[..]).expect("own bytes");
            prop_assert_eq!(&message.encode_to_vec(), &bytes);
            let times: Vec<i64> = batch.fixes.iter().map(|f| f.fix_time.0).collect();
            prop_assert_eq!(fix_times(&bytes).expect("own bytes"), times);
        }

        #[test]
        fn fix_times_never_panics(bytes in proptest::collection::vec(any::<u8>(), 0..300)) {
            if let Ok(times) = fix_times(&bytes) {
                prop_assert!(times.len() <= MAX_FIXES);
            }
        }
    }
}
