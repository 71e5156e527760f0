//! What phones send, as any bytes: no panic, and no more comes out than went in.
#![no_main]

use libfuzzer_sys::fuzz_target;
use waylog::domain::{SpeedUnit, UnixMs};
use waylog::ingest::formats::{Limits, native, osmand, owntracks, traccar};

fuzz_target!(|data: &[u8]| {
    let Some((which, body)) = data.split_first() else {
        return;
    };
    let limits = Limits {
        now: UnixMs(1_700_000_000_000),
        max_age_ms: 7 * 24 * 3_600_000,
        max_fixes: 50,
    };
    let upload = match which % 4 {
        0 => match native::parse(body, &limits) {
            Ok(upload) => upload,
            Err(_) => return,
        },
        1 => osmand::parse(body, b"", SpeedUnit::Knots, &limits),
        2 => owntracks::parse(body, &limits),
        _ => {
            let token = traccar::token(body).unwrap_or_default();
            traccar::parse(body, &token, &limits)
        }
    };
    let fixes = upload.fixes.len() + upload.bad.len();
    assert!(fixes <= body.len().max(1), "{fixes} fixes of {} bytes", body.len());
});
