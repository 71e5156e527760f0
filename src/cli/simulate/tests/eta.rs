//! How good the arrival estimates are, on simulated deliveries with noise.

use rand::{RngExt, SeedableRng};

use super::super::drive::{Drive, normal};
use super::*;
use crate::domain::eta::{Eta, Pace};
use crate::domain::{UnixMs, Vehicle};
use crate::roads;

/// Deliveries that are driven.
const DELIVERIES: usize = 600;
const SEED: u64 = 23;

/// An estimate and what came of it.
struct Judged {
    eta: Eta,
    at_ms: i64,
    arrived_ms: i64,
}

impl Judged {
    /// How far the median is off, as a share of the time that was left.
    fn error(&self) -> f64 {
        let left_ms = (self.arrived_ms - self.at_ms) as f64;
        (self.eta.median.0 - self.arrived_ms) as f64 / left_ms
    }

    fn is_within(&self, range: (UnixMs, UnixMs)) -> bool {
        (range.0.0..=range.1.0).contains(&self.arrived_ms)
    }
}

/// A drive to the shop, some stops, and the customer's door; an estimate every ten seconds. Returns
/// those at pick-up and at half of the way from there.
fn drive(number: usize, roads: &Roads, world: &World) -> [Judged; 2] {
    let mut chance = Chance::seed_from_u64(SEED + number as u64);
    let mut phone = Phone::new(number, Role::Usual, SEED);
    let vehicle = [Vehicle::Car, Vehicle::Van, Vehicle::Bike][number % 3];
    let courier = (normal(&mut chance) * 0.15).exp();
    let mut here = world.any_shop(&mut chance).position;
    let mut stops = vec![world.shop_near(here, 16, &mut chance).position];
    for _ in 0..[1, 1, 1, 2, 3][number % 5] {
        let from = stops[stops.len() - 1];
        stops.push(
            world
                .door_within(from, 1_000.0..5_000.0, &mut chance)
                .position,
        );
    }
    let (mut at_ms, mut pace) = (EPOCH_MS, Pace::default());
    let (mut picked_up_ms, mut all) = (0, Vec::new());
    for (index, &to) in stops.iter().enumerate() {
        let route = world.route(here, to);
        let s = roads::duration_s(route.distance_m, route.duration_s, Some(vehicle));
        let traffic = (normal(&mut chance) * 0.1).exp();
        let factor = s / route.duration_s.max(1.0) * courier * traffic;
        let drive = Drive::new(at_ms, here, &route, to, factor, &mut chance);
        let dwell_ms = chance.random_range(40_000..150_000);
        let leave_ms = drive.ends_ms() + dwell_ms;
        while at_ms < leave_ms {
            let place = drive.place(at_ms).expect("a place");
            let fix = phone.fix(at_ms, &place);
            let seen = Position::from_degrees(fix.lat, fix.lon).expect("a position");
            // At a stop the next one counts as soon as this one is done.
            if at_ms < drive.ends_ms() {
                let ahead = &stops[index..];
                let eta = roads.eta(UnixMs(at_ms), seen, ahead, Some(vehicle), &mut pace);
                all.push((at_ms, eta.expect("an estimate")));
            }
            at_ms += 10_000;
        }
        if index == 0 {
            picked_up_ms = leave_ms;
        }
        at_ms = leave_ms;
        if index == stops.len() - 1 {
            at_ms = drive.ends_ms();
        }
        here = to;
    }
    let arrived_ms = at_ms;
    [picked_up_ms, i64::midpoint(picked_up_ms, arrived_ms)].map(|wanted_ms| {
        let after = all
            .partition_point(|(at_ms, _)| *at_ms < wanted_ms)
            .min(all.len() - 1);
        let (at_ms, eta) = all[after];
        Judged {
            eta,
            at_ms,
            arrived_ms,
        }
    })
}

#[test]
fn half_way_the_median_is_near_and_the_ranges_hold_what_they_promise() {
    let (roads, world) = malta();
    let judged: Vec<[Judged; 2]> = (0..DELIVERIES).map(|n| drive(n, &roads, &world)).collect();
    for (when, index) in [("at pick-up", 0), ("half way", 1)] {
        let all = || judged.iter().map(|j| &j[index]);
        let mut errors: Vec<f64> = all().map(|j| j.error().abs()).collect();
        errors.sort_unstable_by(f64::total_cmp);
        let median = errors[errors.len() / 2];
        let bias = all().map(Judged::error).sum::<f64>() / DELIVERIES as f64;
        let share =
            |f: &dyn Fn(&Judged) -> bool| all().filter(|j| f(j)).count() as f64 / DELIVERIES as f64;
        let half = share(&|j| j.is_within(j.eta.half));
        let nine_tenths = share(&|j| j.is_within(j.eta.nine_tenths));
        println!(
            "{when}: median error {:.1} %, bias {:+.1} %, 50 % range covers {:.1} %, 90 % range {:.1} %",
            median * 100.0,
            bias * 100.0,
            half * 100.0,
            nine_tenths * 100.0
        );
        assert!(median <= 0.15, "{when}: {median}");
        assert!(
            (0.85..=0.95).contains(&nine_tenths),
            "{when}: {nine_tenths}"
        );
        assert!((0.40..=0.62).contains(&half), "{when}: {half}");
    }
}
