//! The text formats of an export: JSON, CSV, GPX, GeoJSON. Numbers are written from the steps in which
//! they are stored, with as many digits as those have: no rounding, no exponent.

use axum::body::Bytes;

use super::format::Format;
use crate::analytics::columns::{
    DAY_MS, accuracy_dm, altitude_dm, battery_pct, heading_ddeg, speed_cmps,
};
use crate::domain::{CourierId, Fix, UnixMs};

/// A gap of this length begins a new segment of a GPX track, milliseconds.
const GPX_GAP_MS: i64 = 3_600_000;

/// 180° in steps of 1e-7°.
const HALF_TURN_E7: i32 = 1_800_000_000;

/// Writes fixes as text.
pub(super) struct TextWriter {
    format: Format,
    out: Vec<u8>,
    /// Courier and time of the fix before.
    last: Option<(CourierId, UnixMs)>,
    /// The last day written and its `YYYY-MM-DDT`: most fixes share it.
    date: (i64, String),
}

impl TextWriter {
    pub(super) fn new(format: Format) -> Self {
        let begin = match format {
            Format::Json | Format::Parquet => "{\"items\":[",
            Format::Csv => {
                "courier_id,fix_time,lat,lon,accuracy_m,speed_mps,heading_deg,altitude_m,battery_pct\r\n"
            }
            Format::Gpx => {
                "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n\
                 <gpx version=\"1.1\" creator=\"Waylog\" \
                 xmlns=\"http://www.topografix.com/GPX/1/1\" \
                 xmlns:gpxtpx=\"http://www.garmin.com/xmlschemas/TrackPointExtension/v2\">\n"
            }
            Format::GeoJson => "{\"type\":\"FeatureCollection\",\"features\":[",
        };
        Self {
            format,
            out: begin.into(),
            last: None,
            date: (i64::MIN, String::new()),
        }
    }

    pub(super) fn len(&self) -> usize {
        self.out.len()
    }

    pub(super) fn take(&mut self) -> Bytes {
        let next = Vec::with_capacity(self.out.capacity());
        std::mem::replace(&mut self.out, next).into()
    }

    pub(super) fn write(&mut self, courier: &CourierId, fixes: &[Fix]) {
        for fix in fixes {
            match self.format {
                Format::Json | Format::Parquet => self.json(courier, fix),
                Format::Csv => self.csv(courier, fix),
                Format::Gpx => self.gpx(courier, fix),
                Format::GeoJson => self.geojson(courier, fix),
            }
            match &mut self.last {
                Some((same, at)) if same == courier => *at = fix.fix_time,
                last => *last = Some((courier.clone(), fix.fix_time)),
            }
        }
    }

    pub(super) fn finish(&mut self) {
        match self.format {
            Format::Json | Format::Parquet => self.text("],\"next_cursor\":null}"),
            Format::Csv => {}
            Format::Gpx if self.last.is_some() => self.text("</trkseg></trk>\n</gpx>\n"),
            Format::Gpx => self.text("</gpx>\n"),
            Format::GeoJson => self.text("]}"),
        }
    }

    fn csv(&mut self, courier: &CourierId, fix: &Fix) {
        self.text(courier.as_str());
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

    fn json(&mut self, courier: &CourierId, fix: &Fix) {
        self.separate();
        self.text("{\"courier_id\":\"");
        self.text(courier.as_str());
        self.text("\",\"fix_time\":\"");
        self.time(fix.fix_time);
        self.text("\",\"lat\":");
        decimal(&mut self.out, fix.position.lat_e7(), 7);
        self.text(",\"lon\":");
        decimal(&mut self.out, fix.position.lon_e7(), 7);
        self.measured(fix);
        self.text("}");
    }

    fn geojson(&mut self, courier: &CourierId, fix: &Fix) {
        self.separate();
        self.text("{\"type\":\"Feature\",\"geometry\":{\"type\":\"Point\",\"coordinates\":[");
        decimal(&mut self.out, fix.position.lon_e7(), 7);
        self.out.push(b',');
        decimal(&mut self.out, fix.position.lat_e7(), 7);
        self.text("]},\"properties\":{\"courier_id\":\"");
        self.text(courier.as_str());
        self.text("\",\"fix_time\":\"");
        self.time(fix.fix_time);
        self.text("\"");
        self.measured(fix);
        self.text("}}");
    }

    /// Elements in the order that the schema of GPX 1.1 wants; speed (m/s) and course (°) in the
    /// extension that is most widely read.
    fn gpx(&mut self, courier: &CourierId, fix: &Fix) {
        let last = self.last.as_ref().map(|(id, at)| (id == courier, *at));
        match last {
            Some((true, at)) if fix.fix_time.since(at) < GPX_GAP_MS => {}
            Some((true, _)) => self.text("</trkseg><trkseg>\n"),
            other => {
                if other.is_some() {
                    self.text("</trkseg></trk>\n");
                }
                // An id has no character that XML minds.
                self.text("<trk><name>");
                self.text(courier.as_str());
                self.text("</name><trkseg>\n");
            }
        }
        self.text("<trkpt lat=\"");
        decimal(&mut self.out, fix.position.lat_e7(), 7);
        self.text("\" lon=\"");
        // In GPX, longitudes end just before 180°.
        let lon_e7 = fix.position.lon_e7();
        let lon_e7 = if lon_e7 == HALF_TURN_E7 {
            -lon_e7
        } else {
            lon_e7
        };
        decimal(&mut self.out, lon_e7, 7);
        self.text("\">");
        if let Some(dm) = altitude_dm(fix) {
            self.element("ele", dm, 1);
        }
        self.text("<time>");
        self.time(fix.fix_time);
        self.text("</time>");
        let (speed, heading) = (speed_cmps(fix), heading_ddeg(fix));
        if speed.is_some() || heading.is_some() {
            self.text("<extensions><gpxtpx:TrackPointExtension>");
            if let Some(cmps) = speed {
                self.element("gpxtpx:speed", cmps, 2);
            }
            if let Some(ddeg) = heading {
                self.element("gpxtpx:course", ddeg.into(), 1);
            }
            self.text("</gpxtpx:TrackPointExtension></extensions>");
        }
        self.text("</trkpt>\n");
    }

    fn element(&mut self, name: &str, steps: i32, digits: u32) {
        self.text("<");
        self.text(name);
        self.text(">");
        decimal(&mut self.out, steps, digits);
        self.text("</");
        self.text(name);
        self.text(">");
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
        if self.last.is_some() {
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
        let mut writer = TextWriter::new(format);
        writer.write(&courier, fixes);
        writer.finish();
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

    #[test]
    fn writes_gpx_with_a_track_a_courier_and_a_segment_a_stretch() {
        let mut writer = TextWriter::new(Format::Gpx);
        for id in ["c-1", "c-2"] {
            writer.write(&CourierId::try_from(id).expect("an id"), &two_fixes());
        }
        writer.finish();
        let text = String::from_utf8(writer.take().to_vec()).expect("UTF-8");
        let xml = roxmltree::Document::parse(&text).expect("well-formed");
        let count = |name| xml.descendants().filter(|n| n.has_tag_name(name)).count();
        let ns = |name| ("http://www.topografix.com/GPX/1/1", name);
        assert_eq!(
            (count(ns("trk")), count(ns("trkseg")), count(ns("trkpt"))),
            (2, 4, 4)
        );
        assert!(text.contains("<ele>-3.5</ele><time>2026-11-22T10:00:00.123Z</time>"));
        assert!(text.contains("<gpxtpx:speed>12.34</gpxtpx:speed>"));
        let empty = export(Format::Gpx, &[]);
        roxmltree::Document::parse(&empty).expect("well-formed");
    }
}
