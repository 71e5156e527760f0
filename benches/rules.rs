//! How many fixes a second the rules judge on one core: `cargo bench --bench rules`.
//!
//! Couriers drive through a square of 100 km × 100 km, a fix a second each, with noise as of a phone;
//! every fix is an upload of its own. Each figure is the median of several passes over the same
//! fixes, each pass with fresh states; the first passes warm up. What the geofences cost stands
//! beside the same fixes without any.

#[path = "support/resident.rs"]
mod resident;

use std::collections::VecDeque;
use std::hint::black_box;
use std::sync::Arc;
use std::time::Instant;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rustc_hash::FxHashMap;
use waylog::domain::rules::{CourierState, FenceIndex, Ground, RuleSet};
use waylog::domain::{
    CourierId, Fix, FixBatch, Geofence, GeofenceEvent, GeofenceId, Position, Shape, UnixMs, geo,
};

use resident::resident_kib;

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const SEED: u64 = 29;
const COURIERS: usize = 10_000;
const SECONDS: i64 = 100;
const WARM_UP: usize = 1;
const PASSES: usize = 5;
const START: UnixMs = UnixMs(1_800_000_000_000);
/// South-west corner of the square.
const CORNER: (f64, f64) = (45.0, 9.0);
const SIDE_M: f64 = 100_000.0;

fn main() {
    memory();
    let mut chance = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let uploads = uploads(&mut chance);
    println!(
        "{} uploads of one fix, {COURIERS} couriers at 8 m/s, one core\n",
        uploads.len()
    );
    let usual = [GeofenceEvent::Enter, GeofenceEvent::Exit];
    let all = [
        GeofenceEvent::Enter,
        GeofenceEvent::Exit,
        GeofenceEvent::Dwell,
        GeofenceEvent::Cross,
    ];
    measure("no geofence", &FenceIndex::default(), &uploads);
    for (what, events) in [
        ("enter, exit", &usual[..]),
        ("enter, exit, dwell, cross", &all),
    ] {
        let circles = index(100_000, events, &mut chance, circle);
        measure(
            &format!("100,000 circles of 100–300 m; {what}"),
            &circles,
            &uploads,
        );
    }
    for (what, events) in [
        ("enter, exit", &usual[..]),
        ("enter, exit, dwell, cross", &all),
    ] {
        let polygons = index(20_000, events, &mut chance, polygon);
        measure(
            &format!("20,000 polygons of 50 corners; {what}"),
            &polygons,
            &uploads,
        );
    }
}

/// What the group keeps of a courier: the state, and up to where in the log it and the stored one go.
#[derive(Default)]
struct Kept {
    state: CourierState,
    _as_of: u64,
    _unwritten: u64,
}

/// Bytes that the rules keep of a courier without a delivery, the map and the queue of states to be
/// written included; every courier has just been heard. Ids are the Directory's, as in the group.
fn memory() {
    const COUNTED: usize = 1_000_000;
    const PARTITIONS: usize = 12;
    let rules = RuleSet::default();
    let fences = FenceIndex::default();
    let ids: Vec<CourierId> = (0..COUNTED)
        .map(|n| CourierId::try_from(format!("courier-{n:07}")).expect("an id"))
        .collect();
    let before_kib = resident_kib();
    let mut couriers: Vec<FxHashMap<CourierId, Box<Kept>>> = Vec::new();
    let mut waiting: Vec<VecDeque<(u64, CourierId)>> = Vec::new();
    couriers.resize_with(PARTITIONS, FxHashMap::default);
    waiting.resize_with(PARTITIONS, VecDeque::new);
    let mut told = Vec::new();
    for (n, id) in ids.iter().enumerate() {
        let kept = couriers[n % PARTITIONS].entry(id.clone()).or_default();
        let place = Position::from_any_degrees(35.9, 14.5);
        for second in 0..3 {
            let at = START.plus_ms(second * 1000);
            let batch = FixBatch {
                received_at: at,
                fixes: vec![Fix::new(at, place)],
                sos: false,
            };
            let ground = Ground {
                rules: &rules,
                run: &[],
                fences: &fences,
            };
            kept.state.see(&batch, ground, &mut told);
        }
        waiting[n % PARTITIONS].push_back((n as u64, id.clone()));
    }
    let bytes = (resident_kib() - before_kib) as f64 * 1024.0 / COUNTED as f64;
    println!("{bytes:.0} bytes a courier without a delivery ({COUNTED} couriers)");
    black_box((&couriers, &waiting, &told));
}

/// Runs all uploads through fresh states, and prints the median rate.
fn measure(what: &str, fences: &FenceIndex, uploads: &[(CourierId, FixBatch)]) {
    let rules = RuleSet::default();
    let ground = Ground {
        rules: &rules,
        run: &[],
        fences,
    };
    let mut rates = Vec::new();
    let mut events = 0;
    for pass in 0..WARM_UP + PASSES {
        let mut states: FxHashMap<CourierId, Box<CourierState>> = FxHashMap::default();
        let mut told = Vec::new();
        events = 0;
        let begun = Instant::now();
        for (courier, batch) in uploads {
            if !states.contains_key(courier) {
                states.insert(courier.clone(), Box::default());
            }
            let Some(state) = states.get_mut(courier) else {
                continue;
            };
            state.see(batch, ground, &mut told);
            events += told.len();
            black_box(&told);
            told.clear();
        }
        let seconds = begun.elapsed().as_secs_f64();
        if pass >= WARM_UP {
            rates.push(uploads.len() as f64 / seconds);
        }
    }
    rates.sort_unstable_by(f64::total_cmp);
    println!(
        "{what:<58} {:>10.0} fixes/s ({:.0}–{:.0}), {events} events",
        rates[PASSES / 2],
        rates[0],
        rates[PASSES - 1]
    );
}

/// A place in the square, a share of its side to the north and to the east.
fn place(north: f64, east: f64) -> Position {
    let corner = Position::from_any_degrees(CORNER.0, CORNER.1);
    let west = geo::destination(corner, 0.0, north * SIDE_M);
    geo::destination(west, 90.0, east * SIDE_M)
}

fn anywhere(chance: &mut Xoshiro256PlusPlus) -> Position {
    place(chance.random_range(0.0..1.0), chance.random_range(0.0..1.0))
}

fn index(
    count: usize,
    events: &[GeofenceEvent],
    chance: &mut Xoshiro256PlusPlus,
    shape: impl Fn(&mut Xoshiro256PlusPlus) -> Shape,
) -> FenceIndex {
    let mut index = FenceIndex::default();
    let begun = Instant::now();
    for n in 0..count {
        let geofence = Geofence {
            id: GeofenceId::try_from(format!("fence-{n}")).expect("an id"),
            name: "Fence".into(),
            shape: shape(chance),
            dwell_s: events.contains(&GeofenceEvent::Dwell).then_some(300),
            events: events.into(),
            version: 1,
        };
        index.put(Arc::new(geofence)).expect("a shape to judge by");
    }
    let us = begun.elapsed().as_secs_f64() * 1e6 / count as f64;
    println!("{count} geofences indexed, {us:.1} µs each");
    index
}

fn circle(chance: &mut Xoshiro256PlusPlus) -> Shape {
    Shape::Circle {
        center: anywhere(chance),
        radius_m: chance.random_range(100.0..300.0),
    }
}

/// An outline of 50 corners, 200 m to 1 km from its middle.
fn polygon(chance: &mut Xoshiro256PlusPlus) -> Shape {
    let middle = anywhere(chance);
    let size_m = chance.random_range(250.0..800.0);
    let ring = (0..50).map(|n| {
        let bearing = f64::from(n) / 50.0 * 360.0;
        geo::destination(middle, bearing, size_m * chance.random_range(0.8..1.2))
    });
    Shape::Polygon {
        rings: vec![ring.collect()],
    }
}

/// Everybody's uploads in the order of time.
fn uploads(chance: &mut Xoshiro256PlusPlus) -> Vec<(CourierId, FixBatch)> {
    struct Driver {
        id: CourierId,
        at: Position,
        heading_deg: f64,
    }
    let mut drivers: Vec<Driver> = (0..COURIERS)
        .map(|n| Driver {
            id: CourierId::try_from(format!("courier-{n:05}")).expect("an id"),
            at: anywhere(chance),
            heading_deg: chance.random_range(0.0..360.0),
        })
        .collect();
    let mut uploads = Vec::with_capacity(COURIERS * SECONDS as usize);
    for second in 0..SECONDS {
        let at = START.plus_ms(second * 1000);
        for driver in &mut drivers {
            driver.heading_deg += chance.random_range(-5.0..5.0);
            driver.at = geo::destination(driver.at, driver.heading_deg, 8.0);
            let noise_m = chance.random_range(0.0..4.0);
            let seen = geo::destination(driver.at, chance.random_range(0.0..360.0), noise_m);
            let fix = Fix {
                accuracy_m: Some(chance.random_range(3.0..10.0)),
                speed_mps: Some(8.0),
                ..Fix::new(at, seen)
            };
            let batch = FixBatch {
                received_at: at,
                fixes: vec![fix],
                sos: false,
            };
            uploads.push((driver.id.clone(), batch));
        }
    }
    uploads
}
