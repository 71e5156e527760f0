//! One WebSocket, whatever is told over it: the way in, the [`talk`], the end.
//!
//! Invariants:
//! - One task a socket, and nothing queued for it: a [`Session`] is asked for what it lacks when the
//!   client has taken what it was sent before ([`window`]). What a slow reader costs is that.
//! - A client that takes nothing for ten seconds of what waits for it, that leaves pings unanswered,
//!   or that says more than its [`manners`] allow, is closed with a code that tells why.

mod manners;
mod talk;
mod window;

use std::net::IpAddr;

use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{CloseFrame, Message, WebSocket, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::{IntoResponse, Response};
use futures_util::SinkExt;
use tokio::sync::Notify;
use tokio::time::timeout;

use super::LiveMap;
use super::close::Close;
use super::gate::Gate;
use super::meters::{Meters, OpenGauge, count};
use crate::clock::SharedClock;
use crate::domain::UnixMs;
use crate::http::{ClientAddr, Problem};

pub(super) use manners::Manners;
pub(super) use talk::size;

use manners::{MOST_MESSAGE_BYTES, check_size};
use talk::End;

/// Larger messages than this are not even read.
const MOST_READ_BYTES: usize = 4 * MOST_MESSAGE_BYTES;
/// tungstenite's default of 128 KiB a socket would be most of its memory.
const READ_BUFFER_BYTES: usize = 1024;
/// Frames up to this are gathered into one write.
const WRITE_BUFFER_BYTES: usize = 4096;
/// What may wait for a slow reader; far more than a session ever gives at once.
const MOST_WRITE_BUFFER_BYTES: usize = 256 * 1024;

/// What is told over a socket, and to whom.
pub(super) trait Session: Send {
    /// `customer` or `fleet`, for metrics.
    const CHANNEL: &'static str;

    /// Takes the first message of the client at the address `client`, and says who it is.
    fn greet(
        hello: String,
        live: LiveMap,
        client: IpAddr,
    ) -> impl Future<Output = Result<Self, Close>> + Send
    where
        Self: Sized;

    /// Puts the next messages into `out`, and ends soon after `room` bytes. Answers whether there
    /// are more.
    fn collect(&mut self, line: &Line, room: usize, out: &mut Vec<Message>) -> Result<bool, Close>;

    /// Takes a message of the client.
    fn receive(&mut self, text: &str, now: UnixMs) -> Result<(), Close>;

    /// When to collect again though nobody has woken it.
    fn due(&self) -> Option<UnixMs>;

    /// Woken when there is something to collect.
    fn wake(&self) -> &Notify;
}

/// What every socket needs beside its session.
pub(super) struct Line {
    pub(super) gate: Gate,
    pub(super) clock: SharedClock,
    pub(super) manners: Manners,
    pub(super) meters: Meters,
}

impl Line {
    pub(super) fn now(&self) -> UnixMs {
        UnixMs(self.clock.now_ms())
    }
}

/// Turns a request into a socket with its session.
pub(super) fn open<S: Session + 'static>(
    live: LiveMap,
    client: ClientAddr,
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
        attend::<S>(socket, live, client.0, allowed).await;
        drop(entered);
    }))
}

async fn attend<S: Session>(mut socket: WebSocket, live: LiveMap, client: IpAddr, allowed: bool) {
    // Boxed: what is needed for a moment must not be part of every socket's task.
    let greeted = Box::pin(async {
        if !allowed {
            // Only a socket can tell a page why it may not connect.
            return Err(End::ByUs(Close::ForbiddenOrigin));
        }
        let hello = hello(&mut socket, live.line()).await?;
        Ok(S::greet(hello, live.clone(), client).await?)
    });
    let end = match greeted.await {
        Ok(mut session) => {
            let _open = OpenGauge::new(S::CHANNEL);
            talk::drive(&mut socket, &mut session, live.line()).await
        }
        Err(end) => end,
    };
    Box::pin(part(socket, S::CHANNEL, live.line(), end)).await;
}

/// The first message of a client.
async fn hello(socket: &mut WebSocket, line: &Line) -> Result<String, End> {
    let wait = async {
        loop {
            match socket.recv().await {
                Some(Ok(Message::Text(text))) => {
                    check_size(&text)?;
                    return Ok(text.as_str().to_owned());
                }
                Some(Ok(Message::Ping(_) | Message::Pong(_))) => {}
                Some(Ok(Message::Binary(_))) => {
                    return Err(Close::BadMessage("the first message must be a hello").into());
                }
                Some(Ok(Message::Close(_))) | None => return Err(End::ByClient),
                Some(Err(error)) => return Err(fault(error).map_or(End::Broken, End::Unreadable)),
            }
        }
    };
    tokio::select! {
        said = timeout(line.manners.hello, wait) => {
            said.unwrap_or(Err(Close::BadMessage("no hello came in time").into()))
        }
        () = line.gate.drain().cancelled() => Err(Close::Restart.into()),
    }
}

/// Counts the end, tells the client why, and closes.
async fn part(mut socket: WebSocket, channel: &'static str, line: &Line, end: End) {
    let (close, may_listen) = match end {
        End::ByUs(close) => (close, true),
        End::Unreadable(close) => (close, false),
        End::ByClient => return count(channel, 1000),
        End::Broken => return count(channel, 1006),
    };
    count(channel, close.code());
    let frame = CloseFrame {
        code: close.code(),
        reason: close.word().into(),
    };
    let farewell = async {
        socket.feed(Message::Text(close.message().into())).await?;
        socket.send(Message::Close(Some(frame))).await?;
        // What the client still says is read, until it closes: a connection that is dropped with
        // something unread is reset, and the client might never learn why.
        while let Some(Ok(_)) = socket.recv().await {}
        if !may_listen {
            // Of what cannot be read there may be more: time to hear us first.
            std::future::pending::<()>().await;
        }
        Ok::<(), axum::Error>(())
    };
    // A client that is gone, or that does not read, learns nothing: there is nothing more to do.
    if let Ok(Err(error)) = timeout(line.manners.close, farewell).await {
        tracing::trace!(%error, "a closed socket could not be told why");
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
        "the message is malformed, or larger than 4096 bytes",
    ))
}
