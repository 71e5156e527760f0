//! The text formats of an export. Numbers are written from the steps in which they are stored, with
//! as many digits as those have: no rounding, no exponent.

use axum::body::Bytes;

use crate::analytics::columns::{
    DAY_MS, accuracy_dm, altitude_dm, battery_pct, heading_ddeg, speed_cmps,
};
use crate::domain::{CourierId, Fix, UnixMs};
use crate::http::Problem;

/// What an export may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(in crate::analytics) enum Format {
    /// `{"items":[…],"next_cursor":null}`.
    Json,
    /// With a header, RFC 4180.
    Csv,
    /// A FeatureCollection of points, RFC 7946.
    GeoJson,
}

impl Format {
    pub(super) fn parse(word: Option<&str>) -> Result<Self, Problem> {
        match word.unwrap_or("json") {
            "json" => Ok(Self::Json),
            "csv" => Ok(Self::Csv),
            "geojson" => Ok(Self::GeoJson),
            _ => Err(Problem::invalid("`format` must be json, csv or geojson")),
        }
    }

    pub(super) fn content_type(self) -> &'static str {
        match self {
            Self::Json => "application/json",
            Self::Csv => "text/csv; charset=utf-8; header=present",
            Self::GeoJson => "application/geo+json",
        }
    }

    pub(super) fn extension(self) -> &'static str {
        match self {
            Self::Json => "json",
            Self::Csv => "csv",
            Self::GeoJson => "geojson",
        }
    }
}

/// Writes fixes of one courier into a buffer that is taken from time to time.
pub(super) struct Writer {
    format: Format,
    courier: CourierId,
    out: Vec<u8>,
    first: bool,
    /// The last day written and its `YYYY-MM-DDT`: most fixes share it.
    date: (i64, String),
}

impl Writer {
    pub(super) fn new(format: Format, courier: CourierId) -> Self {
        Self {
            format,
            courier,
            out: Vec::new(),
            first: true,
            date: (i64::MIN, String::new()),
        }
    }

    /// Bytes waiting to be taken.
    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn take(&mut self) -> Bytes {
        let next = Vec::with_capacity(self.out.capacity());
        std::mem::replace(&mut self.out, next).into()
    }

    pub(super) fn begin(&mut self) {
        self.out.extend_from_slice(match self.format {
            Format::Json => b"{\"items\":[".as_slice(),
            Format::Csv => {
                b"courier_id,fix_time,lat,lon,accuracy_m,speed_mps,heading_deg,altitude_m,battery_pct\r\n"
            }
            Format::GeoJson => b"{\"type\":\"FeatureCollection\",\"features\":[",
        });
    }

    pub(super) fn end(&mut self) {
        self.out.extend_from_slice(match self.format {
            Format::Json => b"],\"next_cursor\":null}".as_slice(),
            Format::Csv => b"",
            Format::GeoJson => b"]}",
        });
    }

    pub(super) fn fix(&mut self, fix: &Fix) {
        match self.format {
            Format::Json => self.json(fix),
            Format::Csv => self.csv(fix),
            Format::GeoJson => self.geojson(fix),
        }
        self.first = false;
    }

    fn csv(&mut self, fix: &Fix) {
        self.text(self.courier.clone().as_str());
        self.out.push(b',');
        self.time(fix.fix_time);
        self.out.push(b',');
        decimal(&mut self.out, fix.position.lat_e7(), 7);
        self.out.push(b',');
        decimal(&mut self.out, fix.position.lon_e7(), 7);
        for (_, steps, digits) in measurements(fix) {
            self.out.push(b',');
            if let Some(steps) = steps {
                decimal(&mut self.out, steps, digits);
            }
        }
        self.text("\r\n");
    }

    fn json(&mut self, fix: &Fix) {
        self.separate();
        self.text("{\"fix_time\":\"");
        self.time(fix.fix_time);
        self.text("\",\"lat\":");
        decimal(&mut self.out, fix.position.lat_e7(), 7);
        self.text(",\"lon\":");
        decimal(&mut self.out, fix.position.lon_e7(), 7);
        self.measured(fix);
        self.text("}");
    }

    fn geojson(&mut self, fix: &Fix) {
        self.separate();
        self.text("{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[");
        decimal(&mut self.out, fix.position.lon_e7(), 7);
        self.out.push(b',');
        decimal(&mut self.out, fix.position.lat_e7(), 7);
        self.text("]},\"properties\":{\"courier_id\":\"");
        self.text(self.courier.clone().as_str());
        self.text("\",\"fix_time\":\"");
        self.time(fix.fix_time);
        self.text("\"");
        self.measured(fix);
        self.text("}}");
    }

    /// `,"accuracy_m":4.9,…`, null where unknown.
    fn measured(&mut self, fix: &Fix) {
        for (name, steps, digits) in measurements(fix) {
            self.text(",\"");
            self.text(name);
            self.text("\":");
            match steps {
                Some(steps) => decimal(&mut self.out, steps, digits),
                None => self.text("null"),
            }
        }
    }

    fn separate(&mut self) {
        if !self.first {
            self.text(",\n");
        }
    }

    fn text(&mut self, text: &str) {
        self.out.extend_from_slice(text.as_bytes());
    }

    /// As [`UnixMs::to_rfc3339`], without asking the calendar each time.
    fn time(&mut self, at: UnixMs) {
        let (day, ms) = (at.0.div_euclid(DAY_MS), at.0.rem_euclid(DAY_MS));
        if self.date.0 != day {
            let text = at.to_rfc3339();
            let date = text.split_once('T').map_or("", |(date, _)| date);
            self.date = (day, format!("{date}T"));
        }
        self.out.extend_from_slice(self.date.1.as_bytes());
        let two = |n: i64| [b'0' + (n / 10 % 10) as u8, b'0' + (n % 10) as u8];
        self.out.extend_from_slice(&two(ms / 3_600_000));
        self.out.push(b':');
        self.out.extend_from_slice(&two(ms / 60_000 % 60));
        self.out.push(b':');
        self.out.extend_from_slice(&two(ms / 1000 % 60));
        self.out.push(b'.');
        self.out.push(b'0' + (ms / 100 % 10) as u8);
        self.out.extend_from_slice(&two(ms % 100));
        self.out.push(b'Z');
    }
}

/// Name, value in steps, and how many decimal digits a step has.
fn measurements(fix: &Fix) -> [(&'static str, Option<i32>, u32); 5] {
    [
        ("accuracy_m", accuracy_dm(fix), 1),
        ("speed_mps", speed_cmps(fix), 2),
        ("heading_deg", heading_ddeg(fix).map(i32::from), 1),
        ("altitude_m", altitude_dm(fix), 1),
        ("battery_pct", battery_pct(fix).map(i32::from), 0),
    ]
}

/// Writes `steps / 10^digits` exactly.
fn decimal(out: &mut Vec<u8>, steps: i32, digits: u32) {
    if steps < 0 {
        out.push(b'-');
    }
    let mut rest = steps.unsigned_abs();
    // 10 digits of a u32, and the point.
    let mut text = [b'0'; 12];
    let mut at = text.len();
    let mut written = 0;
    while rest > 0 || written <= digits {
        if written == digits && digits > 0 {
            at -= 1;
            text[at] = b'.';
        }
        at -= 1;
        text[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        written += 1;
    }
    out.extend_from_slice(&text[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::Position;

    fn text(steps: i32, digits: u32) -> String {
        let mut out = Vec::new();
        decimal(&mut out, steps, digits);
        String::from_utf8(out).expect("ASCII")
    }

    #[test]
    fn decimals_are_exact() {
        assert_eq!(text(359_000_001, 7), "35.9000001");
        assert_eq!(text(-1_800_000_000, 7), "-180.0000000");
        assert_eq!(text(-5, 7), "-0.0000005");
        assert_eq!(text(0, 0), "0");
        assert_eq!(text(100, 0), "100");
        assert_eq!(text(49, 1), "4.9");
        assert_eq!(text(i32::MIN, 0), "-2147483648");
    }

    fn export(format: Format, fixes: &[Fix]) -> String {
        let courier = CourierId::try_from("c-1").expect("an id");
        let mut writer = Writer::new(format, courier);
        writer.begin();
        for fix in fixes {
            writer.fix(fix);
        }
        writer.end();
        String::from_utf8(writer.take().to_vec()).expect("UTF-8")
    }

    fn two_fixes() -> Vec<Fix> {
        let at = Position::from_degrees(35.9, -14.5).expect("a position");
        let mut known = Fix::new(UnixMs(1_795_341_600_123), at);
        known.accuracy_m = Some(4.9);
        known.speed_mps = Some(12.34);
        known.heading_deg = Some(359.9);
        known.altitude_m = Some(-3.5);
        known.battery_pct = Some(88);
        vec![known, Fix::new(known.fix_time.plus_ms(DAY_MS), at)]
    }

    #[test]
    fn writes_csv() {
        assert_eq!(
            export(Format::Csv, &two_fixes()),
            "courier_id,fix_time,lat,lon,accuracy_m,speed_mps,heading_deg,altitude_m,battery_pct\r\n\
             c-1,2026-11-22T10:00:00.123Z,35.9000000,-14.5000000,4.9,12.34,359.9,-3.5,88\r\n\
             c-1,2026-11-23T10:00:00.123Z,35.9000000,-14.5000000,,,,,\r\n"
        );
    }

    #[test]
    fn writes_json_that_parses_back() {
        for format in [Format::Json, Format::GeoJson] {
            let empty = export(format, &[]);
            serde_json::from_str::<serde_json::Value>(&empty).expect("JSON");
        }
        let json: serde_json::Value =
            serde_json::from_str(&export(Format::Json, &two_fixes())).expect("JSON");
        assert_eq!(json["items"][0]["speed_mps"], 12.34);
        assert_eq!(json["items"][1]["speed_mps"], serde_json::Value::Null);
        assert_eq!(json["items"][1]["fix_time"], "2026-11-23T10:00:00.123Z");
        let geojson: serde_json::Value =
            serde_json::from_str(&export(Format::GeoJson, &two_fixes())).expect("JSON");
        let feature = &geojson["features"][1];
        assert_eq!(feature["geometry"]["coordinates"][0], -14.5);
        assert_eq!(feature["properties"]["courier_id"], "c-1");
    }
}
