//! Uploads over keep-alive connections, each acknowledged when it is durable.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::Target;
use crate::api::Api;
use crate::process::Process;
use crate::provision;
use crate::report::Report;
use crate::uploads::{Counts, Phones, Shape, drive};

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

/// Measures and prints.
pub async fn run(target: &Target, args: &IngestArgs) -> anyhow::Result<()> {
    let api = Api::new(&target.url, &target.api_key)?;
    let server = Process::of(target, &api).ok();
    let mut phones = phones(&api, args).await?;
    let shape = Shape {
        fixes: args.fixes,
        connections: args.connections,
        pipeline: args.pipeline,
        rate: args.rate,
    };
    let how = match args.rate {
        Some(rate) => format!("{rate} requests/s (open loop)"),
        None => "as many as go through".to_owned(),
    };
    let mut report = Report::new(
        format!("Ingest, {} fixes a request, {how}", args.fixes),
        args,
    );
    if server.is_none() {
        report.warn("the server's process was not found: no CPU and memory; give --pid");
    }
    let counts = Arc::new(Counts::default());
    let warm_up = Duration::from_secs(args.warm_up_s);
    drive(&api, shape, &mut phones, warm_up, server, &counts).await?;
    for run in 1..=args.runs {
        let time = Duration::from_secs(args.seconds);
        let outcome = drive(&api, shape, &mut phones, time, server, &counts).await?;
        eprintln!(
            "run {run} of {}: {:.0} requests/s",
            args.runs,
            outcome.rate()
        );
        outcome.into_report(&mut report, args.fixes);
    }
    if let Some(path) = &args.phones {
        phones.keep(path)?;
    }
    report.print(target.json);
    Ok(())
}

async fn phones(api: &Api, args: &IngestArgs) -> anyhow::Result<Phones> {
    if let Some(path) = &args.phones
        && let Some(kept) = Phones::kept(path, args.couriers)?
    {
        return Ok(kept);
    }
    eprintln!("making {} couriers with a phone each", args.couriers);
    Ok(Phones::new(provision::phones(api, args.couriers).await?))
}
