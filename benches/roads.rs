//! How fast the bundled road graph answers: `cargo bench --bench roads`.
//!
//! Prints medians and the 99th percentile; random pairs of shops and doors, the same ones each time.

#[path = "support/resident.rs"]
mod resident;

use std::hint::black_box;
use std::time::{Duration, Instant};

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use waylog::config::RoadsConfig;
use waylog::domain::Position;
use waylog::roads::Roads;

use resident::resident_kib;

const SEED: u64 = 17;
const QUERIES: usize = 20_000;
const OPENINGS: usize = 15;

fn main() -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let config = RoadsConfig { file: None };
    let before_kib = resident_kib();
    let begun = Instant::now();
    let (roads, stops) = Roads::open_with_stops(&config, dir.path())?;
    let built = begun.elapsed();
    drop(roads);
    let mut openings: Vec<Duration> = Vec::new();
    for _ in 0..OPENINGS {
        let begun = Instant::now();
        black_box(Roads::open(&config, dir.path())?);
        openings.push(begun.elapsed());
    }
    let roads = Roads::open(&config, dir.path())?;
    let (vertices, pieces) = roads.size();
    let cores = std::thread::available_parallelism()?;
    println!(
        "bundled Maltese roads, {vertices} vertices, {pieces} pieces; {cores} cores, one used"
    );
    println!(
        "built from the extract        {:>9.0} ms",
        built.as_secs_f64() * 1e3
    );
    show("opened from its cache", openings);
    println!(
        "memory held, about            {:>9} MiB",
        (resident_kib() - before_kib) / 1024
    );

    let mut chance = Xoshiro256PlusPlus::seed_from_u64(SEED);
    let mut pick = |from: &[waylog::roads::Stop]| from[chance.random_range(0..from.len())].position;
    let pairs: Vec<(Position, Position)> = (0..QUERIES)
        .map(|_| (pick(&stops.shops), pick(&stops.doors)))
        .collect();
    let found = pairs
        .iter()
        .filter(|(a, b)| roads.route(*a, *b).is_some())
        .count();
    println!(
        "pairs with a route            {:>9.2} %",
        found as f64 / QUERIES as f64 * 100.0
    );
    show(
        "route with its geometry",
        times(&pairs, |a, b| drop(black_box(roads.route(a, b)))),
    );
    show(
        "distance and travel time",
        times(&pairs, |a, b| {
            black_box(roads.travel(a, b, None));
        }),
    );
    show(
        "nearest road",
        times(&pairs, |a, _| {
            black_box(roads.nearest(a));
        }),
    );
    Ok(())
}

fn times(pairs: &[(Position, Position)], ask: impl Fn(Position, Position)) -> Vec<Duration> {
    let time = |&(from, to): &(Position, Position)| {
        let begun = Instant::now();
        ask(from, to);
        begun.elapsed()
    };
    pairs.iter().map(time).collect()
}

fn show(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let us = |share: f64| {
        let at = ((times.len() - 1) as f64 * share) as usize;
        times[at].as_secs_f64() * 1e6
    };
    println!(
        "{what:<28} median {:>9.1} µs   p99 {:>9.1} µs",
        us(0.5),
        us(0.99)
    );
}
