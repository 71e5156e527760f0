//! Every page with a living fleet in it, in both themes, on a desk and in a hand: it shows what it is
//! for, nothing fails in its console, axe finds nothing serious. What it looks like is kept as a
//! picture under `tests/artifacts/`, and with WAYLOG_SCREENSHOTS=1 under `web/screenshots/`.

use std::path::Path;
use std::process::Stdio;

use reqwest::Method;
use serde_json::{Value, json};

use crate::support::browser::{Browser, DESK, HAND};
use crate::support::eventually;
use crate::support::server::{ADMIN_KEY, Server};
use crate::support::stage::Stage;

/// What is done in a page before it is looked at: nothing, or a click on the first element that fits.
type Click = Option<&'static str>;

/// Name, path, what to click, and the expression that is then true.
const PAGES: &[(&str, &str, Click, &str)] = &[
    (
        "fleet",
        "/",
        None,
        "window.__waylog?.mapReady && window.__waylog.cells > 0",
    ),
    (
        "fleet-courier",
        "/",
        Some("[data-tab=couriers], [role=listitem] button[data-status=delivering]"),
        "window.__waylog.couriers > 0 && document.querySelector('.card-panel .flush')",
    ),
    (
        "fleet-delivery",
        "/",
        Some("[data-tab=deliveries], [role=listitem] button"),
        "document.querySelector('.card-panel .steps')",
    ),
    (
        "trips",
        "/trips",
        None,
        "document.querySelector('.trips .item')",
    ),
    (
        "trips-replay",
        "/trips",
        Some("[role=listitem] .item"),
        "document.querySelector('.chart canvas') && document.querySelector('.player')",
    ),
    (
        "events",
        "/events",
        None,
        "document.querySelector('.events .item')",
    ),
    (
        "events-evidence",
        "/events",
        Some("[role=listitem] button[data-type='delivery.arrived']"),
        "document.querySelector('.trip-panel table')",
    ),
    (
        "stream",
        "/stream",
        None,
        "document.querySelector('.lag-chart canvas')",
    ),
    (
        "couriers",
        "/couriers",
        None,
        "document.querySelector('.pick li')",
    ),
    (
        "docs",
        "/docs",
        None,
        "document.body.innerText.includes('/v1/deliveries')",
    ),
    (
        "styleguide",
        "/styleguide",
        None,
        "document.querySelector('h1, h2')",
    ),
    (
        "not-found",
        "/no-such-page",
        None,
        "document.querySelector('h1')",
    ),
];

/// Every map has been drawn and draws no more; pages without one are at rest.
const AT_REST: &str = "[...document.querySelectorAll('.map')].every(map => map.querySelector('canvas')) \
     && (!document.querySelector('.map canvas') || window.__waylog?.mapReady)";

struct Look<'a> {
    browser: &'a Browser,
    server: &'a Server,
    /// `light-desktop` and the like.
    kind: String,
}

impl Look<'_> {
    /// Keeps a picture, once the page shows what it is for; and asks axe and the console.
    async fn at(&self, name: &str, truth: &str) {
        let what = format!("{name} ({})", self.kind);
        self.browser.shows(&what, truth).await;
        self.browser.shows(&what, AT_REST).await;
        let name = format!("{name}-{}", self.kind);
        let picture = self.browser.screenshot(&name).await;
        if std::env::var_os("WAYLOG_SCREENSHOTS").is_some() {
            let kept = Path::new(env!("CARGO_MANIFEST_DIR")).join("web/screenshots");
            std::fs::create_dir_all(&kept).expect("a folder");
            std::fs::copy(&picture, kept.join(format!("{name}.png"))).expect("copied");
        }
        self.browser.is_accessible(&what).await;
        let errors = self.browser.console_errors().await;
        // An address that leads nowhere is answered so, and the browser says that it was.
        let errors: Vec<_> = errors
            .iter()
            .filter(|e| !e.contains("/no-such-page"))
            .collect();
        assert!(errors.is_empty(), "{what}: {errors:?}");
    }

    async fn open(&self, path: &str) {
        self.browser
            .goto(&format!("{}{path}", self.server.url))
            .await;
    }

    async fn everything(&self, demo: &str, delivered: &str, courier: &str) {
        let Self {
            browser, server, ..
        } = self;
        browser
            .client
            .delete_all_cookies()
            .await
            .expect("signed out");
        browser.goto(demo).await;
        self.at("customer", "window.__waylog?.courier").await;
        browser.goto(delivered).await;
        self.at("customer-delivered", "document.querySelector('.ending')")
            .await;
        self.open("/sign-in").await;
        self.at("sign-in", "document.querySelector('input[name=key]')")
            .await;
        let code = server
            .create(&format!("/v1/couriers/{courier}/join-codes"), json!({}))
            .await;
        self.open(&format!("/join/{}", code["code"].as_str().expect("a code")))
            .await;
        self.at("join", "document.querySelector('.join .primary')")
            .await;
        browser.click(".join .primary").await;
        self.at("courier", "document.querySelector('.stop.next')")
            .await;
        browser.sign_in(server).await;
        for (name, path, clicks, truth) in PAGES {
            browser.run("sessionStorage.clear()").await;
            self.open(path).await;
            for css in clicks.iter().flat_map(|clicks| clicks.split(", ")) {
                browser.click(css).await;
            }
            self.at(name, truth).await;
        }
    }
}

/// The simulator, living through two hours first; answers its process and the demo's link.
async fn a_fleet(
    server: &Server,
    setup: &crate::support::server::Setup,
) -> (tokio::process::Child, String) {
    let state = setup.data.join("simulate");
    let state = state.to_str().expect("UTF-8");
    let args = [
        "simulate",
        "--couriers",
        "60",
        "--history",
        "1",
        "--url",
        &server.url,
        "--state",
        state,
    ];
    let simulator = setup
        .command(&args)
        .env("WAYLOG_API_KEY", ADMIN_KEY)
        .stdout(Stdio::null())
        .spawn()
        .expect("the simulator starts");
    let demo = eventually("the simulator's first delivery", || async {
        let (status, demo) = server.admin(Method::GET, "/v1/demo", None).await;
        (status == 200)
            .then(|| demo["tracking_url"].as_str().map(str::to_owned))
            .flatten()
    })
    .await;
    (simulator, demo)
}

async fn items(server: &Server, path: &str) -> Vec<Value> {
    let (_, list) = server.admin(Method::GET, path, None).await;
    list["items"].as_array().cloned().unwrap_or_default()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_page_works_is_accessible_and_looks_as_kept() {
    let stage = Stage::set().await;
    for status in ["picked_up", "arrived", "delivered"] {
        stage.step(status).await;
    }
    let server = &stage.server;
    let (mut simulator, demo) = a_fleet(server, &stage.setup).await;
    let courier = eventually("a courier with stops", || async {
        let couriers = items(server, "/v1/fleet/couriers?status=delivering&limit=200").await;
        let busy = couriers
            .iter()
            .max_by_key(|one| one["open_deliveries"].as_u64())?;
        (busy["open_deliveries"].as_u64()? > 1).then(|| busy["id"].as_str().map(str::to_owned))?
    })
    .await;
    eventually("trips to look at", || async {
        (!items(server, "/v1/trips?limit=1").await.is_empty()).then_some(())
    })
    .await;
    let fence = json!({"id": "g-1", "name": "Harbour", "events": ["enter", "exit"],
        "circle": {"lat": 35.8950, "lon": 14.5120, "radius_m": 600}});
    server.create("/v1/geofences", fence).await;
    let (status, _) = server
        .admin(
            Method::PUT,
            "/v1/deliveries/d-2",
            Some(json!({
                "id": "d-2", "reference": "Order 1018",
                "pickup": {"lat": 35.8975, "lon": 14.5090, "label": "Bakery"},
                "dropoff": {"lat": 35.9010, "lon": 14.4950, "label": "Mint Street 9"},
            })),
        )
        .await;
    assert!((200..300).contains(&status));

    let browser = Browser::open(DESK.0, DESK.1, false).await;
    let all = [
        ("light-desktop", DESK, false),
        ("dark-phone", HAND, true),
        ("dark-desktop", DESK, true),
        ("light-phone", HAND, false),
    ];
    // Each page in each theme and on each device; all four together only where they are kept.
    let looks = if std::env::var_os("WAYLOG_SCREENSHOTS").is_some() {
        4
    } else {
        2
    };
    for (kind, size, dark) in &all[..looks] {
        browser.look(*size, *dark).await;
        let look = Look {
            browser: &browser,
            server,
            kind: (*kind).to_owned(),
        };
        look.everything(&demo, &stage.page, &courier).await;
    }
    browser.close().await;
    simulator.kill().await.expect("it was running");
    stage.clear().await;
}
