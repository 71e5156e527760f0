//! Stored fixes over HTTP, of any time range, streamed in constant memory: a courier's, a trip's, or
//! a day of the whole fleet.

mod format;
mod parquet;
mod stream;
mod text;

use std::sync::Arc;

use axum::extract::State;
use axum::http::header::{CACHE_CONTROL, CONTENT_DISPOSITION, CONTENT_TYPE};
use axum::response::{IntoResponse, Response};
use sqlx::PgPool;
use tokio::sync::Semaphore;
use tower_http::CompressionLevel;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use self::format::Format;
use self::stream::Wanted;
use super::columns::Day;
use super::days::{stored_days, table_of};
use super::range::TimeRange;
use super::{tracks, trips};
use crate::directory::Directory;
use crate::domain::{CourierId, UnixMs};
use crate::http::{ApiPath, ApiQuery, AsAnalyst, Problem, compression};

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

    /// The stored days that `range` touches, oldest first.
    async fn days(&self, range: TimeRange) -> sqlx::Result<Vec<Day>> {
        let mut days = stored_days(&self.pool).await?;
        days.retain(|day| range.touches(*day));
        Ok(days)
    }

    /// Answers with what is `wanted`, in a file called `name`.
    async fn export(&self, wanted: Wanted, name: &str) -> Result<Response, Problem> {
        let permit = self.exports.clone().try_acquire_owned();
        let permit = permit
            .map_err(|_| Problem::too_many("too many exports run at once; try again shortly", 5))?;
        let connection = self.pool.acquire().await?;
        let format = wanted.format;
        // JSON is shown rather than saved.
        let kind = match format {
            Format::Json => "inline",
            _ => "attachment",
        };
        // A colon, which an id may have, is no character of a file's name everywhere.
        let name = name.replace(':', "_");
        let file = format!("{kind}; filename=\"{name}.{}\"", format.word());
        let headers = [
            (CONTENT_TYPE, format.content_type().to_owned()),
            (CONTENT_DISPOSITION, file),
            (CACHE_CONTROL, "private, no-store".to_owned()),
        ];
        let body = stream::body(connection, wanted, permit);
        Ok((headers, body).into_response())
    }
}

pub(super) fn routes(fixes: Fixes) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(courier_fixes))
        .routes(routes!(fleet_fixes))
        .routes(routes!(trip_track))
        .with_state(fixes)
        // Quick rather than small: an export is limited by the processor before the network.
        .layer(compression(CompressionLevel::Fastest))
}

#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct FixesQuery {
    /// First instant, RFC 3339 or a date (UTC); open if absent.
    from: Option<String>,
    /// Instant before which it ends, RFC 3339 or a date (UTC); open if absent.
    to: Option<String>,
    /// json (default), csv, gpx, geojson or parquet.
    format: Option<String>,
}

/// Stored fixes of a courier, oldest first, of any time range
#[utoipa::path(
    get,
    path = "/v1/couriers/{id}/fixes",
    tag = "analytics",
    params(("id" = String, Path, description = "Courier"), FixesQuery),
    responses(
        (status = 200, description = "The fixes, streamed", content_type = "application/json"),
        (status = 404, description = "No such courier, and no fixes of it", body = Problem),
        (status = 422, description = "A parameter is wrong", body = Problem),
        (status = 429, description = "Too many exports run at once", body = Problem),
        (status = 503, description = "The database is out of reach", body = Problem),
    ),
    security(("api_key" = []), ("session" = [])))]
async fn courier_fixes(
    _: AsAnalyst,
    State(fixes): State<Fixes>,
    ApiPath(id): ApiPath<String>,
    ApiQuery(query): ApiQuery<FixesQuery>,
) -> Result<Response, Problem> {
    let range = TimeRange::parse(query.from.as_deref(), query.to.as_deref())?;
    let format = Format::parse(query.format.as_deref(), Format::Json)?;
    let courier = CourierId::try_from(id).map_err(|_| Problem::not_found("this courier"))?;
    let known = fixes.directory.courier(&courier).is_some();
    let days = fixes.days(range).await?;
    // Tracks outlive their courier.
    if !known && !tracks::any(&fixes.pool, &courier, &days).await? {
        return Err(Problem::not_found("this courier"));
    }
    let edge = |at: UnixMs| match at {
        UnixMs(i64::MIN | i64::MAX) => String::new(),
        at => format!("-{}", at.to_rfc3339().replace([':', '.'], "")),
    };
    let name = format!("{courier}-fixes{}{}", edge(range.from), edge(range.to));
    let wanted = Wanted {
        couriers: vec![courier],
        days,
        range,
        format,
    };
    fixes.export(wanted, &name).await
}

#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct FleetQuery {
    /// The day (UTC), as in 2026-11-22.
    day: Option<String>,
    /// parquet (default), csv, gpx, geojson or json.
    format: Option<String>,
}

/// Stored fixes of the whole fleet on one day (UTC), courier by courier, each oldest first
#[utoipa::path(
    get,
    path = "/v1/fixes",
    tag = "analytics",
    params(FleetQuery),
    responses(
        (status = 200, description = "The fixes, streamed",
            content_type = "application/vnd.apache.parquet"),
        (status = 422, description = "A parameter is wrong", body = Problem),
        (status = 429, description = "Too many exports run at once", body = Problem),
        (status = 503, description = "The database is out of reach", body = Problem),
    ),
    security(("api_key" = []), ("session" = [])))]
async fn fleet_fixes(
    _: AsAnalyst,
    State(fixes): State<Fixes>,
    ApiQuery(query): ApiQuery<FleetQuery>,
) -> Result<Response, Problem> {
    let format = Format::parse(query.format.as_deref(), Format::Parquet)?;
    let needed = || Problem::invalid("give `day` as in 2026-11-22");
    let day = query.day.as_deref().filter(|day| day.len() == 10);
    let day = TimeRange::parse(day, None).map_err(|_| needed())?;
    let day = (day.from.0 != i64::MIN).then(|| Day::of(day.from));
    let day = day.ok_or_else(needed)?;
    let mut days = stored_days(&fixes.pool).await?;
    days.retain(|stored| *stored == day);
    let wanted = Wanted {
        couriers: couriers_of(&fixes.pool, &days).await?,
        days,
        range: TimeRange {
            from: day.start(),
            to: day.plus(1).start(),
        },
        format,
    };
    fixes.export(wanted, &format!("fixes-{day}")).await
}

/// Who has fixes on `days`. Skips from courier to courier along the index.
async fn couriers_of(pool: &PgPool, days: &[Day]) -> Result<Vec<CourierId>, Problem> {
    let Some(day) = days.first() else {
        return Ok(Vec::new());
    };
    let table = table_of(*day);
    let ids: Vec<String> = sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
        "with recursive c as ( \
             (select courier_id from {table} order by courier_id limit 1) \
             union all \
             select (select s.courier_id from {table} s where s.courier_id > c.courier_id \
                     order by s.courier_id limit 1) from c where c.courier_id is not null) \
         select courier_id from c where courier_id is not null"
    )))
    .persistent(false)
    .fetch_all(pool)
    .await?;
    Ok(ids
        .into_iter()
        .filter_map(|id| CourierId::try_from(id).ok())
        .collect())
}

#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct TrackQuery {
    /// json (default), csv, gpx, geojson or parquet.
    format: Option<String>,
}

/// The fixes of a trip, oldest first
#[utoipa::path(
    get,
    path = "/v1/trips/{id}/track",
    tag = "analytics",
    params(("id" = String, Path, description = "Number of the trip"), TrackQuery),
    responses(
        (status = 200, description = "The fixes, streamed", content_type = "application/json"),
        (status = 404, description = "No such trip", body = Problem),
        (status = 422, description = "A parameter is wrong", body = Problem),
        (status = 429, description = "Too many exports run at once", body = Problem),
        (status = 503, description = "The database is out of reach", body = Problem),
    ),
    security(("api_key" = []), ("session" = [])))]
async fn trip_track(
    _: AsAnalyst,
    State(fixes): State<Fixes>,
    ApiPath(id): ApiPath<String>,
    ApiQuery(query): ApiQuery<TrackQuery>,
) -> Result<Response, Problem> {
    let format = Format::parse(query.format.as_deref(), Format::Json)?;
    let trip = trips::find(&fixes.pool, &id).await?;
    let courier = trip.courier()?;
    let range = TimeRange {
        from: UnixMs::from_datetime(trip.start_time),
        to: UnixMs::from_datetime(trip.last_time).plus_ms(1),
    };
    let wanted = Wanted {
        days: fixes.days(range).await?,
        couriers: vec![courier],
        range,
        format,
    };
    fixes.export(wanted, &format!("trip-{}", trip.id)).await
}
