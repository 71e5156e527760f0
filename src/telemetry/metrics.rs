//! The catalogue of metrics: an interface, so every name stands here and nowhere else.
//!
//! `waylog_<noun>_<unit>[_total]`, base units, no courier or delivery id as a label. Counters whose
//! label values are known are created at 0, so that a rate is right from the first event on.

/// What a metric is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// Only goes up.
    Counter,
    /// Goes up and down.
    Gauge,
    /// A distribution.
    Histogram,
}

/// A metric.
#[derive(Debug)]
pub struct Metric {
    /// Its name.
    pub name: &'static str,
    /// Its kind.
    pub kind: Kind,
    /// What it tells.
    pub help: &'static str,
    /// Label sets that exist from the start; an empty set is the metric without labels.
    pub at_zero: &'static [&'static [(&'static str, &'static str)]],
}

const BARE: &[&[(&str, &str)]] = &[&[]];

macro_rules! catalogue {
    ($($(#[$doc:meta])* $konst:ident = $name:literal, $kind:ident, $zero:expr, $help:literal;)*) => {
        $(
            #[doc = $help]
            pub const $konst: &str = $name;
        )*
        /// Every metric.
        pub const CATALOGUE: &[Metric] = &[
            $(Metric { name: $name, kind: Kind::$kind, help: $help, at_zero: $zero },)*
        ];
    };
}

catalogue! {
    // the process
    BUILD_INFO = "waylog_build_info", Gauge, &[], "1; the version is a label.";
    PROCESS_START = "waylog_process_start_timestamp_seconds", Gauge, &[],
        "When the process started, Unix time.";
    PROCESS_READY = "waylog_process_ready", Gauge, &[],
        "1 while requests are answered, 0 while starting or stopping.";
    DATABASE_UP = "waylog_database_up", Gauge, &[], "1 while Postgres answers.";
    DISK_FREE = "waylog_disk_free_bytes", Gauge, &[],
        "Bytes that may still be used on the file system of data_dir.";
    DISK_SIZE = "waylog_disk_size_bytes", Gauge, &[], "Size of the file system of data_dir.";
    BACKUP_TIME = "waylog_backup_timestamp_seconds", Gauge, &[],
        "When the newest whole backup was begun, Unix time; 0 without one.";
    // http
    HTTP_REQUESTS = "waylog_http_requests_total", Counter, &[],
        "Requests by route template, method and status class.";
    HTTP_SECONDS = "waylog_http_request_seconds", Histogram, &[],
        "Time to answer by route template.";
    // ingest
    INGEST_FIXES = "waylog_ingest_fixes_total", Counter,
        &[&[("outcome", "accepted")], &[("outcome", "duplicate")], &[("outcome", "quarantined")],
          &[("outcome", "refused")], &[("outcome", "off_duty")]],
        "Fixes that phones sent, by what became of them.";
    INGEST_HEARTBEATS = "waylog_ingest_heartbeats_total", Counter, BARE,
        "Uploads of no fixes that were stored.";
    INGEST_IN_FLIGHT = "waylog_ingest_in_flight_uploads", Gauge, BARE,
        "Uploads that wait for the log.";
    INGEST_DEDUPE_BYTES = "waylog_ingest_dedupe_bytes", Gauge, BARE,
        "Memory for finding re-sent fixes.";
    // log
    LOG_APPEND_RECORDS = "waylog_log_append_records_total", Counter, BARE, "Records appended.";
    LOG_APPEND_BYTES = "waylog_log_append_bytes_total", Counter, BARE, "Bytes of frames appended.";
    LOG_SYNC_SECONDS = "waylog_log_sync_seconds", Histogram, &[], "Time of one fdatasync.";
    LOG_SYNC_FAILURES = "waylog_log_sync_failures_total", Counter, BARE,
        "Syncs that failed; one stops the process.";
    LOG_DURABLE_OFFSET = "waylog_log_durable_offset", Gauge, &[],
        "Everything below is on disk, by topic and partition.";
    LOG_START_OFFSET = "waylog_log_start_offset", Gauge, &[],
        "First offset that can be read, by topic and partition.";
    LOG_DISK_BYTES = "waylog_log_disk_bytes", Gauge, &[], "Bytes on disk, by topic.";
    LOG_DISK_CAP = "waylog_log_disk_cap_bytes", Gauge, &[],
        "Bytes at which the log takes nothing more (stream.embedded.hard_cap_gib).";
    LOG_QUARANTINED = "waylog_log_quarantined_partitions", Gauge, &[],
        "Partitions that take and give nothing because they are damaged, by topic.";
    LOG_DAMAGED = "waylog_log_damaged_partitions", Gauge, &[],
        "Partitions with damage in older records, by topic.";
    LOG_BACKPRESSURE = "waylog_log_backpressure_total", Counter, BARE,
        "Appends refused because buffers or the disk were full.";
    LOG_DUPLICATES = "waylog_log_duplicates_total", Counter, BARE,
        "Fixes not appended because they were there already.";
    LOG_TORN_BYTES = "waylog_log_torn_bytes_total", Counter, BARE,
        "Bytes of torn tails cut at recovery; copies lie in torn/.";
    LOG_CORRUPT_FRAMES = "waylog_log_corrupt_frames_total", Counter, BARE,
        "Frames whose checksum did not match.";
    LOG_CLOCK_AHEAD_SECONDS = "waylog_log_clock_ahead_seconds", Gauge, BARE,
        "How far the newest record was received in this machine's future; only with Kafka.";
    GROUP_LAG_RECORDS = "waylog_group_lag_records", Gauge, &[],
        "Records between committed and durable offset, by group.";
    GROUP_LAG_SECONDS = "waylog_group_lag_seconds", Gauge, &[],
        "Age of the oldest record not yet read, by group.";
    GROUP_RETENTION_HEADROOM = "waylog_group_retention_headroom_ratio", Gauge, &[],
        "Share of the retention still between a group and loss, by group.";
    GROUP_IDLE_MEMBERS = "waylog_group_idle_members", Gauge, &[],
        "Members without a partition, by group.";
    GROUP_REBALANCES = "waylog_group_rebalances_total", Counter, &[], "Rebalances by group.";
    PARTITION_SKEW = "waylog_partition_skew_ratio", Gauge, &[],
        "Load of the busiest partition over the mean, by topic.";
    PARTITION_HOT_KEY = "waylog_partition_hot_key_share", Gauge, &[],
        "Share of the busiest key of all records, by topic.";
    // directory
    DIRECTORY_ENTRIES = "waylog_directory_entries", Gauge, &[], "Entries in memory, by kind.";
    DIRECTORY_RESYNCS = "waylog_directory_resyncs_total", Counter, BARE,
        "Times that the whole Directory was read again.";
    // access
    ACCESS_DENIED = "waylog_access_denied_total", Counter,
        &[&[("reason", "unauthorized")], &[("reason", "forbidden")], &[("reason", "gone")],
          &[("reason", "too_many")]],
        "Requests refused for who asked, by reason.";
    // live map
    LIVE_SOCKETS = "waylog_live_sockets", Gauge, &[], "Open live connections, by channel.";
    LIVE_UPDATES = "waylog_live_updates_total", Counter, &[], "Updates sent, by channel.";
    LIVE_CLOSED = "waylog_live_closed_total", Counter, &[],
        "Live connections closed, by channel and close code.";
    LIVE_UNREADABLE = "waylog_live_unreadable_total", Counter, BARE,
        "Records that the live map passed over: foreign bytes, or no room for another courier.";
    LIVE_COURIERS = "waylog_live_couriers", Gauge, &[], "Couriers in live state.";
    LIVE_LATENCY_SECONDS = "waylog_live_latency_seconds", Histogram, &[],
        "From received_at to the socket.";
    // analytics
    ANALYTICS_FIXES = "waylog_analytics_fixes_total", Counter,
        &[&[("outcome", "stored")], &[("outcome", "duplicate")], &[("outcome", "quarantined")],
          &[("outcome", "erased")]],
        "Fixes that the sink read, by what became of them.";
    ANALYTICS_FLUSH_SECONDS = "waylog_analytics_flush_seconds", Histogram, &[],
        "Time of one flush transaction.";
    ANALYTICS_DATABASE_UP = "waylog_analytics_database_up", Gauge, &[],
        "1 while the sink reaches Postgres.";
    ANALYTICS_OFFSETS_LOST = "waylog_analytics_offsets_lost_total", Counter, BARE,
        "Records that retention deleted before the sink had read them.";
    ANALYTICS_REWINDS = "waylog_analytics_rewinds_total", Counter, BARE,
        "Times that the log turned out to be another one than Postgres had read, or to end earlier.";
    ANALYTICS_MARKS = "waylog_analytics_marks", Gauge, &[],
        "Changes to couriers' tracks that trips and heatmap do not show yet.";
    // notifications
    NOTIFICATIONS_FIXES = "waylog_notifications_fixes_total", Counter,
        &[&[("outcome", "judged")], &[("outcome", "out_of_order")]],
        "Fixes that rules read: judged, or older than the newest one judged and so without meaning for now.";
    NOTIFICATIONS_EVENTS = "waylog_notifications_events_total", Counter, &[],
        "Events recorded, by type.";
    NOTIFICATIONS_ATTEMPTS = "waylog_notifications_attempts_total", Counter,
        &[&[("outcome", "delivered")], &[("outcome", "failed")]],
        "Webhook attempts, by outcome.";
    NOTIFICATIONS_PENDING = "waylog_notifications_pending", Gauge, &[],
        "Outbox rows not yet delivered.";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_follow_the_grammar_and_are_unique() {
        let mut seen = std::collections::BTreeSet::new();
        for metric in CATALOGUE {
            assert!(metric.name.starts_with("waylog_"), "{}", metric.name);
            assert_eq!(
                metric.name.ends_with("_total"),
                metric.kind == Kind::Counter,
                "{}",
                metric.name
            );
            assert!(seen.insert(metric.name), "{} stands twice", metric.name);
        }
    }
}
