//! The customer channel for networks that break WebSockets: server-sent events, and polling.

use std::convert::Infallible;
use std::time::Duration;

use axum::extract::{Query, State};
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::sse::{Event, Sse};
use axum::response::{IntoResponse, Response};
use futures_util::stream::{self, Stream};
use serde::Deserialize;
use tokio_util::task::task_tracker::TaskTrackerToken;

use super::TooManyViewers;
use super::messages::TrackSnapshot;
use super::session::TrackSession;
use super::topic::{Gone, Told};
use crate::access::LinkChannel;
use crate::http::{AsLink, ClientAddr, Problem};
use crate::live_map::LiveMap;
use crate::live_map::close::Close;
use crate::live_map::meters::{OpenGauge, count};
use crate::live_map::socket::{Session, drain_text, heartbeat_text};

const CHANNEL: &str = "customer_events";

/// Look at one delivery once.
#[utoipa::path(get, path = "/v1/track", tag = "customer",
    responses((status = 200, description = "What may be seen now", body = TrackSnapshot<'static>),
              (status = 401, description = "No such link", body = Problem),
              (status = 410, description = "Completed, or the link has expired", body = Problem)),
    security(("link" = [])))]
pub(crate) async fn track(
    State(live): State<LiveMap>,
    AsLink(link): AsLink,
    ClientAddr(client): ClientAddr,
) -> Result<Response, Problem> {
    live.admit()?;
    let now = live.line().now();
    let tracks = live.tracks();
    let topic = tracks.topic(&link.delivery_id);
    let snapshot = topic
        .snapshot_now(&tracks.world, now)
        .map_err(|Gone| gone())?;
    tracks.watch(&link.delivery_id, now);
    let log = live.access().link_log();
    log.note(link.id, LinkChannel::Poll, client, now);
    let json = HeaderValue::from_static("application/json");
    Ok(([(header::CONTENT_TYPE, json), no_store()], snapshot).into_response())
}

/// Where a stream is taken up again.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(crate) struct Resume {
    /// `epoch` of the last message seen.
    epoch: Option<u32>,
    /// `seq` of the last message seen.
    seq: Option<u32>,
}

/// Follow one delivery as server-sent events.
///
/// Each event's data is one message of the WebSocket channel.
#[utoipa::path(get, path = "/v1/track/events", tag = "customer", params(Resume),
    responses((status = 200, description = "A stream of messages", content_type = "text/event-stream"),
              (status = 401, description = "No such link", body = Problem),
              (status = 410, description = "Completed, or the link has expired", body = Problem),
              (status = 429, description = "Too many viewers", body = Problem)),
    security(("link" = [])))]
pub(crate) async fn track_events(
    State(live): State<LiveMap>,
    AsLink(link): AsLink,
    ClientAddr(client): ClientAddr,
    Query(resume): Query<Resume>,
) -> Result<Response, Problem> {
    live.admit()?;
    let tracks = live.tracks();
    let topic = tracks.topic(&link.delivery_id);
    // So that a finished delivery is a 410 and no stream that ends at once.
    let now = live.line().now();
    topic
        .snapshot_now(&tracks.world, now)
        .map_err(|Gone| gone())?;
    let log = live.access().link_log();
    log.note(link.id, LinkChannel::Events, client, now);
    let session = tracks.join(link, resume.epoch.zip(resume.seq), now);
    let session = session.map_err(|TooManyViewers| {
        Problem::too_many("too many look at this delivery; try again later", 30)
    })?;
    let viewer = Viewer {
        open: live.line().gate.enter(),
        gauge: OpenGauge::new(CHANNEL),
        live,
        session,
        ended: false,
    };
    Ok(([no_store()], Sse::new(messages(viewer))).into_response())
}

/// A viewer with its stream's place in the count of open connections.
struct Viewer {
    session: TrackSession,
    live: LiveMap,
    /// Why it ends was said.
    ended: bool,
    #[expect(dead_code, reason = "held while the stream is open")]
    open: TaskTrackerToken,
    #[expect(dead_code, reason = "held while the stream is open")]
    gauge: OpenGauge,
}

fn messages(viewer: Viewer) -> impl Stream<Item = Result<Event, Infallible>> {
    // One poll may give several messages: they are written as one event stream chunk each.
    let chunks = stream::unfold(viewer, |mut viewer| async move {
        if viewer.ended {
            return None;
        }
        let texts = viewer.next().await;
        Some((stream::iter(texts.into_iter().map(event)), viewer))
    });
    futures_util::StreamExt::flatten(chunks)
}

fn event(text: String) -> Result<Event, Infallible> {
    Ok(Event::default().data(text))
}

impl Viewer {
    /// Waits for the next messages; after the last ones `ended` is set.
    async fn next(&mut self) -> Vec<String> {
        let heartbeat_at = tokio::time::Instant::now() + self.live.line().manners.heartbeat;
        loop {
            let now = self.live.now();
            let (mut texts, mut fix) = (Vec::new(), None);
            let told = self.session.next(now, |told| {
                texts.push(match told {
                    Told::Frame(text, received_at) => {
                        fix = received_at.or(fix);
                        text.as_str().to_owned()
                    }
                    Told::NothingNew => heartbeat_text(now),
                });
            });
            if let Err(close) = told {
                return self.end(close, None);
            }
            if !texts.is_empty() {
                let meters = &self.live.line().meters;
                meters.told_customer(texts.len(), fix, now);
                return texts;
            }
            let due_ms = self
                .session
                .due()
                .map_or(i64::MAX, |due| due.since(now))
                .max(0);
            let due = Duration::from_millis(due_ms.unsigned_abs().saturating_add(1));
            let due = tokio::time::Instant::now() + due.min(self.live.line().manners.heartbeat);
            tokio::select! {
                () = self.live.line().gate.drain().cancelled() => {
                    let wait = self.live.line().gate.drain_after();
                    let drain = drain_text(500 + wait.as_millis());
                    return self.end(Close::Restart, Some(drain));
                }
                () = self.session.wake().notified() => {}
                () = tokio::time::sleep_until(due.min(heartbeat_at)) => {
                    if tokio::time::Instant::now() >= heartbeat_at {
                        return vec![heartbeat_text(self.live.now())];
                    }
                }
            }
        }
    }

    fn end(&mut self, close: Close, before: Option<String>) -> Vec<String> {
        self.ended = true;
        count(CHANNEL, close.code());
        before.into_iter().chain([close.message()]).collect()
    }
}

impl Drop for Viewer {
    fn drop(&mut self) {
        if !self.ended {
            // The client went away, or read nothing until the kernel gave it up.
            count(CHANNEL, 1006);
        }
    }
}

fn gone() -> Problem {
    Problem::new(StatusCode::GONE, "gone", Close::Gone.detail())
}

fn no_store() -> (header::HeaderName, HeaderValue) {
    (header::CACHE_CONTROL, HeaderValue::from_static("no-store"))
}
