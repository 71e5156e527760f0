//! What every backend must do, as tests that know no backend.
//!
//! A backend's tests name a factory once, [`conformance_tests!`] makes a test of each scenario.
//! Offsets are taken as strictly increasing, not as dense, since a broker may leave gaps.

mod groups;
mod records;

use std::any::Any;
use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::{
    Consumer, FromCommitted, Log, Offset, Partition, Record, SeekTo, StoredRecord, StreamEvent,
};

pub(crate) use groups::*;
pub(crate) use records::*;

/// Longest that anything here may take; only a hang is that slow.
const PATIENCE: Duration = Duration::from_secs(60);
/// How long a poll waits before it is asked again.
const POLL: Duration = Duration::from_millis(200);

/// An empty log with one topic for one test.
pub(crate) struct Fixture {
    pub(crate) log: Arc<dyn Log>,
    pub(crate) topic: String,
    /// Partitions of the topic, at least 3.
    pub(crate) partitions: u32,
    /// Dropped after the test: folders, containers.
    pub(crate) guard: Box<dyn Any + Send>,
}

/// Makes a test of every scenario, each with a fixture of its own from `$factory().await`, which
/// may answer `None` where its broker cannot be had.
macro_rules! conformance_tests {
    ($factory:path) => {
        conformance_tests!(
            $factory,
            offsets_increase_and_records_of_one_append_stay_together,
            records_are_read_back_as_they_were_written,
            what_cannot_be_stored_is_refused,
            readers_start_where_they_are_told,
            a_seek_moves_the_place,
            a_group_goes_on_where_it_has_committed,
            the_start_is_asked_when_a_partition_is_assigned,
            members_share_the_partitions,
            a_stale_commit_is_refused,
            a_reader_without_a_group_cannot_commit,
            groups_are_strangers,
            a_poll_without_news_is_idle_and_a_dropped_one_loses_nothing,
            many_appenders_lose_and_mix_nothing,
            a_group_is_reset_only_at_rest,
            lag_is_what_is_not_committed,
            a_stream_is_named_for_good,
            after_close_nothing_is_taken,
        );
    };
    ($factory:path, $($scenario:ident,)*) => {
        $(
            #[tokio::test(flavor = "multi_thread", worker_threads = 2)]
            async fn $scenario() {
                let made: Option<crate::stream::conformance::Fixture> = $factory().await.into();
                // A factory without its means has said so, and counted it.
                let Some(fixture) = made else { return };
                crate::stream::conformance::$scenario(&fixture).await;
                drop(fixture.guard);
            }
        )*
    };
}
pub(crate) use conformance_tests;

fn record(key: &str, value: impl Into<Bytes>, timestamp_ms: i64) -> Record {
    Record {
        key: Bytes::copy_from_slice(key.as_bytes()),
        value: value.into(),
        timestamp_ms,
    }
}

fn numbered(range: std::ops::Range<i64>) -> Vec<Record> {
    range
        .map(|n| record("c-1", n.to_string(), 1_000 + n))
        .collect()
}

async fn append(fixture: &Fixture, partition: u32, records: Vec<Record>) -> Vec<u64> {
    let count = records.len() as u64;
    let range = fixture
        .log
        .append(&fixture.topic, Partition(partition), records)
        .await;
    let range = range.expect("appended");
    assert!(
        range.end.0 - range.start.0 >= count,
        "every record has an offset"
    );
    (range.start.0..range.end.0).collect()
}

async fn in_time<T>(what: &str, future: impl Future<Output = T>) -> T {
    tokio::time::timeout(PATIENCE, future)
        .await
        .unwrap_or_else(|_| panic!("{what} hangs"))
}

/// Polls until `count` records have come; other events are left out.
async fn read(consumer: &mut Box<dyn Consumer>, count: usize) -> Vec<(Partition, StoredRecord)> {
    in_time("reading", async {
        let mut read = Vec::new();
        while read.len() < count {
            if let StreamEvent::Records {
                partition,
                records,
                durable_offset,
            } = consumer.poll(POLL).await.expect("polled")
            {
                assert!(!records.is_empty(), "a records event is never empty");
                assert!(
                    records.iter().all(|r| r.offset < durable_offset),
                    "only what is durable"
                );
                read.extend(records.into_iter().map(|record| (partition, record)));
            }
        }
        read
    })
    .await
}

/// Polls until partitions were assigned; answers them.
async fn assigned(consumer: &mut Box<dyn Consumer>) -> BTreeMap<Partition, Offset> {
    in_time("an assignment", async {
        loop {
            if let StreamEvent::Assigned { partitions, .. } =
                consumer.poll(POLL).await.expect("polled")
            {
                return partitions.into_iter().collect();
            }
        }
    })
    .await
}

async fn subscribe(fixture: &Fixture, group: &str) -> Box<dyn Consumer> {
    let subscribed = fixture
        .log
        .subscribe(&fixture.topic, group, Arc::new(FromCommitted))
        .await;
    subscribed.expect("subscribed")
}

async fn reader(fixture: &Fixture, partition: u32, start: SeekTo) -> Box<dyn Consumer> {
    let reader = fixture
        .log
        .reader(&fixture.topic, &[Partition(partition)], start)
        .await;
    reader.expect("a reader")
}

fn values(records: &[(Partition, StoredRecord)]) -> Vec<String> {
    let text = |record: &StoredRecord| String::from_utf8_lossy(&record.value).into_owned();
    records.iter().map(|(_, record)| text(record)).collect()
}

fn names(range: std::ops::Range<i64>) -> Vec<String> {
    range.map(|n| n.to_string()).collect()
}

async fn close(consumer: Box<dyn Consumer>) {
    in_time("closing", consumer.close(PATIENCE)).await;
}
