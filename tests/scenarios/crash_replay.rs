//! A recorded day is replayed while the server is killed and its Postgres is stopped as by a power
//! cut, again and again: in the end everything is stored once, and the trips are those of the fixes.

use std::collections::BTreeSet;
use std::path::Path;
use std::process::Stdio;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};

use crate::support::own_postgres::OwnPostgres;
use crate::support::server::{ADMIN_KEY, Server, Setup};
use crate::support::{eventually, now_ms, traces};

/// Fixes in an upload of the replay.
const BATCH: i64 = 5;

/// Count, and sums of times and of coordinates in 1e-7 degrees: of what a file holds, or Postgres.
type Sums = (i64, i64, i64, i64);

fn sums_of(file: &Path) -> Sums {
    let mut seen = BTreeSet::new();
    let mut sums = (0, 0, 0, 0);
    let mut reader = csv::Reader::from_path(file).expect("a CSV file");
    for row in reader.records() {
        let row = row.expect("a row");
        let time: i64 = row[1].parse().expect("milliseconds");
        if !seen.insert((row[0].to_owned(), time)) {
            continue;
        }
        let e7 = |text: &str| (text.parse::<f64>().expect("degrees") * 1e7).round() as i64;
        sums = (
            sums.0 + 1,
            sums.1 + time,
            sums.2 + e7(&row[2]),
            sums.3 + e7(&row[3]),
        );
    }
    sums
}

async fn sums_in(postgres: &OwnPostgres) -> Option<Sums> {
    let sql = "select count(*), coalesce(sum((extract(epoch from fix_time) * 1000)::bigint), 0)::bigint, \
               coalesce(sum((lat * 1e7)::bigint), 0)::bigint, \
               coalesce(sum((lon * 1e7)::bigint), 0)::bigint from fix";
    sqlx::query_as(sql)
        .fetch_one(&mut postgres.connect().await?)
        .await
        .ok()
}

/// All trips and stops as text, but for their numbers.
async fn derived(postgres: &OwnPostgres) -> Option<String> {
    let sql = "select coalesce(string_agg(line, e'\\n' order by line), '') from ( \
                   select concat_ws(' ', 'trip', courier_id, run_from, start_time, end_time, last_time, \
                          start_lat, start_lon, last_lat, last_lon, distance_m, moving_s, stopped_s, \
                          stop_count, max_speed_mps) as line from trip \
                   union all \
                   select concat_ws(' ', 'stop', courier_id, run_from, start_time, end_time, last_time, \
                          lat, lon) from stop \
                   union all \
                   select concat_ws(' ', 'heat', hour, cell, fixes, couriers, speed_fixes, \
                          speed_sum_cmps) from heat_hour) l";
    sqlx::query_scalar(sql)
        .fetch_one(&mut postgres.connect().await?)
        .await
        .ok()
}

/// Records in the log so far; `None` while the server cannot be asked.
async fn appended(server: &Server) -> Option<i64> {
    let (status, stream) = server.admin(Method::GET, "/v1/stream", None).await;
    let topics = stream["topics"].as_array().filter(|_| status == 200)?;
    let topic = topics.iter().find(|t| t["topic"] == "delivery-location")?;
    let partitions = topic["partitions"].as_array()?;
    Some(
        partitions
            .iter()
            .filter_map(|p| p["durable_offset"].as_i64())
            .sum(),
    )
}

async fn nothing_left_to_derive(server: &Server) {
    eventually("trips and heat of everything", || async {
        let (status, left) = server.admin(Method::GET, "/v1/trips/rebuild", None).await;
        (status == 200 && left["left"] == 0).then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replay_through_kills_of_the_server_and_of_postgres_is_stored_once() {
    let long = std::env::var_os("WAYLOG_TEST_LONG").is_some();
    let rounds: i64 = if long { 50 } else { 5 };
    let seed = std::env::var("WAYLOG_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| now_ms().cast_unsigned());
    println!("WAYLOG_TEST_SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let file = traces().join("delivery-agents.csv");
    let expected = sums_of(&file);

    let postgres = OwnPostgres::start();
    let mut setup = Setup::new(Some(&postgres.url()))
        .set("WAYLOG__ANALYTICS__FLUSH_AFTER_MS", "50")
        .set("WAYLOG__ANALYTICS__DERIVE_AFTER_MS", "100");
    let mut server = setup.start().await;
    let mut replay = setup.command(&[
        "replay",
        file.to_str().expect("UTF-8"),
        "--url",
        &server.url.clone(),
        "--provision",
        "--api-key",
        ADMIN_KEY,
        "--as-fast-as-possible",
        "--batch",
        &BATCH.to_string(),
        "--json",
    ]);
    let replay = replay.stdout(Stdio::piped()).spawn().expect("replay runs");
    let all = expected.0 / BATCH;
    for round in 1..=rounds {
        let mark = all * (round - 1) / rounds + chance.random_range(1..=all / rounds);
        eventually("the replay to come so far", || async {
            (appended(&server).await? >= mark.min(all)).then_some(())
        })
        .await;
        let (kill, cut) = match chance.random_range(0..3) {
            0 => (true, false),
            1 => (false, true),
            _ => (true, true),
        };
        if cut {
            postgres.stop_immediately();
        }
        if kill {
            server.kill_9().await;
        }
        if cut {
            postgres.start_again();
        }
        if kill {
            server = setup.start().await;
        }
    }
    let output = replay.wait_with_output().await.expect("replay ends");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("a JSON summary");
    assert_eq!(summary["sent"], expected.0, "{summary}");
    eventually("everything to be stored", || async {
        (sums_in(&postgres).await? == expected).then_some(())
    })
    .await;

    // What was computed on the way is what a computation from nothing gives.
    nothing_left_to_derive(&server).await;
    let on_the_way = derived(&postgres).await.expect("Postgres answers");
    assert!(
        on_the_way.contains("trip"),
        "the recorded couriers make trips"
    );
    let everything = json!({"from": "2025-01-01", "to": "2027-12-31"});
    server.create("/v1/trips/rebuild", everything).await;
    nothing_left_to_derive(&server).await;
    assert_eq!(
        derived(&postgres).await.expect("Postgres answers"),
        on_the_way
    );
    assert_eq!(sums_in(&postgres).await, Some(expected));
    assert!(server.stop().await, "it ends in order");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reset_of_the_group_rebuilds_everything_from_the_log() {
    let postgres = OwnPostgres::start();
    let mut setup = Setup::new(Some(&postgres.url()))
        .set("WAYLOG__ANALYTICS__FLUSH_AFTER_MS", "50")
        .set("WAYLOG__ANALYTICS__DERIVE_AFTER_MS", "100");
    let server = setup.start().await;
    let file = traces().join("delivery-agents.csv");
    let expected = sums_of(&file);
    let mut replay = setup.command(&[
        "replay",
        file.to_str().expect("UTF-8"),
        "--url",
        &server.url,
        "--provision",
        "--api-key",
        ADMIN_KEY,
        "--as-fast-as-possible",
    ]);
    assert!(replay.status().await.expect("it runs").success());
    let stored = || async { (sums_in(&postgres).await? == expected).then_some(()) };
    eventually("everything to be stored", stored).await;
    nothing_left_to_derive(&server).await;
    let before = derived(&postgres).await.expect("Postgres answers");

    let reset = async |to: &str| {
        let args = [
            "stream",
            "--url",
            &server.url,
            "reset",
            "--group",
            "analytics",
            "--to",
            to,
        ];
        let mut reset = setup.command(&args);
        let done = reset
            .env("WAYLOG_API_KEY", ADMIN_KEY)
            .output()
            .await
            .expect("it runs");
        (
            done.status.code(),
            String::from_utf8_lossy(&done.stderr).into_owned(),
        )
    };
    // Somebody has emptied the tables; the server runs all the while.
    let emptied = "truncate track_segment, trip, stop, heat_hour, analytics.heat_share, \
                   analytics.courier_state, analytics.mark";
    let mut connection = postgres.connect().await.expect("Postgres answers");
    sqlx::query(emptied)
        .execute(&mut connection)
        .await
        .expect("emptied");
    assert_eq!(reset("earliest").await, (Some(0), String::new()));
    eventually("everything to be stored again", stored).await;
    nothing_left_to_derive(&server).await;
    assert_eq!(derived(&postgres).await.expect("Postgres answers"), before);

    // Where nothing is missing, nothing changes.
    assert_eq!(reset("2020-01-01T00:00:00Z").await.0, Some(0));
    let read_again = "select coalesce(sum(duplicates), 0)::bigint from stream_offset";
    eventually("everything to be read again", || async {
        let mut connection = postgres.connect().await?;
        let found: i64 = sqlx::query_scalar(read_again)
            .fetch_one(&mut connection)
            .await
            .ok()?;
        (found >= expected.0).then_some(())
    })
    .await;
    assert_eq!(sums_in(&postgres).await, Some(expected));
    let (code, said) = reset("whenever").await;
    assert_eq!(code, Some(1));
    assert!(said.contains("earliest"), "{said}");
    assert!(server.stop().await, "it ends in order");
}
