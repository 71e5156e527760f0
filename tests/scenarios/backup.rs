//! Backup and restore, drilled on the real program: under load and on another machine, with a
//! Postgres that is older than the log, with a log that is lost or older than Postgres, and from
//! backups that were damaged.

use std::collections::BTreeSet;
use std::fs;
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex};

use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;
use tokio_util::sync::CancellationToken;
use waylog::local_postgres::LocalPostgres;

use crate::support::database::Database;
use crate::support::own_postgres::OwnPostgres;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, now_ms};

/// Courier and fix_time.
type Fixes = BTreeSet<(String, i64)>;

struct Phone {
    courier: String,
    token: String,
}

async fn phones(server: &Server, count: usize) -> Vec<Phone> {
    let mut phones = Vec::new();
    for n in 0..count {
        let courier = format!("c-{n}");
        let token = server.courier_with_phone(&courier).await;
        phones.push(Phone { courier, token });
    }
    phones
}

/// Posts `count` fixes from `from` on, a second apart; answers what was acknowledged.
async fn post(server: &Server, phone: &Phone, from: i64, count: i64) -> Fixes {
    let times: Vec<i64> = (0..count).map(|n| from + n * 1000).collect();
    let fixes: Vec<Value> = times
        .iter()
        .map(|at| json!({"fix_time": at, "lat": 35.9, "lon": 14.5}))
        .collect();
    let (status, answer) = server.post_fixes(&phone.token, json!(fixes)).await;
    assert_eq!(status, 200, "{answer}");
    times
        .into_iter()
        .map(|at| (phone.courier.clone(), at))
        .collect()
}

/// Every fix in the database at `url`; `None` while it cannot be asked. One that is there twice
/// fails the test.
async fn stored(url: &str) -> Option<Fixes> {
    let mut connection = sqlx::PgConnection::connect(url).await.ok()?;
    let rows: Vec<(String, i64)> =
        sqlx::query_as("select courier_id, (extract(epoch from fix_time) * 1000)::bigint from fix")
            .fetch_all(&mut connection)
            .await
            .ok()?;
    let all = rows.len();
    let distinct: Fixes = rows.into_iter().collect();
    assert_eq!(all, distinct.len(), "a fix is stored twice");
    Some(distinct)
}

async fn stored_are(url: &str, expected: &Fixes) {
    eventually("Postgres to hold exactly what was acknowledged", || async {
        (stored(url).await? == *expected).then_some(())
    })
    .await;
}

/// Runs a command that must succeed; answers its JSON.
async fn done(setup: &Setup, args: &[&str]) -> Value {
    let output = setup.command(args).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{args:?}: {said}");
    serde_json::from_slice(&output.stdout).unwrap_or_else(|e| panic!("{args:?}: {e}"))
}

/// Runs a command that must fail with exit code 1; answers what it says.
async fn refused(setup: &Setup, args: &[&str]) -> String {
    let output = setup.command(args).output().await.expect("it runs");
    let said = String::from_utf8_lossy(&output.stderr).into_owned();
    assert_eq!(output.status.code(), Some(1), "{args:?}: {said}");
    said
}

fn text(path: &Path) -> &str {
    path.to_str().expect("UTF-8")
}

fn copy_folder(from: &Path, to: &Path) {
    fs::create_dir_all(to).expect("made");
    for entry in fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (source, target) = (entry.path(), to.join(entry.file_name()));
        if source.is_dir() {
            copy_folder(&source, &target);
        } else {
            fs::copy(&source, &target).expect("copied");
        }
    }
}

async fn events(server: &Server, after: Option<&str>) -> (Vec<Value>, String) {
    let after = after.map(|a| format!("&after={a}")).unwrap_or_default();
    let path = format!("/v1/events?limit=500{after}");
    let (status, page) = server.admin(Method::GET, &path, None).await;
    assert_eq!(status, 200, "{page}");
    let items = page["items"].as_array().expect("items").clone();
    let cursor = page["next_cursor"].as_str().unwrap_or_default().to_owned();
    (items, cursor)
}

async fn deliver(server: &Server, id: &str, courier: &str) {
    let delivery = json!({"id": id, "courier_id": courier,
        "pickup": {"lat": 35.9, "lon": 14.5}, "dropoff": {"lat": 36.0, "lon": 14.5}});
    server.create("/v1/deliveries", delivery).await;
    let path = format!("/v1/deliveries/{id}/status");
    server.create(&path, json!({"status": "picked_up"})).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_backup_made_under_load_comes_back_on_another_machine() {
    let mut setup = Setup::new(None);
    let server = Arc::new(setup.start().await);
    let phones = phones(&server, 4).await;
    deliver(&server, "d-1", "c-0").await;
    let acknowledged = Arc::new(Mutex::new(Fixes::new()));
    let stop = CancellationToken::new();
    let start = now_ms() - 86_400_000;
    let posting: Vec<_> = phones
        .into_iter()
        .map(|phone| {
            let (server, stop) = (server.clone(), stop.clone());
            let acknowledged = acknowledged.clone();
            tokio::spawn(async move {
                let mut from = start;
                while !stop.is_cancelled() {
                    let fixes = post(&server, &phone, from, 20).await;
                    acknowledged.lock().expect("no panic").extend(fixes);
                    from += 20_000;
                }
                phone
            })
        })
        .collect();
    let so_far = || acknowledged.lock().expect("no panic").clone();
    eventually("a few hundred fixes", || async {
        (so_far().len() > 500).then_some(())
    })
    .await;

    let home = tempfile::tempdir().expect("a folder");
    let backup = home.path().join("backup");
    let before = so_far();
    let made = done(&setup, &["backup", text(&backup), "--json"]).await;
    assert!(made["bytes"].as_u64().expect("bytes") > 0);
    let whole = done(&setup, &["restore", text(&backup), "--check", "--json"]).await;
    assert_eq!(whole["whole"], true);
    stop.cancel();
    let mut phones = Vec::new();
    for phone in posting {
        phones.push(phone.await.expect("no panic"));
    }
    let after = so_far();
    let (told, cursor) = events(&server, None).await;
    assert!(told.len() >= 2, "assigned, picked up: {told:?}");
    // Posting tasks are done: this is the last handle.
    let server = Arc::into_inner(server).expect("the last one");
    assert!(server.stop().await);

    // Another machine: an empty data_dir, and a Postgres whose transactions are counted from 1.
    let mut elsewhere = Setup::new(None);
    let restored = done(&elsewhere, &["restore", text(&backup), "--json"]).await;
    assert_eq!(restored["postgres"], true);
    assert_eq!(restored["log"], true);
    assert_eq!(restored["records_missing"], 0);
    let said = refused(&elsewhere, &["restore", text(&backup)]).await;
    assert!(said.contains("holds a log already"), "{said}");
    let server = elsewhere.start().await;
    let url = LocalPostgres::running_url(&elsewhere.data).expect("readable");
    let url = url.expect("it runs");
    let held = eventually("all of before the backup in Postgres", || async {
        let held = stored(&url).await?;
        before.is_subset(&held).then_some(held)
    })
    .await;
    assert!(held.is_subset(&after), "nothing is made up");

    // Phones, keys and events go on where they were.
    let newest = now_ms();
    let new = post(&server, &phones[0], newest, 3).await;
    let (again, _) = events(&server, None).await;
    assert_eq!(again, told, "events are read in the same order");
    server
        .create("/v1/deliveries/d-1/status", json!({"status": "delivered"}))
        .await;
    let later = eventually("the new event behind the old ones", || async {
        let (later, _) = events(&server, Some(&cursor)).await;
        (!later.is_empty()).then_some(later)
    })
    .await;
    assert_eq!(later.len(), 1, "{later:?}");
    assert_eq!(later[0]["type"], "delivery.delivered");
    eventually("the new fixes in Postgres", || async {
        new.is_subset(&stored(&url).await?).then_some(())
    })
    .await;
    assert!(server.stop().await);
}

/// A server on a database of its own with some fixes, and a backup of it.
struct Drill {
    setup: Setup,
    server: Server,
    database: Database,
    phones: Vec<Phone>,
    start: i64,
    acknowledged: Fixes,
    _home: tempfile::TempDir,
    backup: PathBuf,
}

impl Drill {
    async fn begin() -> Self {
        let database = Database::create().await;
        let mut setup = Setup::new(Some(&database.url));
        let server = setup.start().await;
        let phones = phones(&server, 3).await;
        let start = now_ms() - 3_600_000;
        let mut acknowledged = Fixes::new();
        for phone in &phones {
            acknowledged.extend(post(&server, phone, start, 50).await);
        }
        stored_are(&database.url, &acknowledged).await;
        let home = tempfile::tempdir().expect("a folder");
        let backup = home.path().join("backup");
        done(&setup, &["backup", text(&backup), "--json"]).await;
        Self {
            setup,
            server,
            database,
            phones,
            start,
            acknowledged,
            _home: home,
            backup,
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_postgres_older_than_the_log_reads_what_it_lacks_and_nothing_twice() {
    let mut drill = Drill::begin().await;
    let mut all = drill.acknowledged.clone();
    for phone in &drill.phones {
        let fixes = post(&drill.server, phone, drill.start + 60_000, 50).await;
        all.extend(fixes);
    }
    stored_are(&drill.database.url, &all).await;
    drill.server.kill().await;

    // The database is lost; the log is not.
    drill.database.drop_database().await;
    let fresh = Database::create().await;
    drill.setup.database_url = Some(fresh.url.clone());
    let backup = text(&drill.backup).to_owned();
    let said = refused(&drill.setup, &["restore", &backup]).await;
    assert!(said.contains("--only postgres"), "{said}");
    let args = ["restore", &backup, "--only", "postgres", "--json"];
    let restored = done(&drill.setup, &args).await;
    assert_eq!(restored["log"], false);
    assert!(restored["records_to_read"].as_u64().expect("a number") >= 3);
    assert_eq!(restored["records_missing"], 0);
    let server = drill.setup.start().await;
    stored_are(&fresh.url, &all).await;
    // What the phones send again is known.
    for phone in &drill.phones {
        post(&server, phone, drill.start, 50).await;
    }
    let more = post(&server, &drill.phones[0], drill.start + 600_000, 5).await;
    all.extend(more);
    stored_are(&fresh.url, &all).await;
    assert!(server.stop().await);
    fresh.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_lost_log_is_told_and_nothing_is_doubled() {
    let mut drill = Drill::begin().await;
    drill.server.kill().await;
    fs::remove_dir_all(drill.setup.data.join("log")).expect("removed");
    let server = drill.setup.start().await;
    // The phones have had no answer to their last upload, and send it again with new fixes.
    let mut all = drill.acknowledged.clone();
    for phone in &drill.phones {
        all.extend(post(&server, phone, drill.start, 60).await);
    }
    stored_are(&drill.database.url, &all).await;
    let duplicates = "select coalesce(sum(duplicates), 0)::bigint from stream_offset";
    assert_eq!(
        drill.database.number(duplicates).await,
        Some(150),
        "the sink has found what ingest could not know"
    );
    let status = drill.setup.command(&["status", "--json"]).output().await;
    let status = status.expect("it runs");
    assert_eq!(status.status.code(), Some(1));
    let status: Value = serde_json::from_slice(&status.stdout).expect("JSON");
    let codes: Vec<_> = status["findings"]
        .as_array()
        .expect("findings")
        .iter()
        .map(|finding| finding["code"].as_str().expect("a code"))
        .collect();
    assert!(codes.contains(&"WaylogLogLost"), "{status}");
    assert!(server.stop().await);
    drill.database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_older_than_postgres_that_grows_while_postgres_is_away_loses_nothing_new() {
    let postgres = OwnPostgres::start();
    let url = postgres.url();
    let mut setup = Setup::new(Some(&url));
    let mut server = setup.start().await;
    let phones = phones(&server, 1).await;
    let start = now_ms() - 3_600_000;
    let mut all = post(&server, &phones[0], start, 10).await;
    stored_are(&url, &all).await;
    assert!(server.stop().await);
    let (log, old) = (setup.data.join("log"), setup.data.join("log.old"));
    copy_folder(&log, &old);
    server = setup.start().await;
    for n in 0..5 {
        let from = start + 60_000 + n * 10_000;
        all.extend(post(&server, &phones[0], from, 10).await);
    }
    stored_are(&url, &all).await;
    assert!(server.stop().await);

    // An older copy of the log takes its place, and Postgres is away as it grows past the place
    // up to which Postgres had read the newer one.
    fs::remove_dir_all(&log).expect("removed");
    fs::rename(&old, &log).expect("renamed");
    postgres.stop_immediately();
    server = setup.start().await;
    for n in 0..20 {
        let from = start + 600_000 + n * 10_000;
        all.extend(post(&server, &phones[0], from, 10).await);
    }
    postgres.start_again();
    stored_are(&url, &all).await;
    assert!(server.stop().await);
}

#[tokio::test(flavor = "multi_thread")]
async fn an_older_log_that_is_restored_beside_a_newer_postgres_is_read_on_from_its_end() {
    let mut drill = Drill::begin().await;
    let mut all = drill.acknowledged.clone();
    for phone in &drill.phones {
        all.extend(post(&drill.server, phone, drill.start + 60_000, 50).await);
    }
    stored_are(&drill.database.url, &all).await;
    assert!(drill.server.stop().await);
    let log = drill.setup.data.join("log");
    fs::rename(&log, drill.setup.data.join("log.damaged")).expect("moved away");
    let backup = text(&drill.backup).to_owned();
    let args = ["restore", &backup, "--only", "log", "--json"];
    let restored = done(&drill.setup, &args).await;
    assert!(restored["places_pulled_back"].as_u64().expect("a number") > 0);
    let server = drill.setup.start().await;
    for phone in &drill.phones {
        all.extend(post(&server, phone, drill.start + 600_000, 50).await);
    }
    stored_are(&drill.database.url, &all).await;
    assert!(server.stop().await);
    drill.database.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_damaged_backup_is_refused_and_changes_nothing() {
    let drill = Drill::begin().await;
    assert!(drill.server.stop().await);
    drill.database.drop_database().await;
    let fresh = Database::create().await;
    let target = Setup::new(Some(&fresh.url));
    let segment = "log/delivery-location/p000/00000000000000000000.seg";
    let home = tempfile::tempdir().expect("a folder");
    let damaged = home.path().join("damaged");
    for name in [
        "postgres.dump",
        segment,
        "MANIFEST.json",
        "directory.snap",
        "log/META",
    ] {
        copy_folder(&drill.backup, &damaged);
        let path = damaged.join(name);
        let mut bytes = fs::read(&path).expect("read");
        let middle = bytes.len() / 2;
        bytes[middle] ^= 0x10;
        fs::write(&path, bytes).expect("written");
        let said = refused(&target, &["restore", text(&damaged)]).await;
        assert!(said.contains(name) && said.contains("damaged"), "{said}");
        fs::remove_dir_all(&damaged).expect("removed");
    }
    for (name, why) in [("SHA256SUMS", "not finished"), (segment, "is missing")] {
        copy_folder(&drill.backup, &damaged);
        fs::remove_file(damaged.join(name)).expect("removed");
        let said = refused(&target, &["restore", text(&damaged)]).await;
        assert!(said.contains(why), "{said}");
        fs::remove_dir_all(&damaged).expect("removed");
    }
    assert!(!target.data.join("log").exists(), "nothing was restored");
    let tables = "select count(*) from pg_tables where schemaname = 'public'";
    assert_eq!(fresh.number(tables).await, Some(0));
    fresh.drop_database().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn backups_go_into_empty_folders_and_restores_to_where_nothing_is() {
    let drill = Drill::begin().await;
    let backup = text(&drill.backup).to_owned();
    let said = refused(&drill.setup, &["backup", &backup]).await;
    assert!(said.contains("is not empty"), "{said}");
    assert!(drill.backup.join("SHA256SUMS").exists(), "left as it was");
    // While the server runs nothing can be restored under it.
    let said = refused(&drill.setup, &["restore", &backup, "--only", "postgres"]).await;
    assert!(said.contains("in use by process"), "{said}");
    assert!(drill.server.stop().await);
    let args = ["restore", &backup, "--only", "postgres"];
    let said = refused(&drill.setup, &args).await;
    assert!(said.contains("is not empty"), "{said}");
    drill.database.drop_database().await;
    // A folder with nothing of Waylog's.
    let nothing = Setup::new(Some("postgres://nobody@127.0.0.1:1/none"));
    let said = refused(&nothing, &["backup", &format!("{backup}-2")]).await;
    assert!(said.contains("there is no log"), "{said}");
    assert!(!Path::new(&format!("{backup}-2")).exists());
}
