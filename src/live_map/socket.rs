//! One WebSocket, whatever is told over it: sending in time, pings, limits, the end.
//!
//! Invariants:
//! - One task a socket, and nothing queued for it: a [`Session`] is asked for what it lacks when the
//!   socket can take it. What a slow reader costs is its own write buffer.
//! - A flush that is blocked for [`FLUSH_WITHIN`] ends the connection; so do two pings without a
//!   sign of life, and more than [`MESSAGE_BURST`] messages at once.

use std::time::Duration;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::SinkExt;
use metrics::Gauge;
use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::LiveMap;
use super::close::Close;
use super::gate::Gate;
use crate::clock::SharedClock;
use crate::domain::UnixMs;
use crate::http::Problem;
use crate::telemetry::metrics as names;

/// A client has this long to say hello.
const HELLO_WITHIN: Duration = Duration::from_secs(5);
/// A reader that takes nothing for this long is too slow.
const FLUSH_WITHIN: Duration = Duration::from_secs(10);
/// How long a close frame may take.
const CLOSE_WITHIN: Duration = Duration::from_secs(1);
const PING_EVERY: Duration = Duration::from_secs(25);
/// Pings that may go unanswered.
const MOST_MISSED_PINGS: u32 = 2;
/// Browsers do not see pings: they are told something at least this often.
const HEARTBEAT_EVERY: Duration = Duration::from_secs(10);
/// Largest message that a client may send, bytes.
const MOST_MESSAGE_BYTES: usize = 4096;
/// Larger ones than this are not even read, so that there is something to answer to.
const MOST_READ_BYTES: usize = 64 * 1024;
/// Messages that a client may send at once, …
const MESSAGE_BURST: i64 = 40;
/// … and one more in this time, milliseconds.
const MESSAGE_EVERY_MS: i64 = 100;
/// tungstenite's default of 128 KiB a socket would be most of its memory.
const READ_BUFFER_BYTES: usize = 4096;
/// Frames up to this are gathered into one write.
const WRITE_BUFFER_BYTES: usize = 4096;
/// What may wait for a slow reader.
const MOST_WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// What is told over a socket, and to whom.
pub(super) trait Session: Send {
    /// `customer` or `fleet`, for metrics.
    const CHANNEL: &'static str;

    /// Takes the client's first message, and says who it is.
    fn greet(hello: String, live: LiveMap) -> impl Future<Output = Result<Self, Close>> + Send
    where
        Self: Sized;

    /// Puts the next messages into `out`, at most some 64 KiB; nothing when the client lacks nothing.
    fn collect(&mut self, now: UnixMs, out: &mut Vec<Message>) -> Result<(), Close>;

    /// Takes a message of the client.
    fn receive(&mut self, text: &str, now: UnixMs) -> Result<(), Close>;

    /// When to collect again though nobody has woken it.
    fn due(&self) -> Option<UnixMs>;

    /// Woken when there is something to collect.
    fn wake(&self) -> &Notify;
}

/// What every socket needs beside its session. Cheap to clone.
#[derive(Clone)]
pub(super) struct Line {
    pub(super) gate: Gate,
    pub(super) clock: SharedClock,
}

impl Line {
    pub(super) fn now(&self) -> UnixMs {
        UnixMs(self.clock.now_ms())
    }
}

/// Turns a request into a socket with its session.
pub(super) fn open<S: Session + 'static>(
    live: LiveMap,
    headers: &HeaderMap,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    live.admit()?;
    let upgrade = match upgrade {
        Ok(upgrade) => upgrade,
        Err(rejection) => return Ok(rejection.into_response()),
    };
    let limited = upgrade
        .read_buffer_size(READ_BUFFER_BYTES)
        .write_buffer_size(WRITE_BUFFER_BYTES)
        .max_write_buffer_size(MOST_WRITE_BUFFER_BYTES)
        .max_message_size(MOST_READ_BYTES)
        .max_frame_size(MOST_READ_BYTES);
    let allowed = live.line().gate.allows_origin(headers);
    let entered = live.line().gate.enter();
    Ok(limited.on_upgrade(move |socket| async move {
        attend::<S>(socket, live, allowed).await;
        drop(entered);
    }))
}

async fn attend<S: Session>(mut socket: WebSocket, live: LiveMap, allowed: bool) {
    let line = live.line().clone();
    // Boxed: what is needed for a moment must not be part of every socket's task.
    let greeted = Box::pin(async {
        if !allowed {
            // Only a socket can tell a page why it may not connect.
            return Err(Some(Close::ForbiddenOrigin));
        }
        let hello = hello(&mut socket, live.line()).await?;
        S::greet(hello, live).await.map_err(Some)
    });
    match greeted.await {
        Ok(session) => serve(socket, session, line).await,
        Err(Some(close)) => refuse(socket, S::CHANNEL, close).await,
        Err(None) => count(S::CHANNEL, 1000),
    }
}

/// The first message of a client.
async fn hello(socket: &mut WebSocket, line: &Line) -> Result<String, Option<Close>> {
    let wait = async {
        loop {
            match socket.recv().await {
                Some(Ok(Message::Text(text))) => {
                    check_size(&text)?;
                    return Ok(text.as_str().to_owned());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_))) => {
                    return Err(Some(Close::BadMessage("the first message must be a hello")));
                }
                Some(Ok(Message::Close(_))) | None => return Err(None),
                Some(Err(error)) => return Err(fault(error)),
            }
        }
    };
    tokio::select! {
        said = timeout(HELLO_WITHIN, wait) => {
            said.unwrap_or(Err(Some(Close::BadMessage("no hello came in time"))))
        }
        () = line.gate.drain().cancelled() => Err(Some(Close::Restart)),
    }
}

/// Serves the session until either side ends it.
async fn serve<S: Session>(mut socket: WebSocket, mut session: S, line: Line) {
    let _open = OpenGauge::new(S::CHANNEL);
    let end = drive(&mut socket, &mut session, &line).await;
    drop(session);
    match end {
        End::ByUs(close) => refuse(socket, S::CHANNEL, close).await,
        End::ByClient => count(S::CHANNEL, 1000),
        End::Broken => count(S::CHANNEL, 1006),
    }
}

/// Tells the client why, and closes.
async fn refuse(mut socket: WebSocket, channel: &'static str, close: Close) {
    count(channel, close.code());
    let frame = CloseFrame {
        code: close.code(),
        reason: close.word().into(),
    };
    let farewell = async {
        socket.feed(Message::Text(close.message().into())).await?;
        socket.send(Message::Close(Some(frame))).await?;
        // What the client still says is read, until it closes: a connection that is dropped with
        // something unread is reset, and the client would never learn why.
        while let Some(Ok(_)) = socket.recv().await {}
        Ok::<(), axum::Error>(())
    };
    // A client that is gone, or that does not read, learns nothing: there is nothing more to do.
    if let Ok(Err(error)) = timeout(CLOSE_WITHIN, farewell).await {
        tracing::trace!(%error, "a closed socket could not be told why");
    }
}

fn check_size(text: &str) -> Result<(), Close> {
    match text.len() <= MOST_MESSAGE_BYTES {
        true => Ok(()),
        false => Err(Close::BadMessage("a message has at most 4096 bytes")),
    }
}

enum End {
    ByUs(Close),
    ByClient,
    Broken,
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::ByUs(close)
    }
}

async fn drive<S: Session>(socket: &mut WebSocket, session: &mut S, line: &Line) -> End {
    match talk(socket, session, line).await {
        Ok(never) => match never {},
        Err(End::ByUs(Close::Restart)) => Box::pin(drain(socket, line)).await,
        Err(end) => end,
    }
}

async fn talk<S: Session>(
    socket: &mut WebSocket,
    session: &mut S,
    line: &Line,
) -> Result<std::convert::Infallible, End> {
    let mut out = Vec::new();
    let mut budget = MessageBudget::default();
    let mut missed_pings = 0;
    let mut ping_at = Instant::now() + PING_EVERY;
    let mut heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
    let timer = tokio::time::sleep_until(ping_at);
    // Both pinned once: every socket waits on them, and most of its life on nothing else.
    let drained = line.gate.drain().cancelled();
    tokio::pin!(timer, drained);
    loop {
        loop {
            session.collect(line.now(), &mut out)?;
            if out.is_empty() {
                break;
            }
            send(socket, &mut out).await?;
            heartbeat_at = Instant::now() + HEARTBEAT_EVERY;
        }
        let next = ping_at
            .min(heartbeat_at)
            .min(instant_of(session.due(), line));
        timer.as_mut().reset(next);
        tokio::select! {
            () = &mut drained => return Err(End::ByUs(Close::Restart)),
            () = session.wake().notified() => {}
            received = socket.recv() => {
                missed_pings = 0;
                match received {
                    Some(Ok(Message::Text(text))) => {
                        budget.take(line.now())?;
                        check_size(&text)?;
                        session.receive(text.as_str(), line.now())?;
                    }
                    Some(Ok(Message::Ping(_) | Message::Pong(_))) => budget.take(line.now())?,
                    Some(Ok(Message::Binary(_))) => {
                        return Err(Close::BadMessage("binary messages are not understood").into());
                    }
                    Some(Ok(Message::Close(_))) | None => return Err(End::ByClient),
                    Some(Err(error)) => return Err(fault(error).map_or(End::Broken, End::ByUs)),
                }
            }
            () = &mut timer => {
                let now = Instant::now();
                if ping_at <= now {
                    if missed_pings >= MOST_MISSED_PINGS {
                        return Err(Close::Slow.into());
                    }
                    missed_pings += 1;
                    ping_at = now + PING_EVERY;
                    out.push(Message::Ping(bytes::Bytes::new()));
                }
                if heartbeat_at <= now {
                    heartbeat_at = now + HEARTBEAT_EVERY;
                    out.push(heartbeat(line.now()));
                }
                send(socket, &mut out).await?;
            }
        }
    }
}

/// Says when to come back, and closes when this socket's turn has come.
async fn drain(socket: &mut WebSocket, line: &Line) -> End {
    let wait = line.gate.drain_after();
    // Whoever is sent away late comes back late as well: the server needs a moment to start.
    let text = drain_text(500 + wait.as_millis());
    let mut out = vec![Message::Text(text.into())];
    if let Err(end) = send(socket, &mut out).await {
        return end;
    }
    let gone = async { while let Some(Ok(_)) = socket.recv().await {} };
    match timeout(wait, gone).await {
        Ok(()) => End::ByClient,
        Err(_) => End::ByUs(Close::Restart),
    }
}

/// Writes `out` and waits until it is on its way; each message has its own time.
async fn send(socket: &mut WebSocket, out: &mut Vec<Message>) -> Result<(), End> {
    for message in out.drain(..) {
        in_time(socket.feed(message)).await?;
    }
    in_time(socket.flush()).await
}

async fn in_time(writing: impl Future<Output = Result<(), axum::Error>>) -> Result<(), End> {
    match timeout(FLUSH_WITHIN, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Broken),
        Err(_) => Err(Close::Slow.into()),
    }
}

/// What a client hears when there is nothing else to say.
pub(super) fn heartbeat(now: UnixMs) -> Message {
    Message::Text(heartbeat_text(now).into())
}

/// The same as text, for server-sent events.
pub(super) fn heartbeat_text(now: UnixMs) -> String {
    format!(r#"{{"type":"hb","server_time":"{now}"}}"#)
}

/// What a client hears before it is sent away: when to come back.
pub(super) fn drain_text(retry_ms: u128) -> String {
    format!(r#"{{"type":"drain","retry_ms":{retry_ms}}}"#)
}

/// Whether a read failed because of what the client sent, and not because it is gone.
fn fault(error: axum::Error) -> Option<Close> {
    let inner = error.into_inner();
    let lost = inner.is::<std::io::Error>()
        || inner
            .source()
            .is_some_and(|source| source.is::<std::io::Error>())
        || inner.to_string().contains("without closing handshake");
    (!lost).then_some(Close::BadMessage(
        "the message is malformed, or far larger than 4096 bytes",
    ))
}

fn instant_of(due: Option<UnixMs>, line: &Line) -> Instant {
    let now = Instant::now();
    match due {
        // A millisecond more, so that what is due is due when it is looked at.
        Some(due) => {
            let wait_ms = due.since(line.now()).clamp(0, 3_600_000).unsigned_abs() + 1;
            now + Duration::from_millis(wait_ms)
        }
        None => now + Duration::from_secs(3600),
    }
}

/// How much a client may still say.
#[derive(Debug, Default)]
struct MessageBudget {
    /// When nothing it said counts any more.
    settled_at: UnixMs,
}

impl MessageBudget {
    fn take(&mut self, now: UnixMs) -> Result<(), Close> {
        self.settled_at = self.settled_at.max(now).plus_ms(MESSAGE_EVERY_MS);
        if self.settled_at.since(now) > MESSAGE_BURST * MESSAGE_EVERY_MS {
            return Err(Close::TooMany("too many messages; slow down"));
        }
        Ok(())
    }
}

/// Counts one open connection while it lives.
pub(super) struct OpenGauge(Gauge);

impl OpenGauge {
    pub(super) fn new(channel: &'static str) -> Self {
        let gauge = metrics::gauge!(names::LIVE_SOCKETS, "channel" => channel);
        gauge.increment(1.0);
        Self(gauge)
    }
}

impl Drop for OpenGauge {
    fn drop(&mut self) {
        self.0.decrement(1.0);
    }
}

/// Counts a connection that has ended.
pub(super) fn count(channel: &'static str, code: u16) {
    metrics::counter!(names::LIVE_CLOSED, "channel" => channel, "code" => code.to_string())
        .increment(1);
}
