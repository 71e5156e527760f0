//! An installation of several processes: one Postgres, one Kafka, nodes with roles.

use std::collections::BTreeSet;
use std::path::PathBuf;
use std::process::Command;

use reqwest::Method;
use serde_json::{Value, json};

use super::phones::{Acknowledged, Phone};
use crate::kill_loop::whole_log;
use crate::support::database::Database;
use crate::support::eventually;
use crate::support::server::{Server, Setup};

/// Where the tests' broker is; `None`, counted as skipped, where Kafka cannot be had.
pub fn broker() -> Option<String> {
    let broker = std::env::var("WAYLOG_TEST_KAFKA")
        .expect("WAYLOG_TEST_KAFKA is not set: run the tests by `make test`, or give `none`");
    if broker != "none" {
        return Some(broker);
    }
    println!("SKIPPED: there is no Kafka here");
    if let Some(path) = std::env::var_os("WAYLOG_TEST_SKIPPED") {
        use std::io::Write;
        let file = std::fs::OpenOptions::new()
            .append(true)
            .create(true)
            .open(path);
        let name = std::thread::current().name().unwrap_or("?").to_owned();
        writeln!(file.expect("writable"), "{name}").expect("written");
    }
    None
}

/// The long forms are asked for.
pub fn long() -> bool {
    std::env::var_os("WAYLOG_TEST_LONG").is_some()
}

/// What all nodes of one installation share.
pub struct Installation {
    pub database: Database,
    brokers: String,
    replicas: u16,
    prefix: String,
}

impl Installation {
    pub async fn on(brokers: &str, replicas: u16) -> Self {
        Self {
            database: Database::create().await,
            brokers: brokers.to_owned(),
            replicas,
            prefix: format!("{}.", uuid::Uuid::new_v4().simple()),
        }
    }

    /// The topic of fixes as the brokers name it.
    pub fn topic(&self) -> String {
        format!("{}delivery-location", self.prefix)
    }

    /// A node that is not started yet.
    pub fn node(&self, roles: &str) -> Setup {
        let mut setup = self.with_kafka(Setup::new(Some(&self.database.url)));
        setup.roles = Some(roles.to_owned());
        setup
    }

    /// The same setup on Kafka.
    pub fn with_kafka(&self, setup: Setup) -> Setup {
        let in_sync = if self.replicas < 3 { 1 } else { 2 };
        setup
            .set("WAYLOG__STREAM__BACKEND", "kafka")
            .set("WAYLOG__STREAM__KAFKA__BROKERS", &self.brokers)
            .set("WAYLOG__STREAM__KAFKA__TOPIC_PREFIX", &self.prefix)
            .set("WAYLOG__STREAM__KAFKA__GROUP_PREFIX", &self.prefix)
            .set(
                "WAYLOG__STREAM__KAFKA__REPLICATION_FACTOR",
                &self.replicas.to_string(),
            )
            .set(
                "WAYLOG__STREAM__KAFKA__MIN_INSYNC_REPLICAS",
                &in_sync.to_string(),
            )
            .set(
                "WAYLOG__STREAM__KAFKA__PROPERTIES__SESSION_TIMEOUT_MS",
                "6000",
            )
            .set(
                "WAYLOG__STREAM__KAFKA__PROPERTIES__HEARTBEAT_INTERVAL_MS",
                "500",
            )
    }

    /// Couriers under way, each with a phone, and the token of each delivery's link.
    pub async fn crew(&self, dispatch: &Server, count: usize) -> (Vec<Phone>, Vec<String>) {
        let (mut phones, mut links) = (Vec::new(), Vec::new());
        for n in 0..count {
            let courier = format!("c-{n}");
            let token = dispatch.courier_with_phone(&courier).await;
            let delivery = json!({
                "id": format!("d-{n}"), "courier_id": courier, "link": true,
                "pickup": {"lat": 35.9, "lon": 14.5}, "dropoff": {"lat": 36.2, "lon": 14.5},
            });
            let delivery = dispatch.create("/v1/deliveries", delivery).await;
            let path = format!("/v1/deliveries/d-{n}/status");
            dispatch.create(&path, json!({"status": "picked_up"})).await;
            let link = delivery["tracking_url"].as_str().expect("a link");
            links.push(link.rsplit('/').next().expect("a token").to_owned());
            phones.push(Phone::new(courier, token, n as u64));
        }
        (phones, links)
    }

    /// Everything that was acknowledged is in the log, and everything in the log is in Postgres once.
    pub async fn check(&self, server: &Server, done: &Acknowledged) {
        let done = done.lock().expect("no panic").clone();
        let in_log: BTreeSet<_> = whole_log(server).await.into_iter().collect();
        let lost = done.iter().find(|fix| !in_log.contains(fix));
        assert_eq!(lost, None, "acknowledged, and not in the log");
        self.wait_for_rows(&in_log).await;
        println!(
            "{} acknowledged, {} in the log, each in Postgres once",
            done.len(),
            in_log.len()
        );
    }

    /// Waits until Postgres holds these fixes, each once.
    pub async fn wait_for_rows(&self, fixes: &BTreeSet<(String, i64)>) {
        eventually("every fix to be in Postgres once", || async {
            let all = self.database.number("select count(*) from fix").await?;
            let single = "select count(distinct (courier_id, fix_time)) from fix";
            let single = self.database.number(single).await?;
            assert_eq!(all, single, "a row was doubled");
            (all.cast_unsigned() == fixes.len() as u64).then_some(())
        })
        .await;
    }
}

/// The group as a server sees it.
pub async fn group(server: &Server, name: &str) -> Option<Value> {
    let (status, stream) = server.admin(Method::GET, "/v1/stream", None).await;
    let groups = stream["groups"].as_array().filter(|_| status == 200)?;
    groups.iter().find(|g| g["group"] == name).cloned()
}

/// Waits until `count` members share all partitions of the group.
pub async fn wait_for_owners(server: &Server, name: &str, count: usize) {
    eventually(&format!("{count} members in {name}"), || async {
        let group = group(server, name).await?;
        let partitions = group["partitions"].as_array()?;
        let owners: Option<Vec<&str>> = partitions.iter().map(|p| p["member"].as_str()).collect();
        let distinct: BTreeSet<&str> = owners?.into_iter().collect();
        (distinct.len() == count).then_some(())
    })
    .await;
}

/// Waits until the group has committed everything.
pub async fn wait_for_no_lag(server: &Server, name: &str) {
    eventually(&format!("{name} to have read everything"), || async {
        let group = group(server, name).await?;
        let lag = |p: &Value| p["lag_records"].as_u64();
        let lag: Option<u64> = group["partitions"].as_array()?.iter().map(lag).sum();
        (lag? == 0).then_some(())
    })
    .await;
}

/// Brokers of a scenario's own, which it may kill and pause.
pub struct Brokers {
    dir: PathBuf,
    port: u16,
    count: u16,
    _scratch: tempfile::TempDir,
}

impl Brokers {
    pub fn start(count: u16) -> Self {
        let scratch = tempfile::Builder::new().prefix("waylog-kafka-").tempdir();
        let scratch = scratch.expect("a folder");
        let brokers = Self {
            dir: scratch.path().join("kafka"),
            port: free_ports(),
            count,
            _scratch: scratch,
        };
        brokers.start_again();
        brokers
    }

    /// Starts those that do not run.
    pub fn start_again(&self) {
        let (port, count) = (self.port.to_string(), self.count.to_string());
        self.script(&["start", "--brokers", &count, "--port", &port]);
    }

    pub fn addresses(&self) -> String {
        let address = |n| format!("127.0.0.1:{}", self.port + n);
        (0..self.count).map(address).collect::<Vec<_>>().join(",")
    }

    /// Sends broker `number`, from 1, a signal.
    pub fn signal(&self, number: u16, signal: rustix::process::Signal) {
        rustix::process::kill_process(self.pid(number), signal).expect("it runs");
    }

    /// Waits until the process of broker `number` has ended: before that it cannot be started again.
    pub async fn gone(&self, number: u16) {
        let pid = self.pid(number);
        eventually(&format!("broker {number} to end"), || async {
            rustix::process::test_kill_process(pid)
                .is_err()
                .then_some(())
        })
        .await;
    }

    fn pid(&self, number: u16) -> rustix::process::Pid {
        let path = self.dir.join(format!("{number}.pid"));
        let text = std::fs::read_to_string(path).expect("it was started");
        let pid = rustix::process::Pid::from_raw(text.trim().parse().expect("a number"));
        pid.expect("a pid")
    }

    fn script(&self, args: &[&str]) {
        let script = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("scripts/kafka.sh");
        let done = Command::new(script)
            .args(args)
            .arg("--dir")
            .arg(&self.dir)
            .status();
        assert!(done.expect("the script runs").success(), "{args:?}");
    }
}

impl Drop for Brokers {
    fn drop(&mut self) {
        self.script(&["stop"]);
    }
}

/// The first of three ports that are free, as are those of their controllers.
fn free_ports() -> u16 {
    let free = |port| std::net::TcpListener::bind(("127.0.0.1", port)).is_ok();
    (31_000..32_000)
        .step_by(10)
        .map(|port| port + u16::try_from(std::process::id() % 10).expect("small") * 100)
        .find(|port| (0..3).all(|n| free(port + n) && free(port + 100 + n)))
        .expect("free ports")
}
