//! A courier without an app: joins by a code, works two hours without a network, loads the page anew
//! meanwhile, and loses nothing.

use fantoccini::Locator;
use fantoccini::wd::WebDriverCompatibleCommand;
use reqwest::{Method, Url};
use serde_json::{Value, json};

use crate::support::browser::Browser;
use crate::support::database::Database;
use crate::support::server::Setup;
use crate::support::{eventually, now_ms};

/// A fix every 5 s for two hours.
const FIXES: i64 = 1_440;
/// The satellites of the test: what the page's own tracker is told is what `__drive` says.
const SATELLITES: &str = "
    const told = new Map();
    let next = 0;
    Object.defineProperty(navigator, 'geolocation', {value: {
        watchPosition: (tell) => { next += 1; told.set(next, tell); return next; },
        clearWatch: (id) => told.delete(id),
    }});
    window.__drive = (from, fixes, lat) => {
        for (let n = 0; n < fixes; n += 1) {
            const coords = {latitude: lat + n * 0.0002, longitude: 14.5, accuracy: 5, speed: 4,
                heading: 0, altitude: null};
            for (const tell of told.values()) tell({coords, timestamp: from + n * 5000});
        }
        return told.size;
    };";
/// How much waits in the page's own store: fixes, and steps.
const WAITING: &str = "
    const done = arguments[arguments.length - 1];
    const opening = indexedDB.open('waylog-courier');
    opening.onsuccess = () => {
        const transaction = opening.result.transaction(['fixes', 'steps']);
        const fixes = transaction.objectStore('fixes').count();
        const steps = transaction.objectStore('steps').count();
        transaction.oncomplete = () => { opening.result.close(); done([fixes.result, steps.result]); };
    };";
/// Whether the page can be opened without a network.
const KEPT: &str = "
    const done = arguments[arguments.length - 1];
    caches.match('/courier').then((kept) => done(Boolean(kept)), () => done(false));";

/// One command of the DevTools protocol.
#[derive(Debug)]
struct DevTools(&'static str, Value);

impl WebDriverCompatibleCommand for DevTools {
    fn endpoint(
        &self,
        base: &Url,
        session: Option<&str>,
    ) -> Result<Url, <Url as std::str::FromStr>::Err> {
        let session = session.unwrap_or_default();
        base.join(&format!("session/{session}/goog/cdp/execute"))
    }

    fn method_and_body(&self, _: &Url) -> (Method, Option<String>) {
        let body = json!({"cmd": self.0, "params": self.1});
        (Method::POST, Some(body.to_string()))
    }
}

/// Presses the button that bears these words.
async fn press(browser: &Browser, words: &str) {
    let button = format!("//button[contains(normalize-space(.), '{words}')]");
    eventually(&format!("to press {words}"), || async {
        let found = browser.client.find(Locator::XPath(&button)).await.ok()?;
        found.click().await.ok()
    })
    .await;
}

async fn waits(browser: &Browser, fixes: i64, steps: i64) {
    eventually(
        &format!("{fixes} fixes and {steps} steps to wait"),
        || async {
            let waiting = browser.client.execute_async(WAITING, vec![]).await.ok()?;
            (waiting == json!([fixes, steps])).then_some(())
        },
    )
    .await;
}

async fn drive(browser: &Browser, from: i64, fixes: i64, lat: f64) {
    let driven = browser
        .client
        .execute(
            "return window.__drive(...arguments)",
            vec![json!(from), json!(fixes), json!(lat)],
        )
        .await
        .expect("it drives");
    assert_eq!(driven, json!(1), "the page's tracker listens");
}

#[tokio::test(flavor = "multi_thread")]
async fn two_hours_offline_and_a_reload_lose_nothing() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url));
    let server = setup.start().await;
    server
        .create("/v1/couriers", json!({"id": "c-1", "name": "Ana"}))
        .await;
    let delivery = json!({
        "id": "d-1", "courier_id": "c-1",
        "pickup": {"lat": 35.9, "lon": 14.5, "label": "Bakery"},
        "dropoff": {"lat": 35.95, "lon": 14.5, "label": "Tower Road 12"},
    });
    server.create("/v1/deliveries", delivery).await;
    let code = server
        .create("/v1/couriers/c-1/join-codes", json!({}))
        .await;

    let browser = Browser::open(390, 844, false).await;
    let satellites = DevTools(
        "Page.addScriptToEvaluateOnNewDocument",
        json!({"source": SATELLITES}),
    );
    browser.client.issue_cmd(satellites).await.expect("ready");
    let join = code["url"].as_str().expect("a page");
    browser.client.goto(join).await.expect("opens");
    press(&browser, "Use this page").await;
    press(&browser, "Go on duty").await;
    let start = now_ms() - 3 * 3_600_000;
    drive(&browser, start, 3, 35.90).await;
    eventually("the first fixes in Postgres", || async {
        let stored = database.number("select count(*) from fix").await?;
        (stored == 3).then_some(())
    })
    .await;
    // On the page of the code already: nobody can be asked to load it twice.
    eventually("the page to be kept", || async {
        let kept = browser.client.execute_async(KEPT, vec![]).await.ok()?;
        (kept == json!(true)).then_some(())
    })
    .await;

    server.kill().await;
    let gone = start + 60_000;
    drive(&browser, gone, FIXES / 2, 35.91).await;
    waits(&browser, FIXES / 2, 0).await;
    press(&browser, "Picked up").await;
    waits(&browser, FIXES / 2, 1).await;
    let left = now_ms();
    browser.client.refresh().await.expect("opens again");
    // The stops are there, as they were last seen, with what was done since.
    eventually("the stop after the reload", || async {
        let text = browser.client.find(Locator::Css("main")).await.ok()?;
        let text = text.text().await.ok()?;
        (text.contains("Tower Road 12") && text.contains("Delivered")).then_some(())
    })
    .await;
    waits(&browser, FIXES / 2, 1).await;
    drive(&browser, gone + FIXES / 2 * 5_000, FIXES / 2, 36.1).await;
    press(&browser, "Delivered").await;
    waits(&browser, FIXES, 2).await;
    // Off duty nothing is stored: what was recorded before must not be lost for that.
    press(&browser, "End duty").await;
    waits(&browser, FIXES, 3).await;
    browser.screenshot("courier-offline").await;

    let server = setup.start().await;
    waits(&browser, 0, 0).await;
    eventually("every fix in Postgres, once", || async {
        let stored = database.number("select count(*) from fix").await?;
        (stored == FIXES + 3).then_some(())
    })
    .await;
    let distinct = "select count(distinct fix_time) from fix where courier_id = 'c-1'";
    assert_eq!(database.number(distinct).await, Some(FIXES + 3));
    let (_, delivery) = server.admin(Method::GET, "/v1/deliveries/d-1", None).await;
    let timeline = delivery["timeline"].as_array().expect("a timeline");
    let steps: Vec<&str> = timeline
        .iter()
        .filter_map(|step| step["status"].as_str())
        .filter(|step| *step != "arrived")
        .collect();
    assert_eq!(steps, ["created", "assigned", "picked_up", "delivered"]);
    let picked_up = timeline
        .iter()
        .find(|step| step["status"] == "picked_up")
        .and_then(|step| step["at"].as_str())
        .expect("a time");
    let picked_up =
        time::OffsetDateTime::parse(picked_up, &time::format_description::well_known::Rfc3339)
            .expect("a time");
    let at_ms = (picked_up.unix_timestamp_nanos() / 1_000_000) as i64;
    assert!(at_ms <= left, "a step bears the time at which it was taken");
    let (_, courier) = server.admin(Method::GET, "/v1/couriers/c-1", None).await;
    assert_eq!(courier["on_duty"], false);
    browser.close().await;
    assert!(server.stop().await);
    database.drop_database().await;
}
