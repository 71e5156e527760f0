//! `waylog analytics`: work on what is stored, through the server's API.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::Method;
use serde_json::{Value, json};

use super::ServerArgs;
use super::api::{Api, Call};

/// How long a server that starts is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at how far the server is.
const LOOK_EVERY: Duration = Duration::from_millis(500);

const ROUTE: &str = "/v1/trips/rebuild";

#[derive(Debug, Args)]
pub(super) struct AnalyticsArgs {
    #[command(flatten)]
    server: ServerArgs,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Find trips, stops and heat of whole days anew, by the rules that the server has now.
    RebuildTrips {
        /// First day, as in 2026-11-22 (UTC).
        #[arg(long)]
        from: String,
        /// Day before which it ends (UTC).
        #[arg(long)]
        to: String,
    },
}

pub(super) async fn run(args: AnalyticsArgs) -> anyhow::Result<ExitCode> {
    let api = Api::new(&args.server.url, PATIENCE)?;
    let key = args.server.key()?;
    let Action::RebuildTrips { from, to } = args.action;
    let call = Call::new(Method::POST, ROUTE, &key).json(&json!({"from": from, "to": to}))?;
    let begun: Value = api.call(&call).await?.success().context("begin")?;
    let all = begun["left"].as_u64().unwrap_or(0);
    let style = ProgressStyle::with_template("{bar:40} {pos}/{len} couriers' days, {elapsed}")?;
    let bar = ProgressBar::new(all).with_style(style);
    let mut left = all;
    while left > 0 {
        tokio::time::sleep(LOOK_EVERY).await;
        let call = Call::new(Method::GET, ROUTE, &key);
        let progress: Value = api
            .call(&call)
            .await?
            .success()
            .context("ask how far it is")?;
        left = progress["left"].as_u64().unwrap_or(0);
        // New fixes are marked too, so that more may be left than there was.
        bar.set_length(all.max(left));
        bar.set_position(all.max(left) - left);
    }
    bar.finish();
    eprintln!("trips from {from} to {to} were found anew");
    Ok(ExitCode::SUCCESS)
}
