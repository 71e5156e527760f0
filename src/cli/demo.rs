//! `waylog demo`: where to look at a server that was just started. `make run` calls it.

use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::ServerArgs;
use super::api::{Api, Call};

/// How long the server may take to be ready, and the simulator to have its first delivery.
const PATIENCE: Duration = Duration::from_secs(120);
/// Between two looks.
const PAUSE: Duration = Duration::from_millis(100);
/// The courier that a real phone joins as.
const PHONE: &str = "my-phone";

#[derive(Debug, Args)]
pub(super) struct DemoArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Only wait until the server is ready.
    #[arg(long)]
    wait_ready: bool,
    /// Show a QR code with which a phone in the same network joins.
    #[arg(long)]
    join: bool,
}

pub(super) async fn run(args: DemoArgs) -> anyhow::Result<ExitCode> {
    let api = Api::new(&args.server.url, PATIENCE)?;
    let key = args.server.key()?;
    let ready = api.call(&Call::new(Method::GET, "/readyz", &key)).await?;
    anyhow::ensure!(
        ready.status.is_success(),
        "the server is not ready: {}",
        ready.problem()
    );
    if args.wait_ready {
        return Ok(ExitCode::SUCCESS);
    }
    let fleet: Value = post(&api, &key, "/v1/sign-in-codes", &json!({})).await?;
    let fleet = text(&fleet, "url")?;
    let customer = first_delivery(&api, &key).await?;
    let base = customer.split("/t/").next().unwrap_or(&args.server.url);
    println!();
    println!("  Fleet     {fleet}   (signs you in, once)");
    println!("  Customer  {base}/demo   (always leads to a delivery under way)");
    println!("  API docs  {base}/docs");
    println!("  Metrics   {base}/metrics");
    if args.join {
        join(&api, &key).await?;
    }
    println!();
    Ok(ExitCode::SUCCESS)
}

/// The tracking URL of the delivery that the simulator shows; waits until it has one.
async fn first_delivery(api: &Api, key: &str) -> anyhow::Result<String> {
    let looking = async {
        loop {
            let answer = api.call(&Call::new(Method::GET, "/v1/demo", key)).await?;
            if answer.status != StatusCode::NOT_FOUND {
                let demo: Value = answer.success().context("ask for the demo's delivery")?;
                return text(&demo, "tracking_url");
            }
            tokio::time::sleep(PAUSE).await;
        }
    };
    tokio::time::timeout(PATIENCE, looking)
        .await
        .context("the simulator made no delivery")?
}

async fn join(api: &Api, key: &str) -> anyhow::Result<()> {
    let courier = Call::new(Method::POST, "/v1/couriers", key)
        .json(&json!({"id": PHONE, "name": "My phone", "tags": ["demo"]}))?;
    let answer = api.call(&courier).await?;
    let known = answer.status == StatusCode::CONFLICT;
    anyhow::ensure!(
        answer.status.is_success() || known,
        "make a courier: {}",
        answer.problem()
    );
    let path = format!("/v1/couriers/{PHONE}/join-codes");
    let code: Value = post(api, key, &path, &json!({})).await?;
    let url = text(&code, "url")?;
    let picture = fast_qr::QRBuilder::new(url.as_str())
        .build()
        .map_err(|error| anyhow::anyhow!("draw {url}: {error:?}"))?;
    let picture = framed(&picture.to_str());
    println!("\n{picture}\n  Phone     {url}   (15 minutes, once)");
    Ok(())
}

/// A QR code for a terminal, which is mostly dark, with more white around it: phones need that.
fn framed(code: &str) -> String {
    let width = code.lines().map(|line| line.chars().count()).max();
    let edge = "█".repeat(width.unwrap_or_default() + 6);
    let lines = code.lines().skip(1).map(|line| format!("███{line}███"));
    let mut framed = vec![edge.clone(), edge.clone()];
    framed.extend(lines);
    framed.extend([edge.clone(), edge]);
    framed.join("\n")
}

async fn post(api: &Api, key: &str, path: &str, body: &Value) -> anyhow::Result<Value> {
    let answer = api
        .call(&Call::new(Method::POST, path, key).json(body)?)
        .await?;
    answer.success().with_context(|| format!("POST {path}"))
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    let text = value[field]
        .as_str()
        .with_context(|| format!("the answer has no {field}"))?;
    Ok(text.to_owned())
}
