//! Recorded tracks in memory: every courier's fixes, sorted by time.

use std::collections::{HashMap, HashSet};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};

use super::super::api::UploadFix;
use crate::domain::CourierId;
use crate::domain::ids::MAX_ID_LEN;

/// Most fixes that are held at once (about 3 GB); more than that is to be replayed in parts.
const MAX_FIXES: usize = 50_000_000;

/// What the files hold.
#[derive(Debug, Default)]
pub(super) struct Tracks {
    couriers: Vec<CourierId>,
    fixes: Vec<Vec<UploadFix>>,
    unreadable: u64,
    by_name: HashMap<String, usize>,
    ids: HashSet<CourierId>,
    count: usize,
}

/// Reads all files; a courier may be in several.
pub(super) fn load(files: &[PathBuf]) -> anyhow::Result<Tracks> {
    let mut tracks = Tracks::default();
    for file in files {
        read(&mut tracks, file).with_context(|| format!("read {}", file.display()))?;
    }
    for fixes in &mut tracks.fixes {
        // Stable: of two fixes with one time the first in the file stays the first.
        fixes.sort_by_key(|f| f.fix_time);
    }
    if tracks.count == 0 {
        bail!(
            "there is no fix in the files ({} unreadable rows)",
            tracks.unreadable
        );
    }
    Ok(tracks)
}

fn read(tracks: &mut Tracks, file: &Path) -> anyhow::Result<()> {
    let extension = file
        .extension()
        .and_then(|e| e.to_str())
        .unwrap_or_default();
    match extension.to_ascii_lowercase().as_str() {
        "csv" => super::csv::read(tracks, file),
        "gpx" => super::gpx::read(tracks, file),
        _ => bail!("a track's file name ends with .csv or .gpx"),
    }
}

impl Tracks {
    /// The couriers, in the order in which they first appear.
    pub(super) fn couriers(&self) -> &[CourierId] {
        &self.couriers
    }

    /// The fixes of the courier at `index`, sorted by time.
    pub(super) fn of(&self, index: usize) -> &[UploadFix] {
        &self.fixes[index]
    }

    /// All fixes.
    pub(super) fn len(&self) -> usize {
        self.count
    }

    /// Rows that are no fix.
    pub(super) fn unreadable(&self) -> u64 {
        self.unreadable
    }

    /// Time of the first fix of all, Unix milliseconds.
    pub(super) fn first_ms(&self) -> i64 {
        self.fixes
            .iter()
            .filter_map(|f| f.first())
            .map(|f| f.fix_time)
            .min()
            .unwrap_or_default()
    }

    /// Shifts all times so that the first fix is at `now_ms` (Unix milliseconds).
    pub(super) fn shift_to(&mut self, now_ms: i64) {
        let by = now_ms.saturating_sub(self.first_ms());
        for fix in self.fixes.iter_mut().flatten() {
            fix.fix_time = fix.fix_time.saturating_add(by);
        }
    }

    /// Adds a fix of the courier whom the file calls `name`.
    pub(super) fn add(&mut self, name: &str, fix: UploadFix) -> anyhow::Result<()> {
        if self.count == MAX_FIXES {
            bail!("more than {MAX_FIXES} fixes: replay the files one after the other");
        }
        let index = match self.by_name.get(name) {
            Some(&index) => index,
            None => self.add_courier(name)?,
        };
        self.fixes[index].push(fix);
        self.count += 1;
        Ok(())
    }

    /// Notes a row that is no fix, and tells of the first ones.
    pub(super) fn skip(&mut self, place: impl std::fmt::Display, why: &str) {
        const TOLD: u64 = 5;
        self.unreadable += 1;
        if self.unreadable <= TOLD {
            tracing::warn!("{place}: {why}; the row is left out");
        }
    }

    fn add_courier(&mut self, name: &str) -> anyhow::Result<usize> {
        let id = self.id_for(name)?;
        let index = self.couriers.len();
        self.ids.insert(id.clone());
        self.couriers.push(id);
        self.fixes.push(Vec::new());
        self.by_name.insert(name.to_owned(), index);
        Ok(index)
    }

    /// An id for a name that may hold anything: other characters become `_`, and names that would
    /// become the same id get a number.
    fn id_for(&self, name: &str) -> anyhow::Result<CourierId> {
        let allowed = |c: char| c.is_ascii_alphanumeric() || matches!(c, '.' | '_' | ':' | '-');
        let mut text: String = name
            .trim()
            .chars()
            .map(|c| if allowed(c) { c } else { '_' })
            .collect();
        text.truncate(MAX_ID_LEN);
        if text.is_empty() {
            text.push_str("unnamed");
        }
        let mut id = CourierId::try_from(text.as_str())?;
        for number in 2.. {
            if !self.ids.contains(&id) {
                break;
            }
            let end = format!("-{number}");
            let kept = text.len().min(MAX_ID_LEN - end.len());
            id = CourierId::try_from(format!("{}{end}", &text[..kept]))?;
        }
        Ok(id)
    }
}
