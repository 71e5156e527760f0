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
    accuracy_m: Measured,
    speed_mps: Measured,
}

impl Sighting {
    /// What rules see of `fix`.
    #[must_use]
    pub fn of(fix: &Fix, received_at: UnixMs) -> Self {
        let at = fix.live_time(received_at);
        Self::new(at, fix.position, fix.accuracy_m, fix.speed_mps)
    }

    /// Of its parts.
    pub(super) fn new(
        at: UnixMs,
        position: Position,
        accuracy_m: Option<f32>,
        speed_mps: Option<f32>,
    ) -> Self {
        Self {
            at,
            position,
            accuracy_m: Measured::of(accuracy_m),
            speed_mps: Measured::of(speed_mps),
        }
    }

    /// Radius of accuracy in metres.
    #[must_use]
    pub fn accuracy_m(&self) -> Option<f32> {
        self.accuracy_m.get()
    }

    /// Speed over ground in metres a second, as the phone measured it.
    #[must_use]
    pub fn speed_mps(&self) -> Option<f32> {
        self.speed_mps.get()
    }
}

/// A number that may be missing, in four bytes instead of eight: of every courier six are kept.
#[derive(Clone, Copy)]
struct Measured(f32);

impl Measured {
    fn of(number: Option<f32>) -> Self {
        Self(number.unwrap_or(f32::NAN))
    }

    fn get(self) -> Option<f32> {
        (!self.0.is_nan()).then_some(self.0)
    }
}

impl PartialEq for Measured {
    fn eq(&self, other: &Self) -> bool {
        self.get() == other.get()
    }
}

impl std::fmt::Debug for Measured {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.get().fmt(f)
    }
}

/// Fixes that are kept: as many as vote.
pub const KEPT: usize = zone::OF as usize;

/// The last fixes judged, newest first; at most [`KEPT`].
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Recent {
    /// Those from `count` on are blank.
    fixes: [Sighting; KEPT],
    count: u8,
}

impl Default for Recent {
    fn default() -> Self {
        let nowhere = Position::from_any_degrees(0.0, 0.0);
        Self {
            fixes: [Sighting::new(UnixMs(0), nowhere, None, None); KEPT],
            count: 0,
        }
    }
}

impl Recent {
    /// From stored fixes, newest first.
    #[must_use]
    pub fn from_newest_first(fixes: impl IntoIterator<Item = Sighting>) -> Self {
        let mut recent = Self::default();
        for (slot, fix) in recent.fixes.iter_mut().zip(fixes) {
            *slot = fix;
            recent.count += 1;
        }
        recent
    }

    /// Adds a newer one; the oldest goes.
    pub fn push(&mut self, sighting: Sighting) {
        self.fixes.rotate_right(1);
        self.fixes[0] = sighting;
        self.count = (self.count + 1).min(KEPT as u8);
    }

    /// The newest.
    #[must_use]
    pub fn newest(&self) -> Option<&Sighting> {
        self.known().first()
    }

    /// The one before the newest.
    #[must_use]
    pub fn previous(&self) -> Option<&Sighting> {
        self.known().get(1)
    }

    /// The fix so many places before the newest, or the oldest that is kept.
    #[must_use]
    pub fn back(&self, places: usize) -> Option<&Sighting> {
        let known = self.known();
        known.get(places).or(known.last())
    }

    /// Newest first.
    pub fn iter(&self) -> impl Iterator<Item = &Sighting> {
        self.known().iter()
    }

    fn known(&self) -> &[Sighting] {
        &self.fixes[..usize::from(self.count)]
    }
}
