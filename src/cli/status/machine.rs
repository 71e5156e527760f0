//! A server that does not answer: what this machine tells about it, and what would keep a start from
//! succeeding.

use std::io;
use std::net::{SocketAddr, TcpListener};
use std::path::Path;
use std::time::Duration;

use super::finding::{Code, Finding, its_log};
use crate::app::tools;
use crate::cli::backup::last_backup;
use crate::cli::disk::{human_bytes, space};
use crate::clock::SystemClock;
use crate::config::{Backend, Config};
use crate::domain::UnixMs;
use crate::stream::TOPIC_DELIVERY_LOCATION;
use crate::stream::embedded;

/// A broker or database that has not answered by then is away.
const PATIENCE: Duration = Duration::from_secs(3);
/// A start and its log want at least so much, bytes.
const LITTLE_SPACE: u64 = 256 << 20;
/// A backup older than this is one that the nightly job has not made, hours.
const BACKUP_AGE_H: i64 = 36;
const HOUR_MS: i64 = 3_600_000;

/// Adds what is wrong to `findings`.
pub(super) async fn look(config: &Config, url: &str, why: &str, findings: &mut Vec<Finding>) {
    let log_dir = config.data_dir.join("log");
    if config.stream.backend == Backend::Embedded
        && let Ok(Some(who)) = embedded::holder(&log_dir)
    {
        findings.push(Finding::error(
            Code::NotReady,
            format!(
                "{who} holds the log in {} and does not answer at {url} ({why}): it is starting, or \
                 it hangs",
                log_dir.display()
            ),
            format!("{}; if it does not move on, restart it", its_log()),
        ));
        return;
    }
    findings.push(Finding::error(
        Code::Down,
        format!("no server runs: nothing answers at {url} ({why})"),
        start_command(),
    ));
    let before = findings.len();
    look_at_folder(&config.data_dir, findings);
    look_at_ports(config, findings);
    match config.stream.backend {
        Backend::Embedded => look_at_log(config, &log_dir, findings),
        Backend::Kafka => look_at_brokers(&config.stream.kafka.brokers, findings).await,
    }
    look_at_database(config, findings).await;
    if findings.len() > before {
        findings[before - 1].next = format!("mend what is named below, then {}", start_command());
    }
}

fn start_command() -> String {
    if Path::new("/run/systemd/system").exists() {
        format!("systemctl start waylog; why it stopped: {}", its_log())
    } else {
        format!("waylog serve; why it stopped: {}", its_log())
    }
}

fn cannot(what: impl Into<String>, next: impl Into<String>) -> Finding {
    Finding::error(Code::CannotStart, what, next)
}

fn look_at_folder(data_dir: &Path, findings: &mut Vec<Finding>) {
    let shown = data_dir.display();
    if !data_dir.exists() {
        findings.push(cannot(
            format!("data_dir {shown} does not exist: nothing has run there"),
            "give the server's --config, or its WAYLOG__DATA_DIR",
        ));
        return;
    }
    let rights = rustix::fs::Access::WRITE_OK | rustix::fs::Access::EXEC_OK;
    if rustix::fs::access(data_dir, rights).is_err() {
        findings.push(cannot(
            format!("this user may not write to data_dir {shown}"),
            "run it as the server's user (sudo -u waylog), or change the owner",
        ));
    }
    match space(data_dir) {
        Ok((free, _)) if free < LITTLE_SPACE => findings.push(Finding::error(
            Code::DiskNearlyFull,
            format!("the disk of data_dir has {} free", human_bytes(free)),
            "free space: df -h, du -xh --max-depth=2 / | sort -h | tail",
        )),
        Ok(_) => {}
        Err(error) => findings.push(cannot(format!("{error:#}"), "df -h")),
    }
}

fn look_at_ports(config: &Config, findings: &mut Vec<Finding>) {
    let http = &config.http;
    let ports = [
        ("http.listen", Some(http.listen)),
        ("http.osmand_listen", http.osmand_listen),
        ("http.operator_listen", http.operator_listen),
    ];
    for (setting, address) in ports {
        if let Some(address) = address
            && let Err(error) = TcpListener::bind(address)
        {
            findings.push(cannot(
                format!("{setting} = {address} cannot be listened on: {error}"),
                port_advice(&error, address, setting),
            ));
        }
    }
}

fn port_advice(error: &io::Error, address: SocketAddr, setting: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => format!(
            "see who has it: ss -ltnp 'sport = :{}'; end that, or set {setting}",
            address.port()
        ),
        io::ErrorKind::PermissionDenied => format!(
            "ports below 1024 want a right: AmbientCapabilities=CAP_NET_BIND_SERVICE in the unit, \
             or set {setting}"
        ),
        _ => format!("set {setting} to an address of this machine (ip addr)"),
    }
}

fn look_at_log(config: &Config, dir: &Path, findings: &mut Vec<Finding>) {
    match embedded::pinned_partitions(dir, TOPIC_DELIVERY_LOCATION) {
        Err(error) => findings.push(cannot(error.to_string(), "waylog stream verify")),
        Ok(Some(pinned)) if pinned != config.stream.partitions => findings.push(cannot(
            format!(
                "the log in {} has {pinned} partitions, the configuration says {}",
                dir.display(),
                config.stream.partitions
            ),
            format!("set stream.partitions = {pinned}"),
        )),
        Ok(_) => {}
    }
}

async fn look_at_brokers(brokers: &str, findings: &mut Vec<Finding>) {
    let mut silent = Vec::new();
    let all: Vec<&str> = brokers.split(',').map(str::trim).collect();
    for broker in &all {
        let asked = tokio::time::timeout(PATIENCE, tokio::net::TcpStream::connect(broker)).await;
        if !matches!(asked, Ok(Ok(_))) {
            silent.push(*broker);
        }
    }
    if silent.len() == all.len() {
        findings.push(cannot(
            format!("no Kafka broker answers: {}", silent.join(", ")),
            "look at Kafka itself, or at stream.kafka.brokers",
        ));
    }
}

async fn look_at_database(config: &Config, findings: &mut Vec<Finding>) {
    if config.database.url.is_none() {
        match tools::private_clusters_last_words(config) {
            Some(line) if tools::has_private_cluster(config) => findings.push(Finding::warning(
                Code::PostgresDown,
                format!("the private Postgres said at some time: {line}"),
                format!(
                    "tail {}",
                    config.data_dir.join("postgres/postgres.log").display()
                ),
            )),
            _ => {}
        }
        if let Err(error) = tools::private_cluster_programs(config) {
            findings.push(cannot(
                "the private Postgres cannot be started",
                error.to_string(),
            ));
        }
        return;
    }
    let asked = tokio::time::timeout(PATIENCE * 2, tools::check_database(config)).await;
    match asked {
        Ok(Ok(())) => {}
        Ok(Err(error)) => findings.push(Finding::error(
            Code::PostgresDown,
            "the database that database.url names cannot be used",
            format!("{error:#}"),
        )),
        Err(_) => findings.push(Finding::error(
            Code::PostgresDown,
            "the database that database.url names does not answer",
            "look at Postgres itself, and at the network between",
        )),
    }
}

/// Whether the newest backup is one that may be relied on.
pub(super) fn look_at_backup(config: &Config, findings: &mut Vec<Finding>) {
    let next = "waylog backup DIR (config/systemd/waylog-backup.timer does it every night)";
    let Some(last) = last_backup(&config.data_dir) else {
        let what = "no backup was ever made on this machine";
        findings.push(Finding::warning(Code::BackupOld, what, next));
        return;
    };
    let now = UnixMs(SystemClock::shared().now_ms());
    let hours = UnixMs::parse_rfc3339(&last.made_at).map(|at| now.since(at) / HOUR_MS);
    if hours.is_ok_and(|hours| hours < BACKUP_AGE_H) {
        return;
    }
    findings.push(Finding::warning(
        Code::BackupOld,
        format!(
            "the newest backup is of {} ({}, {})",
            last.made_at,
            last.dir.display(),
            human_bytes(last.bytes)
        ),
        next,
    ));
}
