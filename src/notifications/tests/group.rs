//! The whole slice: from the log to the receiver.

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};

use super::fixture::{count, eventually, insert_webhook, now, upload};
use super::receiver::{Behaviour, Receiver};
use super::world::{PARTITIONS, World, way};
use crate::domain::FixBatch;
use crate::stream::{Log, TOPIC_DELIVERY_LOCATION, partition_for_key};

#[tokio::test]
async fn from_the_log_to_the_receiver_in_order_and_once() {
    let start = now().plus_ms(-100_000);
    let world = World::new(1, start).await;
    let receiver = Receiver::start(Behaviour::Status(200)).await;
    insert_webhook(&world.database.pool, &receiver.url()).await;
    let running = world.start();
    for step in 0..15 {
        world
            .append(0, &upload(start.plus_ms(step * 5_000), way(step)))
            .await;
    }
    let alarm = FixBatch {
        received_at: now(),
        fixes: vec![],
        sos: true,
    };
    world.append(0, &alarm).await;
    eventually("three calls", || async {
        (receiver.accepted().len() == 3).then_some(())
    })
    .await;
    running.stop().await;
    let calls = receiver.calls();
    let kinds: Vec<_> = calls.iter().map(|c| c.json()["type"].clone()).collect();
    assert_eq!(
        kinds,
        ["delivery.approaching", "delivery.arrived", "courier.sos"]
    );
    let data = &calls[1].json()["data"];
    assert_eq!(data["delivery_id"], "d-0");
    assert_eq!(data["evidence"]["rule"], "arrived");
    assert!(data["position"]["lat"].is_f64());
    let next = "select sum(next)::bigint from public.stream_offset where grp = 'notifications'";
    assert_eq!(count(&world.database.pool, next).await, 16);
    world.end().await;
}

#[tokio::test]
async fn killed_at_random_it_tells_everything_once() {
    let seed: u64 = std::env::var("WAYLOG_SEED")
        .ok()
        .and_then(|s| s.parse().ok())
        .unwrap_or(5);
    println!("WAYLOG_SEED={seed}");
    let mut rng = StdRng::seed_from_u64(seed);
    const COURIERS: usize = 12;
    let start = now().plus_ms(-100_000);
    let world = World::new(COURIERS, start).await;
    let mut running = world.start();
    for step in 0..15 {
        for n in 0..COURIERS {
            world
                .append(n, &upload(start.plus_ms(step * 5_000), way(step)))
                .await;
            if rng.random_ratio(1, 12) {
                let enough = world.events().await + rng.random_range(0..2);
                let expected = if step < 8 { 0 } else { enough };
                eventually("some events", || async {
                    (world.events().await >= expected.min(COURIERS as i64)).then_some(())
                })
                .await;
                running.kill().await;
                running = world.start();
            }
        }
    }
    eventually("all events", || async {
        (world.events().await == 2 * COURIERS as i64).then_some(())
    })
    .await;
    running.stop().await;
    let once = "select count(distinct (type, delivery_id)) from public.event
                 where type in ('delivery.approaching', 'delivery.arrived')";
    assert_eq!(
        count(&world.database.pool, once).await,
        2 * COURIERS as i64,
        "seed {seed}"
    );
    assert_eq!(world.events().await, 2 * COURIERS as i64, "seed {seed}");
    let ordered = "select count(*) from public.event a join public.event b using (delivery_id)
                    where a.type = 'delivery.approaching' and b.type = 'delivery.arrived'
                      and a.id < b.id and a.at <= b.at";
    assert_eq!(count(&world.database.pool, ordered).await, COURIERS as i64);
    world.end().await;
}

#[tokio::test]
async fn a_new_group_begins_with_what_is_not_stale() {
    let long_ago = now().plus_ms(-3 * 3_600_000);
    let world = World::new(1, long_ago).await;
    for step in 0..15 {
        world
            .append(0, &upload(long_ago.plus_ms(step * 5_000), way(step)))
            .await;
    }
    let alarm = FixBatch {
        received_at: now(),
        fixes: vec![],
        sos: true,
    };
    world.append(0, &alarm).await;
    let running = world.start();
    eventually("the alarm", || async {
        (world.events().await > 0).then_some(())
    })
    .await;
    running.stop().await;
    let told = "select count(*) from public.event where type = 'courier.sos'";
    assert_eq!(
        (
            count(&world.database.pool, told).await,
            world.events().await
        ),
        (1, 1)
    );
    world.end().await;
}

#[tokio::test]
async fn an_offset_beyond_the_end_of_the_log_is_put_right() {
    let start = now().plus_ms(-100_000);
    let world = World::new(1, start).await;
    let stream = world
        .log
        .stream_id(TOPIC_DELIVERY_LOCATION)
        .expect("a name");
    for part in 0..PARTITIONS {
        sqlx::query(
            "insert into public.stream_offset (grp, stream_id, part, next)
             values ('notifications', $1, $2, 1000000)",
        )
        .bind(&stream)
        .bind(i32::try_from(part).expect("small"))
        .execute(&world.database.pool)
        .await
        .expect("stored");
    }
    let running = world.start();
    eventually("the group to have looked", || async {
        let groups = world.log.groups().await.expect("groups");
        groups
            .iter()
            .any(|g| g.group == "notifications" && g.members == 1)
            .then_some(())
    })
    .await;
    let key = partition_for_key(b"c-0", PARTITIONS);
    eventually("an event from after the end", || async {
        let alarm = FixBatch {
            received_at: now(),
            fixes: vec![],
            sos: true,
        };
        world.append(0, &alarm).await;
        (world.events().await > 0).then_some(())
    })
    .await;
    running.stop().await;
    let next = "select min(next) from public.stream_offset where grp = 'notifications'";
    let next = count(&world.database.pool, next).await;
    assert!(next < 1_000_000, "partition {key} stands at {next}");
    world.end().await;
}
