//! What the live map counts, looked up once.

use metrics::{Counter, Gauge, Histogram, counter, gauge, histogram};

use crate::domain::UnixMs;
use crate::telemetry::metrics as names;

/// Handles of what is counted often.
pub(super) struct Meters {
    customer_updates: Counter,
    customer_seconds: Histogram,
    fleet_updates: Counter,
}

impl Meters {
    pub(super) fn new() -> Self {
        Self {
            customer_updates: counter!(names::LIVE_UPDATES, "channel" => "customer"),
            customer_seconds: histogram!(names::LIVE_LATENCY_SECONDS, "channel" => "customer"),
            fleet_updates: counter!(names::LIVE_UPDATES, "channel" => "fleet"),
        }
    }

    /// So many messages go to a customer; if a fix is among them, with the time that it came to us.
    pub(super) fn told_customer(&self, messages: usize, received_at: Option<UnixMs>, now: UnixMs) {
        if let Some(received_at) = received_at {
            let ms = now.since(received_at).max(0);
            self.customer_seconds.record(ms as f64 / 1000.0);
        }
        self.customer_updates.increment(messages as u64);
    }

    /// So many positions go to a screen.
    pub(super) fn told_fleet(&self, positions: u64) {
        self.fleet_updates.increment(positions);
    }
}

/// Counts one open connection while it lives.
pub(super) struct OpenGauge(Gauge);

impl OpenGauge {
    pub(super) fn new(channel: &'static str) -> Self {
        let gauge = gauge!(names::LIVE_SOCKETS, "channel" => channel);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for OpenGauge {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Counts a connection that has ended.
pub(super) fn count(channel: &'static str, code: u16) {
    counter!(names::LIVE_CLOSED, "channel" => channel, "code" => code.to_string()).increment(1);
}
