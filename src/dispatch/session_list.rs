//! Who is signed in, and signing others out.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::Serialize;
use serde_json::json;
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::ToSchema;
use uuid::Uuid;

use super::{Dispatch, sessions};
use crate::access::LetInBy;
use crate::directory::Table;
use crate::domain::UnixMs;
use crate::http::{ApiPath, ApiQuery, AsAdmin, Page, PageQuery, Problem};

/// A signed-in browser.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct SessionRow {
    id: Uuid,
    /// Who signed in.
    name: String,
    role: String,
    /// Whether it is the one that asks.
    current: bool,
    #[schema(value_type = String, format = DateTime)]
    created_at: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    expires_at: UnixMs,
}

#[derive(FromRow)]
struct Row {
    id: Uuid,
    name: String,
    role: String,
    created_at: OffsetDateTime,
    expires_at: OffsetDateTime,
}

/// List signed-in browsers, oldest first.
#[utoipa::path(get, path = "/v1/sessions", tag = "access", params(PageQuery),
    responses((status = 200, body = Page<SessionRow>), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    ApiQuery(query): ApiQuery<PageQuery>,
) -> Result<Json<Page<SessionRow>>, Problem> {
    // Numbers grow with time.
    const LIST: &str = "select id, name, role, created_at, expires_at from dispatch.session \
         where expires_at > $1 and ($2::uuid is null or id > $2) order by id limit $3";
    let limit = query.limit()?;
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(dispatch.now().to_datetime())
        .bind(query.after::<Uuid>()?)
        .bind(i64::from(limit) + 1)
        .fetch_all(dispatch.pool())
        .await?;
    let view = |row: Row| SessionRow {
        current: staff.by == LetInBy::Session(row.id),
        id: row.id,
        name: row.name,
        role: row.role,
        created_at: UnixMs::from_datetime(row.created_at),
        expires_at: UnixMs::from_datetime(row.expires_at),
    };
    let items = rows.into_iter().map(view).collect();
    Ok(Json(Page::of(items, limit, |row: &SessionRow| row.id)))
}

/// Sign a browser out: its session ends at once, and so do its live connections.
#[utoipa::path(delete, path = "/v1/sessions/{id}", tag = "access", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    State(dispatch): State<Dispatch>,
    AsAdmin(staff): AsAdmin,
    ApiPath(id): ApiPath<Uuid>,
) -> Result<StatusCode, Problem> {
    let mut change = dispatch.change(&staff).await?;
    if !sessions::end(change.sql(), id).await? {
        return Err(Problem::not_found("this session"));
    }
    change
        .audit("session.end", &id.to_string(), json!({}))
        .await?;
    change.touch(Table::Session, id);
    change.commit().await?;
    Ok(StatusCode::NO_CONTENT)
}
