//! What the log counts, by the names of the catalogue.

use metrics::{counter, gauge, histogram};

use crate::stream::advice::Balance;
use crate::telemetry::metrics as names;

/// A group became durable.
pub(super) fn appended(records: u32, frame_bytes: u64) {
    counter!(names::LOG_APPEND_RECORDS).increment(u64::from(records));
    counter!(names::LOG_APPEND_BYTES).increment(frame_bytes);
}

/// A sync took this long, microseconds.
pub(super) fn synced(took_us: i64) {
    histogram!(names::LOG_SYNC_SECONDS).record(took_us as f64 / 1e6);
}

pub(super) fn sync_failed() {
    counter!(names::LOG_SYNC_FAILURES).increment(1);
}

/// An append was refused for want of room.
pub(super) fn refused() {
    counter!(names::LOG_BACKPRESSURE).increment(1);
}

pub(super) fn torn_bytes(bytes: u64) {
    counter!(names::LOG_TORN_BYTES).increment(bytes);
}

pub(super) fn corrupt_frame() {
    counter!(names::LOG_CORRUPT_FRAMES).increment(1);
}

pub(super) fn rebalanced(topic: &str, group: &str, idle_members: usize) {
    let labels = [("topic", topic.to_owned()), ("group", group.to_owned())];
    counter!(names::GROUP_REBALANCES, &labels).increment(1);
    gauge!(names::GROUP_IDLE_MEMBERS, &labels).set(idle_members as f64);
}

pub(super) fn partition(topic: &str, number: u32, start: u64, durable: u64) {
    let labels = [
        ("topic", topic.to_owned()),
        ("partition", number.to_string()),
    ];
    gauge!(names::LOG_START_OFFSET, &labels).set(start as f64);
    gauge!(names::LOG_DURABLE_OFFSET, &labels).set(durable as f64);
}

pub(super) fn disk_bytes(topic: &str, bytes: u64) {
    gauge!(names::LOG_DISK_BYTES, "topic" => topic.to_owned()).set(bytes as f64);
}

pub(super) fn balance(topic: &str, balance: Balance) {
    gauge!(names::PARTITION_SKEW, "topic" => topic.to_owned()).set(balance.skew);
    gauge!(names::PARTITION_HOT_KEY, "topic" => topic.to_owned()).set(balance.hot_key_share);
}

/// How a group stands in a topic. `headroom` is the least share of the retention that lies between
/// it and loss.
pub(super) fn group(topic: &str, group: &str, lag_records: u64, lag_seconds: f64, headroom: f64) {
    let labels = [("topic", topic.to_owned()), ("group", group.to_owned())];
    gauge!(names::GROUP_LAG_RECORDS, &labels).set(lag_records as f64);
    gauge!(names::GROUP_LAG_SECONDS, &labels).set(lag_seconds);
    gauge!(names::GROUP_RETENTION_HEADROOM, &labels).set(headroom);
}
