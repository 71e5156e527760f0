//! Clients that break the rules, by accident or on purpose: each costs little, is closed with a code
//! that tells why, and is counted. Over real sockets, on both channels.

use serde_json::json;

use crate::domain::DeliveryStatus::{Assigned, PickedUp};
use crate::domain::geo::destination;
use crate::live_map::socket::Manners;
use crate::live_map::test_kit::{
    Client, Counted, Heard, RawClient, Rig, SOON, T0, at, courier_id, delivery, frame, stepped,
    upload,
};
use crate::telemetry::metrics::LIVE_UPDATES;

const CHANNELS: [(&str, &str); 2] = [("customer", "/ws/track"), ("fleet", "/ws/fleet")];

/// A rig with a delivery under way, and the token of its link.
async fn rig(manners: Manners) -> (Rig, String) {
    let mut rig = Rig::start_with(manners).await;
    rig.put_courier("c-1");
    let to = at(35.9, 14.5);
    let assigned = stepped(delivery("d-1", Some("c-1"), 1, to), Assigned, T0);
    rig.directory.put_delivery(stepped(assigned, PickedUp, T0));
    let (_, token) = rig.put_link("d-1");
    (rig, token)
}

/// The hello of either channel.
async fn hello(rig: &Rig, channel: &str, token: &str) -> String {
    match channel {
        "fleet" => rig.hello().await.to_string(),
        _ => json!({"type": "hello", "token": token}).to_string(),
    }
}

async fn gone(rig: &Rig) {
    rig.until(|live| live.hub().nobody_watches() && live.tracks().nobody_watches())
        .await;
}

#[tokio::test]
async fn a_client_that_never_says_hello_is_sent_away() {
    let counted = Counted::here();
    let manners = Manners {
        hello: SOON,
        ..Manners::default()
    };
    let (rig, _) = rig(manners).await;
    for (channel, path) in CHANNELS {
        let silent = RawClient::open(&rig, path).await;
        assert_eq!(silent.close_code().await, 4000, "{channel}");
        assert_eq!(counted.closed(channel, 4000), 1, "{channel}");
        // Pings are no hello.
        let mut pings = RawClient::open(&rig, path).await;
        pings.send(&frame(0x89, b"")).await;
        assert_eq!(pings.close_code().await, 4000, "{channel}");
        // Whoever goes away without a word is counted as well.
        drop(RawClient::open(&rig, path).await);
        rig.until(|_| counted.closed(channel, 1006) + counted.closed(channel, 1000) == 1)
            .await;
    }
    rig.stopped().await;
}

#[tokio::test]
async fn a_client_that_answers_nothing_is_sent_away() {
    let counted = Counted::here();
    let manners = Manners {
        ping: SOON,
        ..Manners::default()
    };
    let (rig, token) = rig(manners).await;
    for (channel, path) in CHANNELS {
        let mut mute = RawClient::open(&rig, path).await;
        mute.say(&hello(&rig, channel, &token).await).await;
        assert_eq!(mute.close_code().await, 4008, "{channel}");
        assert_eq!(counted.closed(channel, 4008), 1, "{channel}");
    }
    // A quiet one that answers pings stays: it is told the time.
    let mut quiet = rig.customer(&token).await;
    quiet.json_of("snapshot").await;
    quiet.answer_pings(5).await;
    assert_eq!(counted.closed("customer", 4008), 1);
    drop(quiet);
    gone(&rig).await;
    rig.stopped().await;
}

#[tokio::test]
async fn a_screen_that_never_reads_costs_a_few_kilobytes_and_is_sent_away() {
    let counted = Counted::here();
    let manners = Manners {
        stuck: 2 * SOON,
        ..Manners::default()
    };
    let (rig, _) = rig(manners).await;
    let city = at(35.9, 14.5);
    for n in 0..3_000_u32 {
        let place = destination(city, f64::from(n), f64::from(n) * 0.1);
        let id = courier_id(&format!("c-{n}"));
        rig.live.state().apply(&id, &upload(T0, place));
    }
    let mut deaf = RawClient::open(&rig, "/ws/fleet").await;
    deaf.say(&rig.hello().await.to_string()).await;
    deaf.say(r#"{"type":"view","bbox":[14.49,35.89,14.51,35.91],"zoom":15}"#)
        .await;
    rig.until(|_| counted.closed("fleet", 4008) == 1).await;
    let positions = counted.value(&format!(r#"{LIVE_UPDATES}{{channel="fleet"}}"#));
    assert!((1..1_000).contains(&positions), "{positions} were sent");
    gone(&rig).await;
    drop(deaf);
    rig.stopped().await;
}

#[tokio::test]
async fn whatever_cannot_be_understood_ends_the_connection() {
    let counted = Counted::here();
    let (rig, token) = rig(Manners::default()).await;
    let parts = [
        frame(0x01, &[b'a'; 8_000]),
        frame(0x00, &[b'a'; 8_000]),
        frame(0x80, &[b'a'; 8_000]),
    ];
    let mut header_of_a_terabyte = vec![0x81, 0x80 | 127];
    header_of_a_terabyte.extend((1_u64 << 40).to_be_bytes());
    header_of_a_terabyte.extend([0; 4]);
    let cases: Vec<(&str, Vec<u8>)> = vec![
        ("5 KiB", frame(0x81, &[b'x'; 5 << 10])),
        ("1 MiB", frame(0x81, &[b'x'; 1 << 20])),
        ("16 MiB", frame(0x82, &vec![0; 16 << 20])),
        ("a terabyte is announced", header_of_a_terabyte),
        ("24,000 bytes in parts", parts.concat()),
        ("no UTF-8", frame(0x81, &[0xff, 0xfe])),
        ("not masked", vec![0x81, 2, b'h', b'i']),
        ("an unknown kind", frame(0x83, b"x")),
        ("reserved bits", frame(0xf1, b"x")),
        ("a part of nothing", frame(0x80, b"x")),
        ("a long ping", frame(0x89, &[0; 126])),
        ("HTTP", b"GET / HTTP/1.1\r\nHost: x\r\n\r\n".to_vec()),
        ("zeros", vec![0; 4096]),
        ("binary", frame(0x82, &[1, 2, 3])),
        ("another language", frame(0x81, b"<hello/>")),
        ("deep JSON", frame(0x81, "[".repeat(4_000).as_bytes())),
    ];
    for (channel, path) in CHANNELS {
        let before = counted.closed(channel, 4000);
        for (case, bytes) in &cases {
            for said_hello in [false, true] {
                let mut client = RawClient::open(&rig, path).await;
                if said_hello {
                    client.say(&hello(&rig, channel, &token).await).await;
                }
                client.send(bytes).await;
                let code = client.close_code().await;
                assert_eq!(code, 4000, "{case} on {channel}, hello: {said_hello}");
            }
        }
        let closed = counted.closed(channel, 4000) - before;
        assert_eq!(closed, 2 * cases.len() as u64, "{channel}");
    }
    gone(&rig).await;
    rig.stopped().await;
}

#[tokio::test]
async fn too_many_messages_too_many_viewers_and_foreign_pages_are_counted() {
    let counted = Counted::here();
    let (rig, token) = rig(Manners::default()).await;
    for (channel, path) in CHANNELS {
        let mut flood = RawClient::open(&rig, path).await;
        flood.say(&hello(&rig, channel, &token).await).await;
        let pings = frame(0x89, b"").repeat(1_000);
        flood.send(&pings).await;
        assert_eq!(flood.close_code().await, 4029, "{channel}");
        assert_eq!(counted.closed(channel, 4029), 1, "{channel}");
        let evil = Some("https://evil.example");
        let mut foreign = rig.socket_from(path, evil).await.expect("up");
        assert_eq!(foreign.closed().await.0, 4003, "{channel}");
        assert_eq!(counted.closed(channel, 4003), 1, "{channel}");
    }
    // A link that has become public.
    let mut viewers = Vec::new();
    for _ in 0..64 {
        let mut viewer = rig.customer(&token).await;
        viewer.json_of("snapshot").await;
        viewers.push(viewer);
    }
    let mut one_more = rig.customer(&token).await;
    assert_eq!(one_more.closed().await.0, 4029);
    assert_eq!(counted.closed("customer", 4029), 2);
    let (status, _) = rig.request("GET", "/v1/track/events", &token).await;
    assert_eq!(status, 429);
    let (status, _) = rig.request("GET", "/v1/track", &token).await;
    assert_eq!(status, 200, "looking once is still possible");
    drop(viewers);
    gone(&rig).await;
    assert_eq!(rig.customer(&token).await.json().await["type"], "snapshot");
    rig.stopped().await;
}

#[tokio::test]
async fn ten_thousand_views_are_watched_one_after_the_other() {
    let (rig, _) = rig(Manners::default()).await;
    let mut client = rig.dispatcher().await;
    let mut most = 0;
    for n in 0..10_000_u32 {
        // As fast as is allowed.
        rig.clock.advance(100);
        let (lon, lat) = (f64::from(n % 300) - 150.0, f64::from(n % 140) - 70.0);
        let view =
            json!({"type": "view", "bbox": [lon, lat, lon + 0.001, lat + 0.001], "zoom": 16});
        client.say(&view).await;
        client.json_of("topics").await;
        most = most.max(rig.live.hub().watched_topics());
    }
    assert!((1..=64).contains(&most), "{most} cells were watched");
    drop(client);
    gone(&rig).await;
    assert_eq!(rig.live.hub().watched_topics(), 0);
    rig.stopped().await;
}

/// Looks at a box and answers how many couriers are told there.
async fn couriers_in(client: &mut Client, bbox: [f64; 4], zoom: f64, expected: u64) {
    let view = json!({"type": "view", "bbox": bbox, "zoom": zoom});
    client.say(&view).await;
    let topics = client.json_of("topics").await;
    let added = topics["add"].as_array().expect("cells").len();
    assert!((1..=64).contains(&added), "{added} cells for {bbox:?}");
    let mut seen = 0;
    let mut told = 0;
    while told < added {
        match client.hear().await {
            Heard::Binary(frame) if frame[0] == 1 => {
                seen += (frame.len() as u64 - 40) / 16;
                told += 1;
            }
            Heard::Json(message) if message["type"] == "cells" && message["snapshot"] == true => {
                let cells = message["cells"].as_array().expect("cells");
                let counts = cells.iter().flat_map(|cell| cell["counts"].as_array());
                seen += counts
                    .flatten()
                    .filter_map(serde_json::Value::as_u64)
                    .sum::<u64>();
                told += 1;
            }
            Heard::Closed(code) => panic!("closed with {code} for {bbox:?}"),
            _ => {}
        }
    }
    assert_eq!(seen, expected, "in {bbox:?} at {zoom}");
    // Away from here, so that every cell of the next view is a new one.
    client
        .say(&json!({"type": "view", "bbox": [100.0, 5.0, 100.001, 5.001], "zoom": 16}))
        .await;
    client.json_of("topics").await;
}

#[tokio::test]
async fn at_the_antimeridian_at_the_poles_and_everywhere_at_once() {
    let (rig, _) = rig(Manners::default()).await;
    let places = [
        ("fiji-west", -17.80, 179.95),
        ("fiji-east", -17.80, -179.95),
        ("fiji-180", -17.81, 180.0),
        ("arctic", 89.999, 12.0),
        ("arctic-too", 89.999, -168.0),
        ("south-pole", -90.0, 0.0),
        ("malta", 35.9, 14.5),
    ];
    for (id, lat, lon) in places {
        rig.put_courier(id);
        rig.fix(id, at(lat, lon)).await;
    }
    rig.until(|live| live.state().len() == places.len()).await;
    let mut client = rig.dispatcher().await;
    // Across 180°, as maps write it and as they do after they were dragged round.
    couriers_in(&mut client, [179.9, -17.9, -179.9, -17.7], 13.0, 3).await;
    couriers_in(&mut client, [-180.1, -17.9, -179.9, -17.7], 12.0, 3).await;
    couriers_in(&mut client, [179.9, -17.9, 180.1, -17.7], 8.0, 3).await;
    couriers_in(&mut client, [-180.0, 89.99, 180.0, 90.0], 14.0, 2).await;
    couriers_in(&mut client, [-1.0, -90.0, 1.0, -89.9], 9.0, 1).await;
    couriers_in(&mut client, [-180.0, -90.0, 180.0, 90.0], 22.0, 7).await;
    couriers_in(&mut client, [14.4, 35.8, 14.6, 36.0], 13.0, 1).await;
    couriers_in(&mut client, [-3600.0, -90.0, 3600.0, 90.0], 0.0, 7).await;
    rig.stopped().await;
}

#[tokio::test]
async fn an_upgrade_that_is_none_is_refused() {
    let (rig, token) = rig(Manners::default()).await;
    for path in ["/ws/track", "/ws/fleet"] {
        let (status, _) = rig.request("GET", path, &token).await;
        assert!((400..500).contains(&status), "{path} answered {status}");
        let (status, _) = rig.request("POST", path, &token).await;
        assert_eq!(status, 405, "{path}");
    }
    rig.stopped().await;
}
