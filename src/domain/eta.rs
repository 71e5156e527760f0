//! When a courier will be there: a range, corrected by the courier's own recent pace.
//!
//! What lies ahead is given in seconds of driving as the road graph expects them. How a courier
//! really gets on is learnt from how fast those seconds shrink ([`Pace`]). The estimate is a
//! log-normal distribution: never in the past, and with a longer tail to the late side. Its spread
//! has four sources, each with a constant of its own below: what is not yet known of this courier's
//! pace, what the roads ahead do to any pace, chance at lights and crossings, and stops on the way.

use serde::{Deserialize, Serialize};

use super::{Position, UnixMs};

/// Seconds of expected driving that weigh as much as what was never observed: the courier's first
/// minutes change little, then the own pace takes over.
const PRIOR_S: f64 = 120.0;
/// Memory of the pace, seconds: what is older counts half.
const HALF_LIFE_S: f64 = 600.0;
/// Pace of couriers against the graph, standard deviation of the ratio.
const COURIER_SD: f64 = 0.17;
/// The same roads on another day, standard deviation of the ratio.
const ROAD_SD: f64 = 0.12;
/// Waiting at lights and crossings: variance in square seconds for each second of driving.
const LIGHTS_VAR_S: f64 = 7.0;
/// Parking and the last steps: standard deviation in seconds.
const DOOR_SD_S: f64 = 15.0;
/// A stop before the last one takes this long, seconds, …
pub const STOP_S: f64 = 100.0;
/// … with this standard deviation.
const STOP_SD_S: f64 = 45.0;
/// Nothing is nearer than this, seconds.
const LEAST_S: f64 = 10.0;

/// Observations closer together than this tell of noise more than of pace, milliseconds.
const OBSERVE_EVERY_MS: i64 = 10_000;
/// After a longer gap the courier may have done anything, milliseconds.
const OBSERVE_WITHIN_MS: i64 = 180_000;
/// Nearer to the next stop than this the courier parks and hands over, seconds of driving.
const AT_STOP_S: f64 = 25.0;
/// Another way was taken, or a fix lay on another road for a moment, if so many seconds of driving
/// were added or gone at once, beyond the time that passed.
const OTHER_WAY_S: f64 = 30.0;
/// No courier is so much faster …
const FASTEST: f64 = 0.5;
/// … or slower than the graph expects.
const SLOWEST: f64 = 3.0;

/// Half of a normal distribution lies within this many standard deviations, …
const HALF_Z: f64 = 0.674_490;
/// … and nine tenths within this many.
const NINE_TENTHS_Z: f64 = 1.644_854;

/// How fast a courier gets on, compared with what the road graph expects.
///
/// Fed with positions by [`Pace::observe`]; 40 bytes, to be kept with the courier.
#[derive(Debug, Clone, Copy, PartialEq, Default, Serialize, Deserialize)]
pub struct Pace {
    /// Seconds it took, …
    took_s: f64,
    /// … for so many expected ones; both fade.
    expected_s: f64,
    last: Option<Seen>,
}

/// The last observation.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
struct Seen {
    at_ms: i64,
    /// Next stop, in steps of 1e-7°.
    next_e7: (i32, i32),
    left_s: f64,
}

impl Pace {
    /// Notes that at `at` so many expected seconds of driving were left to the stop `next`.
    ///
    /// Call it as often as there are positions, in the order of their time; what comes too often is
    /// left out.
    pub fn observe(&mut self, at: UnixMs, next: Position, left_s: f64) {
        let now = Seen {
            at_ms: at.0,
            next_e7: (next.lat_e7(), next.lon_e7()),
            left_s,
        };
        let Some(last) = self.last.filter(|last| last.next_e7 == now.next_e7) else {
            self.last = Some(now);
            return;
        };
        let elapsed_ms = now.at_ms.saturating_sub(last.at_ms);
        if (0..OBSERVE_EVERY_MS).contains(&elapsed_ms) {
            return;
        }
        self.last = Some(now);
        let progress_s = last.left_s - left_s;
        let driving = left_s > AT_STOP_S && last.left_s > AT_STOP_S;
        let elapsed_s = elapsed_ms as f64 / 1000.0;
        // Both ways alike: who left out the jumps away only would count the jumps back.
        let jumped = !(-OTHER_WAY_S..elapsed_s + OTHER_WAY_S).contains(&progress_s);
        if !driving || !(0..OBSERVE_WITHIN_MS).contains(&elapsed_ms) || jumped {
            return;
        }
        let kept = (-elapsed_s / HALF_LIFE_S).exp2();
        self.took_s = self.took_s * kept + elapsed_s;
        self.expected_s = (self.expected_s * kept + progress_s).max(0.0);
    }

    /// Seconds that this courier needs for a second of the road graph.
    #[must_use]
    pub fn ratio(&self) -> f64 {
        ((self.took_s + PRIOR_S) / (self.expected_s + PRIOR_S)).clamp(FASTEST, SLOWEST)
    }
}

/// What lies between a courier and a customer.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ahead {
    /// Driving, as the road graph expects it, seconds.
    pub drive_s: f64,
    /// Stops before the customer's.
    pub stops_before: usize,
}

/// When the courier will be there.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Eta {
    /// As likely earlier as later.
    pub median: UnixMs,
    /// It lies in between with a probability of 50 %.
    pub half: (UnixMs, UnixMs),
    /// It lies in between with a probability of 90 %.
    pub nine_tenths: (UnixMs, UnixMs),
}

/// Estimates from what lay ahead at `at`, the time of the position it was measured from.
#[must_use]
pub fn estimate(at: UnixMs, ahead: Ahead, pace: &Pace) -> Eta {
    let drive_s = ahead.drive_s.max(0.0) * pace.ratio();
    let stops = ahead.stops_before as f64;
    let mean_s = (drive_s + stops * STOP_S).max(LEAST_S);
    // What is known of the courier's pace takes its share of the uncertainty away.
    let courier_var = COURIER_SD.powi(2) * PRIOR_S / (PRIOR_S + pace.expected_s);
    let variance = drive_s.powi(2) * (courier_var + ROAD_SD.powi(2))
        + drive_s * LIGHTS_VAR_S
        + stops * STOP_SD_S.powi(2)
        + DOOR_SD_S.powi(2);
    let sigma_squared = (variance / mean_s.powi(2)).ln_1p();
    let sigma = sigma_squared.sqrt();
    let median_s = mean_s * (-sigma_squared / 2.0).exp();
    let after = |z: f64| at.plus_ms((median_s * (z * sigma).exp() * 1000.0).round() as i64);
    Eta {
        median: after(0.0),
        half: (after(-HALF_Z), after(HALF_Z)),
        nine_tenths: (after(-NINE_TENTHS_Z), after(NINE_TENTHS_Z)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const START: UnixMs = UnixMs(1_800_000_000_000);

    fn stop(lat: f64) -> Position {
        Position::from_degrees(lat, 14.5).expect("a position")
    }

    /// A courier who needs `ratio` seconds for an expected one, after `minutes` of driving.
    fn driven(ratio: f64, minutes: i64) -> Pace {
        let mut pace = Pace::default();
        for second in (0..=minutes * 60).step_by(5) {
            let left_s = 10_000.0 - second as f64 / ratio;
            pace.observe(START.plus_ms(second * 1000), stop(35.9), left_s);
        }
        pace
    }

    #[test]
    fn the_ranges_hold_each_other_and_grow_with_the_way() {
        let pace = Pace::default();
        let mut last_width = 0;
        for drive_s in [0.0, 60.0, 600.0, 3_600.0] {
            let eta = estimate(
                START,
                Ahead {
                    drive_s,
                    stops_before: 0,
                },
                &pace,
            );
            assert!(START < eta.nine_tenths.0, "never in the past");
            assert!(eta.nine_tenths.0 <= eta.half.0 && eta.half.0 <= eta.median);
            assert!(eta.median <= eta.half.1 && eta.half.1 <= eta.nine_tenths.1);
            let width = eta.nine_tenths.1.since(eta.nine_tenths.0);
            assert!(width > last_width, "{drive_s}: {width}");
            last_width = width;
        }
    }

    #[test]
    fn learns_a_couriers_pace_and_grows_surer() {
        let ahead = Ahead {
            drive_s: 600.0,
            stops_before: 0,
        };
        let width = |pace: &Pace| {
            let eta = estimate(START, ahead, pace);
            eta.nine_tenths.1.since(eta.nine_tenths.0)
        };
        for ratio in [0.8, 1.0, 1.4] {
            let pace = driven(ratio, 15);
            assert!(
                (pace.ratio() - ratio).abs() < 0.12,
                "{ratio}: {}",
                pace.ratio()
            );
        }
        assert!(width(&driven(1.0, 15)) < width(&Pace::default()));
        // Half an hour in a traffic jam is over; now the courier flies.
        let mut pace = driven(2.0, 30);
        let jammed = pace.ratio();
        for second in (0..=1800).step_by(10) {
            let at = START.plus_ms(1_800_000 + second * 1000);
            pace.observe(at, stop(35.8), 10_000.0 - second as f64 / 0.9);
        }
        assert!(
            jammed > 1.6 && pace.ratio() < 1.25,
            "{jammed}, then {}",
            pace.ratio()
        );
    }

    #[test]
    fn is_not_fooled_by_handovers_gaps_and_new_stops() {
        let mut pace = driven(1.0, 10);
        let before = pace.ratio();
        let end = START.plus_ms(600_000);
        // Ten minutes at the door, then a new stop far away, then a tunnel.
        for second in 0..600 {
            pace.observe(end.plus_ms(second * 1000), stop(35.9), 5.0);
        }
        pace.observe(end.plus_ms(610_000), stop(36.0), 900.0);
        pace.observe(end.plus_ms(1_300_000), stop(36.0), 880.0);
        assert!((pace.ratio() - before).abs() < 1e-9);
        // An older position than the last one is no step back in time.
        pace.observe(end, stop(36.0), 500.0);
        assert!((pace.ratio() - before).abs() < 1e-9);
    }

    #[test]
    fn stops_before_take_their_time() {
        let pace = Pace::default();
        let at = |stops_before| {
            estimate(
                START,
                Ahead {
                    drive_s: 600.0,
                    stops_before,
                },
                &pace,
            )
            .median
        };
        let longer_s = at(2).since(at(0)) as f64 / 1000.0;
        assert!((longer_s - 2.0 * STOP_S).abs() < 40.0, "{longer_s}");
    }
}
