//! The main job from end to end: a phone posts, a customer sees, a database keeps, a webhook tells.

use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::database::Database;
use crate::support::receiver::Receiver;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, now_ms};

const PICKUP: (f64, f64) = (35.9065, 14.5085);
const DROPOFF: (f64, f64) = (35.9122, 14.5040);
/// Between two fixes, milliseconds: some 90 km/h on this way.
const STEP_MS: i64 = 1_500;

/// The courier's way, `step` of 0..=20 from the pick-up to the drop-off.
fn on_the_way(step: i32) -> (f64, f64) {
    let t = f64::from(step) / 20.0;
    (
        PICKUP.0 + (DROPOFF.0 - PICKUP.0) * t,
        PICKUP.1 + (DROPOFF.1 - PICKUP.1) * t,
    )
}

async fn post_step(server: &Server, token: &str, step: i32, fix_time: i64) {
    let (lat, lon) = on_the_way(step);
    let fix =
        json!({"fix_time": fix_time, "lat": lat, "lon": lon, "accuracy_m": 5, "speed_mps": 8.0});
    let (status, answer) = server.post_fixes(token, fix).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
}

fn types(events: &[Value]) -> Vec<&str> {
    events.iter().filter_map(|e| e["type"].as_str()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_fix_goes_from_the_phone_to_log_browser_postgres_and_webhook() {
    let database = Database::create().await;
    let receiver = Receiver::start().await;
    let mut setup = Setup::new(Some(&database.url));
    let server = setup.start().await;

    let hook = server
        .create(
            "/v1/webhooks",
            json!({"url": receiver.url, "events": ["delivery.*"]}),
        )
        .await;
    let secret = hook["secret"].as_str().expect("shown once").to_owned();
    let token = server.courier_with_phone("c-17").await;
    let delivery = json!({
        "id": "d-1", "courier_id": "c-17", "link": true,
        "pickup": {"lat": PICKUP.0, "lon": PICKUP.1, "label": "Bakery"},
        "dropoff": {"lat": DROPOFF.0, "lon": DROPOFF.1, "label": "Tower Road 12"},
    });
    let delivery = server.create("/v1/deliveries", delivery).await;
    let page = delivery["tracking_url"]
        .as_str()
        .expect("a link was asked for")
        .to_owned();
    server
        .create("/v1/deliveries/d-1/status", json!({"status": "picked_up"}))
        .await;

    // Nothing of before the pick-up is shown, so the fixes begin with it.
    let start = now_ms();
    post_step(&server, &token, 0, start).await;
    let browser = Browser::open(390, 844, false).await;
    browser.client.goto(&page).await.expect("the page opens");
    let shown = || async {
        let script = "return window.__waylog?.courier ?? null";
        let value = browser.client.execute(script, vec![]).await.ok()?;
        Some((value["lat"].as_f64()?, value["lon"].as_f64()?))
    };
    let first = eventually("the courier on the customer's map", shown).await;
    for step in 1..=6 {
        post_step(&server, &token, step, start + i64::from(step) * STEP_MS).await;
    }
    eventually("the courier to move on the map", || async {
        let (lat, lon) = shown().await?;
        ((lat - first.0).abs() + (lon - first.1).abs() > 1e-4).then_some(())
    })
    .await;
    browser.screenshot("customer-moving").await;

    for step in 7..=20 {
        post_step(&server, &token, step, start + i64::from(step) * STEP_MS).await;
    }
    // The courier stands at the door: two more fixes confirm it.
    for extra in 21..=24 {
        post_step(&server, &token, 20, start + extra * STEP_MS).await;
    }
    let events = eventually("approaching, then arrived, at the receiver", || async {
        let events = receiver.verified(&secret);
        types(&events)
            .contains(&"delivery.arrived")
            .then_some(events)
    })
    .await;
    let place = |kind: &str| types(&events).iter().position(|t| *t == kind);
    let approaching = place("delivery.approaching").expect("approaching was told");
    assert!(approaching < place("delivery.arrived").expect("arrived was told"));
    assert!(
        !events[approaching]["data"]["evidence"].is_null(),
        "evidence is kept"
    );

    eventually("all fixes in Postgres", || async {
        (database
            .number("select count(*) from fix where courier_id = 'c-17'")
            .await?
            == 25)
            .then_some(())
    })
    .await;
    eventually("the page to say that the courier is there", || async {
        let text = browser
            .client
            .find(fantoccini::Locator::Css("body"))
            .await
            .ok()?;
        let text = text.text().await.ok()?;
        text.contains("Tower Road 12").then_some(())
    })
    .await;
    browser.screenshot("customer-arrived").await;
    browser.close().await;
    assert!(server.stop().await, "a clean stop exits with 0");
    database.drop_database().await;
}
