//! The keeper: one thread for everything that can wait. It prepares the next segment files, writes
//! checkpoints, deletes what is old, checks sealed segments, and tells how groups stand.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use super::load;
use super::metrics;
use super::partition::Partition;
use super::retention::retain;
use super::scrub::Scrub;
use super::state::State;
use super::status;
use super::writer::{NEXT_FILE, prepare_segment};
use crate::stream::advice;

/// Below this share of the retention a group is warned about.
const HEADROOM_WARNING: f64 = 0.5;

/// Wakes and stops the keeper.
#[derive(Default)]
pub(super) struct KeeperHandle {
    thread: OnceLock<Thread>,
    stop: AtomicBool,
}

impl KeeperHandle {
    pub(super) fn wake(&self) {
        if let Some(thread) = self.thread.get() {
            thread.unpark();
        }
    }

    pub(super) fn stop(&self) {
        self.stop.store(true, Ordering::Release);
        self.wake();
    }
}

/// The keeper's own state.
pub(super) struct Keeper {
    state: Arc<State>,
    scrub: Scrub,
    last_round_us: i64,
    warned: BTreeSet<(String, String)>,
}

impl Keeper {
    pub(super) fn new(state: Arc<State>) -> Self {
        let last_round_us = state.core.clock.now_us();
        Self {
            state,
            scrub: Scrub::default(),
            last_round_us,
            warned: BTreeSet::new(),
        }
    }

    /// Works until it is told to stop.
    pub(super) fn run(mut self) {
        let core = Arc::clone(&self.state.core);
        core.keeper.thread.get_or_init(std::thread::current);
        let interval = core.options.housekeeping_interval;
        let interval_us = u64::try_from(interval.as_micros()).unwrap_or(u64::MAX);
        self.round(0);
        while !core.keeper.stop.load(Ordering::Acquire) {
            self.serve_requests();
            let since_us = core.clock.now_us().abs_diff(self.last_round_us);
            if since_us >= interval_us {
                self.round(since_us);
            }
            std::thread::park_timeout(interval);
        }
        self.serve_requests();
    }

    /// Does what writers have asked for.
    pub(super) fn serve_requests(&mut self) {
        let state = Arc::clone(&self.state);
        for partition in state.partitions() {
            self.prepare(partition);
            self.write_checkpoint(partition);
        }
    }

    /// Retention, the check of sealed segments, and the numbers. `since_us` is the time since the
    /// last round.
    pub(super) fn round(&mut self, since_us: u64) {
        self.last_round_us = self.state.core.clock.now_us();
        retain(&self.state);
        let rate = self.state.core.options.scrub_bytes_per_s;
        let budget = rate.saturating_mul(since_us / 1000) / 1000;
        self.scrub.advance(&self.state, budget);
        for partition in self.state.partitions() {
            load::measure(partition, since_us as f64 / 1e6);
        }
        self.report();
    }

    fn prepare(&self, partition: &Partition) {
        let Some(len) = partition.preparation.lock().requested else {
            return;
        };
        let core = &self.state.core;
        let made = match core.budget.reserve(len) {
            Ok(()) => prepare_segment(&*core.storage, partition.dir.join(NEXT_FILE), len)
                .inspect_err(|_| core.budget.release(len))
                .map_err(|error| error.to_string()),
            Err(why) => Err(why),
        };
        let mut preparation = partition.preparation.lock();
        preparation.requested = None;
        match made {
            Ok(file) => preparation.ready = Some(file),
            // The writer makes one itself when it needs it, or says why it cannot.
            Err(why) => tracing::debug!(
                topic = %partition.topic, partition = partition.number, why,
                "the next segment could not be prepared"
            ),
        }
    }

    fn write_checkpoint(&self, partition: &Partition) {
        let checkpoint = {
            let mut shared = partition.checkpoint.lock();
            if !std::mem::replace(&mut shared.1, false) {
                return;
            }
            shared.0
        };
        if let Err(error) = checkpoint.write(&*self.state.core.storage, &partition.dir) {
            tracing::warn!(
                topic = %partition.topic, partition = partition.number, %error,
                "no checkpoint: the next start reads more"
            );
        }
    }

    fn report(&mut self) {
        metrics::disk_cap(self.state.core.options.retention.hard_cap_bytes);
        for topic in self.state.topics.values() {
            let shut = topic
                .partitions
                .iter()
                .filter(|p| p.quarantined().is_some());
            let damaged = topic
                .partitions
                .iter()
                .filter(|p| p.damage.lock().is_some());
            metrics::health(&topic.name, shut.count(), damaged.count());
            for partition in &topic.partitions {
                let (start, durable) = (partition.start(), partition.durable());
                metrics::partition(&topic.name, partition.number, start, durable);
            }
            let bytes = topic
                .partitions
                .iter()
                .map(|partition| partition.disk_bytes())
                .sum();
            metrics::disk_bytes(&topic.name, bytes);
            let loads = topic.partitions.iter().map(|p| p.load.lock().load());
            metrics::balance(&topic.name, advice::balance(&loads.collect::<Vec<_>>()));
        }
        for group in status::groups(&self.state) {
            let lag = group.partitions.iter().map(|p| p.lag_records).sum();
            let seconds = group
                .partitions
                .iter()
                .map(|p| p.lag_seconds)
                .fold(0.0, f64::max);
            let headroom = status::headroom(&self.state, &group);
            metrics::group(&group.topic, &group.group, lag, seconds, headroom);
            let name = (group.topic, group.group);
            if headroom >= HEADROOM_WARNING {
                self.warned.remove(&name);
            } else if self.warned.insert(name.clone()) {
                tracing::warn!(
                    topic = name.0,
                    group = name.1,
                    headroom,
                    "the group has used up half of the retention: records it has not read will \
                     be deleted, or ingest refused if it is protected"
                );
            }
        }
    }
}
