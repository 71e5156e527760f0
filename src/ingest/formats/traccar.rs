//! JSON of Traccar Client 9 and later, posted where the OsmAnd protocol is: an object or an array
//! of `{"location":{…},"device_id":"…"}`. `device_id` is the device token.

use std::borrow::Cow;

use bytes::Bytes;
use serde::Deserialize;
use serde_json::value::RawValue;

use super::candidate::{Number, Time};
use super::{Candidate, Limits, Reason, Upload, without_secret};

#[derive(Deserialize)]
struct Post<'a> {
    #[serde(borrow, default)]
    location: Option<&'a RawValue>,
    #[serde(borrow, default)]
    device_id: Option<Cow<'a, str>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Location<'a> {
    timestamp: Time,
    coords: Option<Coords>,
    battery: Option<Battery>,
    #[serde(borrow)]
    extras: Option<Extras<'a>>,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Coords {
    latitude: Number,
    longitude: Number,
    accuracy: Number,
    speed: Number,
    heading: Number,
    altitude: Number,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Battery {
    level: Number,
}

#[derive(Deserialize, Default)]
#[serde(default)]
struct Extras<'a> {
    #[serde(borrow)]
    alarm: Option<Cow<'a, str>>,
}

/// The device token in a body, also where the rest of the body cannot be read.
#[must_use]
pub fn token(body: &[u8]) -> Option<String> {
    let parsed = elements(body).into_iter().flatten().find_map(|element| {
        let post: Post<'_> = serde_json::from_str(element.get()).ok()?;
        post.device_id.map(Cow::into_owned)
    });
    parsed.or_else(|| token_by_name(body))
}

/// The text that follows the first `"device_id":`, up to its closing quote.
fn token_by_name(body: &[u8]) -> Option<String> {
    const NAME: &[u8] = b"\"device_id\"";
    let at = body.windows(NAME.len()).position(|w| w == NAME)?;
    let rest = body[at + NAME.len()..].trim_ascii_start();
    let rest = rest.strip_prefix(b":")?.trim_ascii_start();
    let rest = rest.strip_prefix(b"\"")?;
    let end = rest.iter().position(|b| *b == b'"')?;
    let token = std::str::from_utf8(&rest[..end]).ok()?;
    (!token.is_empty()).then(|| token.to_owned())
}

/// The objects of a body; `None` if it is not JSON.
fn elements(body: &[u8]) -> Option<Vec<&RawValue>> {
    if body.trim_ascii_start().starts_with(b"[") {
        serde_json::from_slice(body).ok()
    } else {
        serde_json::from_slice(body).ok().map(|one| vec![one])
    }
}

/// Takes a body apart that was sent with `token`.
#[must_use]
pub fn parse(body: &[u8], token: &str, limits: &Limits) -> Upload {
    let Some(elements) = elements(body) else {
        return Upload::unreadable(Reason::Unreadable, without_secret(body, token));
    };
    let mut upload = Upload::default();
    for element in elements {
        if let Err(reason) = take(&mut upload, element, token, limits) {
            upload.refuse(reason, without_secret(element.get().as_bytes(), token));
        }
    }
    upload
}

fn take(
    upload: &mut Upload,
    element: &RawValue,
    token: &str,
    limits: &Limits,
) -> Result<(), Reason> {
    let unreadable = |_| Reason::Unreadable;
    let post: Post<'_> = serde_json::from_str(element.get()).map_err(unreadable)?;
    let raw = post.location.ok_or(Reason::Unreadable)?.get();
    let location: Location<'_> = serde_json::from_str(raw).map_err(unreadable)?;
    if post.device_id.is_some_and(|id| id != token) {
        // The other device's token is not ours to keep.
        upload.refuse(Reason::OtherDevice, Bytes::copy_from_slice(raw.as_bytes()));
        return Ok(());
    }
    let alarm = location.extras.and_then(|extras| extras.alarm);
    upload.sos |= alarm.is_some_and(|alarm| alarm.eq_ignore_ascii_case("sos"));
    let Some(coords) = location.coords else {
        upload.heartbeat = true;
        return Ok(());
    };
    let fix = Candidate {
        time: location.timestamp,
        lat: coords.latitude,
        lon: coords.longitude,
        accuracy_m: coords.accuracy,
        speed_mps: coords.speed,
        heading_deg: coords.heading,
        altitude_m: coords.altitude,
        battery_pct: location.battery.unwrap_or_default().level.scaled(100.0),
    };
    upload.take(&fix, limits, || Bytes::copy_from_slice(raw.as_bytes()));
    Ok(())
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
    const LOCATION: &str = r#"{"timestamp":"2026-11-18T10:00:00.000Z","coords":{"latitude":35.9,
        "longitude":14.5,"accuracy":5.1,"speed":4.2,"heading":270,"altitude":30},"is_moving":true,
        "odometer":12,"event":"motionchange","battery":{"level":0.88,"is_charging":false},
        "activity":{"type":"in_vehicle"},"extras":{},"_":"&id=x&lat=0"}"#;

    fn post(location: &str) -> String {
        format!(r#"{{"location":{location},"device_id":"wld_secret"}}"#)
    }

    fn parsed(body: &str) -> Upload {
        parse(body.as_bytes(), "wld_secret", &LIMITS)
    }

    #[test]
    fn reads_one_and_an_array() {
        let body = post(LOCATION);
        assert_eq!(token(body.as_bytes()).as_deref(), Some("wld_secret"));
        let upload = parsed(&body);
        let fix = upload.fixes[0];
        assert_eq!((fix.speed_mps, fix.heading_deg), (Some(4.2), Some(270.0)));
        assert_eq!((fix.accuracy_m, fix.battery_pct), (Some(5.1), Some(88)));
        let array = parsed(&format!("[{body},{body}]"));
        assert_eq!(array.fixes, [fix, fix]);
    }

    #[test]
    fn minus_one_is_unknown_and_no_coords_is_a_heartbeat() {
        let fix = parsed(&post(
            r#"{"timestamp":"2026-11-18T10:00:00Z","coords":{"latitude":1,"longitude":2,"speed":-1,
            "heading":-1,"accuracy":-1},"battery":{"level":-1}}"#,
        ))
        .fixes[0];
        assert_eq!((fix.speed_mps, fix.heading_deg), (None, None));
        assert_eq!((fix.accuracy_m, fix.battery_pct), (None, None));
        let beat = parsed(&post(
            r#"{"timestamp":"2026-11-18T10:00:00Z","extras":{"alarm":"sos"}}"#,
        ));
        assert!(beat.heartbeat && beat.sos && beat.fixes.is_empty());
    }

    #[test]
    fn bad_elements_are_kept_without_any_token() {
        let other =
            r#"{"location":{"coords":{"latitude":1,"longitude":2}},"device_id":"wld_other"}"#;
        let late = post(r#"{"timestamp":7,"coords":{"latitude":1,"longitude":2}}"#);
        let odd = post(r#"{"coords":7}"#);
        let body = format!("[{other},{late},{odd},7,{}]", post(LOCATION));
        let upload = parsed(&body);
        let reasons: Vec<Reason> = upload.bad.iter().map(|b| b.reason).collect();
        assert_eq!(
            reasons,
            [
                Reason::OtherDevice,
                Reason::Before2000,
                Reason::Unreadable,
                Reason::Unreadable
            ]
        );
        assert_eq!(upload.fixes.len(), 1);
        for bad in &upload.bad {
            let raw = String::from_utf8_lossy(&bad.raw);
            assert!(!raw.contains("wld_"), "{raw}");
        }
    }

    #[test]
    fn the_token_is_found_in_a_body_that_cannot_be_read() {
        let cut = r#"{"device_id" : "wld_secret","location":{"coords":{"latit"#;
        assert_eq!(token(cut.as_bytes()).as_deref(), Some("wld_secret"));
        let upload = parsed(cut);
        assert_eq!(upload.bad[0].reason, Reason::Unreadable);
        assert!(!String::from_utf8_lossy(&upload.bad[0].raw).contains("secret"));
        assert_eq!(token(b"\"device_id\":"), None);
    }

    proptest! {
        #[test]
        fn never_panics(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(token(&body));
            drop(parse(&body, "wld_secret", &LIMITS));
        }
    }
}
