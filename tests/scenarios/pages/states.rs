//! What each page says when there is nothing yet, while it waits, when something fails, and without a
//! network.

use reqwest::Method;

use crate::support::browser::{Browser, DESK, HAND};
use crate::support::server::Server;
use crate::support::stage::Stage;

/// Pages behind the sign-in, and words that each shows when it has what it asked for.
const PAGES: [(&str, &str); 4] = [
    ("/", "Nothing needs you right now."),
    ("/trips", "No trips in these days."),
    ("/events", "Nothing has happened here yet."),
    ("/stream", "delivery-location"),
];
/// Long enough for a skeleton, which comes after 200 ms.
const SLOW_MS: u32 = 1_000;

async fn open(browser: &Browser, server: &Server, path: &str) {
    browser.goto(&format!("{}{path}", server.url)).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn operators_pages_say_how_things_are_when_empty_loading_failing_and_offline() {
    let (database, _setup, server) = Stage::empty().await;
    let browser = Browser::open(DESK.0, DESK.1, false).await;
    browser.sign_in(&server).await;
    for (path, words) in PAGES {
        open(&browser, &server, path).await;
        browser.says(words).await;

        browser.set_slow(SLOW_MS).await;
        open(&browser, &server, path).await;
        browser
            .shows("a skeleton", "document.querySelector('.skeleton')")
            .await;
        browser.set_slow(0).await;
        browser.says(words).await;

        browser.set_offline(true).await;
        browser.says("You are offline.").await;
        browser.set_offline(false).await;
        browser
            .shows(
                "the bar to go",
                "!document.body.innerText.includes('You are offline.')",
            )
            .await;

        // Everything fails, then it works again, and Retry finds out.
        browser.block(&["*://*/v1/*"]).await;
        open(&browser, &server, path).await;
        browser.says("The server does not answer.").await;
        browser.says("This has not worked for").await;
        browser.block(&[]).await;
        browser.press("Retry").await;
        browser.says(words).await;
    }
    browser.close().await;
    assert!(server.stop().await);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn views_within_a_page_have_states_of_their_own() {
    let (database, _setup, server) = Stage::empty().await;
    let browser = Browser::open(DESK.0, DESK.1, false).await;
    browser.sign_in(&server).await;
    for (tab, words) in [
        ("couriers", "No couriers yet."),
        ("deliveries", "No deliveries here."),
        ("fences", "No fences yet."),
    ] {
        browser.click(&format!("[data-tab={tab}]")).await;
        browser.says(words).await;
    }
    // One list fails, and says so; the others and the map go on.
    browser.block(&["*://*/v1/deliveries*"]).await;
    browser.click("[data-tab=deliveries]").await;
    browser.says("The server does not answer.").await;
    browser.block(&[]).await;
    browser.press("Retry").await;
    browser.says("No deliveries here.").await;
    // The map fails, the lists go on.
    browser.block(&["*://*/basemap/*"]).await;
    open(&browser, &server, "/").await;
    browser.says("The map could not be loaded.").await;
    browser.says("Nothing needs you right now.").await;
    browser.block(&[]).await;

    open(&browser, &server, "/events").await;
    browser.press("Webhooks").await;
    browser.says("Nobody is told yet.").await;
    open(&browser, &server, "/stream").await;
    browser.says("Nothing is in quarantine").await;
    open(&browser, &server, "/docs").await;
    browser.says("/v1/positions").await;
    browser.write("input[type=search]", "no such route").await;
    browser.says("No route like that.").await;
    browser.block(&["*://*/v1/openapi.json"]).await;
    open(&browser, &server, "/docs").await;
    browser.says("The server does not answer.").await;
    browser.block(&[]).await;
    browser.press("Retry").await;
    browser.says("/v1/positions").await;

    open(&browser, &server, "/sign-in").await;
    browser.write("input[name=key]", "wl_key_wrong").await;
    browser.click("button[type=submit]").await;
    browser.says("That is not right.").await;
    open(&browser, &server, "/nowhere").await;
    browser.says("There is nothing here").await;
    browser.close().await;
    assert!(server.stop().await);
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_customers_and_the_couriers_pages_say_what_is_wrong() {
    let stage = Stage::set().await;
    stage.step("picked_up").await;
    stage.fix(0.2).await;
    let browser = Browser::open(HAND.0, HAND.1, false).await;
    let server = &stage.server;
    // No network: what was known stays, with its age; then it is live again.
    browser.goto(&stage.page).await;
    browser.says("Maria is on the way").await;
    browser.set_offline(true).await;
    browser.says("This is how things stood").await;
    browser.set_offline(false).await;
    browser
        .shows(
            "to be live",
            "document.querySelector('.customer[data-state=live]')",
        )
        .await;
    // The map fails; the text does not.
    browser.block(&["*://*/basemap/*"]).await;
    browser.goto(&stage.page).await;
    browser.says("The map could not be loaded.").await;
    browser.says("Maria is on the way").await;
    browser.block(&[]).await;
    // Links that lead nowhere, and one that is withdrawn under the reader's eyes.
    open(&browser, server, "/t/nonsense").await;
    browser.says("This link is not valid").await;
    browser.goto(&stage.page).await;
    browser.says("Maria is on the way").await;
    let (_, links) = server
        .admin(Method::GET, "/v1/deliveries/d-1/links", None)
        .await;
    let link = links["items"][0]["id"].as_str().expect("a link").to_owned();
    let path = format!("/v1/deliveries/d-1/links/{link}");
    assert_eq!(server.admin(Method::DELETE, &path, None).await.0, 204);
    browser.says("This link was withdrawn").await;

    // A phone that nobody gave out, a code that is spent, a courier without a network.
    open(&browser, server, "/courier").await;
    browser.says("This phone is nobody’s yet").await;
    open(&browser, server, "/join/00000000").await;
    browser.says("This code does not work any more").await;
    let code = server
        .create("/v1/couriers/c-1/join-codes", serde_json::json!({}))
        .await;
    open(
        &browser,
        server,
        &format!("/join/{}", code["code"].as_str().expect("a code")),
    )
    .await;
    browser.says("Hello Maria").await;
    browser.press("Use this page").await;
    browser.says("Tower Road 12").await;
    browser.set_offline(true).await;
    browser.says("No network. Nothing is lost").await;
    browser.set_offline(false).await;
    browser.close().await;
    stage.clear().await;
}
