//! Every page in a real browser, in both themes, on a desk and in a hand: it says what it is, it
//! shows a map where it has one, nothing fails in its console, and what it looks like is kept as a
//! picture under `tests/artifacts/` (with WAYLOG_SCREENSHOTS=1 also under `web/screenshots/`).

use std::process::Stdio;

use fantoccini::Locator;

use crate::support::browser::Browser;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::{ADMIN_KEY, Server, Setup};

/// Name, path, and the expression that is true when the page shows what it is for.
const PAGES: [(&str, &str, &str); 7] = [
    (
        "fleet",
        "/",
        "window.__waylog?.mapReady && document.querySelectorAll('[role=tab]').length > 0",
    ),
    (
        "trips",
        "/trips",
        "document.querySelector('h1, h2, [role=heading]')",
    ),
    (
        "stream",
        "/stream",
        "document.body.innerText.includes('delivery-location')",
    ),
    (
        "events",
        "/events",
        "document.querySelector('h1, h2, [role=heading]')",
    ),
    (
        "docs",
        "/docs",
        "document.body.innerText.includes('/v1/deliveries')",
    ),
    (
        "styleguide",
        "/styleguide",
        "document.querySelector('h1, h2')",
    ),
    (
        "not-found",
        "/no-such-page",
        "document.querySelector('h1, h2, p')",
    ),
];

async fn shows(browser: &Browser, name: &str, truth: &str) {
    let script = format!("return Boolean({truth})");
    eventually(&format!("page {name} to show what it is for"), || async {
        let shown = browser.client.execute(&script, vec![]).await.ok()?;
        (shown == serde_json::Value::Bool(true)).then_some(())
    })
    .await;
}

async fn keep(browser: &Browser, name: &str) {
    let picture = browser.screenshot(name).await;
    if std::env::var_os("WAYLOG_SCREENSHOTS").is_some() {
        let root = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("web/screenshots");
        std::fs::create_dir_all(&root).expect("a folder");
        std::fs::copy(&picture, root.join(format!("{name}.png"))).expect("copied");
    }
}

async fn sign_in(browser: &Browser, server: &Server) {
    browser
        .client
        .goto(&format!("{}/sign-in", server.url))
        .await
        .expect("opens");
    let field = Locator::Css("input[name=key]");
    let field = browser
        .client
        .wait()
        .for_element(field)
        .await
        .expect("the form");
    field.send_keys(ADMIN_KEY).await.expect("typed");
    let button = browser
        .client
        .find(Locator::Css("button[type=submit]"))
        .await
        .expect("a button");
    button.click().await.expect("clicked");
    eventually("to be signed in", || async {
        let url = browser.client.current_url().await.ok()?;
        (url.path() == "/").then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_works_and_looks_as_kept() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url));
    let server = setup.start().await;
    let state = setup.data.join("simulate");
    let args = [
        "simulate",
        "--couriers",
        "60",
        "--history",
        "1",
        "--url",
        &server.url,
        "--state",
        state.to_str().expect("UTF-8"),
    ];
    let mut simulator = setup
        .command(&args)
        .env("WAYLOG_API_KEY", ADMIN_KEY)
        .stdout(Stdio::null())
        .spawn()
        .expect("the simulator starts");
    let demo = eventually("the simulator's first delivery", || async {
        let (status, demo) = server.admin(reqwest::Method::GET, "/v1/demo", None).await;
        (status == 200)
            .then(|| demo["tracking_url"].as_str().map(str::to_owned))
            .flatten()
    })
    .await;

    for (theme, dark) in [("light", false), ("dark", true)] {
        for (size, width, height) in [("desktop", 1440, 900), ("phone", 390, 844)] {
            let browser = Browser::open(width, height, dark).await;
            browser.client.goto(&demo).await.expect("opens");
            shows(
                &browser,
                "customer",
                "window.__waylog?.mapReady && window.__waylog.courier",
            )
            .await;
            keep(&browser, &format!("customer-{theme}-{size}")).await;
            browser
                .client
                .goto(&format!("{}/sign-in", server.url))
                .await
                .expect("opens");
            shows(
                &browser,
                "sign-in",
                "document.querySelector('input[name=key]')",
            )
            .await;
            keep(&browser, &format!("sign-in-{theme}-{size}")).await;
            sign_in(&browser, &server).await;
            for (name, path, truth) in PAGES {
                browser
                    .client
                    .goto(&format!("{}{path}", server.url))
                    .await
                    .expect("opens");
                shows(&browser, name, truth).await;
                keep(&browser, &format!("{name}-{theme}-{size}")).await;
            }
            browser.close().await;
        }
    }
    simulator.kill().await.expect("it was running");
    assert!(server.stop().await);
    database.drop_database().await;
}
