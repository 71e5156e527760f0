//! The OsmAnd protocol: one fix as pairs in a query or a form, sent by Traccar Client before 9,
//! OsmAnd, GPSLogger and many trackers.
//!
//! `id` (or `deviceid`) is the device token, as the protocol has no other credential: it is taken
//! out of whatever is kept. Without a place an upload is a heartbeat.

use std::borrow::Cow;

use bytes::Bytes;
use form_urlencoded::Serializer;

use super::candidate::{Number, Time};
use super::{Candidate, Limits, Reason, Upload};
use crate::domain::SpeedUnit;

/// A number of seconds is smaller than this, a number of milliseconds is not.
const FIRST_MS: f64 = 2_147_483_647.0;

/// The device token among the pairs, if there is one.
#[must_use]
pub fn token(pairs: &[u8]) -> Option<Cow<'_, str>> {
    form_urlencoded::parse(pairs)
        .find(|(key, value)| is_credential(key) && !value.is_empty())
        .map(|(_, value)| value)
}

fn is_credential(key: &str) -> bool {
    key == "id" || key == "deviceid"
}

/// Takes the pairs of the query and of the form apart; a key that stands twice counts as it stands
/// last. `unit` is the device's unit of speed.
#[must_use]
pub fn parse(query: &[u8], form: &[u8], unit: SpeedUnit, limits: &Limits) -> Upload {
    let pairs = || form_urlencoded::parse(query).chain(form_urlencoded::parse(form));
    let mut upload = Upload::default();
    let mut fix = Candidate {
        time: Time::At(limits.now.0),
        ..Candidate::default()
    };
    let mut valid = true;
    for (key, value) in pairs() {
        match &*key {
            "lat" => fix.lat = Number::parse(&value),
            "lon" => fix.lon = Number::parse(&value),
            "location" => (fix.lat, fix.lon) = location(&value),
            "timestamp" if !value.is_empty() => fix.time = timestamp(&value),
            "speed" => fix.speed_mps = Number::parse(&value).scaled(unit.in_mps()),
            "bearing" | "heading" => fix.heading_deg = Number::parse(&value),
            "altitude" => fix.altitude_m = Number::parse(&value),
            "accuracy" => fix.accuracy_m = Number::parse(&value),
            "batt" => fix.battery_pct = Number::parse(&value),
            "valid" => valid = &*value == "1" || value.eq_ignore_ascii_case("true"),
            "alarm" => upload.sos |= value.eq_ignore_ascii_case("sos"),
            _ => {}
        }
    }
    let raw = || {
        let kept = pairs().filter(|(key, _)| !is_credential(key));
        Bytes::from(Serializer::new(String::new()).extend_pairs(kept).finish())
    };
    if !fix.has_place() {
        upload.heartbeat = true;
    } else if valid {
        upload.take(&fix, limits, raw);
    } else {
        upload.refuse(Reason::NotValid, raw());
    }
    upload
}

fn location(value: &str) -> (Number, Number) {
    match value.split_once(',') {
        Some((lat, lon)) => (Number::parse(lat), Number::parse(lon)),
        None => (Number::Not, Number::Not),
    }
}

/// Unix seconds, Unix milliseconds from 2³¹−1 on, ISO 8601, or `yyyy-MM-dd HH:mm:ss` in UTC.
fn timestamp(value: &str) -> Time {
    let value = value.trim();
    if let number @ Number::Is(at) = Number::parse(value) {
        let ms_a_unit = if at < FIRST_MS { 1000.0 } else { 1.0 };
        return Time::from_number(number, ms_a_unit);
    }
    match value.split_once(' ') {
        // The plus of an offset that was not encoded arrives as a space.
        Some((_, offset)) if value.contains('T') && offset.len() <= 5 => {
            Time::parse(&value.replace(' ', "+"))
        }
        Some((date, time)) => Time::parse(&format!("{date}T{time}Z")),
        None => match Time::parse(value) {
            Time::Not => Time::parse(&format!("{value}Z")),
            at => at,
        },
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Fix, UnixMs};

    const NOW: UnixMs = UnixMs(1_795_000_000_000);
    const LIMITS: Limits = Limits {
        now: NOW,
        max_age_ms: 4000 * 86_400_000,
        max_fixes: 1000,
    };

    fn query(pairs: &str) -> Upload {
        parse(pairs.as_bytes(), b"", SpeedUnit::Knots, &LIMITS)
    }

    fn fix(pairs: &str) -> Fix {
        let upload = query(pairs);
        assert!(upload.bad.is_empty() && !upload.heartbeat, "{upload:?}");
        *upload.fixes.first().expect("a fix")
    }

    #[test]
    fn reads_what_traccar_client_sends() {
        let fix = fix(
            "id=wld_x&timestamp=1794999000&lat=35.9&lon=14.5&speed=10&bearing=270.5&altitude=30\
             &accuracy=5&batt=88.4&charge=true&driverUniqueId=7",
        );
        assert_eq!(fix.fix_time, UnixMs(1_794_999_000_000));
        assert!((fix.speed_mps.expect("a speed") - 5.144_44).abs() < 1e-4);
        assert_eq!((fix.heading_deg, fix.altitude_m), (Some(270.5), Some(30.0)));
        assert_eq!((fix.accuracy_m, fix.battery_pct), (Some(5.0), Some(88)));
    }

    #[test]
    fn speed_is_in_the_unit_of_the_device() {
        for (unit, mps) in [
            (SpeedUnit::Knots, 18.519_984),
            (SpeedUnit::MetresPerSecond, 36.0),
            (SpeedUnit::KilometresPerHour, 10.0),
        ] {
            let upload = parse(b"lat=1&lon=2", b"speed=36", unit, &LIMITS);
            let speed = upload.fixes[0].speed_mps.expect("a speed");
            assert!((speed - mps).abs() < 1e-4, "{unit:?}: {speed}");
        }
    }

    #[test]
    fn reads_every_kind_of_timestamp() {
        for text in [
            "1794996000",
            "1794996000000",
            "1794996000.0",
            "2026-11-18T10:00:00Z",
            "2026-11-18T10:00:00.000Z",
            "2026-11-18T10:00:00",
            "2026-11-18T11:00:00%2B01:00",
            "2026-11-18T11:00:00+01:00",
            "2026-11-18%2010:00:00",
            "2026-11-18+10:00:00",
        ] {
            let fix = fix(&format!("lat=1&lon=2&timestamp={text}"));
            assert_eq!(fix.fix_time, UnixMs(1_794_996_000_000), "{text}");
        }
        assert_eq!(fix("lat=1&lon=2").fix_time, NOW);
        let bad = query("lat=1&lon=2&timestamp=soon");
        assert_eq!(bad.bad[0].reason, Reason::NotATime);
    }

    #[test]
    fn reads_a_location_pair_and_the_form() {
        assert_eq!(fix("location=35.9,14.5"), fix("lat=35.9&lon=14.5"));
        let form = parse(b"id=x", b"lat=35.9&lon=14.5", SpeedUnit::Knots, &LIMITS);
        assert_eq!(form.fixes, query("lat=35.9&lon=14.5").fixes);
    }

    #[test]
    fn no_place_is_a_heartbeat_and_sos_is_heard() {
        let beat = query("id=x&batt=50&notificationToken=abc");
        assert!(beat.heartbeat && beat.fixes.is_empty() && beat.bad.is_empty());
        let sos = query("id=x&alarm=sos");
        assert!(sos.heartbeat && sos.sos);
        assert!(query("lat=1&lon=2&alarm=sos").sos);
        assert!(!query("lat=1&lon=2&alarm=powerOff").sos);
    }

    #[test]
    fn a_bad_fix_is_kept_without_the_token() {
        for (pairs, reason) in [
            ("id=wld_secret&lat=NaN&lon=2", Reason::NotANumber),
            ("deviceid=wld_secret&lat=200&lon=2", Reason::Latitude),
            ("id=wld_secret&lat=1", Reason::MissingCoordinates),
            ("id=wld_secret&lat=1&lon=2&valid=false", Reason::NotValid),
            ("id=wld_secret&location=here", Reason::NotANumber),
        ] {
            let upload = query(pairs);
            assert_eq!(upload.bad[0].reason, reason, "{pairs}");
            let raw = String::from_utf8(upload.bad[0].raw.to_vec()).expect("text");
            assert!(!raw.contains("secret") && raw.contains('l'), "{raw}");
        }
    }

    #[test]
    fn finds_the_token_under_both_names() {
        assert_eq!(token(b"lat=1&id=wld%5Fx").as_deref(), Some("wld_x"));
        assert_eq!(token(b"deviceid=a").as_deref(), Some("a"));
        assert_eq!(token(b"lat=1&id="), None);
    }

    proptest! {
        #[test]
        fn never_panics(
            query in proptest::collection::vec(any::<u8>(), 0..100),
            form in "(lat|lon|timestamp|location|speed|valid|=|&|,|[0-9:TZ. -]{0,12}){0,20}",
        ) {
            let upload = parse(&query, form.as_bytes(), SpeedUnit::Knots, &LIMITS);
            prop_assert_eq!(usize::from(upload.heartbeat) + upload.fixes.len() + upload.bad.len(), 1);
        }
    }
}
