//! Nothing doubled: re-sent uploads, also while the first is on its way, and over restarts.

use super::*;
use crate::domain::{Fix, Position, UnixMs};
use crate::ingest::admission::Sender;
use crate::ingest::formats::{Format, Upload};

#[tokio::test]
async fn a_resent_upload_changes_nothing_also_over_a_restart() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let body = fixes((0..100).map(|i| NOW_MS - i * 1000));
    assert_eq!(server.post(&token, &body).await.counts(), (100, 0, 0));
    assert_eq!(server.post(&token, &body).await.counts(), (0, 100, 0));
    // Late and out of order, some new: only those are stored.
    let mixed = fixes((0..10).rev().map(|i| NOW_MS - i * 500));
    assert_eq!(server.post(&token, &mixed).await.counts(), (5, 5, 0));

    let server = Server::on(server.shut_down().await, Setup::default()).await;
    let token = server.device("c-1");
    assert_eq!(server.post(&token, &body).await.counts(), (0, 100, 0));
    assert_eq!(server.post(&token, &mixed).await.counts(), (0, 10, 0));
    assert_eq!(server.stored_times("c-1").await.len(), 105);
}

#[tokio::test]
async fn the_end_of_a_longer_log_is_known_after_a_restart() {
    let server = Server::start().await;
    let tokens: Vec<String> = (0..5).map(|i| server.device(&format!("c-{i}"))).collect();
    let upload = |round: i64| fixes((0..20).map(|i| NOW_MS - 1_000_000 + round * 20 + i));
    for round in 0..60 {
        for token in &tokens {
            assert_eq!(
                server.post(token, &upload(round)).await.counts(),
                (20, 0, 0)
            );
        }
    }
    let server = Server::on(server.shut_down().await, Setup::default()).await;
    for i in 0..5 {
        let token = server.device(&format!("c-{i}"));
        for round in [0, 31, 59] {
            assert_eq!(
                server.post(&token, &upload(round)).await.counts(),
                (0, 20, 0)
            );
        }
    }
}

#[tokio::test]
async fn the_same_instant_of_two_couriers_is_two_fixes() {
    let server = Server::start().await;
    for courier in ["c-1", "c-2"] {
        let token = server.device(courier);
        assert_eq!(server.post(&token, &fix(NOW_MS)).await.counts(), (1, 0, 0));
    }
}

#[tokio::test]
async fn many_at_once_store_each_fix_once() {
    let setup = Setup {
        min_sync_interval: Duration::from_millis(50),
        ..Setup::default()
    };
    let server = Server::with(setup).await;
    let token = server.device("c-1");
    let bodies = (0..40_i64).map(|i| fixes((0..10).map(|j| NOW_MS + (i % 8) * 5 + j)));
    let posts = bodies.map(|body| {
        let request = Request::native(&token).body(body);
        let address = server.address;
        async move { request.send(address).await.counts() }
    });
    let counts = futures_util::future::join_all(posts).await;
    let accepted: u64 = counts.iter().map(|c| c.0).sum();
    let duplicate: u64 = counts.iter().map(|c| c.1).sum();
    assert_eq!((accepted, duplicate), (45, 355));
    let expected: Vec<i64> = (0..45).map(|i| NOW_MS + i).collect();
    assert_eq!(server.stored_times("c-1").await, expected);
}

/// A phone whose connection breaks after the upload was begun sends it again: it must find it there.
#[tokio::test]
async fn an_upload_that_was_given_up_by_its_phone_is_finished_and_known() {
    let setup = Setup {
        min_sync_interval: Duration::from_millis(200),
        ..Setup::default()
    };
    let server = Server::with(setup).await;
    server.device("c-1");
    let sender = Sender {
        courier: CourierId::try_from("c-1").expect("an id"),
        on_duty: true,
        received_at: UnixMs(NOW_MS),
        format: Format::Native,
    };
    let upload = || {
        let place = Position::from_degrees(35.9, 14.5).expect("a place");
        Upload {
            fixes: vec![Fix::new(UnixMs(NOW_MS), place)],
            ..Upload::default()
        }
    };
    let admission = &server.ingest.0.admission;
    // Two, so that the second waits for a sync, whenever that of the first is.
    let first = admission
        .admit(sender.clone(), upload())
        .await
        .expect("admitted");
    assert_eq!(first.accepted, 1);
    let later = |ms| {
        let mut upload = upload();
        upload.fixes[0].fix_time = UnixMs(NOW_MS + ms);
        upload
    };
    let mut given_up = Box::pin(admission.admit(sender.clone(), later(1)));
    assert!(futures_util::poll!(&mut given_up).is_pending());
    drop(given_up);
    let again = admission
        .admit(sender.clone(), later(1))
        .await
        .expect("admitted");
    assert_eq!((again.accepted, again.duplicate), (0, 1));
    assert_eq!(server.stored_times("c-1").await, [NOW_MS, NOW_MS + 1]);
    admission.finish().await;
    assert_eq!(admission.in_flight(), 0);
}

#[tokio::test]
async fn a_retry_whose_first_failed_is_refused_too() {
    let setup = Setup {
        min_sync_interval: Duration::from_millis(200),
        ..Setup::default()
    };
    let server = Server::with(setup).await;
    let id = CourierId::try_from("c-1").expect("an id");
    let token = server.device("c-1");
    let place = Position::from_degrees(35.9, 14.5).expect("a place");
    let mut fixes = vec![Fix::new(UnixMs(NOW_MS), place)];
    // An upload that is on its way and never lands.
    let lost = server.ingest.0.dedupe.reserve(&id, &mut fixes);
    let request = Request::native(&token).body(fix(NOW_MS));
    let address = server.address;
    let retry = tokio::spawn(async move { request.send(address).await });
    while server.ingest.0.admission.in_flight() == 0 {
        tokio::task::yield_now().await;
    }
    drop(lost);
    assert_eq!(retry.await.expect("no panic").status, 503);
    assert_eq!(server.post(&token, &fix(NOW_MS)).await.counts(), (1, 0, 0));
}

#[tokio::test]
async fn what_is_older_than_is_remembered_is_accepted_again_for_the_sink_to_decide() {
    let mut setup = Setup::default();
    setup.config.dedupe_mib = 1;
    let server = Server::with(setup).await;
    let old = server.device("c-old");
    assert_eq!(
        server.post(&old, &fix(NOW_MS - 1)).await.counts(),
        (1, 0, 0)
    );
    // Far more couriers than a mebibyte remembers.
    let dedupe = &server.ingest.0.dedupe;
    for i in 0..40_000 {
        dedupe.remember(&format!("c-{i}"), &[NOW_MS + i]);
    }
    assert!(dedupe.bytes() <= 1 << 20);
    assert_eq!(
        server.post(&old, &fix(NOW_MS - 1)).await.counts(),
        (1, 0, 0)
    );
}
