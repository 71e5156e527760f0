//! What only this backend counts, by the names of the catalogue.

use metrics::{counter, gauge, histogram};

pub(super) use crate::stream::metrics::{
    appended, balance, disk_bytes, group, partition, rebalanced, refused,
};
use crate::telemetry::metrics as names;

/// A sync took this long, microseconds.
pub(super) fn synced(took_us: i64) {
    histogram!(names::LOG_SYNC_SECONDS).record(took_us as f64 / 1e6);
}

pub(super) fn sync_failed() {
    counter!(names::LOG_SYNC_FAILURES).increment(1);
}

pub(super) fn torn_bytes(bytes: u64) {
    counter!(names::LOG_TORN_BYTES).increment(bytes);
}

pub(super) fn corrupt_frame() {
    counter!(names::LOG_CORRUPT_FRAMES).increment(1);
}

/// Partitions of a topic that are shut, and those with damage in older records.
pub(super) fn health(topic: &str, quarantined: usize, damaged: usize) {
    gauge!(names::LOG_QUARANTINED, "topic" => topic.to_owned()).set(quarantined as f64);
    gauge!(names::LOG_DAMAGED, "topic" => topic.to_owned()).set(damaged as f64);
}

pub(super) fn disk_cap(bytes: u64) {
    gauge!(names::LOG_DISK_CAP).set(bytes as f64);
}
