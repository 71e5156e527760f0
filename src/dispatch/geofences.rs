//! Geofences.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::json;
use sqlx::types::Json as SqlJson;
use sqlx::{FromRow, PgConnection};
use time::OffsetDateTime;
use utoipa::ToSchema;

use super::Dispatch;
use super::write::Created;
use crate::directory::Table;
use crate::domain::geofence::{self, ShapeJson};
use crate::domain::rules::Fence;
use crate::domain::{GeofenceEvent, GeofenceId, Shape, UnixMs};
use crate::http::{
    ApiJson, ApiPath, ApiQuery, AsAnalyst, AsDispatcher, Creating, IfMatch, Page, PageQuery,
    Problem, Text, etag,
};

/// A geofence as it is given: `circle` or `polygon`.
#[derive(Debug, Deserialize, ToSchema)]
pub(super) struct GeofenceBody {
    /// The caller's own id: 1 to 64 of A–Z a–z 0–9 . _ : -
    #[schema(value_type = Option<String>)]
    id: Option<GeofenceId>,
    name: Text<200>,
    circle: Option<crate::domain::geofence::CircleJson>,
    polygon: Option<crate::domain::geofence::PolygonJson>,
    /// How long inside counts as dwelling, seconds.
    dwell_s: Option<u32>,
    /// What it tells of: enter and exit unless said otherwise.
    events: Option<Vec<GeofenceEvent>>,
}

/// A geofence.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct GeofenceView {
    id: String,
    name: String,
    #[serde(flatten)]
    shape: ShapeJson,
    dwell_s: Option<i32>,
    events: Vec<String>,
    version: i64,
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    updated_at: UnixMs,
}

#[derive(FromRow)]
struct Row {
    id: String,
    name: String,
    shape: SqlJson<ShapeJson>,
    dwell_s: Option<i32>,
    events: Vec<String>,
    version: i64,
    created_at: OffsetDateTime,
    updated_at: OffsetDateTime,
}

impl From<Row> for GeofenceView {
    fn from(row: Row) -> Self {
        Self {
            id: row.id,
            name: row.name,
            shape: row.shape.0,
            dwell_s: row.dwell_s,
            events: row.events,
            version: row.version,
            created_at: UnixMs::from_datetime(row.created_at),
            updated_at: UnixMs::from_datetime(row.updated_at),
        }
    }
}

async fn write(
    sql: &mut PgConnection,
    statement: &'static str,
    id: &GeofenceId,
    body: GeofenceBody,
) -> Result<GeofenceView, Problem> {
    let shape = Shape::try_from(ShapeJson {
        circle: body.circle,
        polygon: body.polygon,
    });
    let shape = checked(shape.map_err(|error| Problem::invalid(error.to_string()))?).await?;
    let events = geofence::events_of(body.events, body.dwell_s);
    let events = events.map_err(|error| Problem::invalid(error.to_string()))?;
    let words: Vec<&str> = events.into_iter().map(GeofenceEvent::as_str).collect();
    let row: Row = sqlx::query_as(statement)
        .bind(id.as_str())
        .bind(body.name.into_string())
        .bind(SqlJson(ShapeJson::from(shape)))
        .bind(body.dwell_s.and_then(|dwell| i32::try_from(dwell).ok()))
        .bind(words)
        .fetch_one(sql)
        .await?;
    Ok(row.into())
}

/// Refuses what couriers cannot be judged by. Aside, since an outline may have many corners.
async fn checked(shape: Shape) -> Result<Shape, Problem> {
    let checked = tokio::task::spawn_blocking(move || Fence::check(&shape).map(|()| shape)).await;
    match checked {
        Ok(Ok(shape)) => Ok(shape),
        Ok(Err(error)) => Err(Problem::invalid(error.to_string())),
        Err(error) => {
            tracing::error!(%error, "the check of a geofence ended");
            Err(Problem::invalid("the shape cannot be judged by"))
        }
    }
}

/// List geofences, by id.
#[utoipa::path(get, path = "/v1/geofences", tag = "geofences", params(PageQuery),
    responses((status = 200, body = Page<GeofenceView>), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    State(dispatch): State<Dispatch>,
    _: AsAnalyst,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<GeofenceView>>, Problem> {
    const LIST: &str = "select * from dispatch.geofence where ($1::text is null or id > $1) \
                        order by id limit $2";
    let limit = query.limit()?;
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(query.after::<String>()?)
        .bind(i64::from(limit) + 1)
        .fetch_all(dispatch.pool())
        .await?;
    let items = rows.into_iter().map(GeofenceView::from).collect();
    Ok(Json(Page::of(items, limit, |fence: &GeofenceView| {
        fence.id.clone()
    })))
}

/// Create a geofence.
#[utoipa::path(post, path = "/v1/geofences", tag = "geofences", request_body = GeofenceBody,
    responses((status = 201, body = GeofenceView), (status = 409, body = Problem),
        (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn create(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    Creating { body, idempotent }: Creating<GeofenceBody>,
) -> Result<Response, Problem> {
    const INSERT: &str = "insert into dispatch.geofence (id, name, shape, dwell_s, events) \
                          values ($1, $2, $3, $4, $5) returning *";
    let mut change = match dispatch.creation(&staff, idempotent).await? {
        Ok(change) => change,
        Err(answered) => return Ok(answered),
    };
    let id = body
        .id
        .clone()
        .ok_or_else(|| Problem::invalid("id is missing"))?;
    let fence = write(change.sql(), INSERT, &id, body).await?;
    change
        .audit("geofence.create", id.as_str(), json!({}))
        .await?;
    change.touch(Table::Geofence, &id);
    let location = format!("/v1/geofences/{id}");
    change
        .created(Created {
            location,
            version: Some(fence.version),
            body: fence,
        })
        .await
}

/// Read a geofence.
#[utoipa::path(get, path = "/v1/geofences/{id}", tag = "geofences", params(("id" = String, Path)),
    responses((status = 200, body = GeofenceView), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn read(
    State(dispatch): State<Dispatch>,
    _: AsAnalyst,
    ApiPath(id): ApiPath<GeofenceId>,
) -> Result<Response, Problem> {
    const READ: &str = "select * from dispatch.geofence where id = $1";
    let found: Option<Row> = sqlx::query_as(READ)
        .bind(id.as_str())
        .fetch_optional(dispatch.pool())
        .await?;
    let row = found.ok_or_else(|| Problem::not_found("this geofence"))?;
    Ok((etag(row.version), Json(GeofenceView::from(row))).into_response())
}

/// Create a geofence under this id, or replace it.
#[utoipa::path(put, path = "/v1/geofences/{id}", tag = "geofences", params(("id" = String, Path)),
    request_body = GeofenceBody,
    responses((status = 200, body = GeofenceView), (status = 201, body = GeofenceView),
        (status = 412, body = Problem), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn put(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(id): ApiPath<GeofenceId>,
    seen: IfMatch,
    ApiJson(body): ApiJson<GeofenceBody>,
) -> Result<Response, Problem> {
    const UPSERT: &str = "insert into dispatch.geofence (id, name, shape, dwell_s, events) \
         values ($1, $2, $3, $4, $5) on conflict (id) do update \
            set name = excluded.name, shape = excluded.shape, dwell_s = excluded.dwell_s, \
                events = excluded.events, version = geofence.version + 1, updated_at = now() \
         returning *";
    if body.id.as_ref().is_some_and(|other| *other != id) {
        return Err(Problem::invalid("id: another than the one in the path"));
    }
    let mut change = dispatch.change(&staff).await?;
    let current = version_of(change.sql(), &id).await?;
    seen.check(current.unwrap_or(0))?;
    let fence = write(change.sql(), UPSERT, &id, body).await?;
    change.audit("geofence.put", id.as_str(), json!({})).await?;
    change.touch(Table::Geofence, &id);
    let version = fence.version;
    if current.is_none() {
        let location = format!("/v1/geofences/{id}");
        return change
            .created(Created {
                location,
                version: Some(version),
                body: fence,
            })
            .await;
    }
    change.commit().await?;
    Ok((etag(version), Json(fence)).into_response())
}

async fn version_of(sql: &mut PgConnection, id: &GeofenceId) -> Result<Option<i64>, Problem> {
    const VERSION: &str = "select version from dispatch.geofence where id = $1 for update";
    Ok(sqlx::query_scalar(VERSION)
        .bind(id.as_str())
        .fetch_optional(sql)
        .await?)
}

/// Delete a geofence.
#[utoipa::path(delete, path = "/v1/geofences/{id}", tag = "geofences",
    params(("id" = String, Path)),
    responses((status = 204), (status = 404, body = Problem), (status = 412, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    State(dispatch): State<Dispatch>,
    AsDispatcher(staff): AsDispatcher,
    ApiPath(id): ApiPath<GeofenceId>,
    seen: IfMatch,
) -> Result<StatusCode, Problem> {
    let mut change = dispatch.change(&staff).await?;
    let current = version_of(change.sql(), &id).await?;
    seen.check(current.ok_or_else(|| Problem::not_found("this geofence"))?)?;
    let delete = sqlx::query("delete from dispatch.geofence where id = $1").bind(id.as_str());
    delete.execute(change.sql()).await?;
    change
        .audit("geofence.delete", id.as_str(), json!({}))
        .await?;
    change.touch(Table::Geofence, &id);
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
