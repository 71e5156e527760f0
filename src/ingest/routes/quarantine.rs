//! `GET /v1/quarantine`.

use axum::Json;
use axum::extract::rejection::QueryRejection;
use axum::extract::{Query, State};
use serde::Deserialize;

use crate::http::{AsAdmin, Problem};
use crate::ingest::Ingest;
use crate::ingest::quarantine::{self, QuarantinePage};

/// Items of a page, unless asked otherwise …
const PAGE: u64 = 100;
/// … and at most.
const MAX_PAGE: u64 = 1_000;

#[derive(Deserialize, utoipa::IntoParams)]
pub(super) struct PageQuery {
    /// Items a page, 1 to 1,000; 100 unless given.
    limit: Option<u64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// What could not be accepted, newest first.
#[utoipa::path(
    get,
    path = "/v1/quarantine",
    tag = "operation",
    params(PageQuery),
    responses(
        (status = 200, body = QuarantinePage),
        (status = 400, description = "Not a cursor of ours", body = Problem),
        (status = 401, description = "No credential", body = Problem),
        (status = 403, description = "Not an admin", body = Problem),
    ),
    security(("api_key" = []), ("session" = []))
)]
pub(super) async fn quarantine_list(
    State(ingest): State<Ingest>,
    _admin: AsAdmin,
    query: Result<Query<PageQuery>, QueryRejection>,
) -> Result<Json<QuarantinePage>, Problem> {
    let Query(query) = query.map_err(|e| Problem::bad_request(e.body_text()))?;
    let before = query.cursor.map(|cursor| cursor.parse()).transpose();
    let before =
        before.map_err(|_| Problem::bad_request("cursor must be a next_cursor of this list"))?;
    let limit = query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let page = quarantine::page(&*ingest.0.log, &ingest.0.directory, before, limit).await;
    page.map(Json).map_err(|error| {
        tracing::warn!(%error, "quarantine not read");
        Problem::unavailable(error.to_string(), 5)
    })
}
