//! From phones' POSTs to dispatchers' screens.

mod pan;
mod places;
mod screens;
mod slow;

use std::fmt::Write;
use std::path::PathBuf;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::bail;
use clap::Args;
use serde::Serialize;
use serde_json::{Value, json};

use self::places::{Area, middle, view_of};
use self::screens::Screens;
use self::slow::Slow;
use crate::Target;
use crate::api::{Api, ApiConnection};
use crate::kept::kept;
use crate::posting::{Due, Posting};
use crate::process::Process;
use crate::provision::{self, Phone};
use crate::report::Report;
use crate::swarm::{Running, Swarm};

/// Time for all screens to be told what is there.
const SNAPSHOTS: Duration = Duration::from_secs(60);
/// Posting before it is measured.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long the last updates may take after the phones have stopped.
const LAST_ONES: Duration = Duration::from_secs(2);
/// Time for slow readers to fall behind.
const FALL_BEHIND: Duration = Duration::from_secs(15);
/// Tickets taken at once: a ticket is good for 30 seconds.
const TICKETS: usize = 500;
/// Screens that are opened before those that are open are listened to.
const AT_ONCE: usize = 256;

/// Screens that look at a few couriers each.
#[derive(Args, Clone, Serialize)]
pub struct FleetArgs {
    /// Screens.
    #[arg(long, default_value_t = 19_000)]
    sockets: usize,
    /// Couriers that each screen sees.
    #[arg(long, default_value_t = 25)]
    couriers: usize,
    /// Places with so many couriers each; the screens are spread over them.
    #[arg(long, default_value_t = 20)]
    clusters: usize,
    /// Fixes a second of each courier.
    #[arg(long, default_value_t = 1.0)]
    rate: f64,
    /// More screens that look at the first place and read slowly.
    #[arg(long, default_value_t = 0)]
    slow: usize,
    /// Bytes a second that they read.
    #[arg(long, default_value_t = 8_000)]
    slow_bytes: u32,
    /// More couriers, of whom one fix is known.
    #[arg(long, default_value_t = 0)]
    known: usize,
    /// Changes of the view among those, by one more screen.
    #[arg(long, default_value_t = 0)]
    pan: usize,
    /// Connections that the phones share.
    #[arg(long, default_value_t = 100)]
    connections: usize,
    /// Seconds of a run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// Keeps the phones in this file for the next time.
    #[arg(long)]
    #[serde(skip)]
    keep: Option<PathBuf>,
}

/// Measures and prints.
pub async fn run(target: &Target, args: &FleetArgs) -> anyhow::Result<()> {
    if args.couriers == 0 || args.clusters == 0 || args.sockets == 0 || args.rate <= 0.0 {
        bail!("--sockets, --couriers, --clusters and --rate must be more than 0");
    }
    let mut report = Report::new("Phones' fixes to dispatchers' screens", args);
    let api = Api::new(&target.url, &target.api_key)?;
    let server = Process::of(target, &api)?;
    let moving = args.couriers * args.clusters;
    let make = provision::phones(&api, moving + args.known);
    let mut phones = kept(args.keep.as_deref(), moving + args.known, make).await?;
    let known = phones.split_off(moving);
    if !known.is_empty() {
        know(&api, known, server, &mut report).await?;
    }
    let posting = Posting {
        api: api.clone(),
        phones: phones.into(),
        connections: args.connections,
        every: Duration::from_secs_f64(1.0 / args.rate),
    };
    posting.run(Duration::from_secs(2), drive(args)).await?;
    if args.pan > 0 {
        look_about(&api, args, &mut report).await?;
    }
    let screens = open(&api, args, server, &mut report).await?;
    posting.run(WARM_UP, drive(args)).await?;
    let slow = fall_behind(&api, args, &posting, server, &mut report).await?;
    tokio::time::sleep(LAST_ONES).await;
    for run in 1..=args.runs {
        measure(args, &posting, &screens, server, &mut report).await?;
        eprintln!("run {run} of {}", args.runs);
    }
    if let Some(slow) = slow {
        let p = slow.stop()?.percentiles();
        report.add("slow readers: age p50", "ms", p.p50_ms);
        report.add("slow readers: age p99", "ms", p.p99_ms);
        report.add("slow readers: age max", "ms", p.max_ms);
    }
    screens.stop()?;
    report.print(target.json);
    Ok(())
}

async fn measure(
    args: &FleetArgs,
    posting: &Posting,
    screens: &Running<Screens>,
    server: Process,
    report: &mut Report,
) -> anyhow::Result<()> {
    screens.with(Screens::begin)?;
    let span = server.begin()?;
    let began = Instant::now();
    let sent = posting.run(Duration::from_secs(args.seconds), drive(args));
    let sent = sent.await?;
    let seconds = began.elapsed().as_secs_f64();
    let used = span.end()?;
    tokio::time::sleep(LAST_ONES).await;
    let told = screens.with(Screens::counted)?;
    report.add("fixes posted", "1/s", sent as f64 / seconds);
    report.add("frames to screens", "1/s", told.frames as f64 / seconds);
    report.add("updates to screens", "1/s", told.updates as f64 / seconds);
    let a_frame = told.updates as f64 / told.frames as f64;
    report.add("updates a frame", "", a_frame);
    let delivered = told.ticks as f64 / told.ticks_due as f64;
    report.add("ticks delivered", "share", delivered);
    let bytes = told.bytes as f64 / told.updates as f64;
    report.add("traffic an update", "B", bytes);
    let p = told.latencies.percentiles();
    report.add("tick to screen p50", "ms", p.p50_ms);
    report.add("tick to screen p99", "ms", p.p99_ms);
    report.add("tick to screen max", "ms", p.max_ms);
    report.add("server CPU", "cores", used.cores);
    report.add("server memory", "MiB", used.rss_mib);
    Ok(())
}

/// Every courier of a cluster drives to and fro around its middle.
fn drive(args: &FleetArgs) -> impl Fn(Due, &mut String) + Clone + Send + use<> + 'static {
    let clusters = args.clusters;
    move |due, body| {
        let (lat, lon) = middle(due.phone % clusters);
        let lat = lat + (due.at_ms / 250 % 80) as f64 * 1e-5;
        write_fix(body, due.at_ms, lat, lon);
    }
}

fn write_fix(body: &mut String, time_ms: u64, lat: f64, lon: f64) {
    let written = write!(
        body,
        r#"{{"fix_time":{time_ms},"lat":{lat:.6},"lon":{lon:.6},"speed_mps":8.5,"heading_deg":90}}"#
    );
    // Writing to memory does not fail.
    debug_assert!(written.is_ok());
}

/// Lets the server know one fix of each of `phones`.
async fn know(
    api: &Api,
    phones: Vec<Phone>,
    server: Process,
    report: &mut Report,
) -> anyhow::Result<()> {
    let couriers = phones.len() as f64;
    let before_mib = server.rss_mib()?;
    let posting = Posting {
        api: api.clone(),
        every: Duration::from_secs_f64(couriers / 4_000.0),
        phones: phones.into(),
        connections: 32,
    };
    let body = |due: Due, body: &mut String| {
        let (lat, lon) = Area.place(due.phone);
        write_fix(body, due.at_ms, lat, lon);
    };
    posting.run(posting.every, body).await?;
    let mib = server.rss_mib()? - before_mib;
    report.add("couriers that are known", "", couriers);
    report.add("memory for them", "MiB", mib);
    Ok(())
}

/// Changes the view again and again.
async fn look_about(api: &Api, args: &FleetArgs, report: &mut Report) -> anyhow::Result<()> {
    let mut tickets = api.connect().await?;
    let hello = hello(&mut tickets).await?;
    let (api, times) = (api.clone(), args.pan);
    let panned = tokio::task::spawn_blocking(move || pan::pan(&api, hello, &Area, times));
    let panned = panned.await??;
    let p = panned.latencies.percentiles();
    report.add("view to its cells p50", "ms", p.p50_ms);
    report.add("view to its cells p99", "ms", p.p99_ms);
    report.add("view to its cells max", "ms", p.max_ms);
    let kib = panned.bytes as f64 / 1024.0 / times as f64;
    report.add("answer to a view", "KiB", kib);
    Ok(())
}

/// Opens the slow readers and waits until they are behind.
async fn fall_behind(
    api: &Api,
    args: &FleetArgs,
    posting: &Posting,
    server: Process,
    report: &mut Report,
) -> anyhow::Result<Option<Slow>> {
    if args.slow == 0 {
        return Ok(None);
    }
    posting.run(FALL_BEHIND, drive(args)).await?;
    let before_mib = server.rss_mib()?;
    let mut connection = api.connect().await?;
    let mut tickets = Vec::new();
    for _ in 0..args.slow {
        tickets.push(hello(&mut connection).await?);
    }
    let slow = Slow::start(api, &tickets, &view_of(0), args.slow_bytes)?;
    posting.run(FALL_BEHIND, drive(args)).await?;
    let kib = (server.rss_mib()? - before_mib) * 1024.0 / args.slow as f64;
    report.add("slow readers", "", args.slow as f64);
    report.add("slow readers: memory each", "KiB", kib);
    Ok(Some(slow))
}

/// The first message of a screen.
async fn hello(connection: &mut ApiConnection) -> anyhow::Result<String> {
    let ticket = connection
        .call("POST", "/v1/fleet/ticket", &Value::Null)
        .await?;
    Ok(json!({ "type": "hello", "ticket": ticket["ticket"] }).to_string())
}

/// Opens all screens and waits until each has been told what is there.
async fn open(
    api: &Api,
    args: &FleetArgs,
    server: Process,
    report: &mut Report,
) -> anyhow::Result<Running<Screens>> {
    let before_mib = server.rss_mib()?;
    let ears = Arc::new(Mutex::new(Screens::new(args.sockets)?));
    let mut swarm = Swarm::new()?;
    let mut connection = api.connect().await?;
    let mut tickets = Vec::new();
    for screen in 0..args.sockets {
        if tickets.is_empty() {
            for _ in 0..TICKETS.min(args.sockets - screen) {
                tickets.push(hello(&mut connection).await?);
            }
        }
        let view = view_of(screen % args.clusters);
        let first: Vec<String> = tickets.pop().into_iter().chain([view]).collect();
        swarm.open(api, "/ws/fleet", &first)?;
        if swarm.len().is_multiple_of(AT_ONCE) {
            swarm.pump(&ears, Duration::ZERO)?;
        }
    }
    let swarm = swarm.run(ears);
    let ready = |screens: &mut Screens| screens.ready() == args.sockets;
    let what = "every screen is told what is there";
    swarm.until(SNAPSHOTS, what, ready).await?;
    let open = args.sockets as f64;
    report.add("screens", "", open);
    let mib = server.rss_mib()? - before_mib;
    report.add("memory a screen", "KiB", mib * 1024.0 / open);
    Ok(swarm)
}
