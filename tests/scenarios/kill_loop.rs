//! kill -9, again and again, while phones post: what was acknowledged is in the log, and in Postgres
//! once. The list of what was acknowledged is kept here, outside the server's process.

use std::collections::BTreeSet;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use reqwest::Method;
use serde_json::{Value, json};
use sqlx::Connection;

use crate::support::database::Database;
use crate::support::server::{Server, Setup};
use crate::support::{eventually, now_ms};

const PHONES: u32 = 8;

/// Courier and fix_time of what the server has acknowledged.
type Acknowledged = Arc<Mutex<BTreeSet<(String, i64)>>>;

struct Phone {
    courier: String,
    token: String,
    next: i64,
    /// Sent without an answer: sent again first, as phones do.
    unanswered: Option<Vec<i64>>,
}

/// Posts until told to stop or until the server is gone.
async fn post(phone: &mut Phone, url: &str, stop: &AtomicBool, done: &Acknowledged, seed: u64) {
    let mut chance = StdRng::seed_from_u64(seed);
    let http = reqwest::Client::new();
    while !stop.load(Ordering::Relaxed) {
        let times = phone.unanswered.take().unwrap_or_else(|| {
            let from = phone.next;
            phone.next += chance.random_range(1..20);
            (from..phone.next).collect()
        });
        let fixes: Vec<Value> = times
            .iter()
            .map(|at| json!({"fix_time": at, "lat": 35.9, "lon": 14.5}))
            .collect();
        let request = http
            .post(format!("{url}/v1/positions"))
            .bearer_auth(&phone.token);
        match request.json(&fixes).send().await {
            Ok(answer) if answer.status().is_success() => {
                // The status line is the acknowledgement, whatever becomes of the body.
                let mut done = done.lock().expect("no panic");
                done.extend(times.into_iter().map(|at| (phone.courier.clone(), at)));
            }
            Ok(answer) => panic!("{}: {}", phone.courier, answer.status()),
            Err(_) => {
                phone.unanswered = Some(times);
                return;
            }
        }
    }
}

fn acknowledged(done: &Acknowledged) -> usize {
    done.lock().expect("no panic").len()
}

/// Courier and fix_time of every fix in the log, read through the server.
pub async fn whole_log(server: &Server) -> Vec<(String, i64)> {
    let (_, stream) = server.admin(Method::GET, "/v1/stream", None).await;
    let topics = stream["topics"].as_array().expect("topics");
    let topic = topics.iter().find(|t| t["topic"] == "delivery-location");
    let mut fixes = Vec::new();
    for partition in topic.expect("the topic")["partitions"]
        .as_array()
        .expect("partitions")
    {
        let mut next = partition["log_start_offset"].as_u64().expect("an offset");
        let end = partition["durable_offset"].as_u64().expect("an offset");
        while next < end {
            let path = format!(
                "/v1/stream/delivery-location/records?partition={}&from={next}&limit=1000",
                partition["partition"]
            );
            let (status, page) = server.admin(Method::GET, &path, None).await;
            assert_eq!(status, 200, "{page}");
            let records = page["items"].as_array().expect("items");
            for record in records {
                next = record["offset"].as_u64().expect("an offset") + 1;
                for fix in record["fixes"].as_array().into_iter().flatten() {
                    let at = fix["fix_time"].as_str().expect("a time");
                    let at = time::OffsetDateTime::parse(
                        at,
                        &time::format_description::well_known::Rfc3339,
                    );
                    let at = at.expect("RFC 3339").unix_timestamp_nanos() / 1_000_000;
                    let courier = record["key"].as_str().expect("a key").to_owned();
                    fixes.push((courier, i64::try_from(at).expect("fits")));
                }
            }
            assert!(!records.is_empty(), "the log ends at {next}, before {end}");
        }
    }
    fixes
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_was_acknowledged_outlives_kill_9_again_and_again() {
    let long = std::env::var_os("WAYLOG_TEST_LONG").is_some();
    let rounds = if long { 100 } else { 10 };
    let seed = std::env::var("WAYLOG_TEST_SEED")
        .ok()
        .and_then(|s| s.parse().ok());
    let seed: u64 = seed.unwrap_or_else(|| now_ms().cast_unsigned());
    println!("WAYLOG_TEST_SEED={seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let database = Database::create().await;
    let mut setup = Setup::new(Some(&database.url));
    let mut server = setup.start().await;
    let mut phones = Vec::new();
    for n in 0..PHONES {
        let courier = format!("c-{n}");
        phones.push(Phone {
            token: server.courier_with_phone(&courier).await,
            courier,
            next: now_ms() - 3_600_000,
            unanswered: None,
        });
    }
    let done = Acknowledged::default();
    for round in 0..rounds {
        let stop = Arc::new(AtomicBool::new(false));
        let posting: Vec<_> = phones
            .drain(..)
            .map(|mut phone| {
                let (url, stop, done) = (server.url.clone(), stop.clone(), done.clone());
                let seed = chance.random();
                tokio::spawn(async move {
                    post(&mut phone, &url, &stop, &done, seed).await;
                    phone
                })
            })
            .collect();
        // The moment of the blow: after so many more acknowledged fixes, some of them in mid-answer.
        let enough = acknowledged(&done) + chance.random_range(0..400);
        while acknowledged(&done) < enough {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
        let last = round + 1 == rounds;
        if last {
            stop.store(true, Ordering::Relaxed);
        } else {
            server.kill_9().await;
        }
        for phone in posting {
            phones.push(phone.await.expect("a phone does not give up"));
        }
        if !last {
            server = setup.start().await;
        }
    }
    let done = done.lock().expect("no panic").clone();
    let in_log = whole_log(&server).await;
    let distinct: BTreeSet<_> = in_log.iter().cloned().collect();
    let lost = done.iter().find(|fix| !distinct.contains(fix));
    assert_eq!(lost, None, "acknowledged, and not in the log");
    assert_eq!(in_log.len(), distinct.len(), "a fix was appended twice");
    eventually("every fix to be in Postgres once", || async {
        let mut connection = sqlx::PgConnection::connect(&database.url).await.ok()?;
        let (all, single): (i64, i64) =
            sqlx::query_as("select count(*), count(distinct (courier_id, fix_time)) from fix")
                .fetch_one(&mut connection)
                .await
                .ok()?;
        assert_eq!(all, single, "a row was doubled");
        (all.cast_unsigned() == distinct.len() as u64).then_some(())
    })
    .await;
    assert!(server.stop().await, "it ends in order");
    let log = setup.data.join("log");
    let verify = setup.command(&["stream", "verify", "--dir", log.to_str().expect("a path")]);
    let verified = { verify }.output().await.expect("it runs");
    let said = String::from_utf8_lossy(&verified.stdout);
    assert!(verified.status.success(), "{said}");
    println!(
        "{} acknowledged, {} in the log, {rounds} rounds",
        done.len(),
        in_log.len()
    );
}
