//! A dispatcher's screen on the fleet channel.

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::Ordering;

use axum::Json;
use axum::extract::State;
use axum::extract::ws::rejection::WebSocketUpgradeRejection;
use axum::extract::ws::{Message, WebSocketUpgrade};
use axum::http::{HeaderMap, HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use tokio::sync::Notify;

use super::hub::Hub;
use super::tickets::may_stay;
use super::topic::{Cursor, Topic};
use super::view::{Bbox, TopicId, topics_of};
use crate::access::LetInBy;
use crate::domain::{CourierId, UnixMs};
use crate::http::{AsDispatcher, ClientAddr, Problem};
use crate::live_map::LiveMap;
use crate::live_map::close::Close;
use crate::live_map::socket::{self, Line, Session, size};

#[derive(Debug, Deserialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum FromDispatcher {
    /// Who asks.
    Hello { ticket: String },
    /// What is looked at.
    View { bbox: Bbox, zoom: f64 },
    /// Whose card is open; null: nobody's.
    Watch { courier_id: Option<CourierId> },
}

#[derive(Serialize)]
#[serde(tag = "type", rename_all = "snake_case")]
enum ToDispatcher<'a> {
    Hello {
        epoch: u32,
        server_time: UnixMs,
        tick_ms: u64,
    },
    Topics {
        add: &'a [TopicId],
        remove: &'a [TopicId],
    },
}

/// The first message to a screen.
pub(super) fn hello_message(hub: &Hub, now: UnixMs) -> Message {
    message(&ToDispatcher::Hello {
        epoch: hub.epoch(),
        server_time: now,
        tick_ms: hub.tick_ms(),
    })
}

/// Which topics a screen is told of from now on, and of which no more.
pub(super) fn topics_message(add: &[TopicId], remove: &[TopicId]) -> Message {
    message(&ToDispatcher::Topics { add, remove })
}

fn message(message: &ToDispatcher<'_>) -> Message {
    // Plain data with string keys: it always serialises.
    Message::Text(serde_json::to_string(message).unwrap_or_default().into())
}

/// A screen. Dropping it ends the watching.
struct FleetSession {
    live: LiveMap,
    by: LetInBy,
    number: u64,
    wake: Arc<Notify>,
    watched: Vec<Watched>,
    /// Control messages that go before anything else.
    first: Vec<Message>,
    /// Where the next round begins, so that a slow reader hears of all its topics in turn.
    turn: usize,
}

/// A topic with what was sent of it.
struct Watched {
    topic: Arc<Topic>,
    cursor: Cursor,
}

impl FleetSession {
    fn new(live: LiveMap, by: LetInBy) -> Self {
        let number = live.fleet().next_session.fetch_add(1, Ordering::Relaxed);
        let wake = Arc::new(Notify::new());
        live.hub().register(number, wake.clone());
        Self {
            first: vec![hello_message(live.hub(), live.now())],
            live,
            by,
            number,
            wake,
            watched: Vec::new(),
            turn: 0,
        }
    }

    fn look_at(&mut self, bbox: &Bbox, zoom: f64) {
        let wanted = topics_of(bbox, zoom);
        let held: Vec<TopicId> = self.watched.iter().map(|w| w.topic.id).collect();
        let add: Vec<TopicId> = wanted
            .iter()
            .filter(|id| !held.contains(id))
            .copied()
            .collect();
        let remove: Vec<TopicId> = held.into_iter().filter(|id| !wanted.contains(id)).collect();
        if add.is_empty() && remove.is_empty() {
            return;
        }
        let hub = self.live.hub();
        self.watched.retain(|watched| {
            let keep = !remove.contains(&watched.topic.id);
            if !keep {
                hub.leave(self.number, &watched.topic);
            }
            keep
        });
        let joined = hub.join(self.number, &self.wake, &add);
        self.watched.extend(joined.into_iter().map(|topic| Watched {
            topic,
            cursor: Cursor::New,
        }));
        self.first.push(topics_message(&add, &remove));
    }
}

impl Drop for FleetSession {
    fn drop(&mut self) {
        let hub = self.live.hub();
        hub.unregister(self.number);
        for watched in &self.watched {
            hub.leave(self.number, &watched.topic);
        }
        self.live.fleet().watching.lock().remove(&self.number);
    }
}

impl Session for FleetSession {
    const CHANNEL: &'static str = "fleet";

    async fn greet(hello: String, live: LiveMap, _client: IpAddr) -> Result<Self, Close> {
        let Ok(FromDispatcher::Hello { ticket }) = serde_json::from_str(&hello) else {
            return Err(Close::BadMessage(
                r#"the first message must be {"type":"hello","ticket":"…"}"#,
            ));
        };
        let now = live.now();
        let by = live.fleet().tickets.redeem(&ticket, now);
        let by = by.filter(|by| may_stay(*by, live.directory(), now));
        Ok(Self::new(live, by.ok_or(Close::Unauthorized)?))
    }

    fn collect(&mut self, line: &Line, room: usize, out: &mut Vec<Message>) -> Result<bool, Close> {
        if !may_stay(self.by, self.live.directory(), line.now()) {
            return Err(Close::Revoked);
        }
        out.append(&mut self.first);
        let topics = self.watched.len();
        let mut told = 0;
        for _ in 0..topics {
            let watched = &mut self.watched[self.turn % topics];
            let from = out.len();
            let hub = self.live.hub();
            hub.tell(&watched.topic, &mut watched.cursor, room - told, out);
            told += out[from..].iter().map(size).sum::<usize>();
            // A topic in the middle of its telling goes on when there is room.
            if !watched.cursor.is_between() {
                self.turn = (self.turn + 1) % topics;
            }
            if told >= room {
                break;
            }
        }
        if !out.is_empty() {
            let positions = out.iter().map(updates).sum();
            line.meters.told_fleet(positions);
        }
        Ok(told >= room)
    }

    fn receive(&mut self, text: &str, now: UnixMs) -> Result<(), Close> {
        match serde_json::from_str(text) {
            Ok(FromDispatcher::View { bbox, zoom }) => self.look_at(&bbox, zoom),
            Ok(FromDispatcher::Watch { courier_id }) => {
                self.live
                    .fleet()
                    .watch(self.number, courier_id, self.live.directory(), now);
            }
            Ok(FromDispatcher::Hello { .. }) => {
                return Err(Close::BadMessage("hello was said already"));
            }
            Err(_) => {
                return Err(Close::BadMessage(
                    r#"a message must be a view {"bbox":[w,s,e,n],"zoom":z} or a watch"#,
                ));
            }
        }
        Ok(())
    }

    fn due(&self) -> Option<UnixMs> {
        None
    }

    fn wake(&self) -> &Notify {
        &self.wake
    }
}

/// Positions in a frame.
fn updates(message: &Message) -> u64 {
    match message {
        Message::Binary(frame) => {
            let entries = frame.len().saturating_sub(super::frame::HEADER_BYTES);
            (entries / super::frame::ENTRY_BYTES) as u64
        }
        _ => 0,
    }
}

/// A ticket for the fleet socket.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Ticket {
    /// To be sent in the socket's first message; good once.
    ticket: String,
    /// Until when.
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixMs,
}

/// Get a ticket for `/ws/fleet`.
///
/// It opens one socket, once, within 30 seconds.
#[utoipa::path(post, path = "/v1/fleet/ticket", tag = "fleet",
    responses((status = 200, description = "A ticket", body = Ticket),
              (status = 401, description = "No credential", body = Problem),
              (status = 403, description = "Not a dispatcher", body = Problem),
              (status = 429, description = "Too many tickets are out", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(crate) async fn ticket(
    State(live): State<LiveMap>,
    caller: AsDispatcher,
) -> Result<Response, Problem> {
    let issued = live.fleet().tickets.issue(caller.0.by, live.now());
    let (ticket, expires_at) =
        issued.ok_or_else(|| Problem::too_many("too many tickets are out; try again", 5))?;
    let no_store = (header::CACHE_CONTROL, HeaderValue::from_static("no-store"));
    Ok((
        StatusCode::OK,
        [no_store],
        Json(Ticket { ticket, expires_at }),
    )
        .into_response())
}

/// Watch the fleet.
///
/// WebSocket; the first message is `{"type":"hello","ticket":"…"}`, then
/// `{"type":"view","bbox":[west,south,east,north],"zoom":z}` whenever the view has changed and
/// `{"type":"watch","courier_id":"…"}` for the courier whose card is open. Text frames carry control
/// messages, names and counted cells, binary frames packed positions.
#[utoipa::path(get, path = "/ws/fleet", tag = "fleet",
    responses((status = 101, description = "Switching to WebSocket"),
              (status = 503, description = "The server is stopping", body = Problem)))]
pub(crate) async fn socket(
    State(live): State<LiveMap>,
    headers: HeaderMap,
    client: ClientAddr,
    upgrade: Result<WebSocketUpgrade, WebSocketUpgradeRejection>,
) -> Result<Response, Problem> {
    socket::open::<FleetSession>(live, client, &headers, upgrade)
}
