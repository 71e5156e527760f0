//! Real recorded tracks through HTTP into Postgres: every fix accounted for, nothing twice.

use std::collections::BTreeMap;

use serde_json::Value;

use crate::support::database::Database;
use crate::support::server::{ADMIN_KEY, Setup};
use crate::support::{eventually, traces};

/// Newest fix of each courier in a CSV file: time, latitude, longitude.
fn newest_of(file: &std::path::Path) -> BTreeMap<String, (i64, f64, f64)> {
    let mut newest = BTreeMap::new();
    let mut reader = csv::Reader::from_path(file).expect("a CSV file");
    for row in reader.records() {
        let row = row.expect("a row");
        let time: i64 = row[1].parse().expect("milliseconds");
        let fix = (
            time,
            row[2].parse().expect("latitude"),
            row[3].parse().expect("longitude"),
        );
        let entry = newest.entry(row[0].to_owned()).or_insert(fix);
        if time > entry.0 {
            *entry = fix;
        }
    }
    newest
}

async fn replay(setup: &Setup, url: &str, file: &std::path::Path) -> Value {
    let file = file.to_str().expect("UTF-8");
    let args = [
        "replay",
        file,
        "--url",
        url,
        "--provision",
        "--api-key",
        ADMIN_KEY,
        "--as-fast-as-possible",
        "--json",
    ];
    let output = setup.command(&args).output().await.expect("replay runs");
    assert!(
        output.status.success(),
        "replay of {file} failed: {}",
        String::from_utf8_lossy(&output.stderr)
    );
    serde_json::from_slice(&output.stdout).expect("a JSON summary")
}

fn count(summary: &Value, key: &str) -> i64 {
    summary[key]
        .as_i64()
        .unwrap_or_else(|| panic!("{key} in {summary}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_recorded_fix_is_accounted_for_and_a_second_replay_changes_nothing() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url));
    let server = setup.start().await;
    let files = ["buses.csv", "delivery-agents.csv", "bus-one.gpx"].map(|f| traces().join(f));

    let mut accepted = 0;
    for file in &files {
        let summary = replay(&setup, &server.url, file).await;
        let known = count(&summary, "accepted")
            + count(&summary, "duplicate")
            + count(&summary, "quarantined");
        assert_eq!(known, count(&summary, "sent"), "{summary}");
        accepted += count(&summary, "accepted");
    }
    let rows = "select count(*) from fix";
    eventually("all accepted fixes in Postgres", || async {
        (database.number(rows).await? == accepted).then_some(())
    })
    .await;

    for (courier, (time, lat, lon)) in newest_of(&files[0]).into_iter().chain(newest_of(&files[1]))
    {
        let stored = sqlx::query_scalar::<_, i64>("select count(*) from fix where courier_id = $1")
            .bind(&courier)
            .fetch_one(&database.pool)
            .await
            .expect("a count");
        assert!(stored > 0, "{courier} has fixes");
        let path = format!("/v1/couriers/{courier}/position");
        let (status, position) = server.admin(reqwest::Method::GET, &path, None).await;
        assert_eq!(status, 200, "{courier}: {position}");
        assert!(
            (position["lat"].as_f64().expect("lat") - lat).abs() < 1e-6,
            "{courier}"
        );
        assert!(
            (position["lon"].as_f64().expect("lon") - lon).abs() < 1e-6,
            "{courier}"
        );
        let text = position["fix_time"].as_str().expect("a time");
        assert_eq!(
            waylog::domain::UnixMs::parse_rfc3339(text)
                .expect("RFC 3339")
                .0,
            time
        );
    }

    for file in &files {
        let summary = replay(&setup, &server.url, file).await;
        assert_eq!(
            count(&summary, "duplicate") + count(&summary, "accepted"),
            count(&summary, "sent")
        );
    }
    // Stopping drains the sink, so what is counted afterwards is final.
    assert!(server.stop().await);
    assert_eq!(database.number(rows).await, Some(accepted));
    database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn kill_9_in_the_middle_of_a_replay_loses_and_doubles_nothing() {
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url));
    let mut server = setup.start().await;
    let file = traces().join("delivery-agents.csv");
    let args = [
        "replay",
        file.to_str().expect("UTF-8"),
        "--url",
        &server.url.clone(),
        "--provision",
        "--api-key",
        ADMIN_KEY,
        "--as-fast-as-possible",
        "--batch",
        "5",
        "--json",
    ];
    let mut replay = setup.command(&args);
    let replay = replay
        .stdout(std::process::Stdio::piped())
        .spawn()
        .expect("replay runs");

    for round in 1..=3 {
        let mark = round * 2_000;
        eventually("the replay to be under way", || async {
            let (_, stream) = server.admin(reqwest::Method::GET, "/v1/stream", None).await;
            let records: i64 = stream["topics"]
                .as_array()?
                .iter()
                .filter(|t| t["topic"] == "delivery-location")
                .flat_map(|t| t["partitions"].as_array().cloned().unwrap_or_default())
                .filter_map(|p| p["durable_offset"].as_i64())
                .sum();
            (records * 5 >= mark).then_some(())
        })
        .await;
        server.kill().await;
        server = setup.start().await;
    }
    let output = replay.wait_with_output().await.expect("replay ends");
    let summary: Value = serde_json::from_slice(&output.stdout).expect("a JSON summary");
    let sent = count(&summary, "sent");
    assert_eq!(sent, 10_800, "the whole file was sent: {summary}");
    // What was acknowledged, first or as a duplicate of an answer that was lost, is there once.
    assert_eq!(
        count(&summary, "accepted") + count(&summary, "duplicate"),
        sent,
        "{summary}"
    );
    assert!(server.stop().await);
    let distinct = "select count(distinct (courier_id, fix_time)) from fix";
    assert_eq!(
        database.number("select count(*) from fix").await,
        Some(10_800)
    );
    assert_eq!(database.number(distinct).await, Some(10_800));
    database.drop_database().await;
}
