//! The log of a running server, through its API.

use std::process::ExitCode;

use anyhow::Context;
use reqwest::Method;
use serde_json::{Value, json};

use crate::cli::api::{Api, Call};
use crate::cli::table;

pub(super) struct Online {
    pub(super) api: Api,
    pub(super) key: String,
    pub(super) json: bool,
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

/// A cell: text as it is, nothing as a dash.
fn cell(value: &Value) -> String {
    match value {
        Value::Null => "-".to_owned(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}

impl Online {
    async fn get(&self, path: &str) -> anyhow::Result<Value> {
        let answer = self
            .api
            .call(&Call::new(Method::GET, path, &self.key))
            .await?;
        answer.success().with_context(|| format!("GET {path}"))
    }

    pub(super) async fn topics(&self) -> anyhow::Result<ExitCode> {
        let stream = self.get("/v1/stream").await?;
        if self.json {
            println!("{}", stream["topics"]);
            return Ok(ExitCode::SUCCESS);
        }
        let mut lines = Vec::new();
        for topic in rows(&stream["topics"]) {
            for p in rows(&topic["partitions"]) {
                lines.push(vec![
                    cell(&topic["topic"]),
                    cell(&p["partition"]),
                    cell(&p["log_start_offset"]),
                    cell(&p["durable_offset"]),
                    cell(&p["log_end_offset"]),
                    cell(&p["disk_bytes"]),
                    cell(if p["quarantined"].is_null() {
                        &p["damaged"]
                    } else {
                        &p["quarantined"]
                    }),
                ]);
            }
        }
        let headings = [
            "TOPIC",
            "PARTITION",
            "LOG-START",
            "DURABLE",
            "LOG-END",
            "DISK-BYTES",
            "DAMAGE",
        ];
        table::print(&headings, &lines);
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn groups(&self) -> anyhow::Result<ExitCode> {
        let stream = self.get("/v1/stream").await?;
        if self.json {
            println!("{}", stream["groups"]);
            return Ok(ExitCode::SUCCESS);
        }
        let mut lines = Vec::new();
        for group in rows(&stream["groups"]) {
            for p in rows(&group["partitions"]) {
                lines.push(vec![
                    cell(&group["group"]),
                    cell(&group["topic"]),
                    cell(&p["partition"]),
                    cell(&p["committed"]),
                    cell(&p["lag_records"]),
                    format!("{:.1}", p["lag_seconds"].as_f64().unwrap_or(0.0)),
                    cell(&p["member"]),
                    cell(&group["generation"]),
                ]);
            }
        }
        let headings = [
            "GROUP",
            "TOPIC",
            "PARTITION",
            "COMMITTED",
            "LAG",
            "LAG-SECONDS",
            "MEMBER",
            "GENERATION",
        ];
        table::print(&headings, &lines);
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn tail(
        &self,
        topic: &str,
        partition: Option<u32>,
        from: Option<&str>,
        limit: usize,
    ) -> anyhow::Result<ExitCode> {
        let mut path = format!("/v1/stream/{topic}/records?limit={limit}");
        if let Some(partition) = partition {
            path += &format!("&partition={partition}");
        }
        if let Some(from) = from {
            path += &format!("&from={}", from.replace('+', "%2B"));
        }
        let page = self.get(&path).await?;
        if self.json {
            println!("{}", page["items"]);
            return Ok(ExitCode::SUCCESS);
        }
        let mut lines = Vec::new();
        for record in rows(&page["items"]) {
            let head = vec![
                cell(&record["partition"]),
                cell(&record["offset"]),
                cell(&record["received_at"]),
                cell(&record["key"]),
            ];
            let fixes = rows(&record["fixes"]);
            for fix in fixes {
                let place = format!("{},{}", fix["lat"], fix["lon"]);
                lines.push([head.clone(), vec![cell(&fix["fix_time"]), place]].concat());
            }
            if fixes.is_empty() {
                let what = if record["text"].is_null() {
                    "heartbeat".to_owned()
                } else {
                    cell(&record["text"])
                };
                lines.push([head, vec!["-".to_owned(), what]].concat());
            }
        }
        table::print(
            &[
                "PARTITION",
                "OFFSET",
                "RECEIVED-AT",
                "KEY",
                "FIX-TIME",
                "POSITION",
            ],
            &lines,
        );
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn reset(
        &self,
        group: &str,
        to: &str,
        partition: Option<u32>,
    ) -> anyhow::Result<ExitCode> {
        let path = format!("/v1/stream/groups/{group}/reset");
        let body = json!({"to": to, "partition": partition});
        let call = Call::new(Method::POST, &path, &self.key).json(&body)?;
        let done: Value = self
            .api
            .call(&call)
            .await?
            .success()
            .context("reset the group")?;
        if self.json {
            println!("{}", done["committed"]);
        } else {
            let pair = |p: &Value| vec![cell(&p[0]), cell(&p[1])];
            let lines: Vec<_> = rows(&done["committed"]).iter().map(pair).collect();
            table::print(&["PARTITION", "COMMITTED"], &lines);
        }
        Ok(ExitCode::SUCCESS)
    }

    pub(super) async fn advise(&self) -> anyhow::Result<ExitCode> {
        let stream = self.get("/v1/stream").await?;
        let advice = rows(&stream["advice"]);
        if self.json {
            println!("{}", stream["advice"]);
        } else if advice.is_empty() {
            println!("partitions and groups are in good order");
        }
        if !self.json {
            for entry in advice {
                println!(
                    "! {}\n  cure: {}",
                    cell(&entry["cause"]),
                    cell(&entry["cure"])
                );
            }
        }
        Ok(if advice.is_empty() {
            ExitCode::SUCCESS
        } else {
            ExitCode::FAILURE
        })
    }
}
