//! What phones send, taken apart: bytes in, fixes and reasons out.
//!
//! Pure: no clock, no I/O, no log. Invariants: no input makes a parser panic or recurse without
//! bound; a fix that cannot be kept costs its neighbours nothing (it goes to [`Upload::bad`] with
//! the reason); what is kept of a bad fix never holds a credential.
//!
//! A fix is kept or not by its time and place alone. A measurement beside them (accuracy, speed,
//! heading, altitude, battery) that is out of its range, as `-1` is for "unknown", is left out.

pub mod native;
pub mod osmand;
pub mod owntracks;
pub mod traccar;

mod candidate;
mod time_text;

use bytes::Bytes;

use crate::domain::{Fix, UnixMs};

use candidate::Candidate;

/// In which shape an upload came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Format {
    /// `POST /v1/positions`.
    Native,
    /// The OsmAnd protocol.
    OsmAnd,
    /// JSON of Traccar Client 9 and later.
    Traccar,
    /// OwnTracks in HTTP mode.
    OwnTracks,
}

impl Format {
    /// The word in quarantine.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Native => "native",
            Self::OsmAnd => "osmand",
            Self::Traccar => "traccar",
            Self::OwnTracks => "owntracks",
        }
    }
}

/// Why a fix, or a whole upload of a phone's, went to quarantine.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Reason {
    /// No latitude or no longitude.
    #[error("latitude or longitude is missing")]
    MissingCoordinates,
    /// NaN, text, or something else that is no number.
    #[error("latitude or longitude is not a number")]
    NotANumber,
    /// Not on this earth.
    #[error("latitude must be between -90 and 90 degrees")]
    Latitude,
    /// Not on this earth.
    #[error("longitude must be between -180 and 180 degrees")]
    Longitude,
    /// No time.
    #[error("the time of the fix is missing")]
    MissingTime,
    /// Not a time.
    #[error("the time of the fix is not a time")]
    NotATime,
    /// The phone's clock is wrong by more than a day.
    #[error("the time of the fix is more than 24 hours ahead")]
    Ahead,
    /// The phone's clock was never set.
    #[error("the time of the fix is before the year 2000")]
    Before2000,
    /// It could not be stored.
    #[error("the time of the fix is older than the retention")]
    TooOld,
    /// The phone itself says so.
    #[error("the phone marked the fix as not valid")]
    NotValid,
    /// Sent with one device's credential under the id of another.
    #[error("the fix bears the id of another device")]
    OtherDevice,
    /// Not of the format's shape.
    #[error("unreadable")]
    Unreadable,
    /// More than the limit; only the beginning was read.
    #[error("the upload is too large")]
    TooLarge,
}

/// What decides whether a fix can be kept.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Our clock.
    pub now: UnixMs,
    /// A fix older than this goes to quarantine, milliseconds.
    pub max_age_ms: i64,
    /// Most fixes of one native upload.
    pub max_fixes: usize,
}

/// A fix that cannot be kept.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Bad {
    /// Its place in the upload, from 0.
    pub index: usize,
    /// Why.
    pub reason: Reason,
    /// What was sent, without credentials.
    pub raw: Bytes,
}

/// An upload taken apart.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Upload {
    /// Fixes to be kept, in the order they were sent.
    pub fixes: Vec<Fix>,
    /// Fixes to be put in quarantine.
    pub bad: Vec<Bad>,
    /// The phone says that it lives, without a place.
    pub heartbeat: bool,
    /// The courier pressed the alarm.
    pub sos: bool,
}

impl Upload {
    /// An upload that could not be taken apart at all. `raw` must not hold a credential.
    #[must_use]
    pub fn unreadable(reason: Reason, raw: Bytes) -> Self {
        let bad = Bad {
            index: 0,
            reason,
            raw,
        };
        Self {
            bad: vec![bad],
            ..Self::default()
        }
    }

    /// Takes the next fix in, or its reason for staying out; `raw` is asked for only then.
    fn take(&mut self, candidate: &Candidate, limits: &Limits, raw: impl FnOnce() -> Bytes) {
        match candidate.check(limits) {
            Ok(fix) => self.fixes.push(fix),
            Err(reason) => self.refuse(reason, raw()),
        }
    }

    fn refuse(&mut self, reason: Reason, raw: Bytes) {
        let index = self.fixes.len() + self.bad.len();
        self.bad.push(Bad { index, reason, raw });
    }
}

/// `text` with every occurrence of a credential taken out.
#[must_use]
pub fn without_secret(text: &[u8], secret: &str) -> Bytes {
    let text = String::from_utf8_lossy(text);
    Bytes::from(text.replace(secret, "…").into_bytes())
}
