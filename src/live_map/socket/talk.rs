//! The conversation after the hello: what is new, in time and within the [`Window`], until either
//! side ends it.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::ws::{Message, WebSocket};
use bytes::Bytes;
use futures_util::SinkExt;
use tokio::time::{Instant, timeout};

use super::manners::{MessageBudget, check_size};
use super::window::Window;
use super::{Line, Session, drain_text, fault, heartbeat};
use crate::domain::UnixMs;
use crate::live_map::close::Close;

/// A session that has nothing to wait for is looked at this often.
const IDLE: Duration = Duration::from_secs(3600);
/// Bytes of a frame beside its payload.
const FRAME_BYTES: usize = 4;

/// Why a conversation ended.
pub(super) enum End {
    /// We end it.
    ByUs(Close),
    /// What came cannot be read: nothing can be heard any more, but something said.
    Unreadable(Close),
    /// The client said goodbye.
    ByClient,
    /// The connection broke.
    Broken,
}

impl From<Close> for End {
    fn from(close: Close) -> Self {
        Self::ByUs(close)
    }
}

/// Talks until the end; a drain is told with the time to come back.
pub(super) async fn drive<S: Session>(socket: &mut WebSocket, session: &mut S, line: &Line) -> End {
    match Talk::new(line).on(socket, session).await {
        Ok(never) => match never {},
        Err(End::ByUs(Close::Restart)) => Box::pin(drain(socket, line)).await,
        Err(end) => end,
    }
}

struct Talk<'a> {
    line: &'a Line,
    window: Window,
    budget: MessageBudget,
    out: Vec<Message>,
    heard_at: Instant,
    ping_at: Instant,
    heartbeat_at: Instant,
}

impl<'a> Talk<'a> {
    fn new(line: &'a Line) -> Self {
        let now = Instant::now();
        Self {
            line,
            window: Window::new(),
            budget: MessageBudget::default(),
            out: Vec::new(),
            heard_at: now,
            ping_at: now + line.manners.ping,
            heartbeat_at: now + line.manners.heartbeat,
        }
    }

    async fn on<S: Session>(
        &mut self,
        socket: &mut WebSocket,
        session: &mut S,
    ) -> Result<Infallible, End> {
        // Both pinned once: every socket waits on them, and most of its life on nothing else.
        let timer = tokio::time::sleep_until(self.heartbeat_at);
        let drained = self.line.gate.drain().cancelled();
        tokio::pin!(timer, drained);
        loop {
            let has_room = self.tell(socket, session).await?;
            let now = Instant::now();
            self.tend(socket, now).await?;
            let next = self.due(now).min(self.instant_of(session.due(), now));
            // A timer that is early is looked at and set again; one that is late is too late.
            if timer.is_elapsed() || next < timer.deadline() {
                timer.as_mut().reset(next);
            }
            tokio::select! {
                () = &mut drained => return Err(End::ByUs(Close::Restart)),
                () = session.wake().notified(), if has_room => {}
                received = socket.recv() => self.hear(received, session)?,
                () = &mut timer => {}
            }
        }
    }

    /// Tells what the client lacks, as far as there is room. Answers whether there is room for more.
    async fn tell<S: Session>(
        &mut self,
        socket: &mut WebSocket,
        session: &mut S,
    ) -> Result<bool, End> {
        loop {
            let now = Instant::now();
            let room = self.window.room(now);
            if room == 0 {
                return Ok(false);
            }
            let more = session.collect(self.line, room, &mut self.out)?;
            if !self.out.is_empty() {
                self.heartbeat_at = now + self.line.manners.heartbeat;
                self.send(socket, now).await?;
            }
            if !more {
                return Ok(true);
            }
        }
    }

    /// Pings, says that there is nothing to say, ends it with a client that is stuck or gone.
    async fn tend(&mut self, socket: &mut WebSocket, now: Instant) -> Result<(), End> {
        if self.silent_until().is_some_and(|until| until <= now) {
            return Err(Close::Slow.into());
        }
        if self.heartbeat_at <= now && !self.window.is_full() {
            self.heartbeat_at = now + self.line.manners.heartbeat;
            self.out.push(heartbeat(self.line.now()));
        }
        let wants = self.ping_at <= now && self.window.waits_since().is_none();
        if wants || self.window.wants_ping() {
            self.ping(now);
        }
        if self.out.is_empty() {
            return Ok(());
        }
        self.send(socket, now).await
    }

    fn ping(&mut self, now: Instant) {
        self.out.push(Message::Ping(Bytes::new()));
        self.window.pinged(now);
        self.ping_at = now + self.line.manners.ping;
    }

    /// How long the client may go on without answering the ping that is out. While nothing more may
    /// be sent to it, nothing else is a sign of life.
    fn silent_until(&self) -> Option<Instant> {
        let since = self.window.waits_since()?;
        Some(match self.window.is_full() {
            true => since + self.line.manners.stuck,
            false => since.max(self.heard_at) + 2 * self.line.manners.ping,
        })
    }

    /// When to tend the connection again.
    fn due(&self, now: Instant) -> Instant {
        let mut due = self.silent_until().unwrap_or(self.ping_at);
        if !self.window.is_full() {
            due = due.min(self.heartbeat_at);
        }
        due.max(now)
    }

    fn instant_of(&self, due: Option<UnixMs>, now: Instant) -> Instant {
        let wait = due.map_or(IDLE, |due| {
            let most = IDLE.as_millis() as i64;
            // A millisecond more, so that what is due is due when it is looked at.
            let wait_ms = due.since(self.line.now()).clamp(0, most).unsigned_abs() + 1;
            Duration::from_millis(wait_ms)
        });
        now + wait
    }

    fn hear<S: Session>(
        &mut self,
        received: Option<Result<Message, axum::Error>>,
        session: &mut S,
    ) -> Result<(), End> {
        self.heard_at = Instant::now();
        let now = self.line.now();
        match received {
            Some(Ok(Message::Text(text))) => {
                self.budget.take(now)?;
                check_size(&text)?;
                Ok(session.receive(text.as_str(), now)?)
            }
            Some(Ok(Message::Pong(_))) if self.window.answered(self.heard_at) => Ok(()),
            Some(Ok(Message::Ping(_) | Message::Pong(_))) => Ok(self.budget.take(now)?),
            Some(Ok(Message::Binary(_))) => {
                Err(Close::BadMessage("binary messages are not understood").into())
            }
            Some(Ok(Message::Close(_))) | None => Err(End::ByClient),
            Some(Err(error)) => Err(fault(error).map_or(End::Broken, End::Unreadable)),
        }
    }

    /// Sends what is in `out`, and a ping after it if the window wants one.
    async fn send(&mut self, socket: &mut WebSocket, now: Instant) -> Result<(), End> {
        let bytes = self.out.iter().map(|message| FRAME_BYTES + size(message));
        self.window.sent(bytes.sum());
        if self.window.wants_ping() {
            self.ping(now);
        }
        let stuck = self.line.manners.stuck;
        for message in self.out.drain(..) {
            in_time(stuck, socket.feed(message)).await?;
        }
        in_time(stuck, socket.flush()).await
    }
}

/// Says when to come back, and closes when this socket's turn has come.
async fn drain(socket: &mut WebSocket, line: &Line) -> End {
    let wait = line.gate.drain_after();
    // Whoever is sent away late comes back late as well: the server needs a moment to start.
    let text = drain_text(500 + wait.as_millis());
    let told = in_time(line.manners.stuck, socket.send(Message::Text(text.into())));
    if let Err(end) = told.await {
        return end;
    }
    let gone = async { while let Some(Ok(_)) = socket.recv().await {} };
    match timeout(wait, gone).await {
        Ok(()) => End::ByClient,
        Err(_) => End::ByUs(Close::Restart),
    }
}

async fn in_time(
    most: Duration,
    writing: impl Future<Output = Result<(), axum::Error>>,
) -> Result<(), End> {
    match timeout(most, writing).await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(_)) => Err(End::Broken),
        Err(_) => Err(Close::Slow.into()),
    }
}

/// Bytes of what a message says.
pub(in crate::live_map) fn size(message: &Message) -> usize {
    match message {
        Message::Text(text) => text.as_str().len(),
        Message::Binary(frame) => frame.len(),
        _ => 0,
    }
}
