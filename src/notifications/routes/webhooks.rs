//! `/v1/webhooks`: who is told, of what, and with which secret.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{HeaderMap, StatusCode, header};
use axum::response::{IntoResponse, Response};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, Row};
use time::OffsetDateTime;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::event_json::{Event, Payload};
use super::super::outbox::{Target, Verdict, WebhookSecret, check_literal};
use super::Api;
use crate::domain::{EventPattern, UnixMs};
use crate::http::{ApiJson, AsDispatcher, Problem};

/// Longest URL, bytes.
const MAX_URL_LEN: usize = 2_048;
/// Most patterns of one webhook.
const MAX_PATTERNS: usize = 64;
/// Longest description, characters.
const MAX_DESCRIPTION_LEN: usize = 200;
/// Most webhooks: each has a worker, and every event is looked at for each.
const MAX_WEBHOOKS: i64 = 1_000;
/// The old secret signs for so long after a rotation.
const OLD_SECRET_FOR: Duration = Duration::from_secs(24 * 3600);
/// Type of the call that tests an endpoint.
const TEST_TYPE: &str = "webhook.test";

/// A webhook to be created.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct NewWebhook {
    /// Where it is called; https:// or http://.
    #[schema(example = "https://example.org/hooks/waylog")]
    url: String,
    /// What it is told: `*`, groups as in `delivery.*`, or types. Everything, if left out.
    #[schema(example = json!(["delivery.*"]))]
    events: Option<Vec<String>>,
    /// What people call it.
    description: Option<String>,
}

/// Changes of a webhook; what is left out stays.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct WebhookChange {
    /// Where it is called.
    url: Option<String>,
    /// What it is told.
    events: Option<Vec<String>>,
    /// What people call it.
    description: Option<String>,
    /// Whether it is called; true also switches one on again that a 410 has switched off.
    enabled: Option<bool>,
}

/// How an endpoint does.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
enum Health {
    /// Never called so far.
    Unknown,
    /// The last call was delivered.
    Ok,
    /// The last call failed.
    Failing,
    /// Switched off.
    Disabled,
}

/// A webhook.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Webhook {
    id: Uuid,
    url: String,
    events: Vec<String>,
    description: Option<String>,
    enabled: bool,
    /// Why Waylog switched it off.
    disabled_reason: Option<String>,
    health: Health,
    /// Events that wait to be sent.
    pending: i64,
    #[schema(value_type = Option<String>, format = DateTime)]
    last_attempt_at: Option<UnixMs>,
    /// What went wrong in the last call.
    last_error: Option<String>,
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMs,
    /// Signs every call. Shown at creation and rotation only.
    #[serde(skip_serializing_if = "Option::is_none")]
    secret: Option<String>,
}

impl FromRow<'_, PgRow> for Webhook {
    fn from_row(row: &PgRow) -> sqlx::Result<Self> {
        let enabled = row.try_get("enabled")?;
        let last_outcome: Option<&str> = row.try_get("last_outcome")?;
        let last_attempt_at: Option<OffsetDateTime> = row.try_get("last_attempt_at")?;
        Ok(Self {
            id: row.try_get("id")?,
            url: row.try_get("url")?,
            events: row.try_get("events")?,
            description: row.try_get("description")?,
            enabled,
            disabled_reason: row.try_get("disabled_reason")?,
            health: match last_outcome {
                _ if !enabled => Health::Disabled,
                None => Health::Unknown,
                Some("delivered") => Health::Ok,
                Some(_) => Health::Failing,
            },
            pending: row.try_get("pending")?,
            last_attempt_at: last_attempt_at.map(UnixMs::from_datetime),
            last_error: row.try_get("last_error")?,
            created_at: UnixMs::from_datetime(row.try_get("created_at")?),
            secret: None,
        })
    }
}

const SELECT: &str = "select w.id, w.url, w.events, w.description, w.enabled, w.disabled_reason,
        w.created_at, a.outcome as last_outcome, a.at as last_attempt_at, a.error as last_error,
        (select count(*) from notifications.outbox o where o.webhook_id = w.id) as pending
   from notifications.webhook w
   left join lateral (select outcome, at, error from notifications.attempt
                       where webhook_id = w.id order by id desc limit 1) a on true";

/// All webhooks.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct WebhookList {
    items: Vec<Webhook>,
    /// Always null: there are never more than fit a page.
    next_cursor: Option<String>,
}

/// Create a webhook; the secret is shown in this answer only
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = NewWebhook,
    responses((status = 201, body = Webhook), (status = 409, body = Problem),
              (status = 422, body = Problem)))]
pub(super) async fn create(
    _: AsDispatcher,
    State(api): State<Api>,
    headers: HeaderMap,
    ApiJson(new): ApiJson<NewWebhook>,
) -> Result<Response, Problem> {
    let url = checked_url(&api, &new.url)?;
    let events = checked_patterns(new.events.unwrap_or_else(|| vec!["*".into()]))?;
    let description = checked_description(new.description)?;
    let key = headers.get("idempotency-key").and_then(|v| v.to_str().ok());
    if let Some(key) = key
        && let Some(same) = created_before(&api, key, &url, &events).await?
    {
        return Ok(created(same));
    }
    let secret = WebhookSecret::issue(&mut *api.rng.lock());
    let id = Uuid::now_v7();
    let inserted = sqlx::query(
        "insert into notifications.webhook (id, url, events, description, secret, idempotency_key)
         select $1, $2, $3, $4, $5, $6
          where (select count(*) from notifications.webhook) < $7",
    )
    .bind(id)
    .bind(url.as_str())
    .bind(&events)
    .bind(description)
    .bind(secret.to_stored())
    .bind(key)
    .bind(MAX_WEBHOOKS)
    .execute(&api.pool)
    .await?;
    if inserted.rows_affected() == 0 {
        let detail = format!("there are {MAX_WEBHOOKS} webhooks already: delete some first");
        return Err(Problem::conflict("too_many_webhooks", detail));
    }
    let mut webhook = find(&api, id).await?;
    webhook.secret = Some(secret.expose());
    Ok(created(webhook))
}

fn created(webhook: Webhook) -> Response {
    let location = format!("/v1/webhooks/{}", webhook.id);
    (
        StatusCode::CREATED,
        [(header::LOCATION, location)],
        Json(webhook),
    )
        .into_response()
}

/// The webhook that an earlier request with this Idempotency-Key has made.
async fn created_before(
    api: &Api,
    key: &str,
    url: &Url,
    events: &[String],
) -> Result<Option<Webhook>, Problem> {
    let found = sqlx::query_as::<_, (Uuid, Vec<u8>)>(
        "select id, secret from notifications.webhook where idempotency_key = $1",
    )
    .bind(key)
    .fetch_optional(&api.pool)
    .await?;
    let Some((id, secret)) = found else {
        return Ok(None);
    };
    let mut webhook = find(api, id).await?;
    if webhook.url != url.as_str() || webhook.events != events {
        return Err(Problem::invalid(
            "this Idempotency-Key was used for another request",
        ));
    }
    webhook.secret = Some(WebhookSecret::from_stored(secret).expose());
    Ok(Some(webhook))
}

/// All webhooks
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks",
    responses((status = 200, body = WebhookList)))]
pub(super) async fn list(
    _: AsDispatcher,
    State(api): State<Api>,
) -> Result<Json<WebhookList>, Problem> {
    let sql = format!("{SELECT} order by w.created_at, w.id");
    let items = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .fetch_all(&api.pool)
        .await?;
    Ok(Json(WebhookList {
        items,
        next_cursor: None,
    }))
}

/// One webhook
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    responses((status = 200, body = Webhook), (status = 404, body = Problem)))]
pub(super) async fn read(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Webhook>, Problem> {
    Ok(Json(find(&api, known_form(&id)?).await?))
}

/// Change a webhook
#[utoipa::path(patch, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    request_body = WebhookChange,
    responses((status = 200, body = Webhook), (status = 404, body = Problem),
              (status = 422, body = Problem)))]
pub(super) async fn update(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
    ApiJson(change): ApiJson<WebhookChange>,
) -> Result<Json<Webhook>, Problem> {
    let id = known_form(&id)?;
    let url = change.url.map(|url| checked_url(&api, &url)).transpose()?;
    let events = change.events.map(checked_patterns).transpose()?;
    let description = checked_description(change.description)?;
    sqlx::query(
        "update notifications.webhook
            set url = coalesce($2, url), events = coalesce($3, events),
                description = coalesce($4, description), enabled = coalesce($5, enabled),
                disabled_reason = case when $5 is null then disabled_reason end,
                updated_at = now()
          where id = $1",
    )
    .bind(id)
    .bind(url.as_ref().map(Url::as_str))
    .bind(events)
    .bind(description)
    .bind(change.enabled)
    .execute(&api.pool)
    .await?;
    Ok(Json(find(&api, id).await?))
}

/// Delete a webhook, with what waits to be sent to it
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 404, body = Problem)))]
pub(super) async fn delete(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let deleted = sqlx::query("delete from notifications.webhook where id = $1")
        .bind(known_form(&id)?)
        .execute(&api.pool)
        .await?;
    match deleted.rows_affected() {
        0 => Err(Problem::not_found("the webhook")),
        _ => Ok(StatusCode::NO_CONTENT),
    }
}

/// A new secret.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Rotated {
    /// Shown in this answer only.
    secret: String,
    /// Until then every call bears a signature by the old secret too.
    #[schema(value_type = String, format = DateTime)]
    previous_valid_until: UnixMs,
}

/// Give a webhook a new secret; for a day the old one signs too
#[utoipa::path(post, path = "/v1/webhooks/{id}/rotate", tag = "webhooks",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Rotated), (status = 404, body = Problem)))]
pub(super) async fn rotate(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Rotated>, Problem> {
    let secret = WebhookSecret::issue(&mut *api.rng.lock());
    let old_secret_ms = i64::try_from(OLD_SECRET_FOR.as_millis()).unwrap_or(i64::MAX);
    let previous_valid_until = UnixMs(api.clock.now_ms()).plus_ms(old_secret_ms);
    let rotated = sqlx::query(
        "update notifications.webhook
            set previous_secret = secret, previous_secret_until = $2, secret = $3,
                updated_at = now()
          where id = $1",
    )
    .bind(known_form(&id)?)
    .bind(previous_valid_until.to_datetime())
    .bind(secret.to_stored())
    .execute(&api.pool)
    .await?;
    if rotated.rows_affected() == 0 {
        return Err(Problem::not_found("the webhook"));
    }
    Ok(Json(Rotated {
        secret: secret.expose(),
        previous_valid_until,
    }))
}

/// What a test call came to.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct Tested {
    delivered: bool,
    /// The receiver's status, where it answered.
    status: Option<u16>,
    duration_ms: i32,
    /// What went wrong.
    error: Option<String>,
}

/// Call a webhook once with an event of type `webhook.test`, at once and without a second try
#[utoipa::path(post, path = "/v1/webhooks/{id}/test", tag = "webhooks",
    params(("id" = Uuid, Path)),
    responses((status = 200, body = Tested), (status = 404, body = Problem)))]
pub(super) async fn test(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Tested>, Problem> {
    let id = known_form(&id)?;
    let target = sqlx::query_as::<_, Target>(
        "select url, secret, previous_secret, previous_secret_until
           from notifications.webhook where id = $1",
    )
    .bind(id)
    .fetch_optional(&api.pool)
    .await?;
    let target = target.ok_or_else(|| Problem::not_found("the webhook"))?;
    let at = UnixMs(api.clock.now_ms());
    let event = Event {
        id: format!("evt_test_{}", Uuid::now_v7().simple()),
        kind: TEST_TYPE.into(),
        at,
        courier_id: None,
        delivery_id: None,
        geofence_id: None,
        position: None,
        evidence: serde_json::json!({}),
    };
    let body = serde_json::to_vec(&Payload::of(&event)).unwrap_or_default();
    let started = Instant::now();
    let called = api.sender.call(&target, &event.id, body).await;
    let duration_ms = i32::try_from(started.elapsed().as_millis()).unwrap_or(i32::MAX);
    let delivered = called.verdict == Verdict::Delivered;
    sqlx::query(
        "insert into notifications.attempt
             (webhook_id, event_type, at, duration_ms, status, outcome, error)
         select id, $2, $3, $4, $5, $6, $7 from notifications.webhook where id = $1",
    )
    .bind(id)
    .bind(TEST_TYPE)
    .bind(at.to_datetime())
    .bind(duration_ms)
    .bind(called.status.map(i32::from))
    .bind(if delivered { "delivered" } else { "failed" })
    .bind(&called.error)
    .execute(&api.pool)
    .await?;
    Ok(Json(Tested {
        delivered,
        status: called.status,
        duration_ms,
        error: called.error,
    }))
}

async fn find(api: &Api, id: Uuid) -> Result<Webhook, Problem> {
    let sql = format!("{SELECT} where w.id = $1");
    let found = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(id)
        .fetch_optional(&api.pool)
        .await?;
    found.ok_or_else(|| Problem::not_found("the webhook"))
}

/// An id that is no UUID is the id of no webhook.
pub(super) fn known_form(id: &str) -> Result<Uuid, Problem> {
    id.parse().map_err(|_| Problem::not_found("the webhook"))
}

fn checked_url(api: &Api, text: &str) -> Result<Url, Problem> {
    if text.len() > MAX_URL_LEN {
        return Err(Problem::invalid(format!(
            "url must have at most {MAX_URL_LEN} bytes"
        )));
    }
    let url = Url::parse(text)
        .map_err(|e| Problem::invalid(format!("url is not a URL ({e}): give https://…")))?;
    if !matches!(url.scheme(), "https" | "http") || url.host_str().is_none_or(str::is_empty) {
        return Err(Problem::invalid(
            "url must begin with https:// or http:// and name a host",
        ));
    }
    if !url.username().is_empty() || url.password().is_some() {
        let detail = "url must hold no user or password: check the signature instead";
        return Err(Problem::invalid(detail));
    }
    check_literal(&url, api.allow_private).map_err(|e| Problem::invalid(format!("url: {e}")))?;
    Ok(url)
}

fn checked_patterns(patterns: Vec<String>) -> Result<Vec<String>, Problem> {
    if patterns.is_empty() || patterns.len() > MAX_PATTERNS {
        let detail =
            format!("events must hold 1 to {MAX_PATTERNS} patterns; [\"*\"] is everything");
        return Err(Problem::invalid(detail));
    }
    for pattern in &patterns {
        pattern
            .parse::<EventPattern>()
            .map_err(|e| Problem::invalid(format!("events: {e}")))?;
    }
    Ok(patterns)
}

fn checked_description(text: Option<String>) -> Result<Option<String>, Problem> {
    match text {
        Some(text) if text.chars().count() > MAX_DESCRIPTION_LEN => Err(Problem::invalid(format!(
            "description must have at most {MAX_DESCRIPTION_LEN} characters"
        ))),
        text => Ok(text),
    }
}
