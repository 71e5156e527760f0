//! From a phone's POST to the customers' sockets.

use std::collections::HashMap;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use serde::{Deserialize, Serialize};
use time::OffsetDateTime;
use time::macros::format_description;
use tokio::net::TcpStream;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;
use tokio_tungstenite::tungstenite::protocol::WebSocketConfig;

use crate::api::Api;
use crate::client::Connection;
use crate::latency::Latencies;
use crate::open_loop::Schedule;
use crate::process::Process;
use crate::provision::{self, Watched};
use crate::report::Report;
use crate::template::Template;
use crate::{Target, clock};

/// Enough for a message to a customer; the default is far more.
const READ_BUFFER_BYTES: usize = 4096;
/// Seconds of posting before it is measured.
const WARM_UP_S: u64 = 3;
/// How long the last fixes may take to arrive after the phones have stopped.
const LAST_ONES: Duration = Duration::from_secs(2);
/// Time for a socket's first answer.
const SNAPSHOT: Duration = Duration::from_secs(30);

/// One socket a courier.
#[derive(Args, Clone, Serialize)]
pub struct EndToEndArgs {
    /// Couriers, each with a phone, a delivery and a customer who watches.
    #[arg(long, default_value_t = 200)]
    couriers: usize,
    /// Seconds of a run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Many sockets a courier.
#[derive(Args, Clone, Serialize)]
pub struct FanoutArgs {
    /// Couriers, each with a phone and a delivery.
    #[arg(long, default_value_t = 100)]
    couriers: usize,
    /// Sockets that watch each of them.
    #[arg(long, default_value_t = 20)]
    sockets: usize,
    /// Seconds of a run.
    #[arg(long, default_value_t = 20)]
    seconds: u64,
    /// Runs; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Measures and prints.
pub async fn end_to_end(target: &Target, args: &EndToEndArgs) -> anyhow::Result<()> {
    let shape = Shape {
        couriers: args.couriers,
        sockets: 1,
        seconds: args.seconds,
    };
    let title = "POST to customer's socket, one socket a courier, one fix a second each";
    measure(target, shape, args.runs, Report::new(title, args)).await
}

/// Measures and prints.
pub async fn fanout(target: &Target, args: &FanoutArgs) -> anyhow::Result<()> {
    let shape = Shape {
        couriers: args.couriers,
        sockets: args.sockets,
        seconds: args.seconds,
    };
    let title = "Fan-out to customers' sockets, one fix a second a courier";
    measure(target, shape, args.runs, Report::new(title, args)).await
}

#[derive(Clone, Copy)]
struct Shape {
    couriers: usize,
    sockets: usize,
    seconds: u64,
}

async fn measure(
    target: &Target,
    shape: Shape,
    runs: usize,
    mut report: Report,
) -> anyhow::Result<()> {
    let api = Api::new(&target.url, &target.api_key)?;
    let server = match target.pid {
        Some(pid) => Process { pid },
        None => Process::listening_on(api.address.port())?,
    };
    eprintln!(
        "making {} couriers with a delivery under way each",
        shape.couriers
    );
    let watched = provision::watched(&api, shape.couriers).await?;
    let before_mib = server.rss_mib()?;
    let mut sockets = Vec::new();
    let posts: Vec<Arc<Posts>> = watched.iter().map(|_| Arc::default()).collect();
    for (courier, posts) in watched.iter().zip(&posts) {
        for _ in 0..shape.sockets {
            let socket = open_socket(&api, &courier.link).await?;
            sockets.push(tokio::spawn(watch(socket, posts.clone())));
        }
    }
    // A courier's first fix makes the dot appear, by a snapshot: it is not an update.
    post_for(
        &api,
        Shape {
            seconds: WARM_UP_S,
            ..shape
        },
        &watched,
        &posts,
    )
    .await?;
    tokio::time::sleep(LAST_ONES).await;
    for posts in &posts {
        drop(posts.take_latencies()?);
    }
    let open = (shape.couriers * shape.sockets) as f64;
    report.add("sockets", "", open);
    report.add(
        "memory a socket",
        "KiB",
        (server.rss_mib()? - before_mib) * 1024.0 / open,
    );
    for run in 1..=runs {
        let frames = frames(&posts);
        let span = server.begin()?;
        let began = Instant::now();
        let sent = post_for(&api, shape, &watched, &posts).await?;
        let seconds = began.elapsed().as_secs_f64();
        let used = span.end()?;
        tokio::time::sleep(LAST_ONES).await;
        let mut latencies = Latencies::new()?;
        for posts in &posts {
            latencies.merge(&posts.take_latencies()?)?;
        }
        let expected = sent * shape.sockets as u64;
        let arrived = latencies.len();
        eprintln!("run {run} of {runs}: {arrived} of {expected} fixes arrived");
        report.add("fixes sent", "1/s", sent as f64 / seconds);
        report.add(
            "messages to sockets",
            "1/s",
            (self::frames(&posts) - frames) as f64 / seconds,
        );
        report.add("fixes shown", "share", arrived as f64 / expected as f64);
        let p = latencies.percentiles();
        report.add("POST to socket p50", "ms", p.p50_ms);
        report.add("POST to socket p90", "ms", p.p90_ms);
        report.add("POST to socket p99", "ms", p.p99_ms);
        report.add("POST to socket max", "ms", p.max_ms);
        report.add("server CPU", "cores", used.cores);
        report.add("server memory", "MiB", used.rss_mib);
    }
    for socket in sockets {
        if socket.is_finished() {
            socket.await??;
        } else {
            socket.abort();
        }
    }
    report.print(target.json);
    Ok(())
}

fn frames(posts: &[Arc<Posts>]) -> u64 {
    posts.iter().map(|p| p.frames.load(Ordering::Relaxed)).sum()
}

/// What was posted for one courier, and when; and how late it was seen.
#[derive(Default)]
struct Posts {
    sent: Mutex<HashMap<String, Instant>>,
    seen: Mutex<Option<Latencies>>,
    frames: AtomicU64,
}

impl Posts {
    fn sent(&self, fix_time: String, due: Instant) {
        if let Ok(mut sent) = self.sent.lock() {
            sent.insert(fix_time, due);
        }
    }

    fn saw(&self, fix_time: &str) -> anyhow::Result<()> {
        let now = Instant::now();
        let due = self
            .sent
            .lock()
            .ok()
            .and_then(|sent| sent.get(fix_time).copied());
        if let Some(due) = due
            && let Ok(mut seen) = self.seen.lock()
        {
            let seen = match &mut *seen {
                Some(seen) => seen,
                none => none.insert(Latencies::new()?),
            };
            seen.add(now - due);
        }
        Ok(())
    }

    fn take_latencies(&self) -> anyhow::Result<Latencies> {
        let taken = self.seen.lock().ok().and_then(|mut seen| seen.take());
        if let Ok(mut sent) = self.sent.lock() {
            sent.clear();
        }
        taken.map_or_else(Latencies::new, Ok)
    }
}

/// Every courier posts a fix a second, spread over the second. Answers how many were sent.
async fn post_for(
    api: &Api,
    shape: Shape,
    watched: &[Watched],
    posts: &[Arc<Posts>],
) -> anyhow::Result<u64> {
    let began = Instant::now();
    let mut phones = Vec::new();
    for (which, (courier, posts)) in watched.iter().zip(posts).enumerate() {
        let mut connection = Connection::open(api.address).await?;
        let token = courier.phone.token.clone();
        let mut template = Template::new(&api.host, token.len(), 1, which as u64);
        let mut schedule = Schedule::new(began, shape.couriers as f64, which, shape.couriers);
        let posts = posts.clone();
        phones.push(tokio::spawn(async move {
            for _ in 0..shape.seconds {
                let due = schedule.next().await;
                let fix_time = clock::now_ms();
                posts.sent(rfc3339(fix_time)?, due);
                connection.send(template.fill(&token, fix_time)).await?;
                let answer = connection.answer().await?;
                if answer.status != 200 {
                    bail!("an upload was answered {}", answer.status);
                }
            }
            Ok(shape.seconds)
        }));
    }
    let mut sent = 0;
    for phone in phones {
        sent += phone.await??;
    }
    Ok(sent)
}

type Socket = WebSocketStream<TcpStream>;

/// Opens a customer's socket and waits for its snapshot.
async fn open_socket(api: &Api, link: &str) -> anyhow::Result<Socket> {
    let stream = TcpStream::connect(api.address)
        .await
        .context("connecting a socket")?;
    stream.set_nodelay(true)?;
    let config = WebSocketConfig::default().read_buffer_size(READ_BUFFER_BYTES);
    let url = format!("ws://{}/ws/track", api.host);
    let (mut socket, _) =
        tokio_tungstenite::client_async_with_config(url, stream, Some(config)).await?;
    let hello = serde_json::json!({ "type": "hello", "token": link });
    socket.send(Message::text(hello.to_string())).await?;
    let first = tokio::time::timeout(SNAPSHOT, socket.next());
    match first.await.context("no snapshot came")? {
        Some(Ok(Message::Text(text))) if text.contains("\"snapshot\"") => Ok(socket),
        other => bail!("a socket was answered {other:?} instead of a snapshot"),
    }
}

#[derive(Deserialize)]
struct Update<'a> {
    r#type: &'a str,
    fix_time: Option<&'a str>,
}

async fn watch(mut socket: Socket, posts: Arc<Posts>) -> anyhow::Result<()> {
    while let Some(message) = socket.next().await {
        if let Message::Text(text) = message? {
            posts.frames.fetch_add(1, Ordering::Relaxed);
            let update: Update<'_> = serde_json::from_str(&text)?;
            if update.r#type == "fix"
                && let Some(fix_time) = update.fix_time
            {
                posts.saw(fix_time)?;
            }
        }
    }
    bail!("the server closed a socket")
}

/// As the server writes it: UTC with milliseconds.
fn rfc3339(unix_ms: u64) -> anyhow::Result<String> {
    let form =
        format_description!("[year]-[month]-[day]T[hour]:[minute]:[second].[subsecond digits:3]Z");
    let at = OffsetDateTime::from_unix_timestamp_nanos(i128::from(unix_ms) * 1_000_000)?;
    Ok(at.format(form)?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn writes_times_as_the_server_does() {
        assert_eq!(
            rfc3339(1_795_356_000_023).expect("a time"),
            "2026-11-22T14:00:00.023Z"
        );
    }
}
