//! Trips and stops, found in the fixes of one courier.
//!
//! ```text
//!   run ├─ stop ─┤──── move ────├─ stop ─┤──── move ────├─ long stop or silence ─┤ next run
//!                └──────────────── trip ────────────────┘
//! ```
//!
//! A *stop* is a stay of some minutes within a small radius. A *run* ends when nothing is heard for
//! an hour, when a stop has lasted an hour, or after a day. A *trip* is what a run has between its
//! first departure and its last arrival; it may hold stops.
//!
//! Invariants:
//! - The tracker reads fixes once, by time, and depends on nothing else: the same fixes give the
//!   same runs, however they are cut into pushes.
//! - A run depends on nothing before its first fix. So late fixes change no run that lies before
//!   them, and finding may begin at the first fix of any run.
//! - State is small, bounded and made of integers, so that it can be stored and read back exactly.
//!
//! Fixes that are too inaccurate are not looked at. A fix that would need an implausible speed is
//! held back until the next one shows whether the courier is really there.

use serde::{Deserialize, Serialize};

use super::geo::distance_m;
use super::{Fix, Position, UnixMs};

/// What counts as a stop and as the end of a trip.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct TripRules {
    /// A stop stays within this, metres.
    pub stop_radius_m: f64,
    /// … for at least this long, milliseconds.
    pub stop_ms: i64,
    /// Silence, or a stop, of this length ends a trip, milliseconds.
    pub gap_ms: i64,
    /// A run is cut after this, milliseconds.
    pub longest_ms: i64,
    /// A trip that is shorter is not told, metres.
    pub least_trip_m: f64,
    /// Fixes less accurate than this are not looked at, metres.
    pub worst_accuracy_m: f32,
    /// No courier is faster, metres per second.
    pub max_speed_mps: f64,
}

impl Default for TripRules {
    fn default() -> Self {
        Self {
            stop_radius_m: 50.0,
            stop_ms: 180_000,
            gap_ms: 3_600_000,
            longest_ms: 86_400_000,
            least_trip_m: 100.0,
            worst_accuracy_m: 200.0,
            max_speed_mps: 55.0,
        }
    }
}

impl TripRules {
    /// The same for one delivery, whose ends are known: nothing cuts it, nothing is too short.
    #[must_use]
    pub fn for_delivery(self) -> Self {
        Self {
            gap_ms: i64::MAX,
            longest_ms: i64::MAX,
            least_trip_m: 0.0,
            ..self
        }
    }
}

/// A stay.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Stop {
    /// First fix of the stay.
    pub arrived_at: UnixMs,
    /// Last fix of the stay so far.
    pub last_at: UnixMs,
    /// Whether the courier has left, or was not heard of any more.
    pub ended: bool,
    /// Mean latitude, 1e-7°.
    pub lat_e7: i32,
    /// Mean longitude, 1e-7°.
    pub lon_e7: i32,
}

impl Stop {
    /// How long it has lasted, milliseconds.
    #[must_use]
    pub fn duration_ms(&self) -> i64 {
        self.last_at.since(self.arrived_at)
    }
}

/// A way from a first departure to a last arrival.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Trip {
    /// Departure.
    pub started_at: UnixMs,
    /// Arrival; of an open trip its last fix so far.
    pub ended_at: UnixMs,
    /// Whether it may still go on.
    pub open: bool,
    /// Where it started.
    pub from: Position,
    /// Where it ended.
    pub to: Position,
    /// Way covered, outliers and jitter left out, millimetres.
    pub distance_mm: i64,
    /// Time in the stops that it holds, milliseconds.
    pub stopped_ms: i64,
    /// How many stops it holds.
    pub stops: u32,
    /// Highest speed reported, or measured where none was reported, cm/s.
    pub max_speed_cmps: i32,
}

impl Trip {
    /// Time under way without its stops, milliseconds.
    #[must_use]
    pub fn moving_ms(&self) -> i64 {
        self.ended_at.since(self.started_at) - self.stopped_ms
    }
}

/// Everything found in one run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Run {
    /// Its first fix: what comes before has no influence on it.
    pub from: UnixMs,
    /// Its last fix so far.
    pub to: UnixMs,
    /// Its trip, if the courier has moved enough.
    pub trip: Option<Trip>,
    /// Its stops, also those before and after the trip, oldest first.
    pub stops: Vec<Stop>,
}

/// Reads a courier's fixes in the order of time.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Tracker {
    run: Option<OpenRun>,
}

/// A fix as the tracker needs it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Spot {
    at: UnixMs,
    lat_e7: i32,
    lon_e7: i32,
    accuracy_dm: i32,
    /// Reported, or -1.
    speed_cmps: i32,
}

/// Fixes that may become a stop: each lies near the mean of those before.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
struct Stay {
    from: UnixMs,
    to: UnixMs,
    count: i64,
    lat_sum: i64,
    lon_sum: i64,
    /// The odometer when it began: what is added within a stop is jitter.
    odometer_mm: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
struct OpenRun {
    from: UnixMs,
    first: Spot,
    last: Spot,
    /// Too far away to be believed yet.
    suspect: Option<Spot>,
    /// Speed of the last leg, cm/s.
    leg_cmps: i32,
    stay: Stay,
    /// Where the odometer was last read.
    mark: Spot,
    odometer_mm: i64,
    max_reported_cmps: i32,
    max_leg_cmps: i32,
    /// Departure from the stop that the run began with.
    departed: Option<(UnixMs, i32, i32)>,
    stops: Vec<Stop>,
}

/// The odometer is read again when the courier has moved at least this far, metres.
const LEAST_STEP_M: f64 = 5.0;
/// … or as far as the fix is inaccurate, but at most this, metres.
const MOST_STEP_M: f64 = 30.0;
/// A leg this much faster than the one before and than what is reported is suspect.
const SUSPECT_FACTOR: f64 = 3.0;
/// … beyond what a vehicle gains by accelerating, metres per second.
const SUSPECT_MARGIN_MPS: f64 = 15.0;
/// Speed over a shorter leg says more about jitter than about speed, milliseconds.
const LEAST_LEG_MS: i64 = 3_000;

/// 180° in steps of 1e-7°.
const HALF_TURN_E7: i64 = 1_800_000_000;

impl Tracker {
    /// Reads the next fix and answers the run that it ended, if it did. Fixes must come by time; one
    /// that is not newer than the last is not looked at.
    pub fn push(&mut self, rules: &TripRules, fix: &Fix) -> Option<Run> {
        if fix.accuracy_m.is_some_and(|m| m > rules.worst_accuracy_m) {
            return None;
        }
        let spot = Spot::of(fix);
        let Some(run) = &mut self.run else {
            self.run = Some(OpenRun::begin(spot));
            return None;
        };
        if spot.at <= run.last.at {
            return None;
        }
        if run.ends_before(rules, &spot) {
            let ended = self.run.replace(OpenRun::begin(spot));
            return ended.map(|run| run.told(rules, true));
        }
        if run.push(rules, spot) {
            return None;
        }
        // The courier left a stop that had ended the trip: the next run begins here.
        let ended = self.run.replace(OpenRun::begin(spot));
        ended.map(|run| run.told(rules, true))
    }

    /// The first fix of the run under way.
    #[must_use]
    pub fn run_from(&self) -> Option<UnixMs> {
        self.run.as_ref().map(|run| run.from)
    }

    /// The run under way, as it stands.
    #[must_use]
    pub fn open(&self, rules: &TripRules) -> Option<Run> {
        self.run.clone().map(|run| run.told(rules, false))
    }
}

impl OpenRun {
    fn begin(spot: Spot) -> Self {
        Self {
            from: spot.at,
            first: spot,
            last: spot,
            suspect: None,
            leg_cmps: 0,
            stay: Stay::begin(&spot, 0),
            mark: spot,
            odometer_mm: 0,
            max_reported_cmps: spot.speed_cmps,
            max_leg_cmps: 0,
            departed: None,
            stops: Vec::new(),
        }
    }

    fn ends_before(&self, rules: &TripRules, spot: &Spot) -> bool {
        spot.at.since(self.last.at) >= rules.gap_ms || spot.at.since(self.from) >= rules.longest_ms
    }

    /// Takes a spot; false if it begins another run.
    fn push(&mut self, rules: &TripRules, spot: Spot) -> bool {
        if !self.is_plausible(rules, &self.last, self.leg_cmps, &spot) {
            let Some(suspect) = self.suspect.replace(spot) else {
                return true;
            };
            let leg = suspect.speed_from(&self.last);
            if !self.is_plausible(rules, &suspect, leg, &spot) {
                return true; // the newer one is the suspect now
            }
            // Two agree: the courier is there.
            self.suspect = None;
            return self.accept(rules, suspect) && self.accept(rules, spot);
        }
        self.suspect = None;
        self.accept(rules, spot)
    }

    /// Whether the way from `from`, reached at `leg_cmps`, to `to` can be believed.
    fn is_plausible(&self, rules: &TripRules, from: &Spot, leg_cmps: i32, to: &Spot) -> bool {
        let slack_m = from.accuracy_m() + to.accuracy_m();
        let way_m = from.distance_m(to) - slack_m;
        if way_m <= rules.stop_radius_m {
            return true;
        }
        let known = leg_cmps.max(from.speed_cmps).max(to.speed_cmps);
        let likely = f64::from(known) / 100.0 * SUSPECT_FACTOR + SUSPECT_MARGIN_MPS;
        way_m <= likely.min(rules.max_speed_mps) * from.seconds_to(to)
    }

    fn accept(&mut self, rules: &TripRules, spot: Spot) -> bool {
        if self.stay.holds(rules, &spot) {
            self.stay.add(&spot);
            self.measure(rules, spot);
            return true;
        }
        if let Some(stop) = self.stay.stop(rules) {
            if stop.duration_ms() >= rules.gap_ms {
                return false;
            }
            self.leave(Stop {
                ended: true,
                ..stop
            });
        }
        self.measure(rules, spot);
        self.stay = Stay::begin(&spot, self.odometer_mm);
        true
    }

    fn leave(&mut self, stop: Stop) {
        if self.stops.is_empty() && stop.arrived_at == self.from {
            self.departed = Some((stop.last_at, stop.lat_e7, stop.lon_e7));
        }
        self.odometer_mm = self.stay.odometer_mm;
        self.mark.lat_e7 = stop.lat_e7;
        self.mark.lon_e7 = stop.lon_e7;
        self.stops.push(stop);
    }

    /// Reads the odometer and the speeds at `spot`.
    fn measure(&mut self, rules: &TripRules, spot: Spot) {
        let leg_cmps = spot.speed_from(&self.last);
        let believed = f64::from(leg_cmps) <= rules.max_speed_mps * 100.0;
        if believed && spot.at.since(self.last.at) >= LEAST_LEG_MS {
            self.max_leg_cmps = self.max_leg_cmps.max(leg_cmps);
        }
        self.max_reported_cmps = self.max_reported_cmps.max(spot.speed_cmps);
        self.leg_cmps = leg_cmps;
        self.last = spot;
        let step_m = self.mark.distance_m(&spot);
        if step_m >= spot.accuracy_m().clamp(LEAST_STEP_M, MOST_STEP_M) {
            if believed {
                self.odometer_mm += (step_m * 1000.0).round() as i64;
            }
            self.mark = spot;
        }
    }

    /// What was found. `ended`: no fix will be added.
    fn told(self, rules: &TripRules, ended: bool) -> Run {
        let staying = self.stay.stop(rules);
        let long = staying.is_some_and(|stop| stop.duration_ms() >= rules.gap_ms);
        let trip = self.trip(rules, staying, ended || long);
        let mut stops = self.stops;
        stops.extend(staying.map(|stop| Stop { ended, ..stop }));
        Run {
            from: self.from,
            to: self.last.at,
            trip,
            stops,
        }
    }

    fn trip(&self, rules: &TripRules, staying: Option<Stop>, closed: bool) -> Option<Trip> {
        let (started_at, from_lat, from_lon) =
            self.departed
                .unwrap_or((self.from, self.first.lat_e7, self.first.lon_e7));
        // A closed trip ends where the courier came to rest; an open one goes on through the stop.
        let rest = staying.filter(|_| closed);
        let (ended_at, to_lat, to_lon) = match rest {
            Some(stop) => (stop.arrived_at, stop.lat_e7, stop.lon_e7),
            None => (self.last.at, self.last.lat_e7, self.last.lon_e7),
        };
        let distance_mm = match staying {
            Some(_) => self.stay.odometer_mm,
            None => self.odometer_mm,
        };
        if (distance_mm as f64) < rules.least_trip_m * 1000.0 || ended_at < started_at {
            return None;
        }
        let held = self
            .stops
            .iter()
            .filter(|stop| stop.arrived_at >= started_at);
        let held: Vec<&Stop> = held
            .chain(staying.iter().filter(|_| rest.is_none()))
            .collect();
        let max_speed_cmps = match self.max_reported_cmps {
            reported if reported >= 0 => reported,
            _ => self.max_leg_cmps,
        };
        Some(Trip {
            started_at,
            ended_at,
            open: !closed,
            from: position(from_lat, from_lon)?,
            to: position(to_lat, to_lon)?,
            distance_mm,
            stopped_ms: held.iter().map(|stop| stop.duration_ms()).sum(),
            stops: u32::try_from(held.len()).unwrap_or(u32::MAX),
            max_speed_cmps,
        })
    }
}

impl Stay {
    fn begin(spot: &Spot, odometer_mm: i64) -> Self {
        Self {
            from: spot.at,
            to: spot.at,
            count: 1,
            lat_sum: spot.lat_e7.into(),
            lon_sum: spot.lon_e7.into(),
            odometer_mm,
        }
    }

    fn add(&mut self, spot: &Spot) {
        self.to = spot.at;
        self.count += 1;
        // Beyond the antimeridian longitudes count on, so that a mean lies between its parts.
        let mean_lon = self.lon_sum.div_euclid(self.count - 1);
        let off = i64::from(spot.lon_e7) - mean_lon;
        let turns = (off + HALF_TURN_E7).div_euclid(2 * HALF_TURN_E7);
        self.lat_sum += i64::from(spot.lat_e7);
        self.lon_sum += i64::from(spot.lon_e7) - turns * 2 * HALF_TURN_E7;
    }

    fn middle(&self) -> (i32, i32) {
        let lat = self.lat_sum.div_euclid(self.count);
        let lon = self.lon_sum.div_euclid(self.count) + HALF_TURN_E7;
        let lon = lon.rem_euclid(2 * HALF_TURN_E7) - HALF_TURN_E7;
        let narrow = |e7: i64| i32::try_from(e7).unwrap_or(0);
        (narrow(lat), narrow(lon))
    }

    /// Whether `spot` may be at the same place, as far as its accuracy can tell.
    fn holds(&self, rules: &TripRules, spot: &Spot) -> bool {
        let (lat_e7, lon_e7) = self.middle();
        let middle = Spot {
            lat_e7,
            lon_e7,
            ..*spot
        };
        let slack_m = spot.accuracy_m().min(rules.stop_radius_m);
        middle.distance_m(spot) <= rules.stop_radius_m + slack_m
    }

    /// The stop that it is, if it is long enough.
    fn stop(&self, rules: &TripRules) -> Option<Stop> {
        let (lat_e7, lon_e7) = self.middle();
        (self.to.since(self.from) >= rules.stop_ms).then_some(Stop {
            arrived_at: self.from,
            last_at: self.to,
            ended: false,
            lat_e7,
            lon_e7,
        })
    }
}

impl Spot {
    fn of(fix: &Fix) -> Self {
        Self {
            at: fix.fix_time,
            lat_e7: fix.position.lat_e7(),
            lon_e7: fix.position.lon_e7(),
            accuracy_dm: fix.accuracy_m.map_or(0, |m| (m * 10.0).round() as i32),
            speed_cmps: fix.speed_mps.map_or(-1, |mps| (mps * 100.0).round() as i32),
        }
    }

    fn accuracy_m(&self) -> f64 {
        f64::from(self.accuracy_dm) / 10.0
    }

    fn seconds_to(&self, later: &Self) -> f64 {
        later.at.since(self.at) as f64 / 1000.0
    }

    fn distance_m(&self, other: &Self) -> f64 {
        match (
            position(self.lat_e7, self.lon_e7),
            position(other.lat_e7, other.lon_e7),
        ) {
            (Some(a), Some(b)) => distance_m(a, b),
            _ => 0.0,
        }
    }

    /// Speed of the straight way from `earlier` to here, cm/s.
    fn speed_from(&self, earlier: &Self) -> i32 {
        let seconds = earlier.seconds_to(self);
        if seconds <= 0.0 {
            return 0;
        }
        (earlier.distance_m(self) * 100.0 / seconds).round() as i32
    }
}

/// Sums and means of positions are positions; `None` never comes of stored state of our own.
fn position(lat_e7: i32, lon_e7: i32) -> Option<Position> {
    Position::from_e7(lat_e7.into(), lon_e7.into()).ok()
}

#[cfg(test)]
mod tests;
