//! The Directory over a real database.

use std::sync::Arc;
use std::time::Duration;

use tokio_util::sync::CancellationToken;

use super::*;
use crate::clock::{Clock, SystemClock};
use crate::domain::{CourierId, DeliveryId, DeliveryStatus, UnixMs};
use crate::test_support::TestDatabase;

/// Longest wait for something that must happen; not a measure of anything.
const PATIENCE: Duration = Duration::from_secs(30);

fn sync(database: &TestDatabase, data_dir: &std::path::Path) -> (Sync, Arc<Directory>) {
    let directory = Directory::new();
    let clock = SystemClock::shared();
    let sync = Sync::new(
        database.pool.clone(),
        directory.clone(),
        clock,
        data_dir.to_owned(),
    );
    (sync, directory)
}

async fn run(database: &TestDatabase, statement: &'static str) {
    sqlx::raw_sql(statement)
        .execute(&database.pool)
        .await
        .expect("it runs");
}

async fn until(directory: &Directory, done: impl Fn() -> bool) {
    let mut changes = directory.changes();
    let waiting = async {
        while !done() {
            // Lagging is a change as well.
            drop(changes.recv().await);
        }
    };
    tokio::time::timeout(PATIENCE, waiting)
        .await
        .expect("the change arrives");
}

const SOME: &str = "
    insert into dispatch.courier (id, name, vehicle, tags) values
        ('c-1', 'Ann', 'bike', '{fast}'), ('c-2', null, null, '{}');
    insert into dispatch.device (id, courier_id, token_hash, token_prefix) values
        ('00000000-0000-0000-0000-000000000001', 'c-1', sha256('d1'), 'wld_');
    insert into dispatch.delivery (id, courier_id, status, sequence, pickup_lat, pickup_lon,
        dropoff_lat, dropoff_lon, window_from, window_to, timeline) values
        ('d-2', 'c-1', 'assigned', 2, 35.9, 14.5, 35.91, 14.51, null, null, '[]'),
        ('d-1', 'c-1', 'picked_up', 1, 35.9, 14.5, 35.91, 14.51, now(), now() + interval '1 h',
         '[{\"status\": \"picked_up\", \"at\": \"2026-11-22T10:00:00.000Z\"}]');
    insert into dispatch.delivery (id, status, pickup_lat, pickup_lon, dropoff_lat, dropoff_lon,
        completed_at) values
        ('d-old', 'delivered', 35.9, 14.5, 35.91, 14.51, now() - interval '1 day');
    insert into dispatch.tracking_link (id, delivery_id, token_hash, token_prefix, expires_at) values
        ('00000000-0000-0000-0000-000000000002', 'd-1', sha256('l1'), 'wlt_', now() + interval '1 h'),
        ('00000000-0000-0000-0000-000000000003', 'd-1', sha256('l2'), 'wlt_', now() - interval '1 h');
    insert into dispatch.geofence (id, name, shape, events) values
        ('g-1', 'Depot', '{\"circle\": {\"lat\": 35.9, \"lon\": 14.5, \"radius_m\": 50}}', '{enter}');
    insert into dispatch.api_key (id, name, role, key_hash, key_prefix) values
        ('00000000-0000-0000-0000-000000000004', 'ops', 'dispatcher', sha256('k1'), 'wlk_');
    insert into dispatch.session (id, token_hash, role, name, expires_at) values
        ('00000000-0000-0000-0000-000000000005', sha256('s1'), 'analyst', 'ann', now() + interval '1 h');
    insert into dispatch.erased (courier_id, before_received_at) values
        ('c-9', '2026-11-22T10:00:00Z');
";

fn hash(secret: &str) -> TokenHash {
    use sha2::Digest;
    TokenHash(sha2::Sha256::digest(secret.as_bytes()).into())
}

fn assert_holds_some(directory: &Directory) {
    let device = directory.device(&hash("d1")).expect("known");
    assert_eq!(device.courier_id.as_str(), "c-1");
    let courier = directory.courier(&device.courier_id).expect("known");
    assert_eq!(courier.name.as_deref(), Some("Ann"));
    let run = directory.run_of(&device.courier_id);
    let ids: Vec<&str> = run.iter().map(|d| d.id.as_str()).collect();
    assert_eq!(ids, ["d-1", "d-2"], "in the order of the run");
    assert_eq!(run[0].status, DeliveryStatus::PickedUp);
    assert_eq!(
        run[0].timeline[0].at.to_rfc3339(),
        "2026-11-22T10:00:00.000Z"
    );
    assert!(run[0].window.is_some() && run[1].window.is_none());
    let old = DeliveryId::try_from("d-old").expect("an id");
    assert_eq!(directory.delivery(&old), None, "completed long ago");
    assert!(directory.link(&hash("l1")).is_some());
    assert_eq!(directory.link(&hash("l2")), None, "expired");
    assert_eq!(directory.geofences().len(), 1);
    assert_eq!(
        directory.api_key(&hash("k1")).expect("known").role,
        Role::Dispatcher
    );
    assert_eq!(&*directory.session(&hash("s1")).expect("known").name, "ann");
    let erased = CourierId::try_from("c-9").expect("an id");
    let before = UnixMs::parse_rfc3339("2026-11-22T10:00:00Z").expect("a time");
    assert_eq!(directory.erased_before(&erased), Some(before));
}

#[tokio::test]
async fn everything_is_there_after_the_start_and_again_from_the_snapshot_while_postgres_is_away() {
    let database = TestDatabase::create().await;
    run(&database, SOME).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (first, directory) = sync(&database, folder.path());
    assert_eq!(
        first.load_or_snapshot().await.expect("filled"),
        Filled::FromPostgres
    );
    assert_holds_some(&directory);
    let stop = CancellationToken::new();
    stop.cancel();
    first.run(stop).await.expect("stops");

    database.drop_database().await;
    let nowhere = "postgres://nobody@127.0.0.1:1/nowhere";
    let away = sqlx::PgPool::connect_lazy(nowhere).expect("a lazy pool");
    let directory = Directory::new();
    let data_dir = folder.path().to_owned();
    let second = Sync::new(away, directory.clone(), SystemClock::shared(), data_dir);
    assert_eq!(
        second.load_or_snapshot().await.expect("filled"),
        Filled::FromSnapshot
    );
    assert_holds_some(&directory);
}

#[tokio::test]
async fn a_damaged_snapshot_is_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let path = folder.path().join("directory.snap");
    let directory = Directory::new();
    directory.put_erased(CourierId::try_from("c-1").expect("an id"), Some(UnixMs(1)));
    snapshot::write(&path, &directory).expect("written");
    let whole = std::fs::read(&path).expect("read");
    for at in 0..whole.len() {
        let mut damaged = whole.clone();
        damaged[at] ^= 0x10;
        std::fs::write(&path, damaged).expect("written");
        let fresh = Directory::new();
        assert!(snapshot::restore(&path, &fresh).is_err(), "byte {at}");
        assert_eq!(
            fresh.erased.read().len(),
            0,
            "nothing of a damaged file is taken"
        );
    }
}

#[tokio::test]
async fn changes_of_other_processes_arrive() {
    let database = TestDatabase::create().await;
    run(&database, SOME).await;
    let folder = tempfile::tempdir().expect("a folder");
    let (sync, directory) = sync(&database, folder.path());
    sync.load_or_snapshot().await.expect("filled");
    let stop = CancellationToken::new();
    let running = tokio::spawn(sync.clone().run(stop.clone()));

    run(
        &database,
        "update dispatch.courier set name = 'Bea' where id = 'c-1'",
    )
    .await;
    let courier = CourierId::try_from("c-1").expect("an id");
    let name = || directory.courier(&courier).and_then(|c| c.name.clone());
    until(&directory, || name().as_deref() == Some("Bea")).await;
    run(&database, "update dispatch.device set revoked_at = now()").await;
    until(&directory, || directory.device(&hash("d1")).is_none()).await;
    run(&database, "delete from dispatch.tracking_link").await;
    until(&directory, || directory.link(&hash("l1")).is_none()).await;
    run(&database, "delete from dispatch.courier where id = 'c-1'").await;
    until(&directory, || directory.courier(&courier).is_none()).await;
    until(&directory, || directory.run_of(&courier).is_empty()).await;

    stop.cancel();
    running.await.expect("no panic").expect("stops");
    database.drop_database().await;
}

#[tokio::test]
async fn a_change_during_a_long_transaction_is_not_missed() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (sync, directory) = sync(&database, folder.path());
    let mut early = database.pool.begin().await.expect("begun");
    sqlx::raw_sql("insert into dispatch.courier (id) values ('early')")
        .execute(&mut *early)
        .await
        .expect("inserted, not yet committed");
    run(
        &database,
        "insert into dispatch.courier (id) values ('late')",
    )
    .await;
    sync.load_or_snapshot().await.expect("filled");
    let has = |id: &str| {
        directory
            .courier(&CourierId::try_from(id).expect("an id"))
            .is_some()
    };
    assert!(has("late") && !has("early"));
    early.commit().await.expect("committed");
    sync.load_or_snapshot().await.expect("looked again");
    assert!(
        has("early"),
        "its number is lower than that of what was read before it"
    );
    database.drop_database().await;
}

#[tokio::test]
async fn a_missing_device_is_found_and_a_revoked_one_is_not() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (sync, directory) = sync(&database, folder.path());
    sync.load_or_snapshot().await.expect("filled");
    run(&database, SOME).await;
    let found = sync
        .find_device(&hash("d1"))
        .await
        .expect("asked")
        .expect("found");
    assert_eq!(found.courier_id.as_str(), "c-1");
    assert!(
        directory.courier(&found.courier_id).is_some(),
        "its courier comes with it"
    );
    assert!(
        sync.knew_link(&hash("l2")).await.expect("asked"),
        "expired, but once a link"
    );
    assert!(!sync.knew_link(&hash("l3")).await.expect("asked"));
    run(&database, "update dispatch.device set revoked_at = now()").await;
    sync.refresh(&[(Table::Device, &found.id.to_string())])
        .await
        .expect("read again");
    assert_eq!(sync.find_device(&hash("d1")).await.expect("asked"), None);
    database.drop_database().await;
}

#[tokio::test]
async fn a_connection_that_is_cut_costs_no_change() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (sync, directory) = sync(&database, folder.path());
    sync.load_or_snapshot().await.expect("filled");
    let stop = CancellationToken::new();
    let running = tokio::spawn(sync.clone().run(stop.clone()));
    for n in 0..3 {
        // Cut whatever listens, then change something before it can listen again.
        run(
            &database,
            "select pg_terminate_backend(pid) from pg_stat_activity
              where datname = current_database() and pid <> pg_backend_pid()
                and query ilike 'listen%';
             insert into dispatch.courier (id) select 'c-' || count(*) from dispatch.courier",
        )
        .await;
        let id = CourierId::try_from(format!("c-{n}")).expect("an id");
        until(&directory, || directory.courier(&id).is_some()).await;
    }
    stop.cancel();
    running.await.expect("no panic").expect("stops");
    database.drop_database().await;
}

#[test]
fn a_completed_delivery_leaves_the_run_and_a_changed_sequence_moves_it() {
    let directory = Directory::new();
    let courier = CourierId::try_from("c").expect("an id");
    let delivery = |id: &str, sequence, status| {
        let position = crate::domain::Position::from_degrees(35.9, 14.5).expect("a position");
        let place = crate::domain::Place {
            position,
            label: None,
        };
        crate::domain::Delivery {
            id: DeliveryId::try_from(id).expect("an id"),
            courier_id: Some(courier.clone()),
            status,
            sequence,
            pickup: place.clone(),
            dropoff: place,
            window: None,
            timeline: Vec::new(),
            reference: None,
            tags: [].into(),
            version: 1,
        }
    };
    let ids = || {
        let run = directory.run_of(&courier);
        run.iter()
            .map(|d| d.id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    for (id, sequence) in [("b", 2), ("a", 2), ("c", 1)] {
        directory.put_delivery(delivery(id, sequence, DeliveryStatus::Assigned));
    }
    assert_eq!(ids(), ["c", "a", "b"]);
    directory.put_delivery(delivery("c", 3, DeliveryStatus::PickedUp));
    assert_eq!(ids(), ["a", "b", "c"]);
    directory.put_delivery(delivery("a", 2, DeliveryStatus::Delivered));
    assert_eq!(ids(), ["b", "c"]);
    let mut changes = directory.changes();
    directory.put_delivery(delivery("a", 2, DeliveryStatus::Delivered));
    assert!(changes.try_recv().is_err(), "what is as it was is not told");
    assert!(SystemClock.now_ms() > 0);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn processes_tell_each_other_who_is_watched() {
    let database = TestDatabase::create().await;
    let folder = tempfile::tempdir().expect("a folder");
    let (here, watching) = sync(&database, folder.path());
    let (there, taking) = sync(&database, folder.path());
    let stop = CancellationToken::new();
    let tasks = [here, there].map(|s| tokio::spawn(s.sharing_watched().run(stop.clone())));
    let now = UnixMs(SystemClock.now_ms());
    // More than one notification holds.
    let couriers: Vec<CourierId> = (0..400)
        .map(|n| CourierId::try_from(format!("courier-of-a-long-name-{n}")).expect("an id"))
        .collect();
    let told = async {
        while !couriers
            .iter()
            .all(|courier| taking.is_watched(courier, now))
        {
            // Said again and again while somebody watches.
            for courier in &couriers {
                watching.watch(courier.clone(), now.plus_ms(60_000), now);
            }
            tokio::time::sleep(Duration::from_millis(100)).await;
        }
    };
    tokio::time::timeout(PATIENCE, told)
        .await
        .expect("it is told");
    stop.cancel();
    for task in tasks {
        task.await.expect("no panic").expect("a clean end");
    }
    database.drop_database().await;
}
