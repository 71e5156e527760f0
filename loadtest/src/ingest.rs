//! Uploads over keep-alive connections, each acknowledged when it is durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::client::Connection;
use crate::latency::Latencies;
use crate::open_loop::Schedule;
use crate::process::{Process, Used};
use crate::provision::{self, Phone};
use crate::report::Report;
use crate::template::{STEP_MS, Template};
use crate::{Target, clock};

/// Fixes are sent from this long ago on: a run may then send far faster than a phone without
/// getting ahead of the server's clock.
const FROM_AGO_MS: u64 = 20 * 24 * 3_600_000;

/// What is sent.
#[derive(Args, Clone, Serialize)]
pub struct IngestArgs {
    /// Fixes an upload.
    #[arg(long, default_value_t = 100)]
    fixes: usize,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Requests that a connection sends before it reads their answers.
    #[arg(long, default_value_t = 1)]
    pipeline: usize,
    /// Couriers, each with a phone.
    #[arg(long, default_value_t = 1000)]
    couriers: usize,
    /// Requests a second (open loop); as many as go through unless given.
    #[arg(long)]
    rate: Option<f64>,
    /// Seconds before it is measured.
    #[arg(long, default_value_t = 3)]
    warm_up_s: u64,
    /// Seconds of a run.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Runs; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Keeps the phones in this file for the next time: provisioning many takes long.
    #[arg(long)]
    #[serde(skip)]
    phones: Option<PathBuf>,
}

/// Phones that were made before, and the time that none of them has sent yet.
#[derive(Serialize, Deserialize)]
struct Kept {
    phones: Vec<Phone>,
    next_ms: u64,
}

/// What happened in one run.
struct Outcome {
    latencies: Latencies,
    requests: u64,
    accepted: u64,
    duplicate: u64,
    refused: u64,
    seconds: f64,
    server: Option<Used>,
}

/// Measures and prints.
pub async fn run(target: &Target, args: &IngestArgs) -> anyhow::Result<()> {
    if args.fixes == 0 || args.connections == 0 || args.pipeline == 0 || args.couriers == 0 {
        bail!("--fixes, --connections, --pipeline and --couriers must be at least 1");
    }
    let api = Api::new(&target.url, &target.api_key)?;
    let server = match target.pid {
        Some(pid) => Some(Process { pid }),
        None => Process::listening_on(api.address.port()).ok(),
    };
    let mut kept = phones(&api, args).await?;
    let title = match args.rate {
        Some(rate) => format!(
            "Ingest, {} fixes a request, {rate} requests/s (open loop)",
            args.fixes
        ),
        None => format!(
            "Ingest, {} fixes a request, as many as go through",
            args.fixes
        ),
    };
    let mut report = Report::new(title, args);
    if server.is_none() {
        report.warn("the server's process was not found: no CPU and memory; give --pid");
    }
    for run in 0..=args.runs {
        let warm_up = run == 0;
        let seconds = if warm_up {
            args.warm_up_s
        } else {
            args.seconds
        };
        let outcome = one_run(&api, args, &mut kept, seconds, server).await?;
        if !warm_up {
            eprintln!(
                "run {run} of {}: {:.0} requests/s",
                args.runs,
                outcome.rate()
            );
            outcome.into_report(&mut report, args.fixes);
        }
    }
    if let Some(path) = &args.phones {
        std::fs::write(path, serde_json::to_vec(&kept)?)?;
    }
    report.print(target.json);
    Ok(())
}

async fn phones(api: &Api, args: &IngestArgs) -> anyhow::Result<Kept> {
    if let Some(path) = args.phones.as_ref().filter(|path| path.exists()) {
        let kept: Kept = serde_json::from_slice(&std::fs::read(path)?)
            .with_context(|| format!("{} does not hold phones", path.display()))?;
        if kept.phones.len() == args.couriers {
            return Ok(kept);
        }
    }
    eprintln!("making {} couriers with a phone each", args.couriers);
    let phones = provision::phones(api, args.couriers).await?;
    Ok(Kept {
        phones,
        next_ms: clock::now_ms() - FROM_AGO_MS,
    })
}

async fn one_run(
    api: &Api,
    args: &IngestArgs,
    kept: &mut Kept,
    seconds: u64,
    server: Option<Process>,
) -> anyhow::Result<Outcome> {
    let phase = Arc::new(AtomicU8::new(RUNNING));
    let phones: Arc<[Phone]> = kept.phones.clone().into();
    let mut connections = Vec::with_capacity(args.connections);
    for _ in 0..args.connections {
        connections.push(Connection::open(api.address).await?);
    }
    let began = Instant::now();
    let mut tasks = Vec::with_capacity(args.connections);
    for (which, connection) in connections.into_iter().enumerate() {
        let worker = Worker {
            connection,
            which,
            args: args.clone(),
            host: api.host.clone(),
            phones: phones.clone(),
            phase: phase.clone(),
            began,
            first_ms: kept.next_ms,
        };
        tasks.push(tokio::spawn(worker.run()));
    }
    let span = server.map(Process::begin).transpose()?;
    let measured = Instant::now();
    tokio::time::sleep(Duration::from_secs(seconds)).await;
    phase.store(STOPPED, Ordering::Relaxed);
    let seconds = measured.elapsed().as_secs_f64();
    let server = span.map(|span| span.end()).transpose()?;
    let mut outcome = Outcome {
        latencies: Latencies::new()?,
        requests: 0,
        accepted: 0,
        duplicate: 0,
        refused: 0,
        seconds,
        server,
    };
    for task in tasks {
        let worked = task.await??;
        outcome.latencies.merge(&worked.latencies)?;
        outcome.requests += worked.requests;
        outcome.accepted += worked.accepted;
        outcome.duplicate += worked.duplicate;
        outcome.refused += worked.refused;
        kept.next_ms = kept.next_ms.max(worked.next_ms);
    }
    if kept.next_ms > clock::now_ms() {
        bail!("the fixes have reached the present: use more --couriers or fewer seconds");
    }
    Ok(outcome)
}

const RUNNING: u8 = 0;
const STOPPED: u8 = 1;

/// One connection's work.
struct Worker {
    connection: Connection,
    which: usize,
    args: IngestArgs,
    host: String,
    phones: Arc<[Phone]>,
    phase: Arc<AtomicU8>,
    began: Instant,
    first_ms: u64,
}

struct Worked {
    latencies: Latencies,
    requests: u64,
    accepted: u64,
    duplicate: u64,
    refused: u64,
    next_ms: u64,
}

impl Worker {
    async fn run(self) -> anyhow::Result<Worked> {
        let Self {
            mut connection,
            which,
            args,
            host,
            phones,
            phase,
            began,
            first_ms,
        } = self;
        let token_len = phones[0].token.len();
        let mut template = Template::new(&host, token_len, args.fixes, which as u64);
        let mut schedule = args
            .rate
            .map(|rate| Schedule::new(began, rate / args.pipeline as f64, which, args.connections));
        // This connection's couriers, so that each sends in order.
        let own: Vec<usize> = if phones.len() > which {
            (which..phones.len()).step_by(args.connections).collect()
        } else {
            vec![which % phones.len()]
        };
        let shared = phones.len() < args.connections;
        let upload_ms = args.fixes as u64 * STEP_MS;
        let mut worked = Worked {
            latencies: Latencies::new()?,
            requests: 0,
            accepted: 0,
            duplicate: 0,
            refused: 0,
            next_ms: first_ms,
        };
        let mut requests = Vec::with_capacity(template.len() * args.pipeline);
        let mut sent = 0_u64;
        while phase.load(Ordering::Relaxed) == RUNNING {
            requests.clear();
            for _ in 0..args.pipeline {
                let phone = &phones[own[sent as usize % own.len()]];
                // Connections that share a courier take milliseconds of their own.
                let turn = sent / own.len() as u64;
                let lane = if shared {
                    (which / phones.len()) as u64
                } else {
                    0
                };
                let upload_from_ms = first_ms + turn * upload_ms + lane;
                worked.next_ms = worked.next_ms.max(upload_from_ms + upload_ms);
                requests.extend_from_slice(template.fill(&phone.token, upload_from_ms));
                sent += 1;
            }
            let due = match &mut schedule {
                Some(schedule) => schedule.next().await,
                None => Instant::now(),
            };
            connection.send(&requests).await?;
            for _ in 0..args.pipeline {
                let answer = connection.answer().await?;
                worked.latencies.add(due.elapsed());
                worked.requests += 1;
                match answer.status {
                    200 => {
                        worked.accepted += count(&answer.body, b"\"accepted\":")?;
                        worked.duplicate += count(&answer.body, b"\"duplicate\":")?;
                    }
                    503 => worked.refused += args.fixes as u64,
                    status => bail!(
                        "an upload was answered {status}: {}",
                        String::from_utf8_lossy(&answer.body)
                    ),
                }
            }
        }
        Ok(worked)
    }
}

/// The number that follows `name` in an answer.
fn count(body: &[u8], name: &[u8]) -> anyhow::Result<u64> {
    let at = body
        .windows(name.len())
        .position(|w| w == name)
        .context("an unknown answer")?;
    let digits = body[at + name.len()..]
        .iter()
        .take_while(|b| b.is_ascii_digit());
    Ok(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

impl Outcome {
    fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    fn into_report(self, report: &mut Report, fixes: usize) {
        report.add("requests", "1/s", self.rate());
        report.add(
            "fixes acknowledged",
            "1/s",
            self.accepted as f64 / self.seconds,
        );
        report.add("duplicate", "fixes", self.duplicate as f64);
        report.add("refused", "fixes", self.refused as f64);
        let sent = self.requests * fixes as u64;
        let lost = sent.saturating_sub(self.accepted + self.duplicate + self.refused);
        report.add("sent and not accounted for", "fixes", lost as f64);
        let latency = self.latencies.percentiles();
        report.add("acknowledged p50", "ms", latency.p50_ms);
        report.add("acknowledged p90", "ms", latency.p90_ms);
        report.add("acknowledged p99", "ms", latency.p99_ms);
        report.add("acknowledged p99.9", "ms", latency.p999_ms);
        report.add("acknowledged max", "ms", latency.max_ms);
        if let Some(server) = self.server {
            report.add("server CPU", "cores", server.cores);
            report.add("server memory", "MiB", server.rss_mib);
            let us = server.cores * 1e6 / (self.accepted as f64 / self.seconds).max(1.0);
            report.add("server CPU a fix", "µs", us);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reads_counts_out_of_an_answer() {
        let body = br#"{"accepted":100,"duplicate":7,"quarantined":[]}"#;
        assert_eq!(count(body, b"\"accepted\":").expect("there"), 100);
        assert_eq!(count(body, b"\"duplicate\":").expect("there"), 7);
        assert!(count(b"{}", b"\"accepted\":").is_err());
    }
}
