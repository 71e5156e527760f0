//! A dispatcher's work: a delivery by two clicks on the map, given to the nearest, shared and watched;
//! what needs attention, put off and settled; fences drawn; all of it also by keyboard.

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::{Browser, DESK};
use crate::support::eventually;
use crate::support::now_ms;
use crate::support::server::Server;
use crate::support::stage::{DROPOFF, PICKUP, Stage};

/// The middle of the map, as the page lays it out with list and card.
async fn middle(browser: &Browser) -> (f64, f64) {
    let script = "(() => { const r = document.querySelector('.map-area').getBoundingClientRect(); \
                  return [r.x + r.width / 2, r.y + r.height / 2]; })()";
    let at = browser.value(script).await;
    (
        at[0].as_f64().expect("a number"),
        at[1].as_f64().expect("a number"),
    )
}

async fn drawing(browser: &Browser) {
    browser
        .shows("the map to take a drawing", "window.__waylog?.drawing")
        .await;
}

async fn only(server: &Server, path: &str) -> Value {
    eventually(&format!("one thing in {path}"), || async {
        let (_, list) = server.admin(Method::GET, path, None).await;
        let items = list["items"].as_array()?;
        (items.len() == 1).then(|| items[0].clone())
    })
    .await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_delivery_is_made_on_the_map_given_to_the_nearest_and_shared() {
    let (database, _setup, server) = Stage::empty().await;
    for (id, (lat, lon)) in [("c-near", PICKUP), ("c-far", (35.85, 14.42))] {
        let token = server.courier_with_phone(id).await;
        let fix = json!({"fix_time": now_ms(), "lat": lat, "lon": lon, "accuracy_m": 5});
        assert_eq!(server.post_fixes(&token, fix).await.0, 200);
    }
    let browser = Browser::open(DESK.0, DESK.1, false).await;
    browser.sign_in(&server).await;
    // Where there are streets.
    let view = json!({"center": [PICKUP.1, PICKUP.0], "zoom": 14.5}).to_string();
    browser
        .run(&format!(
            "sessionStorage.setItem('waylog-fleet-view', {})",
            json!(view)
        ))
        .await;
    browser.client.refresh().await.expect("reloads");
    browser.shows("the map", "window.__waylog?.mapReady").await;
    browser.says("Nothing needs you right now.").await;
    browser.press("New delivery").await;
    browser
        .says("Click on the map where it is picked up.")
        .await;
    let (x, y) = middle(&browser).await;
    browser.click_at(x - 40.0, y).await;
    browser.says("Click on the map where it goes.").await;
    browser.click_at(x + 40.0, y + 30.0).await;
    browser.write("input[name=dropoff]", "Tower Road 12").await;
    browser.write("input[name=tags]", "express, cold").await;
    browser.screenshot("fleet-new-delivery").await;
    browser.press("Create delivery").await;

    // Its card opens, with those who could take it, the nearest first by road.
    browser.says("Nearest free couriers by road").await;
    browser
        .shows(
            "two candidates",
            "document.querySelectorAll('.assign .item').length === 2",
        )
        .await;
    browser
        .shows(
            "a time by road",
            r"/\d+\s(s|min)/.test(document.querySelector('.assign .item strong')?.innerText)",
        )
        .await;
    let delivery = only(&server, "/v1/deliveries").await;
    assert_eq!(delivery["dropoff"]["label"], "Tower Road 12");
    assert_eq!(delivery["tags"], json!(["cold", "express"]));
    // Meanwhile it is at the top of the attention list, by its address.
    browser.says("Tower Road 12 has waited").await;
    browser.screenshot("fleet-assign").await;
    browser.click(".assign .item").await;
    browser.says("Assigned to").await;
    let given = eventually("somebody to have it", || async {
        let delivery = only(&server, "/v1/deliveries").await;
        delivery["courier_id"].as_str().map(str::to_owned)
    })
    .await;
    assert!(["c-near", "c-far"].contains(&given.as_str()));
    browser.says("Nothing needs you right now.").await;

    // A link, and how many look at it.
    browser.press("Make a link").await;
    let url = browser
        .element("input[aria-label='Tracking link']")
        .await
        .prop("value")
        .await
        .expect("readable")
        .expect("a link");
    let token = url.rsplit('/').next().expect("a token");
    let watching = server
        .http
        .get(format!("{}/v1/track/events", server.url))
        .bearer_auth(token)
        .send()
        .await
        .expect("an answer");
    assert_eq!(watching.status(), 200);
    browser.says("1 watching").await;
    drop(watching);
    browser.press("Withdraw").await;
    browser.says("Link withdrawn").await;
    browser.close().await;
    assert!(server.stop().await);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn fences_are_drawn_and_saved_by_pointer_and_by_keyboard() {
    let (database, _setup, server) = Stage::empty().await;
    let browser = Browser::open(DESK.0, DESK.1, false).await;
    browser.sign_in(&server).await;
    browser.shows("the map", "window.__waylog?.mapReady").await;
    // Tabs by arrow keys, as screen readers teach them.
    browser
        .run("document.querySelector('[role=tab]').focus()")
        .await;
    browser.key("End").await;
    browser.says("No fences yet.").await;

    browser.press("Circle").await;
    drawing(&browser).await;
    let (x, y) = middle(&browser).await;
    browser.click_at(x, y).await;
    browser.click_at(x + 60.0, y).await;
    browser
        .shows(
            "the circle's size",
            "document.querySelector('.card-panel input[type=number]')?.valueAsNumber > 0",
        )
        .await;
    browser.write("input[name=name]", "Harbour").await;
    browser.screenshot("fleet-fence").await;
    browser.press("Save fence").await;
    browser.says("Fence saved").await;
    let fence = only(&server, "/v1/geofences").await;
    assert_eq!(fence["name"], "Harbour");
    assert!(
        fence["circle"]["radius_m"]
            .as_f64()
            .is_some_and(|r| r > 0.0),
        "{fence}"
    );

    browser.press("Area").await;
    drawing(&browser).await;
    for (dx, dy) in [(-80.0, -60.0), (80.0, -60.0), (0.0, 70.0), (-80.0, -60.0)] {
        browser.click_at(x + dx, y + dy).await;
    }
    browser.says("Area with 3 corners").await;
    browser.write("input[name=name]", "Old town").await;
    browser.press("Save fence").await;
    browser.says("Old town").await;

    // Without a pointer: the middle of the map, and a size in figures.
    browser.press("Circle").await;
    drawing(&browser).await;
    browser.press("Take the middle of the map").await;
    browser.says("Circle of 250").await;
    browser.write("input[name=name]", "Depot").await;
    browser.press("Save fence").await;
    browser.says("Depot").await;
    let (_, fences) = server.admin(Method::GET, "/v1/geofences", None).await;
    assert_eq!(fences["items"].as_array().map(Vec::len), Some(3));

    // The fence's own card, closed by Escape; the focus is back where it came from.
    browser
        .run("[...document.querySelectorAll('.item')].find((one) => one.innerText.includes('Depot')).focus()")
        .await;
    browser.key("Enter").await;
    browser.says("Tells when a courier").await;
    browser.key("Escape").await;
    browser
        .shows(
            "the focus on the list again",
            "!document.querySelector('.card-panel') && document.activeElement.innerText.includes('Depot')",
        )
        .await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    browser.close().await;
    assert!(server.stop().await);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_needs_attention_is_told_put_off_and_settled() {
    let (database, _setup, server) = Stage::empty().await;
    let browser = Browser::open(DESK.0, DESK.1, false).await;
    browser.sign_in(&server).await;
    browser.says("Nothing needs you right now.").await;
    let place = |at: (f64, f64), label: &str| json!({"lat": at.0, "lon": at.1, "label": label});
    for (id, label) in [("d-1", "Bell Street 3"), ("d-2", "Mint Street 9")] {
        let body =
            json!({"id": id, "pickup": place(PICKUP, "Bakery"), "dropoff": place(DROPOFF, label)});
        server.create("/v1/deliveries", body).await;
    }
    browser.says("Bell Street 3 has waited").await;
    browser.says("Mint Street 9 has waited").await;
    // In the window's title too, for whoever looks elsewhere.
    browser
        .shows("the count in the title", "document.title.startsWith('(2)')")
        .await;
    browser.screenshot("fleet-attention").await;

    browser.press("Snooze 15 min").await;
    browser
        .shows("one less", "document.title.startsWith('(1)')")
        .await;
    browser.press("Done").await;
    browser.says("Nothing needs you right now.").await;
    // Put off in this browser: a reload does not bring them back.
    browser.client.refresh().await.expect("reloads");
    browser.says("Nothing needs you right now.").await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    browser.close().await;
    assert!(server.stop().await);
    database.drop_database().await;
}
