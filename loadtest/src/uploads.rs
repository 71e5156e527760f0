//! Phones that upload: keep-alive connections, each with couriers of its own, as many requests as go
//! through or so many a second.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use memchr::memmem;
use serde::{Deserialize, Serialize};

use crate::api::Api;
use crate::client::Connection;
use crate::clock;
use crate::latency::Latencies;
use crate::open_loop::Schedule;
use crate::process::{Process, Used};
use crate::progress::Progress;
use crate::provision::Phone;
use crate::report::Report;
use crate::template::{STEP_MS, Template};

/// Fixes are sent from this long ago on: a run may then send far faster than a phone without
/// getting ahead of the server's clock.
const FROM_AGO_MS: u64 = 20 * 24 * 3_600_000;
/// What is shown of the way is brought up to date this often.
const SHOW_EVERY: Duration = Duration::from_millis(500);

/// What is sent.
#[derive(Debug, Clone, Copy, Serialize)]
pub struct Shape {
    /// Fixes an upload.
    pub fixes: usize,
    /// Keep-alive connections.
    pub connections: usize,
    /// Requests that a connection sends before it reads their answers.
    pub pipeline: usize,
    /// Requests a second (open loop); as many as go through unless given.
    pub rate: Option<f64>,
}

/// Phones, and the time that none of them has sent yet.
#[derive(Clone, Serialize, Deserialize)]
pub struct Phones {
    phones: Arc<[Phone]>,
    next_ms: u64,
}

/// What has happened so far, for those who watch.
#[derive(Debug, Default)]
pub struct Counts {
    /// Answers.
    pub requests: AtomicU64,
    /// Fixes stored.
    pub accepted: AtomicU64,
    /// Fixes that were there already.
    pub duplicate: AtomicU64,
    /// Fixes that were not taken, for load.
    pub refused: AtomicU64,
}

/// What happened in one run.
pub struct Outcome {
    /// From when a request was due until it was acknowledged.
    pub latencies: Latencies,
    /// Answers.
    pub requests: u64,
    /// Fixes stored.
    pub accepted: u64,
    duplicate: u64,
    refused: u64,
    /// How long it took.
    pub seconds: f64,
    /// What the server and the others used.
    pub used: Option<Used>,
}

impl Phones {
    /// Phones that have not sent anything.
    pub fn new(phones: Vec<Phone>) -> Self {
        Self {
            phones: phones.into(),
            next_ms: clock::now_ms() - FROM_AGO_MS,
        }
    }

    /// Those that [`Phones::keep`] wrote, if there are as many as are wanted.
    pub fn kept(path: &Path, count: usize) -> anyhow::Result<Option<Self>> {
        if !path.exists() {
            return Ok(None);
        }
        let kept: Self = serde_json::from_slice(&std::fs::read(path)?)
            .with_context(|| format!("{} does not hold phones", path.display()))?;
        Ok((kept.phones.len() == count).then_some(kept))
    }

    /// Keeps them for the next time.
    pub fn keep(&self, path: &Path) -> anyhow::Result<()> {
        std::fs::write(path, serde_json::to_vec(self)?)
            .with_context(|| format!("write {}", path.display()))
    }

    /// Those phones.
    pub fn all(&self) -> &[Phone] {
        &self.phones
    }
}

/// Uploads for so long, and measures.
pub async fn drive(
    api: &Api,
    shape: Shape,
    phones: &mut Phones,
    time: Duration,
    server: Option<Process>,
    counts: &Arc<Counts>,
) -> anyhow::Result<Outcome> {
    if shape.fixes == 0 || shape.connections == 0 || shape.pipeline == 0 {
        bail!("fixes, connections and pipeline must be at least 1");
    }
    let stop = Arc::new(AtomicBool::new(false));
    let mut connections = Vec::with_capacity(shape.connections);
    for _ in 0..shape.connections {
        connections.push(Connection::open(api.address).await?);
    }
    let span = server.map(Process::begin).transpose()?;
    let began = Instant::now();
    let before = counts.total();
    let mut tasks = Vec::with_capacity(shape.connections);
    for (which, connection) in connections.into_iter().enumerate() {
        let worker = Worker {
            connection,
            which,
            shape,
            host: api.host.clone(),
            phones: phones.phones.clone(),
            stop: stop.clone(),
            counts: counts.clone(),
            began,
            first_ms: phones.next_ms,
        };
        tasks.push(tokio::spawn(worker.run()));
    }
    let progress = Progress::over(time, "uploads");
    while began.elapsed() < time {
        tokio::time::sleep(SHOW_EVERY.min(time.saturating_sub(began.elapsed()))).await;
        let done = counts.total().accepted - before.accepted;
        progress.show(began.elapsed(), done, "fixes");
        if tasks.iter().any(tokio::task::JoinHandle::is_finished) {
            break;
        }
    }
    stop.store(true, Ordering::Relaxed);
    let seconds = began.elapsed().as_secs_f64();
    let used = span.map(|span| span.end()).transpose()?;
    progress.done();
    let mut latencies = Latencies::new()?;
    for task in tasks {
        let worked = task.await??;
        latencies.merge(&worked.latencies)?;
        phones.next_ms = phones.next_ms.max(worked.next_ms);
    }
    if phones.next_ms > clock::now_ms() {
        bail!("the fixes have reached the present: use more --couriers or fewer seconds");
    }
    let after = counts.total();
    Ok(Outcome {
        latencies,
        requests: after.requests - before.requests,
        accepted: after.accepted - before.accepted,
        duplicate: after.duplicate - before.duplicate,
        refused: after.refused - before.refused,
        seconds,
        used,
    })
}

/// One connection's work.
struct Worker {
    connection: Connection,
    which: usize,
    shape: Shape,
    host: String,
    phones: Arc<[Phone]>,
    stop: Arc<AtomicBool>,
    counts: Arc<Counts>,
    began: Instant,
    first_ms: u64,
}

struct Worked {
    latencies: Latencies,
    next_ms: u64,
}

impl Worker {
    async fn run(self) -> anyhow::Result<Worked> {
        let Self {
            mut connection,
            which,
            shape,
            host,
            phones,
            stop,
            counts,
            began,
            first_ms,
        } = self;
        let Shape {
            fixes,
            connections,
            pipeline,
            rate,
        } = shape;
        let token_len = phones[0].token.len();
        let mut template = Template::new(&host, token_len, fixes, which as u64);
        let mut schedule =
            rate.map(|rate| Schedule::new(began, rate / pipeline as f64, which, connections));
        // This connection's couriers, so that each sends in order.
        let shared = phones.len() < connections;
        let own = if shared {
            1
        } else {
            (phones.len() - which).div_ceil(connections)
        };
        // Connections that share a courier take milliseconds of their own.
        let lane = if shared {
            (which / phones.len()) as u64
        } else {
            0
        };
        let upload_ms = fixes as u64 * STEP_MS;
        let mut worked = Worked {
            latencies: Latencies::new()?,
            next_ms: first_ms,
        };
        let mut requests = Vec::with_capacity(template.len() * pipeline);
        let mut sent = 0_usize;
        while !stop.load(Ordering::Relaxed) {
            requests.clear();
            for _ in 0..pipeline {
                let phone = &phones[(which + sent % own * connections) % phones.len()];
                let from_ms = first_ms + (sent / own) as u64 * upload_ms + lane;
                worked.next_ms = worked.next_ms.max(from_ms + upload_ms);
                requests.extend_from_slice(template.fill(&phone.token, from_ms));
                sent += 1;
            }
            let due = match &mut schedule {
                Some(schedule) => schedule.next().await,
                None => Instant::now(),
            };
            connection.send(&requests).await?;
            for _ in 0..pipeline {
                let answer = connection.answer().await?;
                worked.latencies.add(due.elapsed());
                counts.note(answer.status, &answer.body, fixes)?;
            }
        }
        Ok(worked)
    }
}

/// All counts at one moment.
#[derive(Clone, Copy)]
struct Total {
    requests: u64,
    accepted: u64,
    duplicate: u64,
    refused: u64,
}

impl Counts {
    fn total(&self) -> Total {
        let read = |count: &AtomicU64| count.load(Ordering::Relaxed);
        Total {
            requests: read(&self.requests),
            accepted: read(&self.accepted),
            duplicate: read(&self.duplicate),
            refused: read(&self.refused),
        }
    }

    fn note(&self, status: u16, body: &[u8], fixes: usize) -> anyhow::Result<()> {
        let add = |count: &AtomicU64, n: u64| count.fetch_add(n, Ordering::Relaxed);
        add(&self.requests, 1);
        match status {
            200 => {
                add(&self.accepted, count(body, b"\"accepted\":")?);
                add(&self.duplicate, count(body, b"\"duplicate\":")?);
            }
            503 => {
                add(&self.refused, fixes as u64);
            }
            status => bail!(
                "an upload was answered {status}: {}",
                String::from_utf8_lossy(body)
            ),
        }
        Ok(())
    }
}

/// The number that follows `name` in an answer.
fn count(body: &[u8], name: &[u8]) -> anyhow::Result<u64> {
    let at = memmem::find(body, name).context("an unknown answer")?;
    let digits = body[at + name.len()..]
        .iter()
        .take_while(|b| b.is_ascii_digit());
    Ok(digits.fold(0, |sum, digit| sum * 10 + u64::from(digit - b'0')))
}

impl Outcome {
    /// Requests a second.
    pub fn rate(&self) -> f64 {
        self.requests as f64 / self.seconds
    }

    /// Fixes acknowledged a second.
    pub fn fixes_a_second(&self) -> f64 {
        self.accepted as f64 / self.seconds
    }

    /// Adds it to a report of uploads of `fixes` fixes.
    pub fn into_report(self, report: &mut Report, fixes: usize) {
        report.add("requests", "1/s", self.rate());
        report.add("fixes acknowledged", "1/s", self.fixes_a_second());
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
        if let Some(used) = self.used {
            let us = |per_s: f64| used.cores * 1e6 / per_s.max(1.0);
            let (a_request, a_fix) = (us(self.rate()), us(self.fixes_a_second()));
            used.into_report(report);
            report.add("server CPU a request", "µs", a_request);
            report.add("server CPU a fix", "µs", a_fix);
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
