//! What was tried, and sending again.

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};
use uuid::Uuid;

use super::super::event_json::{event_name, event_number};
use super::webhooks::known_form;
use super::{Api, ApiQuery, page_size};
use crate::domain::UnixMs;
use crate::http::{ApiJson, AsDispatcher, Problem};

/// Most events that one request sends again.
const MAX_REDELIVERED: i64 = 100_000;

/// Which attempts are asked for.
#[derive(Debug, Deserialize, IntoParams)]
#[serde(deny_unknown_fields)]
#[into_params(parameter_in = Query)]
pub(super) struct AttemptQuery {
    /// Only about this event.
    event: Option<String>,
    /// From the page before.
    cursor: Option<i64>,
    /// Most items, 1 to 1000.
    limit: Option<i64>,
}

/// One call of a webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptRow {
    id: i64,
    /// Null: a test.
    event_id: Option<String>,
    event_type: String,
    #[schema(value_type = String, format = DateTime)]
    at: UnixMs,
    duration_ms: i32,
    /// The receiver's status, where it answered.
    status: Option<i32>,
    /// `delivered`, `failed` (it is tried again at `next_at`) or `gave_up`.
    outcome: String,
    /// What went wrong.
    error: Option<String>,
    #[schema(value_type = Option<String>, format = DateTime)]
    next_at: Option<UnixMs>,
}

impl FromRow<'_, PgRow> for AttemptRow {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let next_at: Option<OffsetDateTime> = row.try_get("next_at")?;
        Ok(Self {
            id: row.try_get("id")?,
            event_id: row.try_get::<Option<i64>, _>("event_id")?.map(event_name),
            event_type: row.try_get("event_type")?,
            at: UnixMs::from_datetime(row.try_get("at")?),
            duration_ms: row.try_get("duration_ms")?,
            status: row.try_get("status")?,
            outcome: row.try_get("outcome")?,
            error: row.try_get("error")?,
            next_at: next_at.map(UnixMs::from_datetime),
        })
    }
}

/// A page of attempts.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AttemptPage {
    /// Newest first.
    items: Vec<AttemptRow>,
    /// Null on the last page.
    next_cursor: Option<i64>,
}

/// Calls of a webhook, newest first; kept for 30 days
#[utoipa::path(get, path = "/v1/webhooks/{id}/attempts", tag = "webhooks",
    params(("id" = Uuid, Path), AttemptQuery),
    responses((status = 200, body = AttemptPage), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
    ApiQuery(query): ApiQuery<AttemptQuery>,
) -> Result<Json<AttemptPage>, Problem> {
    let webhook = existing(&api, &id).await?;
    let limit = page_size(query.limit)?;
    let event = query.event.as_deref().map(known_event).transpose()?;
    let items: Vec<AttemptRow> = sqlx::query_as(
        "select id, event_id, event_type, at, duration_ms, status, outcome, error, next_at
           from notifications.attempt
          where webhook_id = $1 and ($2::bigint is null or event_id = $2)
            and ($3::bigint is null or id < $3)
          order by id desc limit $4",
    )
    .bind(webhook)
    .bind(event)
    .bind(query.cursor)
    .bind(limit)
    .fetch_all(&api.pool)
    .await?;
    let full = i64::try_from(items.len()).is_ok_and(|n| n == limit);
    let next_cursor = items.last().filter(|_| full).map(|a| a.id);
    Ok(Json(AttemptPage { items, next_cursor }))
}

/// What is to be sent again: one event, or a span of time.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct Redelivery {
    /// This event, whether or not the webhook's patterns want it.
    event_id: Option<String>,
    /// Events that were recorded from then …
    #[schema(value_type = Option<String>, format = DateTime)]
    from: Option<UnixMs>,
    /// … until before then, and that the webhook's patterns want.
    #[schema(value_type = Option<String>, format = DateTime)]
    to: Option<UnixMs>,
}

/// What was put into the outbox.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Redelivered {
    /// Events that will be sent; those that were still waiting are not counted.
    queued: u64,
}

/// Send events again, with the `webhook-id`s that they had
#[utoipa::path(post, path = "/v1/webhooks/{id}/redeliver", tag = "webhooks",
    params(("id" = Uuid, Path)), request_body = Redelivery,
    responses((status = 202, body = Redelivered), (status = 404, body = Problem),
              (status = 422, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn redeliver(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
    ApiJson(what): ApiJson<Redelivery>,
) -> Result<(StatusCode, Json<Redelivered>), Problem> {
    let webhook = existing(&api, &id).await?;
    let queued = match (what.event_id, what.from, what.to) {
        (Some(event), None, None) => {
            let event = known_event(&event)?;
            let there =
                sqlx::query_scalar("select exists (select from public.event where id = $1)");
            if !there.bind(event).fetch_one(&api.pool).await? {
                return Err(Problem::not_found("the event"));
            }
            queue(&api, webhook, Some(event), UnixMs(0), UnixMs(0)).await?
        }
        (None, Some(from), Some(to)) if from < to => queue(&api, webhook, None, from, to).await?,
        _ => {
            let detail = "give event_id, or from and a later to";
            return Err(Problem::invalid(detail));
        }
    };
    Ok((StatusCode::ACCEPTED, Json(Redelivered { queued })))
}

/// Puts events into the webhook's outbox and wakes its worker.
async fn queue(
    api: &Api,
    webhook: Uuid,
    event: Option<i64>,
    from: UnixMs,
    to: UnixMs,
) -> Result<u64, Problem> {
    let mut tx = api.pool.begin().await?;
    let queued = sqlx::query(
        "insert into notifications.outbox (webhook_id, event_id, lane)
         select w.id, e.id, coalesce(e.courier_id, e.delivery_id, '')
           from notifications.webhook w, public.event e
          where w.id = $1
            and (e.id = $2 or ($2::bigint is null and e.recorded_at >= $3 and e.recorded_at < $4
                               and notifications.wanted(w.events, e.type)))
          order by e.id limit $5
         on conflict do nothing",
    )
    .bind(webhook)
    .bind(event)
    .bind(from.to_datetime())
    .bind(to.to_datetime())
    .bind(MAX_REDELIVERED)
    .execute(&mut *tx)
    .await?;
    sqlx::query("select pg_notify('waylog_outbox', $1)")
        .bind(webhook.to_string())
        .execute(&mut *tx)
        .await?;
    tx.commit().await?;
    Ok(queued.rows_affected())
}

async fn existing(api: &Api, id: &str) -> Result<Uuid, Problem> {
    let id = known_form(id)?;
    let there =
        sqlx::query_scalar("select exists (select from notifications.webhook where id = $1)");
    if there.bind(id).fetch_one(&api.pool).await? {
        return Ok(id);
    }
    Err(Problem::not_found("the webhook"))
}

fn known_event(name: &str) -> Result<i64, Problem> {
    event_number(name).ok_or_else(|| Problem::bad_request("an event's id is as in evt_42"))
}
