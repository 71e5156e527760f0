//! The sink: reads the log as group `analytics` and hands it to Postgres, flush by flush.
//!
//! Two tasks, so that one flush is collected while the one before is written:
//!
//! ```text
//!   consumer ──poll──▶ Sink: decode, group by courier ──Flush──▶ Writer: dedupe, COPY, offsets
//!                        ▲                                           │
//!                        └───────────────── Outcome ─────────────────┘
//! ```
//!
//! Invariants:
//! - at most one flush is collected and one written: memory is bounded, and while Postgres is away
//!   the consumer is simply not polled;
//! - whenever Postgres stands elsewhere than expected (another member, a rebalance, a reset, an answer
//!   lost on the way), everything collected is dropped and reading goes on where Postgres stands.
//!
//! The log is told how far Postgres is once a second: a hint for its metrics and its retention.

mod copy;
mod flush;
mod newest;
mod offsets;
mod poison;
mod reset;
mod writer;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context;
use metrics::{counter, gauge};
use sqlx::PgPool;
use tokio::sync::mpsc;
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use self::flush::Flush;
use self::offsets::Offsets;
pub use self::reset::{ResetError, reset};
pub(super) use self::writer::MAX_SEGMENT_FIXES;
use self::writer::{Outcome, Writer};
use crate::analytics::columns::DAY_MS;
use crate::clock::SharedClock;
use crate::config::AnalyticsConfig;
use crate::directory::Directory;
use crate::domain::UnixMs;
use crate::stream::{
    CommitError, Consumer, Log, Offset, Partition, PollError, SeekTo, StreamEvent,
    TOPIC_DELIVERY_LOCATION,
};
use crate::telemetry::metrics::{ANALYTICS_DATABASE_UP, ANALYTICS_OFFSETS_LOST, ANALYTICS_REWINDS};

/// The consumer group's name.
pub const GROUP: &str = "analytics";

/// Longest wait for records when nothing else is due.
const POLL: Duration = Duration::from_secs(1);
/// Pause after a failed poll or while Postgres cannot be asked.
const PAUSE: Duration = Duration::from_secs(1);
/// Between two commits of the group's offsets, each of which the log puts on disk.
const COMMIT_EVERY: Duration = Duration::from_secs(1);
/// Between two looks whether Postgres still stands where it did, while nothing comes.
const LOOK_EVERY: Duration = Duration::from_secs(3);
/// How long the last flushes may take at the end.
const FINISH: Duration = Duration::from_secs(10);
/// How long leaving the group may take at the end.
const CLOSE: Duration = Duration::from_secs(5);

/// A member of the group.
pub(super) struct Sink {
    config: AnalyticsConfig,
    log: Arc<dyn Log>,
    directory: Arc<Directory>,
    clock: SharedClock,
    pool: PgPool,
}

impl Sink {
    pub(super) fn new(
        config: AnalyticsConfig,
        log: Arc<dyn Log>,
        directory: Arc<Directory>,
        clock: SharedClock,
        pool: PgPool,
    ) -> Self {
        Self {
            config,
            log,
            directory,
            clock,
            pool,
        }
    }

    /// Runs until `stop`; what was collected by then is written if Postgres answers.
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let stream_id = self
            .log
            .stream_id(TOPIC_DELIVERY_LOCATION)
            .context("name the stream")?;
        let offsets = Offsets::new(self.pool.clone(), &stream_id);
        let consumer = self
            .log
            .subscribe(TOPIC_DELIVERY_LOCATION, GROUP, Arc::new(offsets.clone()))
            .await
            .context("join the group analytics")?;

        let mut writer = Writer::new(
            self.pool,
            offsets.clone(),
            self.log.clone(),
            self.clock.clone(),
        );
        let (to_write, mut flushes) = mpsc::channel::<Flush>(1);
        let (to_sink, outcomes) = mpsc::channel(1);
        let writer_stop = stop.clone();
        // Owned by this call: should it be dropped, the writer goes with it.
        let mut writing = JoinSet::new();
        writing.spawn(async move {
            while let Some(flush) = flushes.recv().await {
                let outcome = writer.write(flush, &writer_stop).await;
                if to_sink.send(outcome).await.is_err() {
                    break;
                }
            }
        });

        let mut reader = Reader {
            config: self.config,
            directory: self.directory,
            clock: self.clock,
            consumer,
            offsets,
            positions: BTreeMap::new(),
            log: self.log,
            collected: Flush::default(),
            since: Instant::now(),
            in_flight: None,
            to_commit: BTreeMap::new(),
            committed_at: Instant::now(),
            looked_at: Instant::now(),
            to_write,
            outcomes,
        };
        let done = reader.read(&stop).await;
        match tokio::time::timeout(FINISH, reader.finish()).await {
            Ok(finished) => finished?,
            Err(_) => tracing::warn!("Postgres took too long; the log keeps what is not written"),
        }
        reader.consumer.close(CLOSE).await;
        done
    }
}

/// Collects flushes and keeps account of what Postgres will have.
struct Reader {
    config: AnalyticsConfig,
    directory: Arc<Directory>,
    clock: SharedClock,
    consumer: Box<dyn Consumer>,
    offsets: Offsets,
    /// Partitions that are ours, and where Postgres stands once the flush in flight is stored.
    positions: BTreeMap<Partition, Offset>,
    log: Arc<dyn Log>,
    collected: Flush,
    /// When the first record of `collected` was taken.
    since: Instant,
    /// What to commit once the flush in flight is stored.
    in_flight: Option<BTreeMap<Partition, Offset>>,
    /// What is stored and not committed yet.
    to_commit: BTreeMap<Partition, Offset>,
    committed_at: Instant,
    /// When Postgres last stood where it was expected.
    looked_at: Instant,
    to_write: mpsc::Sender<Flush>,
    outcomes: mpsc::Receiver<Outcome>,
}

impl Reader {
    async fn read(&mut self, stop: &CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            if self.in_flight.is_none() && self.is_due() {
                self.hand_over().await?;
            }
            let room = !self.is_full();
            let wait = self.until_due();
            tokio::select! {
                biased;
                () = stop.cancelled() => break,
                Some(outcome) = self.outcomes.recv(), if self.in_flight.is_some() => {
                    self.settle(outcome, stop).await;
                }
                event = self.consumer.poll(wait), if room => match event {
                    Ok(event) => self.take(event, stop).await,
                    Err(error) => pause_after(&error, stop).await,
                },
            }
        }
        Ok(())
    }

    async fn take(&mut self, event: StreamEvent, stop: &CancellationToken) {
        match event {
            StreamEvent::Records {
                partition, records, ..
            } => {
                let Some(expected) = self.positions.get(&partition) else {
                    return;
                };
                if self.collected.is_empty() {
                    self.since = Instant::now();
                }
                let oldest = i64::from(self.config.retention_days).saturating_mul(DAY_MS);
                let oldest = UnixMs(self.clock.now_ms()).plus_ms(-oldest);
                self.collected
                    .add(partition, *expected, &records, oldest, &self.directory);
            }
            StreamEvent::Assigned { partitions, .. } => {
                for (partition, offset) in partitions {
                    self.positions.insert(partition, offset);
                }
                self.find_place(stop).await;
            }
            StreamEvent::Revoked { partitions } => {
                for partition in partitions {
                    self.positions.remove(&partition);
                }
                self.find_place(stop).await;
            }
            StreamEvent::OffsetLost {
                partition,
                from,
                to,
            } => {
                tracing::error!(%partition, %from, %to, "retention has deleted records that the sink had not read");
                counter!(ANALYTICS_OFFSETS_LOST).increment(to.0.saturating_sub(from.0));
            }
            StreamEvent::Idle => {
                self.commit_if_due().await;
                self.look_if_due(stop).await;
            }
        }
    }

    /// A reset moves the place in Postgres. Whoever writes notices; whoever has nothing to write asks.
    async fn look_if_due(&mut self, stop: &CancellationToken) {
        let busy = self.in_flight.is_some() || !self.collected.is_empty();
        if busy || self.positions.is_empty() || self.looked_at.elapsed() < LOOK_EVERY {
            return;
        }
        self.looked_at = Instant::now();
        let partitions: Vec<Partition> = self.positions.keys().copied().collect();
        match self.offsets.load(&partitions).await {
            Ok(known) => {
                gauge!(ANALYTICS_DATABASE_UP).set(1);
                if known != self.positions {
                    tracing::info!("the place in Postgres was moved; reading on from there");
                    self.find_place(stop).await;
                }
            }
            Err(error) => {
                gauge!(ANALYTICS_DATABASE_UP).set(0);
                tracing::warn!(%error, "Postgres does not answer");
            }
        }
    }

    /// Drops what is collected and goes on where Postgres stands. Waits while Postgres is away.
    async fn find_place(&mut self, stop: &CancellationToken) {
        self.collected = Flush::default();
        if self.in_flight.is_some() {
            // Whatever becomes of it, afterwards Postgres is asked again.
            match self.outcomes.recv().await {
                Some(Outcome::Stored) => self.stored(),
                _ => self.in_flight = None,
            }
        }
        while !stop.is_cancelled() {
            match self.try_find_place().await {
                Ok(()) => {
                    gauge!(ANALYTICS_DATABASE_UP).set(1);
                    self.to_commit.clone_from(&self.positions);
                    return self.commit().await;
                }
                Err(error) => {
                    gauge!(ANALYTICS_DATABASE_UP).set(0);
                    tracing::warn!(
                        error = format!("{error:#}"),
                        "the sink cannot find its place yet; will try again"
                    );
                }
            }
            tokio::select! {
                () = stop.cancelled() => {}
                () = tokio::time::sleep(PAUSE) => {}
            }
        }
    }

    async fn try_find_place(&mut self) -> anyhow::Result<()> {
        let partitions: Vec<Partition> = self.positions.keys().copied().collect();
        let mut known = self.offsets.load(&partitions).await?;
        if known.is_empty()
            && !partitions.is_empty()
            && let Some(other) = self.offsets.other_stream().await?
        {
            tracing::error!(stream = %other, "the log is not the one that Postgres was read from before. After a move to another backend that is as it should be; otherwise the log was lost. Going on with all of this one");
            counter!(ANALYTICS_REWINDS).increment(1);
        }
        for partition in &partitions {
            if !known.contains_key(partition) {
                let earliest = self.consumer.seek(*partition, SeekTo::Earliest).await?;
                self.offsets.enter(*partition, earliest).await?;
            }
        }
        if known.len() < partitions.len() {
            known = self.offsets.load(&partitions).await?;
        }
        for (partition, end) in self.consumer.end_offsets().await? {
            let furthest = self
                .log
                .furthest_read(TOPIC_DELIVERY_LOCATION, GROUP, partition);
            let end = furthest.map_or(end, |furthest| end.min(furthest));
            if let Some(next) = known.get_mut(&partition).filter(|next| **next > end) {
                // Where only the end of then is known to be lost, reading goes on there. Otherwise new
                // records may be anywhere below it: all of it is read again, and what was stored
                // before is found to be.
                let to = match furthest {
                    Some(_) => end,
                    None => self.consumer.seek(partition, SeekTo::Earliest).await?,
                };
                tracing::error!(%partition, %next, %end, %to, "Postgres has read further than the log reaches; the log has lost records, or is another. Reading on from there");
                self.offsets.pull_back(partition, *next, to).await?;
                counter!(ANALYTICS_REWINDS).increment(1);
                *next = to;
            }
        }
        for (partition, next) in known {
            self.consumer.seek(partition, SeekTo::Offset(next)).await?;
            self.positions.insert(partition, next);
            // From here on Postgres is believed: whatever it holds, this log has been read for.
            self.hint(partition, next).await;
        }
        Ok(())
    }

    async fn hand_over(&mut self) -> anyhow::Result<()> {
        let flush = std::mem::take(&mut self.collected);
        let next = flush.spans.iter().map(|(p, span)| (*p, span.next));
        let next: BTreeMap<Partition, Offset> = next.collect();
        self.positions.extend(next.iter().map(|(p, n)| (*p, *n)));
        self.in_flight = Some(next);
        self.to_write
            .send(flush)
            .await
            .context("the writer has ended")
    }

    async fn settle(&mut self, outcome: Outcome, stop: &CancellationToken) {
        match outcome {
            Outcome::Stored => {
                self.stored();
                self.commit_if_due().await;
            }
            Outcome::Overtaken => {
                tracing::info!("another member was faster; reading on where Postgres stands");
                self.in_flight = None;
                self.find_place(stop).await;
            }
            Outcome::Stopped => self.in_flight = None,
        }
    }

    /// The flush in flight is in Postgres.
    fn stored(&mut self) {
        self.to_commit
            .extend(self.in_flight.take().unwrap_or_default());
        self.looked_at = Instant::now();
    }

    async fn commit_if_due(&mut self) {
        if !self.to_commit.is_empty() && self.committed_at.elapsed() >= COMMIT_EVERY {
            self.commit().await;
        }
    }

    /// Tells the log how far Postgres is.
    async fn commit(&mut self) {
        self.committed_at = Instant::now();
        for (partition, next) in std::mem::take(&mut self.to_commit) {
            self.hint(partition, next).await;
        }
    }

    async fn hint(&mut self, partition: Partition, next: Offset) {
        match self.consumer.commit(partition, next).await {
            Ok(()) => {}
            Err(CommitError::Stale(_)) => {
                tracing::debug!(%partition, "the partition has moved on")
            }
            Err(error) => {
                tracing::warn!(%partition, %error, "the group's offset was not stored")
            }
        }
    }

    /// Writes what is left, if Postgres answers at once.
    async fn finish(&mut self) -> anyhow::Result<()> {
        loop {
            if self.in_flight.is_some() {
                match self.outcomes.recv().await {
                    Some(Outcome::Stored) => self.stored(),
                    _ => break,
                }
            }
            if self.collected.is_empty() {
                break;
            }
            self.hand_over().await?;
        }
        self.commit().await;
        Ok(())
    }

    fn is_full(&self) -> bool {
        self.collected.fixes >= self.config.flush_fixes
            || self.collected.bytes >= self.config.flush_mib << 20
    }

    fn is_due(&self) -> bool {
        !self.collected.is_empty() && (self.is_full() || self.until_due().is_zero())
    }

    fn until_due(&self) -> Duration {
        if self.collected.is_empty() {
            return POLL;
        }
        let after = Duration::from_millis(self.config.flush_after_ms);
        after.saturating_sub(self.since.elapsed()).min(POLL)
    }
}

async fn pause_after(error: &PollError, stop: &CancellationToken) {
    tracing::warn!(%error, "the sink cannot read the log; will try again");
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(PAUSE) => {}
    }
}
