//! What goes wrong during a soak, one thing after another at random times.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::{Duration, Instant};

use futures_util::SinkExt;
use rand::RngExt;
use rand::rngs::StdRng;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio_tungstenite::tungstenite::Message;

use super::phone::Orders;
use crate::api::Api;
use crate::client::Connection;
use crate::progress::Progress;
use crate::provision::Watched;
use crate::stand::{Server, Stand, signal};

/// Sockets that are opened and not read.
const SLOW_READERS: usize = 100;
/// How long Postgres stands still.
const STANDSTILL: Duration = Duration::from_secs(8);
/// Requests of a burst of nonsense.
const NONSENSE: usize = 200;

/// A kind of fault.
#[derive(Debug, Clone, Copy)]
enum Fault {
    KillServer,
    RestartServer,
    KillPostgres,
    RestartPostgres,
    FreezePostgres,
    SlowReaders,
    Nonsense,
    Reconnects,
}

const FAULTS: [(Fault, &str); 8] = [
    (Fault::KillServer, "kill -9 of the server"),
    (Fault::RestartServer, "restarts of the server"),
    (Fault::KillPostgres, "kill -9 of Postgres"),
    (Fault::RestartPostgres, "restarts of Postgres"),
    (Fault::FreezePostgres, "standstills of Postgres"),
    (Fault::SlowReaders, "crowds that do not read"),
    (Fault::Nonsense, "bursts of bad input"),
    (Fault::Reconnects, "reconnects of all phones"),
];

/// Where faults happen.
pub struct Scene<'a> {
    pub stand: &'a mut Stand,
    pub orders: &'a Orders,
    pub watched: &'a [Watched],
    pub chance: StdRng,
}

/// Faults for `time`, on average one every `every`. Answers how many of each kind there were, and the
/// server that runs at the end.
pub async fn happen(
    scene: &mut Scene<'_>,
    mut server: Server,
    time: Duration,
    every: Duration,
) -> anyhow::Result<(BTreeMap<&'static str, u64>, Server)> {
    let began = Instant::now();
    let progress = Progress::over(time, "soak");
    let mut counts: BTreeMap<&str, u64> = FAULTS.iter().map(|(_, name)| (*name, 0)).collect();
    let mut slow = Vec::new();
    let mut bag: Vec<(Fault, &str)> = Vec::new();
    loop {
        let pause = every.mul_f64(scene.chance.random_range(0.5..1.5));
        if began.elapsed() + pause >= time {
            tokio::time::sleep(time.saturating_sub(began.elapsed())).await;
            progress.done();
            return Ok((counts, server));
        }
        tokio::time::sleep(pause).await;
        // Each kind comes once before any comes again.
        if bag.is_empty() {
            bag.extend(FAULTS);
        }
        let (fault, name) = bag.swap_remove(scene.chance.random_range(0..bag.len()));
        *counts.entry(name).or_default() += 1;
        let total: u64 = counts.values().sum();
        progress.say(began.elapsed(), format!("{total} faults, now: {name}"));
        server = strike(scene, fault, server, &mut slow).await?;
    }
}

async fn strike(
    scene: &mut Scene<'_>,
    fault: Fault,
    server: Server,
    slow: &mut Vec<Slow>,
) -> anyhow::Result<Server> {
    let api = Api::new(&server.target.url, &server.target.api_key)?;
    match fault {
        Fault::KillServer => {
            server.kill_9().await?;
            return scene.stand.serve("", &[]).await;
        }
        Fault::RestartServer => {
            server.stop().await?;
            return scene.stand.serve("", &[]).await;
        }
        Fault::KillPostgres => signal(scene.stand.postmaster()?, Signal::KILL)?,
        Fault::RestartPostgres => signal(scene.stand.postmaster()?, Signal::INT)?,
        Fault::FreezePostgres => {
            let all = scene.stand.postmaster()?.with_children();
            all.iter().try_for_each(|p| signal(*p, Signal::STOP))?;
            tokio::time::sleep(STANDSTILL).await;
            // One that ended in its sleep is no loss.
            for process in all {
                signal(process, Signal::CONT).unwrap_or_default();
            }
        }
        Fault::SlowReaders => {
            slow.clear();
            for i in 0..SLOW_READERS {
                let link = &scene.watched[i % scene.watched.len()].link;
                if let Ok(socket) = Slow::open(&api, link).await {
                    slow.push(socket);
                }
            }
        }
        Fault::Nonsense => nonsense(&api).await,
        Fault::Reconnects => {
            scene.orders.storm.fetch_add(1, Ordering::Relaxed);
        }
    }
    Ok(server)
}

/// A socket that asks for updates and never reads one.
struct Slow(#[expect(dead_code, reason = "open as long as it is held")] Box<dyn Send>);

impl Slow {
    async fn open(api: &Api, link: &str) -> anyhow::Result<Self> {
        let stream = TcpStream::connect(api.address).await?;
        let url = format!("ws://{}/ws/track", api.host);
        let (mut socket, _) = tokio_tungstenite::client_async(url, stream).await?;
        let hello = serde_json::json!({ "type": "hello", "token": link });
        socket.send(Message::text(hello.to_string())).await?;
        Ok(Self(Box::new(socket)))
    }
}

/// Requests that nobody should make; what they are answered is their affair.
async fn nonsense(api: &Api) {
    let huge = "x".repeat(2 << 20);
    for i in 0..NONSENSE {
        let Ok(mut connection) = Connection::open(api.address).await else {
            return;
        };
        let request: String = match i % 5 {
            0 => "POST /v1/positions HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n[{}]}".into(),
            1 => "GET /osmand?id=nobody&lat=91&lon=abc HTTP/1.1\r\nHost: x\r\n\r\n".into(),
            2 => "\x16\x03\x01\x02\x00 not HTTP at all\r\n\r\n".into(),
            3 => "POST /v1/positions HTTP/1.1\r\nHost: x\r\nContent-Length: 99\r\n\r\n[".to_owned(),
            _ => format!(
                "POST /owntracks HTTP/1.1\r\nHost: x\r\nContent-Length: {}\r\n\r\n{huge}",
                huge.len()
            ),
        };
        let send = connection.send(request.as_bytes());
        // Refused in the middle of it, most likely.
        let sent = tokio::time::timeout(Duration::from_secs(1), send).await;
        drop((sent, connection));
    }
}
