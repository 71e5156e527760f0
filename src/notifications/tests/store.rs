//! The group's transaction.

use std::sync::Arc;

use super::fixture::{count, courier_id, delivery, insert, now, upload};
use crate::directory::Directory;
use crate::domain::rules::{FenceIndex, RuleSet};
use crate::domain::{DeliveryStatus, EventType, UnixMs};
use crate::notifications::estimates::Estimates;
use crate::notifications::judge::{Bench, JudgedPartition};
use crate::notifications::store::{Flushed, Store};
use crate::roads::Roads;
use crate::stream::{Offset, Partition, StoredRecord};
use crate::test_support::TestDatabase;

const P: Partition = Partition(3);

/// Uploads of courier `c-1` on the way to the drop-off, from offset `first` on.
fn records(first: u64, start: UnixMs, distances_m: &[f64]) -> Vec<StoredRecord> {
    let record = |(i, north_m): (usize, &f64)| {
        let at = start.plus_ms(5_000 * i as i64);
        StoredRecord {
            offset: Offset(first + i as u64),
            key: courier_id(1).as_str().to_owned().into(),
            value: upload(at, *north_m).encode(),
            timestamp_ms: at.0,
        }
    };
    distances_m.iter().enumerate().map(record).collect()
}

async fn begin(store: &Store) -> JudgedPartition {
    let loaded = store.load(P, Offset(0)).await.expect("loads");
    let next = loaded.next;
    JudgedPartition::new(P, loaded, next, None)
}

fn bench(directory: &Arc<Directory>) -> Bench {
    Bench {
        rules: Arc::new(RuleSet {
            approaching_s: 0.0,
            ..RuleSet::default()
        }),
        directory: directory.clone(),
        fences: FenceIndex::default(),
        estimates: Estimates {
            roads: Roads::none(),
        },
    }
}

async fn flush(store: &Store, judged: &mut JudgedPartition) -> Flushed {
    let writes = judged.take_write(now(), true).expect("something to write");
    store.flush(&[writes]).await.expect("a transaction")
}

const WAY: [f64; 8] = [900.0, 700.0, 480.0, 300.0, 100.0, 20.0, 5.0, 5.0];

#[tokio::test]
async fn events_states_and_offsets_go_together_and_what_was_stored_is_read_on_from() {
    let database = TestDatabase::create().await;
    let directory = Directory::new();
    let bench = bench(&directory);
    let start = now();
    let delivery = delivery(1, DeliveryStatus::PickedUp, start);
    insert(&database.pool, &delivery).await;
    directory.put_delivery(delivery);
    let store = Store::new(database.pool.clone(), "stream-1");
    let all = records(0, start, &WAY);

    // Each record in a life of its own.
    let mut told = Vec::new();
    for record in &all {
        let mut judged = begin(&store).await;
        assert_eq!(judged.next(), record.offset);
        judged.read(std::slice::from_ref(record), &bench, now());
        match flush(&store, &mut judged).await {
            Flushed::Written(events) => told.extend(events),
            Flushed::Overtaken(_) => panic!("nobody else is there"),
        }
    }
    assert_eq!(
        told,
        [EventType::DeliveryApproaching, EventType::DeliveryArrived]
    );
    let stepped = "select count(*) from dispatch.delivery where status = 'arrived'";
    assert_eq!(count(&database.pool, stepped).await, 1);
    let evident = "select count(*) from public.event where evidence ->> 'rule' = 'arrived'
                      and jsonb_array_length(evidence -> 'fixes') = 3 and lat is not null";
    assert_eq!(count(&database.pool, evident).await, 1);
    let next = "select next from public.stream_offset where grp = 'notifications' and part = 3";
    assert_eq!(count(&database.pool, next).await, 8);
    database.drop_database().await;
}

#[tokio::test]
async fn whoever_comes_second_writes_nothing() {
    let database = TestDatabase::create().await;
    let directory = Directory::new();
    let bench = bench(&directory);
    let start = now();
    let delivery = delivery(1, DeliveryStatus::PickedUp, start);
    insert(&database.pool, &delivery).await;
    directory.put_delivery(delivery);
    let store = Store::new(database.pool.clone(), "stream-1");
    let (mut first, mut second) = (begin(&store).await, begin(&store).await);
    let all = records(0, start, &WAY);
    first.read(&all, &bench, now());
    second.read(&all, &bench, now());
    assert!(matches!(
        flush(&store, &mut first).await,
        Flushed::Written(_)
    ));
    assert_eq!(
        flush(&store, &mut second).await,
        Flushed::Overtaken(vec![P])
    );
    assert_eq!(
        count(&database.pool, "select count(*) from public.event").await,
        2
    );
    // Read again by a group that has lost its offsets: the same events have the same keys.
    let other = Store::new(database.pool.clone(), "stream-2");
    let mut again = begin(&other).await;
    again.read(&all, &bench, now());
    assert_eq!(flush(&other, &mut again).await, Flushed::Written(vec![]));
    database.drop_database().await;
}

#[tokio::test]
async fn a_person_who_is_faster_makes_the_one_event() {
    let database = TestDatabase::create().await;
    let directory = Directory::new();
    let bench = bench(&directory);
    let start = now();
    let delivery = delivery(1, DeliveryStatus::PickedUp, start);
    insert(&database.pool, &delivery).await;
    directory.put_delivery(delivery);
    let store = Store::new(database.pool.clone(), "stream-1");
    let mut judged = begin(&store).await;
    judged.read(&records(0, start, &WAY), &bench, now());
    sqlx::query(
        "select dispatch.delivery_step('d-1', '{picked_up}', 'arrived', now(), null, null, null, null)",
    )
    .execute(&database.pool)
    .await
    .expect("a step");
    assert_eq!(flush(&store, &mut judged).await, Flushed::Written(vec![]));
    let arrived = "select count(*) from public.event where type = 'delivery.arrived'";
    assert_eq!(count(&database.pool, arrived).await, 1);
    let approaching = "select count(*) from public.event where type = 'delivery.approaching'";
    assert_eq!(
        count(&database.pool, approaching).await,
        0,
        "it was no longer true"
    );
    database.drop_database().await;
}

#[tokio::test]
async fn a_courier_who_is_gone_leaves_nothing_behind() {
    let database = TestDatabase::create().await;
    let directory = Directory::new();
    let bench = bench(&directory);
    let start = now();
    let delivery = delivery(1, DeliveryStatus::Assigned, start);
    insert(&database.pool, &delivery).await;
    let store = Store::new(database.pool.clone(), "stream-1");
    let mut judged = begin(&store).await;
    judged.read(&records(0, start, &[9_000.0]), &bench, now());
    flush(&store, &mut judged).await;
    let states = "select count(*) from notifications.rule_state";
    assert_eq!(count(&database.pool, states).await, 1);
    sqlx::query("delete from dispatch.courier")
        .execute(&database.pool)
        .await
        .expect("deleted");
    assert_eq!(count(&database.pool, states).await, 0);
    database.drop_database().await;
}
