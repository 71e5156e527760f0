//! Very many WebSockets on one thread, as cheap as they can be: the client shares the machine's
//! cores with the server that it measures. One `epoll`, one read a wake, frames looked at where they
//! lie.

mod frame;

use std::io::{Read, Write};
use std::net::SocketAddr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use mio::net::TcpStream;
use mio::{Events, Interest, Poll, Token};

pub use self::frame::{Said, pong, split, text};
use crate::api::Api;

/// Sockets looked at between two looks at the rest of the world.
const EVENTS: usize = 1024;
const READ_BYTES: usize = 256 * 1024;
/// A swarm looks whether it should stop this often.
const LOOK: Duration = Duration::from_millis(50);
/// Time for a handshake.
const HANDSHAKE: Duration = Duration::from_secs(30);
/// Any sixteen bytes, in base64.
const KEY: &str = "d2F5bG9nLWxvYWQtdGVzdA==";

/// What a socket's owner hears.
pub enum Heard<'a> {
    Text(&'a [u8]),
    Binary(&'a [u8]),
}

/// Listens to all sockets; they are numbered as they were opened.
pub trait Ears: Send + 'static {
    fn hear(&mut self, socket: usize, heard: Heard<'_>) -> anyhow::Result<()>;
}

/// Open sockets.
pub struct Swarm {
    poll: Poll,
    sockets: Vec<Socket>,
    buffer: Box<[u8]>,
}

struct Socket {
    stream: TcpStream,
    /// The beginning of a frame whose end has not come yet.
    unread: Vec<u8>,
}

impl Swarm {
    pub fn new() -> anyhow::Result<Self> {
        Ok(Self {
            poll: Poll::new()?,
            sockets: Vec::new(),
            buffer: vec![0; READ_BYTES].into(),
        })
    }

    pub fn len(&self) -> usize {
        self.sockets.len()
    }

    /// Opens a socket, says `first`, and begins to listen.
    pub fn open(&mut self, api: &Api, path: &str, first: &[String]) -> anyhow::Result<()> {
        let (stream, unread) = connect(api.address, &api.host, path, first, None)?;
        stream.set_nonblocking(true)?;
        let mut socket = Socket {
            stream: TcpStream::from_std(stream),
            unread,
        };
        let token = Token(self.sockets.len());
        self.poll
            .registry()
            .register(&mut socket.stream, token, Interest::READABLE)?;
        self.sockets.push(socket);
        Ok(())
    }

    /// Hears what there is; waits at most `wait` for the first of it.
    pub fn pump(&mut self, ears: &Mutex<impl Ears>, wait: Duration) -> anyhow::Result<()> {
        let mut events = Events::with_capacity(EVENTS);
        if let Err(error) = self.poll.poll(&mut events, Some(wait)) {
            match error.kind() {
                std::io::ErrorKind::Interrupted => return Ok(()),
                _ => return Err(error).context("waiting for sockets"),
            }
        }
        let mut ears = ears.lock().unwrap_or_else(PoisonError::into_inner);
        for event in &events {
            let number = event.token().0;
            let hear = &mut |heard: Heard<'_>| ears.hear(number, heard);
            self.sockets[number].read(&mut self.buffer, hear)?;
        }
        Ok(())
    }

    /// Goes on listening on a thread of its own.
    pub fn run<E: Ears>(mut self, ears: Arc<Mutex<E>>) -> Running<E> {
        let stop = Arc::new(AtomicBool::new(false));
        let (stopped, listening) = (stop.clone(), ears.clone());
        let thread = std::thread::spawn(move || {
            while !stopped.load(Ordering::Relaxed) {
                self.pump(&listening, LOOK)?;
            }
            Ok(self)
        });
        Running { ears, stop, thread }
    }
}

impl Socket {
    /// Reads what is there. A read that does not fill the buffer has emptied the socket: what comes
    /// later is another event.
    fn read(
        &mut self,
        buffer: &mut [u8],
        hear: &mut dyn FnMut(Heard<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        loop {
            let read = match self.stream.read(buffer) {
                Ok(0) => bail!("the server closed a socket without a word"),
                Ok(read) => read,
                Err(error) if error.kind() == std::io::ErrorKind::WouldBlock => return Ok(()),
                Err(error) => return Err(error).context("reading a socket"),
            };
            let unread = std::mem::take(&mut self.unread);
            if unread.is_empty() {
                self.take(&buffer[..read], hear)?;
            } else {
                self.take(&[&unread[..], &buffer[..read]].concat(), hear)?;
            }
            if read < buffer.len() {
                return Ok(());
            }
        }
    }

    fn take(
        &mut self,
        mut bytes: &[u8],
        hear: &mut dyn FnMut(Heard<'_>) -> anyhow::Result<()>,
    ) -> anyhow::Result<()> {
        while let Some((said, length)) = split(bytes)? {
            match said {
                Said::Text(text) => hear(Heard::Text(text))?,
                Said::Binary(frame) => hear(Heard::Binary(frame))?,
                Said::Ping(payload) => self.say(&pong(payload))?,
                Said::Pong => {}
                Said::Close(code, reason) => bail!(
                    "the server closed a socket with {code} {}",
                    String::from_utf8_lossy(reason)
                ),
            }
            bytes = &bytes[length..];
        }
        self.unread.extend_from_slice(bytes);
        Ok(())
    }

    /// A client says so little that it always fits into the socket's buffer.
    fn say(&mut self, frame: &[u8]) -> anyhow::Result<()> {
        match self.stream.write(frame) {
            Ok(written) if written == frame.len() => Ok(()),
            Ok(_) => bail!("a socket took half a message"),
            Err(error) => Err(error).context("writing to a socket"),
        }
    }
}

/// A swarm that listens on its thread.
pub struct Running<E> {
    ears: Arc<Mutex<E>>,
    stop: Arc<AtomicBool>,
    thread: std::thread::JoinHandle<anyhow::Result<Swarm>>,
}

impl<E: Ears> Running<E> {
    /// Looks at what was heard.
    pub fn with<T>(&self, look: impl FnOnce(&mut E) -> T) -> T {
        look(&mut self.ears.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Waits until `done`, for at most `patience`.
    pub async fn until(
        &self,
        patience: Duration,
        what: &str,
        mut done: impl FnMut(&mut E) -> bool,
    ) -> anyhow::Result<()> {
        let all = async {
            while !self.thread.is_finished() && !self.with(&mut done) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        tokio::time::timeout(patience, all)
            .await
            .with_context(|| format!("waited in vain until {what}"))
    }

    /// Stops listening; an error if a socket was closed meanwhile.
    pub fn stop(self) -> anyhow::Result<Swarm> {
        self.stop.store(true, Ordering::Relaxed);
        match self.thread.join() {
            Ok(swarm) => swarm,
            Err(_) => bail!("the thread of the sockets panicked"),
        }
    }
}

/// Connects, upgrades and says `first`. Answers what has been read beyond the upgrade.
/// `receive_bytes` bounds what the kernel keeps for a reader that is slow on purpose.
pub fn connect(
    address: SocketAddr,
    host: &str,
    path: &str,
    first: &[String],
    receive_bytes: Option<usize>,
) -> anyhow::Result<(std::net::TcpStream, Vec<u8>)> {
    let socket = socket2::Socket::new(
        socket2::Domain::for_address(address),
        socket2::Type::STREAM,
        None,
    )?;
    if let Some(bytes) = receive_bytes {
        socket.set_recv_buffer_size(bytes)?;
    }
    socket
        .connect(&address.into())
        .context("connecting a socket")?;
    let mut stream = std::net::TcpStream::from(socket);
    stream.set_nodelay(true)?;
    stream.set_read_timeout(Some(HANDSHAKE))?;
    let request = format!(
        "GET {path} HTTP/1.1\r\nHost: {host}\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\
         Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: {KEY}\r\n\r\n"
    );
    stream.write_all(request.as_bytes())?;
    let mut answer = Vec::new();
    let mut part = [0; 1024];
    let end = loop {
        if let Some(at) = answer.windows(4).position(|w| w == b"\r\n\r\n") {
            break at + 4;
        }
        let read = stream.read(&mut part).context("no answer to an upgrade")?;
        if read == 0 {
            bail!("the server closed a socket instead of upgrading it");
        }
        answer.extend_from_slice(&part[..read]);
    };
    if !answer.starts_with(b"HTTP/1.1 101 ") {
        bail!(
            "an upgrade was answered {}",
            String::from_utf8_lossy(&answer[..end.min(200)])
        );
    }
    for said in first {
        stream.write_all(&text(said))?;
    }
    Ok((stream, answer.split_off(end)))
}
