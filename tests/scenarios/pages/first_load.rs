//! What the customer's page costs: requests until its map is there, and the text without any map.

use crate::support::browser::{Browser, HAND};
use crate::support::stage::{ADDRESS, Stage};

/// Requests until the first map is drawn.
const MOST_REQUESTS: u64 = 20;
/// DevTools' "Fast 4G": latency with its factor, 9 Mbit/s less a tenth.
const FAST_4G: (u32, i64) = (165, 1_012_500);
const SLOW_4G: (u32, i64) = (563, 180_000);

async fn stage() -> Stage {
    let stage = Stage::set().await;
    stage.step("picked_up").await;
    stage.fix(0.1).await;
    stage.fix(0.2).await;
    stage
}

#[tokio::test(flavor = "multi_thread")]
async fn the_first_map_takes_few_requests() {
    let stage = stage().await;
    let browser = Browser::open(HAND.0, HAND.1, false).await;
    browser.goto(&stage.page).await;
    browser
        .shows(
            "the map",
            "window.__waylog?.mapReady && window.__waylog.courier",
        )
        .await;
    // The page itself, what it loaded (and did not find in the cache), and its socket.
    let loaded = "performance.getEntriesByType('resource').filter((one) => one.transferSize > 0)";
    let asked = browser
        .value(&format!("{loaded}.map((one) => one.name)"))
        .await;
    let asked = asked.as_array().expect("a list");
    let requests = asked.len() as u64 + 2;
    assert!(requests <= MOST_REQUESTS, "{requests} requests: {asked:#?}");
    println!("requests until the first map: {requests}");
    browser.close().await;
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_webgl_the_text_says_everything() {
    let stage = stage().await;
    let browser = Browser::without_webgl(HAND).await;
    browser.goto(&stage.page).await;
    browser.says("Maria is on the way to you").await;
    browser.says("Updated").await;
    browser.says("min").await;
    browser.says(ADDRESS).await;
    browser.says("This browser cannot draw the map").await;
    browser
        .shows(
            "the words for those who do not see it",
            "document.querySelector('[aria-live=polite]').textContent.includes('Maria')",
        )
        .await;
    // And it goes on living.
    stage.step("arrived").await;
    browser.says("At your door").await;
    browser
        .is_accessible("the customer's page without a map")
        .await;
    browser.screenshot("customer-no-webgl").await;
    browser.close().await;
    stage.clear().await;
}

/// A measurement, not a test: it prints how long the text takes on a phone's network.
#[tokio::test(flavor = "multi_thread")]
async fn the_text_on_a_slow_network_is_measured() {
    if std::env::var_os("WAYLOG_TEST_LONG").is_none() {
        return;
    }
    let stage = stage().await;
    let browser = Browser::open(HAND.0, HAND.1, false).await;
    for (name, (latency_ms, bytes_per_s)) in [("fast 4G", FAST_4G), ("slow 4G", SLOW_4G)] {
        let mut times = Vec::new();
        for _ in 0..7 {
            browser
                .devtools("Network.enable", serde_json::json!({}))
                .await;
            browser
                .devtools("Network.clearBrowserCache", serde_json::json!({}))
                .await;
            browser.throttle(false, latency_ms, bytes_per_s).await;
            browser.goto(&stage.page).await;
            browser.shows("the text", "window.__waylog?.textMs").await;
            times.push(
                browser
                    .value("window.__waylog.textMs")
                    .await
                    .as_f64()
                    .expect("a number"),
            );
        }
        times.sort_by(f64::total_cmp);
        println!(
            "text of the customer page, {name}: median {:.0} ms, all {times:.0?}",
            times[3]
        );
    }
    browser.close().await;
    stage.clear().await;
}
