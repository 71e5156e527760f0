//! Couriers keep their order: through an hour without a receiver, refusals, kills, a second process.

use super::*;

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
