//! What a test's live map counts, apart from all other tests' metrics.

use metrics::LocalRecorderGuard;
use metrics_exporter_prometheus::{PrometheusBuilder, PrometheusHandle};

/// Metrics of this thread, on which all tasks of a test run.
pub(crate) struct Counted {
    handle: PrometheusHandle,
    _guard: LocalRecorderGuard<'static>,
}

impl Counted {
    /// Counts from now on.
    pub(crate) fn here() -> Self {
        let recorder = PrometheusBuilder::new().build_recorder();
        let handle = recorder.handle();
        // A test's few kilobytes, for as long as the process of the tests runs.
        let guard = metrics::set_default_local_recorder(Box::leak(Box::new(recorder)));
        Self {
            handle,
            _guard: guard,
        }
    }

    /// The value of the counter or gauge that is rendered with this name and these labels.
    pub(crate) fn value(&self, series: &str) -> u64 {
        let rendered = self.handle.render();
        let line = rendered
            .lines()
            .find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
        line.map_or(0, |value| value.trim().parse().expect("a whole number"))
    }

    /// Connections of `channel` that were closed with `code`.
    pub(crate) fn closed(&self, channel: &str, code: u16) -> u64 {
        let name = crate::telemetry::metrics::LIVE_CLOSED;
        self.value(&format!(r#"{name}{{channel="{channel}",code="{code}"}}"#))
    }
}
