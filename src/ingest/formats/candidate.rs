//! A fix as it was sent, before anything is known to be right about it.

use std::fmt;

use serde::de::{Deserialize, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};

use super::{Limits, Reason, time_text};
use crate::domain::{Fix, Position, PositionError, UnixMs};

/// 2000-01-01T00:00:00Z.
const YEAR_2000: UnixMs = UnixMs(946_684_800_000);
/// A fix this far ahead of our clock cannot be right, milliseconds.
const MAX_AHEAD_MS: i64 = 24 * 3_600_000;
/// Faster than anything that delivers, metres a second.
const MAX_SPEED_MPS: f64 = 1_000.0;
/// A radius larger than a continent says nothing, metres.
const MAX_ACCURACY_M: f64 = 1_000_000.0;
/// Deeper and higher than any courier, metres.
const ALTITUDES_M: std::ops::RangeInclusive<f64> = -12_000.0..=100_000.0;

/// A number that may be absent, or something else than a number.
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) enum Number {
    #[default]
    Missing,
    Is(f64),
    Not,
}

impl Number {
    /// From text, as in a query.
    pub(super) fn parse(text: &str) -> Self {
        text.trim().parse().map_or(Self::Not, Self::Is)
    }

    /// The number times `factor`.
    pub(super) fn scaled(self, factor: f64) -> Self {
        match self {
            Self::Is(value) => Self::Is(value * factor),
            other => other,
        }
    }

    fn within(self, range: impl std::ops::RangeBounds<f64>) -> Option<f64> {
        match self {
            Self::Is(value) if range.contains(&value) => Some(value),
            _ => None,
        }
    }
}

/// A time that may be absent, or something else than a time. Unix milliseconds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(super) enum Time {
    #[default]
    Missing,
    At(i64),
    Not,
}

impl Time {
    /// From a number of which `ms_a_unit` milliseconds make one.
    pub(super) fn from_number(number: Number, ms_a_unit: f64) -> Self {
        match number {
            Number::Missing => Self::Missing,
            Number::Is(value) if value.is_finite() => Self::At((value * ms_a_unit).round() as i64),
            _ => Self::Not,
        }
    }

    /// From RFC 3339.
    pub(super) fn parse(text: &str) -> Self {
        time_text::parse_rfc3339(text).map_or(Self::Not, Self::At)
    }
}

/// What a fix's fields held. Units as in [`Fix`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub(super) struct Candidate {
    pub(super) time: Time,
    pub(super) lat: Number,
    pub(super) lon: Number,
    pub(super) accuracy_m: Number,
    pub(super) speed_mps: Number,
    pub(super) heading_deg: Number,
    pub(super) altitude_m: Number,
    pub(super) battery_pct: Number,
}

impl Candidate {
    /// Whether it claims to be anywhere.
    pub(super) fn has_place(&self) -> bool {
        self.lat != Number::Missing || self.lon != Number::Missing
    }

    /// The fix, if it can be kept.
    #[inline]
    pub(super) fn check(&self, limits: &Limits) -> Result<Fix, Reason> {
        let position = match (self.lat, self.lon) {
            (Number::Is(lat), Number::Is(lon)) => Position::from_degrees(lat, lon)?,
            (Number::Missing, _) | (_, Number::Missing) => return Err(Reason::MissingCoordinates),
            _ => return Err(Reason::NotANumber),
        };
        let fix_time = self.fix_time(limits)?;
        Ok(Fix {
            fix_time,
            position,
            accuracy_m: self.accuracy_m.within(0.0..=MAX_ACCURACY_M).map(narrow),
            speed_mps: self.speed_mps.within(0.0..=MAX_SPEED_MPS).map(narrow),
            heading_deg: self.heading_deg.within(0.0..=360.0).map(on_the_circle),
            altitude_m: self.altitude_m.within(ALTITUDES_M).map(narrow),
            battery_pct: self
                .battery_pct
                .within(0.0..=100.0)
                .map(|v| v.round() as u8),
        })
    }

    fn fix_time(&self, limits: &Limits) -> Result<UnixMs, Reason> {
        let at = match self.time {
            Time::At(ms) => UnixMs(ms),
            Time::Missing => return Err(Reason::MissingTime),
            Time::Not => return Err(Reason::NotATime),
        };
        if at < YEAR_2000 {
            return Err(Reason::Before2000);
        }
        if at.since(limits.now) > MAX_AHEAD_MS {
            return Err(Reason::Ahead);
        }
        if limits.now.since(at) > limits.max_age_ms {
            return Err(Reason::TooOld);
        }
        Ok(at)
    }
}

impl From<PositionError> for Reason {
    fn from(error: PositionError) -> Self {
        match error {
            PositionError::NotFinite => Self::NotANumber,
            PositionError::Latitude => Self::Latitude,
            PositionError::Longitude => Self::Longitude,
        }
    }
}

fn narrow(value: f64) -> f32 {
    value as f32
}

fn on_the_circle(degrees: f64) -> f32 {
    let degrees = degrees as f32;
    if degrees >= 360.0 { 0.0 } else { degrees }
}

/// Reads any JSON value without failing: what is no number is [`Number::Not`].
impl<'de> Deserialize<'de> for Number {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(NumberVisitor)
    }
}

struct NumberVisitor;

impl<'de> Visitor<'de> for NumberVisitor {
    type Value = Number;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a number")
    }
    fn visit_f64<E: Error>(self, value: f64) -> Result<Number, E> {
        Ok(Number::Is(value))
    }
    fn visit_i64<E: Error>(self, value: i64) -> Result<Number, E> {
        Ok(Number::Is(value as f64))
    }
    fn visit_u64<E: Error>(self, value: u64) -> Result<Number, E> {
        Ok(Number::Is(value as f64))
    }
    fn visit_unit<E: Error>(self) -> Result<Number, E> {
        Ok(Number::Missing)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Number, E> {
        Ok(Number::Not)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<Number, E> {
        Ok(Number::Not)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Number, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Number::Not)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Number, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Number::Not)
    }
}

/// Reads RFC 3339 text or Unix milliseconds without failing: anything else is [`Time::Not`].
impl<'de> Deserialize<'de> for Time {
    fn deserialize<D: Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        d.deserialize_any(TimeVisitor)
    }
}

struct TimeVisitor;

impl<'de> Visitor<'de> for TimeVisitor {
    type Value = Time;

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("RFC 3339 text or Unix milliseconds")
    }
    fn visit_str<E: Error>(self, text: &str) -> Result<Time, E> {
        Ok(Time::parse(text))
    }
    fn visit_i64<E: Error>(self, ms: i64) -> Result<Time, E> {
        Ok(Time::At(ms))
    }
    fn visit_u64<E: Error>(self, ms: u64) -> Result<Time, E> {
        Ok(i64::try_from(ms).map_or(Time::Not, Time::At))
    }
    fn visit_f64<E: Error>(self, ms: f64) -> Result<Time, E> {
        Ok(Time::from_number(Number::Is(ms), 1.0))
    }
    fn visit_unit<E: Error>(self) -> Result<Time, E> {
        Ok(Time::Missing)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<Time, E> {
        Ok(Time::Not)
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<Time, A::Error> {
        IgnoredAny.visit_seq(seq).map(|_| Time::Not)
    }
    fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Time, A::Error> {
        IgnoredAny.visit_map(map).map(|_| Time::Not)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: UnixMs = UnixMs(1_795_000_000_000);
    const DAY_MS: i64 = 86_400_000;
    const LIMITS: Limits = Limits {
        now: NOW,
        max_age_ms: 400 * DAY_MS,
        max_fixes: 1000,
    };

    fn at(time: i64, lat: f64, lon: f64) -> Candidate {
        Candidate {
            time: Time::At(time),
            lat: Number::Is(lat),
            lon: Number::Is(lon),
            ..Candidate::default()
        }
    }

    #[test]
    fn refuses_impossible_places_and_times_by_name() {
        let reason = |c: Candidate| c.check(&LIMITS).expect_err("refused");
        assert_eq!(reason(at(NOW.0, 200.0, 0.0)), Reason::Latitude);
        assert_eq!(reason(at(NOW.0, 0.0, -200.0)), Reason::Longitude);
        assert_eq!(reason(at(NOW.0, f64::NAN, 0.0)), Reason::NotANumber);
        assert_eq!(reason(at(0, 1.0, 1.0)), Reason::Before2000);
        assert_eq!(reason(at(NOW.0 + DAY_MS + 1, 1.0, 1.0)), Reason::Ahead);
        assert_eq!(reason(at(NOW.0 - 401 * DAY_MS, 1.0, 1.0)), Reason::TooOld);
        assert_eq!(reason(at(i64::MIN, 1.0, 1.0)), Reason::Before2000);
        assert_eq!(reason(at(i64::MAX, 1.0, 1.0)), Reason::Ahead);
        assert_eq!(reason(Candidate::default()), Reason::MissingCoordinates);
        assert!(at(NOW.0 + DAY_MS, -90.0, 180.0).check(&LIMITS).is_ok());
    }

    #[test]
    fn leaves_out_measurements_that_cannot_be() {
        let fix = Candidate {
            accuracy_m: Number::Is(-1.0),
            speed_mps: Number::Is(f64::INFINITY),
            heading_deg: Number::Is(360.0),
            altitude_m: Number::Not,
            battery_pct: Number::Is(255.0),
            ..at(NOW.0, 1.0, 1.0)
        };
        let fix = fix.check(&LIMITS).expect("kept");
        assert_eq!((fix.accuracy_m, fix.speed_mps), (None, None));
        assert_eq!((fix.altitude_m, fix.battery_pct), (None, None));
        assert_eq!(fix.heading_deg, Some(0.0));
    }
}
