//! All figures of `README.md`, by one command: measures one thing after the other, keeps each result
//! under `loadtest/results/` as JSON with plots beside it, and writes the table anew.

mod list;
mod plot;
mod table;

use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::{Context, bail};
use clap::Args;
use serde_json::{Value, json};
use tokio::process::Command;

use self::list::{ALL, Item};
use crate::stand::Stand;
use crate::{Place, clock};

/// What is measured, and where it is written.
#[derive(Args, Clone)]
pub struct FiguresArgs {
    #[command(flatten)]
    place: Place,
    /// Only these, separated by commas; the others keep the results that they have.
    #[arg(long, value_delimiter = ',')]
    only: Vec<String>,
    /// Measure nothing: draw the plots and write the table from the results that are there.
    #[arg(long)]
    table: bool,
    /// Names of what can be measured, and how.
    #[arg(long)]
    list: bool,
    /// The folder of this tool's sources.
    #[arg(long, default_value = "loadtest")]
    home: PathBuf,
    /// host:port of a Kafka broker, for the peer that wants one.
    #[arg(long)]
    kafka: Option<String>,
}

/// Measures, draws, writes.
pub async fn run(args: &FiguresArgs) -> anyhow::Result<()> {
    if args.list {
        for item in ALL {
            println!("{:<24} {}", item.name, item.command());
        }
        return Ok(());
    }
    if let Some(unknown) = args
        .only
        .iter()
        .find(|n| ALL.iter().all(|item| item.name != **n))
    {
        bail!("{unknown} is none of the figures; --list names them");
    }
    let results = args.home.join("results");
    std::fs::create_dir_all(&results).with_context(|| {
        format!(
            "make {}: run this from the project's folder",
            results.display()
        )
    })?;
    let wanted = |item: &&Item| args.only.is_empty() || args.only.iter().any(|n| n == item.name);
    if !args.table {
        for item in ALL.iter().filter(wanted) {
            eprintln!("\n== {}: {}", item.name, item.command());
            let measured = measure(item, args).await?;
            let path = results.join(format!("{}.json", item.name));
            std::fs::write(&path, serde_json::to_string_pretty(&measured)? + "\n")?;
        }
    }
    for item in ALL {
        if let Some(result) = read(&results, item)? {
            plot::draw(&results, item.name, &result)?;
        }
    }
    table::rewrite(&args.home.join("README.md"), &results)
}

/// One figure, by this very program in a process of its own.
async fn measure(item: &Item, args: &FiguresArgs) -> anyhow::Result<Value> {
    let mut command = Command::new(std::env::current_exe()?);
    command.arg("--json").args(item.args).stdout(Stdio::piped());
    let mut stand = None;
    if let Some(roles) = item.roles {
        let mut made = Stand::new(args.place.dir.as_deref()).await?;
        let server = made.serve(roles, &[]).await?;
        let target = &server.target;
        command.args(["--url", &target.url]);
        command.args(["--pid", &server.process().pid.to_string()]);
        command.env("WAYLOG_API_KEY", &target.api_key);
        stand = Some((made, server));
    } else {
        if let Some(dir) = &args.place.dir {
            command.arg("--dir").arg(dir);
        }
        if let Some(kafka) = args.kafka.as_ref().filter(|_| item.args[0] == "peers") {
            command.args(["--kafka", kafka]);
        }
    }
    let output = command.spawn()?.wait_with_output().await?;
    if let Some((stand, server)) = stand {
        server.stop().await?;
        stand.end().await?;
    }
    if !output.status.success() {
        bail!("{} failed: {}", item.name, output.status);
    }
    let mut measured: Value = serde_json::from_slice(&output.stdout)
        .with_context(|| format!("{} printed no JSON", item.name))?;
    measured["command"] = json!(item.command());
    measured["server"] = json!(item.server());
    measured["date"] = json!(clock::today());
    Ok(measured)
}

/// The result of an item, if there is one.
fn read(results: &Path, item: &Item) -> anyhow::Result<Option<Value>> {
    let path = results.join(format!("{}.json", item.name));
    if !path.exists() {
        return Ok(None);
    }
    let text = std::fs::read(&path)?;
    let result = serde_json::from_slice(&text);
    Ok(Some(result.with_context(|| {
        format!("{} is not a result", path.display())
    })?))
}
