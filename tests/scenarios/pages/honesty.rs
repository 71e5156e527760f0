//! The dot that a customer sees against where the courier truly is.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Stdio;

use reqwest::Method;
use serde_json::Value;

use crate::support::browser::{Browser, HAND};
use crate::support::eventually;
use crate::support::server::ADMIN_KEY;
use crate::support::stage::Stage;

/// How long is watched, seconds.
const WATCHED_S: u64 = 100;
const MOST_P95_M: f64 = 60.0;

/// Notes four times a second when the dot is where.
const WATCH: &str = "
    window.__seen = [];
    setInterval(() => {
        const at = window.__waylog?.courier;
        if (at) window.__seen.push([Date.now(), at.lat, at.lon]);
    }, 250);";

fn metres(a: (f64, f64), b: (f64, f64)) -> f64 {
    let x = (b.1 - a.1) * f64::midpoint(a.0, b.0).to_radians().cos();
    x.hypot(b.0 - a.0) * 111_195.0
}

/// The true way of one courier: place by time.
fn truth_of(path: &Path, courier: &str) -> BTreeMap<i64, (f64, f64)> {
    let text = std::fs::read_to_string(path).expect("the simulator wrote the truth");
    text.lines()
        .filter_map(|line| serde_json::from_str::<Value>(line).ok())
        .filter(|line| line["courier_id"] == courier)
        .filter_map(|line| {
            Some((
                line["t_ms"].as_i64()?,
                (line["lat"].as_f64()?, line["lon"].as_f64()?),
            ))
        })
        .collect()
}

/// Between the two known places around `at`.
fn place(truth: &BTreeMap<i64, (f64, f64)>, at: i64) -> Option<(f64, f64)> {
    let (t0, a) = truth.range(..=at).next_back()?;
    let (t1, b) = truth.range(at..).next()?;
    let share = if t1 == t0 {
        0.0
    } else {
        (at - t0) as f64 / (t1 - t0) as f64
    };
    Some((a.0 + (b.0 - a.0) * share, a.1 + (b.1 - a.1) * share))
}

/// A measurement of two minutes; it runs with the long tests.
#[tokio::test(flavor = "multi_thread")]
async fn the_dot_is_within_sixty_metres_of_the_truth() {
    if std::env::var_os("WAYLOG_TEST_LONG").is_none() {
        return;
    }
    let (database, setup, server) = Stage::empty().await;
    let (state, truth) = (setup.data.join("simulate"), setup.data.join("truth.jsonl"));
    let args = [
        "simulate",
        "--couriers",
        "20",
        "--history",
        "0",
        "--url",
        &server.url,
        "--state",
        state.to_str().expect("UTF-8"),
        "--truth",
        truth.to_str().expect("UTF-8"),
    ];
    let mut simulator = setup
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
    let browser = Browser::open(HAND.0, HAND.1, false).await;
    browser.goto(&demo).await;
    browser
        .shows("the courier", "window.__waylog?.courier")
        .await;
    browser.run(WATCH).await;
    tokio::time::sleep(std::time::Duration::from_secs(WATCHED_S)).await;
    let seen = browser.value("window.__seen").await;
    let (_, list) = server
        .admin(
            Method::GET,
            "/v1/deliveries?status=picked_up,arrived&limit=500",
            None,
        )
        .await;
    // A clean end, so that all of the truth is written.
    let pid = simulator.id().expect("it is running").cast_signed();
    let pid = rustix::process::Pid::from_raw(pid).expect("a pid");
    rustix::process::kill_process(pid, rustix::process::Signal::TERM).expect("it was running");
    simulator.wait().await.expect("it ends");
    // The courier watched is the one whose true way lies nearest to what was seen.
    let couriers = list["items"].as_array().expect("deliveries").iter();
    let mut best: Option<Vec<f64>> = None;
    for courier in couriers.filter_map(|one| one["courier_id"].as_str()) {
        let truth = truth_of(&truth, courier);
        let mut off: Vec<f64> = seen
            .as_array()
            .expect("samples")
            .iter()
            .filter_map(|one| {
                let (lat, lon) = (one[1].as_f64()?, one[2].as_f64()?);
                Some(metres(place(&truth, one[0].as_i64()?)?, (lat, lon)))
            })
            .collect();
        off.sort_by(f64::total_cmp);
        if off.len() > 100
            && best
                .as_ref()
                .is_none_or(|b| off[off.len() / 2] < b[b.len() / 2])
        {
            best = Some(off);
        }
    }
    let off = best.expect("the watched courier's truth");
    let p = |share: f64| off[((off.len() - 1) as f64 * share) as usize];
    println!(
        "dot against truth over {} samples: p50 {:.1} m, p95 {:.1} m, max {:.1} m",
        off.len(),
        p(0.5),
        p(0.95),
        p(1.0)
    );
    assert!(p(0.95) <= MOST_P95_M, "p95 {:.1} m", p(0.95));
    browser.close().await;
    assert!(server.stop().await);
    database.drop_database().await;
}
