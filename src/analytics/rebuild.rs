//! `POST /v1/trips/rebuild`: trips, stops and heat of a time range, found anew by the rules in force.
//!
//! Nothing but marks: the job that follows new fixes does the work, and how many marks are left is
//! how far it is.

use axum::Json;
use axum::extract::State;
use axum::http::StatusCode;
use serde::{Deserialize, Serialize};
use sqlx::PgPool;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::columns::Day;
use super::range::TimeRange;
use crate::access::audit;
use crate::http::{ApiJson, AsAdmin, AsAnalyst, Problem};

pub(super) fn routes(pool: PgPool) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(start, progress))
        .with_state(pool)
}

#[derive(Deserialize, ToSchema)]
struct Rebuild {
    /// First day or instant, RFC 3339 or a date (UTC).
    from: String,
    /// Instant before which it ends.
    to: String,
}

#[derive(Serialize, ToSchema)]
struct Progress {
    /// Couriers' days that the job has still to look at, new fixes included.
    left: i64,
}

/// Finds trips, stops and heat of whole days anew
#[utoipa::path(post, path = "/v1/trips/rebuild", tag = "analytics", request_body = Rebuild,
    responses((status = 202, body = Progress), (status = 422, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
async fn start(
    AsAdmin(staff): AsAdmin,
    State(pool): State<PgPool>,
    ApiJson(rebuild): ApiJson<Rebuild>,
) -> Result<(StatusCode, Json<Progress>), Problem> {
    let range = TimeRange::parse(Some(&rebuild.from), Some(&rebuild.to))?;
    if rebuild.from.is_empty() || rebuild.to.is_empty() {
        return Err(Problem::invalid("give both `from` and `to`"));
    }
    let last = Day::of(range.to.plus_ms(-1));
    sqlx::query(
        "insert into analytics.mark (courier_id, day, first_at, last_at, fixes) \
         select courier_id, day, min(segment_from), max(segment_to), sum(fixes) \
           from public.track_segment where day between $1 and $2 group by courier_id, day",
    )
    .bind(Day::of(range.from).date())
    .bind(last.date())
    .execute(&pool)
    .await?;
    let detail = serde_json::json!({"from": rebuild.from, "to": rebuild.to});
    audit(&pool, staff.actor(), "trips.rebuild", "", detail).await?;
    Ok((StatusCode::ACCEPTED, Json(left(&pool).await?)))
}

/// How much of it is left
#[utoipa::path(get, path = "/v1/trips/rebuild", tag = "analytics",
    responses((status = 200, body = Progress)),
    security(("api_key" = []), ("session" = [])))]
async fn progress(_: AsAnalyst, State(pool): State<PgPool>) -> Result<Json<Progress>, Problem> {
    Ok(Json(left(&pool).await?))
}

async fn left(pool: &PgPool) -> sqlx::Result<Progress> {
    let left = sqlx::query_scalar("select count(*) from analytics.mark")
        .fetch_one(pool)
        .await?;
    Ok(Progress { left })
}
