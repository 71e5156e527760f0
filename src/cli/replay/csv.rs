//! Tracks as CSV: a header with `courier_id`, `fix_time_ms` (Unix ms) or `fix_time` (RFC 3339),
//! `lat`, `lon` in degrees; `speed_mps`, `heading_deg`, `accuracy_m`, `altitude_m` and
//! `battery_pct` where the source has them. Columns in any order, unknown ones are left out.

use std::path::Path;

use ::csv::StringRecord;
use anyhow::{Context, bail};

use super::super::api::UploadFix;
use super::tracks::Tracks;
use crate::domain::UnixMs;

/// Where each column stands.
struct Columns {
    courier: usize,
    time: usize,
    time_is_ms: bool,
    lat: usize,
    lon: usize,
    speed: Option<usize>,
    heading: Option<usize>,
    accuracy: Option<usize>,
    altitude: Option<usize>,
    battery: Option<usize>,
}

impl Columns {
    fn find(header: &StringRecord) -> anyhow::Result<Self> {
        let names: Vec<String> = header
            .iter()
            .map(|name| {
                name.trim_start_matches('\u{feff}')
                    .trim()
                    .to_ascii_lowercase()
            })
            .collect();
        let at = |name: &str| names.iter().position(|n| n == name);
        let need = |name: &str| {
            at(name).with_context(|| {
                format!("the header has no column {name}, only {}", names.join(", "))
            })
        };
        let (time, time_is_ms) = match (at("fix_time_ms"), at("fix_time")) {
            (Some(time), _) => (time, true),
            (None, Some(time)) => (time, false),
            (None, None) => (need("fix_time_ms")?, true),
        };
        Ok(Self {
            courier: need("courier_id")?,
            time,
            time_is_ms,
            lat: need("lat")?,
            lon: need("lon")?,
            speed: at("speed_mps"),
            heading: at("heading_deg"),
            accuracy: at("accuracy_m"),
            altitude: at("altitude_m"),
            battery: at("battery_pct"),
        })
    }

    fn fix<'r>(&self, row: &'r StringRecord) -> Result<(&'r str, UploadFix), &'static str> {
        let text = |column: usize| row.get(column).unwrap_or_default();
        let courier = text(self.courier);
        if courier.is_empty() {
            return Err("courier_id is empty");
        }
        let fix_time = if self.time_is_ms {
            text(self.time)
                .parse()
                .map_err(|_| "fix_time_ms is no whole number")?
        } else {
            UnixMs::parse_rfc3339(text(self.time))
                .map_err(|_| "fix_time is no RFC 3339 time")?
                .0
        };
        let number = |column: Option<usize>| match column.map(text) {
            None | Some("") => Ok(None),
            Some(text) => text
                .parse::<f32>()
                .map(Some)
                .map_err(|_| "a value is no number"),
        };
        let fix = UploadFix {
            fix_time,
            lat: text(self.lat).parse().map_err(|_| "lat is no number")?,
            lon: text(self.lon).parse().map_err(|_| "lon is no number")?,
            accuracy_m: number(self.accuracy)?,
            speed_mps: number(self.speed)?,
            heading_deg: number(self.heading)?,
            altitude_m: number(self.altitude)?,
            // `as` saturates, so that 250 % stays something for the server to judge.
            battery_pct: number(self.battery)?.map(|pct| pct.round() as u8),
        };
        Ok((courier, fix))
    }
}

/// Adds the rows of `file` to `tracks`.
pub(super) fn read(tracks: &mut Tracks, file: &Path) -> anyhow::Result<()> {
    let mut reader = ::csv::ReaderBuilder::new()
        .flexible(true)
        .trim(::csv::Trim::All)
        .from_path(file)?;
    let columns = Columns::find(reader.headers().context("read the header")?)?;
    let mut row = StringRecord::new();
    loop {
        let place = |line: u64| format!("{}:{line}", file.display());
        let line = reader.position().line();
        match reader.read_record(&mut row) {
            Ok(false) => return Ok(()),
            Ok(true) => match columns.fix(&row) {
                Ok((courier, fix)) => tracks.add(courier, fix)?,
                Err(why) => tracks.skip(place(line), why),
            },
            Err(error) if error.is_io_error() => bail!(error),
            Err(error) => tracks.skip(place(line), &error.to_string()),
        }
    }
}
