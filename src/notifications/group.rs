//! The group `notifications`: reads the log, judges, and writes what is due.
//!
//! A round: whatever can be read without waiting, then one transaction for all partitions that have
//! an event due, so that a burst costs as few transactions as a single fix. Without events the
//! offsets and states are written every [`WRITE_EVERY`].

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use metrics::counter;
use tokio::sync::broadcast;
use tokio::sync::broadcast::error::TryRecvError;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::judge::{Bench, JudgedPartition};
use super::store::{Flushed, GROUP, Loaded, PartitionWrite, Store};
use crate::clock::SharedClock;
use crate::directory::Change;
use crate::domain::{Delivery, EventType, UnixMs};
use crate::stream::{
    CommitError, Consumer, Log, LogError, Offset, Partition, PollError, SeekTo, StartOffsets,
    StreamEvent, TOPIC_DELIVERY_LOCATION, partition_for_key,
};
use crate::telemetry::metrics::NOTIFICATIONS_EVENTS;

/// What the rules know is written this often where no event asks for it sooner.
const WRITE_EVERY: Duration = Duration::from_secs(5);
/// Most polls of one round, before what is due is written.
const ROUND_POLLS: usize = 32;
/// Pauses between tries while Postgres or the log is away.
const PAUSES: [Duration; 4] = [
    Duration::from_millis(100),
    Duration::from_millis(500),
    Duration::from_secs(1),
    Duration::from_secs(2),
];
/// How long leaving the group may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(5);

/// Reads the log for the rules.
pub(super) struct Group {
    pub(super) log: Arc<dyn Log>,
    pub(super) bench: Bench,
    pub(super) store: Store,
    pub(super) clock: SharedClock,
}

impl Group {
    /// Reads until `stop`; what was read is written before it returns, if Postgres is there.
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let start = Arc::new(StartAt {
            store: self.store.clone(),
            clock: self.clock.clone(),
            stale_after_s: self.bench.rules.stale_after_s,
        });
        let partition_count = self.log.partitions(TOPIC_DELIVERY_LOCATION)?;
        let consumer = self
            .log
            .subscribe(TOPIC_DELIVERY_LOCATION, GROUP, start)
            .await?;
        // First the feed, then the picture: what changes in between is taken over twice.
        let changes = self.bench.directory.changes();
        let mut bench = self.bench;
        let bench = tokio::task::spawn_blocking(move || {
            bench.take_all_geofences();
            bench
        });
        let mut reader = Reader {
            consumer,
            bench: bench.await?,
            store: self.store,
            clock: self.clock,
            changes,
            partition_count,
            log: self.log,
            partitions: BTreeMap::new(),
            hinted: BTreeMap::new(),
            written_at: Instant::now(),
            stop,
        };
        while !reader.stop.is_cancelled() {
            reader.round().await;
        }
        reader.leave().await;
        Ok(())
    }
}

/// Begins where the store says. A group that is new begins with what is not stale by its rules.
struct StartAt {
    store: Store,
    clock: SharedClock,
    stale_after_s: i64,
}

#[async_trait]
impl StartOffsets for StartAt {
    async fn start_at(&self, partition: Partition) -> anyhow::Result<Option<SeekTo>> {
        let not_stale = self.clock.now_ms() - self.stale_after_s * 1000;
        let next = self.store.next(partition).await?;
        Ok(Some(
            next.map_or(SeekTo::TimestampMs(not_stale), SeekTo::Offset),
        ))
    }
}

struct Reader {
    consumer: Box<dyn Consumer>,
    bench: Bench,
    store: Store,
    clock: SharedClock,
    changes: broadcast::Receiver<Change>,
    partition_count: u32,
    log: Arc<dyn Log>,
    partitions: BTreeMap<Partition, JudgedPartition>,
    /// What the log was told last of how far each has been read.
    hinted: BTreeMap<Partition, Offset>,
    written_at: Instant,
    stop: CancellationToken,
}

impl Reader {
    /// Reads what is there and writes what is due.
    async fn round(&mut self) {
        self.follow_directory();
        let mut wait = WRITE_EVERY.saturating_sub(self.written_at.elapsed());
        for _ in 0..ROUND_POLLS {
            let polled = tokio::select! {
                () = self.stop.cancelled() => return,
                polled = self.consumer.poll(wait) => polled,
            };
            match polled {
                Ok(StreamEvent::Idle) => break,
                Ok(event) => self.take(event).await,
                // The backend has raised the alarm, and serves the other partitions.
                Err(error @ PollError::Damaged { .. }) => tracing::error!(%error),
                Err(error) => {
                    tracing::warn!(%error, "notifications cannot read the log");
                    pause(&self.stop, PAUSES[2]).await;
                    break;
                }
            }
            wait = Duration::ZERO;
        }
        let timers = self.written_at.elapsed() >= WRITE_EVERY;
        if timers {
            self.written_at = Instant::now();
            self.tick().await;
        }
        self.write(timers, false).await;
        if timers {
            // Also where nothing was to be written: whoever watches the group sees how far it is.
            let read = self
                .partitions
                .iter()
                .map(|(p, judged)| (*p, judged.next()));
            for (partition, next) in read.collect::<Vec<_>>() {
                self.hint(partition, next).await;
            }
        }
    }

    fn now(&self) -> UnixMs {
        UnixMs(self.clock.now_ms())
    }

    /// Takes over what has changed in the Directory.
    fn follow_directory(&mut self) {
        loop {
            match self.changes.try_recv() {
                Ok(Change::Geofence(id)) => self.bench.take_geofence(&id),
                Ok(Change::Courier(id)) if self.bench.directory.courier(&id).is_none() => {
                    self.partitions.values_mut().for_each(|p| p.forget(&id));
                }
                Ok(Change::Erased(id)) => {
                    self.partitions.values_mut().for_each(|p| p.forget(&id));
                }
                Ok(Change::Everything) | Err(TryRecvError::Lagged(_)) => {
                    self.bench.take_all_geofences();
                }
                Ok(_) => {}
                Err(TryRecvError::Empty | TryRecvError::Closed) => return,
            }
        }
    }

    /// Judges silence and missed windows where everything that was received has been read.
    async fn tick(&mut self) {
        let now = self.now();
        let ends = match self.consumer.end_offsets().await {
            Ok(ends) => ends,
            Err(error) => return tracing::warn!(%error, "cannot tell where the log ends"),
        };
        let overdue = |d: &Arc<Delivery>| d.window.is_some_and(|w| w.to < now);
        let mut late: BTreeMap<Partition, Vec<Arc<Delivery>>> = BTreeMap::new();
        for delivery in self
            .bench
            .directory
            .deliveries()
            .into_iter()
            .filter(overdue)
        {
            let Some(courier) = delivery
                .courier_id
                .as_ref()
                .filter(|_| delivery.status.is_open())
            else {
                continue;
            };
            let partition = partition_for_key(courier.as_str().as_bytes(), self.partition_count);
            late.entry(partition).or_default().push(delivery);
        }
        for (partition, end) in ends {
            if let Some(judged) = self
                .partitions
                .get_mut(&partition)
                .filter(|p| p.next() >= end)
            {
                let late = late.remove(&partition).unwrap_or_default();
                judged.tick(&late, &self.bench, now);
            }
        }
    }

    async fn take(&mut self, event: StreamEvent) {
        match event {
            StreamEvent::Assigned { partitions, .. } => {
                for (partition, at) in partitions {
                    self.begin(partition, at).await;
                }
            }
            StreamEvent::Records {
                partition, records, ..
            } => {
                let now = self.now();
                if let Some(judged) = self.partitions.get_mut(&partition) {
                    judged.read(&records, &self.bench, now);
                }
            }
            StreamEvent::Revoked { partitions } => {
                partitions
                    .iter()
                    .for_each(|p| drop(self.partitions.remove(p)));
            }
            StreamEvent::OffsetLost {
                partition,
                from,
                to,
            } => {
                tracing::error!(%partition, %from, %to,
                    "retention has overtaken the notifications: what lies between was not judged");
                if let Some(judged) = self.partitions.get_mut(&partition) {
                    judged.skip_to(to);
                }
            }
            StreamEvent::Idle => {}
        }
    }

    /// Takes over a partition that starts at `at`, with what the store knows about it.
    async fn begin(&mut self, partition: Partition, at: Offset) {
        let mut patience = Patience::new(&self.stop);
        let loaded = loop {
            match self.load(partition, at).await {
                Ok(loaded) => break loaded,
                Err(error) if patience.again(&error).await => {}
                Err(_) => return,
            }
        };
        let mut reading_from = at;
        if loaded.next != at {
            match self
                .consumer
                .seek(partition, SeekTo::Offset(loaded.next))
                .await
            {
                Ok(resolved) => reading_from = resolved,
                Err(error) => tracing::warn!(%partition, %error, "cannot seek"),
            }
        }
        let end = self.end_of(partition).await;
        self.hinted.remove(&partition);
        self.hint(partition, loaded.next).await;
        let judged = JudgedPartition::new(partition, loaded, reading_from, end);
        self.partitions.insert(partition, judged);
    }

    /// What the store knows about a partition, once that is not of records that the log has lost.
    async fn load(&self, partition: Partition, at: Offset) -> sqlx::Result<Loaded> {
        let is_new = self.store.next(partition).await?.is_none();
        let loaded = self.store.load(partition, at).await?;
        if is_new {
            return Ok(loaded);
        }
        let end = self.end_of(partition).await;
        let furthest = self
            .log
            .furthest_read(TOPIC_DELIVERY_LOCATION, GROUP, partition);
        let end = end.into_iter().chain(furthest).min();
        let Some(end) = end.filter(|end| loaded.next > *end) else {
            return Ok(loaded);
        };
        tracing::error!(%partition, stored = %loaded.next, %end,
            "the stored offset lies beyond the end of the log: it has lost records; reading goes on \
             at its end");
        self.store.pull_back(partition, end).await?;
        self.store.load(partition, end).await
    }

    async fn end_of(&self, partition: Partition) -> Option<Offset> {
        let ends = self.consumer.end_offsets().await.ok()?;
        let end = ends.into_iter().find(|(p, _)| *p == partition);
        end.map(|(_, end)| end)
    }

    /// Writes the partitions that have an event due, with `timers` also those whose states have
    /// waited for long, and with `all` everything.
    async fn write(&mut self, timers: bool, all: bool) {
        let now = self.now();
        let due = self
            .partitions
            .values_mut()
            .filter(|p| timers || all || p.is_due());
        let mut writes: Vec<_> = due
            .filter_map(|judged| judged.take_write(now, all))
            .collect();
        while !writes.is_empty() {
            match flush(&self.store, &writes, &self.stop).await {
                Some(Flushed::Written(events)) => return self.written(&writes, &events).await,
                Some(Flushed::Overtaken(lost)) => {
                    writes.retain(|w| !lost.contains(&w.partition));
                    self.begin_again(&lost).await;
                }
                // What was taken out to be written is gone from memory: read again from the store.
                None => {
                    let gone = |p: &Partition| writes.iter().any(|w| w.partition == *p);
                    return self.partitions.retain(|p, _| !gone(p));
                }
            }
        }
    }

    async fn written(&mut self, writes: &[PartitionWrite], events: &[EventType]) {
        for event in events {
            counter!(NOTIFICATIONS_EVENTS, "type" => event.as_str()).increment(1);
        }
        for write in writes {
            let partition = write.partition;
            let Some(judged) = self.partitions.get(&partition) else {
                continue;
            };
            let next = judged.next();
            self.hint(partition, next).await;
        }
    }

    /// Only a hint for those who watch the group; the store decides.
    async fn hint(&mut self, partition: Partition, next: Offset) {
        if self.hinted.insert(partition, next) == Some(next) {
            return;
        }
        match self.consumer.commit(partition, next).await {
            Ok(()) | Err(CommitError::Stale(_)) => {}
            Err(error) => tracing::warn!(%partition, %error, "cannot commit"),
        }
    }

    /// Another member was faster, or our own transaction went in although its answer was lost: the
    /// store knows.
    async fn begin_again(&mut self, lost: &[Partition]) {
        for partition in lost {
            if let Some(judged) = self.partitions.remove(partition) {
                tracing::info!(%partition, "reading on from what is stored");
                self.begin(*partition, judged.next()).await;
            }
        }
    }

    async fn leave(mut self) {
        self.write(true, true).await;
        self.consumer.close(CLOSE_WITHIN).await;
    }
}

/// One transaction, as often as it takes; `None` if the process stops before it is in.
async fn flush(
    store: &Store,
    writes: &[PartitionWrite],
    stop: &CancellationToken,
) -> Option<Flushed> {
    let mut patience = Patience::new(stop);
    loop {
        match store.flush(writes).await {
            Ok(flushed) => return Some(flushed),
            Err(error) if patience.again(&error).await => {}
            Err(_) => return None,
        }
    }
}

/// How long to wait for Postgres, try after try.
struct Patience<'a> {
    stop: &'a CancellationToken,
    tries: usize,
}

impl<'a> Patience<'a> {
    fn new(stop: &'a CancellationToken) -> Self {
        Self { stop, tries: 0 }
    }

    /// Waits after a failure; answers false when the process stops instead.
    async fn again(&mut self, error: &sqlx::Error) -> bool {
        if self.tries == 0 {
            tracing::warn!(%error, "notifications wait for the database");
        }
        pause(self.stop, PAUSES[self.tries.min(PAUSES.len() - 1)]).await;
        self.tries += 1;
        !self.stop.is_cancelled()
    }
}

async fn pause(stop: &CancellationToken, time: Duration) {
    tokio::select! {
        () = stop.cancelled() => {}
        () = tokio::time::sleep(time) => {}
    }
}

/// Names the stream of this log in the store.
pub(super) fn stream_id(log: &dyn Log) -> Result<String, LogError> {
    log.stream_id(TOPIC_DELIVERY_LOCATION)
}
