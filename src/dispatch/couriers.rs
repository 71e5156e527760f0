//! Couriers.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::json;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::Dispatch;
use super::write::Created;
use crate::directory::Table;
use crate::domain::{CourierId, UnixMs, Vehicle};
use crate::http::{
    ApiJson, ApiPath, ApiQuery, AsAnalyst, AsDispatcher, Creating, IfMatch, Page, PageQuery,
    Problem, Text, etag,
};

/// Most tags of a courier or a delivery.
pub(super) const MAX_TAGS: usize = 20;

/// A word to filter by.
pub(super) type Tag = Text<40>;

/// A courier as it is given.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CourierBody {
    /// The caller's own id: 1 to 64 of A–Z a–z 0–9 . _ : -
    #[schema(value_type = String)]
    id: CourierId,
    #[serde(flatten)]
    rest: CourierFields,
}

/// What a courier has beside its id.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct CourierFields {
    /// Shown to customers.
    name: Option<Text<200>>,
    /// Shown to dispatchers alone.
    phone: Option<Text<40>>,
    /// What the courier goes by.
    vehicle: Option<Vehicle>,
    /// Words to filter by.
    tags: Option<Vec<Tag>>,
    /// Off duty, positions are not stored; on duty unless said otherwise.
    on_duty: Option<bool>,
}

/// What to change of a courier; null empties a field.
#[derive(Debug, Deserialize, ToSchema)]
#[serde(deny_unknown_fields)]
pub(super) struct CourierPatch {
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    name: Option<Option<Text<200>>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<String>)]
    phone: Option<Option<Text<40>>>,
    #[serde(default, deserialize_with = "given")]
    #[schema(value_type = Option<Vehicle>)]
    vehicle: Option<Option<Vehicle>>,
    tags: Option<Vec<Tag>>,
    on_duty: Option<bool>,
}

/// Tells null from nothing.
fn given<'de, T: Deserialize<'de>, D: Deserializer<'de>>(d: D) -> Result<Option<T>, D::Error> {
    T::deserialize(d).map(Some)
}

/// A courier.
#[derive(Debug, Clone, Serialize, ToSchema)]
pub(super) struct CourierView {
    id: String,
    name: Option<String>,
    phone: Option<String>,
    vehicle: Option<String>,
    tags: Vec<String>,
    on_duty: bool,
    version: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    updated_at: UnixMs,
}

#[derive(FromRow)]
struct Row {
    id: String,
    name: Option<String>,
    phone: Option<String>,
    vehicle: Option<String>,
    tags: Vec<String>,
    on_duty: bool,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<Row> for CourierView {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            phone: row.phone,
            vehicle: row.vehicle,
            tags: row.tags,
            on_duty: row.on_duty,
            version: row.version,
            created_at: UnixMs::from_datetime(row.created_at),
            updated_at: UnixMs::from_datetime(row.updated_at),
        }
    }
}

/// Which couriers.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct CourierQuery {
    /// Part of the id or the name.
    q: Option<String>,
    /// A tag.
    tag: Option<String>,
    /// On or off duty.
    on_duty: Option<bool>,
    /// What the courier goes by.
    vehicle: Option<Vehicle>,
    /// Most items, 1 to 500; 50 unless said otherwise.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// Tags as SQL takes them: in order, each once.
pub(super) fn tags_of(tags: Option<Vec<Tag>>) -> Result<Vec<String>, Problem> {
    let mut tags: Vec<String> = tags.into_iter().flatten().map(Text::into_string).collect();
    if tags.len() > MAX_TAGS {
        return Err(Problem::invalid(format!("tags: at most {MAX_TAGS}")));
    }
    tags.sort_unstable();
    tags.dedup();
    Ok(tags)
}

/// `q` as a pattern in which its own wildcards mean themselves.
pub(super) fn pattern_of(q: Option<&str>) -> Option<String> {
    let q = q.map(str::trim).filter(|q| !q.is_empty())?;
    let escaped = q
        .replace('\\', "\\\\")
        .replace('%', "\\%")
        .replace('_', "\\_");
    Some(format!("%{escaped}%"))
}

/// List couriers, by id.
#[utoipa::path(get, path = "/v1/couriers", tag = "couriers",
    params(CourierQuery),
    responses((status = 200, body = Page<CourierView>), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    State(dispatch): State<Dispatch>,
    _: AsAnalyst,
    ApiQuery(query): ApiQuery<CourierQuery>,
) -> Result<Json<Page<CourierView>>, Problem> {
    const LIST: &str = "select * from dispatch.courier \
         where ($1::text is null or id > $1) \
           and ($2::text is null or id ilike $2 or name ilike $2) \
           and ($3::text is null or $3 = any (tags)) \
           and ($4::boolean is null or on_duty = $4) \
           and ($5::text is null or vehicle = $5) \
         order by id limit $6";
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let limit = page.limit()?;
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(page.after::<String>()?)
        .bind(pattern_of(query.q.as_deref()))
        .bind(query.tag)
        .bind(query.on_duty)
        .bind(query.vehicle.map(Vehicle::as_str))
        .bind(i64::from(limit) + 1)
        .fetch_all(dispatch.pool())
        .await?;
    let items = rows.into_iter().map(CourierView::from).collect();
    Ok(Json(Page::of(items, limit, |courier: &CourierView| {
        courier.id.clone()
    })))
}

/// Create a courier.
#[utoipa::path(post, path = "/v1/couriers", tag = "couriers", request_body = CourierBody,
    responses((status = 201, body = CourierView), (status = 409, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    Creating { body, idempotent }: Creating<CourierBody>,
) -> Result<Response, Problem> {
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    const INSERT: &str = "insert into dispatch.courier (id, name, phone, vehicle, tags, on_duty) \
                          values ($1, $2, $3, $4, $5, $6) returning *";
    let courier = write(change.sql(), INSERT, &body.id, body.rest).await?;
    change
        .audit("courier.create", &courier.id, json!({}))
        .await?;
    change.touch(Table::Courier, &courier.id);
    let location = format!("/v1/couriers/{}", courier.id);
    change
        .created(Created {
            location,
            version: Some(courier.version),
            body: courier,
        })
        .await
}

async fn write(
    sql: &mut PgConnection,
    statement: &'static str,
    id: &CourierId,
    fields: CourierFields,
) -> Result<CourierView, Problem> {
    let row: Row = sqlx::query_as(statement)
        .bind(id.as_str())
        .bind(fields.name.map(Text::into_string))
        .bind(fields.phone.map(Text::into_string))
        .bind(fields.vehicle.map(Vehicle::as_str))
        .bind(tags_of(fields.tags)?)
        .bind(fields.on_duty.unwrap_or(true))
        .fetch_one(sql)
        .await?;
    Ok(row.into())
}

/// Read a courier.
#[utoipa::path(get, path = "/v1/couriers/{id}", tag = "couriers", params(("id" = String, Path)),
    responses((status = 200, body = CourierView), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn read(
    State(dispatch): State<Dispatch>,
    _: AsAnalyst,
    ApiPath(id): ApiPath<CourierId>,
) -> Result<Response, Problem> {
    const READ: &str = "select * from dispatch.courier where id = $1";
    let found: Option<Row> = sqlx::query_as(READ)
        .bind(id.as_str())
        .fetch_optional(dispatch.pool())
        .await?;
    let row = found.ok_or_else(|| Problem::not_found("this courier"))?;
    Ok((etag(row.version), Json(CourierView::from(row))).into_response())
}

/// Create a courier under this id, or replace it.
#[utoipa::path(put, path = "/v1/couriers/{id}", tag = "couriers", params(("id" = String, Path)),
    request_body = CourierFields,
    responses((status = 200, body = CourierView), (status = 201, body = CourierView),
        (status = 412, body = Problem), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn put(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(id): ApiPath<CourierId>,
    seen: IfMatch,
    ApiJson(fields): ApiJson<CourierFields>,
) -> Result<Response, Problem> {
    const UPSERT: &str = "insert into dispatch.courier (id, name, phone, vehicle, tags, on_duty) \
         values ($1, $2, $3, $4, $5, $6) on conflict (id) do update \
            set name = excluded.name, phone = excluded.phone, vehicle = excluded.vehicle, \
                tags = excluded.tags, on_duty = excluded.on_duty, \
                version = courier.version + 1, updated_at = now() returning *";
    let mut change = dispatch.change(&staff).await?;
    let current = version_of(change.sql(), &id).await?;
    match current {
        Some(version) => seen.check(version)?,
        None => seen.check(0)?,
    }
    let courier = write(change.sql(), UPSERT, &id, fields).await?;
    change.audit("courier.put", &courier.id, json!({})).await?;
    change.touch(Table::Courier, &courier.id);
    let version = courier.version;
    if current.is_none() {
        let location = format!("/v1/couriers/{id}");
        return change
            .created(Created {
                location,
                version: Some(version),
                body: courier,
            })
            .await;
    }
    change.commit().await?;
    Ok((etag(version), Json(courier)).into_response())
}

/// The version of a courier, which is locked from here on.
async fn version_of(sql: &mut PgConnection, id: &CourierId) -> Result<Option<i64>, Problem> {
    const VERSION: &str = "select version from dispatch.courier where id = $1 for update";
    Ok(sqlx::query_scalar(VERSION)
        .bind(id.as_str())
        .fetch_optional(sql)
        .await?)
}

/// Change some of a courier.
#[utoipa::path(patch, path = "/v1/couriers/{id}", tag = "couriers", params(("id" = String, Path)),
    request_body = CourierPatch,
    responses((status = 200, body = CourierView), (status = 412, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn patch(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(id): ApiPath<CourierId>,
    seen: IfMatch,
    ApiJson(patch): ApiJson<CourierPatch>,
) -> Result<Response, Problem> {
    const PATCH: &str = "update dispatch.courier set \
            name = case when $2 then $3 else name end, \
            phone = case when $4 then $5 else phone end, \
            vehicle = case when $6 then $7 else vehicle end, \
            tags = coalesce($8, tags), on_duty = coalesce($9, on_duty), \
            version = version + 1, updated_at = now() \
          where id = $1 returning *";
    let mut change = dispatch.change(&staff).await?;
    let current = version_of(change.sql(), &id).await?;
    seen.check(current.ok_or_else(|| Problem::not_found("this courier"))?)?;
    let tags = patch.tags.map(|tags| tags_of(Some(tags))).transpose()?;
    let row: Row = sqlx::query_as(PATCH)
        .bind(id.as_str())
        .bind(patch.name.is_some())
        .bind(patch.name.flatten().map(Text::into_string))
        .bind(patch.phone.is_some())
        .bind(patch.phone.flatten().map(Text::into_string))
        .bind(patch.vehicle.is_some())
        .bind(patch.vehicle.flatten().map(Vehicle::as_str))
        .bind(tags)
        .bind(patch.on_duty)
        .fetch_one(change.sql())
        .await?;
    change
        .audit("courier.patch", id.as_str(), json!({}))
        .await?;
    change.touch(Table::Courier, &id);
    change.commit().await?;
    Ok((etag(row.version), Json(CourierView::from(row))).into_response())
}

/// Delete a courier and its devices. Stored positions stay until their retention is over;
/// `DELETE /v1/couriers/{id}/data` erases them.
#[utoipa::path(delete, path = "/v1/couriers/{id}", tag = "couriers", params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 409, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(id): ApiPath<CourierId>,
    seen: IfMatch,
) -> Result<StatusCode, Problem> {
    const OPEN: &str = "select count(*) from dispatch.delivery \
                        where courier_id = $1 and completed_at is null";
    const DEVICES: &str = "select id from dispatch.device where courier_id = $1";
    let mut change = dispatch.change(&staff).await?;
    let current = version_of(change.sql(), &id).await?;
    seen.check(current.ok_or_else(|| Problem::not_found("this courier"))?)?;
    let open: i64 = sqlx::query_scalar(OPEN)
        .bind(id.as_str())
        .fetch_one(change.sql())
        .await?;
    if open > 0 {
        let detail = format!("the courier has {open} open deliveries: give them to others first");
        return Err(Problem::conflict("courier_has_deliveries", detail));
    }
    let devices: Vec<uuid::Uuid> = sqlx::query_scalar(DEVICES)
        .bind(id.as_str())
        .fetch_all(change.sql())
        .await?;
    let delete = sqlx::query("delete from dispatch.courier where id = $1").bind(id.as_str());
    delete.execute(change.sql()).await?;
    change
        .audit("courier.delete", id.as_str(), json!({}))
        .await?;
    change.touch(Table::Courier, &id);
    devices
        .into_iter()
        .for_each(|device| change.touch(Table::Device, device));
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
