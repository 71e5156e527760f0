//! What has ended is dropped, what is held is counted, and the snapshot is written.

use std::sync::atomic::Ordering;
use std::time::Duration;

use metrics::gauge;

use super::Sync;
use crate::directory::snapshot;
use crate::domain::{Delivery, UnixMs};
use crate::telemetry::metrics::DIRECTORY_ENTRIES;

/// How often what has ended is dropped, and the snapshot is considered.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

impl Sync {
    /// Drops what has ended, says how much is held, and writes the snapshot when it is worth it.
    pub(super) async fn housekeeping(&self) {
        let mut written = 0;
        let mut pause = SWEEP_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            self.sweep();
            let applied = self.inner.applied.load(Ordering::Relaxed);
            pause = SWEEP_EVERY;
            if applied != written {
                let started = tokio::time::Instant::now();
                self.write_snapshot().await;
                written = applied;
                // A large Directory is written less often: one part in fifty of the time at most.
                pause = SWEEP_EVERY.max(started.elapsed() * 50);
            }
        }
    }

    /// Drops completed deliveries after their time, and links and sessions that have expired.
    fn sweep(&self) {
        let directory = &*self.inner.directory;
        let now = UnixMs(self.inner.clock.now_ms());
        let hold = self.inner.hold_completed_ms;
        let done = |d: &Delivery| d.completed_at().is_some_and(|at| now.since(at) > hold);
        for id in directory.deliveries.keys_unless(|d| !done(d)) {
            directory.remove_delivery(&id);
        }
        for id in directory
            .links
            .by_id
            .keys_unless(|l| now.since(l.expires_at) <= hold)
        {
            directory.remove_link(id);
        }
        for id in directory.sessions.by_id.keys_unless(|s| s.expires_at > now) {
            directory.remove_session(id);
        }
        let entries = [
            ("courier", directory.couriers.len()),
            ("device", directory.devices.by_id.len()),
            ("delivery", directory.deliveries.len()),
            ("link", directory.links.by_id.len()),
            ("geofence", directory.geofences.len()),
            ("api_key", directory.api_keys.by_id.len()),
            ("session", directory.sessions.by_id.len()),
        ];
        for (kind, count) in entries {
            gauge!(DIRECTORY_ENTRIES, "kind" => kind).set(count as f64);
        }
    }

    /// A snapshot that cannot be written is told and tried again: nothing depends on it now.
    pub(super) async fn write_snapshot(&self) {
        // What was never filled must not replace what is good for a start.
        if self.inner.applied.load(Ordering::Relaxed) == 0 {
            return;
        }
        let inner = self.inner.clone();
        let written =
            tokio::task::spawn_blocking(move || snapshot::write(&inner.snapshot, &inner.directory));
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("cannot write directory.snap: {error:#}"),
            Err(error) => tracing::warn!(%error, "cannot write directory.snap"),
        }
    }
}
