//! What geofences cost: the notifications group reads a backlog, once without any fence and once with
//! many.

use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use crate::api::Api;
use crate::backlog::Backlog;
use crate::report::Report;
use crate::seed;
use crate::stand::Stand;
use crate::watch::Watch;
use crate::{Place, Target};

/// How long a backlog may take.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many fences, and what is read against them.
#[derive(Args, Clone, Serialize)]
pub struct FencesArgs {
    #[command(flatten)]
    #[serde(skip)]
    place: Place,
    /// Circular geofences.
    #[arg(long, default_value_t = 100_000)]
    fences: usize,
    /// Their radius, metres.
    #[arg(long, default_value_t = 100.0)]
    radius_m: f64,
    /// They lie among the couriers and so far around them, degrees.
    #[arg(long, default_value_t = 2.0)]
    around_deg: f64,
    /// Couriers, each with a phone.
    #[arg(long, default_value_t = 1000)]
    couriers: usize,
    /// Fixes an upload.
    #[arg(long, default_value_t = 100)]
    fixes: usize,
    /// Seconds of uploads, as many as go through, that make a backlog.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Runs, each with a backlog of its own; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Measures and prints.
pub async fn run(target: &Target, args: &FencesArgs) -> anyhow::Result<()> {
    let title = format!(
        "Geofences: a backlog judged without and with {}",
        args.fences
    );
    let mut report = Report::new(title, args);
    let names = [
        ["judged without fences", "server CPU a fix without fences"],
        ["judged with fences", "server CPU a fix with fences"],
    ];
    for (fences, [rate, cost]) in [0, args.fences].into_iter().zip(names) {
        let mut stand = Stand::new(args.place.dir.as_deref()).await?;
        seed::geofences(&stand, fences, args.radius_m, args.around_deg).await?;
        let mut phones = None;
        for run in 1..=args.runs {
            let backlog = Backlog {
                couriers: args.couriers,
                fixes: args.fixes,
                seconds: args.seconds,
            };
            let backlog = backlog.fill(&mut stand, &mut phones).await?;

            let server = stand.serve("dispatch,notifications", &[JUDGE_ALL]).await?;
            let api = Api::new(&server.target.url, &server.target.api_key)?;
            let (began, span) = (Instant::now(), server.process().begin()?);
            let mut watch = Watch::begin(&api, server.process()).await?;
            watch.until_read(PATIENCE).await?;
            let seconds = began.elapsed().as_secs_f64();
            let used = span.end()?;
            eprintln!(
                "{fences} fences, run {run} of {}: {:.0} fixes/s",
                args.runs,
                backlog / seconds
            );
            report.add(rate, "1/s", backlog / seconds);
            report.add(cost, "µs", used.cores * seconds * 1e6 / backlog);
            if fences > 0 {
                used.into_report(&mut report);
            }
            server.stop().await?;
        }
        stand.end().await?;
    }
    report.print(target.json);
    Ok(())
}

/// A group that is new leaves out what is stale by its rules; here nothing is.
const JUDGE_ALL: (&str, &str) = ("WAYLOG__NOTIFICATIONS__STALE_AFTER_S", "2592000");
