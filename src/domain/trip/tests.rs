//! Tests of trips and stops against hand-made tracks.

use proptest::prelude::*;

use super::*;
use crate::domain::geo::destination;

const RULES: fn() -> TripRules = TripRules::default;
const MINUTE: i64 = 60_000;

/// Writes down a courier's way.
struct Way {
    at: UnixMs,
    here: Position,
    fixes: Vec<Fix>,
}

impl Way {
    fn from(lat: f64, lon: f64) -> Self {
        Self {
            at: UnixMs(1_795_341_600_000),
            here: Position::from_degrees(lat, lon).expect("a position"),
            fixes: Vec::new(),
        }
    }

    fn fix(&mut self) -> &mut Fix {
        self.fixes.push(Fix::new(self.at, self.here));
        self.fixes.last_mut().expect("just pushed")
    }

    /// Stands still with a few metres of jitter, a fix every 5 s.
    fn stay(mut self, ms: i64) -> Self {
        let (end, here) = (self.at.plus_ms(ms), self.here);
        while self.at < end {
            let n = self.fixes.len() as f64;
            self.here = destination(here, n * 77.0, 4.0);
            self.fix();
            self.at = self.at.plus_ms(5_000);
        }
        self.here = here;
        self
    }

    /// Drives east at 10 m/s, a fix every 5 s.
    fn drive(mut self, metres: f64) -> Self {
        for _ in 0..(metres / 50.0) as usize {
            self.here = destination(self.here, 90.0, 50.0);
            self.fix().accuracy_m = Some(5.0);
            self.at = self.at.plus_ms(5_000);
        }
        self
    }

    fn silence(mut self, ms: i64) -> Self {
        self.at = self.at.plus_ms(ms);
        self
    }

    /// One fix far away at a fine accuracy, and back.
    fn outlier(mut self) -> Self {
        let here = self.here;
        self.here = destination(here, 45.0, 3_000.0);
        self.fix().accuracy_m = Some(1.9);
        self.here = here;
        self.silence(5_000)
    }

    fn runs(&self) -> Vec<Run> {
        find(&self.fixes)
    }
}

fn find(fixes: &[Fix]) -> Vec<Run> {
    let mut tracker = Tracker::default();
    let mut runs: Vec<Run> = fixes
        .iter()
        .filter_map(|f| tracker.push(&RULES(), f))
        .collect();
    runs.extend(tracker.open(&RULES()));
    runs
}

fn metres(trip: &Trip) -> f64 {
    trip.distance_mm as f64 / 1000.0
}

#[test]
fn a_trip_lies_between_departure_and_arrival_and_holds_short_stops() {
    let way = Way::from(35.9, 14.5)
        .stay(10 * MINUTE)
        .drive(2_000.0)
        .stay(5 * MINUTE)
        .drive(3_000.0)
        .stay(70 * MINUTE)
        .drive(1_000.0);
    let runs = way.runs();
    assert_eq!(runs.len(), 2);
    let first = runs[0].trip.expect("a trip");
    assert!(
        (metres(&first) - 5_000.0).abs() < 60.0,
        "{}",
        metres(&first)
    );
    assert_eq!((first.open, first.stops), (false, 1));
    assert!((first.stopped_ms - 5 * MINUTE).abs() <= 20_000);
    assert!(
        (first.moving_ms() - 500_000).abs() <= 40_000,
        "{}",
        first.moving_ms()
    );
    assert_eq!(runs[0].stops.len(), 3);
    assert!(runs[0].stops.iter().all(|stop| stop.ended));
    // The trip ends when the courier came to rest, not an hour later.
    assert_eq!(first.ended_at, runs[0].stops[2].arrived_at);
    let second = runs[1].trip.expect("a trip");
    assert!(second.open && runs[1].stops.is_empty());
    // The run begins with the fix that left the stop, some way off.
    assert!((850.0..=950.0).contains(&metres(&second)));
}

#[test]
fn an_hour_of_silence_ends_a_trip_and_less_does_not() {
    let with_pause = |ms| {
        Way::from(35.9, 14.5)
            .drive(1_000.0)
            .silence(ms)
            .drive(1_000.0)
            .runs()
    };
    let one = with_pause(50 * MINUTE);
    assert_eq!(one.len(), 1);
    let two = with_pause(60 * MINUTE);
    assert_eq!(two.len(), 2);
    assert!(two[0].trip.is_some_and(|trip| !trip.open));
    assert!(two[1].trip.is_some_and(|trip| trip.open));
}

#[test]
fn jitter_and_outliers_add_no_distance() {
    let still = Way::from(35.9, 14.5)
        .stay(50 * MINUTE)
        .outlier()
        .stay(5 * MINUTE);
    let runs = still.runs();
    assert_eq!(runs.len(), 1);
    assert_eq!((runs[0].trip, runs[0].stops.len()), (None, 1));
    assert!(!runs[0].stops[0].ended);

    let plain = Way::from(35.9, 14.5).drive(2_000.0).drive(2_000.0).runs();
    let jumpy = Way::from(35.9, 14.5)
        .drive(2_000.0)
        .outlier()
        .drive(2_000.0)
        .runs();
    let (plain, jumpy) = (
        plain[0].trip.expect("a trip"),
        jumpy[0].trip.expect("a trip"),
    );
    assert_eq!(plain.distance_mm, jumpy.distance_mm);
    assert!(jumpy.max_speed_cmps <= plain.max_speed_cmps);
}

#[test]
fn a_real_jump_is_believed_when_two_fixes_agree() {
    let mut way = Way::from(35.9, 14.5).drive(1_000.0);
    way.here = destination(way.here, 0.0, 5_000.0);
    let runs = way.drive(1_000.0).runs();
    let trip = runs[0].trip.expect("a trip");
    // Both ends are covered; the jump itself, at 1 km/s, is no way.
    assert!((metres(&trip) - 1_900.0).abs() < 60.0, "{}", metres(&trip));
}

#[test]
fn inaccurate_fixes_are_not_looked_at() {
    let mut way = Way::from(35.9, 14.5).drive(2_000.0);
    let clean = way.runs();
    for i in (0..way.fixes.len()).rev() {
        let mut poor = way.fixes[i];
        poor.fix_time = poor.fix_time.plus_ms(1);
        poor.position = destination(poor.position, 0.0, 900.0);
        poor.accuracy_m = Some(1_000.0);
        way.fixes.insert(i + 1, poor);
    }
    assert_eq!(way.runs(), clean);
}

#[test]
fn a_stop_on_the_antimeridian_is_one_stop() {
    let runs = Way::from(-16.8, 179.999_99).stay(10 * MINUTE).runs();
    assert_eq!((runs.len(), runs[0].stops.len()), (1, 1));
    assert!(runs[0].stops[0].lon_e7.unsigned_abs() > 1_799_990_000);
}

/// Ways with everything in them, as instructions.
fn any_way() -> impl Strategy<Value = Vec<Fix>> {
    let step = (0_u8..6, 1_i64..90);
    proptest::collection::vec(step, 1..14).prop_map(|steps| {
        steps
            .into_iter()
            .fold(Way::from(35.9, 14.5), |way, (kind, n)| match kind {
                0 => way.stay(n * MINUTE),
                1 => way.silence(n * MINUTE),
                2 => way.outlier(),
                3 => way.stay(n * 1_000),
                _ => way.drive(n as f64 * 60.0),
            })
            .fixes
    })
}

proptest! {
    #[test]
    fn a_run_depends_on_nothing_before_its_first_fix(fixes in any_way()) {
        let runs = find(&fixes);
        for (i, run) in runs.iter().enumerate() {
            let from = fixes.partition_point(|fix| fix.fix_time < run.from);
            prop_assert_eq!(&find(&fixes[from..])[..], &runs[i..]);
        }
    }

    #[test]
    fn stored_state_goes_on_exactly_where_it_was(fixes in any_way(), at in 0.0..1.0_f64) {
        let cut = (fixes.len() as f64 * at) as usize;
        let mut tracker = Tracker::default();
        let mut runs: Vec<Run> =
            fixes[..cut].iter().filter_map(|f| tracker.push(&RULES(), f)).collect();
        let stored = serde_json::to_string(&tracker).expect("stored");
        let mut tracker: Tracker = serde_json::from_str(&stored).expect("read back");
        runs.extend(fixes[cut..].iter().filter_map(|f| tracker.push(&RULES(), f)));
        runs.extend(tracker.open(&RULES()));
        prop_assert_eq!(runs, find(&fixes));
    }

    #[test]
    fn trips_add_up(fixes in any_way()) {
        let mut last = UnixMs(i64::MIN);
        for run in find(&fixes) {
            prop_assert!(last < run.from && run.from <= run.to);
            last = run.to;
            for pair in run.stops.windows(2) {
                prop_assert!(pair[0].last_at < pair[1].arrived_at);
            }
            if let Some(trip) = run.trip {
                prop_assert!(run.from <= trip.started_at && trip.ended_at <= run.to);
                prop_assert!(trip.moving_ms() >= 0 && trip.stopped_ms >= 0);
                prop_assert!(trip.distance_mm >= 100_000);
            }
        }
    }
}
