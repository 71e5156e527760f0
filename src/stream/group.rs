//! The group runner: the loop that every consumer of the log would otherwise write itself.
//!
//! What it promises a [`Handler`]:
//! - Events come one at a time, records of a partition in order, nothing for a partition before
//!   `assigned` and nothing after `revoked`.
//! - An event that the handler fails on is delivered again after a pause (0.1 s, doubling to
//!   30 s), as often as it takes; nothing later comes before it. Postgres may be away for a day.
//! - Nothing is committed but what the handler says, after it said so. A commit that is refused
//!   because the partition moved on is no error: the new owner reads those records again.
//! - A damaged partition is reported once and does not stop the others.
//! - When `stop` is cancelled the event under way is finished, `finish` is called, its commits are
//!   stored, and the group is left.

use std::ops::Range;
use std::time::Duration;

use async_trait::async_trait;
use tokio_util::sync::CancellationToken;

use super::{
    CommitError, Consumer, Offset, Partition, PollError, SeekTo, StoredRecord, StreamEvent,
};

/// Longest wait for news before the handler's `idle` is called.
const IDLE: Duration = Duration::from_millis(500);
/// First and longest pause after a failure.
const PAUSE: Range<Duration> = Duration::from_millis(100)..Duration::from_secs(30);
/// How long leaving the group may take.
const CLOSE: Duration = Duration::from_secs(5);

/// What a handler wants done after an event.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Progress {
    /// Offsets to be committed: next to be read, by partition.
    pub commit: Vec<(Partition, Offset)>,
    /// Partitions to be read from elsewhere, such as after another member was faster.
    pub seek: Vec<(Partition, SeekTo)>,
}

impl Progress {
    /// Goes on reading; nothing to commit.
    #[must_use]
    pub fn none() -> Self {
        Self::default()
    }

    /// Everything below `next` is done.
    #[must_use]
    pub fn commit(partition: Partition, next: Offset) -> Self {
        Self {
            commit: vec![(partition, next)],
            seek: Vec::new(),
        }
    }

    /// Reads on from elsewhere.
    #[must_use]
    pub fn seek(partition: Partition, to: SeekTo) -> Self {
        Self {
            commit: Vec::new(),
            seek: vec![(partition, to)],
        }
    }
}

/// What a consumer does with what it is told. An error means "not now": the same call comes again.
#[async_trait]
pub trait Handler: Send {
    /// These partitions are read from now on, each from its offset.
    async fn assigned(
        &mut self,
        generation: u64,
        partitions: &[(Partition, Offset)],
    ) -> anyhow::Result<Progress>;

    /// Records of one partition; `durable_offset` is its end as far as the reader knew it.
    async fn records(
        &mut self,
        partition: Partition,
        records: &[StoredRecord],
        durable_offset: Offset,
    ) -> anyhow::Result<Progress>;

    /// These partitions are another member's now: state about them must be dropped, and what was
    /// not committed will be read again there.
    async fn revoked(&mut self, partitions: &[Partition]) -> anyhow::Result<Progress>;

    /// Retention or an accepted loss took records before they were read.
    async fn offset_lost(
        &mut self,
        partition: Partition,
        lost: Range<Offset>,
    ) -> anyhow::Result<Progress>;

    /// Nothing new for half a second: the time for flushes that are due.
    async fn idle(&mut self) -> anyhow::Result<Progress>;

    /// The last call before the group is left, tried once: flush what is held.
    async fn finish(&mut self) -> anyhow::Result<Progress>;
}

/// Feeds `handler` from `consumer` until `stop` is cancelled. `name` is for the logs.
pub async fn run_group(
    name: &str,
    mut consumer: Box<dyn Consumer>,
    handler: &mut impl Handler,
    stop: &CancellationToken,
) {
    let mut pause = Pause::default();
    while let Some(polled) = stop.run_until_cancelled(consumer.poll(IDLE)).await {
        match polled {
            Ok(event) => {
                if !deliver(name, &mut *consumer, handler, &event, stop).await {
                    break;
                }
                pause = Pause::default();
            }
            // The backend has raised the alarm, and serves the other partitions.
            Err(error @ PollError::Damaged { .. }) => tracing::error!(group = name, %error),
            Err(error) => {
                pause.report(name, &error);
                pause.wait(stop).await;
            }
        }
    }
    match handler.finish().await {
        Ok(progress) => advance(name, &mut *consumer, progress).await,
        Err(error) => {
            tracing::warn!(
                group = name,
                "not finished, read again at the next start: {error:#}"
            );
        }
    }
    consumer.close(CLOSE).await;
}

/// Hands `event` over until the handler takes it; answers whether it did before the stop.
async fn deliver(
    name: &str,
    consumer: &mut dyn Consumer,
    handler: &mut impl Handler,
    event: &StreamEvent,
    stop: &CancellationToken,
) -> bool {
    let mut pause = Pause::default();
    loop {
        match hand_over(handler, event).await {
            Ok(progress) => {
                pause.over(name);
                advance(name, consumer, progress).await;
                return true;
            }
            Err(error) => {
                pause.report(name, &format_args!("{error:#}"));
                pause.wait(stop).await;
                if stop.is_cancelled() {
                    return false;
                }
            }
        }
    }
}

async fn hand_over(handler: &mut impl Handler, event: &StreamEvent) -> anyhow::Result<Progress> {
    match event {
        StreamEvent::Assigned {
            generation,
            partitions,
        } => handler.assigned(*generation, partitions).await,
        StreamEvent::Records {
            partition,
            records,
            durable_offset,
        } => handler.records(*partition, records, *durable_offset).await,
        StreamEvent::Revoked { partitions } => handler.revoked(partitions).await,
        StreamEvent::OffsetLost {
            partition,
            from,
            to,
        } => handler.offset_lost(*partition, *from..*to).await,
        StreamEvent::Idle => handler.idle().await,
    }
}

async fn advance(name: &str, consumer: &mut dyn Consumer, progress: Progress) {
    for (partition, next) in progress.commit {
        match consumer.commit(partition, next).await {
            Ok(()) => {}
            Err(error @ (CommitError::Stale(_) | CommitError::NoGroup)) => {
                tracing::debug!(group = name, %error);
            }
            // The next commit holds this one too.
            Err(error @ CommitError::Failed(_)) => tracing::warn!(group = name, %error),
        }
    }
    for (partition, to) in progress.seek {
        // Of a partition that was revoked meanwhile.
        if let Err(error) = consumer.seek(partition, to).await {
            tracing::warn!(group = name, %error, "not moved");
        }
    }
}

/// Doubling pauses, reported at the first failure and at the end.
#[derive(Default)]
struct Pause {
    last: Option<Duration>,
}

impl Pause {
    fn report(&self, name: &str, error: &dyn std::fmt::Display) {
        if self.last.is_none() {
            tracing::warn!(group = name, %error, "the group waits and tries again");
        }
    }

    async fn wait(&mut self, stop: &CancellationToken) {
        let pause = self
            .last
            .map_or(PAUSE.start, |last| (last * 2).min(PAUSE.end));
        self.last = Some(pause);
        // Cancelled or waited: the caller looks.
        stop.run_until_cancelled(tokio::time::sleep(pause))
            .await
            .unwrap_or_default();
    }

    fn over(&self, name: &str) {
        if self.last.is_some() {
            tracing::info!(group = name, "the group goes on");
        }
    }
}
