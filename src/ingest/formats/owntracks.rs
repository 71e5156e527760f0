//! OwnTracks in HTTP mode: one JSON message a request. Only `_type: location` holds a fix; every
//! other type is answered and not kept.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;

use super::candidate::{Number, Time};
use super::{Candidate, Limits, Reason, Upload};

/// OwnTracks tells speed in km/h.
const MPS_A_KMH: f64 = 1.0 / 3.6;

#[derive(Deserialize, Default)]
#[serde(default)]
struct Message<'a> {
    #[serde(borrow, rename = "_type")]
    kind: Cow<'a, str>,
    lat: Number,
    lon: Number,
    tst: Number,
    acc: Number,
    vel: Number,
    cog: Number,
    alt: Number,
    batt: Number,
}

/// Takes a body apart. An empty one is legal.
#[must_use]
pub fn parse(body: &[u8], limits: &Limits) -> Upload {
    if body.trim_ascii().is_empty() {
        return Upload::default();
    }
    let raw = || Bytes::copy_from_slice(body);
    let Ok(message) = serde_json::from_slice::<Message<'_>>(body) else {
        return Upload::unreadable(Reason::Unreadable, raw());
    };
    let mut upload = Upload::default();
    if message.kind == "location" {
        let fix = Candidate {
            time: Time::from_number(message.tst, 1000.0),
            lat: message.lat,
            lon: message.lon,
            accuracy_m: message.acc,
            speed_mps: message.vel.scaled(MPS_A_KMH),
            heading_deg: message.cog,
            altitude_m: message.alt,
            battery_pct: message.batt,
        };
        upload.take(&fix, limits, raw);
    }
    upload
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::UnixMs;

    const LIMITS: Limits = Limits {
        now: UnixMs(1_795_000_000_000),
        max_age_ms: 400 * 86_400_000,
        max_fixes: 1000,
    };

    fn parsed(body: &str) -> Upload {
        parse(body.as_bytes(), &LIMITS)
    }

    #[test]
    fn reads_a_location() {
        let fix = parsed(
            r#"{"_type":"location","lat":35.9,"lon":14.5,"tst":1794996000,"acc":12,"alt":30,"vel":36,
            "cog":270,"batt":88,"tid":"ab","t":"u","m":1,"conn":"m","created_at":1794996001}"#,
        )
        .fixes[0];
        assert_eq!(fix.fix_time, UnixMs(1_794_996_000_000));
        assert_eq!(fix.speed_mps, Some(10.0));
        assert_eq!((fix.heading_deg, fix.battery_pct), (Some(270.0), Some(88)));
        let bare = parsed(r#"{"_type":"location","lat":35.9,"lon":14.5,"tst":1794996000}"#);
        assert_eq!(bare.fixes[0].speed_mps, None);
    }

    #[test]
    fn nothing_else_is_ever_a_fix() {
        for kind in [
            "transition",
            "waypoint",
            "waypoints",
            "lwt",
            "status",
            "steps",
            "card",
            "cmd",
            "configuration",
            "encrypted",
            "somethingNew",
            "",
        ] {
            let body = format!(r#"{{"_type":"{kind}","lat":1,"lon":2,"tst":1794996000}}"#);
            assert_eq!(parsed(&body), Upload::default(), "{kind}");
        }
        for body in ["", "  ", "{}"] {
            assert_eq!(parsed(body), Upload::default());
        }
    }

    #[test]
    fn bad_locations_are_named() {
        for (body, reason) in [
            (
                r#"{"_type":"location","lat":1,"lon":2}"#,
                Reason::MissingTime,
            ),
            (
                r#"{"_type":"location","tst":1794996000}"#,
                Reason::MissingCoordinates,
            ),
            (
                r#"{"_type":"location","lat":91,"lon":2,"tst":1}"#,
                Reason::Latitude,
            ),
            (
                r#"{"_type":"location","lat":"1","lon":2,"tst":1}"#,
                Reason::NotANumber,
            ),
            (r#"{"_type":7}"#, Reason::Unreadable),
            ("not json", Reason::Unreadable),
        ] {
            assert_eq!(parsed(body).bad[0].reason, reason, "{body}");
        }
    }

    proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&body, &LIMITS));
        }
    }
}
