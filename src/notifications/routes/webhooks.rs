//! `/v1/webhooks`: who is told, of what, and with which secret.

use std::time::Duration;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use reqwest::Url;
use serde::{Deserialize, Serialize};
use sqlx::postgres::PgRow;
use sqlx::{FromRow, PgConnection, PgExecutor, Row};
use time::OffsetDateTime;
use tokio::time::Instant;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::event_json::{Event, Payload};
use super::super::outbox::{Target, Verdict, WebhookSecret, check_literal};
use super::{Api, ApiQuery};
use crate::access::{Staff, audit};
use crate::domain::{EventPattern, UnixMs};
use crate::http::{Answer, ApiJson, AsDispatcher, Begun, Creating, Page, PageQuery, Problem};

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
    /// Since when the oldest of them waits.
    #[schema(value_type = Option<String>, format = DateTime)]
    pending_since: Option<UnixMs>,
    /// Of the last calls, 200 at most, …
    recent_attempts: i64,
    /// … so many were delivered.
    recent_delivered: i64,
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
        let pending_since: Option<OffsetDateTime> = row.try_get("pending_since")?;
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
            pending_since: pending_since.map(UnixMs::from_datetime),
            recent_attempts: row.try_get("recent_attempts")?,
            recent_delivered: row.try_get("recent_delivered")?,
            last_attempt_at: last_attempt_at.map(UnixMs::from_datetime),
            last_error: row.try_get("last_error")?,
            created_at: UnixMs::from_datetime(row.try_get("created_at")?),
            secret: None,
        })
    }
}

const SELECT: &str = "select w.id, w.url, w.events, w.description, w.enabled, w.disabled_reason,
        w.created_at, a.outcome as last_outcome, a.at as last_attempt_at, a.error as last_error,
        o.pending, o.pending_since, r.recent_attempts, r.recent_delivered
   from notifications.webhook w
   cross join lateral (select count(*) as pending, min(created_at) as pending_since
                         from notifications.outbox where webhook_id = w.id) o
   cross join lateral (select count(*) as recent_attempts,
                              count(*) filter (where outcome = 'delivered') as recent_delivered
                         from (select outcome from notifications.attempt where webhook_id = w.id
                                order by id desc limit 200) newest) r
   left join lateral (select outcome, at, error from notifications.attempt
                       where webhook_id = w.id order by id desc limit 1) a on true";

/// Create a webhook; the secret is shown in this answer only
#[utoipa::path(post, path = "/v1/webhooks", tag = "webhooks", request_body = NewWebhook,
    responses((status = 201, body = Webhook), (status = 409, body = Problem),
              (status = 422, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create(
    AsDispatcher(staff): AsDispatcher,
    State(api): State<Api>,
    Creating {
        body: new,
        idempotent,
    }: Creating<NewWebhook>,
) -> Result<Response, Problem> {
    let url = checked_url(&api, &new.url)?;
    let events = checked_patterns(new.events.unwrap_or_else(|| vec!["*".into()]))?;
    let description = checked_description(new.description)?;
    let mut transaction = api.pool.begin().await?;
    if let Some(idempotent) = &idempotent
        && let Begun::Answered(answer) = idempotent.begin(&mut transaction).await?
    {
        return Ok(answer);
    }
    let secret = WebhookSecret::issue(&mut *api.rng.lock());
    let id = Uuid::now_v7();
    let inserted = sqlx::query(
        "insert into notifications.webhook (id, url, events, description, secret)
         select $1, $2, $3, $4, $5
          where (select count(*) from notifications.webhook) < $6",
    )
    .bind(id)
    .bind(url.as_str())
    .bind(&events)
    .bind(description)
    .bind(secret.to_stored())
    .bind(MAX_WEBHOOKS)
    .execute(&mut *transaction)
    .await?;
    if inserted.rows_affected() == 0 {
        let detail = format!("there are {MAX_WEBHOOKS} webhooks already: delete some first");
        return Err(Problem::conflict("too_many_webhooks", detail));
    }
    note(&mut transaction, &staff, "webhook.create", id).await?;
    let mut webhook = find(&mut *transaction, id).await?;
    webhook.secret = Some(secret.expose());
    let answer = Answer::created(format!("/v1/webhooks/{id}"), None, &webhook)?;
    if let Some(idempotent) = idempotent {
        idempotent.keep(&mut transaction, &answer).await?;
    }
    transaction.commit().await?;
    Ok(answer.into_response())
}

/// Notes a change in the audit log, in its transaction.
async fn note(
    sql: &mut PgConnection,
    staff: &Staff,
    action: &str,
    webhook: Uuid,
) -> sqlx::Result<()> {
    let subject = webhook.to_string();
    audit(sql, staff.actor(), action, &subject, serde_json::json!({})).await
}

/// List webhooks, oldest first
#[utoipa::path(get, path = "/v1/webhooks", tag = "webhooks", params(PageQuery),
    responses((status = 200, body = Page<Webhook>), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    _: AsDispatcher,
    State(api): State<Api>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<Webhook>>, Problem> {
    // Numbers grow with time.
    let sql = format!("{SELECT} where $1::uuid is null or w.id > $1 order by w.id limit $2");
    let limit = query.limit()?;
    let items = sqlx::query_as(sqlx::AssertSqlSafe(sql))
        .bind(query.after::<Uuid>()?)
        .bind(i64::from(limit) + 1)
        .fetch_all(&api.pool)
        .await?;
    Ok(Json(Page::of(items, limit, |webhook: &Webhook| webhook.id)))
}

/// One webhook
#[utoipa::path(get, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    responses((status = 200, body = Webhook), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn read(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Webhook>, Problem> {
    Ok(Json(find(&api.pool, known_form(&id)?).await?))
}

/// Change a webhook
#[utoipa::path(patch, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    request_body = WebhookChange,
    responses((status = 200, body = Webhook), (status = 404, body = Problem),
              (status = 422, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn update(
    AsDispatcher(staff): AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
    ApiJson(change): ApiJson<WebhookChange>,
) -> Result<Json<Webhook>, Problem> {
    let id = known_form(&id)?;
    let url = change.url.map(|url| checked_url(&api, &url)).transpose()?;
    let events = change.events.map(checked_patterns).transpose()?;
    let description = checked_description(change.description)?;
    let mut transaction = api.pool.begin().await?;
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
    .execute(&mut *transaction)
    .await?;
    let webhook = find(&mut *transaction, id).await?;
    note(&mut transaction, &staff, "webhook.patch", id).await?;
    transaction.commit().await?;
    Ok(Json(webhook))
}

/// Delete a webhook, with what waits to be sent to it
#[utoipa::path(delete, path = "/v1/webhooks/{id}", tag = "webhooks", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    AsDispatcher(staff): AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let id = known_form(&id)?;
    let mut transaction = api.pool.begin().await?;
    let deleted = sqlx::query("delete from notifications.webhook where id = $1")
        .bind(id)
        .execute(&mut *transaction)
        .await?;
    if deleted.rows_affected() == 0 {
        return Err(Problem::not_found("the webhook"));
    }
    note(&mut transaction, &staff, "webhook.delete", id).await?;
    transaction.commit().await?;
    Ok(StatusCode::NO_CONTENT)
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
    responses((status = 200, body = Rotated), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn rotate(
    AsDispatcher(staff): AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<Rotated>, Problem> {
    let id = known_form(&id)?;
    let mut transaction = api.pool.begin().await?;
    let secret = WebhookSecret::issue(&mut *api.rng.lock());
    let old_secret_ms = i64::try_from(OLD_SECRET_FOR.as_millis()).unwrap_or(i64::MAX);
    let previous_valid_until = UnixMs(api.clock.now_ms()).plus_ms(old_secret_ms);
    let rotated = sqlx::query(
        "update notifications.webhook
            set previous_secret = secret, previous_secret_until = $2, secret = $3,
                updated_at = now()
          where id = $1",
    )
    .bind(id)
    .bind(previous_valid_until.to_datetime())
    .bind(secret.to_stored())
    .execute(&mut *transaction)
    .await?;
    if rotated.rows_affected() == 0 {
        return Err(Problem::not_found("the webhook"));
    }
    note(&mut transaction, &staff, "webhook.rotate", id).await?;
    transaction.commit().await?;
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
    responses((status = 200, body = Tested), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
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

async fn find(sql: impl PgExecutor<'_>, id: Uuid) -> Result<Webhook, Problem> {
    let select = format!("{SELECT} where w.id = $1");
    let found = sqlx::query_as(sqlx::AssertSqlSafe(select))
        .bind(id)
        .fetch_optional(sql)
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
