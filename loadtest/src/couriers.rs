//! Does a fix cost more, and a courier too much memory, when there are very many of them?

use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::api::Api;
use crate::report::Report;
use crate::seed;
use crate::stand::Stand;
use crate::uploads::{Counts, Phones, Shape, drive};
use crate::watch::Watch;
use crate::{Place, Target};

/// How long the groups may take to read what is left.
const PATIENCE: Duration = Duration::from_secs(600);

/// How many couriers, and what they send.
#[derive(Args, Clone, Serialize)]
pub struct CouriersArgs {
    #[command(flatten)]
    #[serde(skip)]
    place: Place,
    /// Couriers of the small and of the large fleet.
    #[arg(long, value_delimiter = ',', default_values_t = [1_000, 1_000_000])]
    couriers: Vec<usize>,
    /// Fixes an upload.
    #[arg(long, default_value_t = 25)]
    fixes: usize,
    /// Fixes a second (open loop): the same for every fleet.
    #[arg(long, default_value_t = 400_000.0)]
    rate: f64,
    /// Seconds of a run. The large fleet should send at least once each.
    #[arg(long, default_value_t = 75)]
    seconds: u64,
}

/// Measures and prints.
pub async fn run(target: &Target, args: &CouriersArgs) -> anyhow::Result<()> {
    let mut report = Report::new("The same load from few and from many couriers", args);
    for couriers in &args.couriers {
        let mut stand = Stand::new(args.place.dir.as_deref()).await?;
        eprintln!("{couriers} couriers");
        let mut phones = Phones::new(seed::couriers(&stand, *couriers).await?);
        let server = stand.serve("", &[]).await?;
        let api = Api::new(&server.target.url, &server.target.api_key)?;
        let process = server.process();
        let shape = Shape {
            fixes: args.fixes,
            connections: 256,
            pipeline: 1,
            rate: Some(args.rate / args.fixes as f64),
        };
        let counts = Arc::new(Counts::default());
        let time = Duration::from_secs(args.seconds);
        let at_rest_mib = process.rss_mib()?;
        let span = process.begin()?;
        let outcome = drive(&api, shape, &mut phones, time, Some(process), &counts).await?;
        Watch::begin(&api, process)
            .await?
            .until_read(PATIENCE)
            .await?;
        let used = span.end()?;
        let fixes = outcome.accepted as f64;
        let seconds = outcome.seconds;
        let seen = (*couriers as f64).min(outcome.requests as f64);
        report.add("couriers", "", *couriers as f64);
        report.add("couriers seen", "", seen);
        report.add("fixes acknowledged", "1/s", fixes / seconds);
        report.add(
            "server CPU a fix",
            "µs",
            used.cores * 1e6 * used.seconds / fixes,
        );
        let postgres = used.postgres_cores * 1e6 * used.seconds / fixes;
        report.add("Postgres CPU a fix", "µs", postgres);
        report.add("memory at rest", "MiB", at_rest_mib);
        report.add("memory after", "MiB", used.rss_mib);
        report.add(
            "memory a courier seen",
            "B",
            used.rss_mib * 1_048_576.0 / seen,
        );
        server.stop().await?;
        stand.end().await?;
    }
    report.each_run();
    report.print(target.json);
    Ok(())
}
