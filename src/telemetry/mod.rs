//! Logs and metrics: how they are set up, and the catalogue of every metric's name.
//!
//! Invariant: no coordinate, phone number or token ever reaches a log line or a label; requests are
//! logged by route template.

pub mod metrics;

use std::io::IsTerminal;

use ::metrics::{describe_counter, describe_gauge, describe_histogram};
use metrics_exporter_prometheus::{Matcher, PrometheusBuilder, PrometheusHandle};
use tracing_subscriber::EnvFilter;

use crate::config::TelemetryConfig;

/// Buckets of every `_seconds` histogram, 0.1 ms to 10 s.
const SECONDS: [f64; 16] = [
    0.0001, 0.00025, 0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5,
    5.0, 10.0,
];

/// Starts logging to standard error. Only the first call in a process counts.
pub fn init_logging(config: &TelemetryConfig) {
    let filter = EnvFilter::try_new(&config.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let builder = tracing_subscriber::fmt()
        .with_env_filter(filter)
        .with_ansi(std::io::stderr().is_terminal())
        .with_writer(std::io::stderr);
    let started = if config.format == "json" {
        builder.json().try_init()
    } else {
        builder.with_target(false).try_init()
    };
    if started.is_err() {
        tracing::debug!("logging was already started");
    }
}

/// Installs the Prometheus recorder and describes the whole catalogue.
///
/// # Errors
/// If this process already has a recorder.
pub fn init_metrics() -> anyhow::Result<PrometheusHandle> {
    let handle = PrometheusBuilder::new()
        .set_buckets_for_metric(Matcher::Suffix("_seconds".into()), &SECONDS)?
        .install_recorder()?;
    for entry in metrics::CATALOGUE {
        match entry.kind {
            metrics::Kind::Counter => {
                describe_counter!(entry.name, entry.help);
                for labels in entry.at_zero {
                    let labels: Vec<::metrics::Label> = labels.iter().map(Into::into).collect();
                    ::metrics::counter!(entry.name, labels).absolute(0);
                }
            }
            metrics::Kind::Gauge => describe_gauge!(entry.name, entry.help),
            metrics::Kind::Histogram => describe_histogram!(entry.name, entry.help),
        }
    }
    Ok(handle)
}
