//! Seeded histories of appends, commits, retention, failing disks and crashes, on the simulated
//! disk, against a model that remembers every acknowledgement.
//!
//! `WAYLOG_TEST_SEED=n` runs one history again; `WAYLOG_TEST_LONG=1` runs 50,000 instead of 2,000.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;

use super::kit::{payload, read_all};

use crate::clock::ManualClock;
use crate::stream::embedded::keeper::Keeper;
use crate::stream::embedded::open::{Opened, open_state};
use crate::stream::embedded::partition::{Partition, Ticket};
use crate::stream::embedded::state::State;
use crate::stream::embedded::storage::sim::{Chance, End, SimDisk};
use crate::stream::embedded::syncer::Syncer;
use crate::stream::embedded::{
    EmbeddedLogOptions, ProtectedGroup, Retention, SegmentSizes, TopicSpec,
};
use crate::stream::{AppendError, LogError, Record};

const PARTITIONS: u32 = 2;
const TOPIC: &str = "t";
const GROUPS: [&str; 2] = ["keen", "kept"];
/// Operations in one history.
const OPERATIONS: u64 = 60;

/// What a test may know of one partition.
#[derive(Debug, Default)]
struct Model {
    /// Acknowledged records by offset.
    acknowledged: BTreeMap<u64, u64>,
    /// Sent, and their fate was not told before the process ended.
    unknown: BTreeSet<u64>,
    /// Refused as full, and no later group was written since: only zeros may be missing on disk,
    /// so that they may still come to light at a crash.
    refused: BTreeSet<u64>,
    /// Refused, or gone at a restart: must never be seen again.
    gone: BTreeSet<u64>,
    /// What each group has committed for certain, and what it tried to since.
    committed: BTreeMap<&'static str, (u64, Vec<u64>)>,
    /// The furthest that the protected group has ever said it had read.
    furthest: u64,
    start: u64,
    durable: u64,
}

/// A record under way.
struct Sent {
    partition: u32,
    first_id: u64,
    count: u64,
    ticket: Ticket,
}

struct Running {
    state: Arc<State>,
    syncers: Vec<Syncer>,
    keeper: Keeper,
    _lock: Box<dyn crate::stream::embedded::storage::StorageLock>,
}

struct World {
    seed: u64,
    chance: Chance,
    disk: SimDisk,
    clock: Arc<ManualClock>,
    options: EmbeddedLogOptions,
    running: Option<Running>,
    sent: Vec<Sent>,
    models: Vec<Model>,
    next_id: u64,
    crashes: u64,
    traced: bool,
}

fn options(chance: &mut Chance) -> EmbeddedLogOptions {
    let mut options = EmbeddedLogOptions::new("/log", PARTITIONS);
    options.topics = vec![TopicSpec {
        name: TOPIC.to_owned(),
        partitions: PARTITIONS,
    }];
    options.uuid = Some(uuid::Uuid::from_u128(u128::from(chance.next())));
    options.sync_threads = 1 + chance.below(2) as usize;
    options.buffer_bytes = 4096;
    options.ring_bytes = [0, 2048, 1 << 20][chance.below(3) as usize];
    options.segments = SegmentSizes {
        first: 8192,
        max: 8192 << chance.below(3),
    };
    options.retention = Retention {
        age: Duration::from_secs(1000),
        bytes: 60_000 << chance.below(4),
        hard_cap_bytes: 1 << 20,
    };
    if chance.hits(1, 2) {
        options.protected = vec![ProtectedGroup {
            topic: TOPIC.to_owned(),
            group: GROUPS[1].to_owned(),
        }];
    }
    options.scrub_bytes_per_s = 1 << 20;
    options
}

impl World {
    fn new(seed: u64) -> Self {
        let mut chance = Chance::new(seed);
        let options = options(&mut chance);
        Self {
            seed,
            disk: SimDisk::new(chance.next()),
            chance,
            clock: ManualClock::at(1_700_000_000_000),
            options,
            running: None,
            sent: Vec::new(),
            models: (0..PARTITIONS).map(|_| Model::default()).collect(),
            next_id: 1,
            crashes: 0,
            traced: false,
        }
    }

    fn run(&mut self) {
        self.start();
        for _ in 0..OPERATIONS {
            self.operate();
            self.harvest();
            self.restart_if_dead();
        }
        self.end(End::PowerCut);
        self.start();
    }

    fn operate(&mut self) {
        let dice = self.chance.below(100);
        self.trace(|| format!("operation {dice}"));
        match dice {
            0..40 => self.append(),
            40..65 => self.sync(),
            65..70 => self.running().keeper.serve_requests(),
            70..74 => self.running().keeper.round(1_000_000),
            74..80 => self.commit(),
            80..84 => {
                // Also backwards, as clocks do.
                let step = self.chance.below(400_000) as i64 - 50_000;
                self.clock.advance(step);
            }
            84..86 => self.disk.fail_syncs(1),
            86..88 => self.disk.fail_writes(1),
            88..90 => {
                let more = self.chance.below(30_000);
                self.disk.set_capacity(self.disk.used() + more);
            }
            90..92 => self.disk.set_capacity(u64::MAX),
            92..95 => {
                let steps = 1 + self.chance.below(12);
                self.disk.crash_in(steps);
            }
            95..97 => {
                let end = if self.chance.hits(1, 2) {
                    End::Kill
                } else {
                    End::PowerCut
                };
                self.end(end);
            }
            _ => self.close(),
        }
    }

    /// Tells what happens when one seed is run again.
    fn trace(&self, what: impl FnOnce() -> String) {
        if self.traced {
            let durable: Vec<u64> = self.models.iter().map(|model| model.durable).collect();
            eprintln!("step {} durable {durable:?}: {}", self.disk.steps(), what());
        }
    }

    fn running(&mut self) -> &mut Running {
        self.running.as_mut().expect("the log is open")
    }

    fn partition(&mut self, number: u32) -> Arc<Partition> {
        Arc::clone(&self.running().state.topics[TOPIC].partitions[number as usize])
    }

    fn append(&mut self) {
        let number = self.chance.below(u64::from(PARTITIONS)) as u32;
        let count = 1 + self.chance.below(4);
        let first_id = self.next_id;
        self.next_id += count;
        let record = |id| Record {
            key: Bytes::from_static(b"c-1"),
            value: payload(id),
            timestamp_ms: 1_700_000_000_000 + id.cast_signed(),
        };
        let records: Vec<Record> = (first_id..first_id + count).map(record).collect();
        let partition = self.partition(number);
        match partition.enqueue(&records) {
            Ok(ticket) => {
                let model = &mut self.models[number as usize];
                model.unknown.extend(first_id..first_id + count);
                self.sent.push(Sent {
                    partition: number,
                    first_id,
                    count,
                    ticket,
                });
            }
            Err(AppendError::Busy | AppendError::Invalid(_) | AppendError::Stopped(_)) => {
                self.models[number as usize]
                    .gone
                    .extend(first_id..first_id + count);
            }
            Err(error) => panic!("seed {}: {error}", self.seed),
        }
    }

    fn sync(&mut self) {
        let mark = self.chance.hits(1, 4);
        let which = self.chance.next() as usize;
        let syncers = &mut self.running().syncers;
        let at = which % syncers.len();
        syncers[at].round(mark);
    }

    fn commit(&mut self) {
        let number = self.chance.below(u64::from(PARTITIONS)) as u32;
        let group = GROUPS[self.chance.below(2) as usize];
        let partition = self.partition(number);
        let (start, durable) = (partition.start(), partition.durable());
        let next = start + self.chance.below(durable - start + 1);
        let state = Arc::clone(&self.running().state);
        let model = &mut self.models[number as usize];
        if group == GROUPS[1] {
            model.furthest = model.furthest.max(next);
        }
        let entry = model.committed.entry(group).or_default();
        state.offsets.note(group, TOPIC, number, next);
        entry.1.push(next);
        self.trace(|| format!("{group} commits {next} in {number}"));
        if state.offsets.flush(group).is_ok() {
            // One file holds all of the group's partitions.
            for model in &mut self.models {
                if let Some((certain, tried)) = model.committed.get_mut(group)
                    && let Some(last) = tried.pop()
                {
                    *certain = last;
                    tried.clear();
                }
            }
        }
    }

    /// Learns the fate of what was sent.
    fn harvest(&mut self) {
        for sent in std::mem::take(&mut self.sent) {
            let model = &mut self.models[sent.partition as usize];
            let ids = sent.first_id..sent.first_id + sent.count;
            let fate = sent.ticket.poll_now();
            if self.traced && fate.is_some() {
                eprintln!("records {ids:?} in {}: {fate:?}", sent.partition);
            }
            match fate {
                None => self.sent.push(sent),
                Some(Ok(range)) => {
                    assert_eq!(
                        range.end.0 - range.start.0,
                        sent.count,
                        "seed {}",
                        self.seed
                    );
                    for (offset, id) in (range.start.0..).zip(ids) {
                        model.unknown.remove(&id);
                        let before = model.acknowledged.insert(offset, id);
                        assert_eq!(before, None, "seed {}: offset {offset} twice", self.seed);
                    }
                    model.durable = model.durable.max(range.end.0);
                    model.gone.append(&mut model.refused);
                }
                Some(Err(AppendError::Full(_))) => {
                    for id in ids {
                        model.unknown.remove(&id);
                        model.refused.insert(id);
                    }
                }
                Some(Err(AppendError::Stopped(_))) => {}
                Some(Err(error)) => panic!("seed {}: {error}", self.seed),
            }
        }
        if let Some(running) = &self.running {
            for (partition, model) in running.state.partitions().zip(&mut self.models) {
                model.start = model.start.max(partition.start());
            }
        }
    }

    fn restart_if_dead(&mut self) {
        let poisoned = self
            .running
            .as_ref()
            .is_some_and(|r| r.state.core.failure().is_some());
        if self.running.is_none() || self.disk.crashed() || poisoned {
            let end = if self.chance.hits(1, 2) {
                End::Kill
            } else {
                End::PowerCut
            };
            self.end(end);
            self.start();
        }
    }

    fn close(&mut self) {
        for syncer in &mut self.running().syncers {
            syncer.finish();
        }
        self.running().keeper.serve_requests();
        self.harvest();
        self.running = None;
    }

    /// The process ends where it stands.
    fn end(&mut self, end: End) {
        self.harvest();
        // Fates that are told by the end itself are no news.
        self.sent.clear();
        self.running = None;
        self.disk.restart(end);
        self.crashes += 1;
        self.trace(|| format!("{end:?}"));
    }

    /// Opens the log, dying now and then on the way, and looks whether all is there.
    fn start(&mut self) {
        if self.chance.hits(1, 4) {
            self.disk.set_capacity(u64::MAX);
        }
        while self.chance.hits(1, 3) {
            let steps = 1 + self.chance.below(40);
            self.disk.crash_in(steps);
            let opened = self.open();
            let lived = !self.disk.crashed();
            assert!(
                opened.is_ok() == lived || !lived,
                "seed {}: {:?}",
                self.seed,
                opened.err()
            );
            drop(opened);
            let end = if self.chance.hits(1, 2) {
                End::Kill
            } else {
                End::PowerCut
            };
            self.disk.restart(end);
        }
        let mut opened = self.open();
        if opened.is_err() {
            // A full disk may keep the log from opening; it must open when there is room.
            self.disk.set_capacity(u64::MAX);
            opened = self.open();
        }
        let Opened {
            state,
            syncers,
            lock,
        } = match opened {
            Ok(opened) => opened,
            Err(error) => panic!("seed {}: the log does not open: {error}", self.seed),
        };
        for number in 0..PARTITIONS {
            self.check(&state, number);
        }
        let keeper = Keeper::new(Arc::clone(&state));
        self.running = Some(Running {
            state,
            syncers,
            keeper,
            _lock: lock,
        });
    }

    fn open(&self) -> Result<Opened, LogError> {
        let clock: crate::clock::SharedClock = self.clock.clone();
        open_state(Arc::new(self.disk.clone()), self.options.clone(), clock)
    }

    /// After a restart: everything acknowledged is there, nothing is there that was not sent,
    /// nothing comes back from the dead.
    fn check(&mut self, state: &State, number: u32) {
        let seed = self.seed;
        let partition = &state.topics[TOPIC].partitions[number as usize];
        let model = &mut self.models[number as usize];
        assert_eq!(
            partition.quarantined(),
            None,
            "seed {seed}: a crash is no damage"
        );
        assert_eq!(
            *partition.damage.lock(),
            None,
            "seed {seed}: a crash is no damage"
        );
        let (start, durable) = (partition.start(), partition.durable());
        assert!(start >= model.start, "seed {seed}: the start went back");
        assert!(
            durable >= model.durable,
            "seed {seed}: {durable} < {}",
            model.durable
        );
        let protected = self.options.protected.iter().any(|p| p.group == GROUPS[1]);
        if protected {
            assert!(
                start <= model.furthest,
                "seed {seed}: unread records of a protected group were deleted"
            );
        }
        let read = read_all(partition, start, durable).expect("readable");
        assert_eq!(
            read.len() as u64,
            durable - start,
            "seed {seed}: offsets are dense"
        );
        for (offset, id) in &read {
            match model.acknowledged.get(offset) {
                Some(known) => assert_eq!(id, known, "seed {seed}: offset {offset} has changed"),
                None => {
                    assert!(
                        model.unknown.remove(id) || model.refused.remove(id),
                        "seed {seed}: record {id} at offset {offset} was never pending"
                    );
                    model.acknowledged.insert(*offset, *id);
                }
            }
            assert!(!model.gone.contains(id), "seed {seed}: record {id} is back");
        }
        let lost = model
            .acknowledged
            .range(start..)
            .find(|(offset, _)| !read.contains_key(offset));
        assert_eq!(lost, None, "seed {seed}: an acknowledged record is lost");
        model.gone.append(&mut model.unknown);
        model.gone.append(&mut model.refused);
        (model.start, model.durable) = (start, durable);
        for group in GROUPS {
            let found = state.offsets.get(group, TOPIC, number);
            let entry = model.committed.entry(group).or_default();
            let known = std::mem::take(entry);
            let found = found.unwrap_or(0);
            assert!(
                found == known.0 || known.1.contains(&found),
                "seed {seed}: {group} had committed {known:?}, found {found}"
            );
            *entry = (found, Vec::new());
        }
    }
}

#[test]
fn whatever_crashes_nothing_acknowledged_is_lost() {
    if let Ok(seed) = std::env::var("WAYLOG_TEST_SEED") {
        let mut world = World::new(seed.parse().expect("a number"));
        world.traced = true;
        world.run();
        return;
    }
    let long = std::env::var_os("WAYLOG_TEST_LONG").is_some();
    let histories: u64 = if long { 50_000 } else { 2_000 };
    // Other seeds in every build, the same ones in every run of it.
    let first = u64::from(crc32c::crc32c(env!("CARGO_PKG_VERSION").as_bytes())) << 20;
    let (mut crashes, mut acknowledged, mut steps) = (0, 0, 0);
    for seed in first..first + histories {
        let mut world = World::new(seed);
        let run = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| world.run()));
        if let Err(panic) = run {
            eprintln!("run again with WAYLOG_TEST_SEED={seed}");
            std::panic::resume_unwind(panic);
        }
        crashes += world.crashes;
        steps += world.disk.steps();
        acknowledged += world
            .models
            .iter()
            .map(|m| m.acknowledged.len() as u64)
            .sum::<u64>();
    }
    println!(
        "{histories} histories, {steps} disk steps, {crashes} crashes, {acknowledged} records"
    );
    assert!(
        crashes > histories && acknowledged > 10 * histories,
        "the histories were too tame"
    );
}
