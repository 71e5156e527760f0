//! Arbitrary sequences of appends, polls, commits, seeks, rolls, retention and crashes, against a
//! model that is a `Vec` a partition. `proptest` shrinks a sequence that fails.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use tokio::runtime::Runtime;

use super::kit::payload;
use crate::clock::ManualClock;
use crate::stream::embedded::consumer::EmbeddedConsumer;
use crate::stream::embedded::keeper::Keeper;
use crate::stream::embedded::open::{Opened, open_state};
use crate::stream::embedded::storage::sim::{End, SimDisk};
use crate::stream::embedded::verify::verify_on;
use crate::stream::embedded::{EmbeddedLogOptions, Retention, SegmentSizes, TopicSpec};
use crate::stream::{Consumer, FromCommitted, Offset, Partition, Record, SeekTo, StreamEvent};

const TOPIC: &str = "t";
const GROUP: &str = "g";
const DIR: &str = "/log";
const PARTITIONS: u32 = 2;
/// Between two appends, milliseconds.
const TICK: i64 = 10;

#[derive(Debug, Clone)]
enum Op {
    Append { partition: u32, records: u64 },
    Poll,
    Commit,
    SeekOffset { partition: u32, permille: u64 },
    SeekTime { partition: u32, permille: u64 },
    Retain { seconds: i64 },
    Restart,
    Crash { power_cut: bool },
}

fn op() -> impl Strategy<Value = Op> {
    let partition = 0..PARTITIONS;
    prop_oneof![
        8 => (partition.clone(), 1..6_u64).prop_map(|(partition, records)| Op::Append { partition, records }),
        6 => Just(Op::Poll),
        3 => Just(Op::Commit),
        1 => (partition.clone(), 0..1100_u64).prop_map(|(partition, permille)| Op::SeekOffset { partition, permille }),
        1 => (partition, 0..1100_u64).prop_map(|(partition, permille)| Op::SeekTime { partition, permille }),
        1 => (1..400_i64).prop_map(|seconds| Op::Retain { seconds }),
        1 => Just(Op::Restart),
        1 => any::<bool>().prop_map(|power_cut| Op::Crash { power_cut }),
    ]
}

/// What one partition must hold.
#[derive(Default)]
struct Expected {
    /// Id and timestamp of the record at each offset.
    records: Vec<(u64, i64)>,
    start: u64,
    /// What the reader reads next; `None` while the partition is not assigned.
    next: Option<u64>,
    committed: Option<u64>,
}

struct World {
    runtime: Runtime,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    opened: Opened,
    keeper: Keeper,
    consumer: Box<dyn Consumer>,
    expected: BTreeMap<u32, Expected>,
    next_id: u64,
}

fn options() -> EmbeddedLogOptions {
    let mut options = EmbeddedLogOptions::new(DIR, PARTITIONS);
    options.topics = vec![TopicSpec {
        name: TOPIC.to_owned(),
        partitions: PARTITIONS,
    }];
    options.uuid = Some(uuid::Uuid::from_u128(7));
    options.sync_threads = 1;
    options.buffer_bytes = 16 << 10;
    options.ring_bytes = 4096;
    options.segments = SegmentSizes {
        first: 8192,
        max: 16384,
    };
    options.retention = Retention {
        age: Duration::from_secs(600),
        bytes: 80_000,
        hard_cap_bytes: 1 << 30,
    };
    options
}

fn open(disk: &SimDisk, clock: &Arc<ManualClock>) -> (Opened, Keeper, Box<dyn Consumer>) {
    let opened = open_state(Arc::new(disk.clone()), options(), clock.clone()).expect("opens");
    let keeper = Keeper::new(Arc::clone(&opened.state));
    let topic = Arc::clone(opened.state.topic(TOPIC).expect("the topic"));
    let state = Arc::clone(&opened.state);
    let consumer = EmbeddedConsumer::member(state, topic, GROUP, Arc::new(FromCommitted));
    (opened, keeper, Box::new(consumer))
}

impl World {
    fn new() -> Self {
        let runtime = tokio::runtime::Builder::new_current_thread();
        let runtime = { runtime }.enable_time().build().expect("a runtime");
        let (disk, clock) = (SimDisk::new(1), ManualClock::at(1_700_000_000_000));
        let (opened, keeper, consumer) = open(&disk, &clock);
        Self {
            runtime,
            disk,
            clock,
            opened,
            keeper,
            consumer,
            expected: (0..PARTITIONS).map(|n| (n, Expected::default())).collect(),
            next_id: 1,
        }
    }

    fn expected(&mut self, partition: u32) -> &mut Expected {
        self.expected.get_mut(&partition).expect("a partition")
    }

    fn apply(&mut self, op: &Op) {
        match *op {
            Op::Append { partition, records } => self.append(partition, records),
            Op::Poll => self.poll(),
            Op::Commit => self.commit(),
            Op::SeekOffset {
                partition,
                permille,
            } => self.seek_offset(partition, permille),
            Op::SeekTime {
                partition,
                permille,
            } => self.seek_time(partition, permille),
            Op::Retain { seconds } => {
                self.clock.advance(seconds * 1000);
                self.keeper.round(0);
                for syncer in &mut self.opened.syncers {
                    syncer.round(false);
                }
            }
            Op::Restart => self.restart(None),
            Op::Crash { power_cut } => {
                self.restart(Some(if power_cut { End::PowerCut } else { End::Kill }));
            }
        }
        for (number, expected) in &mut self.expected {
            let partition = &self.opened.state.topics[TOPIC].partitions[*number as usize];
            assert_eq!(partition.durable(), expected.records.len() as u64);
            assert!(partition.start() >= expected.start, "the start went back");
            expected.start = partition.start();
        }
    }

    fn append(&mut self, number: u32, count: u64) {
        self.clock.advance(TICK);
        let ids = self.next_id..self.next_id + count;
        self.next_id = ids.end;
        let expected = self.expected.get_mut(&number).expect("a partition");
        let record = |id: u64| Record {
            key: "c-1".into(),
            value: payload(id),
            timestamp_ms: 1_700_000_000_000 + id.cast_signed(),
        };
        let records: Vec<Record> = ids.clone().map(record).collect();
        let partition = &self.opened.state.topics[TOPIC].partitions[number as usize];
        let ticket = partition.enqueue(&records).expect("room");
        for syncer in &mut self.opened.syncers {
            syncer.round(false);
        }
        let range = ticket.poll_now().expect("told").expect("durable");
        assert_eq!(range.start.0, expected.records.len() as u64);
        let written = ids.map(|id| (id, 1_700_000_000_000 + id.cast_signed()));
        expected.records.extend(written);
        self.keeper.serve_requests();
    }

    fn poll(&mut self) {
        let event = self.runtime.block_on(self.consumer.poll(Duration::ZERO));
        match event.expect("nothing is damaged") {
            StreamEvent::Assigned { partitions, .. } => {
                for (partition, offset) in partitions {
                    let expected = self.expected(partition.0);
                    assert_eq!(offset.0, expected.committed.unwrap_or(expected.start));
                    expected.next = Some(offset.0);
                }
            }
            StreamEvent::Records {
                partition, records, ..
            } => {
                let expected = self.expected(partition.0);
                for record in records {
                    let next = expected.next.expect("assigned");
                    let (id, at) = expected.records[usize::try_from(next).expect("fits")];
                    assert_eq!((record.offset.0, record.timestamp_ms), (next, at));
                    assert_eq!(record.value, payload(id));
                    expected.next = Some(next + 1);
                }
            }
            StreamEvent::OffsetLost {
                partition,
                from,
                to,
            } => {
                let expected = self.expected(partition.0);
                assert_eq!((Some(from.0), to.0), (expected.next, expected.start));
                expected.next = Some(to.0);
            }
            StreamEvent::Idle => {
                for (number, expected) in &self.expected {
                    if let Some(next) = expected.next {
                        let end = expected.records.len() as u64;
                        assert_eq!(next, end, "idle, and partition {number} is not read");
                    }
                }
            }
            StreamEvent::Revoked { .. } => panic!("there is one member"),
        }
    }

    fn commit(&mut self) {
        for (number, expected) in &mut self.expected {
            let Some(next) = expected.next else { continue };
            let commit = self.consumer.commit(Partition(*number), Offset(next));
            self.runtime.block_on(commit).expect("the owner commits");
            expected.committed = Some(next);
        }
    }

    fn seek_offset(&mut self, number: u32, permille: u64) {
        let expected = self.expected.get_mut(&number).expect("a partition");
        if expected.next.is_none() {
            return;
        }
        let end = expected.records.len() as u64;
        let wanted = end * permille / 1000;
        let seek = self
            .consumer
            .seek(Partition(number), SeekTo::Offset(Offset(wanted)));
        let found = self.runtime.block_on(seek).expect("a place").0;
        assert_eq!(found, wanted.min(end));
        expected.next = Some(found);
    }

    fn seek_time(&mut self, number: u32, permille: u64) {
        let expected = self.expected.get_mut(&number).expect("a partition");
        if expected.next.is_none() {
            return;
        }
        let at = 1_700_000_000_000 + (self.next_id * permille / 1000).cast_signed();
        let seek = self
            .consumer
            .seek(Partition(number), SeekTo::TimestampMs(at));
        let found = self.runtime.block_on(seek).expect("a place").0;
        let first = expected.records.iter().position(|(_, ts)| *ts >= at);
        let first = first.map_or(expected.records.len() as u64, |n| n as u64);
        assert_eq!(found, first.max(expected.start));
        expected.next = Some(found);
    }

    /// Ends in order, or as a crash does, and opens the log again.
    fn restart(&mut self, crash: Option<End>) {
        if crash.is_none() {
            for syncer in &mut self.opened.syncers {
                syncer.finish();
            }
            self.keeper.serve_requests();
        }
        let power_cut = crash == Some(End::PowerCut);
        self.disk.restart(crash.unwrap_or(End::Kill));
        if power_cut {
            let report = verify_on(&self.disk, Path::new(DIR)).expect("a log");
            assert!(report.is_sound(), "a crash is no damage: {report:?}");
            self.disk.restart(End::Kill);
        }
        (self.opened, self.keeper, self.consumer) = open(&self.disk, &self.clock);
        for expected in self.expected.values_mut() {
            expected.next = None;
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: if std::env::var_os("WAYLOG_TEST_LONG").is_some() { 20_000 } else { 300 },
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn the_log_is_what_the_model_says(ops in prop::collection::vec(op(), 1..150)) {
        let mut world = World::new();
        for op in &ops {
            world.apply(op);
        }
    }
}
