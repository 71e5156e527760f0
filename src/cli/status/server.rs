//! A server that answers: its health, its numbers, and its stream.

use std::time::Duration;

use anyhow::Context;
use reqwest::Method;
use serde_json::Value;

use super::finding::{Code, Finding, its_log};
use super::samples::Samples;
use crate::cli::api::{Api, Call};
use crate::cli::disk::human_bytes;
use crate::telemetry::metrics as names;

/// No second try: what does not answer now is what is wrong now.
const PATIENCE: Duration = Duration::ZERO;
/// Between two looks at counters: what rises in it happens now.
const BETWEEN: Duration = Duration::from_secs(1);
/// A group further behind than this is worth a word, seconds.
const LAG_WORTH_A_WORD_S: f64 = 60.0;
/// Below this share of the retention a group is close to losing records.
const HEADROOM: f64 = 0.5;
/// From here on the log, and the disk, are nearly full.
const FULL: f64 = 0.9;
/// More webhooks than this wait only where receivers fail or are slow.
const MANY_WEBHOOKS: f64 = 1_000.0;

/// Whether there is a server.
pub(super) enum Seen {
    Running,
    /// Nothing answers, and what was tried.
    Silent(String),
}

/// Asks the server and adds what is wrong to `findings`.
pub(super) async fn look(
    url: &str,
    operator_url: &str,
    key: Option<&str>,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<Seen> {
    let operator = Api::new(operator_url, PATIENCE)?;
    let health = match operator.call(&Call::new(Method::GET, "/healthz", "")).await {
        Ok(answer) if answer.status.is_success() => answer,
        Ok(answer) => {
            findings.push(Finding::error(
                Code::Down,
                format!(
                    "what answers at {operator_url} is not Waylog: /healthz is {}",
                    answer.status
                ),
                "give --operator-url (http.operator_listen), or --url",
            ));
            return Ok(Seen::Running);
        }
        Err(error) => return Ok(Seen::Silent(error.to_string())),
    };
    let health: Value = health.json().context("read /healthz")?;
    if health["database"] == "down" {
        findings.push(Finding::error(
            Code::PostgresDown,
            "Postgres is out of reach; positions are taken and shown, rows and webhooks wait",
            "look at Postgres itself; Waylog catches up by itself when it is back",
        ));
    }
    match scrape(&operator).await {
        Ok(before) => {
            tokio::time::sleep(BETWEEN).await;
            let now = scrape(&operator).await.unwrap_or_default();
            judge_numbers(&before, &now, findings);
        }
        Err(error) => findings.push(Finding::warning(
            Code::NotReady,
            format!("/metrics does not answer: {error:#}"),
            its_log(),
        )),
    }
    if let Some(key) = key {
        ask_for_the_stream(url, key, findings).await?;
    }
    Ok(Seen::Running)
}

/// Whether the server takes requests.
pub(super) async fn is_ready(operator_url: &str) -> anyhow::Result<bool> {
    let operator = Api::new(operator_url, PATIENCE)?;
    let answer = operator.call(&Call::new(Method::GET, "/readyz", "")).await;
    Ok(answer.is_ok_and(|answer| answer.status.is_success()))
}

async fn scrape(operator: &Api) -> anyhow::Result<Samples> {
    let call = Call::new(Method::GET, "/metrics", "");
    let answer = operator.call(&call).await?;
    anyhow::ensure!(answer.status.is_success(), "{}", answer.status);
    Ok(Samples::parse(&answer.text()))
}

fn judge_numbers(before: &Samples, now: &Samples, findings: &mut Vec<Finding>) {
    let sum = |name| now.sum(name).unwrap_or(0.0);
    let rises = |name, label, value| {
        now.sum_where(name, label, value) > before.sum_where(name, label, value)
    };
    if now.sum(names::PROCESS_READY) == Some(0.0) {
        findings.push(Finding::error(
            Code::NotReady,
            "the server is starting or stopping: it takes nothing yet",
            format!("wait a minute, then look again; {}", its_log()),
        ));
    }
    if sum(names::ANALYTICS_REWINDS) > 0.0 {
        findings.push(Finding::error(
            Code::LogLost,
            "the log is not the one that Postgres had read, or it ends earlier: it was lost or \
             restored from a backup; everything goes on with what there is",
            format!("find out why; {}", its_log()),
        ));
    }
    if sum(names::ANALYTICS_OFFSETS_LOST) > 0.0 {
        findings.push(Finding::error(
            Code::RecordsLost,
            format!(
                "retention has deleted {} records that Postgres had not got",
                sum(names::ANALYTICS_OFFSETS_LOST)
            ),
            "bring Postgres back sooner, or raise stream.embedded.retention_hours",
        ));
    }
    for (group, headroom) in now.by(names::GROUP_RETENTION_HEADROOM, "group") {
        if headroom < HEADROOM {
            findings.push(Finding::error(
                Code::RetentionHeadroom,
                format!(
                    "group {group} has used up {:.0} % of the log's retention",
                    (1.0 - headroom) * 100.0
                ),
                format!("find out what holds {group} up: {}", its_log()),
            ));
        }
    }
    for (group, behind) in now.by(names::GROUP_LAG_SECONDS, "group") {
        if behind > LAG_WORTH_A_WORD_S {
            findings.push(Finding::error(
                Code::GroupBehind,
                format!("group {group} is {behind:.0} s behind"),
                format!("watch it with `waylog stream groups`; {}", its_log()),
            ));
        }
    }
    let (bytes, cap) = (sum(names::LOG_DISK_BYTES), sum(names::LOG_DISK_CAP));
    if cap > 0.0 && bytes > cap * FULL {
        findings.push(Finding::error(
            Code::LogNearlyFull,
            format!("the log takes {:.0} % of its hard cap", bytes / cap * 100.0),
            "bring the group back that holds it (`waylog stream groups`), or raise \
             stream.embedded.hard_cap_gib",
        ));
    }
    let (free, size) = (sum(names::DISK_FREE), sum(names::DISK_SIZE));
    if size > 0.0 && free < size * (1.0 - FULL) {
        findings.push(Finding::error(
            Code::DiskNearlyFull,
            format!("the disk of data_dir has {} free", human_bytes(free as u64)),
            "free space: df -h, du -xh --max-depth=2 / | sort -h | tail",
        ));
    }
    if rises(names::LOG_BACKPRESSURE, "", "") || rises(names::INGEST_FIXES, "outcome", "refused") {
        findings.push(Finding::error(
            Code::IngestRefusing,
            "uploads are being refused (503): the log is full, or the disk too slow",
            format!("waylog stream topics; {}", its_log()),
        ));
    }
    if rises(names::HTTP_REQUESTS, "status", "5") {
        findings.push(Finding::error(
            Code::ServerErrors,
            "requests are being answered with 5xx",
            its_log(),
        ));
    }
    if sum(names::NOTIFICATIONS_PENDING) > MANY_WEBHOOKS {
        findings.push(Finding::warning(
            Code::WebhooksPending,
            format!("{} webhooks wait", sum(names::NOTIFICATIONS_PENDING)),
            "see which receiver fails: GET /v1/webhooks, GET /v1/webhooks/{id}/attempts",
        ));
    }
    for (name, code, what) in [
        (
            names::LOG_QUARANTINED,
            Code::PartitionQuarantined,
            "partitions are damaged and take nothing",
        ),
        (
            names::LOG_DAMAGED,
            Code::LogDamaged,
            "partitions have damage in older records",
        ),
    ] {
        if sum(name) > 0.0 {
            findings.push(Finding::error(
                code,
                format!("{} {what}", sum(name)),
                "waylog stream topics (with an admin's --api-key); then the runbook",
            ));
        }
    }
}

/// What only the API tells: reasons, members, advice.
async fn ask_for_the_stream(
    url: &str,
    key: &str,
    findings: &mut Vec<Finding>,
) -> anyhow::Result<()> {
    let api = Api::new(url, PATIENCE)?;
    let stream = match api.call(&Call::new(Method::GET, "/v1/stream", key)).await {
        Ok(answer) if answer.status.is_success() => answer.json::<Value>()?,
        Ok(answer) => {
            findings.push(Finding::warning(
                Code::NotReady,
                format!("the stream cannot be asked for: {}", answer.problem()),
                "give an admin's key: --api-key",
            ));
            return Ok(());
        }
        Err(error) => {
            findings.push(Finding::warning(
                Code::NotReady,
                format!("the stream cannot be asked for at {url}: {error}"),
                its_log(),
            ));
            return Ok(());
        }
    };
    judge_stream(&stream, findings);
    Ok(())
}

fn judge_stream(stream: &Value, findings: &mut Vec<Finding>) {
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    let mut reasons = Vec::new();
    for topic in rows(&stream["topics"]) {
        for partition in rows(&topic["partitions"]) {
            let place = format!(
                "{} partition {}",
                topic["topic"].as_str().unwrap_or_default(),
                partition["partition"]
            );
            for (field, code) in [
                ("quarantined", Code::PartitionQuarantined),
                ("damaged", Code::LogDamaged),
            ] {
                if let Some(reason) = partition[field].as_str() {
                    reasons.push(Finding::error(
                        code,
                        format!("{place} is damaged: {reason}"),
                        "stop the server, then `waylog stream verify`",
                    ));
                }
            }
        }
    }
    // With reasons, the bare count says nothing more.
    findings.retain(|known| !reasons.iter().any(|reason| reason.code == known.code));
    findings.extend(reasons);
    for group in rows(&stream["groups"]) {
        let name = group["group"].as_str().unwrap_or_default();
        if group["members"] == 0 {
            findings.push(Finding::error(
                Code::GroupAbsent,
                format!("nobody reads for group {name}"),
                format!(
                    "start a server with that role (--roles {name}); {}",
                    its_log()
                ),
            ));
        }
    }
    for advice in rows(&stream["advice"]) {
        findings.push(Finding::warning(
            Code::UnevenPartitions,
            advice["cause"].as_str().unwrap_or_default(),
            advice["cure"].as_str().unwrap_or_default(),
        ));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    fn found(before: &str, now: &str) -> Vec<Code> {
        let mut findings = Vec::new();
        judge_numbers(&Samples::parse(before), &Samples::parse(now), &mut findings);
        findings.iter().map(|finding| finding.code).collect()
    }

    #[test]
    fn numbers_in_order_give_no_finding() {
        let well = "waylog_process_ready 1\nwaylog_disk_free_bytes 5e9\nwaylog_disk_size_bytes 1e10\n\
                    waylog_group_lag_seconds{group=\"analytics\"} 2\nwaylog_log_backpressure_total 7\n";
        assert_eq!(found(well, well), []);
    }

    #[test]
    fn each_bad_number_is_found() {
        for (line, code) in [
            ("waylog_process_ready 0", Code::NotReady),
            ("waylog_analytics_rewinds_total 1", Code::LogLost),
            ("waylog_analytics_offsets_lost_total 3", Code::RecordsLost),
            (
                "waylog_group_retention_headroom_ratio{group=\"g\"} 0.2",
                Code::RetentionHeadroom,
            ),
            (
                "waylog_group_lag_seconds{group=\"g\"} 61",
                Code::GroupBehind,
            ),
            (
                "waylog_log_disk_bytes 95\nwaylog_log_disk_cap_bytes 100",
                Code::LogNearlyFull,
            ),
            (
                "waylog_disk_free_bytes 5\nwaylog_disk_size_bytes 100",
                Code::DiskNearlyFull,
            ),
            ("waylog_log_backpressure_total 8", Code::IngestRefusing),
            (
                "waylog_http_requests_total{route=\"/\",status=\"5xx\"} 1",
                Code::ServerErrors,
            ),
            ("waylog_notifications_pending 5000", Code::WebhooksPending),
            (
                "waylog_log_quarantined_partitions{topic=\"t\"} 1",
                Code::PartitionQuarantined,
            ),
            (
                "waylog_log_damaged_partitions{topic=\"t\"} 1",
                Code::LogDamaged,
            ),
        ] {
            assert_eq!(found("", line), [code], "{line}");
        }
    }

    #[test]
    fn a_group_without_members_and_a_damaged_partition_are_told_with_the_reason() {
        let mut findings = vec![Finding::error(Code::LogDamaged, "1 partitions", "look")];
        let stream = json!({
            "topics": [{"topic": "t", "partitions": [{"partition": 3, "damaged": "byte 7"}]}],
            "groups": [{"group": "analytics", "members": 0}],
            "advice": [{"cause": "uneven", "cure": "more"}],
        });
        judge_stream(&stream, &mut findings);
        let codes: Vec<Code> = findings.iter().map(|f| f.code).collect();
        assert_eq!(
            codes,
            [Code::LogDamaged, Code::GroupAbsent, Code::UnevenPartitions]
        );
        assert!(findings[0].what.contains("t partition 3"), "{findings:?}");
    }
}
