//! Tracks as GPX 1.1 (and 1.0, whose track points look the same): each `<trk>` is a courier, named
//! by its `<name>`, else by the file. Points without a time are no fixes.

use std::path::Path;

use anyhow::{Context, bail};
use roxmltree::{Document, Node};

use super::super::api::UploadFix;
use super::tracks::Tracks;
use crate::domain::UnixMs;

/// Largest GPX file that is read, bytes; it is parsed as a whole.
const MAX_FILE: u64 = 512 << 20;

/// Adds the track points of `file` to `tracks`.
pub(super) fn read(tracks: &mut Tracks, file: &Path) -> anyhow::Result<()> {
    let size = std::fs::metadata(file)?.len();
    if size > MAX_FILE {
        bail!("the file has {size} bytes and a GPX file may have {MAX_FILE}: split it, or use CSV");
    }
    let text = std::fs::read_to_string(file)?;
    let document = Document::parse(text.trim_start_matches('\u{feff}')).context("parse the XML")?;
    if document.root_element().tag_name().name() != "gpx" {
        bail!(
            "the root element is <{}>, not <gpx>",
            document.root_element().tag_name().name()
        );
    }
    let stem = file.file_stem().and_then(|s| s.to_str()).unwrap_or("track");
    for track in elements(document.root_element(), "trk") {
        let name = child_text(track, "name")
            .filter(|n| !n.is_empty())
            .unwrap_or(stem);
        for segment in elements(track, "trkseg") {
            for point in elements(segment, "trkpt") {
                match fix(point) {
                    Ok(fix) => tracks.add(name, fix)?,
                    Err(why) => {
                        let at = document.text_pos_at(point.range().start);
                        tracks.skip(format!("{}:{}", file.display(), at.row), why);
                    }
                }
            }
        }
    }
    Ok(())
}

fn fix(point: Node<'_, '_>) -> Result<UploadFix, &'static str> {
    let degrees = |name: &str| {
        point
            .attribute(name)
            .and_then(|v| v.trim().parse::<f64>().ok())
    };
    // Speed and course are elements of GPX 1.0, and extensions of 1.1.
    let value = |name: &str| {
        let found = point
            .descendants()
            .find(|n| n.is_element() && n.tag_name().name() == name);
        found
            .and_then(|n| n.text())
            .and_then(|v| v.trim().parse::<f32>().ok())
    };
    let time = child_text(point, "time").ok_or("a track point without a time")?;
    Ok(UploadFix {
        fix_time: UnixMs::parse_rfc3339(time)
            .map_err(|_| "time is no RFC 3339 time")?
            .0,
        lat: degrees("lat").ok_or("lat is no number")?,
        lon: degrees("lon").ok_or("lon is no number")?,
        accuracy_m: value("accuracy"),
        speed_mps: value("speed"),
        heading_deg: value("course"),
        altitude_m: value("ele"),
        battery_pct: None,
    })
}

fn elements<'a, 'i>(
    parent: Node<'a, 'i>,
    name: &'static str,
) -> impl Iterator<Item = Node<'a, 'i>> {
    parent
        .children()
        .filter(move |n| n.is_element() && n.tag_name().name() == name)
}

fn child_text<'a>(parent: Node<'a, '_>, name: &'static str) -> Option<&'a str> {
    elements(parent, name)
        .next()
        .and_then(|n| n.text())
        .map(str::trim)
}
