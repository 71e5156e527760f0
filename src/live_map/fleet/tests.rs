//! Scenarios of the fleet channel and its reads, over real sockets and the real log.

use std::collections::{HashMap, HashSet};

use bytes::Bytes;
use serde_json::{Value, json};
use tokio_tungstenite::tungstenite::protocol::Message;

use crate::domain::geo::destination;
use crate::domain::{DeliveryStatus, Position, UnixMs, Window};
use crate::live_map::test_kit::{
    Client, Heard, Rig, T0, at, courier_id, delivery, stepped, upload,
};

fn city() -> Position {
    at(35.90, 14.50)
}

fn around(position: Position, half: f64) -> Value {
    let (lat, lon) = (position.lat(), position.lon());
    json!([lon - half, lat - half, lon + half, lat + half])
}

/// What a page would know from what it heard.
#[derive(Debug, Default)]
struct Screen {
    topics: HashSet<String>,
    names: HashMap<u64, String>,
    /// Topic and position of each handle.
    dots: HashMap<u32, (u64, Position, u8)>,
    cells: HashMap<String, Vec<u64>>,
    cells_of_topic: HashMap<String, HashSet<String>>,
}

impl Screen {
    fn hear(&mut self, heard: Heard) {
        match heard {
            Heard::Json(message) => self.hear_json(&message),
            Heard::Binary(frame) => self.hear_frame(&frame),
            Heard::Closed(code) => panic!("closed with {code}"),
        }
    }

    fn hear_json(&mut self, message: &Value) {
        let list = |key: &str| message[key].as_array().cloned().unwrap_or_default();
        match message["type"].as_str().expect("a type") {
            "topics" => {
                for id in list("remove") {
                    let id = id.as_str().expect("an id");
                    assert!(self.topics.remove(id), "{id} was not watched");
                    let topic = u64::from_str_radix(id, 16).expect("hex");
                    self.dots.retain(|_, dot| dot.0 != topic);
                    for cell in self.cells_of_topic.remove(id).unwrap_or_default() {
                        self.cells.remove(&cell);
                    }
                }
                for id in list("add") {
                    self.topics.insert(id.as_str().expect("an id").to_owned());
                }
            }
            "snapshot" | "names" => {
                for courier in list("couriers") {
                    let id = courier["courier_id"].as_str().expect("an id").to_owned();
                    self.names
                        .insert(courier["handle"].as_u64().expect("a handle"), id);
                }
            }
            "removed" => {
                let topic = message["topic"].as_str().expect("a topic");
                let topic = u64::from_str_radix(topic, 16).expect("hex");
                for handle in list("handles") {
                    let handle = handle.as_u64().expect("a handle") as u32;
                    // In between it may have come up in the cell beside.
                    self.dots.retain(|h, dot| *h != handle || dot.0 != topic);
                }
            }
            "cells" => {
                let topic = message["topic"].as_str().expect("a topic").to_owned();
                let known = self.cells_of_topic.entry(topic).or_default();
                if message["snapshot"] == true {
                    for cell in known.drain() {
                        self.cells.remove(&cell);
                    }
                }
                for cell in list("cells") {
                    let id = cell["cell"].as_str().expect("a cell").to_owned();
                    let counts = cell["counts"].as_array().expect("counts");
                    let counts = counts
                        .iter()
                        .map(|n| n.as_u64().expect("a count"))
                        .collect();
                    if known.insert(id.clone()) {
                        assert!(cell["polygon"].as_array().expect("a polygon").len() > 5);
                    }
                    self.cells.insert(id, counts);
                }
                for cell in list("removed") {
                    self.cells.remove(cell.as_str().expect("a cell"));
                    known.remove(cell.as_str().expect("a cell"));
                }
            }
            _ => {}
        }
    }

    fn hear_frame(&mut self, frame: &Bytes) {
        let u32_at = |at: usize| u32::from_le_bytes(frame[at..at + 4].try_into().expect("four"));
        let i32_at = |at: usize| i64::from(u32_at(at).cast_signed());
        let topic = u64::from_le_bytes(frame[4..12].try_into().expect("eight"));
        assert!(
            self.topics.contains(&format!("{topic:016x}")),
            "a topic that is not watched"
        );
        if frame[0] == 1 {
            self.dots.retain(|_, dot| dot.0 != topic);
        }
        for entry in (40..frame.len()).step_by(16) {
            let lat = i32_at(28) + i32_at(entry + 4) * 10;
            let lon = i32_at(32) + i32_at(entry + 8) * 10;
            let place = Position::from_e7(lat, lon).expect("a position");
            self.dots
                .insert(u32_at(entry), (topic, place, frame[entry + 15]));
        }
    }

    fn shows(&self, courier: &str, position: Position) -> bool {
        self.dots.iter().any(|(handle, (_, place, _))| {
            self.names
                .get(&u64::from(*handle))
                .is_some_and(|name| name == courier)
                && crate::domain::geo::distance_m(*place, position) < 0.2
        })
    }

    fn counted(&self) -> u64 {
        self.cells.values().flatten().sum()
    }
}

/// Hears until the screen is as wanted.
async fn hear_until(client: &mut Client, screen: &mut Screen, done: impl Fn(&Screen) -> bool) {
    while !done(screen) {
        screen.hear(client.hear().await);
    }
}

#[tokio::test]
async fn a_dispatcher_sees_couriers_move_from_cell_to_cell_and_counts_when_far_away() {
    let rig = Rig::start().await;
    for i in 0..30_u32 {
        let id = format!("c-{i}");
        rig.put_courier(&id);
        rig.fix(&id, destination(city(), f64::from(i) * 12.0, 800.0))
            .await;
    }
    rig.until(|live| live.state().len() == 30).await;
    let mut client = rig.dispatcher().await;
    let mut screen = Screen::default();
    client
        .say(&json!({"type": "view", "bbox": around(city(), 0.03), "zoom": 13.2}))
        .await;
    hear_until(&mut client, &mut screen, |s| {
        s.dots.len() == 30 && s.names.len() == 30
    })
    .await;

    // Through several cells of 2.6 km.
    rig.clock.advance(1_000);
    for step in 1..=4_i32 {
        rig.clock.advance(1_000);
        let to = destination(city(), 90.0, f64::from(step) * 700.0);
        rig.fix("c-3", to).await;
        hear_until(&mut client, &mut screen, |s| s.shows("c-3", to)).await;
        assert_eq!(screen.dots.len(), 30, "nobody is shown twice or lost");
    }
    // Out of what is looked at.
    rig.clock.advance(1_000);
    rig.fix("c-3", destination(city(), 90.0, 40_000.0)).await;
    hear_until(&mut client, &mut screen, |s| s.dots.len() == 29).await;

    client
        .say(&json!({"type": "view", "bbox": around(city(), 0.6), "zoom": 9.0}))
        .await;
    hear_until(&mut client, &mut screen, |s| s.counted() == 30).await;
    assert!(screen.dots.is_empty());
    rig.clock.advance(1_000);
    rig.fix("c-3", destination(city(), 90.0, 30_000.0)).await;
    let before = screen.cells.clone();
    hear_until(&mut client, &mut screen, |s| {
        s.cells != before && s.counted() == 30
    })
    .await;

    client
        .say(&json!({"type": "view", "bbox": [-180, -85, 180, 85], "zoom": 1}))
        .await;
    hear_until(&mut client, &mut screen, |s| {
        s.topics.len() == 1 && s.counted() == 30
    })
    .await;
    client
        .say(&json!({"type": "view", "bbox": around(city(), 0.03), "zoom": 14}))
        .await;
    hear_until(&mut client, &mut screen, |s| s.dots.len() == 29).await;
    assert!(screen.cells.is_empty());
    rig.stopped().await;
}

#[tokio::test]
async fn a_ticket_opens_one_socket_and_a_revoked_key_closes_it() {
    let rig = Rig::start().await;
    assert_eq!(
        rig.request("POST", "/v1/fleet/ticket", "wlk_unknown")
            .await
            .0,
        401
    );
    let (_, ticket) = rig.request("POST", "/v1/fleet/ticket", &rig.key).await;
    let hello = json!({"type": "hello", "ticket": ticket["ticket"]});
    let mut first = rig.socket("/ws/fleet").await;
    first.say(&hello).await;
    assert_eq!(first.json().await["type"], "hello");
    let mut second = rig.socket("/ws/fleet").await;
    second.say(&hello).await;
    assert_eq!(second.closed().await.0, 4001);

    rig.directory.remove_api_key(uuid::Uuid::from_u128(1));
    assert_eq!(first.closed().await.0, 4011);
    rig.stopped().await;
}

#[tokio::test]
async fn whoever_misbehaves_is_told_why_and_closed() {
    let rig = Rig::start().await;
    let view = json!({"type": "view", "bbox": [14.0, 35.0, 15.0, 36.0], "zoom": 8}).to_string();
    let cases: Vec<(Vec<Message>, u16)> = vec![
        (vec![Message::text("[]")], 4000),
        (vec![Message::text(r#"{"type":"subscribe"}"#)], 4000),
        (
            vec![Message::text(r#"{"type":"view","bbox":[1,2,3],"zoom":8}"#)],
            4000,
        ),
        (
            vec![Message::text(
                r#"{"type":"view","bbox":[1,9,3,4],"zoom":8}"#,
            )],
            4000,
        ),
        (
            vec![Message::text(
                r#"{"type":"view","bbox":[1,2,1e999,4],"zoom":8}"#,
            )],
            4000,
        ),
        (
            vec![Message::text(
                r#"{"type":"watch","courier_id":"no such id!"}"#,
            )],
            4000,
        ),
        (vec![Message::binary(vec![0; 10])], 4000),
        (vec![Message::text(" ".repeat(5_000))], 4000),
        (
            (0..10_000).map(|_| Message::text(view.clone())).collect(),
            4029,
        ),
    ];
    for (messages, expected) in cases {
        let mut client = rig.dispatcher().await;
        let case = format!("{messages:?}")
            .chars()
            .take(120)
            .collect::<String>();
        for message in messages {
            client.say_raw(message).await;
        }
        assert_eq!(client.closed().await.0, expected, "{case}");
    }
    rig.until(|live| live.hub().nobody_watches()).await;
    rig.stopped().await;
}

#[tokio::test]
async fn a_screen_that_fell_behind_is_brought_up_to_date_at_once() {
    let rig = Rig::start().await;
    rig.put_courier("c-1");
    rig.fix("c-1", city()).await;
    rig.until(|live| live.state().len() == 1).await;
    let hub = rig.live.hub().clone();
    let wake = std::sync::Arc::new(tokio::sync::Notify::new());
    let view: super::view::Bbox = "14.49,35.89,14.51,35.91".parse().expect("a bbox");
    let topics = hub.join(77, &wake, &super::view::topics_of(&view, 14.0));
    let mut screen = Screen::default();
    let mut cursors = vec![super::topic::Cursor::New; topics.len()];
    let mut take = |screen: &mut Screen| {
        let mut out = Vec::new();
        for (topic, cursor) in topics.iter().zip(&mut cursors) {
            hub.tell(topic, cursor, usize::MAX, &mut out);
        }
        let told = out.len();
        for message in out {
            screen.hear(match message {
                axum::extract::ws::Message::Text(text) => {
                    Heard::Json(serde_json::from_str(text.as_str()).expect("JSON"))
                }
                axum::extract::ws::Message::Binary(frame) => Heard::Binary(frame),
                other => panic!("{other:?}"),
            });
        }
        told
    };
    screen
        .topics
        .extend(topics.iter().map(|t| t.id.to_string()));
    take(&mut screen);
    assert!(screen.shows("c-1", city()));
    // Five ticks behind, then a hundred: beyond the ring.
    for behind in [5, 100] {
        let mut last = city();
        for step in 1..=behind {
            rig.clock.advance(1_000);
            last = destination(city(), 0.0, f64::from(step));
            let live = rig.live.clone();
            live.state()
                .apply(&courier_id("c-1"), &upload(rig.now(), last));
            hub.tick(&topics);
        }
        let told = take(&mut screen);
        assert!(screen.shows("c-1", last));
        assert!(
            told <= 2 * topics.len(),
            "{told} messages after {behind} ticks"
        );
    }
    assert_eq!(take(&mut screen), 0);
    topics.iter().for_each(|topic| hub.leave(77, topic));
    rig.stopped().await;
}

#[tokio::test]
async fn positions_are_read_over_http() {
    let rig = Rig::start().await;
    rig.put_courier("c-1");
    rig.put_courier("c-2");
    assert_eq!(rig.get("/v1/couriers/c-1/position").await.0, 404);
    let older = upload(T0.plus_ms(-60_000), at(35.91, 14.51));
    rig.fix("c-1", city()).await;
    rig.post("c-1", &older).await;
    rig.fix("c-9", at(48.0, 11.0)).await;
    rig.until(|live| live.state().len() == 2).await;
    rig.until(|live| live.state().trail(&courier_id("c-1"), UnixMs(0)).len() == 2)
        .await;
    rig.clock.advance(3_000);

    let (status, position) = rig.get("/v1/couriers/c-1/position").await;
    assert_eq!(status, 200);
    assert_eq!(
        (&position["lat"], &position["lon"]),
        (&json!(35.9), &json!(14.5))
    );
    assert_eq!(position["age_s"], 3);
    assert_eq!(position["fix_time"], T0.to_rfc3339());
    let (_, trail) = rig.get("/v1/couriers/c-1/trail?minutes=30").await;
    assert_eq!(trail["type"], "Feature");
    assert_eq!(
        trail["geometry"]["coordinates"],
        json!([[14.51, 35.91], [14.5, 35.9]])
    );
    assert_eq!(rig.get("/v1/couriers/c-1/trail?minutes=0").await.0, 422);
    assert_eq!(rig.get("/v1/couriers/c%20/position").await.0, 404);

    let (_, all) = rig.get("/v1/fleet/positions").await;
    assert_eq!(all["features"].as_array().expect("features").len(), 2);
    let (_, near) = rig.get("/v1/fleet/positions?bbox=14,35,15,36").await;
    assert_eq!(near["features"][0]["properties"]["courier_id"], "c-1");
    assert_eq!(near["features"].as_array().expect("features").len(), 1);
    assert_eq!(rig.get("/v1/fleet/positions?bbox=14,35,15").await.0, 422);

    let (_, page) = rig.get("/v1/fleet/couriers?limit=1").await;
    assert_eq!(
        (&page["items"][0]["id"], &page["next_cursor"]),
        (&json!("c-1"), &json!("c-1"))
    );
    let (_, page) = rig.get("/v1/fleet/couriers?limit=1&cursor=c-1").await;
    assert_eq!(
        (&page["items"][0]["id"], &page["next_cursor"]),
        (&json!("c-2"), &json!(null))
    );
    assert_eq!(page["items"][0]["status"], "offline");
    let (_, page) = rig
        .get("/v1/fleet/couriers?q=COURIER%20C-1&status=idle")
        .await;
    assert_eq!(page["items"].as_array().expect("items").len(), 1);
    assert_eq!(rig.get("/v1/fleet/couriers?status=flying").await.0, 422);
    rig.stopped().await;
}

#[tokio::test]
async fn who_could_take_a_delivery_is_ranked_by_work_and_way() {
    let rig = Rig::start().await;
    for (id, metres) in [("c-far", 3_000.0), ("c-near", 500.0), ("c-busy", 100.0)] {
        rig.put_courier(id);
        rig.fix(id, destination(city(), 90.0, metres)).await;
    }
    rig.put_courier("c-unheard-of");
    rig.put_courier("c-off-duty");
    rig.fix("c-off-duty", city()).await;
    let known = rig.directory.courier(&courier_id("c-off-duty"));
    let mut off = known.expect("put").as_ref().clone();
    off.on_duty = false;
    rig.directory.put_courier(off);
    rig.until(|live| live.state().len() == 4).await;
    let put = |id, courier, status| {
        let mut delivery = delivery(id, courier, 0, city());
        delivery.pickup.position = city();
        rig.directory.put_delivery(stepped(delivery, status, T0));
    };
    put("d-1", None, DeliveryStatus::Created);
    put("d-2", Some("c-busy"), DeliveryStatus::Assigned);
    put("d-3", Some("c-far"), DeliveryStatus::Delivered);

    let (status, answer) = rig.get("/v1/deliveries/d-1/candidates").await;
    assert_eq!(status, 200, "{answer}");
    let items = answer["items"].as_array().expect("items");
    let ids: Vec<_> = items.iter().map(|one| &one["courier_id"]).collect();
    assert_eq!(ids, ["c-near", "c-far", "c-busy"]);
    assert_eq!(items[2]["open_deliveries"], 1);
    assert!(items[0]["distance_m"].is_i64(), "{answer}");
    let (_, one) = rig.get("/v1/deliveries/d-1/candidates?limit=1").await;
    assert_eq!(one["items"].as_array().map(Vec::len), Some(1));
    for (path, status) in [
        ("d-1/candidates?limit=0", 422),
        ("d-3/candidates", 404),
        ("d-9/candidates", 404),
    ] {
        assert_eq!(
            rig.get(&format!("/v1/deliveries/{path}")).await.0,
            status,
            "{path}"
        );
    }
    rig.stopped().await;
}

#[tokio::test]
async fn what_needs_attention_comes_first() {
    let rig = Rig::start().await;
    for id in ["c-1", "c-2"] {
        rig.put_courier(id);
        rig.fix(id, city()).await;
    }
    rig.until(|live| live.state().len() == 2).await;
    let promised = |mut d: crate::domain::Delivery, to: UnixMs| {
        d.window = Some(Window { from: T0, to });
        d
    };
    let assigned = stepped(
        delivery("d-late", Some("c-1"), 0, destination(city(), 0.0, 20_000.0)),
        DeliveryStatus::Assigned,
        T0,
    );
    rig.directory
        .put_delivery(promised(assigned, T0.plus_ms(300_000)));
    let created = stepped(
        delivery("d-free", None, 0, city()),
        DeliveryStatus::Created,
        T0,
    );
    rig.directory.put_delivery(created);
    rig.clock.advance(1_000);
    let pressed_at = rig.now();
    let mut alarm = upload(pressed_at, city());
    alarm.sos = true;
    rig.post("c-2", &alarm).await;
    rig.until(|live| {
        live.state()
            .get(&courier_id("c-2"))
            .is_some_and(|l| l.sos_at == pressed_at)
            && live
                .state()
                .get(&courier_id("c-1"))
                .is_some_and(|l| l.work != super::super::state::Work::None)
    })
    .await;
    let kinds = |list: &Value| -> Vec<String> {
        let items = list["items"].as_array().expect("items");
        items
            .iter()
            .map(|item| item["kind"].as_str().expect("a kind").to_owned())
            .collect()
    };
    let (_, list) = rig.get("/v1/fleet/attention").await;
    assert_eq!(kinds(&list), ["sos", "late", "unassigned"], "{list}");
    assert_eq!(list["items"][0]["courier_name"], "Courier c-2");
    let late = &list["items"][1];
    assert_eq!(late["delivery_id"], "d-late");
    assert_eq!(late["delivery_label"], "Door");
    assert_eq!(late["courier_name"], "Courier c-1");
    rig.clock.advance(120_000);
    let (_, list) = rig.get("/v1/fleet/attention").await;
    assert_eq!(
        kinds(&list),
        ["sos", "late", "unassigned", "quiet"],
        "{list}"
    );
    assert_eq!(list["items"][3]["text"], "Quiet for 2 min");
    rig.stopped().await;
}
