//! A soak: phones upload for an hour while servers are killed, Postgres is restarted, readers do not
//! read and nonsense arrives. At the end every fix is accounted for.

mod faults;
mod ledger;
mod phone;

use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use rand::{RngExt, SeedableRng, rngs::StdRng};
use serde::Serialize;
use tokio::process::Command;

use self::faults::{Scene, happen};
use self::ledger::{Account, Expected, reconcile};
use self::phone::{Orders, SoakPhone};
use crate::api::Api;
use crate::report::Report;
use crate::stand::Stand;
use crate::watch::Watch;
use crate::{Place, Target, clock, provision};

/// First fixes lie this far back, so that no courier gets ahead of the present.
const FROM_AGO_MS: u64 = 10 * 24 * 3_600_000;
/// Fixes of an upload, on average.
const MEAN_FIXES: f64 = 50.5;
/// How long the groups may take to read what is left.
const PATIENCE: Duration = Duration::from_secs(300);

/// How long, and how much.
#[derive(Args, Clone, Serialize)]
pub struct SoakArgs {
    #[command(flatten)]
    #[serde(skip)]
    place: Place,
    /// Minutes.
    #[arg(long, default_value_t = 60.0)]
    minutes: f64,
    /// The reduced form: ten minutes.
    #[arg(long)]
    short: bool,
    /// A fault every so many seconds, on average; unless given, one a minute, in the reduced form
    /// six.
    #[arg(long)]
    fault_every_s: Option<f64>,
    /// Couriers, each with a phone.
    #[arg(long, default_value_t = 200)]
    couriers: usize,
    /// Fixes a second, on average.
    #[arg(long, default_value_t = 5000.0)]
    rate: f64,
    /// The same faults and uploads again, though not at the same instants.
    #[arg(long)]
    seed: Option<u64>,
}

/// Runs, reconciles, prints the ledger; an error if it is not right.
pub async fn run(target: &Target, args: &SoakArgs) -> anyhow::Result<()> {
    let minutes = if args.short { 10.0 } else { args.minutes };
    let every = args
        .fault_every_s
        .unwrap_or(if args.short { 10.0 } else { 55.0 });
    let seed = args.seed.unwrap_or_else(clock::now_ms);
    eprintln!("--seed {seed}");
    let mut chance = StdRng::seed_from_u64(seed);
    let mut stand = Stand::new(args.place.dir.as_deref()).await?;
    let server = stand.serve("", &[]).await?;
    let api = Api::new(&server.target.url, &server.target.api_key)?;
    let watched = provision::watched(&api, args.couriers).await?;

    let orders = Arc::new(Orders::default());
    let pause = Duration::from_secs_f64(MEAN_FIXES * args.couriers as f64 / args.rate);
    let first_ms = clock::now_ms() - FROM_AGO_MS;
    let phones: Vec<_> = watched
        .iter()
        .map(|watched| {
            let phone = SoakPhone::new(&api, watched.phone.clone(), first_ms, chance.random());
            tokio::spawn(phone.run(orders.clone(), pause))
        })
        .collect();
    let began = Instant::now();
    let mut scene = Scene {
        stand: &mut stand,
        orders: &orders,
        watched: &watched,
        chance,
    };
    let time = Duration::from_secs_f64(minutes * 60.0);
    let (faults, server) = happen(&mut scene, server, time, Duration::from_secs_f64(every)).await?;
    orders.stop.store(true, Ordering::Relaxed);
    let mut account = Account::default();
    let mut expected: Vec<Expected> = Vec::new();
    for phone in phones {
        let (counted, made) = phone.await??;
        account.add(&counted);
        expected.push(made);
    }
    let seconds = began.elapsed().as_secs_f64();
    let mut watch = Watch::begin(&api, server.process()).await?;
    let read_after = watch.until_read(PATIENCE).await?;
    let memory = server.process().rss_mib()?;
    let stored = reconcile(stand.postgres_url(), &expected).await?;
    server.stop().await?;
    verify(stand.waylog(&["stream", "verify"])).await?;

    let mut report = Report::new(format!("Soak of {minutes} minutes"), args);
    let total: u64 = faults.values().sum();
    report.add("faults", "", total as f64);
    for (name, count) in faults {
        report.add(name, "", count as f64);
    }
    report.add("fixes a second", "1/s", account.made as f64 / seconds);
    report.add("read to the end after", "s", read_after.as_secs_f64());
    report.add("server memory at the end", "MiB", memory);
    let (lines, right) = account.settle(&stored);
    for (name, count) in lines {
        report.add(name, "fixes", count as f64);
    }
    report.warn(format!("seed {seed}"));
    for wrong in stored.wrong.iter().take(20) {
        report.warn(wrong);
    }
    stand.end().await?;
    report.single();
    report.print(target.json);
    if !right {
        bail!("the ledger is not right");
    }
    eprintln!("the ledger is right: nothing lost, nothing doubled");
    Ok(())
}

async fn verify(mut command: Command) -> anyhow::Result<()> {
    let output = command.output().await?;
    if !output.status.success() {
        bail!(
            "the log is damaged: {}",
            String::from_utf8_lossy(&output.stdout)
        );
    }
    Ok(())
}
