//! The slice over a real embedded log and a real Postgres.

mod cut;
mod deliveries;
mod exactly_once;
mod routes;
mod sql;
mod trips;
mod upkeep;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;

use super::derive::{Derive, Round};
use super::sink::{GROUP, Sink};
use crate::clock::{Clock, ManualClock};
use crate::config::{AnalyticsConfig, Config};
use crate::directory::Directory;
use crate::domain::{CourierId, Fix, FixBatch, Position, UnixMs};
use crate::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use crate::stream::{
    Log, Partition, Record, TOPIC_DELIVERY_LOCATION, TOPIC_QUARANTINE, partition_for_key,
};
use crate::test_support::TestDatabase;

/// 2026-11-22T22:00:00Z: midnight is near.
const NOW: UnixMs = UnixMs(1_795_384_800_000);
const PARTITIONS: u32 = 4;

/// A log, a database, and what was put into the log.
struct House {
    database: TestDatabase,
    log: Arc<dyn Log>,
    folder: tempfile::TempDir,
    directory: Arc<Directory>,
    clock: Arc<ManualClock>,
    config: AnalyticsConfig,
    /// Fixes appended.
    sent: u64,
    /// What must be stored in the end: the first fix of each instant.
    expected: BTreeMap<(CourierId, UnixMs), Fix>,
}

impl House {
    async fn build() -> Self {
        let database = TestDatabase::create().await;
        let folder = tempfile::tempdir().expect("a folder");
        let clock = ManualClock::at(NOW.0);
        let options = EmbeddedLogOptions::new(folder.path(), PARTITIONS);
        let log = EmbeddedLog::open(options, clock.clone()).expect("the log opens");
        let mut config = Config::load(None, std::iter::empty())
            .expect("defaults")
            .analytics;
        config.flush_after_ms = 20;
        config.flush_fixes = 60;
        Self {
            database,
            log,
            folder,
            directory: Directory::new(),
            clock,
            config,
            sent: 0,
            expected: BTreeMap::new(),
        }
    }

    /// Closes the log and opens it, as a new process would.
    async fn open_log_again(&mut self) {
        self.log.close().await.expect("closed");
        let options = EmbeddedLogOptions::new(self.folder.path(), PARTITIONS);
        self.log = EmbeddedLog::open(options, self.clock.clone()).expect("the log opens again");
    }

    fn pool(&self) -> PgPool {
        self.database.pool.clone()
    }

    fn sink(&self) -> Sink {
        let log = self.log.clone();
        let directory = self.directory.clone();
        Sink::new(
            self.config.clone(),
            log,
            directory,
            self.clock.clone(),
            self.pool(),
        )
    }

    fn derive(&self) -> Derive {
        Derive::new(&self.config, self.pool())
    }

    async fn append(&mut self, courier: &CourierId, fixes: &[Fix]) {
        let batch = FixBatch {
            received_at: UnixMs(self.clock.now_ms()),
            fixes: fixes.to_vec(),
            sos: false,
        };
        self.append_bytes(courier.as_str(), batch.encode()).await;
        self.sent += fixes.len() as u64;
        for fix in fixes {
            let key = (courier.clone(), fix.fix_time);
            self.expected.entry(key).or_insert(*fix);
        }
    }

    async fn append_bytes(&self, key: &str, value: bytes::Bytes) {
        let record = Record {
            key: bytes::Bytes::copy_from_slice(key.as_bytes()),
            value,
            timestamp_ms: self.clock.now_ms(),
        };
        let partition = partition_for_key(key.as_bytes(), PARTITIONS);
        self.log
            .append(TOPIC_DELIVERY_LOCATION, partition, vec![record])
            .await
            .expect("appended");
    }

    /// Whether Postgres has read everything that is in the log.
    async fn is_drained(&self) -> bool {
        let topics = self.log.topics().await.expect("topics");
        let topic = topics.iter().find(|t| t.topic == TOPIC_DELIVERY_LOCATION);
        let stored: BTreeMap<i32, i64> =
            sqlx::query_as::<_, (i32, i64)>("select part, next from stream_offset where grp = $1")
                .bind(GROUP)
                .fetch_all(&self.pool())
                .await
                .expect("offsets")
                .into_iter()
                .collect();
        let partitions = topic.map_or(&[][..], |t| &t.partitions);
        partitions.iter().all(|p| {
            let next = stored.get(&p.partition.cast_signed()).copied().unwrap_or(0);
            next.cast_unsigned() == p.durable_offset
        })
    }

    /// Runs `members` sinks until everything is in Postgres, then stops them.
    async fn drain(&self, members: usize) {
        let stop = CancellationToken::new();
        let mut sinks = JoinSet::new();
        for _ in 0..members {
            sinks.spawn(self.sink().run(stop.clone()));
        }
        self.wait_until_drained().await;
        stop.cancel();
        while let Some(ended) = sinks.join_next().await {
            ended.expect("no panic").expect("a clean end");
        }
    }

    async fn wait_until_drained(&self) {
        let drained = async {
            while !self.is_drained().await {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), drained)
            .await
            .expect("the sink gets through the log");
    }

    /// Waits until so many members share all partitions.
    async fn wait_for_owners(&self, count: usize) {
        let shared = async {
            loop {
                let groups = self.log.groups().await.expect("groups");
                let group = groups.iter().find(|g| g.group == GROUP);
                let rows = group.map_or(&[][..], |g| &g.partitions);
                let owners: Option<Vec<_>> = rows.iter().map(|p| p.member.as_ref()).collect();
                let distinct =
                    owners.map(|o| o.into_iter().collect::<std::collections::BTreeSet<_>>());
                if distinct.is_some_and(|owners| owners.len() == count) {
                    return;
                }
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(Duration::from_secs(120), shared)
            .await
            .expect("the members share the partitions");
    }

    /// Lets the job work until there is nothing left.
    async fn derive_all(&self) {
        let derive = self.derive();
        while derive.round().await.expect("a round") != Round::Done {}
    }

    /// Postgres holds what was sent, once, and the ledger adds up.
    async fn check_fixes(&self) {
        let rows: Vec<FixRow> = sqlx::query_as("select * from fix order by courier_id, fix_time")
            .fetch_all(&self.pool())
            .await
            .expect("fixes");
        let stored: Vec<_> = rows.into_iter().map(FixRow::into_fix).collect();
        let expected: Vec<_> = self
            .expected
            .iter()
            .map(|(k, f)| (k.0.clone(), *f))
            .collect();
        assert_eq!(stored.len(), expected.len());
        assert_eq!(stored, expected);
        let duplicates: i64 =
            sqlx::query_scalar("select coalesce(sum(duplicates), 0)::bigint from stream_offset")
                .fetch_one(&self.pool())
                .await
                .expect("duplicates");
        assert_eq!(stored.len() as u64 + duplicates.cast_unsigned(), self.sent);
    }

    async fn quarantined(&self) -> u64 {
        let topics = self.log.topics().await.expect("topics");
        let topic = topics.into_iter().find(|t| t.topic == TOPIC_QUARANTINE);
        topic.map_or(0, |t| t.partitions[0].durable_offset)
    }

    async fn tear_down(self) {
        self.log.close().await.expect("the log closes");
        self.database.drop_database().await;
    }
}

#[derive(sqlx::FromRow)]
struct FixRow {
    courier_id: String,
    fix_time: time::OffsetDateTime,
    lat: f64,
    lon: f64,
    accuracy_m: Option<f64>,
    speed_mps: Option<f64>,
    heading_deg: Option<f64>,
    altitude_m: Option<f64>,
    battery_pct: Option<i16>,
}

impl FixRow {
    fn into_fix(self) -> (CourierId, Fix) {
        let courier = CourierId::try_from(self.courier_id).expect("an id");
        let fix = Fix {
            fix_time: UnixMs::from_datetime(self.fix_time),
            position: Position::from_degrees(self.lat, self.lon).expect("a position"),
            accuracy_m: self.accuracy_m.map(|v| v as f32),
            speed_mps: self.speed_mps.map(|v| v as f32),
            heading_deg: self.heading_deg.map(|v| v as f32),
            altitude_m: self.altitude_m.map(|v| v as f32),
            battery_pct: self.battery_pct.map(|v| v as u8),
        };
        (courier, fix)
    }
}

fn courier(n: usize) -> CourierId {
    CourierId::try_from(format!("c-{n}")).expect("an id")
}

/// A generator whose seed is printed, so that a failure can be repeated with WAYLOG_TEST_SEED.
fn seeded() -> SmallRng {
    let given = std::env::var("WAYLOG_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let seed = given.unwrap_or_else(|| uuid::Uuid::new_v4().as_u128() as u64);
    println!("WAYLOG_TEST_SEED={seed}");
    SmallRng::seed_from_u64(seed)
}

/// A courier's way of at least `minutes` and 60 fixes with stops, drives and silences, around midnight, in the steps in
/// which it is stored.
fn way(rng: &mut SmallRng, minutes: i64) -> Vec<Fix> {
    let mut at = NOW.plus_ms(rng.random_range(0..3_600_000));
    let end = at.plus_ms(minutes * 60_000);
    let (mut lat, mut lon) = (359_000_000_i64, 145_000_000_i64);
    let mut fixes = Vec::new();
    while at < end || fixes.len() < 60 {
        let moving = rng.random_bool(0.6);
        let steps = rng.random_range(1..90);
        for _ in 0..steps {
            let reach = if moving { 700 } else { 60 };
            lat += rng.random_range(-60..reach);
            lon += rng.random_range(-60..reach);
            let position = Position::from_e7(lat, lon).expect("near Malta");
            let mut fix = Fix::new(at, position);
            let mut maybe = |most: i32| rng.random_bool(0.8).then(|| rng.random_range(0..most));
            fix.accuracy_m = maybe(400).map(|dm| dm as f32 / 10.0);
            fix.speed_mps = maybe(2_000).map(|cmps| cmps as f32 / 100.0);
            fix.heading_deg = maybe(3_600).map(|ddeg| ddeg as f32 / 10.0);
            fix.altitude_m = maybe(9_000).map(|dm| (dm - 1_000) as f32 / 10.0);
            fix.battery_pct = maybe(101).map(|pct| pct as u8);
            fixes.push(fix);
            at = at.plus_ms(rng.random_range(1_000..12_000));
        }
        if rng.random_bool(0.1) {
            at = at.plus_ms(rng.random_range(600_000..5_400_000));
        }
    }
    fixes
}

/// Cuts a way into uploads as a bad network would deliver them: some late, some twice.
fn uploads(rng: &mut SmallRng, fixes: &[Fix]) -> Vec<Vec<Fix>> {
    let mut rest = fixes;
    let mut uploads: Vec<(usize, Vec<Fix>)> = Vec::new();
    while !rest.is_empty() {
        let (upload, after) = rest.split_at(rng.random_range(1..=rest.len().min(40)));
        rest = after;
        let order = uploads.len()
            + if rng.random_bool(0.2) {
                rng.random_range(0..30)
            } else {
                0
            };
        uploads.push((order, upload.to_vec()));
        if rng.random_bool(0.15) {
            uploads.push((order + rng.random_range(0..20), upload.to_vec()));
        }
    }
    uploads.sort_by_key(|upload| upload.0);
    let mut uploads: Vec<Vec<Fix>> = uploads.into_iter().map(|upload| upload.1).collect();
    for upload in &mut uploads {
        if rng.random_bool(0.1) {
            upload.reverse();
        }
    }
    uploads
}

/// Everything that a few couriers send, mixed.
fn traffic(rng: &mut SmallRng, couriers: usize, minutes: i64) -> Vec<(CourierId, Vec<Fix>)> {
    let mut each: Vec<(CourierId, std::vec::IntoIter<Vec<Fix>>)> = (0..couriers)
        .map(|n| {
            let fixes = way(rng, minutes);
            (courier(n), uploads(rng, &fixes).into_iter())
        })
        .collect();
    let mut mixed = Vec::new();
    while !each.is_empty() {
        let n = rng.random_range(0..each.len());
        match each[n].1.next() {
            Some(upload) => mixed.push((each[n].0.clone(), upload)),
            None => drop(each.swap_remove(n)),
        }
    }
    mixed
}

/// The partition of the only topic that counts here.
fn partition_of(courier: &CourierId) -> Partition {
    partition_for_key(courier.as_str().as_bytes(), PARTITIONS)
}
