//! Every fix once, whatever happens on the way.

use super::*;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn shuffled_late_and_repeated_uploads_are_stored_once() {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 5, 240) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    house.check_fixes().await;
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn members_that_crash_at_any_moment_lose_and_double_nothing() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let mut traffic = traffic(&mut rng, 6, 240).into_iter();
    let mut sinks = JoinSet::new();
    let stop = CancellationToken::new();
    for _ in 0..12 {
        // A member or two come, then all are killed: by a dropped task, or by Postgres.
        for _ in 0..rng.random_range(1..=2) {
            sinks.spawn(house.sink().run(stop.clone()));
        }
        for _ in 0..15 {
            if let Some((courier, fixes)) = traffic.next() {
                house.append(&courier, &fixes).await;
            }
        }
        tokio::time::sleep(Duration::from_millis(rng.random_range(0..120))).await;
        if rng.random_bool(0.5) {
            terminate_connections(&house).await;
        } else {
            sinks.shutdown().await;
        }
    }
    sinks.shutdown().await;
    for (courier, fixes) in traffic {
        house.append(&courier, &fixes).await;
    }
    house.drain(2).await;
    house.check_fixes().await;
    house.tear_down().await;
}

/// As `pg_ctl stop -m immediate` does to clients: every connection of the pool breaks.
async fn terminate_connections(house: &House) {
    sqlx::query(
        "select pg_terminate_backend(pid) from pg_stat_activity \
         where datname = current_database() and pid <> pg_backend_pid()",
    )
    .execute(&house.pool())
    .await
    .expect("terminated");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_emptied_database_is_filled_again_from_the_log() {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 3, 60) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    sqlx::raw_sql("truncate track_segment, stream_offset, analytics.mark")
        .execute(&house.pool())
        .await
        .expect("emptied");
    house.drain(1).await;
    house.check_fixes().await;
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn reading_again_from_the_start_finds_duplicates_only() {
    let mut rng = seeded();
    let mut house = House::build().await;
    for (courier, fixes) in traffic(&mut rng, 3, 120) {
        house.append(&courier, &fixes).await;
    }
    house.drain(1).await;
    sqlx::query("update stream_offset set next = 0")
        .execute(&house.pool())
        .await
        .expect("moved back");
    house.sent *= 2;
    house.drain(1).await;
    house.check_fixes().await;
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_cannot_be_stored_goes_to_quarantine_and_holds_up_nothing() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let fixes = way(&mut rng, 60);
    let half = fixes.len() / 2;
    house.append(&courier(0), &fixes[..half]).await;
    house
        .append_bytes("c-0", bytes::Bytes::from_static(b"\xffnonsense"))
        .await;
    house.append_bytes("not an id!", batch(&fixes[..2])).await;
    let old = Fix::new(NOW.plus_ms(-500 * 86_400_000), fixes[0].position);
    house.append_bytes("c-0", batch(&[old])).await;
    house.append(&courier(0), &fixes[half..]).await;
    house.drain(1).await;
    house.check_fixes().await;
    assert_eq!(house.quarantined().await, 3);
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fix_that_postgres_refuses_is_found_and_the_others_are_stored() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let fixes = way(&mut rng, 60);
    // Somebody has forbidden one instant by hand.
    let poison = fixes[7];
    super::super::days::ensure_day(
        &house.pool(),
        super::super::columns::Day::of(poison.fix_time),
    )
    .await
    .expect("a partition");
    sqlx::raw_sql(sqlx::AssertSqlSafe(format!(
        "alter table track_segment add constraint by_hand check \
         (not '{}'::timestamptz between segment_from and segment_to)",
        poison.fix_time
    )))
    .execute(&house.pool())
    .await
    .expect("altered");
    house.append(&courier(0), &fixes[..7]).await;
    house.append_bytes("c-0", batch(&[poison])).await;
    house.append(&courier(0), &fixes[8..]).await;
    house.append(&courier(1), &fixes[..7]).await;
    house.drain(1).await;
    house.check_fixes().await;
    assert_eq!(house.quarantined().await, 1);
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_table_altered_by_hand_stops_the_sink_and_nothing_is_skipped() {
    let mut rng = seeded();
    let mut house = House::build().await;
    sqlx::raw_sql("alter table track_segment rename column lat_e7 to latitude")
        .execute(&house.pool())
        .await
        .expect("altered");
    for (courier, fixes) in traffic(&mut rng, 2, 20) {
        house.append(&courier, &fixes).await;
    }
    let stop = CancellationToken::new();
    let sink = tokio::spawn(house.sink().run(stop.clone()));
    let held_up = async {
        while sqlx::query_scalar::<_, i64>("select count(*) from stream_offset")
            .fetch_one(&house.pool())
            .await
            .expect("offsets")
            < i64::from(PARTITIONS)
        {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    held_up.await;
    assert!(!house.is_drained().await);
    sqlx::raw_sql("alter table track_segment rename column latitude to lat_e7")
        .execute(&house.pool())
        .await
        .expect("put right");
    house.wait_until_drained().await;
    stop.cancel();
    sink.await.expect("no panic").expect("a clean end");
    house.check_fixes().await;
    assert_eq!(house.quarantined().await, 0);
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_beyond_the_logs_end_is_pulled_back_and_everything_read_again() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let fixes = way(&mut rng, 30);
    house.append(&courier(0), &fixes[..5]).await;
    house.drain(1).await;
    sqlx::query("update stream_offset set next = next + 1000 where part = $1")
        .bind(partition_of(&courier(0)).0.cast_signed())
        .execute(&house.pool())
        .await
        .expect("moved");
    house.sent += 5;
    let stop = CancellationToken::new();
    let sink = tokio::spawn(house.sink().run(stop.clone()));
    house.wait_until_drained().await;
    house.append(&courier(0), &fixes[5..]).await;
    house.wait_until_drained().await;
    stop.cancel();
    sink.await.expect("no panic").expect("a clean end");
    house.check_fixes().await;
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_offset_beyond_a_log_that_has_grown_past_it_since_loses_nothing() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let fixes = way(&mut rng, 30);
    house.append(&courier(0), &fixes[..5]).await;
    house.drain(1).await;
    sqlx::query("update stream_offset set next = next + 1 where part = $1")
        .bind(partition_of(&courier(0)).0.cast_signed())
        .execute(&house.pool())
        .await
        .expect("moved");
    // A process that starts, and while Postgres is away appends more than lies between.
    house.open_log_again().await;
    house.append(&courier(0), &fixes[5..10]).await;
    house.append(&courier(0), &fixes[10..20]).await;
    house.append(&courier(0), &fixes[20..]).await;
    house.drain(1).await;
    house.check_fixes().await;
    house.tear_down().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_member_that_gets_a_partition_back_does_not_believe_what_it_knew_of_it() {
    let mut rng = seeded();
    let mut house = House::build().await;
    let couriers: Vec<CourierId> = (0..8).map(courier).collect();
    let ways: Vec<Vec<Fix>> = couriers.iter().map(|_| way(&mut rng, 30)).collect();
    let stop = CancellationToken::new();
    let first = tokio::spawn(house.sink().run(stop.clone()));
    for (courier, fixes) in couriers.iter().zip(&ways) {
        house.append(courier, &fixes[..20]).await;
    }
    house.wait_until_drained().await;
    let stop_second = CancellationToken::new();
    let second = tokio::spawn(house.sink().run(stop_second.clone()));
    house.wait_for_owners(2).await;
    for (courier, fixes) in couriers.iter().zip(&ways) {
        house.append(courier, &fixes[20..40]).await;
    }
    house.wait_until_drained().await;
    stop_second.cancel();
    second.await.expect("no panic").expect("a clean end");
    house.wait_for_owners(1).await;
    // Sent again by phones that did not hear that it had arrived.
    for (courier, fixes) in couriers.iter().zip(&ways) {
        house.append(courier, &fixes[20..40]).await;
    }
    house.wait_until_drained().await;
    stop.cancel();
    first.await.expect("no panic").expect("a clean end");
    house.check_fixes().await;
    house.tear_down().await;
}

fn batch(fixes: &[Fix]) -> bytes::Bytes {
    let batch = FixBatch {
        received_at: NOW,
        fixes: fixes.to_vec(),
        sos: false,
    };
    batch.encode()
}
