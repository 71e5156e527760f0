//! What is kept about people, for how long, who looked, and how it goes.

use std::collections::BTreeMap;
use std::io::{Cursor, Read};
use std::net::IpAddr;

use reqwest::Method;
use serde_json::{Value, json};
use uuid::Uuid;

use super::server::{ADMIN_KEY, TestServer};
use crate::access::LinkChannel;
use crate::clock::Clock;
use crate::config::Config;
use crate::dispatch::retention::sweep;
use crate::domain::{CourierId, UnixMs};

async fn count(server: &TestServer, query: &'static str) -> i64 {
    let rows = sqlx::query_scalar(query).fetch_one(&server.database.pool);
    rows.await.expect("counted")
}

/// A delivery that is full of what concerns its customer, delivered by `c-1`.
async fn delivered(server: &TestServer) -> Value {
    let customer = json!({"name": "Grace", "phone": "+35699123456", "email": "g@example.org"});
    let made = server
        .delivery(
            "d-1",
            json!({"courier_id": "c-1", "link": true, "customer": customer, "note": "dog bites",
                   "reference": "order 17"}),
        )
        .await
        .expect(201);
    for status in ["picked_up", "delivered"] {
        server
            .post("/v1/deliveries/d-1/status", json!({"status": status}))
            .await
            .expect(200);
    }
    made.body
}

#[tokio::test]
async fn an_erased_courier_is_unknown_to_every_reader_and_told_what_remains() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    server
        .delivery("d-1", json!({"courier_id": "c-1"}))
        .await
        .expect(201);
    let place = "update public.event set lat = 35.9, lon = 14.5, evidence = '{\"fixes\": [1]}', \
                 at = now() - interval '1 hour'";
    sqlx::query(place)
        .execute(&server.database.pool)
        .await
        .expect("placed");
    let report = server.delete("/v1/couriers/c-1/data").await.expect(200);
    let courier = CourierId::try_from("c-1").expect("an id");
    let before = server
        .directory
        .erased_before(&courier)
        .expect("in force at once");
    assert_eq!(before, UnixMs(server.clock.now_ms()));
    let until = |field: &str| {
        let at = time::OffsetDateTime::parse(
            report.text(field),
            &time::format_description::well_known::Rfc3339,
        );
        UnixMs::from_datetime(at.expect("a time"))
    };
    assert_eq!(until("erased_before"), before);
    assert!(until("stored_until") > before && until("log_until") > until("stored_until"));
    let read = server.get("/v1/couriers/c-1").await.expect(200);
    assert_eq!(
        (&read.body["name"], &read.body["phone"]),
        (&Value::Null, &Value::Null)
    );
    let placed = "select count(*) from public.event where lat is not null or evidence ? 'fixes'";
    assert_eq!(count(&server, placed).await, 0);
    server.delete("/v1/couriers/nobody/data").await.expect(404);
    let audit = server
        .get("/v1/audit?subject=c-1&action=courier.erase")
        .await;
    assert_eq!(
        audit.expect(200).body["items"].as_array().map(Vec::len),
        Some(1)
    );
    server.stop().await;
}

#[tokio::test]
async fn a_courier_gets_everything_that_is_held_in_one_file() {
    let server = TestServer::start().await;
    let token = server.courier("c-1").await;
    delivered(&server).await;
    let request = server.request(Method::GET, "/v1/couriers/c-1/data", ADMIN_KEY);
    let answer = request.send().await.expect("answered");
    assert_eq!(answer.headers()["content-type"], "application/zip");
    assert_eq!(
        answer.headers()["content-disposition"],
        "attachment; filename=\"courier-c-1.zip\""
    );
    let bytes = answer.bytes().await.expect("whole");
    let mut zip = zip::ZipArchive::new(Cursor::new(bytes)).expect("a ZIP file");
    let mut files = BTreeMap::new();
    for at in 0..zip.len() {
        let mut file = zip.by_index(at).expect("a file");
        let mut text = String::new();
        file.read_to_string(&mut text).expect("text");
        let name = file.name().expect("UTF-8").into_owned();
        files.insert(name, text);
    }
    let names: Vec<&str> = files.keys().map(String::as_str).collect();
    assert_eq!(
        names,
        [
            "README.txt",
            "changes.ndjson",
            "courier.ndjson",
            "deliveries.ndjson",
            "devices.ndjson",
            "events.ndjson",
            "positions.csv",
            "stops.ndjson",
            "trips.ndjson"
        ]
    );
    assert!(files["courier.ndjson"].contains("Courier c-1"));
    assert!(files["positions.csv"].starts_with("fix_time,lat,lon,"));
    assert!(files["events.ndjson"].contains("delivery.delivered"));
    assert!(files["changes.ndjson"].contains("courier.create"));
    let all: String = files.into_values().collect();
    assert!(!all.contains("Grace") && !all.contains("token_hash") && !all.contains(&token));
    for line in all.lines().filter(|line| line.starts_with('{')) {
        serde_json::from_str::<Value>(line).expect("JSON");
    }
    server.get("/v1/couriers/nobody/data").await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn a_customer_is_forgotten_when_asked_for_or_after_the_time() {
    for asked in [true, false] {
        let server = TestServer::start().await;
        server.courier("c-1").await;
        server
            .delivery("d-0", json!({"courier_id": "c-1", "note": "open"}))
            .await
            .expect(201);
        delivered(&server).await;
        if asked {
            let open = server.delete("/v1/deliveries/d-0/data").await.expect(409);
            assert!(open.text("detail").contains("complete it"));
            server.delete("/v1/deliveries/d-1/data").await.expect(200);
        } else {
            let kept = Config::defaults().expect("defaults").retention;
            let days = |n: i64| UnixMs(server.clock.now_ms() + n * 86_400_000).to_datetime();
            sweep(
                &server.database.pool,
                &kept,
                days(i64::from(kept.customers_days) - 1),
            )
            .await
            .expect("swept");
            let early = server.get("/v1/deliveries/d-1").await.expect(200);
            assert_eq!(early.body["customer"]["name"], "Grace");
            sweep(
                &server.database.pool,
                &kept,
                days(i64::from(kept.customers_days) + 1),
            )
            .await
            .expect("swept");
        }
        let read = server.get("/v1/deliveries/d-1").await.expect(200);
        let text = read.body.to_string();
        for known in [
            "Grace",
            "99123456",
            "example.org",
            "dog",
            "order 17",
            "Tower Road",
        ] {
            assert!(!text.contains(known), "{known} in {text}");
        }
        assert_eq!(read.body["dropoff"]["lat"], 35.91);
        let links = server.get("/v1/deliveries/d-1/links").await.expect(200);
        assert_eq!(links.body["items"], json!([]));
        let other = server.get("/v1/deliveries/d-0").await.expect(200);
        assert_eq!(other.text("note"), "open");
        server.stop().await;
    }
}

#[tokio::test]
async fn what_is_past_its_time_is_removed() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    server
        .post("/v1/couriers/c-1/join-codes", json!({}))
        .await
        .expect(201);
    delivered(&server).await;
    let kept = Config::defaults().expect("defaults").retention;
    const CODES: &str = "select count(*) from dispatch.one_time_code";
    const CHANGES: &str = "select count(*) from dispatch.change";
    const LONG: &str = "select (select count(*) from dispatch.delivery) \
        + (select count(*) from dispatch.audit) + (select count(*) from public.event)";
    let now = UnixMs(server.clock.now_ms());
    let pool = &server.database.pool;
    sweep(pool, &kept, now.to_datetime()).await.expect("swept");
    assert!(
        count(&server, CODES).await > 0 && count(&server, CHANGES).await > 0,
        "what is in time stays"
    );
    let later = now.plus_ms(2 * 3_600_000).to_datetime();
    sweep(pool, &kept, later).await.expect("swept");
    assert_eq!(
        (count(&server, CODES).await, count(&server, CHANGES).await),
        (0, 0)
    );
    assert!(count(&server, LONG).await > 0);
    let much_later = now.plus_ms(401 * 86_400_000).to_datetime();
    sweep(pool, &kept, much_later).await.expect("swept");
    assert_eq!(count(&server, LONG).await, 0);
    server.stop().await;
}

#[tokio::test]
async fn looks_through_a_link_are_listed_by_hour_and_network() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    server
        .delivery("d-1", json!({"courier_id": "c-1", "link": true}))
        .await
        .expect(201);
    let links = server.get("/v1/deliveries/d-1/links").await.expect(200);
    let link = links.body["items"][0]["id"]
        .as_str()
        .expect("an id")
        .to_owned();
    let id: Uuid = link.parse().expect("a uuid");
    let log = server.access.link_log();
    let address: IpAddr = "198.51.100.7".parse().expect("an address");
    let now = UnixMs(server.clock.now_ms());
    for (channel, looks) in [(LinkChannel::Poll, 3), (LinkChannel::WebSocket, 1)] {
        for _ in 0..looks {
            log.note(id, channel, address, now);
        }
    }
    log.note(Uuid::from_u128(9), LinkChannel::Poll, address, now);
    log.write(&server.database.pool)
        .await
        .expect("written, without the link that is none");
    log.note(id, LinkChannel::Poll, address, now.plus_ms(1));
    log.write(&server.database.pool).await.expect("written");
    let path = format!("/v1/deliveries/d-1/links/{link}/accesses");
    let list = server.get(&path).await.expect(200);
    let looks: Vec<(&str, &str, i64)> = list.body["items"]
        .as_array()
        .expect("items")
        .iter()
        .map(|item| {
            let text = |field: &str| item[field].as_str().expect("text");
            (
                text("channel"),
                text("network"),
                item["looks"].as_i64().expect("a number"),
            )
        })
        .collect();
    assert_eq!(
        looks,
        [
            ("poll", "198.51.100.0/24", 4),
            ("websocket", "198.51.100.0/24", 1)
        ]
    );
    let foreign = format!("/v1/deliveries/d-2/links/{link}/accesses");
    server.get(&foreign).await.expect(404);
    server.stop().await;
}
