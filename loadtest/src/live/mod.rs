//! From a phone's POST to the customers' sockets.

mod posts;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use clap::Args;
use serde::Serialize;

use self::posts::{Customers, Posts};
use crate::Target;
use crate::api::Api;
use crate::background::Background;
use crate::kept::kept;
use crate::posting::{Due, Posting};
use crate::process::Process;
use crate::provision;
use crate::report::Report;
use crate::swarm::{Running, Swarm};

/// Every courier posts this often.
const EVERY: Duration = Duration::from_secs(1);
/// Posting before it is measured.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long the last fixes may take to arrive after the phones have stopped.
const LAST_ONES: Duration = Duration::from_secs(2);
/// Time for all sockets to have their snapshot.
const SNAPSHOTS: Duration = Duration::from_secs(60);
/// Sockets that are opened before those that are open are listened to.
const AT_ONCE: usize = 256;

/// One socket a courier.
#[derive(Args, Clone, Serialize)]
pub struct EndToEndArgs {
    /// Couriers, each with a phone, a delivery and a customer who watches.
    #[arg(long, default_value_t = 200)]
    couriers: usize,
    #[command(flatten)]
    #[serde(flatten)]
    background: Background,
    #[command(flatten)]
    #[serde(flatten)]
    runs: Runs,
}

/// Many sockets.
#[derive(Args, Clone, Serialize)]
pub struct FanoutArgs {
    /// Couriers, each with a phone and a delivery.
    #[arg(long, default_value_t = 18_000)]
    couriers: usize,
    /// Sockets that watch each of them.
    #[arg(long, default_value_t = 1)]
    sockets: usize,
    #[command(flatten)]
    #[serde(flatten)]
    runs: Runs,
}

/// How it is measured.
#[derive(Args, Clone, Serialize)]
struct Runs {
    /// Connections that the phones share.
    #[arg(long, default_value_t = 200)]
    connections: usize,
    /// Seconds of a run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Keeps couriers and links in this file for the next time.
    #[arg(long)]
    #[serde(skip)]
    keep: Option<PathBuf>,
}

/// Measures and prints.
pub async fn end_to_end(target: &Target, args: &EndToEndArgs) -> anyhow::Result<()> {
    let title = "POST to customer's socket, one socket a courier, one fix a second each";
    let shape = Shape {
        couriers: args.couriers,
        sockets: 1,
        background: args.background.clone(),
        runs: &args.runs,
    };
    measure(target, shape, Report::new(title, args)).await
}

/// Measures and prints.
pub async fn fanout(target: &Target, args: &FanoutArgs) -> anyhow::Result<()> {
    let title = "Fan-out to customers' sockets, one fix a second a courier";
    let shape = Shape {
        couriers: args.couriers,
        sockets: args.sockets,
        background: Background::default(),
        runs: &args.runs,
    };
    measure(target, shape, Report::new(title, args)).await
}

struct Shape<'a> {
    couriers: usize,
    sockets: usize,
    background: Background,
    runs: &'a Runs,
}

async fn measure(target: &Target, shape: Shape<'_>, mut report: Report) -> anyhow::Result<()> {
    let api = Api::new(&target.url, &target.api_key)?;
    let server = Process::of(target, &api)?;
    let Shape {
        couriers, sockets, ..
    } = shape;
    eprintln!("{couriers} couriers with a delivery under way each");
    let make = provision::watched(&api, couriers);
    let watched = kept(shape.runs.keep.as_deref(), couriers, make).await?;
    let posts: Arc<[Posts]> = watched.iter().map(|_| Posts::default()).collect();
    let phones = watched
        .iter()
        .map(|courier| courier.phone.clone())
        .collect();
    let posting = Posting {
        api: api.clone(),
        phones,
        connections: shape.runs.connections,
        every: EVERY,
    };
    let drive = drive(&posts);
    let seconds = Duration::from_secs(shape.runs.seconds);
    // The same without anybody watching: what remains is the cost of the watchers. It also makes
    // every dot known, so that what customers hear later are updates.
    posting.run(WARM_UP, drive.clone()).await?;
    let span = server.begin()?;
    posting.run(seconds / 2, drive.clone()).await?;
    let unwatched = span.end()?;
    report.add("server CPU, nobody watches", "cores", unwatched.cores);

    let links = watched.iter().map(|courier| courier.link.as_str());
    let swarm = open(&api, links, &posts, sockets, server, &mut report).await?;
    let background = shape.background.start(&api).await?;
    posting.run(WARM_UP, drive.clone()).await?;
    tokio::time::sleep(LAST_ONES).await;
    for run in 1..=shape.runs.runs {
        swarm.with(Customers::begin)?;
        let ingested = background.as_ref().map(|b| b.sent());
        let span = server.begin()?;
        let began = Instant::now();
        let sent = posting.run(seconds, drive.clone()).await?;
        let elapsed = began.elapsed().as_secs_f64();
        let used = span.end()?;
        if let (Some(background), Some(before)) = (&background, ingested) {
            let fixes = (background.sent() - before) as f64 + sent as f64;
            report.add("fixes ingested in all", "1/s", fixes / elapsed);
        }
        tokio::time::sleep(LAST_ONES).await;
        let (messages, latencies) = swarm.with(|all| (all.messages, all.latencies.clone()));
        let (expected, arrived) = (sent * sockets as u64, latencies.len());
        eprintln!(
            "run {run} of {}: {arrived} of {expected} fixes arrived",
            shape.runs.runs
        );
        report.add("fixes sent", "1/s", sent as f64 / elapsed);
        report.add("messages to sockets", "1/s", messages as f64 / elapsed);
        report.add("fixes shown", "share", arrived as f64 / expected as f64);
        let p = latencies.percentiles();
        report.add("POST to socket p50", "ms", p.p50_ms);
        report.add("POST to socket p90", "ms", p.p90_ms);
        report.add("POST to socket p99", "ms", p.p99_ms);
        report.add("POST to socket max", "ms", p.max_ms);
        report.add("server CPU", "cores", used.cores);
        report.add("server memory", "MiB", used.rss_mib);
    }
    if let Some(background) = background {
        background.stop().await?;
    }
    swarm.stop()?;
    report.print(target.json);
    Ok(())
}

/// Opens all sockets and waits until each has its snapshot.
async fn open(
    api: &Api,
    links: impl Iterator<Item = &str>,
    posts: &Arc<[Posts]>,
    sockets: usize,
    server: Process,
    report: &mut Report,
) -> anyhow::Result<Running<Customers>> {
    let before_mib = server.rss_mib()?;
    let ears = Arc::new(Mutex::new(Customers::new(posts.clone(), sockets)?));
    let mut swarm = Swarm::new()?;
    let began = Instant::now();
    for link in links {
        let hello = serde_json::json!({ "type": "hello", "token": link }).to_string();
        for _ in 0..sockets {
            swarm.open(api, "/ws/track", std::slice::from_ref(&hello))?;
            if swarm.len().is_multiple_of(AT_ONCE) {
                swarm.pump(&ears, Duration::ZERO)?;
            }
        }
    }
    let open = swarm.len() as f64;
    let swarm = swarm.run(ears);
    let greeted = |all: &mut Customers| all.greeted.iter().all(|greeted| *greeted);
    let what = "every customer has a snapshot";
    swarm.until(SNAPSHOTS, what, greeted).await?;
    report.add("sockets", "", open);
    report.add(
        "sockets opened",
        "1/s",
        open / began.elapsed().as_secs_f64(),
    );
    let mib = server.rss_mib()? - before_mib;
    report.add("memory a socket", "KiB", mib * 1024.0 / open);
    Ok(swarm)
}

/// Every courier drives north, and turns round after some time.
fn drive(posts: &Arc<[Posts]>) -> impl Fn(Due, &mut String) + Clone + Send + 'static {
    let posts = posts.clone();
    move |due, body| {
        posts[due.phone].posted(due.at_ms, due.at);
        let lat = 35.85 + (due.phone % 100) as f64 * 1e-3 + (due.at_ms / 1000 % 600) as f64 * 1e-4;
        let lon = 14.4 + (due.phone / 100) as f64 * 1e-3;
        let written = write!(
            body,
            r#"{{"fix_time":{},"lat":{lat:.6},"lon":{lon:.6},"accuracy_m":6,"speed_mps":11.1,"heading_deg":0.5}}"#,
            due.at_ms
        );
        // Writing to memory does not fail.
        debug_assert!(written.is_ok());
    }
}
