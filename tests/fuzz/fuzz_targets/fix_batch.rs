//! The FixBatch decoder on any bytes: no panic; and what it reads it writes and reads again the same.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waylog::domain::FixBatch;

fuzz_target!(|data: &[u8]| {
    let Ok(batch) = FixBatch::decode(data) else {
        return;
    };
    let again = FixBatch::decode(&batch.encode()).expect("its own bytes");
    assert_eq!(format!("{again:?}"), format!("{batch:?}"));
});
