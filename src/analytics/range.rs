//! Time ranges as callers give them.

use super::columns::Day;
use crate::domain::UnixMs;
use crate::http::Problem;

/// From `from` on and before `to`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct TimeRange {
    pub(super) from: UnixMs,
    pub(super) to: UnixMs,
}

impl TimeRange {
    /// Of two optional texts; without one, or with an empty one, the range is open on that side.
    pub(super) fn parse(from: Option<&str>, to: Option<&str>) -> Result<Self, Problem> {
        let given = |text: &&str| !text.is_empty();
        let from = from.filter(given);
        let to = to.filter(given);
        let from = from.map_or(Ok(UnixMs(i64::MIN)), |text| instant("from", text))?;
        let to = to.map_or(Ok(UnixMs(i64::MAX)), |text| instant("to", text))?;
        if from > to {
            return Err(Problem::invalid("`from` is later than `to`: swap them"));
        }
        Ok(Self { from, to })
    }

    /// Whether `at` lies in it.
    pub(super) fn holds(self, at: UnixMs) -> bool {
        self.from <= at && at < self.to
    }

    /// Whether any of `day` lies in it.
    pub(super) fn touches(self, day: Day) -> bool {
        day.start() < self.to && self.from < day.plus(1).start()
    }
}

/// RFC 3339, or a date for its midnight UTC.
fn instant(name: &str, text: &str) -> Result<UnixMs, Problem> {
    // In a query string an unescaped "+02:00" arrives as " 02:00".
    let text = text.replace(' ', "+");
    let midnight = format!("{text}T00:00:00Z");
    let parsed = UnixMs::parse_rfc3339(&text).or_else(|_| UnixMs::parse_rfc3339(&midnight));
    parsed.map_err(|_| {
        Problem::invalid(format!(
            "`{name}` must be a time as in 2026-11-22T10:00:00Z or a date as in 2026-11-22"
        ))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ranges_are_parsed_open_and_refused_when_reversed() {
        let day = TimeRange::parse(Some("2026-11-22"), Some("2026-11-23T00:00:00Z")).expect("ok");
        assert_eq!(day.to.since(day.from), 86_400_000);
        assert!(day.touches(Day::of(day.from)) && !day.touches(Day::of(day.to)));
        assert!(day.holds(day.from) && !day.holds(day.to));
        assert!(TimeRange::parse(Some("2026-11-22T00:00:00 01:00"), Some("")).is_ok());
        let reversed = TimeRange::parse(Some("2026-11-23"), Some("2026-11-22"));
        assert_eq!(reversed.expect_err("refused").status, 422);
        let nonsense = TimeRange::parse(Some("yesterday"), None).expect_err("refused");
        assert!(nonsense.detail.contains("`from`"));
    }
}
