//! Data that an earlier program has left (tests/fixtures/upgrade, made by its make.sh) is opened,
//! migrated and served by this one: nothing lost, nothing doubled, everybody is let in as before.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Executor;

use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::Setup;

/// The settings that would delete what is old by now, set to never.
const FOR_EVER: [(&str, &str); 7] = [
    ("WAYLOG__ANALYTICS__RETENTION_DAYS", "36500"),
    ("WAYLOG__INGEST__MAX_AGE_DAYS", "36500"),
    ("WAYLOG__RETENTION__CUSTOMERS_DAYS", "36500"),
    ("WAYLOG__RETENTION__DELIVERIES_DAYS", "36500"),
    ("WAYLOG__RETENTION__EVENTS_DAYS", "36500"),
    ("WAYLOG__RETENTION__AUDIT_DAYS", "36500"),
    ("WAYLOG__STREAM__EMBEDDED__RETENTION_HOURS", "876000"),
];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures/upgrade")
}

/// Names of the releases whose data is kept.
fn releases() -> BTreeSet<String> {
    let entries = std::fs::read_dir(fixtures()).expect("the fixtures");
    let names = entries.filter_map(|entry| {
        let name = entry.expect("an entry").file_name();
        Some(name.to_str()?.strip_suffix(".sql")?.to_owned())
    });
    names.collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn data_of_every_earlier_release_is_opened_migrated_and_served() {
    let releases = releases();
    assert!(!releases.is_empty(), "no fixture was found");
    for release in releases {
        serve(&release).await;
    }
}

async fn serve(release: &str) {
    let file = |suffix: &str| fixtures().join(format!("{release}.{suffix}"));
    let text = std::fs::read_to_string(file("json")).expect("the fixture's facts");
    let facts: Value = serde_json::from_str(&text).expect("JSON");
    let database = Database::create().await;
    let dump = std::fs::read_to_string(file("sql")).expect("the dump");
    let mut connection = database.pool.acquire().await.expect("a connection");
    connection
        .execute(sqlx::raw_sql(sqlx::AssertSqlSafe(dump)))
        .await
        .expect("the dump is restored");
    connection.close().await.expect("closed");

    let mut setup = Setup::new(Some(&database.url));
    for (name, value) in FOR_EVER {
        setup = setup.set(name, value);
    }
    std::fs::create_dir(&setup.data).expect("made");
    let unpacked = Command::new("tar")
        .arg("-xzf")
        .arg(file("log.tar.gz"))
        .arg("-C")
        .arg(&setup.data)
        .status();
    assert!(unpacked.expect("tar").success());
    let count = "select count(*) from fix";
    let in_postgres = database.number(count).await;
    assert_eq!(in_postgres, facts["in_postgres"].as_i64(), "{release}");

    let server = setup.start().await;
    let all = facts["in_log"].as_i64().expect("a number");
    eventually("what was only in the log", || async {
        (database.number(count).await? == all).then_some(())
    })
    .await;
    let distinct = "select count(distinct (courier_id, fix_time)) from fix";
    assert_eq!(database.number(distinct).await, Some(all), "{release}");

    // Phones, programs and what dispatchers see.
    let from = facts["from"].as_i64().expect("a time");
    let token = facts["tokens"][0].as_str().expect("a token");
    let known = json!({"fix_time": from, "lat": 35.9, "lon": 14.5});
    let (status, answer) = server.post_fixes(token, known).await;
    assert_eq!(status, 200, "{release}: {answer}");
    let new = json!({"fix_time": from + 500, "lat": 35.9, "lon": 14.5});
    let (status, answer) = server.post_fixes(token, new).await;
    assert_eq!((status, &answer["accepted"]), (200, &json!(1)), "{answer}");
    eventually("the new fix, and the known one not again", || async {
        (database.number(count).await? == all + 1).then_some(())
    })
    .await;
    let key = facts["dispatcher_key"].as_str();
    let (status, page) = server
        .request(Method::GET, "/v1/couriers?limit=10", key, None)
        .await;
    assert_eq!(status, 200, "{page}");
    assert_eq!(page["items"].as_array().map(Vec::len), Some(3), "{page}");
    let (status, delivery) = server
        .request(Method::GET, "/v1/deliveries/d-1", key, None)
        .await;
    assert_eq!((status, &delivery["status"]), (200, &json!("picked_up")));
    assert_eq!(delivery["customer"]["name"], "Ana", "{delivery}");
    let (status, events) = server
        .request(Method::GET, "/v1/events?limit=500", key, None)
        .await;
    assert_eq!(status, 200);
    let kinds: BTreeSet<&str> = events["items"]
        .as_array()
        .expect("items")
        .iter()
        .filter_map(|event| event["type"].as_str())
        .collect();
    assert!(kinds.contains("delivery.picked_up"), "{events}");
    let step = json!({"status": "delivered"});
    server.create("/v1/deliveries/d-1/status", step).await;
    assert!(server.stop().await);

    let log = setup.data.join("log");
    let verify = ["stream", "verify", "--dir", log.to_str().expect("UTF-8")];
    let verified = setup.command(&verify).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{said}");
    database.drop_database().await;
}
