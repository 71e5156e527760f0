//! When the courier will be there: the narrow place that live map asks.
//!
//! Straight line × a factor of detour, at the courier's own recent pace, with a dwell at every stop
//! before. The answer is a range in whole minutes, so that it says neither more than is known nor
//! how far away a hidden courier is.

use super::state::Corner;
use crate::domain::geo::distance_m;
use crate::domain::{Position, UnixMs, Vehicle};

/// Roads are this much longer than the straight line.
const DETOUR: f64 = 1.35;
/// What a stop takes, milliseconds.
const DWELL_MS: f64 = 150_000.0;
/// The courier's own pace is taken from this far back, milliseconds.
pub(crate) const PACE_WINDOW_MS: i64 = 15 * 60_000;
/// Slower than this between two corners is standing, metres a second.
const STANDING_MPS: f64 = 0.8;
/// How much the courier's own pace may differ from what is usual.
const PACE_RANGE: std::ops::RangeInclusive<f64> = 0.5..=1.8;
/// The range reaches from this share of the estimate …
const EARLY: f64 = 0.85;
/// … to this one.
const LATE: f64 = 1.3;
const MINUTE_MS: i64 = 60_000;

/// Between when and when the courier is expected, whole minutes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, serde::Serialize, utoipa::ToSchema)]
pub(crate) struct EtaRange {
    /// Not before.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) from: UnixMs,
    /// Hardly later.
    #[schema(value_type = String, format = DateTime)]
    pub(crate) to: UnixMs,
}

/// When a courier who is at `at` reaches the last of `stops`, given its `recent` trail.
pub(crate) fn estimate(
    at: Position,
    stops: &[Position],
    vehicle: Option<Vehicle>,
    recent: &[Corner],
    now: UnixMs,
) -> Option<EtaRange> {
    let legs = std::iter::once(&at).chain(stops).zip(stops);
    let way_m: f64 = legs.map(|(a, b)| distance_m(*a, *b)).sum::<f64>() * DETOUR;
    let dwells = stops.len().checked_sub(1)? as f64;
    let ms = way_m / pace_mps(vehicle, recent) * 1000.0 + dwells * DWELL_MS;
    let whole =
        |ms: i64, round_up: i64| UnixMs((now.0 + ms + round_up).div_euclid(MINUTE_MS) * MINUTE_MS);
    // Far below 2^63: the way round the earth on foot is under a year.
    let (early, late) = ((ms * EARLY) as i64, (ms * LATE) as i64);
    Some(EtaRange {
        from: whole(early, 0),
        to: whole(late, MINUTE_MS - 1).max(whole(0, MINUTE_MS)),
    })
}

/// What is usual door to door, corrected by the courier's own pace while it moved.
fn pace_mps(vehicle: Option<Vehicle>, recent: &[Corner]) -> f64 {
    let usual = match vehicle {
        Some(Vehicle::Foot) => 1.3,
        Some(Vehicle::Bike) => 4.2,
        Some(Vehicle::Car | Vehicle::Van) | None => 7.0,
    };
    let (mut moved_m, mut moved_s) = (0.0, 0.0);
    for pair in recent.windows(2) {
        let step_m = distance_m(pair[0].position, pair[1].position);
        let step_s = f64::from(pair[1].at_s.saturating_sub(pair[0].at_s)).max(1.0);
        if step_m / step_s > STANDING_MPS {
            moved_m += step_m;
            moved_s += step_s;
        }
    }
    // Two minutes on the move say half of it, the window's end nearly all.
    let own = if moved_s > 0.0 {
        moved_m / moved_s
    } else {
        usual
    };
    let trust = moved_s / (moved_s + 120.0);
    let ratio = (own / usual).clamp(*PACE_RANGE.start(), *PACE_RANGE.end());
    usual * (1.0 + (ratio - 1.0) * trust)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::geo::destination;

    fn start() -> Position {
        Position::from_degrees(35.9, 14.5).expect("a position")
    }

    #[test]
    fn a_range_in_whole_minutes_that_holds_the_plain_estimate() {
        let now = UnixMs(1_000_000_123);
        let stop = destination(start(), 90.0, 3_000.0);
        let eta = estimate(start(), &[stop], Some(Vehicle::Car), &[], now).expect("a range");
        let plain = now.plus_ms((3_000.0 * DETOUR / 7.0 * 1000.0) as i64);
        assert!(eta.from < plain && plain < eta.to);
        assert_eq!((eta.from.0 % MINUTE_MS, eta.to.0 % MINUTE_MS), (0, 0));
        // At the door it is still a range that lies ahead.
        let there = estimate(stop, &[stop], None, &[], now).expect("a range");
        assert!(there.to > now && there.from <= now);
        assert_eq!(estimate(start(), &[], None, &[], now), None);
    }

    #[test]
    fn stops_before_and_a_slow_courier_make_it_later() {
        let now = UnixMs(1_000_000_000);
        let near = destination(start(), 90.0, 1_000.0);
        let far = destination(start(), 90.0, 2_000.0);
        let to = |stops: &[Position], recent: &[Corner]| {
            estimate(start(), stops, Some(Vehicle::Car), recent, now)
                .expect("a range")
                .to
        };
        let direct = to(&[far], &[]);
        assert!(to(&[near, far], &[]) > direct);
        let crawl: Vec<Corner> = (0..20_u32)
            .map(|i| Corner {
                position: destination(start(), 270.0, f64::from(20 - i) * 60.0),
                at_s: 999_000 + i * 30,
            })
            .collect();
        assert!(to(&[far], &crawl) > direct);
    }
}
