//! `waylog notify`: rules tried on the past, through the server's API.

use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{Args, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressStyle};
use reqwest::{Method, StatusCode};
use serde_json::{Value, json};

use super::api::{Answer, Api, Call};
use super::table;
use super::{ServerArgs, UsageError};

/// How long a server that starts is waited for.
const PATIENCE: Duration = Duration::from_secs(10);
/// Between two looks at how far the server is.
const LOOK_EVERY: Duration = Duration::from_millis(250);
/// Largest file of rules, bytes.
const MAX_RULES: u64 = 8 << 20;

const ROUTE: &str = "/v1/backtests";

/// Arguments of `waylog notify`.
#[derive(Debug, Args)]
pub(super) struct NotifyArgs {
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    /// Run rules over the log or over stored tracks: what would have been told and sent, and the
    /// difference to what was. Nothing is recorded or sent.
    Backtest(BacktestArgs),
}

#[derive(Debug, Args)]
struct BacktestArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Rules to try, TOML; what it leaves out is as on the server. See config/rules.example.toml.
    #[arg(long, value_name = "FILE")]
    rules: Option<PathBuf>,
    /// First instant: a date (UTC), or RFC 3339 with its offset.
    #[arg(long)]
    from: String,
    /// Instant before which it ends.
    #[arg(long)]
    to: String,
    /// Only this courier.
    #[arg(long)]
    courier: Option<String>,
    /// Where fixes are read from; the log where it reaches back far enough, unless said otherwise.
    #[arg(long)]
    source: Option<Source>,
    /// Print the events that are the same, too.
    #[arg(long)]
    all: bool,
    /// Print JSON: everything, with the evidence.
    #[arg(long)]
    json: bool,
}

#[derive(Debug, Clone, Copy, ValueEnum)]
enum Source {
    /// Everything as it came, as long as it is kept.
    Log,
    /// Fixes only; no offline, online and sos.
    Tracks,
}

pub(super) async fn run(args: NotifyArgs) -> anyhow::Result<ExitCode> {
    let Action::Backtest(backtest) = args.action;
    let api = Api::new(&backtest.server.url, PATIENCE)?;
    let key = backtest.server.key()?;
    let call = Call::new(Method::POST, ROUTE, &key).json(&request(&backtest)?)?;
    let begun = understood(&api.call(&call).await?)?;
    let id = begun["id"].as_str().context("the answer has no id")?;
    let path = format!("{ROUTE}/{id}");
    let report = finished(&api, &path, &key).await?;
    if backtest.json {
        println!("{report}");
    } else {
        print(&report, backtest.all);
    }
    Ok(ExitCode::SUCCESS)
}

/// The request's body: the file's `[[geofence]]` tables, and everything else in it as rules.
fn request(args: &BacktestArgs) -> anyhow::Result<Value> {
    let mut body = match &args.rules {
        Some(file) => read_rules(file)?,
        None => json!({}),
    };
    body["from"] = json!(args.from);
    body["to"] = json!(args.to);
    if let Some(courier) = &args.courier {
        body["courier"] = json!(courier);
    }
    match args.source {
        Some(Source::Log) => body["source"] = json!("log"),
        Some(Source::Tracks) => body["source"] = json!("tracks"),
        None => {}
    }
    Ok(body)
}

fn read_rules(file: &Path) -> anyhow::Result<Value> {
    let wrong = |why: &dyn std::fmt::Display| UsageError(format!("{}: {why}", file.display()));
    let size = std::fs::metadata(file).map_err(|e| wrong(&e))?.len();
    if size > MAX_RULES {
        return Err(wrong(&format!("larger than {MAX_RULES} bytes")).into());
    }
    let text = std::fs::read_to_string(file).map_err(|e| wrong(&e))?;
    let mut rules: toml::Table = text.parse().map_err(|e| wrong(&e))?;
    let geofences = rules.remove("geofence");
    let mut body = json!({ "rules": rules });
    if let Some(geofences) = geofences {
        body["geofence"] = serde_json::to_value(geofences)?;
    }
    Ok(body)
}

/// What the server refuses to understand was written wrongly.
fn understood(answer: &Answer) -> anyhow::Result<Value> {
    let wrong = [StatusCode::BAD_REQUEST, StatusCode::UNPROCESSABLE_ENTITY];
    if wrong.contains(&answer.status) {
        return Err(UsageError(answer.problem()).into());
    }
    answer.success().context("begin the backtest")
}

/// Waits for the end, and shows how far it is; the report.
async fn finished(api: &Api, path: &str, key: &str) -> anyhow::Result<Value> {
    let style = ProgressStyle::with_template("{bar:40} {percent} %, {msg} fixes, {elapsed}")?;
    let bar = ProgressBar::new(1_000).with_style(style);
    loop {
        let call = Call::new(Method::GET, path, key);
        let mut view: Value = api
            .call(&call)
            .await?
            .success()
            .context("ask how far it is")?;
        bar.set_position((view["progress"].as_f64().unwrap_or_default() * 1_000.0) as u64);
        bar.set_message(view["fixes"].to_string());
        match view["state"].as_str() {
            Some("running") => tokio::time::sleep(LOOK_EVERY).await,
            Some("done") => {
                bar.finish_and_clear();
                return Ok(view["report"].take());
            }
            _ => {
                bar.finish_and_clear();
                let why = view["error"].as_str().unwrap_or("it was forgotten");
                anyhow::bail!("the backtest failed: {why}");
            }
        }
    }
}

fn print(report: &Value, all: bool) {
    println!(
        "{} to {}, over the {}: {} fixes of {} couriers",
        text(&report["from"]),
        text(&report["to"]),
        text(&report["source"]),
        report["fixes"],
        report["couriers"],
    );
    for kind in rows(&report["left_out"]) {
        println!(
            "{} is left out: this source knows nothing of it",
            text(kind)
        );
    }
    let columns = ["type", "was", "would_be", "same", "moved", "new", "gone"];
    let headings = ["EVENT", "WAS", "WOULD-BE", "SAME", "MOVED", "NEW", "GONE"];
    println!();
    table::print(&headings, &cells(&report["types"], &columns));
    if !rows(&report["webhooks"]).is_empty() {
        println!();
        let columns = ["url", "was", "would_be"];
        table::print(
            &["SENT TO", "WAS", "WOULD-BE"],
            &cells(&report["webhooks"], &columns),
        );
    }
    let events = rows(&report["events"]);
    let shown: Vec<_> = events
        .iter()
        .filter(|e| all || e["difference"] != "same")
        .collect();
    if !shown.is_empty() {
        println!();
        let lines: Vec<_> = shown.into_iter().map(line).collect();
        let headings = ["", "AT", "EVENT", "COURIER", "ABOUT", "WAS AT", "SENT"];
        table::print(&headings, &lines);
    }
    if report["unlisted"] != 0 {
        println!("… and {} more, counted above", report["unlisted"]);
    }
}

fn line(event: &Value) -> Vec<String> {
    let sign = match event["difference"].as_str() {
        Some("new") => "+",
        Some("gone") => "-",
        Some("moved") => "~",
        _ => "=",
    };
    let about = [&event["delivery_id"], &event["geofence_id"]];
    let about: Vec<_> = about.into_iter().filter_map(Value::as_str).collect();
    let sent = match (
        event["difference"] == "gone",
        event["would_be_sent"] == true,
    ) {
        (true, _) => "",
        (_, true) => "yes",
        _ => "too late",
    };
    vec![
        sign.to_owned(),
        text(&event["at"]),
        text(&event["type"]),
        text(&event["courier_id"]),
        about.join(" "),
        text(&event["was_at"]),
        sent.to_owned(),
    ]
}

fn rows(value: &Value) -> &[Value] {
    value.as_array().map_or(&[], Vec::as_slice)
}

fn cells(items: &Value, columns: &[&str]) -> Vec<Vec<String>> {
    let row = |item: &Value| columns.iter().map(|column| text(&item[*column])).collect();
    rows(items).iter().map(row).collect()
}

/// A cell: text as it is, nothing as nothing.
fn text(value: &Value) -> String {
    match value {
        Value::Null => String::new(),
        Value::String(text) => text.clone(),
        other => other.to_string(),
    }
}
