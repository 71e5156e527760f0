//! A dispatcher who looks about: how long until a changed view is filled?

use std::collections::HashSet;
use std::io::{Read, Write};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};
use serde_json::{Value, json};

use super::places::Area;
use super::screens::Head;
use crate::api::Api;
use crate::latency::Latencies;
use crate::swarm::{self, Said};

/// Zooms that are looked at in turn: from single streets to the whole world.
const ZOOMS: [f64; 8] = [15.0, 14.0, 13.0, 12.0, 10.0, 8.0, 6.0, 2.0];
/// A screen of 1,920 × 1,080 shows this much at zoom 0, degrees of longitude, with tiles of 512.
const WIDTH_DEG: f64 = 1920.0 / 512.0 * 360.0;
/// Pause between two views: a hand is not quicker, and the server wants no more.
const PAUSE: Duration = Duration::from_millis(150);
const READ_BYTES: usize = 64 * 1024;

/// What it took.
pub struct Panned {
    pub latencies: Latencies,
    /// Bytes of all answers.
    pub bytes: u64,
}

/// Changes the view `times` times within `area`; each is timed until every cell that came into view
/// has been told.
pub fn pan(api: &Api, hello: String, area: &Area, times: usize) -> anyhow::Result<Panned> {
    let (mut stream, mut unread) =
        swarm::connect(api.address, &api.host, "/ws/fleet", &[hello], None)?;
    let mut panned = Panned {
        latencies: Latencies::new()?,
        bytes: 0,
    };
    for time in 0..times {
        std::thread::sleep(PAUSE);
        let zoom = ZOOMS[time % ZOOMS.len()];
        let (lat, lon) = area.place(time * 7919);
        let view = json!({ "type": "view", "bbox": bbox(lat, lon, zoom), "zoom": zoom });
        let frame = swarm::text(&view.to_string());
        let mut open = Open::default();
        drain(&mut stream, &mut unread)?;
        let began = Instant::now();
        stream.write_all(&frame)?;
        while !open.is_filled() {
            let read = fill(&mut stream, &mut unread)?;
            panned.bytes += read as u64;
            hear(&mut stream, &mut unread, &mut open)?;
        }
        panned.latencies.add(began.elapsed());
    }
    Ok(panned)
}

fn bbox(lat: f64, lon: f64, zoom: f64) -> [f64; 4] {
    let half = (WIDTH_DEG / zoom.exp2() / 2.0).min(180.0);
    let up = (half * 1080.0 / 1920.0 * lat.to_radians().cos()).min(50.0);
    [lon - half, lat - up, lon + half, lat + up]
}

/// Cells that came into view and were not told yet.
#[derive(Default)]
struct Open {
    named: bool,
    waiting: HashSet<u64>,
}

impl Open {
    fn is_filled(&self) -> bool {
        self.named && self.waiting.is_empty()
    }

    fn hear_json(&mut self, message: &Value) -> anyhow::Result<()> {
        let id = |value: &Value| {
            let hex = value.as_str().context("a cell's id is text")?;
            u64::from_str_radix(hex, 16).context("a cell's id is hexadecimal")
        };
        match message["type"].as_str() {
            Some("topics") => {
                self.named = true;
                for topic in message["add"].as_array().into_iter().flatten() {
                    self.waiting.insert(id(topic)?);
                }
            }
            Some("cells") if message["snapshot"] == true => {
                self.waiting.remove(&id(&message["topic"])?);
            }
            _ => {}
        }
        Ok(())
    }
}

/// Waits for more.
fn fill(stream: &mut std::net::TcpStream, unread: &mut Vec<u8>) -> anyhow::Result<usize> {
    let at = unread.len();
    unread.resize(at + READ_BYTES, 0);
    let read = stream
        .read(&mut unread[at..])
        .context("no answer to a view")?;
    unread.truncate(at + read);
    if read == 0 {
        bail!("the server closed the socket without a word");
    }
    Ok(read)
}

/// Throws away what came before the view was changed.
fn drain(stream: &mut std::net::TcpStream, unread: &mut Vec<u8>) -> anyhow::Result<()> {
    stream.set_nonblocking(true)?;
    let mut part = vec![0; READ_BYTES];
    let drained = loop {
        match stream.read(&mut part) {
            Ok(0) => bail!("the server closed the socket without a word"),
            Ok(read) => unread.extend_from_slice(&part[..read]),
            Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => break Ok(()),
            Err(error) => break Err(error.into()),
        }
    };
    stream.set_nonblocking(false)?;
    hear(stream, unread, &mut Open::default())?;
    drained
}

fn hear(
    stream: &mut std::net::TcpStream,
    unread: &mut Vec<u8>,
    open: &mut Open,
) -> anyhow::Result<()> {
    let mut at = 0;
    while let Some((said, length)) = swarm::split(&unread[at..])? {
        match said {
            Said::Text(text) => open.hear_json(&serde_json::from_slice(text)?)?,
            Said::Binary(frame) => {
                let head = Head::of(frame)?;
                if !head.is_delta {
                    open.waiting.remove(&head.topic);
                }
            }
            Said::Ping(payload) => stream.write_all(&swarm::pong(payload))?,
            Said::Close(code, reason) => bail!(
                "the server closed the socket with {code} {}",
                String::from_utf8_lossy(reason)
            ),
            Said::Pong => {}
        }
        at += length;
    }
    unread.drain(..at);
    Ok(())
}
