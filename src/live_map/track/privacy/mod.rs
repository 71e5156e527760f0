//! No customer ever receives a position outside what the rules allow, whatever happens.
//!
//! Random histories of a run of several stops; after each event everything that customers are sent
//! is looked through for coordinates, and each is held against the rules as they are written for
//! people, computed anew from the history alone ([`history`]). Looked through are, in many
//! histories, the frames that all channels send ([`told`]), and in some what really arrives over
//! WebSockets, streams of events and polling HTTP ([`wire`]).

mod history;
mod told;
mod wire;

use std::sync::OnceLock;

use proptest::prelude::*;

use crate::config::{Config, LiveMapConfig, RoadsConfig};
use crate::domain::geo::destination;
use crate::domain::{DeliveryStatus, Position};
use crate::live_map::test_kit::at;
use crate::roads::Roads;

const DELIVERIES: usize = 4;
const COURIERS: [&str; 2] = ["c-1", "c-2"];

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A courier is seen near a stop (or far from all), some time ago.
    Fix {
        courier: usize,
        near: usize,
        away_m: f64,
        bearing: f64,
        ago_s: i64,
    },
    /// A delivery takes a step, if it may; the step may have been taken some time ago.
    Step {
        delivery: usize,
        status: DeliveryStatus,
        ago_s: i64,
    },
    /// A delivery gets another place in the run, or another courier.
    Move {
        delivery: usize,
        sequence: i32,
        courier: usize,
    },
    /// A delivery is taken out of the books.
    Remove { delivery: usize },
    /// Time goes by.
    Wait { s: i64 },
    /// A customer opens the page anew.
    Reload { delivery: usize },
}

fn event() -> impl Strategy<Value = Event> {
    let status = prop::sample::select(DeliveryStatus::ALL.to_vec());
    prop_oneof![
        6 => (0..2_usize, 0..=DELIVERIES * 2, 0.0..600.0_f64, 0.0..360.0_f64, 0..40_i64).prop_map(
            |(courier, near, away_m, bearing, ago_s)| {
                // Now and then one that comes very late.
                let ago_s = if ago_s > 35 { ago_s * 20 } else { ago_s };
                Event::Fix { courier, near, away_m, bearing, ago_s }
            }
        ),
        3 => (0..DELIVERIES, status, 0..60_i64).prop_map(|(delivery, status, ago_s)| {
            Event::Step { delivery, status, ago_s }
        }),
        1 => (0..DELIVERIES, 0..5_i32, 0..6_usize).prop_map(|(delivery, sequence, courier)| {
            Event::Move { delivery, sequence, courier: courier / 5 }
        }),
        1 => (0..DELIVERIES * 4).prop_map(|n| match n {
            n if n < DELIVERIES => Event::Remove { delivery: n },
            n => Event::Reload { delivery: n % DELIVERIES },
        }),
        3 => (1..90_i64).prop_map(|s| Event::Wait { s: if s > 85 { s * 10 } else { s } }),
    ]
}

/// Doors and shops; some within the private radius of another.
fn place(n: usize) -> Position {
    let middle = at(35.9, 14.5);
    match n {
        0 => middle,
        1 => destination(middle, 80.0, 250.0),
        2 => destination(middle, 200.0, 900.0),
        3 => destination(middle, 10.0, 150.0),
        n => destination(middle, 60.0 * n as f64, 1_500.0),
    }
}

/// Everybody's goods are on board, so that there is something to be seen from the start.
fn on_board() -> impl Iterator<Item = Event> {
    (0..DELIVERIES - 1).map(|delivery| Event::Step {
        delivery,
        status: DeliveryStatus::PickedUp,
        ago_s: 0,
    })
}

/// The courier is within sight of the first door.
fn in_sight() -> [Event; 2] {
    let seen = Event::Fix {
        courier: 0,
        near: 0,
        away_m: 500.0,
        bearing: 300.0,
        ago_s: 0,
    };
    [Event::Wait { s: 5 }, seen]
}

/// The default settings; `coarse`, couriers are seen only roughly until they are 400 m away.
fn settings(coarse: bool) -> LiveMapConfig {
    let mut config = Config::defaults().expect("defaults").live_map;
    if coarse {
        config.exact_within_m = 400;
        config.coarse_resolution = 9;
    }
    config
}

/// The bundled roads, read once: routes must be checked as well.
fn roads() -> Roads {
    static ROADS: OnceLock<Roads> = OnceLock::new();
    let open = || {
        let cache = tempfile::tempdir().expect("a folder");
        Roads::open(&RoadsConfig { file: None }, cache.path()).expect("the bundled roads")
    };
    ROADS.get_or_init(open).clone()
}
