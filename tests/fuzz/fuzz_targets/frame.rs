//! The frame decoder on any bytes: no panic, no read beyond the frame; and what it takes for a frame
//! gives out its records in order.
#![no_main]

use bytes::Bytes;
use libfuzzer_sys::fuzz_target;
use waylog::stream::Record;
use waylog::stream::embedded::frame::{
    CrcSeed, FrameBuilder, FramePlace, FrameRecords, peek_len, plausible, verify,
};

fn place() -> FramePlace {
    FramePlace {
        base_offset: 7,
        synced_offset: 7,
        prev_frame_crc: 1,
        append_ts_us: 2,
    }
}

fn walk(frame: Bytes, seed: CrcSeed) {
    let Ok(header) = verify(&frame, seed) else {
        return;
    };
    let mut records = FrameRecords::new(frame, &header);
    let mut next = header.base_offset;
    while let Ok(Some(record)) = records.next_record() {
        assert_eq!(record.offset.0, next);
        next += 1;
    }
    assert!(next <= header.end_offset());
}

fuzz_target!(|data: &[u8]| {
    let seed = CrcSeed::new(&[3; 16], "t", 1, 0);
    let _ = (peek_len(data), plausible(data));
    walk(Bytes::copy_from_slice(data), seed);
    // Random bytes seldom have a valid checksum: damage a sound frame as the input says as well.
    let split = data.first().map_or(0, |n| usize::from(*n)).min(data.len());
    let (value, damage) = data.split_at(split);
    let mut builder = FrameBuilder::with_capacity(0);
    for chunk in value.chunks(16) {
        builder.push(&Record {
            key: Bytes::from_static(b"k"),
            value: Bytes::copy_from_slice(chunk),
            timestamp_ms: i64::from(chunk[0]),
        });
    }
    let (frame, header) = builder.finish(place(), seed);
    assert_eq!(verify(&frame, seed).expect("sound"), header);
    walk(frame.clone(), seed);
    let mut damaged = frame.to_vec();
    for pair in damage.chunks_exact(2) {
        let at = usize::from(pair[0]) % damaged.len();
        damaged[at] ^= pair[1];
    }
    if damaged != frame {
        assert!(verify(&damaged, seed).is_err(), "damage was not noticed");
    }
});
