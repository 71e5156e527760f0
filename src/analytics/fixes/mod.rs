//! A courier's stored fixes over HTTP, of any time range, streamed in constant memory.

mod formats;
mod stream;

use std::sync::Arc;

use axum::extract::{Path, Query, State};
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::range::TimeRange;
use super::tracks;
use crate::directory::Directory;
use crate::domain::{CourierId, UnixMs};
use crate::http::{AsAnalyst, Problem};

pub(super) use self::formats::Format;

/// Exports under way at once; each holds a connection to Postgres until its reader has all of it.
const MAX_EXPORTS: usize = 4;

/// What the handlers need. Cheap to clone.
#[derive(Clone)]
pub(super) struct Fixes {
    pool: PgPool,
    directory: Arc<Directory>,
    exports: Arc<Semaphore>,
}

impl Fixes {
    pub(super) fn new(pool: PgPool, directory: Arc<Directory>) -> Self {
        Self {
            pool,
            directory,
            exports: Arc::new(Semaphore::new(MAX_EXPORTS)),
        }
    }
}

pub(super) fn routes(fixes: Fixes) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(courier_fixes))
        .with_state(fixes)
}

#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct FixesQuery {
    /// First instant, RFC 3339 or a date (UTC); open if absent.
    from: Option<String>,
    /// Instant before which it ends, RFC 3339 or a date (UTC); open if absent.
    to: Option<String>,
    /// json (default), csv or geojson.
    format: Option<String>,
}

/// Stored fixes of a courier, oldest first, of any time range.
#[utoipa::path(
    get,
    path = "/v1/couriers/{id}/fixes",
    tag = "analytics",
    params(("id" = String, Path, description = "Courier"), FixesQuery),
    responses(
        (status = 200, description = "The fixes, streamed", content_type = "application/json"),
        (status = 404, description = "No such courier, and no fixes of it", body = Problem),
        (status = 422, description = "A parameter is wrong", body = Problem),
        (status = 503, description = "The database is out of reach, or too many exports run", body = Problem),
    )
)]
async fn courier_fixes(
    _: AsAnalyst,
    State(fixes): State<Fixes>,
    Path(id): Path<String>,
    Query(query): Query<FixesQuery>,
) -> Result<Response, Problem> {
    let range = TimeRange::parse(query.from.as_deref(), query.to.as_deref())?;
    let format = Format::parse(query.format.as_deref())?;
    let courier = CourierId::try_from(id).map_err(|_| Problem::not_found("this courier"))?;
    let permit = fixes
        .exports
        .clone()
        .try_acquire_owned()
        .map_err(|_| Problem::too_many("too many exports run at once; try again shortly", 5))?;
    let days = tracks::days_of(&fixes.pool, &courier, range).await?;
    if days.is_empty() && fixes.directory.courier(&courier).is_none() {
        return Err(Problem::not_found("this courier"));
    }
    let connection = fixes.pool.acquire().await?;
    let body = stream::body(connection, courier.clone(), days, range, format, permit);
    let headers = [
        (CONTENT_TYPE, format.content_type().to_owned()),
        (CONTENT_DISPOSITION, disposition(&courier, range, format)),
        (CACHE_CONTROL, "private, no-store".to_owned()),
    ];
    Ok((headers, body).into_response())
}

/// `attachment` with a name that every file system takes; JSON is shown rather than saved.
fn disposition(courier: &CourierId, range: TimeRange, format: Format) -> String {
    let kind = if format == Format::Json {
        "inline"
    } else {
        "attachment"
    };
    let name = courier.as_str().replace(':', "_");
    let edge = |at: UnixMs| match at {
        UnixMs(i64::MIN | i64::MAX) => String::new(),
        at => format!("-{}", at.to_rfc3339().replace([':', '.'], "")),
    };
    let extension = format.extension();
    format!(
        "{kind}; filename=\"{name}-fixes{}{}.{extension}\"",
        edge(range.from),
        edge(range.to)
    )
}
