//! One webhook's worker: takes rows from its outbox, calls, and records what became of it.
//!
//! Up to `in_flight` calls at once, one a lane. An attempt is recorded before the next row of its
//! lane is sent, so that after a crash a receiver sees some events again but none out of order.

use std::sync::Arc;
use std::time::Duration;

use metrics::counter;
use rand::rngs::StdRng;
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::super::event_json::Payload;
use super::backoff::{Breaker, retry_pause_ms};
use super::lanes::Lanes;
use super::queue::{Attempt, OutboxRow, Outcome, Queue};
use super::sender::{Called, Sender, Target, Verdict};
use crate::clock::SharedClock;
use crate::domain::UnixMs;
use crate::telemetry::metrics::NOTIFICATIONS_ATTEMPTS;

/// Rows in memory from which on no more are loaded.
const ENOUGH_HELD: usize = 512;
/// Rows of lanes that wait come on top; from so many on nothing is loaded until some are through.
const MOST_HELD: usize = 8_192;
/// Looks for rows this often even if nobody said that there are any.
const LOOK_EVERY: Duration = Duration::from_secs(5);
/// Pause after Postgres failed.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);

/// What limits an endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct Limits {
    /// Most calls at once.
    pub(super) in_flight: usize,
    /// An event that could not be delivered for so long is given up, milliseconds.
    pub(super) give_up_after_ms: i64,
}

pub(super) struct Endpoint {
    pub(super) queue: Queue,
    pub(super) sender: Sender,
    pub(super) clock: SharedClock,
    pub(super) limits: Limits,
    pub(super) rng: StdRng,
    pub(super) target: watch::Receiver<Target>,
    /// There may be new rows, or time has passed.
    pub(super) wake: Arc<Notify>,
}

/// A call that has come back.
struct Done {
    row: OutboxRow,
    at: UnixMs,
    duration_ms: i32,
    called: Called,
}

/// An endpoint at work.
struct Work {
    endpoint: Endpoint,
    lanes: Lanes<OutboxRow>,
    breaker: Breaker,
    flying: JoinSet<Done>,
    done: Vec<Done>,
    /// There may be rows that are not in memory.
    look: bool,
}

impl Endpoint {
    /// Works until `stop`, or until the receiver wants no more; calls under way are waited for.
    pub(super) async fn run(self, stop: CancellationToken) {
        let mut work = Work {
            endpoint: self,
            lanes: Lanes::new(),
            breaker: Breaker::default(),
            flying: JoinSet::new(),
            done: Vec::new(),
            look: true,
        };
        while !stop.is_cancelled() {
            match work.turn().await {
                Ok(true) => work.wait(&stop).await,
                Ok(false) => break,
                Err(error) => {
                    tracing::warn!(%error, webhook = %work.endpoint.queue.webhook,
                        "a webhook waits for the database");
                    tokio::select! {
                        () = stop.cancelled() => {}
                        () = tokio::time::sleep(DATABASE_PAUSE) => {}
                    }
                }
            }
        }
        work.finish().await;
    }
}

impl Work {
    fn now(&self) -> UnixMs {
        UnixMs(self.endpoint.clock.now_ms())
    }

    /// Records what came back, loads what is missing, calls what is due. Answers false when the
    /// receiver wants no more calls.
    async fn turn(&mut self) -> sqlx::Result<bool> {
        if !self.record().await? {
            return Ok(false);
        }
        let width = self
            .breaker
            .width(self.now(), self.endpoint.limits.in_flight);
        if width > 0 {
            self.load().await?;
            self.call_due(width);
        }
        Ok(true)
    }

    async fn load(&mut self) -> sqlx::Result<()> {
        let held = self.lanes.held();
        let (ids, cut) = self.lanes.held_and_cut();
        let waiting = cut.len();
        if !self.look || held >= MOST_HELD || held.saturating_sub(waiting) >= ENOUGH_HELD {
            return Ok(());
        }
        let limit = ENOUGH_HELD as i64;
        let rows = self.endpoint.queue.load(&ids, &cut, limit).await?;
        self.look = rows.len() == ENOUGH_HELD;
        self.lanes.add(rows, self.now());
        Ok(())
    }

    fn call_due(&mut self, width: usize) {
        let now = self.now();
        while self.flying.len() < width {
            let Some(row) = self.lanes.take_due(now).cloned() else {
                return;
            };
            let sender = self.endpoint.sender.clone();
            let target = self.endpoint.target.borrow().clone();
            self.flying.spawn(async move {
                let started = Instant::now();
                let body = serde_json::to_vec(&Payload::of(&row.event)).unwrap_or_default();
                let called = sender.call(&target, &row.event.id, body).await;
                let duration_ms = i32::try_from(started.elapsed().as_millis()).unwrap_or(i32::MAX);
                Done {
                    row,
                    at: now,
                    duration_ms,
                    called,
                }
            });
        }
    }

    /// Waits until there is something to do.
    async fn wait(&mut self, stop: &CancellationToken) {
        let now = self.now();
        let due = self
            .breaker
            .rests_until()
            .filter(|until| *until > now)
            .or(self.lanes.next_due());
        let sleep = due.map_or(LOOK_EVERY, |at| {
            Duration::from_millis(u64::try_from(at.since(now)).unwrap_or_default()).min(LOOK_EVERY)
        });
        // What is due already waits for a call to come back.
        let sleep = if sleep.is_zero() { LOOK_EVERY } else { sleep };
        tokio::select! {
            () = stop.cancelled() => {}
            Some(done) = self.flying.join_next() => {
                self.done.extend(done.ok());
                while let Some(done) = self.flying.try_join_next() {
                    self.done.extend(done.ok());
                }
            }
            () = self.endpoint.wake.notified() => self.look = true,
            () = tokio::time::sleep(sleep) => self.look = true,
        }
    }

    /// Records what came back. Nothing of it is forgotten before Postgres has it.
    async fn record(&mut self) -> sqlx::Result<bool> {
        if self.done.is_empty() {
            return Ok(true);
        }
        let now = self.now();
        let gone = self.done.iter().any(|d| d.called.verdict == Verdict::Gone);
        let mut attempts = Vec::with_capacity(self.done.len());
        for done in &self.done {
            let outcome = outcome(done, now, self.endpoint.limits, &mut self.endpoint.rng);
            attempts.push(Attempt {
                event_id: done.row.event_id,
                event: done.row.event.clone(),
                at: done.at,
                duration_ms: done.duration_ms,
                called: done.called.clone(),
                outcome,
            });
        }
        if gone {
            self.endpoint
                .queue
                .disable("the receiver answered 410 Gone")
                .await?;
        }
        self.endpoint.queue.settle(&attempts).await?;
        for (done, attempt) in std::mem::take(&mut self.done).into_iter().zip(attempts) {
            self.settled(done, &attempt, now);
        }
        Ok(!gone)
    }

    fn settled(&mut self, done: Done, attempt: &Attempt, now: UnixMs) {
        let delivered = attempt.outcome == Outcome::Delivered;
        let label = if delivered { "delivered" } else { "failed" };
        counter!(NOTIFICATIONS_ATTEMPTS, "outcome" => label).increment(1);
        if delivered {
            self.breaker.succeeded();
        } else {
            let refused = done.called.status.map(|_| done.row.event_id);
            self.breaker.failed(refused, now, &mut self.endpoint.rng);
        }
        let mut row = done.row;
        if let Outcome::Retry(due_at) = attempt.outcome {
            row.attempts += 1;
            row.due_at = due_at;
            self.lanes.put_back(row, now);
        } else {
            self.look |= self.lanes.finished(&row.lane, row.event_id, now);
        }
    }

    /// Waits for the calls under way and records them; what Postgres does not take is sent again.
    async fn finish(mut self) {
        while let Some(done) = self.flying.join_next().await {
            self.done.extend(done.ok());
        }
        if let Err(error) = self.record().await {
            tracing::warn!(%error, webhook = %self.endpoint.queue.webhook,
                "the last attempts could not be recorded; these events are sent again");
        }
    }
}

fn outcome(done: &Done, now: UnixMs, limits: Limits, rng: &mut StdRng) -> Outcome {
    let retry_after_s = match done.called.verdict {
        Verdict::Delivered => return Outcome::Delivered,
        // The webhook is off; should it be switched on again, this event is the next.
        Verdict::Gone => return Outcome::Retry(now),
        Verdict::Failed { retry_after_s } => retry_after_s.unwrap_or(0),
    };
    let pause_ms = retry_pause_ms(done.row.attempts + 1, rng).max(retry_after_s * 1000);
    let due_at = now.plus_ms(pause_ms);
    if due_at.since(done.row.since) > limits.give_up_after_ms {
        return Outcome::GaveUp;
    }
    Outcome::Retry(due_at)
}
