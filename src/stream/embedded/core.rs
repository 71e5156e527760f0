//! What all parts of an open log share: disk, clock, options, budget, and whether it has failed.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use parking_lot::Mutex;
use tokio::sync::watch;

use super::keeper::KeeperHandle;
use super::options::EmbeddedLogOptions;
use super::storage::Storage;
use crate::clock::SharedClock;

/// Shared by the log, its sync threads, its keeper and its consumers.
pub(super) struct Core {
    pub(super) storage: Arc<dyn Storage>,
    pub(super) clock: SharedClock,
    pub(super) options: EmbeddedLogOptions,
    pub(super) uuid: uuid::Uuid,
    pub(super) budget: Budget,
    pub(super) keeper: KeeperHandle,
    /// Syncs of groups since the log was opened.
    pub(super) syncs: AtomicU64,
    /// Set when the log is being closed.
    pub(super) closing: AtomicBool,
    failure: watch::Sender<Option<Arc<str>>>,
}

impl Core {
    pub(super) fn new(
        storage: Arc<dyn Storage>,
        clock: SharedClock,
        options: EmbeddedLogOptions,
        uuid: uuid::Uuid,
    ) -> Self {
        let budget = Budget::new(options.retention.hard_cap_bytes);
        Self {
            storage,
            clock,
            options,
            uuid,
            budget,
            keeper: KeeperHandle::default(),
            syncs: AtomicU64::new(0),
            closing: AtomicBool::new(false),
            failure: watch::Sender::new(None),
        }
    }

    /// Poisons the log: a sync failed, so nothing more may be acknowledged by this process. The
    /// first reason stays.
    pub(super) fn poison(&self, reason: &str) {
        let first = self.failure.send_if_modified(|failure| {
            let first = failure.is_none();
            failure.get_or_insert_with(|| reason.into());
            first
        });
        if first {
            tracing::error!(reason, "the log is poisoned; the process must be restarted");
        }
    }

    /// Why the log is poisoned, if it is.
    pub(super) fn failure(&self) -> Option<Arc<str>> {
        self.failure.borrow().clone()
    }

    /// Waits until the log is poisoned.
    pub(super) async fn failed(&self) -> Arc<str> {
        let mut failure = self.failure.subscribe();
        loop {
            if let Some(reason) = failure.borrow_and_update().clone() {
                return reason;
            }
            if failure.changed().await.is_err() {
                // The sender lives as long as `self`.
                std::future::pending::<()>().await;
            }
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.load(Ordering::Acquire)
    }
}

/// Bytes on disk against the hard cap.
pub(super) struct Budget {
    cap: u64,
    used: AtomicU64,
    /// Groups that hold deletion back, for the message at the cap.
    pub(super) held_by: Mutex<Vec<String>>,
}

impl Budget {
    fn new(cap: u64) -> Self {
        Self {
            cap,
            used: AtomicU64::new(0),
            held_by: Mutex::default(),
        }
    }

    pub(super) fn used(&self) -> u64 {
        self.used.load(Ordering::Relaxed)
    }

    /// Counts bytes that are there already, cap or not.
    pub(super) fn add(&self, bytes: u64) {
        self.used.fetch_add(bytes, Ordering::Relaxed);
    }

    pub(super) fn release(&self, bytes: u64) {
        self.used.fetch_sub(bytes, Ordering::Relaxed);
    }

    /// Counts bytes that are about to be allocated, or says why they may not be.
    pub(super) fn reserve(&self, bytes: u64) -> Result<(), String> {
        let fits = |used: u64| used.checked_add(bytes).filter(|sum| *sum <= self.cap);
        if self
            .used
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, fits)
            .is_ok()
        {
            return Ok(());
        }
        let held_by = self.held_by.lock();
        let cause = if held_by.is_empty() {
            "retention cannot keep up: lower stream.retention or raise stream.hard_cap".to_owned()
        } else {
            format!(
                "records unread by {} are kept: bring it back, or raise stream.hard_cap",
                held_by.join(", ")
            )
        };
        Err(format!(
            "the log's hard cap of {} bytes is reached; {cause}",
            self.cap
        ))
    }
}
