//! The newest fixes of a courier, as rules see them.

use super::zone;
use crate::domain::{Fix, Position, UnixMs};

/// A fix that was judged.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Sighting {
    /// Event time: `fix_time`, but never later than we received it.
    pub at: UnixMs,
    /// Where.
    pub position: Position,
    /// Radius of accuracy in metres.
    pub accuracy_m: Option<f32>,
    /// Speed over ground in metres a second, as the phone measured it.
    pub speed_mps: Option<f32>,
}

impl Sighting {
    /// What rules see of `fix`.
    #[must_use]
    pub fn of(fix: &Fix, received_at: UnixMs) -> Self {
        Self {
            at: fix.live_time(received_at),
            position: fix.position,
            accuracy_m: fix.accuracy_m,
            speed_mps: fix.speed_mps,
        }
    }
}

/// Fixes that are kept: as many as vote.
pub const KEPT: usize = zone::OF as usize;

/// The last fixes judged, newest first; at most [`KEPT`].
#[derive(Debug, Clone, Copy, PartialEq, Default)]
pub struct Recent([Option<Sighting>; KEPT]);

impl Recent {
    /// From stored fixes, newest first.
    #[must_use]
    pub fn from_newest_first(fixes: impl IntoIterator<Item = Sighting>) -> Self {
        let mut recent = Self::default();
        for (slot, fix) in recent.0.iter_mut().zip(fixes) {
            *slot = Some(fix);
        }
        recent
    }

    /// Adds a newer one; the oldest goes.
    pub fn push(&mut self, sighting: Sighting) {
        self.0.rotate_right(1);
        self.0[0] = Some(sighting);
    }

    /// The newest.
    #[must_use]
    pub fn newest(&self) -> Option<&Sighting> {
        self.0[0].as_ref()
    }

    /// The one before the newest.
    #[must_use]
    pub fn previous(&self) -> Option<&Sighting> {
        self.0[1].as_ref()
    }

    /// The fix so many places before the newest, or the oldest that is kept.
    #[must_use]
    pub fn back(&self, places: usize) -> Option<&Sighting> {
        self.iter().take(places + 1).last()
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Sighting> {
        self.0.iter().flatten()
    }
}
