//! The whole way, for minutes: phones upload so many fixes a second, three groups read, Postgres
//! stores. Does the lag stay bounded and the memory flat?

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::api::Api;
use crate::provision;
use crate::report::Report;
use crate::stand::Stand;
use crate::uploads::{Counts, Phones, Shape, drive};
use crate::watch::{Watch, slope};
use crate::{Place, Target};

/// How long the groups may take to read what is left.
const PATIENCE: Duration = Duration::from_secs(300);

/// What is sent, and for how long.
#[derive(Args, Clone, Serialize)]
pub struct PipelineArgs {
    #[command(flatten)]
    #[serde(skip)]
    place: Place,
    /// Fixes a second (open loop); 0: as many as go through.
    #[arg(long, default_value_t = 500_000.0)]
    rate: f64,
    /// Fixes an upload.
    #[arg(long, default_value_t = 100)]
    fixes: usize,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Couriers, each with a phone.
    #[arg(long, default_value_t = 1000)]
    couriers: usize,
    /// Seconds before it is measured.
    #[arg(long, default_value_t = 10)]
    warm_up_s: u64,
    /// Seconds that are measured.
    #[arg(long, default_value_t = 600)]
    seconds: u64,
}

/// Measures and prints.
pub async fn run(target: &Target, args: &PipelineArgs) -> anyhow::Result<()> {
    let mut stand = Stand::new(args.place.dir.as_deref()).await?;
    let server = stand.serve("", &[]).await?;
    let api = Api::new(&server.target.url, &server.target.api_key)?;
    let mut phones = Phones::new(provision::phones(&api, args.couriers).await?);
    let shape = Shape {
        fixes: args.fixes,
        connections: args.connections,
        pipeline: 1,
        rate: (args.rate > 0.0).then_some(args.rate / args.fixes as f64),
    };
    let mut report = Report::new(
        format!(
            "Whole pipeline: uploads of {} fixes, three groups, Postgres",
            args.fixes
        ),
        args,
    );
    let counts = Arc::new(Counts::default());
    let process = server.process();
    let warm_up = Duration::from_secs(args.warm_up_s);
    drive(&api, shape, &mut phones, warm_up, None, &counts).await?;

    let mut watch = Watch::begin(&api, process).await?;
    let time = Duration::from_secs(args.seconds);
    let (outcome, watched) = tokio::join!(
        drive(&api, shape, &mut phones, time, Some(process), &counts),
        watch.keep_looking(time, Duration::from_secs(1)),
    );
    let outcome = outcome?;
    watched?;
    figures(&mut report, &watch);
    let behind = watch.until_read(PATIENCE).await?;
    report.add("read to the end after", "s", behind.as_secs_f64());
    let accepted = counts.accepted.load(std::sync::atomic::Ordering::Relaxed);
    let stored = watch.samples().last().map_or(0, |s| s.stored);
    report.add(
        "acknowledged and not in Postgres",
        "fixes",
        accepted as f64 - stored as f64,
    );
    watch.into_report(&mut report);
    outcome.into_report(&mut report, args.fixes);
    server.stop().await?;
    stand.end().await?;
    report.print(target.json);
    Ok(())
}

/// What the samples of the measured time say.
fn figures(report: &mut Report, watch: &Watch) {
    let samples = watch.samples();
    let (Some(first), Some(last)) = (samples.first(), samples.last()) else {
        return;
    };
    let seconds = (last.at_s - first.at_s).max(1.0);
    let stored = last.stored.saturating_sub(first.stored) as f64;
    report.add("fixes into Postgres", "1/s", stored / seconds);
    for (name, group) in [
        ("longest lag of live-map", "live-map"),
        ("longest lag of analytics", "analytics"),
        ("longest lag of notifications", "notifications"),
    ] {
        let lags = samples.iter().filter_map(|s| s.lag.get(group));
        report.add(name, "s", lags.fold(0.0, |most, lag| lag.1.max(most)));
    }
    let half = &samples[samples.len() / 2..];
    let of = |value: &dyn Fn(&crate::watch::Sample) -> f64| {
        let points: Vec<_> = half.iter().map(|s| (s.at_s / 60.0, value(s))).collect();
        slope(&points)
    };
    let lag = of(&|s| s.lag.get("analytics").map_or(0.0, |lag| lag.1));
    report.add("growth of analytics' lag, second half", "s/min", lag);
    report.add(
        "growth of memory, second half",
        "MiB/min",
        of(&|s| s.rss_mib),
    );
}
