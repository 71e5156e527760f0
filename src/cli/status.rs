//! `waylog status`: what is wrong now, and the next command.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::Method;
use serde_json::{Value, json};

use super::ServerArgs;
use super::api::{Api, Call};

/// A server that does not answer by then is down, for an operator at three in the morning.
const PATIENCE: Duration = Duration::from_secs(3);
/// A group further behind than this is worth a word, seconds.
const LAG_WORTH_A_WORD_S: f64 = 60.0;

#[derive(Debug, Args)]
pub(super) struct StatusArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Something that is wrong, and what to do about it.
struct Finding {
    what: String,
    next: String,
}

pub(super) async fn run(args: StatusArgs) -> anyhow::Result<ExitCode> {
    let api = Api::new(&args.server.url, PATIENCE)?;
    let key = args.server.key()?;
    let mut findings = Vec::new();
    match api.call(&Call::new(Method::GET, "/healthz", &key)).await {
        Err(error) => findings.push(Finding {
            what: format!("the server at {} does not answer: {error}", args.server.url),
            next: "start it with `waylog serve`, or give --url".to_owned(),
        }),
        Ok(answer) => {
            let health: Value = answer.json().context("read /healthz")?;
            judge_parts(&health, &mut findings);
            let stream = api
                .call(&Call::new(Method::GET, "/v1/stream", &key))
                .await?;
            let stream: Value = stream
                .success()
                .context("ask for the stream (wants an admin key)")?;
            judge_stream(&stream, &mut findings);
        }
    }
    if args.json {
        let rows: Vec<Value> = findings
            .iter()
            .map(|f| json!({"what": f.what, "next": f.next}))
            .collect();
        println!("{}", json!({"ok": rows.is_empty(), "findings": rows}));
    } else if findings.is_empty() {
        println!("all is well");
    }
    if !args.json {
        for finding in &findings {
            println!("! {}\n  next: {}", finding.what, finding.next);
        }
    }
    Ok(if findings.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

fn judge_parts(health: &Value, findings: &mut Vec<Finding>) {
    if health["database"] == "down" {
        findings.push(Finding {
            what: "Postgres is out of reach; positions are taken and shown, rows and webhooks wait"
                .to_owned(),
            next: "look at Postgres itself; Waylog catches up by itself when it is back".to_owned(),
        });
    }
}

fn judge_stream(stream: &Value, findings: &mut Vec<Finding>) {
    let rows = |value: &Value| value.as_array().cloned().unwrap_or_default();
    for topic in rows(&stream["topics"]) {
        for partition in rows(&topic["partitions"]) {
            if let Some(reason) = partition["quarantined"].as_str() {
                findings.push(Finding {
                    what: format!(
                        "{} partition {} is damaged: {reason}",
                        topic["topic"].as_str().unwrap_or_default(),
                        partition["partition"]
                    ),
                    next: "stop the server, then `waylog stream verify`".to_owned(),
                });
            }
        }
    }
    for group in rows(&stream["groups"]) {
        let behind = rows(&group["partitions"])
            .iter()
            .filter_map(|p| p["lag_seconds"].as_f64())
            .fold(0.0, f64::max);
        if behind > LAG_WORTH_A_WORD_S {
            let name = group["group"].as_str().unwrap_or_default();
            findings.push(Finding {
                what: format!("group {name} is {behind:.0} s behind"),
                next: format!(
                    "watch it with `waylog stream groups`; its log says what holds {name} up"
                ),
            });
        }
    }
}
