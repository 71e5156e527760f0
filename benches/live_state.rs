//! Live state alone: `cargo bench --bench live_state`.
//!
//! What 100,000 couriers cost in memory, with one fix known of each and with trails as long as they
//! may become, and in time: taking an upload, and looking through what lies in one cell.

#[path = "support/fleet.rs"]
#[expect(
    dead_code,
    reason = "the log that the fleet can fill is for other benchmarks"
)]
mod fleet;
#[path = "support/resident.rs"]
mod resident;
// The live map's own module, which is nobody else's business.
#[path = "../src/live_map/state/mod.rs"]
#[expect(dead_code, unused_imports, reason = "only a part of it is measured")]
mod state;

use std::hint::black_box;
use std::time::{Duration, Instant};

use waylog::domain::{CourierId, FixBatch, UnixMs};
use waylog::{config, domain};

use fleet::Courier;
use resident::resident_kib;
use state::LiveState;

// As in the program.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const COURIERS: usize = 100_000;
const EVERY_MS: i64 = 5_000;
const START: UnixMs = UnixMs(1_790_000_000_000);
/// Uploads a courier, after the first one: trails are as long as they may be before that.
const UPLOADS: usize = 30;
const FIXES_AN_UPLOAD: usize = 10;
const GIVEN_BACK_AFTER: Duration = Duration::from_secs(2);

fn main() {
    let mut fleet: Vec<(CourierId, Courier)> = (0..COURIERS)
        .map(|n| {
            let courier = Courier::new(n, START, EVERY_MS);
            let id = CourierId::try_from(courier.id.as_str()).expect("an id");
            (id, courier)
        })
        .collect();
    println!("| what | figure |");
    println!("| --- | --- |");

    let state = LiveState::default();
    let before_kib = resident_kib();
    let mut first = (
        CourierId::try_from("courier-00000").expect("an id"),
        Courier::new(0, START, EVERY_MS),
    );
    let mut show = |what: &str| {
        let mb = |kib: u64| kib as f64 * 1024.0 / 1e6;
        let at_once = resident_kib() - before_kib;
        // What growing has left behind is given back a little later.
        std::thread::sleep(GIVEN_BACK_AFTER);
        state.apply(&first.0, &upload(&mut first.1, 1));
        let rested = resident_kib() - before_kib;
        println!(
            "| {COURIERS} couriers, {what} | {:.0} MB, {:.0} B each (at once {:.0} MB) |",
            mb(rested),
            mb(rested) * 1e6 / COURIERS as f64,
            mb(at_once)
        );
    };
    for (id, courier) in &mut fleet {
        state.apply(id, &upload(courier, 1));
    }
    show("one fix of each");

    let (mut applied_ns, mut uploads) = (0, 0);
    for _ in 0..UPLOADS {
        for (id, courier) in &mut fleet {
            let batch = upload(courier, FIXES_AN_UPLOAD);
            let began = Instant::now();
            black_box(state.apply(id, &batch));
            applied_ns += began.elapsed().as_nanos();
            uploads += 1;
        }
    }
    show("with full trails");
    assert_eq!(state.len(), COURIERS);
    println!(
        "| an upload of {FIXES_AN_UPLOAD} taken | {:.2} µs |",
        applied_ns as f64 / f64::from(uploads) / 1e3
    );

    let began = Instant::now();
    let mut seen = 0;
    state.scan_cell(None, |slot| {
        black_box(slot.live());
        seen += 1;
    });
    assert_eq!(seen, COURIERS);
    println!(
        "| all of them looked at | {:.1} ms |",
        began.elapsed().as_secs_f64() * 1e3
    );
}

fn upload(courier: &mut Courier, fixes: usize) -> FixBatch {
    let fixes: Vec<_> = (0..fixes).map(|_| courier.fix()).collect();
    FixBatch {
        received_at: fixes.last().map_or(START, |fix| fix.fix_time),
        fixes,
        sos: false,
    }
}
