//! Latencies in a high-dynamic-range histogram: 1 µs to 60 s, three digits.

use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;

const MOST_US: u64 = 60_000_000;

/// Latencies that were measured.
#[derive(Clone)]
pub struct Latencies(Histogram<u64>);

/// What people look at, milliseconds.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Percentiles {
    pub p50_ms: f64,
    pub p90_ms: f64,
    pub p99_ms: f64,
    pub p999_ms: f64,
    pub max_ms: f64,
}

impl Latencies {
    /// None yet.
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self(Histogram::new_with_bounds(1, MOST_US, 3)?))
    }

    /// Adds one; what took longer than a minute counts as a minute.
    pub fn add(&mut self, latency: Duration) {
        let us = u64::try_from(latency.as_micros()).unwrap_or(MOST_US);
        self.0.saturating_record(us.clamp(1, MOST_US));
    }

    /// Adds all of `other`.
    pub fn merge(&mut self, other: &Self) -> anyhow::Result<()> {
        Ok(self.0.add(&other.0)?)
    }

    /// How many there are.
    pub fn len(&self) -> u64 {
        self.0.len()
    }

    /// Where they lie.
    pub fn percentiles(&self) -> Percentiles {
        let at = |quantile| self.0.value_at_quantile(quantile) as f64 / 1000.0;
        Percentiles {
            p50_ms: at(0.50),
            p90_ms: at(0.90),
            p99_ms: at(0.99),
            p999_ms: at(0.999),
            max_ms: self.0.max() as f64 / 1000.0,
        }
    }
}
