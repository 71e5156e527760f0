//! Between fixes and the columns of a track segment.
//!
//! Units are those of the record (`proto/fix_batch.proto`), so that a fix reads back as it was
//! received; an unknown value is a null in its array, and an array of nulls only is itself null.

use crate::domain::{Fix, Position, UnixMs};

/// Milliseconds in a UTC day; Unix time knows no leap seconds.
pub(super) const DAY_MS: i64 = 86_400_000;

/// Days since 1970-01-01 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Day(pub(super) i32);

impl Day {
    /// The UTC day of `at`; the far ends of time are clamped to the first and last day.
    pub(super) fn of(at: UnixMs) -> Self {
        let days = at.0.div_euclid(DAY_MS);
        Self(i32::try_from(days).unwrap_or(if days < 0 { i32::MIN } else { i32::MAX }))
    }

    /// Its first instant.
    pub(super) fn start(self) -> UnixMs {
        UnixMs(i64::from(self.0) * DAY_MS)
    }

    /// The day `n` days later.
    pub(super) fn plus(self, n: i32) -> Self {
        Self(self.0.saturating_add(n))
    }

    /// As Postgres and people know it.
    pub(super) fn date(self) -> time::Date {
        self.start().to_datetime().date()
    }

    /// From a calendar date.
    pub(super) fn from_date(date: time::Date) -> Self {
        Self::of(UnixMs::from_datetime(date.midnight().assume_utc()))
    }
}

impl std::fmt::Display for Day {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let date = self.date();
        let (year, month, day) = (date.year(), u8::from(date.month()), date.day());
        write!(f, "{year:04}-{month:02}-{day:02}")
    }
}

pub(super) fn accuracy_dm(fix: &Fix) -> Option<i32> {
    fix.accuracy_m.map(|m| steps(m, 10.0))
}

pub(super) fn speed_cmps(fix: &Fix) -> Option<i32> {
    fix.speed_mps.map(|mps| steps(mps, 100.0))
}

pub(super) fn heading_ddeg(fix: &Fix) -> Option<i16> {
    let ddeg = |deg| steps(deg, 10.0).rem_euclid(3600);
    fix.heading_deg
        .map(|deg| i16::try_from(ddeg(deg)).unwrap_or(0))
}

pub(super) fn altitude_dm(fix: &Fix) -> Option<i32> {
    fix.altitude_m.map(|m| steps(m, 10.0))
}

pub(super) fn battery_pct(fix: &Fix) -> Option<i16> {
    fix.battery_pct.map(i16::from)
}

fn steps(value: f32, steps_a_unit: f32) -> i32 {
    // Saturates at the ends of i32; a NaN, which no decoded fix has, would be 0.
    (value * steps_a_unit).round() as i32
}

/// The columns of a stored segment as they come from Postgres.
#[derive(Debug, Clone, sqlx::FromRow)]
pub(super) struct SegmentRow {
    pub(super) day: time::Date,
    pub(super) fix_time_ms: Vec<i32>,
    pub(super) lat_e7: Vec<i32>,
    pub(super) lon_e7: Vec<i32>,
    pub(super) accuracy_dm: Option<Vec<Option<i32>>>,
    pub(super) speed_cmps: Option<Vec<Option<i32>>>,
    pub(super) heading_ddeg: Option<Vec<Option<i16>>>,
    pub(super) altitude_dm: Option<Vec<Option<i32>>>,
    pub(super) battery_pct: Option<Vec<Option<i16>>>,
}

/// What to select for a [`SegmentRow`].
pub(super) const SEGMENT_ROW: &str = "day, fix_time_ms, lat_e7, lon_e7, accuracy_dm, speed_cmps, \
     heading_ddeg, altitude_dm, battery_pct";

impl SegmentRow {
    /// Its fixes, by time. A row that was altered by hand so that its arrays do not fit together
    /// gives the fixes that can be read.
    pub(super) fn fixes(&self) -> impl Iterator<Item = Fix> + '_ {
        let midnight = Day::from_date(self.day).start();
        (0..self.fix_time_ms.len()).filter_map(move |i| {
            let position = Position::from_e7(
                i64::from(*self.lat_e7.get(i)?),
                i64::from(*self.lon_e7.get(i)?),
            );
            let fix_time = midnight.plus_ms(i64::from(self.fix_time_ms[i]));
            Some(Fix {
                fix_time,
                position: position.ok()?,
                accuracy_m: at(&self.accuracy_dm, i).map(|dm| dm as f32 / 10.0),
                speed_mps: at(&self.speed_cmps, i).map(|cmps| cmps as f32 / 100.0),
                heading_deg: at(&self.heading_ddeg, i).map(|ddeg| f32::from(ddeg) / 10.0),
                altitude_m: at(&self.altitude_dm, i).map(|dm| dm as f32 / 10.0),
                battery_pct: at(&self.battery_pct, i).and_then(|pct| u8::try_from(pct).ok()),
            })
        })
    }
}

fn at<T: Copy>(column: &Option<Vec<Option<T>>>, i: usize) -> Option<T> {
    *column.as_ref()?.get(i)?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn days_begin_at_midnight_utc_on_both_sides_of_1970() {
        assert_eq!(Day::of(UnixMs(0)), Day(0));
        assert_eq!(Day::of(UnixMs(DAY_MS - 1)), Day(0));
        assert_eq!(Day::of(UnixMs(-1)), Day(-1));
        let day = Day::of(UnixMs(1_795_341_600_123));
        assert_eq!(day.to_string(), "2026-11-22");
        assert_eq!(Day::from_date(day.date()), day);
    }
}
