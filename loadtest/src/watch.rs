//! What a server tells about itself while load is on it: how far each group is behind, how many fixes
//! are in Postgres, and its memory.

use std::collections::BTreeMap;
use std::time::{Duration, Instant};

use anyhow::Context;
use serde_json::Value;

use crate::api::{Api, ApiConnection};
use crate::process::Process;
use crate::report::Report;

/// One look.
#[derive(Debug, Clone)]
pub struct Sample {
    /// Seconds since the watch began.
    pub at_s: f64,
    /// Fixes that the sink has stored since the server started.
    pub stored: u64,
    /// Resident memory of the server, MiB.
    pub rss_mib: f64,
    /// Records each group has not committed, and how old the oldest of them is, seconds.
    pub lag: BTreeMap<String, (u64, f64)>,
}

/// Looks at a server again and again.
pub struct Watch {
    connection: ApiConnection,
    server: Process,
    began: Instant,
    samples: Vec<Sample>,
}

impl Watch {
    /// Begins with no sample.
    pub async fn begin(api: &Api, server: Process) -> anyhow::Result<Self> {
        Ok(Self {
            connection: api.connect().await?,
            server,
            began: Instant::now(),
            samples: Vec::new(),
        })
    }

    /// Looks once.
    pub async fn look(&mut self) -> anyhow::Result<&Sample> {
        let stream = self.connection.call("GET", "/v1/stream", &Value::Null);
        let stream = stream.await?;
        let metrics = self.connection.text("/metrics").await?;
        let mut lag = BTreeMap::new();
        for group in stream["groups"].as_array().into_iter().flatten() {
            let partitions = group["partitions"].as_array().into_iter().flatten();
            let sum = partitions.fold((0, 0.0), |(records, seconds), p| {
                let records = records + p["lag_records"].as_u64().unwrap_or(0);
                (
                    records,
                    p["lag_seconds"].as_f64().unwrap_or(0.0).max(seconds),
                )
            });
            lag.insert(group["group"].as_str().unwrap_or_default().to_owned(), sum);
        }
        self.samples.push(Sample {
            at_s: self.began.elapsed().as_secs_f64(),
            stored: counter(&metrics, "waylog_analytics_fixes_total{outcome=\"stored\"}"),
            rss_mib: self.server.rss_mib()?,
            lag,
        });
        self.samples.last().context("just added")
    }

    /// Looks every `every` for as long as `time`.
    pub async fn keep_looking(&mut self, time: Duration, every: Duration) -> anyhow::Result<()> {
        let began = Instant::now();
        let mut tick = tokio::time::interval(every);
        while began.elapsed() < time {
            tick.tick().await;
            self.look().await?;
        }
        Ok(())
    }

    /// Looks until no group is behind; answers how long that took.
    pub async fn until_read(&mut self, patience: Duration) -> anyhow::Result<Duration> {
        let began = Instant::now();
        let mut tick = tokio::time::interval(Duration::from_millis(100));
        loop {
            tick.tick().await;
            let sample = self.look().await?;
            if sample.lag.values().all(|(records, _)| *records == 0) {
                return Ok(began.elapsed());
            }
            anyhow::ensure!(
                began.elapsed() < patience,
                "the groups are still behind after {} s: {:?}",
                patience.as_secs(),
                sample.lag
            );
        }
    }

    /// What was seen so far.
    pub fn samples(&self) -> &[Sample] {
        &self.samples
    }

    /// Adds lag, memory and stored fixes over time to a report.
    pub fn into_report(self, report: &mut Report) {
        let of = |value: &dyn Fn(&Sample) -> f64| {
            let points = self.samples.iter().map(|s| (s.at_s, value(s)));
            points.collect::<Vec<_>>()
        };
        for (name, group) in [
            ("lag of live-map", "live-map"),
            ("lag of analytics", "analytics"),
            ("lag of notifications", "notifications"),
        ] {
            if self.samples.iter().any(|s| s.lag.contains_key(group)) {
                let lag = |s: &Sample| s.lag.get(group).map_or(0.0, |lag| lag.1);
                report.add_series(name, "s", of(&lag));
            }
        }
        report.add_series("server memory", "MiB", of(&|s| s.rss_mib));
        report.add_series("fixes in Postgres", "fixes", of(&|s| s.stored as f64));
    }
}

/// A counter's value in Prometheus' text; 0 where it is not there.
fn counter(metrics: &str, name: &str) -> u64 {
    let line = metrics.lines().find_map(|line| line.strip_prefix(name));
    line.and_then(|value| value.trim().parse::<f64>().ok())
        .map_or(0, |value| value as u64)
}

/// How much `y` grows with `x`, by least squares.
pub fn slope(points: &[(f64, f64)]) -> f64 {
    let n = points.len() as f64;
    let mean = |of: &dyn Fn(&(f64, f64)) -> f64| points.iter().map(of).sum::<f64>() / n;
    let (x, y) = (mean(&|p| p.0), mean(&|p| p.1));
    let over: f64 = points.iter().map(|p| (p.0 - x) * (p.1 - y)).sum();
    let under: f64 = points.iter().map(|p| (p.0 - x).powi(2)).sum();
    if under == 0.0 { 0.0 } else { over / under }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_counters_and_slopes() {
        let text = "# TYPE a counter\na{b=\"c\"} 17\na{b=\"d\"} 4\n";
        assert_eq!(counter(text, "a{b=\"d\"}"), 4);
        assert_eq!(counter(text, "x"), 0);
        let line: Vec<(f64, f64)> = (0..10)
            .map(|i| (f64::from(i), 3.0 * f64::from(i)))
            .collect();
        assert!((slope(&line) - 3.0).abs() < 1e-9);
    }
}
