//! Delivery to receivers that are well, ill, away or gone.

mod answers;
mod endpoints;
mod order;

use std::collections::{BTreeMap, HashMap};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::fixture::{count, eventually, insert_event, insert_webhook, outbox, system_clock};
use super::receiver::{Behaviour, Call, Receiver, tls_port};
use crate::clock::{Clock, ManualClock, SystemClock};
use crate::notifications::outbox::{Outbox, Sender};
use crate::test_support::TestDatabase;

const OK: Behaviour = Behaviour::Status(200);
/// Long enough for any answer that comes at all.
const PATIENT: Duration = Duration::from_secs(20);
/// For receivers that never answer.
const IMPATIENT: Duration = Duration::from_millis(200);

/// An outbox at work; dropping it is as a crash.
struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Running {
    fn start(outbox: Outbox) -> Self {
        let stop = CancellationToken::new();
        let task = tokio::spawn(outbox.run(stop.clone()));
        Self { stop, task }
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a clean end");
    }

    /// As kill -9: nothing is finished, nothing is recorded.
    async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("killed").is_cancelled());
    }
}

async fn outbox_empty(pool: &PgPool) {
    eventually("the outbox to be empty", || async {
        (count(pool, "select count(*) from notifications.outbox").await == 0).then_some(())
    })
    .await;
}

/// The first acceptance of each event, by courier, in order.
fn first_accepted(calls: &[Call]) -> BTreeMap<String, Vec<i64>> {
    let mut by_courier: BTreeMap<String, Vec<i64>> = BTreeMap::new();
    for call in calls.iter().filter(|c| c.accepted) {
        let courier = call.json()["data"]["courier_id"]
            .as_str()
            .expect("a courier")
            .to_owned();
        let id = call
            .id()
            .strip_prefix("evt_")
            .expect("an event")
            .parse()
            .expect("a number");
        let ids = by_courier.entry(courier).or_default();
        if !ids.contains(&id) {
            ids.push(id);
        }
    }
    by_courier
}

/// As the trigger does when a row comes.
async fn wake(pool: &PgPool) {
    sqlx::query(
        "select pg_notify('waylog_outbox', id::text) from notifications.webhook where enabled",
    )
    .execute(pool)
    .await
    .expect("told");
}

async fn forget(pool: &PgPool, webhook: Uuid) {
    sqlx::query("delete from notifications.webhook where id = $1")
        .bind(webhook)
        .execute(pool)
        .await
        .expect("deleted");
}

/// A clock that stands still until it is moved, and knows how often it was looked at.
struct WatchedClock {
    clock: Arc<ManualClock>,
    looks: AtomicU64,
}

impl WatchedClock {
    fn now() -> Arc<Self> {
        Arc::new(Self {
            clock: ManualClock::at(SystemClock.now_ms()),
            looks: AtomicU64::new(0),
        })
    }

    /// Moves on, and waits until the worker has looked at it since.
    async fn pass(&self, ms: i64, pool: &PgPool) {
        self.clock.advance(ms);
        let before = self.looks.load(Ordering::SeqCst);
        eventually("a look at the clock", || async {
            wake(pool).await;
            (self.looks.load(Ordering::SeqCst) > before).then_some(())
        })
        .await;
    }
}

impl Clock for WatchedClock {
    fn now_ms(&self) -> i64 {
        self.looks.fetch_add(1, Ordering::SeqCst);
        self.clock.now_ms()
    }
}

/// Chance that a failure can be repeated with, by WAYLOG_SEED.
fn chance(usual: u64) -> (u64, StdRng) {
    let asked = std::env::var("WAYLOG_SEED").ok();
    let seed = asked.and_then(|s| s.parse().ok()).unwrap_or(usual);
    println!("WAYLOG_SEED={seed}");
    (seed, StdRng::seed_from_u64(seed))
}
