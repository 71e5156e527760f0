//! The process's vital signs, as metrics: what an alert or `waylog status` looks at first.

use std::path::PathBuf;
use std::time::Duration;

use metrics::gauge;
use tokio_util::sync::CancellationToken;

use super::operator::Operator;
use crate::domain::UnixMs;
use crate::telemetry::metrics as names;

/// In `data_dir`: when the newest whole backup was made. `waylog backup` writes it.
pub const LAST_BACKUP_FILE: &str = "last-backup.json";

/// How often the signs are taken. Samples of histograms are folded as often: without that they would
/// pile up between two scrapes.
const EVERY: Duration = Duration::from_secs(5);

/// Takes them.
pub(super) struct Vitals {
    pub(super) operator: Operator,
    pub(super) data_dir: PathBuf,
    pub(super) started_ms: i64,
}

impl Vitals {
    /// Runs until `stop`.
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        gauge!(names::BUILD_INFO, "version" => env!("CARGO_PKG_VERSION")).set(1);
        gauge!(names::PROCESS_START).set(self.started_ms as f64 / 1000.0);
        let mut every = tokio::time::interval(EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = every.tick() => self.take().await,
            }
        }
    }

    async fn take(&self) {
        self.operator.metrics.run_upkeep();
        let up = self.operator.database_is_up().await;
        gauge!(names::DATABASE_UP).set(f64::from(u8::from(up)));
        if let Ok(disk) = rustix::fs::statvfs(&self.data_dir) {
            gauge!(names::DISK_FREE).set(disk.f_bavail as f64 * disk.f_frsize as f64);
            gauge!(names::DISK_SIZE).set(disk.f_blocks as f64 * disk.f_frsize as f64);
        }
        gauge!(names::BACKUP_TIME).set(self.last_backup().map_or(0.0, |at| at.0 as f64 / 1000.0));
    }

    /// When the newest whole backup was begun.
    fn last_backup(&self) -> Option<UnixMs> {
        let text = std::fs::read(self.data_dir.join(LAST_BACKUP_FILE)).ok()?;
        let note: serde_json::Value = serde_json::from_slice(&text).ok()?;
        UnixMs::parse_rfc3339(note["made_at"].as_str()?).ok()
    }
}
