//! What a 200 means, and what a phone learns by it.

use std::io::Write;

use super::*;

#[tokio::test]
async fn what_is_accepted_is_in_the_log_with_all_that_was_sent() {
    let server = Server::start().await;
    let token = server.device("c-17");
    let body = r#"{"fix_time":"2026-11-18T13:33:20.123Z","lat":35.9,"lon":14.5,"accuracy_m":5,
        "speed_mps":4.2,"heading_deg":270,"altitude_m":30,"battery_pct":88}"#;
    assert_eq!(server.post(&token, body).await.counts(), (1, 0, 0));
    let stored = server.stored().await;
    let [(courier, batch)] = &stored[..] else {
        panic!("{stored:?}")
    };
    assert_eq!(courier, "c-17");
    assert_eq!(batch.received_at.0, NOW_MS);
    let fix = batch.fixes[0];
    assert_eq!(
        (fix.position.lat_e7(), fix.position.lon_e7()),
        (359_000_000, 145_000_000)
    );
    assert_eq!((fix.accuracy_m, fix.speed_mps), (Some(5.0), Some(4.2)));
    assert_eq!((fix.heading_deg, fix.altitude_m), (Some(270.0), Some(30.0)));
    assert_eq!(fix.battery_pct, Some(88));
}

#[tokio::test]
async fn the_ledger_of_a_mixed_upload_adds_up() {
    let server = Server::start().await;
    let token = server.device("c-1");
    server.post(&token, &fixes([NOW_MS])).await;
    let bad = r#"{"fix_time":1,"lat":1,"lon":2},{"lat":1},"x""#;
    let body = format!(
        "[{},{bad},{},{}]",
        fix(NOW_MS),
        fix(NOW_MS + 1),
        fix(NOW_MS + 1)
    );
    let reply = server.post(&token, &body).await;
    assert_eq!(reply.counts(), (1, 2, 3));
    let json = reply.json();
    let indexes: Vec<u64> = json["quarantined"]
        .as_array()
        .expect("a list")
        .iter()
        .map(|q| q["index"].as_u64().expect("an index"))
        .collect();
    assert_eq!(indexes, [1, 2, 3]);
    assert_eq!(server.stored_times("c-1").await, [NOW_MS, NOW_MS + 1]);
    let quarantined = server.quarantined().await;
    assert_eq!(quarantined.len(), 3);
    assert_eq!(
        quarantined[0].1.reason,
        "the time of the fix is before the year 2000"
    );
    assert_eq!(
        &quarantined[0].1.raw[..],
        br#"{"fix_time":1,"lat":1,"lon":2}"#
    );
}

#[tokio::test]
async fn a_thousand_fixes_are_one_record_and_compressed_bodies_are_read() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let body = fixes((0..1000).map(|i| NOW_MS - i));
    let mut gzip = flate2::write::GzEncoder::new(Vec::new(), flate2::Compression::fast());
    gzip.write_all(body.as_bytes()).expect("written");
    let gzip = gzip.finish().expect("finished");
    let request = Request::native(&token)
        .header("Content-Encoding", "gzip")
        .body(&gzip);
    assert_eq!(server.send(request).await.counts(), (1000, 0, 0));
    assert_eq!(server.stored().await.len(), 1);
    let zstd = zstd::stream::encode_all(body.as_bytes(), 1).expect("compressed");
    let request = Request::native(&token)
        .header("Content-Encoding", "zstd")
        .body(&zstd);
    assert_eq!(server.send(request).await.counts(), (0, 1000, 0));
}

#[tokio::test]
async fn off_duty_fixes_are_counted_and_not_stored_but_an_alarm_is_heard() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let id = CourierId::try_from("c-1").expect("an id");
    let courier = server.directory.courier(&id).expect("known");
    server.directory.put_courier(Courier {
        on_duty: false,
        ..(*courier).clone()
    });
    let reply = server.post(&token, &format!("[{},7]", fix(NOW_MS))).await;
    assert_eq!(reply.counts(), (0, 0, 0));
    assert_eq!(reply.json()["off_duty"], 2);
    assert!(server.stored().await.is_empty() && server.quarantined().await.is_empty());

    let alarm = format!("/osmand?id={token}&lat=35.9&lon=14.5&alarm=sos");
    assert_eq!(server.send(Request::new("GET", &alarm)).await.status, 200);
    let stored = server.stored().await;
    assert!(stored.len() == 1 && stored[0].1.sos && stored[0].1.fixes.is_empty());
}

#[tokio::test]
async fn the_answer_advises_how_often_to_send() {
    let server = Server::start().await;
    let token = server.device("c-1");
    let config = Config::defaults().expect("defaults").ingest;
    let next = server.post(&token, &fix(NOW_MS)).await.json()["next"].clone();
    assert_eq!(next["interval_s"], config.interval_idle_s);
    assert_eq!(next["min_distance_m"], config.min_distance_idle_m);
    let id = CourierId::try_from("c-1").expect("an id");
    let now = crate::domain::UnixMs(NOW_MS);
    server.directory.watch(id, now.plus_ms(10_000), now);
    let next = server.post(&token, &fix(NOW_MS + 1)).await.json()["next"].clone();
    assert_eq!(next["interval_s"], config.interval_fast_s);
}

#[tokio::test]
async fn an_admin_pages_through_the_quarantine_and_nobody_else() {
    let server = Server::start().await;
    let token = server.device("c-1");
    for time in 0..5 {
        server.post(&token, &fix(time)).await;
    }
    let page = |target: String| {
        let key = format!("Bearer {ADMIN_KEY}");
        server.send(Request::new("GET", &target).header("Authorization", &key))
    };
    let first = page("/v1/quarantine?limit=3".into()).await.json();
    let raws = |page: &Value| -> Vec<String> {
        let items = page["items"].as_array().expect("a list");
        items
            .iter()
            .map(|i| i["raw"].as_str().expect("text").to_owned())
            .collect()
    };
    assert_eq!(raws(&first), [fix(4), fix(3), fix(2)]);
    assert_eq!(first["items"][0]["courier_id"], "c-1");
    assert_eq!(first["items"][0]["format"], "native");
    let cursor = first["next_cursor"].as_str().expect("a cursor");
    let second = page(format!("/v1/quarantine?limit=3&cursor={cursor}"))
        .await
        .json();
    assert_eq!(raws(&second), [fix(1), fix(0)]);
    assert!(second["next_cursor"].is_null());

    assert_eq!(page("/v1/quarantine?cursor=x".into()).await.status, 400);
    let stranger = server.send(Request::new("GET", "/v1/quarantine")).await;
    assert_eq!(stranger.status, 401);
    let phone =
        Request::new("GET", "/v1/quarantine").header("Authorization", &format!("Bearer {token}"));
    assert_eq!(server.send(phone).await.status, 401);
}

#[tokio::test]
async fn a_log_that_stopped_refuses_and_stores_nothing() {
    let server = Server::start().await;
    let token = server.device("c-1");
    server.log.close().await.expect("closes");
    let reply = server.post(&token, &fix(NOW_MS)).await;
    assert_eq!(reply.status, 503, "{reply:?}");
    assert!(reply.head.contains("retry-after: "), "{reply:?}");
    assert!(reply.head.contains("application/problem+json"));
    // A phone app is told to come back as well: this is load, not a bad fix.
    let query = format!("/osmand?id={token}&lat=35.9&lon=14.5");
    assert_eq!(server.send(Request::new("GET", &query)).await.status, 503);
}

#[tokio::test]
async fn more_uploads_in_flight_than_allowed_are_told_to_come_back() {
    let mut setup = Setup::default();
    setup.config.max_in_flight = 1;
    setup.min_sync_interval = Duration::from_millis(300);
    let server = Server::with(setup).await;
    let token = server.device("c-1");
    let posts = (0..8).map(|i| {
        let request = Request::native(&token).body(fix(NOW_MS + i));
        let address = server.address;
        async move { request.send(address).await }
    });
    let replies = futures_util::future::join_all(posts).await;
    let taken = replies.iter().filter(|r| r.status == 200).count();
    let refused: Vec<&Reply> = replies.iter().filter(|r| r.status == 503).collect();
    assert_eq!(taken + refused.len(), 8, "{replies:?}");
    assert!(taken >= 1 && !refused.is_empty(), "{replies:?}");
    assert!(refused.iter().all(|r| r.head.contains("retry-after: 1")));
    assert_eq!(server.stored_times("c-1").await.len(), taken);
}
