//! Webhooks of the real program, which is killed again and again, to a receiver whose mood changes:
//! every event arrives at least once, under one id, and each courier's in order.

use std::collections::{BTreeMap, HashMap};

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::database::Database;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, now_ms};

#[path = "../../src/notifications/tests/receiver.rs"]
#[allow(dead_code, reason = "not every mood is of use here")]
mod receiver;

use receiver::{Behaviour, Call, Receiver};

const COURIERS: usize = 4;
const DEPOT: (f64, f64) = (35.9, 14.5);
const STREET: (f64, f64) = (35.92, 14.5);

/// A courier who goes in and out of the depot, two fixes on each side.
struct Courier {
    token: String,
    next_ms: i64,
    inside: bool,
}

impl Courier {
    /// Changes the side; both fixes are acknowledged.
    async fn cross(&mut self, server: &Server) {
        self.inside = !self.inside;
        let (lat, lon) = if self.inside { DEPOT } else { STREET };
        for _ in 0..2 {
            let fix = json!({"fix_time": self.next_ms, "lat": lat, "lon": lon, "accuracy_m": 5});
            self.next_ms += 1_000;
            let (status, answer) = server.post_fixes(&self.token, fix).await;
            assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
        }
    }
}

/// A server with a depot and couriers who are outside of it.
async fn couriers(server: &Server) -> Vec<Courier> {
    let circle = json!({"lat": DEPOT.0, "lon": DEPOT.1, "radius_m": 150});
    server
        .create(
            "/v1/geofences",
            json!({"id": "depot", "name": "Depot", "circle": circle}),
        )
        .await;
    let mut couriers = Vec::new();
    for n in 0..COURIERS {
        let mut courier = Courier {
            token: server.courier_with_phone(&format!("c-{n}")).await,
            next_ms: now_ms() - 300_000,
            inside: true,
        };
        courier.cross(server).await;
        couriers.push(courier);
    }
    couriers
}

fn distinct(calls: &[Call]) -> usize {
    let ids: std::collections::BTreeSet<&str> = calls.iter().map(Call::id).collect();
    ids.len()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_event_arrives_in_order_whatever_is_killed_and_whoever_misbehaves() {
    let long = std::env::var_os("WAYLOG_TEST_LONG").is_some();
    let rounds = if long { 40 } else { 8 };
    let seed = std::env::var("WAYLOG_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| now_ms().cast_unsigned());
    println!("WAYLOG_TEST_SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let moods = [
        Behaviour::Status(200),
        Behaviour::Status(200),
        Behaviour::Status(503),
        Behaviour::Status(302),
        Behaviour::Hang,
        Behaviour::Reset,
        Behaviour::Endless,
    ];
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url)).set("WAYLOG__NOTIFICATIONS__TIMEOUT_S", "1");
    let mut server = setup.start().await;
    let receiver = Receiver::start(Behaviour::Status(200)).await;
    let webhook = json!({"url": receiver.url(), "events": ["geofence.*"]});
    let made = server.create("/v1/webhooks", webhook).await;
    let secret = made["secret"].as_str().expect("a secret").to_owned();
    let mut couriers = couriers(&server).await;
    let mut crossings = 0;
    for _ in 0..rounds {
        receiver.behave(moods[chance.random_range(0..moods.len())]);
        for _ in 0..chance.random_range(1..4) {
            for courier in &mut couriers {
                courier.cross(&server).await;
                crossings += 1;
            }
        }
        // The blow falls while events are judged, recorded or under way.
        let enough = receiver.calls().len() + chance.random_range(0..3);
        let told = chance.random_range(0..=crossings);
        eventually("the moment", || async {
            let events = "select count(*) from event where type like 'geofence.%'";
            let recorded = database.number(events).await?;
            (receiver.calls().len() >= enough || recorded >= told).then_some(())
        })
        .await;
        server.kill_9().await;
        server = setup.start().await;
    }
    receiver.behave(Behaviour::Status(200));
    let expected = usize::try_from(crossings).expect("few");
    eventually("every event to have arrived", || async {
        (distinct(&accepted(&receiver)) == expected).then_some(())
    })
    .await;
    let calls = receiver.calls();
    let webhook = standardwebhooks::Webhook::new(&secret).expect("a secret");
    let mut bodies: HashMap<&str, &[u8]> = HashMap::new();
    for call in &calls {
        webhook
            .verify(&call.body, &call.headers)
            .expect("the signature is right");
        let body = bodies.entry(call.id()).or_insert(&call.body);
        assert_eq!(*body, call.body, "one id, one event; seed {seed}");
    }
    for (courier, types) in in_order(&accepted(&receiver)) {
        let turns: Vec<_> = types.iter().map(|(_, kind)| kind.as_str()).collect();
        let should = ["geofence.enter", "geofence.exit"];
        let should: Vec<_> = should.iter().cycle().take(turns.len()).copied().collect();
        assert_eq!(turns, should, "{courier}, seed {seed}");
        assert!(types.is_sorted(), "{courier}, seed {seed}: {types:?}");
    }
    assert!(server.stop().await, "it ends in order");
    database.drop_database().await;
}

fn accepted(receiver: &Receiver) -> Vec<Call> {
    let calls = receiver.calls();
    calls.into_iter().filter(|call| call.accepted).collect()
}

/// Number and type of each event when it was first accepted, by courier.
fn in_order(calls: &[Call]) -> BTreeMap<String, Vec<(u64, String)>> {
    let mut couriers: BTreeMap<String, Vec<(u64, String)>> = BTreeMap::new();
    for call in calls {
        let body: Value = call.json();
        let word = |value: &Value| value.as_str().expect("a word").to_owned();
        let number = call.id().strip_prefix("evt_").expect("an event").parse();
        let seen = (number.expect("a number"), word(&body["type"]));
        let events = couriers
            .entry(word(&body["data"]["courier_id"]))
            .or_default();
        if !events.contains(&seen) {
            events.push(seen);
        }
    }
    couriers
}

#[tokio::test(flavor = "multi_thread")]
async fn rules_are_tried_on_what_happened_without_sending_anything() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url));
    let server = setup.start().await;
    let receiver = Receiver::start(Behaviour::Status(200)).await;
    let webhook = json!({"url": receiver.url(), "events": ["geofence.*"]});
    server.create("/v1/webhooks", webhook).await;
    let from = now_ms() - 400_000;
    for courier in &mut couriers(&server).await {
        courier.cross(&server).await;
        courier.cross(&server).await;
    }
    eventually("all calls", || async {
        (receiver.calls().len() == 2 * COURIERS).then_some(())
    })
    .await;
    eventually("all fixes in Postgres", || async {
        let stored = database.number("select count(*) from fix").await?;
        (stored == 6 * COURIERS as i64).then_some(())
    })
    .await;
    let rules = setup.data.join("rules.toml");
    let from = rfc3339(from);
    let try_since = async |from: &str, text: &str, more: &[&str]| {
        std::fs::write(&rules, text).expect("a file");
        let to = rfc3339(now_ms());
        let args = [
            "notify",
            "backtest",
            "--url",
            &server.url,
            "--from",
            from,
            "--to",
            &to,
        ];
        let file = ["--rules", rules.to_str().expect("a path")];
        let mut command = setup.command(&[&args[..], &file, more].concat());
        let output = command.output().await.expect("it runs");
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!said.contains("panicked"), "{said}");
        let told = String::from_utf8_lossy(&output.stdout).into_owned();
        (output.status.code(), told, said)
    };
    let try_rules = async |text: &str, more: &[&str]| try_since(&from, text, more).await;
    let count = |report: &Value, kind: &str, side: &str| {
        let types = report["types"].as_array().expect("types").iter();
        let found = types.into_iter().find(|t| t["type"] == kind);
        found.map_or(0, |t| t[side].as_u64().expect("a number"))
    };
    for source in ["log", "tracks"] {
        let (code, told, said) = try_rules("", &["--json", "--source", source]).await;
        assert_eq!(code, Some(0), "{said}");
        let report: Value = serde_json::from_str(&told).expect("JSON");
        for kind in ["geofence.enter", "geofence.exit"] {
            assert_eq!(
                count(&report, kind, "same"),
                COURIERS as u64,
                "{source}: {told}"
            );
        }
        assert_eq!(
            report["webhooks"][0]["would_be"],
            2 * COURIERS as u64,
            "{source}: {told}"
        );
    }
    // The depot as it might be: nobody comes so near.
    let smaller = "[[geofence]]\nid = \"depot\"\n\
                   circle = { lat = 35.91, lon = 14.5, radius_m = 50 }\n";
    let (code, told, said) = try_rules(smaller, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    assert!(told.contains("- "), "what is gone is listed: {told}");
    let (_, told, _) = try_rules(smaller, &["--json", "--courier", "c-1"]).await;
    let report: Value = serde_json::from_str(&told).expect("JSON");
    assert_eq!(
        (
            count(&report, "geofence.enter", "gone"),
            &report["couriers"]
        ),
        (1, &json!(1))
    );
    // The example's rules are rules.
    let example = std::fs::read_to_string("config/rules.example.toml").expect("the example");
    let (code, _, said) = try_rules(&example, &[]).await;
    assert_eq!(code, Some(0), "{said}");
    for (bad, reason) in [
        ("approaching = 5", "approaching"),
        ("arrived_m = -1", "arrived_m"),
        ("arrived_m = [", "rules.toml"),
        ("[[geofence]]\nid = \"x\"", "circle or polygon"),
        (
            "[[geofence]]\nid = \"a b\"\ncircle = { lat = 1, lon = 1, radius_m = 5 }",
            "id",
        ),
        ("geofence = 5", "geofence"),
    ] {
        let (code, _, said) = try_rules(bad, &[]).await;
        assert_eq!(code, Some(2), "{bad}: {said}");
        assert!(said.contains(reason), "{bad}: {said}");
    }
    let (code, _, said) = try_since("2026-11-22T10:00:00 Mars/Olympus", "", &[]).await;
    assert_eq!(code, Some(2), "{said}");
    assert!(said.contains("time zones are not known"), "{said}");
    let (status, _) = server
        .admin(
            Method::GET,
            "/v1/backtests/00000000-0000-0000-0000-000000000000",
            None,
        )
        .await;
    assert_eq!(status, 404);
    assert_eq!(receiver.calls().len(), 2 * COURIERS, "nothing was sent");
    assert!(server.stop().await, "it ends in order");
    database.drop_database().await;
}

fn rfc3339(ms: i64) -> String {
    let at = time::OffsetDateTime::from_unix_timestamp_nanos(i128::from(ms) * 1_000_000);
    let at = at.expect("a time");
    at.format(&time::format_description::well_known::Rfc3339)
        .expect("text")
}
