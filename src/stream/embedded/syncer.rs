//! A sync thread: the writers of some partitions, written and synced in rounds.
//!
//! A round takes what arrived during the one before it: under load the syncs themselves make the
//! batches. On a disk that syncs within microseconds those would be batches of one, and the syncs
//! would cost more processor time than all else together: rounds begin at least `min_sync_interval`
//! apart. A record that comes to a log at rest waits for no timer.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::Notify;

use super::core::Core;
use super::writer::Writer;

/// How long an idle thread waits before it looks whether marker frames are due.
const MARKER_WAIT: Duration = Duration::from_millis(100);

/// The writers that one thread owns, with those to be told when a topic has news.
pub(super) struct Syncer {
    core: Arc<Core>,
    writers: Vec<(Writer, Arc<Notify>)>,
}

impl Syncer {
    pub(super) fn new(core: Arc<Core>, writers: Vec<(Writer, Arc<Notify>)>) -> Self {
        Self { core, writers }
    }

    /// Rounds until the log closes or fails.
    pub(super) fn run(mut self) {
        for (writer, _) in &self.writers {
            writer.partition.set_writer(std::thread::current());
        }
        let pause = self.core.options.min_sync_interval;
        while !self.core.is_closing() && self.core.failure().is_none() {
            let began_us = self.core.clock.now_us();
            if self.round(false) {
                // From the beginning of one round to that of the next: what the syncs take counts.
                let took_us = self.core.clock.now_us().abs_diff(began_us);
                let rest = pause.saturating_sub(Duration::from_micros(took_us));
                if !rest.is_zero() {
                    std::thread::sleep(rest);
                }
            } else if self.writers.iter().any(|(writer, _)| writer.marker_due()) {
                std::thread::park_timeout(MARKER_WAIT);
            } else {
                std::thread::park();
            }
        }
        self.finish();
    }

    /// Writes and syncs every partition that has something; answers whether any had. Markers are
    /// written for partitions at rest, or for all if `mark` is set.
    pub(super) fn round(&mut self, mark: bool) -> bool {
        let mut wrote = false;
        for (writer, _) in &mut self.writers {
            wrote |= writer.write_pending() || writer.write_marker(mark);
        }
        if !wrote {
            return false;
        }
        let mut told: Option<&Arc<Notify>> = None;
        for (writer, readers) in &mut self.writers {
            if writer.sync() && told.is_none_or(|last| !Arc::ptr_eq(last, readers)) {
                readers.notify_waiters();
                told = Some(readers);
            }
        }
        true
    }

    /// The last rounds: what waits is written, markers prove it, nothing more is taken.
    pub(super) fn finish(&mut self) {
        let failure = self.core.failure();
        let why = failure.as_deref().unwrap_or("the log is closed");
        if failure.is_none() {
            for (writer, _) in &mut self.writers {
                writer.refuse(why);
            }
            while self.round(true) && self.core.failure().is_none() {}
        }
        for (writer, readers) in &mut self.writers {
            writer.stop(why);
            if failure.is_none() {
                writer.request_checkpoint();
            }
            readers.notify_waiters();
        }
    }
}
