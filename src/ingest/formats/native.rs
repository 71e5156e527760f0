//! Waylog's own upload: one fix, an array of fixes, or `{"fixes":[…]}`.
//!
//! ```json
//! {"fix_time":"2026-11-22T10:00:00.123Z","lat":35.9,"lon":14.5,"accuracy_m":5,"speed_mps":4.2,
//!  "heading_deg":270,"altitude_m":30,"battery_pct":88}
//! ```
//! `fix_time` may also be Unix milliseconds; all after `lon` is optional; unknown fields are
//! ignored. Some languages write `NaN` and `Infinity` although JSON has no such words: a fix that
//! holds one is put in quarantine like any other bad fix, and its neighbours are kept.

use std::fmt;

use bytes::Bytes;
use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error, IgnoredAny, MapAccess, SeqAccess, Visitor};
use serde_json::value::RawValue;

use super::{Candidate, Limits, Reason, Upload};

/// Why nothing of a body could be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum Unreadable {
    /// Not JSON, or neither an object nor an array of them. The text holds no value of the body.
    #[error("the body cannot be read: {0}")]
    NotAnUpload(String),
    /// More fixes than one upload may hold.
    #[error("more than {0} fixes in one upload; send them in several")]
    TooMany(usize),
}

/// Takes a body apart.
pub fn parse(body: &[u8], limits: &Limits) -> Result<Upload, Unreadable> {
    match read(body, limits) {
        Err(Unreadable::NotAnUpload(reason)) => match with_words_quoted(body) {
            Some(body) => read(&body, limits),
            None => Err(Unreadable::NotAnUpload(reason)),
        },
        done => done,
    }
}

fn read(body: &[u8], limits: &Limits) -> Result<Upload, Unreadable> {
    let mut reading = Reading {
        limits,
        upload: Upload::default(),
        too_many: false,
    };
    let mut json = serde_json::Deserializer::from_slice(body);
    let read = Whole(&mut reading)
        .deserialize(&mut json)
        .and_then(|()| json.end());
    if reading.too_many {
        return Err(Unreadable::TooMany(limits.max_fixes));
    }
    read.map_err(|e| Unreadable::NotAnUpload(e.to_string()))?;
    let mut upload = reading.upload;
    if !upload.bad.is_empty() {
        fill_in_raw(&mut upload, body);
    }
    Ok(upload)
}

/// Bad fixes are rare: only then is the body split into the texts of its fixes.
fn fill_in_raw(upload: &mut Upload, body: &[u8]) {
    #[derive(Deserialize)]
    struct Listed<'a> {
        #[serde(borrow)]
        fixes: Vec<&'a RawValue>,
    }
    let texts = serde_json::from_slice::<Vec<&RawValue>>(body)
        .or_else(|_| serde_json::from_slice::<Listed<'_>>(body).map(|listed| listed.fixes))
        .unwrap_or_default();
    for bad in &mut upload.bad {
        let text = texts.get(bad.index).map_or(body, |t| t.get().as_bytes());
        bad.raw = Bytes::copy_from_slice(text);
    }
}

/// The body with the words that are no JSON in quotes; `None` if it holds none.
fn with_words_quoted(body: &[u8]) -> Option<Vec<u8>> {
    const WORDS: [&[u8]; 3] = [b"-Infinity", b"Infinity", b"NaN"];
    let mut out = Vec::with_capacity(body.len() + 16);
    let (mut rest, mut found, mut in_text) = (body, false, false);
    while let Some((&byte, after)) = rest.split_first() {
        let word = WORDS.iter().find(|w| !in_text && rest.starts_with(w));
        if let Some(word) = word {
            out.extend_from_slice(b"\"NaN\"");
            rest = &rest[word.len()..];
            found = true;
            continue;
        }
        out.push(byte);
        rest = after;
        match byte {
            b'"' => in_text = !in_text,
            b'\\' if in_text => {
                if let Some((&escaped, after)) = rest.split_first() {
                    out.push(escaped);
                    rest = after;
                }
            }
            _ => {}
        }
    }
    found.then_some(out)
}

struct Reading<'a> {
    limits: &'a Limits,
    upload: Upload,
    too_many: bool,
}

impl Reading<'_> {
    /// Takes a fix in, `None` for an element that is no object.
    fn take<E: Error>(&mut self, candidate: Option<&Candidate>) -> Result<(), E> {
        if self.upload.fixes.len() + self.upload.bad.len() == self.limits.max_fixes {
            self.too_many = true;
            return Err(E::custom("too many fixes"));
        }
        match candidate {
            Some(candidate) => self.upload.take(candidate, self.limits, Bytes::new),
            None => self.upload.refuse(Reason::Unreadable, Bytes::new()),
        }
        Ok(())
    }
}

#[derive(Deserialize)]
#[serde(field_identifier, rename_all = "snake_case")]
enum Field {
    FixTime,
    Lat,
    Lon,
    AccuracyM,
    SpeedMps,
    HeadingDeg,
    AltitudeM,
    BatteryPct,
    Fixes,
    #[serde(other)]
    Other,
}

/// Reads the value of `field`. A field that stands twice counts as it stands last.
fn read_field<'de, A: MapAccess<'de>>(
    candidate: &mut Candidate,
    field: &Field,
    map: &mut A,
) -> Result<(), A::Error> {
    match field {
        Field::FixTime => candidate.time = map.next_value()?,
        Field::Lat => candidate.lat = map.next_value()?,
        Field::Lon => candidate.lon = map.next_value()?,
        Field::AccuracyM => candidate.accuracy_m = map.next_value()?,
        Field::SpeedMps => candidate.speed_mps = map.next_value()?,
        Field::HeadingDeg => candidate.heading_deg = map.next_value()?,
        Field::AltitudeM => candidate.altitude_m = map.next_value()?,
        Field::BatteryPct => candidate.battery_pct = map.next_value()?,
        Field::Fixes | Field::Other => {
            map.next_value::<IgnoredAny>()?;
        }
    }
    Ok(())
}

/// The body.
struct Whole<'a, 'b>(&'a mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for Whole<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fix, an array of fixes, or an object with `fixes`")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        List(self.0).visit_seq(seq)
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut candidate = Candidate::default();
        let mut listed = false;
        while let Some(field) = map.next_key::<Field>()? {
            if matches!(field, Field::Fixes) && !listed {
                listed = true;
                map.next_value_seed(List(self.0))?;
            } else {
                read_field(&mut candidate, &field, &mut map)?;
            }
        }
        if listed {
            return Ok(());
        }
        self.0.take(Some(&candidate))
    }
}

/// The array of fixes.
struct List<'a, 'b>(&'a mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for List<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for List<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("an array of fixes")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while seq.next_element_seed(Element(self.0))?.is_some() {}
        Ok(())
    }
}

/// One entry of the array.
struct Element<'a, 'b>(&'a mut Reading<'b>);

impl<'de> DeserializeSeed<'de> for Element<'_, '_> {
    type Value = ();
    fn deserialize<D: Deserializer<'de>>(self, d: D) -> Result<(), D::Error> {
        d.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Element<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a fix")
    }
    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut candidate = Candidate::default();
        while let Some(field) = map.next_key::<Field>()? {
            read_field(&mut candidate, &field, &mut map)?;
        }
        self.0.take(Some(&candidate))
    }
    fn visit_seq<A: SeqAccess<'de>>(self, seq: A) -> Result<(), A::Error> {
        IgnoredAny.visit_seq(seq)?;
        self.0.take(None)
    }
    fn visit_str<E: Error>(self, _: &str) -> Result<(), E> {
        self.0.take(None)
    }
    fn visit_f64<E: Error>(self, _: f64) -> Result<(), E> {
        self.0.take(None)
    }
    fn visit_i64<E: Error>(self, _: i64) -> Result<(), E> {
        self.0.take(None)
    }
    fn visit_u64<E: Error>(self, _: u64) -> Result<(), E> {
        self.0.take(None)
    }
    fn visit_bool<E: Error>(self, _: bool) -> Result<(), E> {
        self.0.take(None)
    }
    fn visit_unit<E: Error>(self) -> Result<(), E> {
        self.0.take(None)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Fix, Position, UnixMs};

    const NOW: UnixMs = UnixMs(1_795_000_000_000);
    const LIMITS: Limits = Limits {
        now: NOW,
        max_age_ms: 400 * 86_400_000,
        max_fixes: 1000,
    };

    fn parsed(body: &str) -> Upload {
        parse(body.as_bytes(), &LIMITS).expect("readable")
    }

    fn reasons(upload: &Upload) -> Vec<(usize, Reason)> {
        upload.bad.iter().map(|b| (b.index, b.reason)).collect()
    }

    #[test]
    fn reads_a_fix_with_all_its_fields_in_any_of_the_three_shapes() {
        let fix = r#"{"fix_time":"2026-11-18T13:33:20.123Z","lat":35.9,"lon":14.5,"accuracy_m":5,
            "speed_mps":4.2,"heading_deg":270,"altitude_m":30,"battery_pct":88,"odometer":7}"#;
        let expected = Fix {
            fix_time: UnixMs::parse_rfc3339("2026-11-18T13:33:20.123Z").expect("a time"),
            position: Position::from_degrees(35.9, 14.5).expect("a place"),
            accuracy_m: Some(5.0),
            speed_mps: Some(4.2),
            heading_deg: Some(270.0),
            altitude_m: Some(30.0),
            battery_pct: Some(88),
        };
        for body in [
            fix.to_owned(),
            format!("[{fix}]"),
            format!("{{\"fixes\":[{fix}]}}"),
        ] {
            let upload = parsed(&body);
            assert_eq!(upload.fixes, [expected]);
            assert!(upload.bad.is_empty());
        }
    }

    #[test]
    fn a_bad_fix_costs_its_neighbours_nothing() {
        let good = format!(r#"{{"fix_time":{},"lat":1,"lon":2}}"#, NOW.0);
        let upload = parsed(&format!(
            r#"[{good},{{"fix_time":1,"lat":1,"lon":2}},7,{{"fix_time":{},"lat":"x","lon":2}},
               {{"lat":1,"lon":2}},{{"fix_time":[1],"lat":1,"lon":2}},{good},null,[[]]]"#,
            NOW.0
        ));
        assert_eq!(upload.fixes.len(), 2);
        assert_eq!(
            reasons(&upload),
            [
                (1, Reason::Before2000),
                (2, Reason::Unreadable),
                (3, Reason::NotANumber),
                (4, Reason::MissingTime),
                (5, Reason::NotATime),
                (7, Reason::Unreadable),
                (8, Reason::Unreadable),
            ]
        );
        assert_eq!(&upload.bad[0].raw[..], br#"{"fix_time":1,"lat":1,"lon":2}"#);
        assert_eq!(&upload.bad[1].raw[..], b"7");
    }

    #[test]
    fn words_that_are_no_json_cost_only_their_own_fix() {
        let now = NOW.0;
        let upload = parsed(&format!(
            r#"{{"fixes":[{{"fix_time":{now},"lat":NaN,"lon":2}},{{"fix_time":{now},"lat":1,"lon":-Infinity}},
               {{"fix_time":{now},"lat":1,"lon":2,"speed_mps":Infinity,"note":"a NaN \" NaN"}}]}}"#
        ));
        assert_eq!(
            reasons(&upload),
            [(0, Reason::NotANumber), (1, Reason::NotANumber)]
        );
        assert_eq!(upload.fixes.len(), 1);
        assert_eq!(upload.fixes[0].speed_mps, None);
    }

    #[test]
    fn what_is_no_upload_is_unreadable() {
        for body in [
            "",
            "{",
            "7",
            "null",
            "\"x\"",
            "[}",
            "{\"fixes\":7}",
            "[1]x",
            "NaN",
        ] {
            let read = parse(body.as_bytes(), &LIMITS);
            assert!(
                matches!(read, Err(Unreadable::NotAnUpload(_))),
                "{body}: {read:?}"
            );
        }
        assert!(parse(b"\xff\xfe", &LIMITS).is_err());
    }

    #[test]
    fn more_fixes_than_allowed_are_refused() {
        let body = format!("[{}1]", "1,".repeat(1000));
        assert_eq!(
            parse(body.as_bytes(), &LIMITS),
            Err(Unreadable::TooMany(1000))
        );
        let body = format!("[{}1]", "1,".repeat(999));
        assert_eq!(parsed(&body).bad.len(), 1000);
    }

    #[test]
    fn deep_nesting_does_not_overflow_the_stack() {
        for deep in [
            "[".repeat(1 << 20),
            format!("{{\"x\":{}", "[".repeat(1 << 20)),
        ] {
            assert!(parse(deep.as_bytes(), &LIMITS).is_err());
        }
        let closed = format!("{{\"x\":{}{}}}", "[".repeat(1 << 19), "]".repeat(1 << 19));
        assert!(parse(closed.as_bytes(), &LIMITS).is_ok_and(|u| u.bad.len() == 1));
    }

    proptest! {
        #[test]
        fn never_panics_on_bytes(body in proptest::collection::vec(any::<u8>(), 0..200)) {
            drop(parse(&body, &LIMITS));
        }

        #[test]
        fn never_panics_and_loses_no_count_on_json_like_text(
            body in r#"(\[|\{|\]|\}|,|:|"fixes"|"lat"|"lon"|"fix_time"|-?[0-9]{1,25}(\.[0-9]{1,3})?(e[0-9]{1,3})?|NaN|null|"\\"|true| ){0,40}"#
        ) {
            if let Ok(upload) = parse(body.as_bytes(), &LIMITS) {
                let last = upload.bad.iter().map(|b| b.index).max();
                prop_assert!(last.is_none_or(|i| i < upload.fixes.len() + upload.bad.len()));
            }
        }

        #[test]
        fn keeps_every_good_fix(
            places in proptest::collection::vec((-90.0_f64..=90.0, -180.0_f64..=180.0), 1..50)
        ) {
            let fixes: Vec<String> = places
                .iter()
                .enumerate()
                .map(|(i, (lat, lon))| {
                    format!(r#"{{"fix_time":{},"lat":{lat},"lon":{lon}}}"#, NOW.0 + i as i64)
                })
                .collect();
            let upload = parsed(&format!("[{}]", fixes.join(",")));
            prop_assert_eq!(upload.fixes.len(), places.len());
            for (fix, (lat, lon)) in upload.fixes.iter().zip(&places) {
                prop_assert_eq!(fix.position, Position::from_degrees(*lat, *lon).expect("a place"));
            }
        }
    }
}
