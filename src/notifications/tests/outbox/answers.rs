//! What an answer, or none, makes of an event.

use super::*;

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
