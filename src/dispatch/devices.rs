//! Phones of couriers: a token each, shown once.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::Response;
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::Dispatch;
use super::onboarding::{self, Onboarding};
use super::write::{Change, Created};
use crate::access::{IssuedSecret, SecretKind};
use crate::directory::Table;
use crate::domain::{CourierId, SpeedUnit, UnixMs};
use crate::http::{ApiPath, ApiQuery, AsDispatcher, Creating, Page, PageQuery, Problem, Text};

/// Most phones of one courier that are not revoked.
const MAX_DEVICES: i64 = 50;

/// A phone as it is given.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct DeviceBody {
    /// What people call it.
    label: Option<Text<200>>,
    /// Unit of `speed` in its OsmAnd-protocol uploads: knots unless said otherwise.
    speed_unit: Option<SpeedUnit>,
}

/// A new phone. Its token is shown this once.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct NewDevice {
    id: Uuid,
    label: Option<String>,
    /// The device token.
    token: String,
    #[serde(flatten)]
    onboarding: Onboarding,
}

/// A phone.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct DeviceView {
    id: Uuid,
    label: Option<String>,
    speed_unit: String,
    /// First characters of its token.
    prefix: String,
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMs,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    label: Option<String>,
    speed_unit: String,
    token_prefix: String,
    created_at: OffsetDateTime,
}

/// List a courier's phones, oldest first.
#[utoipa::path(get, path = "/v1/couriers/{id}/devices", tag = "couriers",
    params(("id" = String, Path), PageQuery),
    responses((status = 200, body = Page<DeviceView>), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    State(dispatch): State<Dispatch>,
    _: AsDispatcher,
    ApiPath(courier): ApiPath<CourierId>,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<DeviceView>>, Problem> {
    // Numbers grow with time.
    const LIST: &str = "select id, label, speed_unit, token_prefix, created_at \
         from dispatch.device where courier_id = $1 and revoked_at is null \
          and ($2::uuid is null or id > $2) order by id limit $3";
    let limit = query.limit()?;
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(courier.as_str())
        .bind(query.after::<Uuid>()?)
        .bind(i64::from(limit) + 1)
        .fetch_all(dispatch.pool())
        .await?;
    if rows.is_empty() {
        must_exist(&mut *dispatch.pool().acquire().await?, &courier).await?;
    }
    let view = |row: Row| DeviceView {
        id: row.id,
        label: row.label,
        speed_unit: row.speed_unit,
        prefix: row.token_prefix,
        created_at: UnixMs::from_datetime(row.created_at),
    };
    let items = rows.into_iter().map(view).collect();
    Ok(Json(Page::of(items, limit, |device: &DeviceView| {
        device.id
    })))
}

/// 404 unless there is this courier, who is locked against deletion from here on.
pub(super) async fn must_exist(sql: &mut PgConnection, courier: &CourierId) -> Result<(), Problem> {
    const EXISTS: &str = "select 1 from dispatch.courier where id = $1 for key share";
    let found: Option<i32> = sqlx::query_scalar(EXISTS)
        .bind(courier.as_str())
        .fetch_optional(sql)
        .await?;
    found
        .map(|_| ())
        .ok_or_else(|| Problem::not_found("this courier"))
}

/// Connect a phone: its token, and links and QR codes that configure its app.
#[utoipa::path(post, path = "/v1/couriers/{id}/devices", tag = "couriers",
    params(("id" = String, Path)), request_body = DeviceBody,
    responses((status = 201, body = NewDevice), (status = 404, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(courier): ApiPath<CourierId>,
    Creating { body, idempotent }: Creating<DeviceBody>,
) -> Result<Response, Problem> {
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    must_exist(change.sql(), &courier).await?;
    let label = body.label.map(Text::into_string);
    let unit = body.speed_unit.unwrap_or_default();
    let (id, token) = insert(&dispatch, &mut change, &courier, label.as_deref(), unit).await?;
    let code = onboarding::new_join_code(&dispatch, &mut change, &courier).await?;
    let onboarding = onboarding::of(&dispatch, &courier, &token.secret, &code);
    change
        .audit("device.create", courier.as_str(), json!({"device": id}))
        .await?;
    let location = format!("/v1/couriers/{courier}/devices/{id}");
    let body = NewDevice {
        id,
        label,
        token: token.secret,
        onboarding,
    };
    change
        .created(Created {
            location,
            version: None,
            body,
        })
        .await
}

/// Adds a phone to a courier who exists.
pub(super) async fn insert(
    dispatch: &Dispatch,
    change: &mut Change,
    courier: &CourierId,
    label: Option<&str>,
    unit: SpeedUnit,
) -> Result<(Uuid, IssuedSecret), Problem> {
    const COUNT: &str =
        "select count(*) from dispatch.device where courier_id = $1 and revoked_at is null";
    const INSERT: &str = "insert into dispatch.device \
         (id, courier_id, label, speed_unit, token_hash, token_prefix) \
         values ($1, $2, $3, $4, $5, $6)";
    let count: i64 = sqlx::query_scalar(COUNT)
        .bind(courier.as_str())
        .fetch_one(change.sql())
        .await?;
    if count >= MAX_DEVICES {
        let detail = format!("a courier has at most {MAX_DEVICES} phones: revoke one first");
        return Err(Problem::conflict("too_many_devices", detail));
    }
    let token = dispatch.inner.chance.issue(SecretKind::Device);
    let id = dispatch.inner.chance.number(dispatch.now().0);
    sqlx::query(INSERT)
        .bind(id)
        .bind(courier.as_str())
        .bind(label)
        .bind(unit.as_str())
        .bind(&token.hash.0[..])
        .bind(&token.prefix)
        .execute(change.sql())
        .await?;
    change.touch(Table::Device, id);
    Ok((id, token))
}

/// Revoke a phone: its token is refused from now on.
#[utoipa::path(delete, path = "/v1/couriers/{id}/devices/{device}", tag = "couriers",
    params(("id" = String, Path), ("device" = Uuid, Path)),
    responses((status = 204), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath((courier, device)): ApiPath<(CourierId, Uuid)>,
) -> Result<StatusCode, Problem> {
    const REVOKE: &str = "update dispatch.device set revoked_at = now() \
                          where id = $1 and courier_id = $2 and revoked_at is null";
    let mut change = dispatch.change(&staff).await?;
    let revoke = sqlx::query(REVOKE).bind(device).bind(courier.as_str());
    if revoke.execute(change.sql()).await?.rows_affected() == 0 {
        return Err(Problem::not_found("this phone"));
    }
    change
        .audit("device.revoke", courier.as_str(), json!({"device": device}))
        .await?;
    change.touch(Table::Device, device);
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
