//! Delivery to receivers that are well, ill, away or gone.

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

#[tokio::test]
async fn an_event_is_delivered_once_and_signed() {
    let database = TestDatabase::create().await;
    let receiver = Receiver::start(OK).await;
    let (_, secret) = insert_webhook(&database.pool, &receiver.url()).await;
    let running = Running::start(outbox(&database, system_clock(), PATIENT));
    let id = insert_event(&database.pool, 1, "delivery.assigned").await;
    outbox_empty(&database.pool).await;
    running.stop().await;

    let calls = receiver.calls();
    assert_eq!(calls.len(), 1);
    let webhook = standardwebhooks::Webhook::new(&secret).expect("a secret");
    webhook
        .verify(&calls[0].body, &calls[0].headers)
        .expect("the signature is right");
    assert_eq!(calls[0].id(), format!("evt_{id}"));
    let body = calls[0].json();
    assert_eq!(body["type"], "delivery.assigned");
    assert_eq!(body["data"]["id"], format!("evt_{id}"));
    assert_eq!(body["data"]["courier_id"], "c-1");
    assert_eq!(body["timestamp"], body["data"]["at"]);
    let delivered = "select count(*) from notifications.attempt where outcome = 'delivered'";
    assert_eq!(count(&database.pool, delivered).await, 1);
    database.drop_database().await;
}

#[tokio::test]
async fn only_what_the_patterns_want_is_queued_and_nothing_that_is_late() {
    let database = TestDatabase::create().await;
    let (id, _) = insert_webhook(&database.pool, "http://127.0.0.1:1/").await;
    for (events, wanted) in [
        ("{geofence.*}", 1),
        ("{*}", 4),
        ("{delivery.arrived,courier.sos}", 2),
        ("{delivery.*,delivery.arrived}", 2),
    ] {
        sqlx::query("delete from public.event")
            .execute(&database.pool)
            .await
            .expect("deleted");
        sqlx::query("update notifications.webhook set events = $2::text[] where id = $1")
            .bind(id)
            .bind(events)
            .execute(&database.pool)
            .await
            .expect("changed");
        for kind in [
            "delivery.arrived",
            "delivery.assigned",
            "geofence.enter",
            "courier.sos",
        ] {
            insert_event(&database.pool, 1, kind).await;
        }
        let late = r#"insert into public.event (type, at, evidence)
                      values ('delivery.arrived', now(), '{"late": true}')"#;
        sqlx::query(late)
            .execute(&database.pool)
            .await
            .expect("recorded");
        let queued = count(&database.pool, "select count(*) from notifications.outbox").await;
        assert_eq!(queued, wanted, "{events}");
    }
    database.drop_database().await;
}

#[tokio::test]
async fn a_receiver_that_misbehaves_gets_every_event_in_order_once_it_is_well() {
    let bad = [
        Behaviour::Status(500),
        Behaviour::Status(302),
        Behaviour::Status(404),
        Behaviour::Hang,
        Behaviour::Reset,
        Behaviour::Garbage,
    ];
    let database = TestDatabase::create().await;
    let clock = ManualClock::at(SystemClock.now_ms());
    for behaviour in bad {
        let receiver = Receiver::start(behaviour).await;
        let (id, _) = insert_webhook(&database.pool, &receiver.url()).await;
        let running = Running::start(outbox(&database, clock.clone(), IMPATIENT));
        let mut sent = Vec::new();
        for _ in 0..3 {
            sent.push(insert_event(&database.pool, 1, "geofence.enter").await);
        }
        eventually("two failed attempts", || async {
            clock.advance(1_000);
            wake(&database.pool).await;
            let failed = sqlx::query_scalar::<_, i64>(
                "select count(*) from notifications.attempt
                  where webhook_id = $1 and outcome = 'failed' and error is not null",
            );
            let failed = failed
                .bind(id)
                .fetch_one(&database.pool)
                .await
                .expect("a number");
            (failed >= 2).then_some(())
        })
        .await;
        receiver.behave(OK);
        eventually("delivery", || async {
            clock.advance(1_000);
            wake(&database.pool).await;
            (receiver.accepted().len() >= 3).then_some(())
        })
        .await;
        running.stop().await;
        assert_eq!(
            first_accepted(&receiver.calls())["c-1"],
            sent,
            "{behaviour:?}"
        );
        // Until it was well, only the first one was tried.
        let calls = receiver.calls();
        let before: Vec<_> = calls
            .iter()
            .take_while(|c| !c.accepted)
            .map(Call::id)
            .collect();
        assert!(
            before.iter().all(|id| *id == format!("evt_{}", sent[0])),
            "{before:?}"
        );
        forget(&database.pool, id).await;
    }
    database.drop_database().await;
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

#[tokio::test]
async fn an_answer_that_is_endless_huge_or_never_ends_counts_by_its_status() {
    let database = TestDatabase::create().await;
    for behaviour in [Behaviour::Endless, Behaviour::Huge, Behaviour::Unfinished] {
        let receiver = Receiver::start(behaviour).await;
        let (id, _) = insert_webhook(&database.pool, &receiver.url()).await;
        let running = Running::start(outbox(&database, system_clock(), IMPATIENT));
        insert_event(&database.pool, 1, "courier.sos").await;
        outbox_empty(&database.pool).await;
        running.stop().await;
        let delivered: i64 = sqlx::query_scalar(
            "select count(*) from notifications.attempt
              where webhook_id = $1 and outcome = 'delivered' and status = 200",
        )
        .bind(id)
        .fetch_one(&database.pool)
        .await
        .expect("a number");
        assert_eq!(delivered, 1, "{behaviour:?}");
        assert!(
            receiver.sent() < 32 << 20,
            "{behaviour:?}: read {} bytes",
            receiver.sent()
        );
        forget(&database.pool, id).await;
    }
    database.drop_database().await;
}

async fn forget(pool: &PgPool, webhook: Uuid) {
    sqlx::query("delete from notifications.webhook where id = $1")
        .bind(webhook)
        .execute(pool)
        .await
        .expect("deleted");
}

#[tokio::test]
async fn gone_switches_the_webhook_off_and_keeps_its_events() {
    let database = TestDatabase::create().await;
    let receiver = Receiver::start(Behaviour::Status(410)).await;
    insert_webhook(&database.pool, &receiver.url()).await;
    let running = Running::start(outbox(&database, system_clock(), PATIENT));
    let id = insert_event(&database.pool, 1, "courier.sos").await;
    eventually("the webhook to be off", || async {
        let off = "select count(*) from notifications.webhook
                    where not enabled and disabled_reason like '%410%'";
        (count(&database.pool, off).await == 1).then_some(())
    })
    .await;
    receiver.behave(OK);
    // Switched on again, it gets what it has missed.
    sqlx::query("update notifications.webhook set enabled = true, disabled_reason = null")
        .execute(&database.pool)
        .await
        .expect("on");
    outbox_empty(&database.pool).await;
    running.stop().await;
    let ids: Vec<_> = receiver
        .accepted()
        .iter()
        .map(|c| c.id().to_owned())
        .collect();
    assert_eq!(ids, [format!("evt_{id}")]);
    database.drop_database().await;
}

#[tokio::test]
async fn a_receiver_that_is_down_for_an_hour_gets_everything_in_order_without_a_storm() {
    let (seed, mut rng) = chance(13);
    let database = TestDatabase::create().await;
    let clock = WatchedClock::now();
    // A port that nobody listens on, until the receiver comes back.
    let placeholder = tokio::net::TcpListener::bind("127.0.0.1:0")
        .await
        .expect("a port");
    let address = placeholder.local_addr().expect("bound");
    drop(placeholder);
    let (id, _) = insert_webhook(&database.pool, &format!("http://{address}/hook")).await;
    let mut running = Running::start(outbox(&database, clock.clone(), PATIENT));
    let mut sent: HashMap<usize, Vec<i64>> = HashMap::new();
    for minute in 0..60 {
        let courier = minute % 5;
        let event = insert_event(&database.pool, courier, "geofence.enter").await;
        sent.entry(courier).or_default().push(event);
        // In steps, and each step only when the worker has looked at the one before.
        for _ in 0..6 {
            clock.pass(10_000, &database.pool).await;
        }
        // kill -9 at random in between; what the breaker knew is gone.
        if rng.random_ratio(1, 10) {
            running.kill().await;
            running = Running::start(outbox(&database, clock.clone(), PATIENT));
        }
    }
    let failed = count(&database.pool, "select count(*) from notifications.attempt").await;
    assert!(
        (5..300).contains(&failed),
        "{failed} attempts in an hour, seed {seed}"
    );
    let receiver = Receiver::start(OK).await;
    let moved = sqlx::query("update notifications.webhook set url = $2 where id = $1");
    moved
        .bind(id)
        .bind(receiver.url())
        .execute(&database.pool)
        .await
        .expect("moved");
    eventually("everything to arrive", || async {
        clock.pass(60_000, &database.pool).await;
        (receiver.accepted().len() >= 60).then_some(())
    })
    .await;
    running.stop().await;
    let got = first_accepted(&receiver.calls());
    for (courier, ids) in sent {
        assert_eq!(got[&format!("c-{courier}")], ids, "seed {seed}");
    }
    database.drop_database().await;
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

#[tokio::test]
async fn one_event_that_is_always_refused_holds_up_its_courier_only_and_is_given_up() {
    let database = TestDatabase::create().await;
    let clock = ManualClock::at(SystemClock.now_ms());
    let receiver = Receiver::start(Behaviour::StatusFor("courier.sos", 500)).await;
    insert_webhook(&database.pool, &receiver.url()).await;
    let running = Running::start(outbox(&database, clock.clone(), PATIENT));
    let refused = insert_event(&database.pool, 1, "courier.sos").await;
    let behind = insert_event(&database.pool, 1, "geofence.enter").await;
    let mut others = Vec::new();
    for _ in 0..20 {
        others.push(insert_event(&database.pool, 2, "geofence.enter").await);
    }
    eventually("the other courier's events", || async {
        (first_accepted(&receiver.calls()).get("c-2") == Some(&others)).then_some(())
    })
    .await;
    assert!(!first_accepted(&receiver.calls()).contains_key("c-1"));
    eventually("the event to be given up", || async {
        clock.advance(3_600_000);
        wake(&database.pool).await;
        let gave_up = "select count(*) from notifications.attempt where outcome = 'gave_up'";
        (count(&database.pool, gave_up).await == 1).then_some(())
    })
    .await;
    eventually("the event behind it", || async {
        clock.advance(1_000);
        wake(&database.pool).await;
        first_accepted(&receiver.calls())
            .contains_key("c-1")
            .then_some(())
    })
    .await;
    outbox_empty(&database.pool).await;
    running.stop().await;
    assert_eq!(first_accepted(&receiver.calls())["c-1"], [behind]);
    assert!(
        receiver
            .calls()
            .iter()
            .any(|c| c.id() == format!("evt_{refused}"))
    );
    database.drop_database().await;
}

#[tokio::test]
async fn killed_at_random_every_event_arrives_and_couriers_keep_their_order() {
    let (seed, mut rng) = chance(11);
    let database = TestDatabase::create().await;
    let clock = WatchedClock::now();
    let receiver = Receiver::start(OK).await;
    insert_webhook(&database.pool, &receiver.url()).await;
    let moods = [
        OK,
        OK,
        OK,
        Behaviour::Status(500),
        Behaviour::Status(307),
        Behaviour::Hang,
        Behaviour::Reset,
        Behaviour::Garbage,
        Behaviour::Unfinished,
    ];
    let mut sent: HashMap<usize, Vec<i64>> = HashMap::new();
    for _ in 0..16 {
        receiver.behave(moods[rng.random_range(0..moods.len())]);
        let running = Running::start(outbox(&database, clock.clone(), IMPATIENT));
        for _ in 0..10 {
            let courier = rng.random_range(0..4);
            let id = insert_event(&database.pool, courier, "geofence.enter").await;
            sent.entry(courier).or_default().push(id);
        }
        let enough = receiver.calls().len() + rng.random_range(1..8);
        eventually("some calls", || async {
            // Rows that were tried often wait for up to an hour.
            clock.pass(20_000, &database.pool).await;
            let left = count(&database.pool, "select count(*) from notifications.outbox").await;
            (receiver.calls().len() >= enough || left == 0).then_some(())
        })
        .await;
        // Its connection is closed with it, and the lock is free again.
        running.kill().await;
    }
    receiver.behave(OK);
    let running = Running::start(outbox(&database, clock.clone(), PATIENT));
    eventually("the outbox to be empty", || async {
        clock.pass(60_000, &database.pool).await;
        (count(&database.pool, "select count(*) from notifications.outbox").await == 0)
            .then_some(())
    })
    .await;
    running.stop().await;
    let calls = receiver.calls();
    let got = first_accepted(&calls);
    for (courier, ids) in sent {
        assert_eq!(got[&format!("c-{courier}")], ids, "seed {seed}");
    }
    // The same event is the same call, whenever it is made.
    let mut bodies: HashMap<&str, &[u8]> = HashMap::new();
    for call in &calls {
        let first = bodies.entry(call.id()).or_insert(&call.body);
        assert_eq!(*first, call.body);
    }
    database.drop_database().await;
}

#[tokio::test]
async fn of_two_processes_one_sends_and_the_other_takes_over() {
    let database = TestDatabase::create().await;
    let receiver = Receiver::start(OK).await;
    insert_webhook(&database.pool, &receiver.url()).await;
    let first = Running::start(outbox(&database, system_clock(), PATIENT));
    let second = Running::start(outbox(&database, system_clock(), PATIENT));
    for _ in 0..20 {
        insert_event(&database.pool, 1, "geofence.enter").await;
    }
    outbox_empty(&database.pool).await;
    assert_eq!(receiver.calls().len(), 20, "nothing came twice");
    first.stop().await;
    for _ in 0..20 {
        insert_event(&database.pool, 1, "geofence.enter").await;
    }
    outbox_empty(&database.pool).await;
    assert_eq!(receiver.calls().len(), 40);
    second.stop().await;
    database.drop_database().await;
}

#[tokio::test]
async fn private_addresses_are_refused_by_number_and_by_name() {
    let database = TestDatabase::create().await;
    let receiver = Receiver::start(OK).await;
    let port = receiver.address.port();
    for host in ["127.0.0.1", "localhost", "[::ffff:127.0.0.1]", "0.0.0.0"] {
        insert_webhook(&database.pool, &format!("http://{host}:{port}/hook")).await;
    }
    let clock = system_clock();
    let guarded = Outbox {
        sender: Sender::new(clock.clone(), PATIENT, false),
        ..outbox(&database, clock, PATIENT)
    };
    let running = Running::start(guarded);
    insert_event(&database.pool, 1, "courier.sos").await;
    eventually("four refusals", || async {
        let refused = "select count(distinct webhook_id) from notifications.attempt
                        where error like '%notifications.allow_private_endpoints%'";
        (count(&database.pool, refused).await == 4).then_some(())
    })
    .await;
    running.stop().await;
    assert!(receiver.calls().is_empty());
    database.drop_database().await;
}

#[tokio::test]
async fn endpoints_that_cannot_be_called_fail_with_the_reason_and_hold_nobody_up() {
    let database = TestDatabase::create().await;
    let receiver = Receiver::start(OK).await;
    let port = receiver.address.port();
    let self_signed = tls_port().await;
    // TLS to a port that speaks none, a certificate that nobody vouches for, a name that does not
    // exist, and a row that was written by hand.
    for (url, reason) in [
        (format!("https://127.0.0.1:{port}/hook"), "cannot connect"),
        (
            format!("https://localhost:{self_signed}/hook"),
            "certificate",
        ),
        (
            "http://no-such-host.invalid/hook".to_owned(),
            "cannot connect",
        ),
        ("no url at all".to_owned(), ""),
    ] {
        let (id, _) = insert_webhook(&database.pool, &url).await;
        sqlx::query("update notifications.webhook set description = $2 where id = $1")
            .bind(id)
            .bind(reason)
            .execute(&database.pool)
            .await
            .expect("described");
    }
    insert_webhook(&database.pool, &receiver.url()).await;
    let running = Running::start(outbox(&database, system_clock(), PATIENT));
    insert_event(&database.pool, 1, "courier.sos").await;
    eventually("three reasons", || async {
        let failed = "select count(distinct w.id) from notifications.attempt a
                        join notifications.webhook w on w.id = a.webhook_id
                       where a.outcome = 'failed' and w.description <> ''
                         and a.error like '%' || w.description || '%'";
        (count(&database.pool, failed).await == 3).then_some(())
    })
    .await;
    eventually("the healthy one", || async {
        (receiver.accepted().len() == 1).then_some(())
    })
    .await;
    running.stop().await;
    database.drop_database().await;
}

#[tokio::test]
async fn after_a_rotation_both_secrets_sign_until_the_old_one_ends() {
    let database = TestDatabase::create().await;
    let receiver = Receiver::start(OK).await;
    let (_, secret) = insert_webhook(&database.pool, &receiver.url()).await;
    let running = Running::start(outbox(&database, system_clock(), PATIENT));
    let old = standardwebhooks::Webhook::new(&secret).expect("a secret");
    for (still, until) in [(true, "1 hour"), (false, "-1 hour")] {
        sqlx::query(
            "update notifications.webhook set previous_secret = coalesce(previous_secret, secret),
                    previous_secret_until = now() + $1::interval, secret = decode($2, 'hex')",
        )
        .bind(until)
        .bind("ab".repeat(32))
        .execute(&database.pool)
        .await
        .expect("rotated");
        let new = standardwebhooks::Webhook::from_bytes(vec![0xab; 32]).expect("a secret");
        let before = receiver.calls().len();
        // The worker hears of the new secret by itself; calls made before that bear the old one.
        let call = eventually("a call signed by the new secret", || async {
            insert_event(&database.pool, 1, "courier.sos").await;
            outbox_empty(&database.pool).await;
            let calls = receiver.calls();
            let signed = |c: &&Call| {
                new.verify(&c.body, &c.headers).is_ok()
                    && (old.verify(&c.body, &c.headers).is_ok() == still)
            };
            calls[before..].iter().find(signed).cloned()
        })
        .await;
        let signatures = call.headers["webhook-signature"].to_str().expect("text");
        assert_eq!(signatures.split(' ').count(), if still { 2 } else { 1 });
    }
    running.stop().await;
    database.drop_database().await;
}
