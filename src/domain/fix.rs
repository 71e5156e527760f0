//! A fix: where a courier was, when, and how well the phone knew it.

use super::{Position, UnixMs};

/// One GPS fix. Unknown measurements are `None`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Fix {
    /// Device GPS time; with the courier it is the fix's identity.
    pub fix_time: UnixMs,
    /// Where.
    pub position: Position,
    /// Radius of accuracy in metres.
    pub accuracy_m: Option<f32>,
    /// Speed over ground in metres a second.
    pub speed_mps: Option<f32>,
    /// Heading in degrees, 0 north, clockwise, below 360.
    pub heading_deg: Option<f32>,
    /// Altitude in metres.
    pub altitude_m: Option<f32>,
    /// Battery charge in percent.
    pub battery_pct: Option<u8>,
}

/// A fix this far ahead of our clock is flagged `clock_ahead`, milliseconds.
pub const CLOCK_AHEAD_MS: i64 = 60_000;

impl Fix {
    /// A fix that knows place and time only.
    #[must_use]
    pub fn new(fix_time: UnixMs, position: Position) -> Self {
        Self {
            fix_time,
            position,
            accuracy_m: None,
            speed_mps: None,
            heading_deg: None,
            altitude_m: None,
            battery_pct: None,
        }
    }

    /// Whether the phone's clock is ahead of ours by more than [`CLOCK_AHEAD_MS`].
    #[must_use]
    pub fn clock_ahead(&self, received_at: UnixMs) -> bool {
        self.fix_time.since(received_at) > CLOCK_AHEAD_MS
    }

    /// What the live dot is ordered by: never later than we received it, so that a phone whose
    /// clock is ahead cannot freeze its dot.
    #[must_use]
    pub fn live_time(&self, received_at: UnixMs) -> UnixMs {
        self.fix_time.min(received_at)
    }
}
