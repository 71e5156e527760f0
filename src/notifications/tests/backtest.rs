//! Rules over the past, beside what they have told then.

use std::sync::Arc;

use serde_json::{Value, json};
use tokio_util::sync::CancellationToken;

use super::fixture::{count, courier_id, dropoff, eventually, insert_webhook, now, upload};
use super::world::{World, way};
use crate::domain::rules::RuleSet;
use crate::domain::{Fix, FixBatch, UnixMs, geo};
use crate::notifications::backtest::{Archive, Backtests, Plan, State};
use crate::roads::Roads;

const STEPS: i64 = 15;

/// Backtests of a world, at work.
struct Bench {
    backtests: Backtests,
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl Bench {
    fn of(world: &World) -> Self {
        let archive = Archive {
            log: world.log.clone(),
            pool: world.database.pool.clone(),
            directory: world.directory.clone(),
            roads: Roads::none(),
        };
        let (backtests, stop) = (Backtests::default(), CancellationToken::new());
        let task = tokio::spawn(backtests.clone().run(archive, stop.clone()));
        Self {
            backtests,
            stop,
            task,
        }
    }

    /// The report of `request`, of the last ten minutes unless it says otherwise.
    async fn report(&self, request: Value) -> Value {
        let job = self
            .backtests
            .begin(plan(request))
            .expect("nothing else runs");
        let report = eventually("a backtest", || async {
            match job.state() {
                State::Running => None,
                State::Done(report) => Some(report),
                State::Failed(why) => panic!("{why}"),
            }
        });
        serde_json::to_value(report.await).expect("JSON")
    }

    async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a clean end");
    }
}

fn plan(mut request: Value) -> Plan {
    let defaults = [("from", now().plus_ms(-600_000)), ("to", now())];
    for (key, at) in defaults {
        if request[key].is_null() {
            request[key] = json!(at);
        }
    }
    let request = serde_json::from_value(request).expect("a request");
    Plan::of(request, &RuleSet::default(), now()).expect("a plan")
}

/// Type, differences and times of a report's events.
fn differences(report: &Value) -> Vec<(String, String)> {
    let events = report["events"].as_array().expect("events");
    let word = |value: &Value| value.as_str().expect("a word").to_owned();
    events
        .iter()
        .map(|e| (word(&e["type"]), word(&e["difference"])))
        .collect()
}

fn pairs(expected: &[(&str, &str)]) -> Vec<(String, String)> {
    expected
        .iter()
        .map(|(kind, difference)| ((*kind).to_owned(), (*difference).to_owned()))
        .collect()
}

/// Two couriers who have come, stood, and are there; what was told of it is recorded.
async fn yesterday() -> (World, UnixMs) {
    let start = now().plus_ms(-100_000);
    let world = World::new(2, start).await;
    insert_webhook(&world.database.pool, "http://127.0.0.1:1/").await;
    for step in 0..STEPS {
        for n in 0..2 {
            world
                .append(n, &upload(start.plus_ms(step * 5_000), way(step)))
                .await;
        }
    }
    let alarm = FixBatch {
        received_at: start.plus_ms(STEPS * 5_000),
        fixes: vec![],
        sos: true,
    };
    world.append(1, &alarm).await;
    let running = world.start();
    eventually("five events", || async {
        (world.events().await == 5).then_some(())
    })
    .await;
    running.stop().await;
    (world, start)
}

#[tokio::test]
async fn the_rules_of_then_tell_what_was_told_then() {
    let (world, _) = yesterday().await;
    let bench = Bench::of(&world);
    let report = bench.report(json!({})).await;
    let all = differences(&report);
    assert_eq!(all.len(), 5, "{all:?}");
    assert!(
        all.iter().all(|(_, difference)| difference == "same"),
        "{all:?}"
    );
    assert_eq!(report["source"], "log");
    assert_eq!(report["fixes"], 2 * STEPS);
    let sent = &report["webhooks"][0];
    assert_eq!((&sent["was"], &sent["would_be"]), (&json!(5), &json!(5)));
    // Only one courier.
    let report = bench.report(json!({"courier": "c-1"})).await;
    let kinds: Vec<_> = differences(&report)
        .into_iter()
        .map(|(kind, _)| kind)
        .collect();
    assert_eq!(
        kinds,
        ["delivery.approaching", "delivery.arrived", "courier.sos"]
    );
    assert_eq!(world.events().await, 5, "nothing was recorded");
    let queued = "select count(*) from notifications.outbox";
    assert_eq!(
        count(&world.database.pool, queued).await,
        5,
        "nothing was sent"
    );
    bench.stop().await;
    world.end().await;
}

#[tokio::test]
async fn other_rules_tell_other_things_and_the_difference_says_which() {
    let (world, _) = yesterday().await;
    let bench = Bench::of(&world);
    // Nearer, and never: he comes to 3 m, which is near enough for any.
    let rules = json!({"approaching_m": 250, "approaching_s": 0, "arrived_m": 1});
    let report = bench
        .report(json!({"rules": rules, "courier": "c-0"}))
        .await;
    assert_eq!(
        differences(&report),
        pairs(&[
            ("delivery.approaching", "moved"),
            ("delivery.arrived", "gone")
        ])
    );
    assert!(report["events"][0]["was_at"].as_str() < report["events"][0]["at"].as_str());
    // A silence of five seconds is one between any two uploads.
    let report = bench
        .report(json!({"rules": {"offline_after_s": 4}, "courier": "c-0"}))
        .await;
    let types = report["types"].as_array().expect("types");
    let offline = types
        .iter()
        .find(|t| t["type"] == "courier.offline")
        .expect("counted");
    // After the last upload too, until now.
    assert_eq!(
        (&offline["new"], &offline["was"]),
        (&json!(STEPS), &json!(0))
    );
    // A geofence that did not exist.
    let place = geo::destination(dropoff(), 0.0, 500.0);
    let circle = json!({"lat": place.lat(), "lon": place.lon(), "radius_m": 150});
    let geofence = json!([{"id": "bridge", "circle": circle}]);
    let report = bench
        .report(json!({"geofence": geofence, "courier": "c-0"}))
        .await;
    let new: Vec<_> = differences(&report)
        .into_iter()
        .filter(|(_, d)| d == "new")
        .collect();
    assert_eq!(
        new,
        pairs(&[("geofence.enter", "new"), ("geofence.exit", "new")])
    );
    bench.stop().await;
    world.end().await;
}

#[tokio::test]
async fn stored_tracks_tell_the_same_but_for_what_they_do_not_hold() {
    let (world, start) = yesterday().await;
    let fixes: Vec<Fix> = (0..STEPS)
        .flat_map(|step| upload(start.plus_ms(step * 5_000), way(step)).fixes)
        .collect();
    store(&world, &fixes).await;
    let bench = Bench::of(&world);
    let report = bench.report(json!({"source": "tracks"})).await;
    assert_eq!(report["source"], "tracks");
    assert_eq!(
        differences(&report),
        pairs(&[
            ("delivery.approaching", "same"),
            ("delivery.approaching", "same"),
            ("delivery.arrived", "same"),
            ("delivery.arrived", "same"),
        ])
    );
    let left_out = json!(["courier.offline", "courier.online", "courier.sos"]);
    assert_eq!(report["left_out"], left_out);
    bench.stop().await;
    world.end().await;
}

/// Stores the same fixes for both couriers, as the sink would, one segment a UTC day.
async fn store(world: &World, fixes: &[Fix]) {
    const DAY_MS: i64 = 86_400_000;
    for n in 0..2 {
        for day in fixes.chunk_by(|a, b| a.fix_time.0 / DAY_MS == b.fix_time.0 / DAY_MS) {
            let (first, last) = (day[0].fix_time, day[day.len() - 1].fix_time);
            let midnight = first.0 - first.0 % DAY_MS;
            sqlx::query("select analytics.ensure_day(($1 at time zone 'UTC')::date)")
                .bind(first.to_datetime())
                .execute(&world.database.pool)
                .await
                .expect("a day");
            let column = |f: &dyn Fn(&Fix) -> i32| day.iter().map(f).collect::<Vec<i32>>();
            sqlx::query(
                "insert into public.track_segment (courier_id, day, segment_from, segment_to, fixes,
                     lat_min, lat_max, lon_min, lon_max, received_from, received_to, fix_time_ms,
                     lat_e7, lon_e7, accuracy_dm)
                 values ($1, ($2 at time zone 'UTC')::date, $2, $3, $4, -90, 90, -180, 180, $2, $3,
                         $5, $6, $7, $8)",
            )
            .bind(courier_id(n).as_str())
            .bind(first.to_datetime())
            .bind(last.to_datetime())
            .bind(i32::try_from(day.len()).expect("few"))
            .bind(column(&|f| i32::try_from(f.fix_time.0 - midnight).expect("within a day")))
            .bind(column(&|f| f.position.lat_e7()))
            .bind(column(&|f| f.position.lon_e7()))
            .bind(column(&|f| f.accuracy_m.map_or(0, |m| (m * 10.0) as i32)))
            .execute(&world.database.pool)
            .await
            .expect("a segment");
        }
    }
}

#[tokio::test]
async fn erased_records_are_not_judged() {
    let (world, _) = yesterday().await;
    let bench = Bench::of(&world);
    world.directory.put_erased(courier_id(0), Some(now()));
    let report = bench.report(json!({})).await;
    let gone: Vec<_> = differences(&report)
        .into_iter()
        .filter(|(_, d)| d == "gone")
        .collect();
    assert_eq!(
        gone,
        pairs(&[
            ("delivery.approaching", "gone"),
            ("delivery.arrived", "gone")
        ])
    );
    assert_eq!(report["couriers"], 1);
    bench.stop().await;
    world.end().await;
}

#[tokio::test]
async fn one_runs_at_a_time_and_the_last_one_is_kept() {
    let (world, _) = yesterday().await;
    // Nobody runs them: the first one waits.
    let backtests = Backtests::default();
    let first = backtests.begin(plan(json!({}))).expect("the first");
    let busy = backtests.begin(plan(json!({}))).map(|job| job.id());
    assert!(
        busy.expect_err("busy")
            .to_string()
            .contains(&first.id().to_string())
    );
    assert!(backtests.remove(first.id()) && !backtests.remove(first.id()));
    let second = backtests.begin(plan(json!({}))).expect("the second");
    assert!(backtests.get(first.id()).is_none());
    assert!(Arc::ptr_eq(
        &second,
        &backtests.get(second.id()).expect("kept")
    ));
    // One that Postgres cannot answer fails with the reason, and the next one goes through.
    let bench = Bench::of(&world);
    sqlx::query("alter table dispatch.audit rename to elsewhere")
        .execute(&world.database.pool)
        .await
        .expect("renamed");
    let failing = bench.backtests.begin(plan(json!({}))).expect("begun");
    let why = eventually("the failure", || async {
        match failing.state() {
            State::Failed(why) => Some(why),
            _ => None,
        }
    })
    .await;
    assert!(why.contains("database"), "{why}");
    sqlx::query("alter table dispatch.elsewhere rename to audit")
        .execute(&world.database.pool)
        .await
        .expect("renamed");
    bench.report(json!({})).await;
    bench.stop().await;
    world.end().await;
}
