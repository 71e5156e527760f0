//! The trips page in a real browser: found by filters, replayed, exported; and the heatmap.

use fantoccini::Locator;
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::database::Database;
use crate::support::server::Setup;
use crate::support::{eventually, now_ms};

/// A drive of half an hour with a stop of five minutes in its middle, a fix every 5 s; it ended hours
/// ago.
fn drive() -> Vec<Value> {
    let start = now_ms() - 5 * 3_600_000;
    let mut metres = 0.0;
    let fix = |n: i64| {
        let moving = !(180..240).contains(&n);
        metres += if moving { 50.0 } else { 0.0 };
        json!({"fix_time": start + n * 5_000, "lat": 35.9 + metres / 111_195.0, "lon": 14.5,
            "accuracy_m": 5, "speed_mps": if moving { 10 } else { 0 }})
    };
    (0..420).map(fix).collect()
}

async fn run(browser: &Browser, script: &str) -> Value {
    browser
        .client
        .execute(script, vec![])
        .await
        .unwrap_or(Value::Null)
}

async fn becomes_true(browser: &Browser, what: &str, truth: &str) {
    let script = format!("return Boolean({truth})");
    eventually(what, || async {
        (run(browser, &script).await == true).then_some(())
    })
    .await;
}

async fn choose(browser: &Browser, select: &str, value: &str) {
    let script = format!(
        "const all = [...document.querySelectorAll('select')]; \
         const one = all.find((s) => [...s.options].some((o) => o.text.startsWith('{select}')) || s.ariaLabel === '{select}'); \
         one.value = '{value}'; one.dispatchEvent(new Event('change', {{ bubbles: true }})); return true;"
    );
    assert_eq!(
        run(browser, &script).await,
        true,
        "choose {value} where {select} stands"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_trip_is_found_replayed_and_exported_and_the_heatmap_is_filtered() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url))
        .set("WAYLOG__ANALYTICS__FLUSH_AFTER_MS", "50")
        .set("WAYLOG__ANALYTICS__DERIVE_AFTER_MS", "100");
    let server = setup.start().await;
    let token = server.courier_with_phone("c-1").await;
    let drive = drive();
    let (status, answer) = server.post_fixes(&token, json!(drive)).await;
    assert_eq!(
        (status, &answer["accepted"]),
        (200, &json!(drive.len())),
        "{answer}"
    );
    let trip = eventually("the trip to be found", || async {
        let (_, page) = server.admin(Method::GET, "/v1/trips", None).await;
        page["items"][0]["id"].as_str().map(str::to_owned)
    })
    .await;

    let browser = Browser::open(1440, 900, false).await;
    browser.sign_in(&server).await;
    let page = format!("{}/trips", server.url);
    browser.client.goto(&page).await.expect("opens");
    let first = browser
        .client
        .wait()
        .for_element(Locator::Css(".trips .item"))
        .await;
    first
        .expect("the trip is listed")
        .click()
        .await
        .expect("clicked");
    becomes_true(
        &browser,
        "chart, slider, six rates and four exports",
        "document.querySelector('.uplot canvas') \
         && document.querySelector('input[type=range]') \
         && document.querySelectorAll('.rates button').length === 6 \
         && document.querySelectorAll('a[download]').length === 4",
    )
    .await;
    let said = run(
        &browser,
        "return document.querySelector('.trip-panel').innerText",
    )
    .await;
    // Numbers and units are held together by spaces that do not break.
    let said = said
        .as_str()
        .expect("text")
        .replace(['\u{a0}', '\u{202f}'], " ");
    assert!(said.contains("1 stop") && said.contains("18 km"), "{said}");

    // Every export of the page is one that the browser may fetch.
    let fetched = browser
        .client
        .execute_async(
            "const done = arguments[arguments.length - 1]; \
             Promise.all([...document.querySelectorAll('a[download]')].map(async (a) => { \
                 const answer = await fetch(a.href); \
                 return [answer.status, (await answer.arrayBuffer()).byteLength > 1000]; \
             })).then(done);",
            vec![],
        )
        .await
        .expect("fetched");
    assert_eq!(
        fetched,
        json!([[200, true], [200, true], [200, true], [200, true]])
    );
    assert!(trip.parse::<u64>().is_ok());

    // The slider follows the replay, and the replay the slider.
    let at = "Number(document.querySelector('input[type=range]').value)";
    let begun = run(&browser, &format!("return {at}"))
        .await
        .as_f64()
        .expect("a time");
    run(
        &browser,
        "document.querySelectorAll('.rates button')[5].click(); \
         document.querySelector('.player button.icon').click(); return true;",
    )
    .await;
    becomes_true(
        &browser,
        "the replay to run",
        &format!("{at} > {begun} + 60"),
    )
    .await;
    run(
        &browser,
        "const slider = document.querySelector('input[type=range]'); slider.value = slider.max; \
         slider.dispatchEvent(new Event('input', { bubbles: true })); return true;",
    )
    .await;
    becomes_true(
        &browser,
        "the end to be shown",
        &format!("{at} === Number(document.querySelector('input[type=range]').max)"),
    )
    .await;

    // Nobody else has trips.
    choose(&browser, "Deliveries and ways", "delivery").await;
    becomes_true(
        &browser,
        "no delivery to be listed",
        "!document.querySelector('.trips .item')",
    )
    .await;
    choose(&browser, "Deliveries and ways", "").await;
    becomes_true(
        &browser,
        "the way to be listed",
        "document.querySelector('.trips .item')",
    )
    .await;

    let heat = Locator::Css(".trips .filters button[aria-pressed]");
    let heat = browser.client.find(heat).await.expect("the button");
    heat.click().await.expect("clicked");
    becomes_true(&browser, "cells of the drive", "window.__waylog?.cells > 3").await;
    // Another day of the week has nothing.
    let elsewhere = "return String((new Date(Date.now() - 5 * 3600e3).getDay() + 2) % 7 + 1)";
    let elsewhere = run(&browser, elsewhere).await;
    choose(&browser, "Every day", elsewhere.as_str().expect("a day")).await;
    becomes_true(
        &browser,
        "no cells on another day",
        "window.__waylog?.cells === 0",
    )
    .await;
    choose(&browser, "Every day", "").await;
    becomes_true(&browser, "all cells again", "window.__waylog?.cells > 3").await;
    let hour = run(
        &browser,
        "return String((new Date(Date.now() - 5 * 3600e3).getHours() + 12) % 24)",
    )
    .await;
    choose(&browser, "All", hour.as_str().expect("an hour")).await;
    becomes_true(
        &browser,
        "no cells at another hour",
        "window.__waylog?.cells === 0",
    )
    .await;
    browser.close().await;
    assert!(server.stop().await);
    database.drop_database().await;
}
