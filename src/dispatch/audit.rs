//! Who changed what.

use axum::Json;
use axum::extract::State;
use serde::{Deserialize, Serialize};
use sqlx::FromRow;
use time::OffsetDateTime;
use utoipa::{IntoParams, ToSchema};

use super::Dispatch;
use crate::domain::UnixMs;
use crate::http::{ApiQuery, AsAdmin, Page, PageQuery, Problem};

/// Which entries.
#[derive(Debug, Deserialize, IntoParams)]
#[into_params(parameter_in = Query)]
pub(super) struct AuditQuery {
    /// About what: the id of a courier, a delivery, a key, a user.
    subject: Option<String>,
    /// By whom.
    actor: Option<String>,
    /// What was done, as in `delivery.status`; `delivery.` is all about deliveries.
    action: Option<String>,
    /// Most items, 1 to 500; 50 unless said otherwise.
    limit: Option<u32>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// One change.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct AuditView {
    id: i64,
    #[schema(value_type = String, format = DateTime)]
    at: UnixMs,
    actor: String,
    role: String,
    action: String,
    subject: String,
    #[schema(value_type = Object)]
    detail: serde_json::Value,
}

#[derive(FromRow)]
struct Row {
    id: i64,
    at: OffsetDateTime,
    actor: String,
    role: String,
    action: String,
    subject: String,
    detail: serde_json::Value,
}

/// List changes, newest first.
#[utoipa::path(get, path = "/v1/audit", tag = "access", params(AuditQuery),
    responses((status = 200, body = Page<AuditView>), (status = "4XX", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn list(
    State(dispatch): State<Dispatch>,
    _: AsAdmin,
    ApiQuery(query): ApiQuery<AuditQuery>,
) -> Result<Json<Page<AuditView>>, Problem> {
    const LIST: &str = "select id, at, actor, role, action, subject, detail from dispatch.audit \
         where ($1::bigint is null or id < $1) and ($2::text is null or subject = $2) \
           and ($3::text is null or actor = $3) \
           and ($4::text is null or starts_with(action, $4)) \
         order by id desc limit $5";
    let page = PageQuery {
        limit: query.limit,
        cursor: query.cursor,
    };
    let limit = page.limit()?;
    let rows: Vec<Row> = sqlx::query_as(LIST)
        .bind(page.after::<i64>()?)
        .bind(query.subject)
        .bind(query.actor)
        .bind(query.action)
        .bind(i64::from(limit) + 1)
        .fetch_all(dispatch.pool())
        .await?;
    let view = |row: Row| AuditView {
        id: row.id,
        at: UnixMs::from_datetime(row.at),
        actor: row.actor,
        role: row.role,
        action: row.action,
        subject: row.subject,
        detail: row.detail,
    };
    let items = rows.into_iter().map(view).collect();
    Ok(Json(Page::of(items, limit, |entry: &AuditView| entry.id)))
}
