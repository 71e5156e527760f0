//! What every backend must do, as tests that know no backend.
//!
//! A backend's tests name a factory once, [`conformance_tests!`] makes a test of each scenario.
//! Offsets are taken as strictly increasing, not as dense, since a broker may leave gaps.

use std::any::Any;
use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use bytes::Bytes;

use super::{
    AppendError, CommitError, Consumer, FromCommitted, Log, Offset, Partition, PollError, Record,
    SeekTo, StartOffsets, StoredRecord, StreamEvent,
};

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

pub(crate) async fn offsets_increase_and_records_of_one_append_stay_together(fixture: &Fixture) {
    let first = append(fixture, 0, numbered(0..3)).await;
    let second = append(fixture, 0, numbered(3..5)).await;
    assert!(first.windows(2).all(|pair| pair[0] < pair[1]));
    assert!(first.last() < second.first());
    let read = read(&mut reader(fixture, 0, SeekTo::Earliest).await, 5).await;
    let offsets: Vec<u64> = read.iter().map(|(_, record)| record.offset.0).collect();
    assert_eq!(offsets, [first, second].concat());
    assert_eq!(values(&read), names(0..5));
}

pub(crate) async fn records_are_read_back_as_they_were_written(fixture: &Fixture) {
    let long: Vec<u8> = (0..700_000_u32)
        .flat_map(u32::to_le_bytes)
        .take(700_000)
        .collect();
    let written = vec![
        record("courier/ä:1", "", 1),
        record("c", vec![0_u8; 3000], 1_700_000_000_123),
        record("c", long, 1_600_000_000_000),
        record(&"k".repeat(200), vec![255_u8, 0, 128], 1_800_000_000_000),
    ];
    append(fixture, 1, written.clone()).await;
    let read = read(
        &mut reader(fixture, 1, SeekTo::Earliest).await,
        written.len(),
    )
    .await;
    for (wrote, (partition, read)) in written.iter().zip(&read) {
        assert_eq!(*partition, Partition(1));
        assert_eq!((&read.key, &read.value), (&wrote.key, &wrote.value));
        assert_eq!(read.timestamp_ms, wrote.timestamp_ms);
    }
}

pub(crate) async fn what_cannot_be_stored_is_refused(fixture: &Fixture) {
    let append = |topic: &str, partition, records| {
        let (log, topic) = (Arc::clone(&fixture.log), topic.to_owned());
        async move { log.append(&topic, Partition(partition), records).await }
    };
    let empty_key = append(&fixture.topic, 0, vec![record("", "x", 0)]).await;
    assert!(
        matches!(empty_key, Err(AppendError::Invalid(_))),
        "{empty_key:?}"
    );
    let far = append(&fixture.topic, fixture.partitions, numbered(0..1)).await;
    assert!(
        matches!(far, Err(AppendError::UnknownPartition { .. })),
        "{far:?}"
    );
    let huge = append(
        &fixture.topic,
        0,
        vec![record("c", vec![0_u8; 64 << 20], 0)],
    )
    .await;
    assert!(matches!(huge, Err(AppendError::Invalid(_))), "{huge:?}");
    let refused = fixture
        .log
        .reader(&fixture.topic, &[Partition(9_999)], SeekTo::Earliest)
        .await;
    assert!(refused.is_err());
    assert_eq!(
        fixture.log.partitions(&fixture.topic).expect("known"),
        fixture.partitions
    );
}

pub(crate) async fn readers_start_where_they_are_told(fixture: &Fixture) {
    let offsets = append(fixture, 0, numbered(0..10)).await;
    let mut from = reader(fixture, 0, SeekTo::Offset(Offset(offsets[4]))).await;
    assert_eq!(values(&read(&mut from, 6).await), names(4..10));
    let mut since = reader(fixture, 0, SeekTo::TimestampMs(1_007)).await;
    assert_eq!(values(&read(&mut since, 3).await), names(7..10));
    let mut later = reader(fixture, 0, SeekTo::TimestampMs(9_999)).await;
    let mut latest = reader(fixture, 0, SeekTo::Latest).await;
    append(fixture, 0, numbered(10..11)).await;
    assert_eq!(values(&read(&mut latest, 1).await), names(10..11));
    assert_eq!(values(&read(&mut later, 1).await), names(10..11));
}

pub(crate) async fn a_seek_moves_the_place(fixture: &Fixture) {
    let offsets = append(fixture, 2, numbered(0..6)).await;
    let mut consumer = reader(fixture, 2, SeekTo::Earliest).await;
    assert_eq!(read(&mut consumer, 6).await.len(), 6);
    let place = consumer
        .seek(Partition(2), SeekTo::Offset(Offset(offsets[2])))
        .await;
    assert_eq!(place.expect("moved"), Offset(offsets[2]));
    assert_eq!(values(&read(&mut consumer, 4).await), names(2..6));
    consumer
        .seek(Partition(2), SeekTo::TimestampMs(1_005))
        .await
        .expect("moved");
    assert_eq!(values(&read(&mut consumer, 1).await), names(5..6));
    let end = consumer.end_offsets().await.expect("asked");
    assert_eq!(end, [(Partition(2), Offset(offsets[5] + 1))]);
    assert!(
        consumer.seek(Partition(0), SeekTo::Earliest).await.is_err(),
        "not its partition"
    );
}

pub(crate) async fn a_group_goes_on_where_it_has_committed(fixture: &Fixture) {
    let offsets = append(fixture, 0, numbered(0..8)).await;
    let mut first = subscribe(fixture, "g").await;
    assert_eq!(values(&read(&mut first, 8).await), names(0..8));
    first
        .commit(Partition(0), Offset(offsets[5]))
        .await
        .expect("committed");
    close(first).await;
    let mut second = subscribe(fixture, "g").await;
    let starts = assigned(&mut second).await;
    assert_eq!(starts[&Partition(0)], Offset(offsets[5]));
    assert_eq!(values(&read(&mut second, 3).await), names(5..8));
    close(second).await;
}

struct FromDatabase(Offset);

#[async_trait]
impl StartOffsets for FromDatabase {
    async fn start_at(&self, partition: Partition) -> anyhow::Result<Option<SeekTo>> {
        Ok((partition == Partition(1)).then_some(SeekTo::Offset(self.0)))
    }
}

pub(crate) async fn the_start_is_asked_when_a_partition_is_assigned(fixture: &Fixture) {
    append(fixture, 0, numbered(0..2)).await;
    let offsets = append(fixture, 1, numbered(10..14)).await;
    let start = Arc::new(FromDatabase(Offset(offsets[3])));
    let consumer = fixture.log.subscribe(&fixture.topic, "sink", start).await;
    let mut consumer = consumer.expect("subscribed");
    let mut got = values(&read(&mut consumer, 3).await);
    got.sort();
    assert_eq!(
        got,
        ["0", "1", "13"],
        "the database's word for 1, the earliest for 0"
    );
    close(consumer).await;
}

/// Polls every member in turn, keeping account of who owns what, until `done` says so.
async fn rebalance(
    members: &mut [(Box<dyn Consumer>, BTreeSet<Partition>)],
    done: impl Fn(&[BTreeSet<Partition>]) -> bool,
) {
    in_time("a rebalance", async {
        loop {
            for (consumer, owned) in &mut *members {
                match consumer
                    .poll(Duration::from_millis(20))
                    .await
                    .expect("polled")
                {
                    StreamEvent::Assigned { partitions, .. } => {
                        owned.extend(partitions.into_iter().map(|(p, _)| p));
                    }
                    StreamEvent::Revoked { partitions } => {
                        owned.retain(|p| !partitions.contains(p));
                    }
                    _ => {}
                }
            }
            let owned: Vec<_> = members.iter().map(|(_, owned)| owned.clone()).collect();
            let total: usize = owned.iter().map(BTreeSet::len).sum();
            let distinct: BTreeSet<_> = owned.iter().flatten().collect();
            assert_eq!(
                total,
                distinct.len(),
                "a partition has one owner: {owned:?}"
            );
            if done(&owned) {
                return;
            }
        }
    })
    .await;
}

pub(crate) async fn members_share_the_partitions(fixture: &Fixture) {
    let all = fixture.partitions as usize;
    let mut members = vec![(subscribe(fixture, "g").await, BTreeSet::new())];
    rebalance(&mut members, |owned| owned[0].len() == all).await;
    members.push((subscribe(fixture, "g").await, BTreeSet::new()));
    rebalance(&mut members, |owned| {
        owned[0].len() + owned[1].len() == all && owned[0].len().abs_diff(owned[1].len()) <= 1
    })
    .await;
    let (gone, _) = members.remove(0);
    close(gone).await;
    rebalance(&mut members, |owned| owned[0].len() == all).await;
    let groups = fixture.log.groups().await.expect("asked");
    let group = groups
        .iter()
        .find(|group| group.group == "g")
        .expect("listed");
    assert_eq!(group.members, 1);
    for (member, _) in members {
        close(member).await;
    }
}

pub(crate) async fn a_stale_commit_is_refused(fixture: &Fixture) {
    let all = fixture.partitions as usize;
    let mut members = vec![(subscribe(fixture, "g").await, BTreeSet::new())];
    rebalance(&mut members, |owned| owned[0].len() == all).await;
    members.push((subscribe(fixture, "g").await, BTreeSet::new()));
    rebalance(&mut members, |owned| {
        owned[1].len() == all / 2 && owned[0].len() == all - all / 2
    })
    .await;
    let moved = *members[1].1.first().expect("it has one");
    let refused = members[0].0.commit(moved, Offset(0)).await;
    assert!(
        matches!(refused, Err(CommitError::Stale(p)) if p == moved),
        "{refused:?}"
    );
    members[1]
        .0
        .commit(moved, Offset(0))
        .await
        .expect("its owner may");
    for (member, _) in members {
        close(member).await;
    }
}

pub(crate) async fn a_reader_without_a_group_cannot_commit(fixture: &Fixture) {
    let mut consumer = reader(fixture, 0, SeekTo::Earliest).await;
    let refused = consumer.commit(Partition(0), Offset(0)).await;
    assert!(matches!(refused, Err(CommitError::NoGroup)), "{refused:?}");
}

pub(crate) async fn groups_are_strangers(fixture: &Fixture) {
    let mut asleep = subscribe(fixture, "asleep").await;
    let mut awake = subscribe(fixture, "awake").await;
    assigned(&mut asleep).await;
    for n in 0..50 {
        append(fixture, 0, numbered(n * 20..n * 20 + 20)).await;
    }
    assert_eq!(values(&read(&mut awake, 1000).await), names(0..1000));
    assert_eq!(values(&read(&mut asleep, 1000).await), names(0..1000));
    close(asleep).await;
    close(awake).await;
}

pub(crate) async fn a_poll_without_news_is_idle_and_a_dropped_one_loses_nothing(fixture: &Fixture) {
    let mut consumer = reader(fixture, 0, SeekTo::Earliest).await;
    let event = consumer
        .poll(Duration::from_millis(1))
        .await
        .expect("polled");
    assert!(matches!(event, StreamEvent::Idle), "{event:?}");
    let mut got = Vec::new();
    for n in 0..20 {
        append(fixture, 0, numbered(n..n + 1)).await;
        // Polls that are dropped at any moment must not swallow what they had found.
        let poll = consumer.poll(PATIENCE);
        tokio::select! {
            biased;
            () = tokio::task::yield_now() => {}
            event = poll => {
                if let StreamEvent::Records { records, .. } = event.expect("polled") {
                    got.extend(records.into_iter().map(|record| (Partition(0), record)));
                }
            }
        }
    }
    let rest = 20 - got.len();
    got.extend(read(&mut consumer, rest).await);
    assert_eq!(values(&got), names(0..20));
}

pub(crate) async fn many_appenders_lose_and_mix_nothing(fixture: &Fixture) {
    const APPENDERS: i64 = 16;
    const EACH: i64 = 50;
    let mut tasks = tokio::task::JoinSet::new();
    for appender in 0..APPENDERS {
        let (log, topic) = (Arc::clone(&fixture.log), fixture.topic.clone());
        tasks.spawn(async move {
            let key = format!("c-{appender}");
            for n in 0..EACH {
                let pair = vec![
                    record(&key, format!("{n}a"), n),
                    record(&key, format!("{n}b"), n),
                ];
                loop {
                    match log.append(&topic, Partition(0), pair.clone()).await {
                        Ok(_) => break,
                        Err(AppendError::Busy) => tokio::task::yield_now().await,
                        Err(error) => panic!("{error}"),
                    }
                }
            }
        });
    }
    in_time("appending", async {
        while tasks.join_next().await.transpose().unwrap().is_some() {}
    })
    .await;
    let total = usize::try_from(APPENDERS * EACH * 2).unwrap();
    let read = read(&mut reader(fixture, 0, SeekTo::Earliest).await, total).await;
    let offsets: Vec<u64> = read.iter().map(|(_, record)| record.offset.0).collect();
    assert!(
        offsets.windows(2).all(|pair| pair[0] < pair[1]),
        "offsets increase"
    );
    let mut by_key: BTreeMap<Bytes, Vec<String>> = BTreeMap::new();
    for (at, (_, record)) in read.iter().enumerate() {
        let value = String::from_utf8_lossy(&record.value).into_owned();
        if let Some(n) = value.strip_suffix('a') {
            let partner = &read[at + 1].1;
            assert_eq!(
                (&partner.key, &partner.value[..]),
                (&record.key, format!("{n}b").as_bytes())
            );
        }
        by_key.entry(record.key.clone()).or_default().push(value);
    }
    let wanted: Vec<String> = (0..EACH)
        .flat_map(|n| [format!("{n}a"), format!("{n}b")])
        .collect();
    assert_eq!(by_key.len(), usize::try_from(APPENDERS).unwrap());
    assert!(
        by_key.values().all(|values| *values == wanted),
        "each appender's order is kept"
    );
}

pub(crate) async fn a_group_is_reset_only_at_rest(fixture: &Fixture) {
    let offsets = append(fixture, 0, numbered(0..4)).await;
    let mut consumer = subscribe(fixture, "g").await;
    read(&mut consumer, 4).await;
    let end = Offset(offsets[3] + 1);
    consumer.commit(Partition(0), end).await.expect("committed");
    let reset = |to| {
        fixture
            .log
            .reset_group(&fixture.topic, "g", Partition(0), to)
    };
    assert!(reset(SeekTo::Earliest).await.is_err(), "it has a member");
    close(consumer).await;
    let place = reset(SeekTo::Offset(Offset(offsets[1])))
        .await
        .expect("reset");
    assert_eq!(place, Offset(offsets[1]));
    let mut again = subscribe(fixture, "g").await;
    assert_eq!(values(&read(&mut again, 3).await), names(1..4));
    close(again).await;
}

pub(crate) async fn lag_is_what_is_not_committed(fixture: &Fixture) {
    let offsets = append(fixture, 1, numbered(0..9)).await;
    let mut consumer = subscribe(fixture, "g").await;
    read(&mut consumer, 9).await;
    consumer
        .commit(Partition(1), Offset(offsets[7]))
        .await
        .expect("committed");
    let groups = fixture.log.groups().await.expect("asked");
    let group = groups
        .iter()
        .find(|group| group.group == "g")
        .expect("listed");
    assert_eq!(
        (group.topic.as_str(), group.members),
        (fixture.topic.as_str(), 1)
    );
    let place = group
        .partitions
        .iter()
        .find(|p| p.partition == 1)
        .expect("listed");
    assert_eq!(place.committed, Some(offsets[7]));
    assert_eq!(place.lag_records, offsets[8] + 1 - offsets[7]);
    let topics = fixture.log.topics().await.expect("asked");
    let topic = topics
        .iter()
        .find(|topic| topic.topic == fixture.topic)
        .expect("listed");
    assert_eq!(topic.partitions.len(), fixture.partitions as usize);
    assert_eq!(topic.partitions[1].durable_offset, offsets[8] + 1);
    close(consumer).await;
}

pub(crate) async fn a_stream_is_named_for_good(fixture: &Fixture) {
    let name = fixture.log.stream_id(&fixture.topic).expect("named");
    assert!(!name.is_empty());
    append(fixture, 0, numbered(0..1)).await;
    assert_eq!(fixture.log.stream_id(&fixture.topic).expect("named"), name);
}

pub(crate) async fn after_close_nothing_is_taken(fixture: &Fixture) {
    append(fixture, 0, numbered(0..1)).await;
    let mut consumer = reader(fixture, 0, SeekTo::Latest).await;
    in_time("closing", fixture.log.close())
        .await
        .expect("closed");
    let refused = fixture
        .log
        .append(&fixture.topic, Partition(0), numbered(1..2))
        .await;
    assert!(
        matches!(refused, Err(AppendError::Stopped(_))),
        "{refused:?}"
    );
    let stopped = in_time("a poll after close", consumer.poll(PATIENCE)).await;
    assert!(matches!(stopped, Err(PollError::Stopped(_))), "{stopped:?}");
}
