//! One viewer of one delivery, over a WebSocket or as server-sent events.

use std::net::IpAddr;
use std::sync::Arc;

use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::HeaderMap;
use axum::response::Response;
use tokio::sync::Notify;

use super::messages::FromCustomer;
use super::topic::{Cursor, Gone, Told, TrackTopic};
use super::{TooManyViewers, Tracks};
use crate::access::{AccessError, LinkChannel};
use crate::directory::Link;
use crate::domain::UnixMs;
use crate::http::{ClientAddr, Problem};
use crate::live_map::LiveMap;
use crate::live_map::close::Close;
use crate::live_map::socket::{self, Line, Session};

/// A viewer. Dropping it ends the watching.
pub(crate) struct TrackSession {
    tracks: Arc<Tracks>,
    topic: Arc<TrackTopic>,
    link: Arc<Link>,
    number: u64,
    wake: Arc<Notify>,
    cursor: Cursor,
    due: Option<UnixMs>,
}

impl TrackSession {
    pub(super) fn new(
        tracks: Arc<Tracks>,
        topic: Arc<TrackTopic>,
        link: Arc<Link>,
        number: u64,
        wake: Arc<Notify>,
        resume: Option<(u32, u32)>,
    ) -> Self {
        Self {
            tracks,
            topic,
            link,
            number,
            wake,
            cursor: Cursor::New { resume },
            due: None,
        }
    }

    /// Gives what this viewer lacks, or says why it may not stay.
    pub(super) fn next(&mut self, now: UnixMs, send: impl FnMut(Told)) -> Result<(), Close> {
        self.check(now)?;
        let told = self
            .topic
            .collect(&self.tracks.world, &mut self.cursor, now, send);
        let topic_due = told.map_err(|Gone| Close::Gone)?;
        let expires_at = self.link.expires_at;
        self.due = Some(topic_due.map_or(expires_at, |due| due.min(expires_at)));
        Ok(())
    }

    /// Whether the link still holds.
    fn check(&self, now: UnixMs) -> Result<(), Close> {
        let held = self.tracks.world.directory.link_by_id(&self.link.id);
        let Some(link) = held.filter(|link| link.token_hash == self.link.token_hash) else {
            return Err(Close::Revoked);
        };
        if link.expires_at <= now {
            return Err(Close::Gone);
        }
        Ok(())
    }
}

impl Drop for TrackSession {
    fn drop(&mut self) {
        self.tracks.leave(&self.topic, self.link.id, self.number);
    }
}

impl Session for TrackSession {
    const CHANNEL: &'static str = "customer";

    async fn greet(hello: String, live: LiveMap, client: IpAddr) -> Result<Self, Close> {
        let Ok(FromCustomer::Hello { token, epoch, seq }) = serde_json::from_str(&hello) else {
            return Err(Close::BadMessage(
                r#"the first message must be {"type":"hello","token":"…"}"#,
            ));
        };
        let link = live
            .access()
            .link_or_gone(&token)
            .await
            .map_err(|error| match error {
                AccessError::Gone => Close::Gone,
                AccessError::Unavailable => Close::Restart,
                AccessError::TooMany(_) => Close::TooMany("too many connections; wait"),
                AccessError::Unauthorized | AccessError::Forbidden => Close::Unauthorized,
            })?;
        let log = live.access().link_log();
        log.note(link.id, LinkChannel::WebSocket, client, live.now());
        let joined = live.tracks().join(link, epoch.zip(seq), live.now());
        joined.map_err(|TooManyViewers| Close::TooMany("too many look at this delivery"))
    }

    fn collect(
        &mut self,
        line: &Line,
        _room: usize,
        out: &mut Vec<Message>,
    ) -> Result<bool, Close> {
        let now = line.now();
        let (from, mut fix) = (out.len(), None);
        self.next(now, |told| {
            out.push(match told {
                Told::Frame(text, received_at) => {
                    fix = received_at.or(fix);
                    Message::Text(text)
                }
                Told::NothingNew => socket::heartbeat(now),
            });
        })?;
        // A handful of messages at most: they always have room.
        let told = out.len() - from;
        line.meters.told_customer(told, fix, now);
        Ok(false)
    }

    fn receive(&mut self, _text: &str, _now: UnixMs) -> Result<(), Close> {
        Err(Close::BadMessage("there is nothing to say after the hello"))
    }

    fn due(&self) -> Option<UnixMs> {
        self.due
    }

    fn wake(&self) -> &Notify {
        &self.wake
    }
}

/// Follow one delivery.
///
/// WebSocket; the first message is `{"type":"hello","token":"…"}` with the link's token, and `epoch`
/// and `seq` of the last message seen where a connection is resumed. Close codes from 4000 on say
/// why the server closed; 4000, 4001, 4003, 4010 and 4011 mean: do not reconnect.
#[utoipa::path(get, path = "/ws/track", tag = "customer",
    responses((status = 101, description = "Switching to WebSocket"),
              (status = 503, description = "The server is stopping", body = Problem)))]
pub(crate) async fn socket(
    State(live): State<LiveMap>,
    headers: HeaderMap,
    client: ClientAddr,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    socket::open::<TrackSession>(live, client, &headers, upgrade)
}
