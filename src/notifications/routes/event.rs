//! `GET /v1/events/{id}`: one event, and who was told of it.

use axum::Json;
use axum::extract::{Path, State};
use serde::Serialize;
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::event_json::{EVENT_COLUMNS, Event, event_number};
use super::Api;
use crate::domain::UnixMs;
use crate::http::{AsDispatcher, Problem};

/// An event, and who was told of it.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct EventDetail {
    #[serde(flatten)]
    event: Event,
    /// Webhooks that it was sent to, or waits to be sent to.
    sent: Vec<SentTo>,
}

/// What became of an event on its way to one webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SentTo {
    webhook_id: Uuid,
    url: String,
    /// Whether it is still to be sent.
    waiting: bool,
    /// Not before then, where it waits for another try.
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<UnixMs>,
    /// Calls so far that are still on record.
    attempts: i64,
    /// The newest call's outcome: `delivered`, `failed` or `gave_up`.
    outcome: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<UnixMs>,
    /// The receiver's status, where it answered.
    status: Option<i32>,
    /// What went wrong.
    error: Option<String>,
}

impl FromRow<'_, PgRow> for SentTo {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let instant = |column: &str| {
            let at: Option<OffsetDateTime> = row.try_get(column)?;
            Ok::<_, sqlx::Error>(at.map(UnixMs::from_datetime))
        };
        Ok(Self {
            webhook_id: row.try_get("id")?,
            url: row.try_get("url")?,
            waiting: row.try_get("waiting")?,
            next_at: instant("next_attempt_at")?,
            attempts: row.try_get("attempts")?,
            outcome: row.try_get("outcome")?,
            last_attempt_at: instant("at")?,
            status: row.try_get("status")?,
            error: row.try_get("error")?,
        })
    }
}

/// One event with its evidence, and which webhooks were told of it
#[utoipa::path(get, path = "/v1/events/{id}", tag = "events", params(("id" = String, Path)),
    responses((status = 200, body = EventDetail), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn read(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(name): Path<String>,
) -> Result<Json<EventDetail>, Problem> {
    let missing = || Problem::not_found("the event");
    let id = event_number(&name).ok_or_else(missing)?;
    let sql = format!("select {EVENT_COLUMNS} from public.event e where e.id = $1");
    let event: Option<Event> = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(&api.pool)
        .await?;
    let event = event.ok_or_else(missing)?;
    let sent = sqlx::query_as(
        "select w.id, w.url, o.event_id is not null as waiting, o.next_attempt_at,
                coalesce(a.attempts, 0) as attempts, a.outcome, a.at, a.status, a.error
           from notifications.webhook w
           left join notifications.outbox o on o.webhook_id = w.id and o.event_id = $1
           left join lateral (select count(*) over () as attempts, outcome, at, status, error
                                from notifications.attempt
                               where event_id = $1 and webhook_id = w.id
                               order by id desc limit 1) a on true
          where o.event_id is not null or a.attempts is not null
          order by w.created_at, w.id",
    )
    .bind(id)
    .fetch_all(&api.pool)
    .await?;
    Ok(Json(EventDetail { event, sent }))
}
