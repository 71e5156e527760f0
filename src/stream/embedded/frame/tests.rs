//! Frames are read back as written, and no damage goes unnoticed.

use proptest::prelude::*;

use bytes::Bytes;

use super::*;
use crate::stream::{Offset, Record};

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
