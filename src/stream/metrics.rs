//! What every backend counts, by the names of the catalogue.

use metrics::{counter, gauge};

use super::advice::Balance;
use crate::telemetry::metrics as names;

/// Records became durable.
pub(super) fn appended(records: u32, bytes: u64) {
    counter!(names::LOG_APPEND_RECORDS).increment(u64::from(records));
    counter!(names::LOG_APPEND_BYTES).increment(bytes);
}

/// An append was refused for want of room.
pub(super) fn refused() {
    counter!(names::LOG_BACKPRESSURE).increment(1);
}

/// A rebalance was met by a member here.
pub(super) fn rebalance_seen(topic: &str, group: &str) {
    let labels = [("topic", topic.to_owned()), ("group", group.to_owned())];
    counter!(names::GROUP_REBALANCES, &labels).increment(1);
}

/// Members that have no partition.
pub(super) fn idle_members(topic: &str, group: &str, idle_members: usize) {
    let labels = [("topic", topic.to_owned()), ("group", group.to_owned())];
    gauge!(names::GROUP_IDLE_MEMBERS, &labels).set(idle_members as f64);
}

pub(super) fn rebalanced(topic: &str, group: &str, idle: usize) {
    rebalance_seen(topic, group);
    idle_members(topic, group, idle);
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
