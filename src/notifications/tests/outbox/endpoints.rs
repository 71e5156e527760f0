//! Where webhooks may go, and what they are signed with.

use super::*;

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
