//! The fleet page with two thousand couriers: cells with counts, one by one when near, found by name.

use futures_util::stream::{self, StreamExt};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::{Browser, DESK};
use crate::support::server::{ADMIN_KEY, Server};
use crate::support::stage::Stage;
use crate::support::{eventually, now_ms};

const COURIERS: usize = 2_000;
const AT_ONCE: usize = 16;

/// A street grid over the towns of Malta.
fn place(i: usize) -> (f64, f64) {
    (
        35.86 + (i % 50) as f64 * 0.0012,
        14.40 + (i / 50) as f64 * 0.003,
    )
}

async fn provision(server: &Server) {
    let lines = (0..COURIERS).map(|i| {
        let (vehicle, tag) = [("bike", "north"), ("van", "south")][i % 2];
        format!("c-{i},Courier {i},{vehicle},{tag}\n")
    });
    let csv = std::iter::once("id,name,vehicle,tags\n".to_owned())
        .chain(lines)
        .collect::<String>();
    // While Postgres has no connection to spare the answer is 503, and nothing else.
    eventually("the file to be taken", || async {
        let import = server
            .http
            .post(format!("{}/v1/couriers/import", server.url))
            .bearer_auth(ADMIN_KEY)
            .header("content-type", "text/csv")
            .body(csv.clone());
        let answer = import.send().await.expect("an answer");
        let status = answer.status().as_u16();
        assert!([200, 503].contains(&status), "{status}");
        (status == 200).then_some(())
    })
    .await;
    stream::iter(0..COURIERS)
        .for_each_concurrent(AT_ONCE, |i| async move {
            let device = server
                .create(&format!("/v1/couriers/c-{i}/devices"), json!({}))
                .await;
            let (lat, lon) = place(i);
            let fix = json!({"fix_time": now_ms(), "lat": lat, "lon": lon, "accuracy_m": 5});
            let token = device["token"].as_str().expect("a token");
            let (status, answer) = server.post_fixes(token, fix).await;
            assert_eq!(status, 200, "{answer}");
        })
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn two_thousand_couriers_are_searched_and_zoomed_from_cells_to_one_and_back() {
    let (database, _setup, server) = Stage::empty().await;
    provision(&server).await;
    let browser = Browser::open(DESK.0, DESK.1, false).await;
    browser.sign_in(&server).await;
    browser.shows("the map", "window.__waylog?.mapReady").await;
    browser
        .shows(
            "everybody in the cells",
            &format!("window.__waylog.inCells === {COURIERS}"),
        )
        .await;
    browser.screenshot("fleet-2000-cells").await;

    // The list holds everybody, the page only the rows that can be seen.
    browser.click("[data-tab=couriers]").await;
    browser.says("2,000 couriers").await;
    let rows = browser
        .value("document.querySelectorAll('[role=listitem]').length")
        .await;
    assert!(rows.as_u64().is_some_and(|n| n < 100), "{rows} rows");

    browser.write("input[type=search]", "courier 1234").await;
    browser.says("1 courier").await;
    browser
        .shows(
            "only the found one on the map",
            "window.__waylog.found === 1",
        )
        .await;
    browser.click("[role=listitem] button").await;
    browser
        .shows(
            "the courier's card",
            "document.querySelector('.card-panel h2')?.innerText === 'Courier 1234'",
        )
        .await;
    browser
        .shows("couriers one by one", "window.__waylog.couriers > 0")
        .await;
    browser.write("input[type=search]", "").await;
    browser.says("2,000 couriers").await;
    browser.screenshot("fleet-2000-near").await;

    // By status and by tag.
    browser.press("#south").await;
    browser.says("1,000 couriers").await;
    browser.press("Offline").await;
    browser.says("Nobody fits.").await;
    browser.press("Show all").await;
    browser.says("2,000 couriers").await;

    for _ in 0..5 {
        browser.click(".maplibregl-ctrl-zoom-out").await;
    }
    browser
        .shows(
            "the cells again, and nobody one by one",
            "window.__waylog.inCells > 1000 && window.__waylog.couriers === 0",
        )
        .await;
    assert_eq!(browser.console_errors().await, Vec::<String>::new());
    browser.close().await;
    let (_, list): (u16, Value) = server
        .admin(Method::GET, "/v1/fleet/couriers?limit=1", None)
        .await;
    assert!(list["next_cursor"].is_string());
    assert!(server.stop().await);
    database.drop_database().await;
}
