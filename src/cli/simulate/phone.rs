//! A courier's phone: what GPS makes of the true place, and when the network is away.

use rand::{RngExt, SeedableRng};

use super::Chance;
use super::courier::Role;
use super::drive::{Place, normal};
use crate::cli::api::UploadFix;
use crate::domain::geo;

/// Error of a fix under open sky, standard deviation in metres, each axis.
const NOISE_M: f64 = 3.5;
/// How much of the error stays until the next fix.
const SAME: f64 = 0.9;
/// A reflection off a wall, one in so many fixes, …
const REFLECTION: f64 = 0.004;
/// … is so far off, metres.
const REFLECTION_M: std::ops::Range<f64> = 25.0..70.0;
/// A usual courier comes into a tunnel (or a cellar) at one fix in so many.
const TUNNEL: f64 = 0.000_7;
/// How long it lasts, milliseconds.
const TUNNEL_MS: std::ops::Range<i64> = 40_000..150_000;
/// The tunnel courier is in and out by turns, milliseconds.
const TUNNEL_TURN_MS: i64 = 420_000;
const TUNNEL_IN_MS: i64 = 240_000;
/// An upload whose answer got lost and that is sent again, one in so many.
const SENT_AGAIN: f64 = 0.02;

/// A phone. Its chance is its own, so that the courier's life does not depend on it.
#[derive(Debug)]
pub(super) struct Phone {
    chance: Chance,
    in_tunnel_half_of_the_time: bool,
    east_m: f64,
    north_m: f64,
    tunnel_until_ms: i64,
    number: i64,
}

impl Phone {
    /// The phone of the courier with a number.
    pub(super) fn new(number: usize, role: Role, seed: u64) -> Self {
        let mut chance =
            Chance::seed_from_u64(!seed ^ (number as u64 + 1).wrapping_mul(0x85EB_CA6B));
        let (east_m, north_m) = (normal(&mut chance) * NOISE_M, normal(&mut chance) * NOISE_M);
        Self {
            chance,
            in_tunnel_half_of_the_time: role == Role::Tunnel,
            east_m,
            north_m,
            tunnel_until_ms: 0,
            number: number as i64,
        }
    }

    /// Takes a fix.
    pub(super) fn fix(&mut self, at_ms: i64, place: &Place) -> UploadFix {
        let fresh = (1.0 - SAME * SAME).sqrt() * NOISE_M;
        self.east_m = self.east_m * SAME + normal(&mut self.chance) * fresh;
        self.north_m = self.north_m * SAME + normal(&mut self.chance) * fresh;
        let (mut east_m, mut north_m) = (self.east_m, self.north_m);
        let mut accuracy_m = 4.0 + self.chance.random_range(0.0..6.0);
        if self.chance.random_bool(REFLECTION) {
            let (off_m, turn) = (
                self.chance.random_range(REFLECTION_M),
                self.chance.random_range(0.0..std::f64::consts::TAU),
            );
            east_m += off_m * turn.cos();
            north_m += off_m * turn.sin();
            accuracy_m = off_m * 1.2;
        }
        let bearing = east_m.atan2(north_m).to_degrees();
        let seen = geo::destination(place.position, bearing, east_m.hypot(north_m));
        let speed = (place.speed_mps + normal(&mut self.chance) * 0.3).max(0.0);
        let battery = 100 - (at_ms / 360_000 + self.number * 13).rem_euclid(85);
        UploadFix {
            fix_time: at_ms,
            lat: seen.lat(),
            lon: seen.lon(),
            accuracy_m: Some(tenths(accuracy_m)),
            speed_mps: Some(tenths(if place.speed_mps > 0.0 { speed } else { 0.0 })),
            heading_deg: place.heading_deg.map(|deg| {
                tenths((deg + normal(&mut self.chance) * 4.0).rem_euclid(360.0)).min(359.9)
            }),
            altitude_m: None,
            battery_pct: u8::try_from(battery).ok(),
        }
    }

    /// Whether the network is away at `at_ms`; ask once a fix.
    pub(super) fn is_offline(&mut self, at_ms: i64) -> bool {
        if self.in_tunnel_half_of_the_time {
            return at_ms.rem_euclid(TUNNEL_TURN_MS) < TUNNEL_IN_MS;
        }
        if self.chance.random_bool(TUNNEL) {
            self.tunnel_until_ms = at_ms + self.chance.random_range(TUNNEL_MS);
        }
        at_ms < self.tunnel_until_ms
    }

    /// Whether the upload just sent is sent once more.
    pub(super) fn sends_again(&mut self) -> bool {
        self.chance.random_bool(SENT_AGAIN)
    }
}

fn tenths(value: f64) -> f32 {
    ((value * 10.0).round() / 10.0) as f32
}
