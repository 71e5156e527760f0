//! Merging, retention and erasure: what they change, and what they must not.

use super::*;
use crate::analytics::columns::Day;
use crate::analytics::days::{stored_days, table_of};
use crate::analytics::upkeep::Upkeep;

impl House {
    pub(super) fn upkeep(&self) -> Upkeep {
        let mut upkeep = Upkeep::new(&self.config, self.clock.clone(), self.pool());
        upkeep.quiet_s = 0.0;
        upkeep
    }

    pub(super) async fn count(&self, sql: &'static str) -> i64 {
        sqlx::query_scalar(sql)
            .fetch_one(&self.pool())
            .await
            .expect("a count")
    }
}

const SEGMENTS: &str = "select count(*) from track_segment";

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn merging_makes_segments_fewer_and_changes_no_fix() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let traffic = traffic(&mut rng, 3, 180);
    for part in traffic.chunks(traffic.len().div_ceil(8)) {
        for (courier, fixes) in part {
            house.append(courier, fixes).await;
        }
        house.drain(1).await;
    }
    house.derive_all().await;
    let before = house.count(SEGMENTS).await;
    house.clock.advance(48 * 3_600_000);
    house.upkeep().round().await.expect("a round");
    house.check_fixes().await;
    let after = house.count(SEGMENTS).await;
    // As many as each courier's hours need, and no more.
    let needed = house
        .count(
            "select sum(ceil(n / 490.0))::bigint from (select count(*) as n from fix \
             group by courier_id, date_trunc('hour', segment_from)) h",
        )
        .await;
    assert!(after < before, "{before} segments before, {after} after");
    assert_eq!(after, needed);
    let bounds = house
        .count(
            "select count(*) from track_segment s where fixes <> cardinality(fix_time_ms) \
                or segment_from <> (select min(fix_time) from fix f where f.courier_id = s.courier_id \
                    and f.segment_to = s.segment_to) \
                or lat_max <> (select max(lat) from fix f where f.courier_id = s.courier_id \
                    and f.segment_to = s.segment_to)",
        )
        .await;
    assert_eq!(bounds, 0);
    assert_eq!(
        house.count("select count(*) from analytics.unmerged").await,
        0
    );

    // What comes again is still known, and what is late still finds its place.
    house.sent *= 2;
    sqlx::query("update stream_offset set next = 0")
        .execute(&house.pool())
        .await
        .expect("moved back");
    house.drain(1).await;
    house.check_fixes().await;
    assert_eq!(house.count(SEGMENTS).await, after);
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_open_select_keeps_a_day_but_never_stops_the_sink() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let fixes = way(&mut rng, 60);
    house.append(&courier(0), &fixes[..20]).await;
    house.drain(1).await;
    let old = stored_days(&house.pool()).await.expect("days");
    let mut reading = house.pool().begin().await.expect("a transaction");
    let seen: i64 = sqlx::query_scalar(SEGMENTS)
        .fetch_one(&mut *reading)
        .await
        .expect("a count");
    assert!(seen > 0);

    // 401 days later the days are past the retention, and the SELECT is still open: however often they
    // cannot be dropped, what comes is stored all the while.
    house.clock.advance(401 * 86_400_000);
    let now = UnixMs(house.clock.now_ms());
    let stop = CancellationToken::new();
    let sink = tokio::spawn(house.sink().run(stop.clone()));
    for n in 0..10 {
        let mut new = fixes[30];
        new.fix_time = now.plus_ms(n);
        let upkeep = house.upkeep();
        let (dropped, ()) = tokio::join!(upkeep.round(), async {
            house.append(&courier(0), &[new]).await;
            house.wait_until_drained().await;
        });
        dropped.expect("a round");
    }
    stop.cancel();
    sink.await.expect("no panic").expect("a clean end");
    let kept = stored_days(&house.pool()).await.expect("days");
    assert!(old.iter().all(|day| kept.contains(day)));
    assert_eq!(house.count("select count(*) from fix").await, 30);

    reading.rollback().await.expect("closed");
    house.upkeep().round().await.expect("a round");
    let kept = stored_days(&house.pool()).await.expect("days");
    assert!(old.iter().all(|day| !kept.contains(day)));
    assert!(kept.contains(&Day::of(now)) && kept.contains(&Day::of(now).plus(2)));
    assert_eq!(house.count("select count(*) from fix").await, 10);
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_day_that_is_over_is_compacted_once() {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 2, 60) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    house.derive_all().await;
    house.clock.advance(72 * 3_600_000);
    let first = stored_days(&house.pool()).await.expect("days")[0];
    let file = format!("select pg_relation_filenode('{}')::bigint", table_of(first));
    let file = || async {
        sqlx::query_scalar::<_, i64>(sqlx::AssertSqlSafe(file.clone()))
            .fetch_one(&house.pool())
            .await
            .expect("a file")
    };
    let before = file().await;
    house.upkeep().round().await.expect("a round");
    let after = file().await;
    assert_ne!(before, after);
    house.upkeep().round().await.expect("a round");
    assert_eq!(after, file().await);
    house.check_fixes().await;
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn erased_data_goes_and_does_not_come_back_by_reading_again() {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 2, 120) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    house.derive_all().await;
    house.clock.advance(1_000);
    let before = UnixMs(house.clock.now_ms());
    sqlx::query("insert into dispatch.erased (courier_id, before_received_at) values ('c-0', $1)")
        .bind(before.to_datetime())
        .execute(&house.pool())
        .await
        .expect("erased");
    house.directory.put_erased(courier(0), Some(before));
    let of_erased = "select (select count(*) from fix where courier_id = 'c-0') \
        + (select count(*) from trip where courier_id = 'c-0') \
        + (select count(*) from stop where courier_id = 'c-0') \
        + (select count(*) from analytics.heat_share where courier_id = 'c-0')";
    assert_eq!(house.count(of_erased).await, 0, "in the very transaction");
    let lock = "select count(*) from pg_proc where proname = 'erase' \
        and position('8602290269886808065' in prosrc) > 0";
    assert_eq!(house.count(lock).await, 1);
    assert_eq!(
        crate::advisory_lock::AdvisoryLock::Derive.key(),
        8_602_290_269_886_808_065
    );
    // A flush that was on its way then is found a little later.
    sqlx::query(
        "insert into track_segment \
         select (jsonb_populate_record(t, '{\"courier_id\": \"c-0\"}')).* \
           from track_segment t limit 1",
    )
    .execute(&house.pool())
    .await
    .expect("written late");
    assert!(house.count(of_erased).await > 0);
    house.upkeep().round().await.expect("a round");
    assert_eq!(house.count(of_erased).await, 0);
    house.expected.retain(|(id, _), _| *id != courier(0));

    // Read everything again: the other's are duplicates, the erased ones are dropped.
    sqlx::query("update stream_offset set next = 0")
        .execute(&house.pool())
        .await
        .expect("moved back");
    house.drain(1).await;
    assert_eq!(house.count(of_erased).await, 0);
    // What is received after the erasure is kept.
    house.clock.advance(1_000);
    let later = way(&mut rng, 30);
    house.append(&courier(0), &later[..30]).await;
    house.drain(1).await;
    house.derive_all().await;
    let stored = house.count("select count(*) from fix").await;
    assert_eq!(stored, house.expected.len() as i64);
    super::trips::check_derived(&house).await;
    house.tear_down().await;
}
