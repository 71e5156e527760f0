//! Screens that read slowly: how old is what they read, and what do they cost the server?

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use anyhow::{Context, bail};

use super::screens::Head;
use crate::api::Api;
use crate::latency::Latencies;
use crate::swarm::{self, Said};

/// What the kernel keeps for a slow reader, bytes: more would be the reader's own delay.
const RECEIVE_BYTES: usize = 4096;
/// A reader reads this often.
const EVERY: Duration = Duration::from_millis(25);

/// Slow readers on their thread.
pub struct Slow {
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<anyhow::Result<Latencies>>,
}

struct Reader {
    stream: std::net::TcpStream,
    unread: Vec<u8>,
    /// Bytes that it may read by now.
    may: f64,
}

impl Slow {
    /// Opens a reader for each of `tickets` that reads so many bytes a second.
    pub fn start(
        api: &Api,
        tickets: &[String],
        view: &str,
        bytes_a_second: u32,
    ) -> anyhow::Result<Self> {
        let mut readers = Vec::new();
        for hello in tickets {
            let first = [hello.clone(), view.to_owned()];
            let bytes = Some(RECEIVE_BYTES);
            let (stream, unread) =
                swarm::connect(api.address, &api.host, "/ws/fleet", &first, bytes)?;
            stream.set_nonblocking(true)?;
            readers.push(Reader {
                stream,
                unread,
                may: 0.0,
            });
        }
        let stop = Arc::new(AtomicBool::new(false));
        let stopped = stop.clone();
        let thread = std::thread::spawn(move || {
            let mut ages = Latencies::new()?;
            let mut last = Instant::now();
            while !stopped.load(Ordering::Relaxed) {
                std::thread::sleep(EVERY);
                let more = last.elapsed().as_secs_f64() * f64::from(bytes_a_second);
                last = Instant::now();
                for reader in &mut readers {
                    reader.may += more;
                    reader.read(&mut ages)?;
                }
            }
            Ok(ages)
        });
        Ok(Self { stop, thread })
    }

    /// Stops, and answers how old the frames were when their last byte was read.
    pub fn stop(self) -> anyhow::Result<Latencies> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(ages) => ages,
            Err(_) => bail!("the thread of the slow readers panicked"),
        }
    }
}

impl Reader {
    fn read(&mut self, ages: &mut Latencies) -> anyhow::Result<()> {
        let mut part = [0; 1024];
        while self.may >= 1.0 {
            let most = part.len().min(self.may as usize);
            match self.stream.read(&mut part[..most]) {
                Ok(0) => bail!("the server closed a slow reader without a word"),
                Ok(read) => {
                    self.may -= read as f64;
                    self.unread.extend_from_slice(&part[..read]);
                }
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => {
                    // A link cannot make up later for what it did not use.
                    self.may = 0.0;
                }
                Err(error) => return Err(error).context("reading slowly"),
            }
            self.look(ages)?;
        }
        Ok(())
    }

    fn look(&mut self, ages: &mut Latencies) -> anyhow::Result<()> {
        use std::io::Write;
        while let Some((said, length)) = swarm::split(&self.unread)? {
            match said {
                Said::Binary(frame) => {
                    let head = Head::of(frame)?;
                    if head.entries > 0 {
                        ages.add(head.age());
                    }
                }
                Said::Ping(payload) => {
                    let pong = swarm::pong(payload);
                    self.stream.write_all(&pong).context("answering a ping")?;
                }
                Said::Close(code, reason) => bail!(
                    "a slow reader was closed with {code} {}",
                    String::from_utf8_lossy(reason)
                ),
                Said::Text(_) | Said::Pong => {}
            }
            self.unread.drain(..length);
        }
        Ok(())
    }
}
