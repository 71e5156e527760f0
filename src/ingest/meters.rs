//! Ingest's counters, looked up once: at a hundred thousand uploads a second a name costs too much.

use metrics::{Counter, counter};

use super::admission::Admitted;
use crate::telemetry::metrics::{INGEST_FIXES, INGEST_HEARTBEATS, LOG_DUPLICATES};

/// What became of fixes. Made after the recorder is installed.
#[derive(Debug, Clone)]
pub struct Meters {
    accepted: Counter,
    duplicate: Counter,
    quarantined: Counter,
    /// Fixes of uploads that were refused.
    pub refused: Counter,
    /// Fixes of couriers off duty.
    pub off_duty: Counter,
    heartbeats: Counter,
    log_duplicates: Counter,
}

impl Meters {
    /// Looks the counters up.
    #[must_use]
    pub fn new() -> Self {
        Self {
            accepted: counter!(INGEST_FIXES, "outcome" => "accepted"),
            duplicate: counter!(INGEST_FIXES, "outcome" => "duplicate"),
            quarantined: counter!(INGEST_FIXES, "outcome" => "quarantined"),
            refused: counter!(INGEST_FIXES, "outcome" => "refused"),
            off_duty: counter!(INGEST_FIXES, "outcome" => "off_duty"),
            heartbeats: counter!(INGEST_HEARTBEATS),
            log_duplicates: counter!(LOG_DUPLICATES),
        }
    }

    /// Counts an upload that was taken; `heartbeat` if it was stored without a fix.
    pub fn count(&self, admitted: &Admitted, heartbeat: bool) {
        self.accepted.increment(admitted.accepted as u64);
        if heartbeat {
            self.heartbeats.increment(1);
        }
        if admitted.duplicate > 0 {
            self.duplicate.increment(admitted.duplicate as u64);
            self.log_duplicates.increment(admitted.duplicate as u64);
        }
        if !admitted.quarantined.is_empty() {
            let quarantined = admitted.quarantined.len();
            self.quarantined.increment(quarantined as u64);
        }
    }
}

impl Default for Meters {
    fn default() -> Self {
        Self::new()
    }
}
