//! Deliveries: their steps, their order, their links.

use reqwest::Method;
use serde_json::{Value, json};

use super::server::{Answer, TestServer};
use crate::access::hash_secret;
use crate::clock::Clock;
use crate::domain::{CourierId, DeliveryId, DeliveryStatus, UnixMs};

async fn step(server: &TestServer, id: &str, status: &str) -> Answer {
    server
        .post(
            &format!("/v1/deliveries/{id}/status"),
            json!({"status": status}),
        )
        .await
}

async fn events(server: &TestServer, id: &str) -> Vec<String> {
    sqlx::query_scalar("select type from event where delivery_id = $1 order by id")
        .bind(id)
        .fetch_all(&server.database.pool)
        .await
        .expect("read")
}

#[tokio::test]
async fn a_delivery_goes_its_way_and_each_step_is_an_event() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let made = server
        .delivery("d-1", json!({"reference": "A-7", "tags": ["cold"]}))
        .await;
    let made = made.expect(201);
    assert_eq!(
        (made.text("status"), made.header("etag")),
        ("created", "\"1\"")
    );
    assert_eq!(made.body["courier_id"], Value::Null);
    step(&server, "d-1", "picked_up").await.expect(409);
    let assigned = server
        .post("/v1/deliveries/d-1/assign", json!({"courier_id": "c-1"}))
        .await
        .expect(200);
    assert_eq!(
        (assigned.text("status"), assigned.text("courier_id")),
        ("assigned", "c-1")
    );
    for status in ["picked_up", "arrived", "delivered"] {
        let answer = step(&server, "d-1", status).await.expect(200);
        assert_eq!(answer.text("status"), status);
        let id = DeliveryId::try_from("d-1").expect("an id");
        let held = server
            .directory
            .delivery(&id)
            .expect("in the Directory before the answer");
        assert_eq!(held.status.as_str(), status);
    }
    for status in [
        "created",
        "assigned",
        "picked_up",
        "delivered",
        "failed",
        "cancelled",
    ] {
        let refused = step(&server, "d-1", status).await.expect(409);
        assert_eq!(refused.text("type"), "urn:waylog:wrong_step");
    }
    step(&server, "d-1", "lost").await.expect(422);
    let read = server.get("/v1/deliveries/d-1").await.expect(200);
    let timeline: Vec<&str> = read.body["timeline"]
        .as_array()
        .expect("a timeline")
        .iter()
        .map(|entry| entry["status"].as_str().expect("a status"))
        .collect();
    assert_eq!(
        timeline,
        ["created", "assigned", "picked_up", "arrived", "delivered"]
    );
    let expected = [
        "delivery.assigned",
        "delivery.picked_up",
        "delivery.arrived",
        "delivery.delivered",
    ];
    assert_eq!(events(&server, "d-1").await, expected);
    server.stop().await;
}

#[tokio::test]
async fn a_delivery_with_a_courier_and_a_link_is_assigned_and_shareable_at_once() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let made = server
        .delivery("d-1", json!({"courier_id": "c-1", "link": true}))
        .await
        .expect(201);
    assert_eq!(made.text("status"), "assigned");
    let token = made
        .text("tracking_url")
        .strip_prefix(&format!("{}/t/", server.url));
    let token = token.expect("a link on this installation");
    let link = server.directory.link(&hash_secret(token)).expect("known");
    assert_eq!(link.delivery_id.as_str(), "d-1");
    let read = server.get("/v1/deliveries/d-1").await.expect(200);
    assert_eq!(read.body.get("tracking_url"), None, "shown once");
    let answer = server
        .delivery("d-2", json!({"courier_id": "nobody"}))
        .await
        .expect(422);
    assert!(answer.text("detail").contains("nobody"), "{}", answer.body);
    assert_eq!(
        server.get("/v1/deliveries/d-2").await.status,
        404,
        "nothing was created"
    );
    server.stop().await;
}

#[tokio::test]
async fn a_run_has_an_order_that_can_be_changed() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    for id in ["a", "b", "c"] {
        server
            .delivery(id, json!({"courier_id": "c-1"}))
            .await
            .expect(201);
    }
    let courier = CourierId::try_from("c-1").expect("an id");
    let run = || {
        let run = server.directory.run_of(&courier);
        run.iter()
            .map(|d| d.id.as_str().to_owned())
            .collect::<Vec<_>>()
    };
    assert_eq!(
        run(),
        ["a", "b", "c"],
        "in the order in which they were given"
    );
    server
        .put(
            "/v1/couriers/c-1/run",
            json!({"deliveries": ["c", "a", "b"]}),
        )
        .await
        .expect(200);
    assert_eq!(run(), ["c", "a", "b"]);
    for bad in [
        json!(["c", "a"]),
        json!(["c", "a", "a"]),
        json!(["c", "a", "x"]),
    ] {
        server
            .put("/v1/couriers/c-1/run", json!({"deliveries": bad}))
            .await
            .expect(409);
    }
    assert_eq!(run(), ["c", "a", "b"], "nothing changed");
    let body = json!({"courier_id": "c-1", "sequence": 0});
    server
        .post("/v1/deliveries/b/assign", body)
        .await
        .expect(200);
    assert_eq!(run(), ["b", "c", "a"]);
    step(&server, "c", "picked_up").await.expect(200);
    step(&server, "c", "delivered").await.expect(200);
    assert_eq!(run(), ["b", "a"]);
    let stop = server
        .directory
        .run(&courier)
        .previous
        .expect("where he was last");
    assert!((stop.position.lat() - 35.9122).abs() < 1e-6);
    server.stop().await;
}

#[tokio::test]
async fn a_delivery_is_not_taken_from_another_courier_by_accident() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    server.courier("c-2").await;
    server
        .delivery("d-1", json!({"courier_id": "c-1"}))
        .await
        .expect(201);
    let path = "/v1/deliveries/d-1/assign";
    let refused = server
        .post(path, json!({"courier_id": "c-2"}))
        .await
        .expect(409);
    assert_eq!(refused.text("type"), "urn:waylog:already_assigned");
    server
        .post(path, json!({"courier_id": "c-1"}))
        .await
        .expect(200);
    let tag = server
        .get("/v1/deliveries/d-1")
        .await
        .header("etag")
        .to_owned();
    let assign = |tag: &str| {
        let request = server.request(Method::POST, path, super::server::ADMIN_KEY);
        request
            .header("if-match", tag)
            .json(&json!({"courier_id": "c-2"}))
    };
    server.send(assign("\"99\"")).await.expect(412);
    let taken = server.send(assign(&tag)).await.expect(200);
    assert_eq!(taken.text("courier_id"), "c-2");
    assert_eq!(
        events(&server, "d-1").await,
        ["delivery.assigned", "delivery.assigned"]
    );
    step(&server, "d-1", "picked_up").await.expect(200);
    let tag = server
        .get("/v1/deliveries/d-1")
        .await
        .header("etag")
        .to_owned();
    let back = server.request(Method::POST, path, super::server::ADMIN_KEY);
    let back = back
        .header("if-match", tag)
        .json(&json!({"courier_id": "c-1"}));
    server.send(back).await.expect(409);
    server.stop().await;
}

#[tokio::test]
async fn what_is_no_delivery_is_refused_and_changes_nothing() {
    let server = TestServer::start().await;
    let place = json!({"lat": 35.9, "lon": 14.5});
    let at = |lat: Value| json!({"lat": lat, "lon": 14.5});
    let window = |from: &str, to: &str| json!({"from": from, "to": to});
    for more in [
        json!({"pickup": {"label": "Bakery"}}),
        json!({"pickup": at(json!(90.1))}),
        json!({"pickup": at(json!("x"))}),
        json!({"pickup": at(Value::Null)}),
        json!({"dropoff": {"lat": 35.9, "lon": 200}}),
        json!({"pickup": null}),
        json!({"window": window("2026-11-22T11:00:00Z", "2026-11-22T10:00:00Z")}),
        json!({"window": window("yesterday", "2026-11-22T10:00:00Z")}),
        json!({"window": window("2026-11-22T09:00:00 Mars/Olympus", "2026-11-22T10:00:00Z")}),
        json!({"window": window("2026-11-22T10:00:00Z", "2036-11-22T10:00:00Z")}),
        json!({"note": "x".repeat(2001)}),
        json!({"sequence": 1.5}),
        json!({"sequence": 3_000_000_000_i64}),
        json!({"customer": {"name": "a\u{1}"}}),
        json!({"link": "yes"}),
    ] {
        let answer = server.delivery("d-1", more.clone()).await;
        assert_eq!(answer.status, 422, "{more}: {}", answer.body);
    }
    let answer = server
        .delivery("d-1", json!({"pickup": {"label": "Bakery"}}))
        .await;
    assert!(
        answer.text("detail").contains("geocoder.url"),
        "{}",
        answer.body
    );
    let other = json!({"id": "other", "pickup": place, "dropoff": place});
    server.put("/v1/deliveries/d-1", other).await.expect(422);
    assert_eq!(server.get("/v1/deliveries").await.body["items"], json!([]));
    server.stop().await;
}

#[tokio::test]
async fn a_plan_is_replaced_and_where_it_stands_stays() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let place = json!({"lat": 35.9, "lon": 14.5});
    let body = json!({"pickup": place, "dropoff": place, "note": "ring twice"});
    server
        .put("/v1/deliveries/d-1", body.clone())
        .await
        .expect(201);
    server
        .post("/v1/deliveries/d-1/assign", json!({"courier_id": "c-1"}))
        .await
        .expect(200);
    let moved = json!({"pickup": place, "dropoff": {"lat": 35.95, "lon": 14.4}});
    let put = server.put("/v1/deliveries/d-1", moved).await.expect(200);
    assert_eq!(
        (put.text("status"), put.text("courier_id")),
        ("assigned", "c-1")
    );
    assert_eq!(
        (&put.body["note"], &put.body["dropoff"]["lat"]),
        (&Value::Null, &json!(35.95))
    );
    step(&server, "d-1", "cancelled").await.expect(200);
    server.put("/v1/deliveries/d-1", body).await.expect(409);
    server.delete("/v1/deliveries/d-1").await.expect(204);
    server.get("/v1/deliveries/d-1").await.expect(404);
    server.stop().await;
}

#[tokio::test]
async fn deliveries_are_found_and_paged_newest_first() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    for n in 0..5 {
        let more = json!({"reference": format!("R-{n}"), "tags": [format!("t{}", n % 2)],
            "customer": {"name": format!("Zoe {n}")}});
        server.delivery(&format!("d-{n}"), more).await.expect(201);
    }
    server
        .post("/v1/deliveries/d-3/assign", json!({"courier_id": "c-1"}))
        .await
        .expect(200);
    step(&server, "d-4", "cancelled").await.expect(200);
    let ids = async |query: &str| {
        let page = server
            .get(&format!("/v1/deliveries?{query}"))
            .await
            .expect(200);
        let items = page.body["items"].as_array().expect("items").clone();
        let ids = items
            .iter()
            .map(|d| d["id"].as_str().expect("an id").to_owned());
        (
            ids.collect::<Vec<_>>(),
            page.body["next_cursor"].as_str().map(str::to_owned),
        )
    };
    let (first, cursor) = ids("limit=2").await;
    assert_eq!(first, ["d-4", "d-3"]);
    let (second, cursor) = ids(&format!("limit=2&cursor={}", cursor.expect("more"))).await;
    assert_eq!(second, ["d-2", "d-1"]);
    let (third, cursor) = ids(&format!("limit=2&cursor={}", cursor.expect("more"))).await;
    assert_eq!((third, cursor), (vec!["d-0".to_owned()], None));
    assert_eq!(ids("status=open").await.0, ["d-3", "d-2", "d-1", "d-0"]);
    assert_eq!(ids("status=assigned,cancelled").await.0, ["d-4", "d-3"]);
    assert_eq!(ids("courier=c-1").await.0, ["d-3"]);
    assert_eq!(ids("tag=t1").await.0, ["d-3", "d-1"]);
    assert_eq!(ids("reference=R-2").await.0, ["d-2"]);
    assert_eq!(ids("q=zoe%201").await.0, ["d-1"]);
    server.get("/v1/deliveries?status=lost").await.expect(422);
    server.stop().await;
}

#[tokio::test]
async fn links_are_bounded_listed_by_prefix_and_revoked_at_once() {
    let server = TestServer::start().await;
    let now = UnixMs(server.clock.now_ms());
    let window = json!({"from": now, "to": now.plus_ms(3_600_000)});
    server
        .delivery("d-1", json!({"window": window}))
        .await
        .expect(201);
    let path = "/v1/deliveries/d-1/links";
    let made = server.post(path, json!({})).await.expect(201);
    let token = made.text("token").to_owned();
    assert_eq!(made.text("url"), format!("{}/t/{token}", server.url));
    let latest = now.plus_ms(25 * 3_600_000);
    assert_eq!(
        made.text("expires_at"),
        latest.to_string(),
        "24 hours after the window"
    );
    server
        .post(path, json!({"expires_at": now.plus_ms(60_000)}))
        .await
        .expect(201);
    for bad in [now.plus_ms(-1), latest.plus_ms(60_000)] {
        server
            .post(path, json!({"expires_at": bad}))
            .await
            .expect(422);
    }
    server
        .post("/v1/deliveries/none/links", json!({}))
        .await
        .expect(404);

    let list = server.get(path).await.expect(200);
    assert!(!list.body.to_string().contains(&token), "shown once");
    assert_eq!(list.body["items"].as_array().expect("items").len(), 2);
    let id = made.text("id");
    assert!(server.directory.link(&hash_secret(&token)).is_some());
    server
        .delete(&format!("/v1/deliveries/other/links/{id}"))
        .await
        .expect(404);
    server.delete(&format!("{path}/{id}")).await.expect(204);
    assert!(server.directory.link(&hash_secret(&token)).is_none());
    server.delete(&format!("{path}/{id}")).await.expect(404);

    // The links that end with the window follow it.
    let second = server.post(path, json!({})).await.expect(201);
    let later = json!({"from": now, "to": now.plus_ms(7_200_000)});
    let place = json!({"lat": 35.9, "lon": 14.5});
    let body = json!({"pickup": place, "dropoff": place, "window": later});
    server.put("/v1/deliveries/d-1", body).await.expect(200);
    let link = server
        .directory
        .link(&hash_secret(second.text("token")))
        .expect("known");
    assert_eq!(link.expires_at, now.plus_ms(26 * 3_600_000));
    server.stop().await;
}

#[tokio::test]
async fn a_courier_sees_his_own_stops_and_moves_them_on() {
    let server = TestServer::start().await;
    let (mine, theirs) = (server.courier("c-1").await, server.courier("c-2").await);
    let more = json!({"courier_id": "c-1", "note": "ring", "customer": {"phone": "+356 2"}});
    server.delivery("d-1", more).await.expect(201);
    let get = |token: &str| server.request(Method::GET, "/v1/me/deliveries", token);
    let run = server.send(get(&mine)).await.expect(200);
    assert_eq!(run.body["courier"]["id"], "c-1");
    assert_eq!(run.body["items"][0]["customer"]["phone"], "+356 2");
    assert_eq!(
        server.send(get(&theirs)).await.expect(200).body["items"],
        json!([])
    );

    let take = |token: &str, body: Value| {
        server
            .request(Method::POST, "/v1/me/deliveries/d-1/status", token)
            .json(&body)
    };
    server
        .send(take(&theirs, json!({"status": "picked_up"})))
        .await
        .expect(404);
    server.clock.advance(60_000);
    let at = UnixMs(server.clock.now_ms() - 30_000);
    let body = json!({"status": "picked_up", "at": at});
    let taken = server.send(take(&mine, body.clone())).await.expect(200);
    let timeline = taken.body["timeline"].as_array().expect("a timeline");
    assert_eq!(
        timeline.last().expect("a step")["at"],
        at.to_string(),
        "the phone's own time"
    );
    let again = server.send(take(&mine, body)).await.expect(200);
    assert_eq!(
        again.body["timeline"].as_array().expect("a timeline").len(),
        timeline.len()
    );
    let future = UnixMs(server.clock.now_ms() + 3_600_000);
    let failed = json!({"status": "failed", "at": future, "reason": "nobody home"});
    let failed = server.send(take(&mine, failed)).await.expect(200);
    let last = failed.body["timeline"]
        .as_array()
        .and_then(|t| t.last())
        .expect("a step");
    assert_eq!(
        last["at"],
        UnixMs(server.clock.now_ms()).to_string(),
        "not in the future"
    );
    let reason: Value = sqlx::query_scalar(
        "select evidence from event where type = 'delivery.failed' and delivery_id = 'd-1'",
    )
    .fetch_one(&server.database.pool)
    .await
    .expect("read");
    assert_eq!(reason, json!({"by": "courier", "reason": "nobody home"}));
    server
        .send(take(&mine, json!({"status": "delivered"})))
        .await
        .expect(409);
    assert_eq!(
        DeliveryStatus::parse("failed"),
        Some(DeliveryStatus::Failed)
    );

    let duty = server.request(Method::POST, "/v1/me/duty", &mine);
    server
        .send(duty.json(&json!({"on_duty": false})))
        .await
        .expect(200);
    let courier = CourierId::try_from("c-1").expect("an id");
    assert!(!server.directory.courier(&courier).expect("known").on_duty);
    server.stop().await;
}

#[tokio::test]
async fn many_deliveries_are_created_at_once_or_none() {
    let server = TestServer::start().await;
    server.courier("c-1").await;
    let place = json!({"lat": 35.9, "lon": 14.5});
    let one = |n: usize| json!({"id": format!("d-{n}"), "pickup": place, "dropoff": place, "courier_id": "c-1"});
    let many = |count: usize| json!({"deliveries": (0..count).map(one).collect::<Vec<_>>()});
    let mut wrong = many(3);
    wrong["deliveries"][2]["id"] = json!("d-0");
    let refused = server.post("/v1/deliveries/bulk", wrong).await.expect(409);
    assert!(
        refused.text("detail").starts_with("deliveries[2]"),
        "{}",
        refused.body
    );
    assert_eq!(
        server.get("/v1/deliveries").await.body["items"],
        json!([]),
        "none"
    );
    server
        .post("/v1/deliveries/bulk", many(0))
        .await
        .expect(422);
    server
        .post("/v1/deliveries/bulk", many(1_001))
        .await
        .expect(422);
    let made = server
        .post("/v1/deliveries/bulk", many(200))
        .await
        .expect(201);
    assert_eq!(made.body["items"].as_array().expect("items").len(), 200);
    let courier = CourierId::try_from("c-1").expect("an id");
    assert_eq!(server.directory.run_of(&courier).len(), 200);
    server.stop().await;
}
