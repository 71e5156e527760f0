//! How fast the analytics group brings a backlog into Postgres.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::api::Api;
use crate::backlog::Backlog;
use crate::report::Report;
use crate::stand::Stand;
use crate::watch::{Sample, Watch};
use crate::{Place, Target};

/// How long the backlog may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// What the backlog is.
#[derive(Args, Clone, Serialize)]
pub struct SinkArgs {
    #[command(flatten)]
    #[serde(skip)]
    place: Place,
    /// Fixes an upload.
    #[arg(long, default_value_t = 100)]
    fixes: usize,
    /// Couriers, each with a phone.
    #[arg(long, default_value_t = 1000)]
    couriers: usize,
    /// Seconds of uploads, as many as go through, that make the backlog.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Runs, each with a backlog of its own; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Measures and prints.
pub async fn run(target: &Target, args: &SinkArgs) -> anyhow::Result<()> {
    let mut stand = Stand::new(args.place.dir.as_deref()).await?;
    let mut report = Report::new("The sink: a backlog from the log into Postgres", args);
    let mut phones = None;
    for run in 1..=args.runs {
        let backlog = Backlog {
            couriers: args.couriers,
            fixes: args.fixes,
            seconds: args.seconds,
        };
        let backlog = backlog.fill(&mut stand, &mut phones).await?;

        let server = stand.serve("dispatch,analytics", &[]).await?;
        let api = Api::new(&server.target.url, &server.target.api_key)?;
        let began = Instant::now();
        let span = server.process().begin()?;
        let mut watch = Watch::begin(&api, server.process()).await?;
        watch.until_read(PATIENCE).await?;
        let seconds = began.elapsed().as_secs_f64();
        let used = span.end()?;
        let (fixes, in_s) = steady(watch.samples(), backlog);
        eprintln!("run {run} of {}: {:.0} fixes/s", args.runs, fixes / in_s);
        report.add("backlog", "fixes", backlog);
        report.add("fixes into Postgres", "1/s", fixes / in_s);
        let us = |cores: f64| cores * seconds * 1e6 / backlog;
        report.add("server CPU a fix", "µs", us(used.cores));
        report.add("Postgres CPU a fix", "µs", us(used.postgres_cores));
        used.into_report(&mut report);
        if run == args.runs {
            watch.into_report(&mut report);
        }
        server.stop().await?;
    }
    stand.end().await?;
    report.print(target.json);
    Ok(())
}

/// How many fixes were stored in how many seconds, from the first look on until nine tenths of the
/// backlog were there: the rest of it waits until a flush is due.
fn steady(samples: &[Sample], backlog: f64) -> (f64, f64) {
    let enough = |s: &&Sample| s.stored as f64 >= 0.9 * backlog;
    match (samples.first(), samples.iter().find(enough)) {
        (Some(first), Some(last)) => (
            (last.stored - first.stored) as f64,
            (last.at_s - first.at_s).max(0.001),
        ),
        _ => (0.0, 1.0),
    }
}
