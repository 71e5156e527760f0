//! From phones' POSTs to dispatchers' screens.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::api::{Api, ApiConnection};
use crate::client::Connection;
use crate::latency::Latencies;
use crate::open_loop::Schedule;
use crate::process::Process;
use crate::provision::{self, Phone};
use crate::report::Report;
use crate::{Target, clock};

const READ_BUFFER_BYTES: usize = 4096;
/// Time for all sockets to be told what is there.
const SNAPSHOTS: Duration = Duration::from_secs(60);
/// Posting before it is measured.
const WARM_UP: Duration = Duration::from_secs(3);
/// How long the last updates may take after the phones have stopped.
const LAST_ONES: Duration = Duration::from_secs(2);
/// Clusters lie this far apart, degrees: a screen that looks at one sees no other.
const APART_DEG: f64 = 0.3;
/// A screen shows this much around the middle of a cluster, degrees: within one cell.
const VIEW_DEG: f64 = 0.001;
/// Header and entry of a frame of positions, bytes.
const HEADER_BYTES: usize = 40;
const ENTRY_BYTES: usize = 16;
const DELTA: u8 = 2;

/// Screens that look at a few couriers each.
#[derive(Args, Clone, Serialize)]
pub struct FleetArgs {
    /// Screens.
    #[arg(long, default_value_t = 2000)]
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
    /// Seconds of a run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Measures and prints.
pub async fn run(target: &Target, args: &FleetArgs) -> anyhow::Result<()> {
    let mut report = Report::new("Phones' fixes to dispatchers' screens", args);
    let api = Api::new(&target.url, &target.api_key)?;
    let server = match target.pid {
        Some(pid) => Process { pid },
        None => Process::listening_on(api.address.port())?,
    };
    let phones = provision::phones(&api, args.couriers * args.clusters).await?;
    post(&api, args, &phones, Duration::from_secs(2)).await?;
    let before_mib = server.rss_mib()?;
    let heard = Arc::new(Heard::default());
    let screens = open_screens(&api, args, &heard).await?;
    let open = screens.len() as f64;
    report.add("screens", "", open);
    let mib = server.rss_mib()? - before_mib;
    report.add("memory a screen", "KiB", mib * 1024.0 / open);
    post(&api, args, &phones, WARM_UP).await?;
    tokio::time::sleep(LAST_ONES).await;
    heard.take()?;
    for run in 1..=args.runs {
        heard.measuring.store(true, Ordering::Relaxed);
        let span = server.begin()?;
        let began = Instant::now();
        let sent = post(&api, args, &phones, Duration::from_secs(args.seconds)).await?;
        let seconds = began.elapsed().as_secs_f64();
        let used = span.end()?;
        tokio::time::sleep(LAST_ONES).await;
        heard.measuring.store(false, Ordering::Relaxed);
        let told = heard.take()?;
        let expected = sent * args.sockets as u64 / args.clusters as u64;
        eprintln!(
            "run {run} of {}: {} of {expected} updates",
            args.runs, told.updates
        );
        report.add("fixes posted", "1/s", sent as f64 / seconds);
        report.add("frames to screens", "1/s", told.frames as f64 / seconds);
        report.add("updates to screens", "1/s", told.updates as f64 / seconds);
        let share = told.updates as f64 / expected as f64;
        report.add("updates shown", "share", share);
        let a_frame = told.updates as f64 / told.frames as f64;
        report.add("updates a frame", "", a_frame);
        let bytes = told.bytes as f64 / told.updates as f64;
        report.add("traffic an update", "B", bytes);
        report.add("frames left out", "", told.gaps as f64);
        let p = told.latencies.percentiles();
        report.add("tick to screen p50", "ms", p.p50_ms);
        report.add("tick to screen p99", "ms", p.p99_ms);
        report.add("tick to screen max", "ms", p.max_ms);
        report.add("server CPU", "cores", used.cores);
        report.add("server memory", "MiB", used.rss_mib);
    }
    for screen in screens {
        if screen.is_finished() {
            screen.await??;
        } else {
            screen.abort();
        }
    }
    report.print(target.json);
    Ok(())
}

/// The middle of a cluster, latitude and longitude.
fn middle(cluster: usize) -> (f64, f64) {
    let (row, column) = (cluster / 20, cluster % 20);
    (
        30.0 + row as f64 * APART_DEG,
        10.0 + column as f64 * APART_DEG,
    )
}

/// Every courier posts for a while, spread over time. Answers how many fixes were sent.
async fn post(
    api: &Api,
    args: &FleetArgs,
    phones: &[Phone],
    span: Duration,
) -> anyhow::Result<u64> {
    let began = Instant::now();
    let each = (span.as_secs_f64() * args.rate).round() as u64;
    let mut tasks = Vec::new();
    for (which, phone) in phones.iter().enumerate() {
        let mut connection = Connection::open(api.address).await?;
        let rate = phones.len() as f64 * args.rate;
        let mut schedule = Schedule::new(began, rate, which, phones.len());
        let (lat, lon) = middle(which % args.clusters);
        let head = format!(
            "POST /v1/positions HTTP/1.1\r\nHost: {}\r\nAuthorization: Bearer {}\r\n\
             Content-Type: application/json\r\n",
            api.host, phone.token
        );
        tasks.push(tokio::spawn(async move {
            for step in 0..each {
                schedule.next().await;
                let lat = lat + (step % 20) as f64 * 1e-5;
                let time = clock::now_ms();
                let body = format!(r#"{{"fix_time":{time},"lat":{lat:.6},"lon":{lon:.6}}}"#);
                let request = format!("{head}Content-Length: {}\r\n\r\n{body}", body.len());
                connection.send(request.as_bytes()).await?;
                let answer = connection.answer().await?;
                if answer.status != 200 {
                    bail!("an upload was answered {}", answer.status);
                }
            }
            Ok(each)
        }));
    }
    let mut sent = 0;
    for task in tasks {
        sent += task.await??;
    }
    Ok(sent)
}

/// What all screens heard.
#[derive(Default)]
struct Heard {
    measuring: AtomicBool,
    frames: AtomicU64,
    updates: AtomicU64,
    bytes: AtomicU64,
    /// Sequence numbers that a screen was not told: merged into later ones.
    gaps: AtomicU64,
    /// Screens that have had their snapshot.
    ready: AtomicU64,
    latencies: std::sync::Mutex<Option<Latencies>>,
}

/// Counted since it was last taken.
struct Told {
    frames: u64,
    updates: u64,
    bytes: u64,
    gaps: u64,
    latencies: Latencies,
}

impl Heard {
    fn take(&self) -> anyhow::Result<Told> {
        let latencies = self.latencies.lock().ok().and_then(|mut held| held.take());
        Ok(Told {
            frames: self.frames.swap(0, Ordering::Relaxed),
            updates: self.updates.swap(0, Ordering::Relaxed),
            bytes: self.bytes.swap(0, Ordering::Relaxed),
            gaps: self.gaps.swap(0, Ordering::Relaxed),
            latencies: latencies.map_or_else(Latencies::new, Ok)?,
        })
    }

    fn hear(&self, frame: &[u8], last_seq: &mut Option<u32>) -> anyhow::Result<()> {
        if frame.len() < HEADER_BYTES {
            bail!("a frame without a header");
        }
        let u32_at = |at: usize| frame[at..at + 4].try_into().map(u32::from_le_bytes);
        let seq = u32_at(16)?;
        let server_ms = u64::from_le_bytes(frame[20..28].try_into()?);
        if !self.measuring.load(Ordering::Relaxed) || frame[0] != DELTA {
            *last_seq = Some(seq);
            return Ok(());
        }
        let expected = last_seq.map_or(seq, |last| last + 1);
        self.gaps
            .fetch_add(u64::from(seq.saturating_sub(expected)), Ordering::Relaxed);
        *last_seq = Some(seq);
        let updates = ((frame.len() - HEADER_BYTES) / ENTRY_BYTES) as u64;
        self.frames.fetch_add(1, Ordering::Relaxed);
        self.updates.fetch_add(updates, Ordering::Relaxed);
        self.bytes.fetch_add(frame.len() as u64, Ordering::Relaxed);
        let late = Duration::from_millis(clock::now_ms().saturating_sub(server_ms));
        if let Ok(mut held) = self.latencies.lock() {
            match &mut *held {
                Some(latencies) => latencies.add(late),
                none => none.insert(Latencies::new()?).add(late),
            }
        }
        Ok(())
    }
}

type Screens = Vec<tokio::task::JoinHandle<anyhow::Result<()>>>;

/// Opens all screens and waits until each has been told what is there.
async fn open_screens(api: &Api, args: &FleetArgs, heard: &Arc<Heard>) -> anyhow::Result<Screens> {
    let mut screens = Vec::new();
    let mut tickets = api.connect().await?;
    for n in 0..args.sockets {
        let socket = open_screen(api, &mut tickets, n % args.clusters).await?;
        screens.push(tokio::spawn(watch(socket, heard.clone())));
    }
    let all = async {
        while heard.ready.load(Ordering::Relaxed) < args.sockets as u64 {
            tokio::time::sleep(Duration::from_millis(50)).await;
        }
    };
    let waited = tokio::time::timeout(SNAPSHOTS, all).await;
    waited.context("not every screen was told what is there")?;
    Ok(screens)
}

type Socket = WebSocketStream<TcpStream>;

async fn open_screen(
    api: &Api,
    tickets: &mut ApiConnection,
    cluster: usize,
) -> anyhow::Result<Socket> {
    let ticket = tickets
        .call("POST", "/v1/fleet/ticket", &Value::Null)
        .await?;
    let stream = TcpStream::connect(api.address)
        .await
        .context("connecting a screen")?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let url = format!("ws://{}/ws/fleet", api.host);
    let (mut socket, _) =
        tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
    let hello = json!({ "type": "hello", "ticket": ticket["ticket"] });
    socket.send(Message::text(hello.to_string())).await?;
    let (lat, lon) = middle(cluster);
    let bbox = [
        lon - VIEW_DEG,
        lat - VIEW_DEG,
        lon + VIEW_DEG,
        lat + VIEW_DEG,
    ];
    let view = json!({ "type": "view", "bbox": bbox, "zoom": 15 });
    socket.send(Message::text(view.to_string())).await?;
    Ok(socket)
}

async fn watch(mut socket: Socket, heard: Arc<Heard>) -> anyhow::Result<()> {
    let mut last_seq = None;
    let mut ready = false;
    while let Some(message) = socket.next().await {
        match message? {
            Message::Binary(frame) => {
                let couriers = frame.len() > HEADER_BYTES;
                // Cells beside the cluster's are told as well, and stay empty.
                if couriers {
                    heard.hear(&frame, &mut last_seq)?;
                }
                if couriers && !std::mem::replace(&mut ready, true) {
                    heard.ready.fetch_add(1, Ordering::Relaxed);
                }
            }
            Message::Close(frame) => bail!("the server closed a screen: {frame:?}"),
            _ => {}
        }
    }
    bail!("the server closed a screen")
}
