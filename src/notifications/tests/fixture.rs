//! What the tests of this slice share.

use std::future::Future;
use std::sync::Arc;
use std::time::Duration;

use rand::SeedableRng;
use rand::rngs::StdRng;
use sqlx::PgPool;
use uuid::Uuid;

use crate::clock::SystemClock;
use crate::clock::{Clock, SharedClock};
use crate::config::{Config, NotificationsConfig};
use crate::domain::{
    Courier, CourierId, Delivery, DeliveryId, DeliveryStatus, Fix, FixBatch, Place, Position,
    TimelineEntry, UnixMs, geo,
};
use crate::notifications::outbox::{Outbox, OutboxLimits, Sender};
use crate::test_support::TestDatabase;

/// Nothing here takes so long; only a test that fails waits for it.
const PATIENCE: Duration = Duration::from_secs(60);

/// Waits until `probe` answers.
pub(super) async fn eventually<T, F: Future<Output = Option<T>>>(
    what: &str,
    mut probe: impl FnMut() -> F,
) -> T {
    let found = async {
        loop {
            if let Some(found) = probe().await {
                return found;
            }
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    match tokio::time::timeout(PATIENCE, found).await {
        Ok(found) => found,
        Err(_) => panic!("waited in vain for {what}"),
    }
}

pub(super) fn courier_id(n: usize) -> CourierId {
    CourierId::try_from(format!("c-{n}")).expect("an id")
}

pub(super) fn now() -> UnixMs {
    UnixMs(SystemClock.now_ms())
}

pub(super) fn dropoff() -> Position {
    Position::from_degrees(35.9, 14.5).expect("a position")
}

pub(super) fn courier(n: usize) -> Courier {
    Courier {
        id: courier_id(n),
        name: None,
        vehicle: None,
        tags: Box::default(),
        on_duty: true,
    }
}

/// Delivery `d-{n}` of courier `c-{n}`, picked up at `since`.
pub(super) fn delivery(n: usize, status: DeliveryStatus, since: UnixMs) -> Delivery {
    let place = |position| Place {
        position,
        label: None,
    };
    Delivery {
        id: DeliveryId::try_from(format!("d-{n}")).expect("an id"),
        courier_id: Some(courier_id(n)),
        status,
        sequence: 0,
        pickup: place(geo::destination(dropoff(), 0.0, 5_000.0)),
        dropoff: place(dropoff()),
        window: None,
        timeline: vec![TimelineEntry { status, at: since }],
        reference: None,
        tags: Box::default(),
        version: 1,
    }
}

/// Puts the courier and the delivery into Postgres as dispatch would have.
pub(super) async fn insert(pool: &PgPool, delivery: &Delivery) {
    let courier = delivery.courier_id.as_ref().map(CourierId::as_str);
    sqlx::query("insert into dispatch.courier (id) values ($1) on conflict do nothing")
        .bind(courier)
        .execute(pool)
        .await
        .expect("a courier");
    sqlx::query(
        "insert into dispatch.delivery (id, courier_id, status, pickup_lat, pickup_lon,
                                        dropoff_lat, dropoff_lon, timeline, created_at)
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9)",
    )
    .bind(delivery.id.as_str())
    .bind(courier)
    .bind(delivery.status.as_str())
    .bind(delivery.pickup.position.lat())
    .bind(delivery.pickup.position.lon())
    .bind(delivery.dropoff.position.lat())
    .bind(delivery.dropoff.position.lon())
    .bind(sqlx::types::Json(&delivery.timeline))
    .bind(delivery.timeline[0].at.to_datetime())
    .execute(pool)
    .await
    .expect("a delivery");
}

/// One upload of one fix, `north_m` metres from the drop-off.
pub(super) fn upload(at: UnixMs, north_m: f64) -> FixBatch {
    let fix = Fix {
        accuracy_m: Some(5.0),
        ..Fix::new(at, geo::destination(dropoff(), 0.0, north_m))
    };
    FixBatch {
        received_at: at,
        fixes: vec![fix],
        sos: false,
    }
}

/// A webhook that wants everything, in Postgres; its number and its secret as the receiver has it.
pub(super) async fn insert_webhook(pool: &PgPool, url: &str) -> (Uuid, String) {
    let id = Uuid::now_v7();
    let mut rng = StdRng::seed_from_u64(u64::from_le_bytes(
        id.as_bytes()[8..].try_into().expect("eight bytes"),
    ));
    let secret = crate::notifications::outbox::WebhookSecret::issue(&mut rng);
    sqlx::query(
        "insert into notifications.webhook (id, url, events, secret) values ($1, $2, '{*}', $3)",
    )
    .bind(id)
    .bind(url)
    .bind(secret.to_stored())
    .execute(pool)
    .await
    .expect("a webhook");
    (id, secret.expose())
}

/// An event of courier `c-{n}`, recorded as any slice would; its number.
pub(super) async fn insert_event(pool: &PgPool, n: usize, kind: &str) -> i64 {
    sqlx::query_scalar(
        "insert into public.event (type, at, courier_id) values ($1, now(), $2) returning id",
    )
    .bind(kind)
    .bind(courier_id(n).as_str())
    .fetch_one(pool)
    .await
    .expect("an event")
}

pub(super) async fn count(pool: &PgPool, sql: &'static str) -> i64 {
    sqlx::query_scalar(sql)
        .fetch_one(pool)
        .await
        .expect("a number")
}

/// Settings under which the receivers of these tests may be called.
pub(super) fn config() -> NotificationsConfig {
    let defaults = Config::defaults().expect("defaults load");
    NotificationsConfig {
        allow_private_endpoints: true,
        ..defaults.notifications
    }
}

pub(super) fn outbox(database: &TestDatabase, clock: SharedClock, timeout: Duration) -> Outbox {
    Outbox {
        pool: database.pool.clone(),
        sender: Sender::new(clock.clone(), timeout, true),
        clock,
        limits: OutboxLimits::from(&config()),
        rng: StdRng::seed_from_u64(7),
    }
}

pub(super) fn system_clock() -> SharedClock {
    Arc::new(SystemClock)
}
