//! Scenarios of the customer channel, over real sockets and the real log.

use futures_util::StreamExt;
use serde_json::json;
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::domain::DeliveryStatus::{Arrived, Assigned, Delivered, PickedUp};
use crate::domain::geo::destination;
use crate::domain::{Delivery, Position};
use crate::live_map::test_kit::{Counted, Rig, T0, at, courier_id, delivery, stepped, upload};

fn door() -> Position {
    at(35.90, 14.50)
}

/// `d-1` of `c-1`, picked up at the start.
fn under_way() -> Delivery {
    let assigned = stepped(
        delivery("d-1", Some("c-1"), 1, door()),
        Assigned,
        T0.plus_ms(-60_000),
    );
    stepped(assigned, PickedUp, T0)
}

async fn rig_under_way() -> (Rig, String) {
    let mut rig = Rig::start().await;
    rig.put_courier("c-1");
    rig.directory.put_delivery(under_way());
    let (_, token) = rig.put_link("d-1");
    (rig, token)
}

#[tokio::test]
async fn the_customer_sees_the_courier_from_pick_up_to_the_door() {
    let mut rig = Rig::start().await;
    rig.put_courier("c-1");
    let assigned = stepped(delivery("d-1", Some("c-1"), 1, door()), Assigned, T0);
    rig.directory.put_delivery(assigned.clone());
    let (_, token) = rig.put_link("d-1");
    let start = destination(door(), 270.0, 3_000.0);
    rig.fix("c-1", start).await;
    rig.until(|live| live.state().len() == 1).await;

    let mut customer = rig.customer(&token).await;
    let snapshot = customer.json().await;
    assert_eq!(snapshot["type"], "snapshot");
    assert_eq!(snapshot["why_hidden"], "not_started");
    assert_eq!(
        (&snapshot["position"], &snapshot["path"]),
        (&json!(null), &json!(null))
    );
    assert_eq!(snapshot["courier"]["name"], "Courier c-1");
    assert_eq!(snapshot["brand"]["name"], "Waylog");

    rig.clock.advance(1_000);
    let picked_up = stepped(assigned, PickedUp, rig.now());
    rig.directory.put_delivery(picked_up.clone());
    let status = customer.json().await;
    assert_eq!(
        (&status["type"], &status["status"]),
        (&json!("status"), &json!("picked_up"))
    );

    // The fix from before the pick-up stays hidden; the first one after it opens the way.
    rig.clock.advance(1_000);
    let next = destination(start, 90.0, 100.0);
    rig.fix("c-1", next).await;
    let opened = customer.json_of("snapshot").await;
    assert_eq!(opened["why_hidden"], json!(null));
    assert!((opened["position"]["lon"].as_f64().expect("lon") - next.lon()).abs() < 1e-9);
    assert_eq!(
        opened["path"].as_array().expect("a path").len(),
        1,
        "{opened}"
    );
    assert!(opened["eta"]["to"].is_string());

    rig.clock.advance(1_000);
    let nearer = destination(start, 90.0, 200.0);
    rig.fix("c-1", nearer).await;
    let fix = customer.json_of("fix").await;
    assert!((fix["lon"].as_f64().expect("lon") - nearer.lon()).abs() < 1e-9);
    assert!(fix["seq"].as_u64() > opened["seq"].as_u64());

    let arrived = stepped(picked_up, Arrived, rig.now());
    rig.directory.put_delivery(arrived.clone());
    assert_eq!(customer.json_of("status").await["status"], "arrived");
    rig.directory
        .put_delivery(stepped(arrived, Delivered, rig.now()));
    assert_eq!(customer.json_of("status").await["status"], "delivered");
    assert_eq!(customer.json_of("hidden").await["why"], "finished");

    // Nothing is told of where the courier goes from here.
    rig.clock.advance(5_000);
    rig.fix("c-1", destination(door(), 0.0, 500.0)).await;
    rig.until(|live| {
        live.state()
            .get(&courier_id("c-1"))
            .is_some_and(|l| l.fix.fix_time > T0.plus_ms(7_000))
    })
    .await;
    let (status, polled) = rig.request("GET", "/v1/track", &token).await;
    assert_eq!((status, &polled["why_hidden"]), (200, &json!("finished")));
    assert_eq!(polled["position"], json!(null));

    // After the grace the socket closes and HTTP says that it is gone.
    rig.clock.advance(600_000);
    rig.live.tracks().wake_all();
    assert_eq!(customer.closed().await.0, 4010);
    assert_eq!(rig.request("GET", "/v1/track", &token).await.0, 410);
    assert_eq!(rig.request("GET", "/v1/track/events", &token).await.0, 410);
    rig.stopped().await;
}

#[tokio::test]
async fn at_another_customers_stop_the_courier_is_hidden_until_mine_is_next() {
    let (mut rig, _) = rig_under_way().await;
    let other_door = destination(door(), 180.0, 5_000.0);
    let other = stepped(delivery("d-0", Some("c-1"), 0, other_door), Assigned, T0);
    let other = stepped(other, PickedUp, T0);
    rig.directory.put_delivery(other.clone());
    let (_, token) = rig.put_link("d-1");
    rig.fix("c-1", destination(other_door, 0.0, 900.0)).await;
    rig.until(|live| live.state().len() == 1).await;

    let mut customer = rig.customer(&token).await;
    let snapshot = customer.json().await;
    assert_eq!(
        (&snapshot["stops_before"], &snapshot["path"]),
        (&json!(1), &json!(null))
    );
    assert!(snapshot["position"].is_object());

    rig.clock.advance(2_000);
    rig.fix("c-1", destination(other_door, 0.0, 150.0)).await;
    assert_eq!(customer.json_of("hidden").await["why"], "other_stop");

    rig.clock.advance(2_000);
    rig.directory
        .put_delivery(stepped(other, Delivered, rig.now()));
    let next = customer.json_of("snapshot").await;
    assert_eq!(next["stops_before"], 0);
    assert_eq!(
        next["path"],
        json!(null),
        "the other door must not be drawn"
    );

    rig.clock.advance(2_000);
    rig.fix("c-1", destination(other_door, 0.0, 290.0)).await;
    customer.json_of("fix").await;
    rig.clock.advance(2_000);
    rig.fix("c-1", destination(other_door, 0.0, 330.0)).await;
    let clear = customer.json_of("snapshot").await;
    assert_eq!(
        clear["path"].as_array().expect("a path").len(),
        1,
        "{clear}"
    );
    rig.stopped().await;
}

#[tokio::test]
async fn a_revoked_link_closes_its_sockets_and_streams_and_no_others() {
    let (mut rig, token) = rig_under_way().await;
    let (revoked, revoked_token) = rig.put_link("d-1");
    let mut stays = rig.customer(&token).await;
    let mut goes = rig.customer(&revoked_token).await;
    stays.json_of("snapshot").await;
    assert_eq!(goes.json_of("snapshot").await["viewers"], 2);
    let (status, body) = rig
        .request_body("GET", "/v1/track/events", &revoked_token)
        .await;
    assert_eq!(status.as_u16(), 200);
    let mut events = body.into_data_stream();
    let first = events.next().await.expect("an event").expect("bytes");
    assert!(String::from_utf8_lossy(&first).contains(r#""type":"snapshot""#));

    rig.directory.remove_link(revoked);
    let (code, error) = goes.closed().await;
    assert_eq!(
        (code, error.expect("an error")["code"].clone()),
        (4011, json!("revoked"))
    );
    let last = events.next().await.expect("an event").expect("bytes");
    assert!(String::from_utf8_lossy(&last).contains(r#""code":"revoked""#));
    assert!(events.next().await.is_none(), "the stream ends");
    assert_eq!(rig.request("GET", "/v1/track", &revoked_token).await.0, 401);

    rig.clock.advance(1_000);
    rig.fix("c-1", destination(door(), 270.0, 2_000.0)).await;
    stays.json().await;
    rig.stopped().await;
}

#[tokio::test]
async fn whoever_reconnects_is_told_what_was_missed_and_no_more() {
    let (rig, token) = rig_under_way().await;
    rig.fix("c-1", destination(door(), 270.0, 2_000.0)).await;
    rig.until(|live| live.state().len() == 1).await;
    let mut first = rig.customer(&token).await;
    let snapshot = first.json_of("snapshot").await;
    drop(first);
    let resume =
        |seq: i64| json!({"type": "hello", "token": token, "epoch": snapshot["epoch"], "seq": seq});
    let seen = snapshot["seq"].as_i64().expect("seq");

    // Nothing was missed: a heartbeat says so.
    let mut again = rig.socket("/ws/track").await;
    again.say(&resume(seen)).await;
    assert_eq!(again.json_of("hb").await["type"], "hb");
    rig.directory
        .put_delivery(stepped(under_way(), Arrived, rig.now()));
    let status = again.json_of("status").await;
    drop(again);

    let mut later = rig.socket("/ws/track").await;
    later.say(&resume(seen)).await;
    assert_eq!(later.json().await, status);

    // A number that was never given, or another epoch: everything.
    for (epoch, seq) in [
        (snapshot["epoch"].clone(), json!(999)),
        (json!(7), json!(seen)),
    ] {
        let mut lost = rig.socket("/ws/track").await;
        lost.say(&json!({"type": "hello", "token": token, "epoch": epoch, "seq": seq}))
            .await;
        assert_eq!(lost.json().await["type"], "snapshot");
    }
    rig.stopped().await;
}

#[tokio::test]
async fn a_restarted_server_knows_where_everybody_was() {
    let (rig, token) = rig_under_way().await;
    let seen = destination(door(), 270.0, 2_000.0);
    rig.post("c-1", &upload(T0, seen)).await;
    // Foreign bytes in the topic are passed over.
    let rig = rig.restart().await;
    let snapshot = rig.customer(&token).await.json_of("snapshot").await;
    assert!((snapshot["position"]["lon"].as_f64().expect("lon") - seen.lon()).abs() < 1e-9);
    rig.stopped().await;
}

#[tokio::test]
async fn whoever_misbehaves_is_told_why_and_closed() {
    let (rig, token) = rig_under_way().await;
    let hello = json!({"type": "hello", "token": token}).to_string();
    let cases: Vec<(Vec<Message>, u16)> = vec![
        (vec![Message::text("{")], 4000),
        (vec![Message::text(r#"{"type":"nonsense"}"#)], 4000),
        (vec![Message::text(r#"{"type":"hello","token":7}"#)], 4000),
        (vec![Message::binary(vec![1, 2, 3])], 4000),
        (vec![Message::text("x".repeat(60_000))], 4000),
        (
            vec![Message::text(r#"{"type":"hello","token":"wlt_unknown"}"#)],
            4001,
        ),
        (
            vec![Message::text(hello.clone()), Message::text(hello.clone())],
            4000,
        ),
        (
            vec![Message::text(hello.clone()), Message::binary(vec![0])],
            4000,
        ),
        (
            std::iter::once(Message::text(hello.clone()))
                .chain((0..60).map(|_| Message::Ping(bytes::Bytes::new())))
                .collect(),
            4029,
        ),
    ];
    for (messages, expected) in cases {
        let mut client = rig.socket("/ws/track").await;
        let case = format!("{messages:?}")
            .chars()
            .take(120)
            .collect::<String>();
        for message in messages {
            client.say_raw(message).await;
        }
        let (code, error) = client.closed().await;
        assert_eq!(code, expected, "{case}");
        assert!(error.is_some_and(|e| e["detail"].is_string()), "{case}");
    }
    let mut foreign = rig
        .socket_from("/ws/track", Some("https://evil.example"))
        .await
        .expect("up");
    assert_eq!(foreign.closed().await.0, 4003);
    rig.until(|live| live.tracks().nobody_watches()).await;
    rig.stopped().await;
}

#[tokio::test]
async fn a_stop_sends_everybody_away_with_a_time_to_come_back() {
    let (rig, token) = rig_under_way().await;
    let mut customer = rig.customer(&token).await;
    customer.json_of("snapshot").await;
    rig.stop();
    let drain = customer.json_of("drain").await;
    assert!(drain["retry_ms"].as_u64().is_some(), "{drain}");
    assert_eq!(customer.closed().await.0, 1012);
    let (status, _) = rig.request("GET", "/v1/track/events", &token).await;
    assert_eq!(status, 503);
    rig.stopped().await;
}

#[tokio::test]
async fn a_burst_of_fixes_is_told_as_its_newest() {
    let (rig, token) = rig_under_way().await;
    rig.fix("c-1", destination(door(), 270.0, 4_000.0)).await;
    rig.until(|live| live.state().len() == 1).await;
    let mut customer = rig.customer(&token).await;
    customer.json_of("snapshot").await;
    // A tunnel's backlog, all at once; the clock stands still, so that two may be told.
    for i in 1..=20_i64 {
        let position = destination(door(), 270.0, 4_000.0 - 50.0 * i as f64);
        rig.clock.advance(1);
        rig.post("c-1", &upload(rig.now(), position)).await;
    }
    let newest = rig.now();
    rig.until(|live| {
        live.state()
            .get(&courier_id("c-1"))
            .is_some_and(|l| l.fix.fix_time == newest)
    })
    .await;
    rig.clock.advance(10_000);
    rig.live.tracks().wake_courier("c-1");
    let mut told = 0;
    loop {
        let fix = customer.json_of("fix").await;
        told += 1;
        if fix["fix_time"] == newest.to_rfc3339() {
            break;
        }
    }
    assert!(told <= 3, "{told} fixes were told of a burst");
    rig.stopped().await;
}

/// The message in the next event of a stream.
async fn event(events: &mut axum::body::BodyDataStream) -> serde_json::Value {
    let bytes = events.next().await.expect("an event").expect("bytes");
    let text = std::str::from_utf8(&bytes).expect("text");
    let data = text.strip_prefix("data: ").expect("data").trim_end();
    serde_json::from_str(data).expect("JSON")
}

#[tokio::test]
async fn a_stream_of_events_is_resumed_and_drained_and_counted() {
    let counted = Counted::here();
    let (rig, token) = rig_under_way().await;
    let open = async |path: &str| {
        let (status, body) = rig.request_body("GET", path, &token).await;
        assert_eq!(status.as_u16(), 200);
        body.into_data_stream()
    };
    let mut first = open("/v1/track/events").await;
    let snapshot = event(&mut first).await;
    assert_eq!(snapshot["type"], "snapshot");
    drop(first);
    assert_eq!(counted.closed("customer_events", 1006), 1);

    let (epoch, seq) = (&snapshot["epoch"], &snapshot["seq"]);
    let mut resumed = open(&format!("/v1/track/events?epoch={epoch}&seq={seq}")).await;
    assert_eq!(event(&mut resumed).await["type"], "hb");
    rig.directory
        .put_delivery(stepped(under_way(), Arrived, rig.now()));
    assert_eq!(event(&mut resumed).await["status"], "arrived");
    let mut foreign = open("/v1/track/events?epoch=1&seq=1").await;
    assert_eq!(event(&mut foreign).await["type"], "snapshot");
    drop(foreign);
    let (status, _) = rig.request("GET", "/v1/track/events?seq=x", &token).await;
    assert_eq!(status, 400);

    rig.stop();
    assert!(event(&mut resumed).await["retry_ms"].is_u64());
    assert_eq!(event(&mut resumed).await["code"], "restart");
    assert!(resumed.next().await.is_none());
    assert_eq!(counted.closed("customer_events", 1012), 1);
    rig.stopped().await;
}
