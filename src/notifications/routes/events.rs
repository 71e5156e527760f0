//! `GET /v1/events`: what happened, in the order in which it was recorded.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sqlx::{FromRow, Row};
use utoipa::{IntoParams, ToSchema};

use super::super::event_json::{EVENT_COLUMNS, Event, event_number};
use super::{Api, ApiQuery, page_size};
use crate::http::{AsDispatcher, Problem};

/// Which events are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct EventQuery {
    /// Only what was recorded after this: an event's id, or a `next_cursor`.
    after: Option<String>,
    /// The same as `after`.
    cursor: Option<String>,
    /// Only about this courier.
    courier: Option<String>,
    /// Only about this delivery.
    delivery: Option<String>,
    /// Only of this type, as in `geofence.enter`, or of this group, as in `geofence.*`.
    #[serde(rename = "type")]
    kind: Option<String>,
    /// `asc` (usual) reads on from the oldest, `desc` back from the newest.
    #[serde(default)]
    #[param(inline)]
    order: Order,
    /// Most items, 1 to 1000.
    limit: Option<i64>,
}

/// Which way is read.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Order {
    #[default]
    Asc,
    Desc,
}

/// A page of events.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventPage {
    /// Oldest first, unless asked for otherwise.
    items: Vec<Event>,
    /// Give it as `after` to read on. Reading on from the oldest, it is there as soon as there is one
    /// event, also on the last page, so that a reader can come back for what happens later.
    next_cursor: Option<String>,
}

/// A place in the order of events: transaction, and number within it.
#[derive(Debug, Clone, PartialEq, Eq)]
struct Place {
    xid: String,
    id: i64,
}

impl Place {
    fn start() -> Self {
        Self {
            xid: "0".into(),
            id: 0,
        }
    }

    fn end() -> Self {
        Self {
            xid: u64::MAX.to_string(),
            id: i64::MAX,
        }
    }

    fn to_cursor(&self) -> String {
        format!("{}-{}", self.xid, self.id)
    }

    fn from_cursor(text: &str) -> Option<Self> {
        let (xid, id) = text.split_once('-')?;
        let xid: u64 = xid.parse().ok()?;
        Some(Self {
            xid: xid.to_string(),
            id: id.parse().ok()?,
        })
    }
}

/// Events in the order in which they were recorded
///
/// Ask again with `after` set to `next_cursor`: nothing is missed and nothing comes twice.
#[utoipa::path(get, path = "/v1/events", tag = "events", params(EventQuery),
    responses((status = 200, body = EventPage), (status = 400, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    _: AsDispatcher,
    State(api): State<Api>,
    ApiQuery(query): ApiQuery<EventQuery>,
) -> Result<Json<EventPage>, Problem> {
    let limit = page_size(query.limit)?;
    let after = match query.after.as_deref().or(query.cursor.as_deref()) {
        Some(text) => place(&api, text).await?,
        None if query.order == Order::Desc => Place::end(),
        None => Place::start(),
    };
    let (beyond, direction) = match query.order {
        Order::Asc => (">", "asc"),
        Order::Desc => ("<", "desc"),
    };
    let group = query
        .kind
        .as_deref()
        .and_then(|kind| kind.strip_suffix('*'));
    // Only what lies before every transaction that still runs: later nothing can come in between.
    let rows = sqlx::query(sqlx::AssertSqlSafe(format!(
        "select {EVENT_COLUMNS}, e.xid::text as xid from public.event e
          where (e.xid, e.id) {beyond} ($1::xid8, $2) and e.xid < dispatch.event_horizon()
            and ($3::text is null or e.courier_id = $3)
            and ($4::text is null or e.delivery_id = $4)
            and ($5::text is null or e.type = $5 or starts_with(e.type, $6))
          order by e.xid {direction}, e.id {direction} limit $7"
    )))
    .bind(&after.xid)
    .bind(after.id)
    .bind(query.courier)
    .bind(query.delivery)
    .bind(query.kind.as_deref())
    .bind(group)
    .bind(limit)
    .fetch_all(&api.pool)
    .await?;
    let last = match rows.last() {
        Some(row) => Place {
            xid: row.try_get("xid")?,
            id: row.try_get("id")?,
        },
        None => after,
    };
    let items: Result<Vec<Event>, _> = rows.iter().map(Event::from_row).collect();
    let full = i64::try_from(rows.len()).is_ok_and(|read| read == limit);
    let more = match query.order {
        Order::Asc => last != Place::start(),
        Order::Desc => full,
    };
    let next_cursor = more.then(|| last.to_cursor());
    Ok(Json(EventPage {
        items: items?,
        next_cursor,
    }))
}

/// Where `text` (an event's id or a cursor) stands.
async fn place(api: &Api, text: &str) -> Result<Place, Problem> {
    if let Some(place) = Place::from_cursor(text) {
        return Ok(place);
    }
    let Some(id) = event_number(text) else {
        let detail = "after must be an event's id, as in evt_42, or a next_cursor";
        return Err(Problem::bad_request(detail));
    };
    let xid = sqlx::query_scalar::<_, String>("select xid::text from public.event where id = $1")
        .bind(id)
        .fetch_optional(&api.pool)
        .await?;
    let xid = xid.ok_or_else(|| Problem::not_found(&format!("event {text}")))?;
    Ok(Place { xid, id })
}
