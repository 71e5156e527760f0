//! Strangers and revocation: what wrong tokens cost those with right ones, and how soon a socket is
//! closed whose link or key was revoked.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use clap::Args;
use futures_util::{SinkExt, StreamExt};
use serde::Serialize;
use serde_json::{Value, json};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;
use tokio_tungstenite::WebSocketStream;
use tokio_tungstenite::tungstenite::Message;

use crate::api::{Api, ApiConnection};
use crate::client::Connection;
use crate::latency::Latencies;
use crate::open_loop::Schedule;
use crate::process::Process;
use crate::provision;
use crate::report::Report;
use crate::template::Template;
use crate::{Target, clock};

/// Between two requests with a right token.
const RIGHT_EVERY: Duration = Duration::from_millis(5);
/// A socket that is not closed by then is never closed.
const CLOSED_WITHIN: Duration = Duration::from_secs(30);

/// Wrong tokens.
#[derive(Args, Clone, Serialize)]
pub struct StrangersArgs {
    /// Requests with a token of the right form that nobody holds, a run.
    #[arg(long, default_value_t = 100_000)]
    wrong: usize,
    /// … so many a second; 0: as many as go through.
    #[arg(long, default_value_t = 10_000)]
    rate: usize,
    /// Connections that they come on.
    #[arg(long, default_value_t = 16)]
    connections: usize,
    /// Seconds in which requests with right tokens are measured alone.
    #[arg(long, default_value_t = 10)]
    seconds: u64,
    /// Runs; the median is shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
}

/// Measures and prints.
pub async fn strangers(target: &Target, args: &StrangersArgs) -> anyhow::Result<()> {
    let api = Api::new(&target.url, &target.api_key)?;
    let server = match target.pid {
        Some(pid) => Process { pid },
        None => Process::listening_on(api.address.port())?,
    };
    let phones = provision::phones(&api, 1).await?;
    let phone = phones.first().context("a phone")?;
    let title = "Requests with right tokens, alone and while strangers guess";
    let mut report = Report::new(title, args);
    for run in 1..=args.runs {
        let alone = {
            let measured = Right::begin(&api, &phone.token).await?;
            tokio::time::sleep(Duration::from_secs(args.seconds)).await;
            measured.end().await?
        };
        let span = server.begin()?;
        let began = Instant::now();
        let measured = Right::begin(&api, &phone.token).await?;
        guess(&api, args, run).await?;
        let seconds = began.elapsed().as_secs_f64();
        let beside = measured.end().await?;
        let used = span.end()?;
        report.add("wrong tokens", "1/s", args.wrong as f64 / seconds);
        report.add("server CPU meanwhile", "cores", used.cores);
        report.add("server memory", "MiB", used.rss_mib);
        for (alone, beside, names) in [(&alone.0, &beside.0, KEY), (&alone.1, &beside.1, UPLOAD)] {
            let (alone, beside) = (alone.percentiles(), beside.percentiles());
            report.add(names[0], "ms", alone.p50_ms);
            report.add(names[1], "ms", beside.p50_ms);
            report.add(names[2], "times", beside.p50_ms / alone.p50_ms);
            report.add(names[3], "ms", alone.p99_ms);
            report.add(names[4], "ms", beside.p99_ms);
        }
        eprintln!("run {run} of {}", args.runs);
    }
    report.print(target.json);
    Ok(())
}

const KEY: [&str; 5] = [
    "key p50 alone",
    "key p50 beside",
    "key p50 slower",
    "key p99 alone",
    "key p99 beside",
];
const UPLOAD: [&str; 5] = [
    "upload p50 alone",
    "upload p50 beside",
    "upload p50 slower",
    "upload p99 alone",
    "upload p99 beside",
];

/// Requests with right tokens, one after the other on a connection each: who an API key is (which
/// asks nobody but the Directory), and an upload of one fix.
struct Right {
    stop: Arc<AtomicBool>,
    key: JoinHandle<anyhow::Result<Latencies>>,
    upload: JoinHandle<anyhow::Result<Latencies>>,
}

impl Right {
    async fn begin(api: &Api, token: &str) -> anyhow::Result<Self> {
        let stop = Arc::new(AtomicBool::new(false));
        let asked = api.get("/v1/me").into_bytes();
        let key = repeat(api, stop.clone(), move || asked.clone()).await?;
        let mut template = Template::new(&api.host, token.len(), 1, 7);
        let token = token.to_owned();
        let mut fix_time = clock::now_ms();
        let upload = repeat(api, stop.clone(), move || {
            fix_time = clock::now_ms().max(fix_time + 1);
            template.fill(&token, fix_time).to_vec()
        });
        Ok(Self {
            stop,
            key,
            upload: upload.await?,
        })
    }

    async fn end(self) -> anyhow::Result<(Latencies, Latencies)> {
        self.stop.store(true, Ordering::Relaxed);
        Ok((self.key.await??, self.upload.await??))
    }
}

async fn repeat(
    api: &Api,
    stop: Arc<AtomicBool>,
    mut request: impl FnMut() -> Vec<u8> + Send + 'static,
) -> anyhow::Result<JoinHandle<anyhow::Result<Latencies>>> {
    let mut connection = Connection::open(api.address).await?;
    Ok(tokio::spawn(async move {
        let mut latencies = Latencies::new()?;
        while !stop.load(Ordering::Relaxed) {
            tokio::time::sleep(RIGHT_EVERY).await;
            let request = request();
            let began = Instant::now();
            connection.send(&request).await?;
            let answer = connection.answer().await?;
            latencies.add(began.elapsed());
            if answer.status != 200 {
                bail!("a right token was answered {}", answer.status);
            }
        }
        Ok(latencies)
    }))
}

/// Sends all the wrong tokens, each another one.
async fn guess(api: &Api, args: &StrangersArgs, run: usize) -> anyhow::Result<()> {
    let began = Instant::now();
    let mut strangers = Vec::new();
    for which in 0..args.connections {
        let mut connection = Connection::open(api.address).await?;
        let mut template = Template::new(&api.host, 36, 1, which as u64);
        let (rate, connections) = (args.rate as f64, args.connections);
        let mut schedule = (args.rate > 0).then(|| Schedule::new(began, rate, which, connections));
        let guesses = (which..args.wrong).step_by(connections);
        strangers.push(tokio::spawn(async move {
            for n in guesses {
                if let Some(schedule) = &mut schedule {
                    schedule.next().await;
                }
                let token = format!("wld_{:032}", run * 10_000_000 + n);
                connection
                    .send(template.fill(&token, clock::now_ms()))
                    .await?;
                let answer = connection.answer().await?;
                if !matches!(answer.status, 401 | 429) {
                    bail!("a wrong token was answered {}", answer.status);
                }
            }
            Ok(())
        }));
    }
    for stranger in strangers {
        stranger.await??;
    }
    Ok(())
}

/// Links and keys that are revoked while somebody looks through them.
#[derive(Args, Clone, Serialize)]
pub struct RevokeArgs {
    /// Customers' sockets that are open, each through a link of its own.
    #[arg(long, default_value_t = 1_000)]
    sockets: usize,
    /// Of these, so many links are revoked; and as many keys with a dispatcher's socket each.
    #[arg(long, default_value_t = 200)]
    revoked: usize,
}

/// Measures and prints.
pub async fn revoke(target: &Target, args: &RevokeArgs) -> anyhow::Result<()> {
    let api = Api::new(&target.url, &target.api_key)?;
    eprintln!(
        "making {} couriers with a delivery under way each",
        args.sockets
    );
    let watched = provision::watched(&api, args.sockets).await?;
    let mut calls = api.connect().await?;
    let mut customers = Vec::new();
    for one in &watched {
        let hello = json!({"type": "hello", "token": one.link});
        let path = format!("/v1/deliveries/{}/links", one.phone.courier);
        customers.push((watch(&api, "/ws/track", &hello).await?, path));
    }
    let mut report = Report::new("From the revocation to the closed socket", args);
    let mut latencies = Latencies::new()?;
    for (socket, path) in customers.iter_mut().take(args.revoked) {
        let links = calls.call("GET", path, &Value::Null).await?;
        let id = text(&links["items"][0], "id")?;
        let taken = revoked(&mut calls, &format!("{path}/{id}"), socket, 4011).await?;
        latencies.add(taken);
    }
    let p = latencies.percentiles();
    report.add("customer's socket p50", "ms", p.p50_ms);
    report.add("customer's socket p99", "ms", p.p99_ms);
    report.add("customer's socket max", "ms", p.max_ms);
    let mut latencies = Latencies::new()?;
    for _ in 0..args.revoked {
        let body = json!({"role": "dispatcher"});
        let key = calls.call("POST", "/v1/api-keys", &body).await?;
        let mut own = api.with_key(&text(&key, "key")?).connect().await?;
        let ticket = own.call("POST", "/v1/fleet/ticket", &json!({})).await?;
        let hello = json!({"type": "hello", "ticket": ticket["ticket"]});
        let mut socket = watch(&api, "/ws/fleet", &hello).await?;
        let path = format!("/v1/api-keys/{}", text(&key, "id")?);
        latencies.add(revoked(&mut calls, &path, &mut socket, 4011).await?);
    }
    let p = latencies.percentiles();
    report.add("dispatcher's socket p50", "ms", p.p50_ms);
    report.add("dispatcher's socket p99", "ms", p.p99_ms);
    report.add("dispatcher's socket max", "ms", p.max_ms);
    report.print(target.json);
    Ok(())
}

type Socket = WebSocketStream<TcpStream>;

async fn watch(api: &Api, path: &str, hello: &Value) -> anyhow::Result<Socket> {
    let stream = TcpStream::connect(api.address).await?;
    stream.set_nodelay(true)?;
    let url = format!("ws://{}{path}", api.host);
    let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await?;
    socket.send(Message::text(hello.to_string())).await?;
    match socket.next().await {
        Some(Ok(Message::Text(_))) => Ok(socket),
        other => bail!("a socket was answered {other:?}"),
    }
}

/// Revokes what is at `path`; answers how long it took, from the request on, until the close frame.
async fn revoked(
    calls: &mut ApiConnection,
    path: &str,
    socket: &mut Socket,
    code: u16,
) -> anyhow::Result<Duration> {
    let began = Instant::now();
    let closed = async {
        loop {
            match socket.next().await {
                Some(Ok(Message::Close(Some(frame)))) if u16::from(frame.code) == code => {
                    return anyhow::Ok(began.elapsed());
                }
                Some(Ok(Message::Close(_)) | Err(_)) | None => bail!("closed for another reason"),
                Some(Ok(_)) => {}
            }
        }
    };
    let revoke = calls.call("DELETE", path, &Value::Null);
    let both = async { tokio::try_join!(revoke, closed) };
    let (_, took) = tokio::time::timeout(CLOSED_WITHIN, both)
        .await
        .context("a socket was not closed")??;
    Ok(took)
}

fn text(value: &Value, field: &str) -> anyhow::Result<String> {
    let found = value[field].as_str();
    Ok(found
        .with_context(|| format!("the answer has no {field}"))?
        .to_owned())
}
