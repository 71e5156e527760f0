//! From the outbox to the receivers: one worker a webhook, in one process at a time.
//!
//! Invariants:
//! - Only the holder of the advisory lock sends. It is held on the connection that listens, so that
//!   a process that dies gives it up at once.
//! - A worker sends what the outbox holds and nothing else; what was sent is gone from it only when
//!   the receiver has answered 2xx, or was given up.

mod address;
mod backoff;
mod endpoint;
mod lanes;
mod queue;
mod secret;
mod sender;

use std::collections::HashMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::gauge;
use rand::SeedableRng;
use rand::rngs::StdRng;
use reqwest::Url;
use sqlx::postgres::{PgListener, PgNotification, PgPoolOptions, PgRow};
use sqlx::{FromRow, PgPool, Row};
use tokio::sync::{Notify, watch};
use tokio::task::JoinSet;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

pub(super) use address::check_literal;
pub(super) use secret::WebhookSecret;
pub(super) use sender::{Sender, Target, Verdict};

use self::endpoint::{Endpoint, Limits};
use self::queue::Queue;
use crate::advisory_lock::AdvisoryLock;
use crate::clock::SharedClock;
use crate::config::NotificationsConfig;
use crate::domain::UnixMs;
use crate::telemetry::metrics::NOTIFICATIONS_PENDING;

/// A process that does not send looks this often whether it should.
const TRY_LOCK_EVERY: Duration = Duration::from_secs(2);
/// Webhooks are read again this often even if nobody said that one has changed.
const RELOAD_EVERY: Duration = Duration::from_secs(30);
/// Pause after Postgres failed.
const DATABASE_PAUSE: Duration = Duration::from_secs(1);
/// Attempts are kept this long, days.
const ATTEMPTS_KEPT_DAYS: i32 = 30;

/// Sends what is in the outbox.
pub(super) struct Outbox {
    pub(super) pool: PgPool,
    pub(super) sender: Sender,
    pub(super) clock: SharedClock,
    pub(super) limits: OutboxLimits,
    pub(super) rng: StdRng,
}

/// What limits every endpoint.
#[derive(Debug, Clone, Copy)]
pub(super) struct OutboxLimits(Limits);

impl From<&NotificationsConfig> for OutboxLimits {
    fn from(config: &NotificationsConfig) -> Self {
        let give_up_after_ms = config.give_up_after_hours.saturating_mul(3_600_000);
        Self(Limits {
            in_flight: config.in_flight,
            give_up_after_ms: i64::try_from(give_up_after_ms).unwrap_or(i64::MAX),
        })
    }
}

impl FromRow<'_, PgRow> for Target {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let url: &str = row.try_get("url")?;
        let url = Url::parse(url).map_err(|e| sqlx::Error::Decode(e.into()))?;
        let previous: Option<Vec<u8>> = row.try_get("previous_secret")?;
        let until: Option<time::OffsetDateTime> = row.try_get("previous_secret_until")?;
        let until = until.map(UnixMs::from_datetime);
        Ok(Self {
            url,
            secret: WebhookSecret::from_stored(row.try_get("secret")?),
            previous: previous.map(WebhookSecret::from_stored).zip(until),
        })
    }
}

/// The workers of the process that sends.
struct Workers<'a> {
    outbox: &'a mut Outbox,
    running: HashMap<Uuid, Worker>,
    tasks: JoinSet<Uuid>,
}

struct Worker {
    wake: Arc<Notify>,
    target: watch::Sender<Target>,
    stop: CancellationToken,
}

impl Outbox {
    /// Sends until `stop`, whenever no other process does.
    pub(super) async fn run(mut self, stop: CancellationToken) -> anyhow::Result<()> {
        while !stop.is_cancelled() {
            if let Err(error) = self.lead(&stop).await {
                tracing::warn!(%error, "webhooks wait for the database");
                pause(&stop, DATABASE_PAUSE).await;
            }
        }
        Ok(())
    }

    /// A connection of its own: the lock must end with it and not go back into the pool.
    async fn listener(&self) -> sqlx::Result<PgListener> {
        let alone = PgPoolOptions::new()
            .max_connections(1)
            .idle_timeout(None)
            .max_lifetime(None);
        let options = (*self.pool.connect_options()).clone();
        let mut listener = PgListener::connect_with(&alone.connect_with(options).await?).await?;
        listener.eager_reconnect(false);
        Ok(listener)
    }

    /// Waits for the lock, then sends until `stop` or until the connection is lost.
    async fn lead(&mut self, stop: &CancellationToken) -> sqlx::Result<()> {
        let mut listener = self.listener().await?;
        listener
            .listen_all(["waylog_outbox", "waylog_webhook"])
            .await?;
        let lock = "select pg_try_advisory_lock($1)";
        while !sqlx::query_scalar(lock)
            .bind(AdvisoryLock::Send.key())
            .fetch_one(&mut listener)
            .await?
        {
            if pause(stop, TRY_LOCK_EVERY).await {
                return Ok(());
            }
        }
        let mut workers = Workers {
            outbox: self,
            running: HashMap::new(),
            tasks: JoinSet::new(),
        };
        let led = workers.serve(&mut listener, stop).await;
        workers.stop().await;
        led
    }
}

impl Workers<'_> {
    async fn serve(
        &mut self,
        listener: &mut PgListener,
        stop: &CancellationToken,
    ) -> sqlx::Result<()> {
        let mut reload = tokio::time::interval(RELOAD_EVERY);
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                _ = reload.tick() => {
                    self.reload().await?;
                    self.look_after().await?;
                }
                told = listener.try_recv() => match told? {
                    Some(told) => self.told(&told).await?,
                    None => return Err(sqlx::Error::WorkerCrashed),
                },
                Some(ended) = self.tasks.join_next() => match ended {
                    Ok(webhook) => {
                        self.running.remove(&webhook);
                        self.reload().await?;
                    }
                    Err(error) => return Err(sqlx::Error::Protocol(error.to_string())),
                },
            }
        }
    }

    async fn told(&mut self, told: &PgNotification) -> sqlx::Result<()> {
        if told.channel() == "waylog_webhook" {
            return self.reload().await;
        }
        let webhook = told.payload().parse::<Uuid>().ok();
        if let Some(worker) = webhook.and_then(|id| self.running.get(&id)) {
            worker.wake.notify_one();
        }
        Ok(())
    }

    /// Brings the workers in line with the webhooks that are enabled.
    async fn reload(&mut self) -> sqlx::Result<()> {
        let rows = sqlx::query(
            "select id, url, secret, previous_secret, previous_secret_until
               from notifications.webhook where enabled",
        )
        .fetch_all(&self.outbox.pool)
        .await?;
        let mut enabled = HashMap::new();
        for row in rows {
            match Target::from_row(&row) {
                Ok(target) => drop(enabled.insert(row.try_get::<Uuid, _>("id")?, target)),
                Err(error) => tracing::error!(%error, "a stored webhook is unreadable"),
            }
        }
        for (id, worker) in &self.running {
            if !enabled.contains_key(id) {
                worker.stop.cancel();
            }
        }
        for (id, target) in enabled {
            match self.running.get(&id) {
                // One that was switched off and on again is started when the old one has ended.
                Some(worker) if worker.stop.is_cancelled() => {}
                Some(worker) => drop(worker.target.send_if_modified(|old| {
                    let changed = *old != target;
                    if changed {
                        *old = target;
                    }
                    changed
                })),
                None => self.start(id, target),
            }
        }
        Ok(())
    }

    fn start(&mut self, id: Uuid, target: Target) {
        let (target, target_read) = watch::channel(target);
        let worker = Worker {
            wake: Arc::new(Notify::new()),
            target,
            stop: CancellationToken::new(),
        };
        let endpoint = Endpoint {
            queue: Queue {
                pool: self.outbox.pool.clone(),
                webhook: id,
            },
            sender: self.outbox.sender.clone(),
            clock: self.outbox.clock.clone(),
            limits: self.outbox.limits.0,
            rng: StdRng::from_rng(&mut self.outbox.rng),
            target: target_read,
            wake: worker.wake.clone(),
        };
        let stop = worker.stop.clone();
        self.running.insert(id, worker);
        self.tasks.spawn(async move {
            endpoint.run(stop).await;
            id
        });
    }

    /// Counts what is pending and forgets old attempts.
    async fn look_after(&mut self) -> sqlx::Result<()> {
        let pending: i64 = sqlx::query_scalar("select count(*) from notifications.outbox")
            .fetch_one(&self.outbox.pool)
            .await?;
        gauge!(NOTIFICATIONS_PENDING).set(pending as f64);
        sqlx::query(
            "delete from notifications.attempt where at < now() - make_interval(days => $1)",
        )
        .bind(ATTEMPTS_KEPT_DAYS)
        .execute(&self.outbox.pool)
        .await?;
        Ok(())
    }

    /// Lets the workers finish their calls.
    async fn stop(&mut self) {
        self.running
            .values()
            .for_each(|worker| worker.stop.cancel());
        while self.tasks.join_next().await.is_some() {}
    }
}

/// Waits; answers whether it was told to stop.
async fn pause(stop: &CancellationToken, time: Duration) -> bool {
    tokio::select! {
        () = stop.cancelled() => true,
        () = tokio::time::sleep(time) => false,
    }
}
