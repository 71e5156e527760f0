//! RFC 3339 as phones write it, read without the general parser's cost.

use crate::domain::UnixMs;

/// Unix milliseconds of `text`; less than a millisecond is cut off.
///
/// `YYYY-MM-DDTHH:MM:SS[.fraction]Z` is read here; other offsets, leap seconds and the like are
/// left to the general parser.
pub(super) fn parse_rfc3339(text: &str) -> Option<i64> {
    utc(text.as_bytes()).or_else(|| UnixMs::parse_rfc3339(text).ok().map(|at| at.0))
}

fn utc(text: &[u8]) -> Option<i64> {
    let (head, tail) = text.split_at_checked(19)?;
    let separators = [head[4], head[7], head[10], head[13], head[16]];
    if separators != *b"--T::" {
        return None;
    }
    let (year, month, day) = (
        number(&head[..4])?,
        number(&head[5..7])?,
        number(&head[8..10])?,
    );
    let (hour, minute, second) = (
        number(&head[11..13])?,
        number(&head[14..16])?,
        number(&head[17..])?,
    );
    let in_range = (1..=12).contains(&month)
        && (1..=days_in(year, month)).contains(&day)
        && hour < 24
        && minute < 60
        && second < 60;
    if !in_range {
        return None;
    }
    let ms = millis(tail)?;
    let seconds = ((days_since_1970(year, month, day) * 24 + hour) * 60 + minute) * 60 + second;
    Some(seconds * 1000 + ms)
}

/// `Z`, or `.digitsZ`, as milliseconds.
fn millis(tail: &[u8]) -> Option<i64> {
    let (last, fraction) = tail.split_last()?;
    if *last != b'Z' {
        return None;
    }
    let Some((dot, digits)) = fraction.split_first() else {
        return Some(0);
    };
    if *dot != b'.' || digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let digit = |i: usize| digits.get(i).map_or(0, |d| i64::from(d - b'0'));
    Some(digit(0) * 100 + digit(1) * 10 + digit(2))
}

fn number(digits: &[u8]) -> Option<i64> {
    digits.iter().try_fold(0, |sum, digit| {
        digit
            .is_ascii_digit()
            .then(|| sum * 10 + i64::from(digit - b'0'))
    })
}

fn days_in(year: i64, month: i64) -> i64 {
    match month {
        2 if year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) => 29,
        2 => 28,
        4 | 6 | 9 | 11 => 30,
        _ => 31,
    }
}

/// Days from 1970-01-01 in the proleptic Gregorian calendar, counted in eras of 400 years that
/// begin on 1 March (Howard Hinnant's `days_from_civil`).
fn days_since_1970(year: i64, month: i64, day: i64) -> i64 {
    let year = if month <= 2 { year - 1 } else { year };
    let era = year.div_euclid(400);
    let year_of_era = year.rem_euclid(400);
    let day_of_year = (153 * ((month + 9) % 12) + 2) / 5 + day - 1;
    let day_of_era = year_of_era * 365 + year_of_era / 4 - year_of_era / 100 + day_of_year;
    era * 146_097 + day_of_era - 719_468
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn agrees_with_the_general_parser(ms in 0_i64..250_000_000_000_000) {
            let text = UnixMs(ms).to_rfc3339();
            prop_assert_eq!(utc(text.as_bytes()), Some(ms));
            prop_assert_eq!(UnixMs::parse_rfc3339(&text).expect("a time").0, ms);
        }

        #[test]
        fn takes_nothing_that_the_general_parser_refuses(
            text in "[0-9]{4}-[0-3][0-9]-[0-4][0-9]T[0-3][0-9]:[0-7][0-9]:[0-7][0-9](\\.[0-9]{0,9})?Z?"
        ) {
            if let Some(ms) = utc(text.as_bytes()) {
                prop_assert_eq!(UnixMs::parse_rfc3339(&text).expect("a time").0, ms);
            }
        }
    }

    #[test]
    fn reads_other_offsets() {
        assert_eq!(
            parse_rfc3339("2026-11-22T11:00:00.123+01:00"),
            parse_rfc3339("2026-11-22T10:00:00.123Z")
        );
        assert_eq!(parse_rfc3339("yesterday"), None);
        assert_eq!(parse_rfc3339(""), None);
    }
}
