//! The customer's page: the courier moves, the timeline goes on, silence is shown as silence, a
//! restart of the server is survived without a reload.

use crate::support::browser::{Browser, HAND};
use crate::support::eventually;
use crate::support::stage::{ADDRESS, Stage};

const DOT: &str = "window.__waylog?.courier";

/// Where the dot is drawn, if it is.
async fn dot(browser: &Browser) -> Option<(f64, f64)> {
    let at = browser.value(DOT).await;
    Some((at["lat"].as_f64()?, at["lon"].as_f64()?))
}

async fn moved(browser: &Browser, from: (f64, f64)) {
    eventually("the dot to move", || async {
        let (lat, lon) = dot(browser).await?;
        ((lat - from.0).abs() + (lon - from.1).abs() > 1e-4).then_some(())
    })
    .await;
}

async fn is_at_step(browser: &Browser, status: &str) {
    let css = format!("[data-step={status}][aria-current=step]");
    browser
        .shows(
            &format!("the timeline to be at {status}"),
            &format!("document.querySelector('{css}')"),
        )
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_customer_sees_the_courier_move_and_the_timeline_change() {
    let stage = Stage::set().await;
    let browser = Browser::open(HAND.0, HAND.1, false).await;
    browser.goto(&stage.page).await;
    browser.says("Waiting for pick-up").await;
    is_at_step(&browser, "assigned").await;
    assert_eq!(dot(&browser).await, None, "nothing before the pick-up");

    stage.step("picked_up").await;
    is_at_step(&browser, "picked_up").await;
    stage.fix(0.1).await;
    let first = eventually("the courier on the map", || dot(&browser)).await;
    browser.says("Maria is on the way to you").await;
    browser.says("Updated").await;
    stage.fix(0.3).await;
    moved(&browser, first).await;

    stage.step("arrived").await;
    is_at_step(&browser, "arrived").await;
    browser.says("At your door").await;
    stage.step("delivered").await;
    browser
        .shows(
            "the delivered view",
            "document.querySelector('.customer[data-status=delivered] .ending')",
        )
        .await;
    browser.says("Handed over at").await;
    browser.says(ADDRESS).await;
    assert_eq!(dot(&browser).await, None, "no position after the end");
    browser.screenshot("customer-delivered").await;

    // Whoever opens the link a little later is told the same.
    browser.client.refresh().await.expect("reloads");
    browser.says("Handed over at").await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    browser.close().await;
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_restart_of_the_server_is_caught_up_with_without_a_reload() {
    let mut stage = Stage::set().await;
    stage.step("picked_up").await;
    stage.fix(0.1).await;
    let browser = Browser::open(HAND.0, HAND.1, false).await;
    browser.goto(&stage.page).await;
    let first = eventually("the courier on the map", || dot(&browser)).await;
    browser.run("window.__neverReloaded = true").await;

    stage.server.kill_9().await;
    browser
        .shows(
            "the bar that says so",
            "document.querySelector('.bars .bar')?.innerText.includes('Reconnecting')",
        )
        .await;
    browser.screenshot("customer-reconnecting").await;
    stage.bring_back().await;
    stage.fix(0.4).await;
    stage.step("arrived").await;
    moved(&browser, first).await;
    is_at_step(&browser, "arrived").await;
    browser
        .shows("the bar to go", "!document.querySelector('.bars .bar')")
        .await;
    assert_eq!(browser.value("window.__neverReloaded").await, true);
    browser.close().await;
    stage.clear().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_courier_who_falls_silent_turns_grey_and_comes_back() {
    let stage = Stage::set().await;
    stage.step("picked_up").await;
    stage.fix(0.2).await;
    let browser = Browser::open(HAND.0, HAND.1, false).await;
    browser.goto(&stage.page).await;
    browser
        .shows(
            "the dot",
            "document.querySelector('.courier-dot:not(.stale)')",
        )
        .await;
    let before = dot(&browser).await;
    browser
        .shows(
            "the dot to turn grey",
            "document.querySelector('.courier-dot.stale')",
        )
        .await;
    browser.says("No position from Maria for").await;
    assert_eq!(
        dot(&browser).await,
        before,
        "a silent dot stays where it is"
    );
    browser.screenshot("customer-stale").await;

    stage.fix(0.3).await;
    browser
        .shows(
            "the dot to be itself again",
            "document.querySelector('.courier-dot:not(.stale)')",
        )
        .await;
    browser.close().await;
    stage.clear().await;
}
