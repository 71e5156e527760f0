//! Trips over HTTP: found by courier and time, read one by one with their stops.

use axum::Json;
use axum::extract::State;
use serde::Serialize;
use sqlx::PgPool;
use time::OffsetDateTime;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::days::stored_days_in;
use super::derive::way;
use super::range::TimeRange;
use crate::domain::{CourierId, Stop, TripRules, UnixMs};
use crate::http::{ApiPath, ApiQuery, AsAnalyst, Problem};

/// Trips on a page, and at most.
const PAGE: i64 = 100;
const MAX_PAGE: i64 = 1000;

pub(super) fn routes(pool: PgPool, rules: TripRules) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(list))
        .routes(routes!(read))
        .with_state(Trips { pool, rules })
}

/// What the handlers need. Cheap to clone.
#[derive(Clone)]
struct Trips {
    pool: PgPool,
    rules: TripRules,
}

#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct ListQuery {
    /// Only this courier's.
    courier: Option<String>,
    /// Only this delivery's.
    delivery: Option<String>,
    /// delivery: those that carried one out; found: those found between long stops; without it both.
    kind: Option<String>,
    /// Trips that end after this, RFC 3339 or a date (UTC).
    from: Option<String>,
    /// Trips that start before this, RFC 3339 or a date (UTC).
    to: Option<String>,
    /// Trips on a page, 100 unless said, 1,000 at most.
    limit: Option<i64>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
}

/// A trip; times in RFC 3339 UTC.
#[derive(Debug, Serialize, ToSchema)]
struct TripView {
    id: String,
    courier_id: String,
    /// The delivery that it carried out; null: found between long stops.
    delivery_id: Option<String>,
    #[schema(value_type = String)]
    start_time: UnixMs,
    /// Null while under way.
    #[schema(value_type = Option<String>)]
    end_time: Option<UnixMs>,
    /// Its newest fix.
    #[schema(value_type = String)]
    last_time: UnixMs,
    start: Place,
    last: Place,
    distance_m: f64,
    moving_s: f64,
    stopped_s: f64,
    stop_count: i32,
    mean_speed_mps: Option<f64>,
    max_speed_mps: Option<f64>,
    /// Its stops; only where one trip is read.
    #[serde(skip_serializing_if = "Option::is_none")]
    stops: Option<Vec<StopView>>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Place {
    lat: f64,
    lon: f64,
}

/// A stop on a trip.
#[derive(Debug, Serialize, ToSchema)]
struct StopView {
    lat: f64,
    lon: f64,
    #[schema(value_type = String)]
    start_time: UnixMs,
    /// Null while the courier is still there.
    #[schema(value_type = Option<String>)]
    end_time: Option<UnixMs>,
    duration_s: f64,
}

#[derive(Debug, Serialize, ToSchema)]
struct TripPage {
    items: Vec<TripView>,
    next_cursor: Option<String>,
}

#[derive(Debug, sqlx::FromRow)]
pub(super) struct TripRow {
    pub(super) id: i64,
    pub(super) courier_id: String,
    delivery_id: Option<String>,
    pub(super) start_time: OffsetDateTime,
    end_time: Option<OffsetDateTime>,
    pub(super) last_time: OffsetDateTime,
    start_lat: f64,
    start_lon: f64,
    last_lat: f64,
    last_lon: f64,
    distance_m: f64,
    moving_s: f64,
    stopped_s: f64,
    stop_count: i32,
    mean_speed_mps: Option<f64>,
    max_speed_mps: Option<f64>,
}

impl From<TripRow> for TripView {
    fn from(row: TripRow) -> Self {
        Self {
            id: row.id.to_string(),
            courier_id: row.courier_id,
            delivery_id: row.delivery_id,
            start_time: UnixMs::from_datetime(row.start_time),
            end_time: row.end_time.map(UnixMs::from_datetime),
            last_time: UnixMs::from_datetime(row.last_time),
            start: Place {
                lat: row.start_lat,
                lon: row.start_lon,
            },
            last: Place {
                lat: row.last_lat,
                lon: row.last_lon,
            },
            distance_m: row.distance_m,
            moving_s: row.moving_s,
            stopped_s: row.stopped_s,
            stop_count: row.stop_count,
            mean_speed_mps: row.mean_speed_mps,
            max_speed_mps: row.max_speed_mps,
            stops: None,
        }
    }
}

/// Trips by courier and time, newest first
#[utoipa::path(get, path = "/v1/trips", tag = "analytics", params(ListQuery),
    responses((status = 200, body = TripPage), (status = 422, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
async fn list(
    _: AsAnalyst,
    State(trips): State<Trips>,
    ApiQuery(query): ApiQuery<ListQuery>,
) -> Result<Json<TripPage>, Problem> {
    let for_deliveries = kind(query.kind.as_deref())?;
    let range = TimeRange::parse(query.from.as_deref(), query.to.as_deref())?;
    let given = |text: &String| !text.is_empty();
    let limit = query.limit.unwrap_or(PAGE).clamp(1, MAX_PAGE);
    let after = query.cursor.as_deref().filter(|c| !c.is_empty());
    let after = after.map(parse_cursor).transpose()?;
    let rows: Vec<TripRow> = sqlx::query_as(
        "select t.* from public.trip t \
          where ($1::text is null or courier_id = $1) \
            and ($2::text is null or delivery_id = $2) \
            and ($3::timestamptz is null or coalesce(end_time, 'infinity') >= $3) \
            and ($4::timestamptz is null or start_time < $4) \
            and ($5::timestamptz is null or (start_time, id) < ($5, $6)) \
            and ($8::bool is null or (delivery_id is not null) = $8) \
          order by start_time desc, id desc limit $7",
    )
    .bind(query.courier.filter(given))
    .bind(query.delivery.filter(given))
    .bind(bound(range.from))
    .bind(bound(range.to))
    .bind(after.map(|c| c.0))
    .bind(after.map_or(0, |c| c.1))
    .bind(limit + 1)
    .bind(for_deliveries)
    .fetch_all(&trips.pool)
    .await?;
    let keep = usize::try_from(limit).unwrap_or(usize::MAX);
    let last = rows
        .get(keep.saturating_sub(1))
        .filter(|_| rows.len() > keep);
    let next_cursor = last.map(cursor);
    let items = rows.into_iter().take(keep).map(TripView::from).collect();
    Ok(Json(TripPage { items, next_cursor }))
}

/// A trip with its stops
#[utoipa::path(get, path = "/v1/trips/{id}", tag = "analytics",
    params(("id" = String, Path, description = "Number of the trip")),
    responses((status = 200, body = TripView), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
async fn read(
    _: AsAnalyst,
    State(trips): State<Trips>,
    ApiPath(id): ApiPath<String>,
) -> Result<Json<TripView>, Problem> {
    let row = find(&trips.pool, &id).await?;
    let stops = match row.delivery_id {
        None => stops_of_way(&trips.pool, &row).await?,
        Some(_) => stops_of_delivery(&trips, &row).await?,
    };
    Ok(Json(TripView {
        stops: Some(stops),
        ..TripView::from(row)
    }))
}

async fn stops_of_way(pool: &PgPool, row: &TripRow) -> sqlx::Result<Vec<StopView>> {
    let stops: Vec<(f64, f64, OffsetDateTime, Option<OffsetDateTime>, f64)> = sqlx::query_as(
        "select lat, lon, start_time, end_time, duration_s from public.stop \
          where courier_id = $1 and start_time >= $2 and last_time <= $3 order by start_time",
    )
    .bind(&row.courier_id)
    .bind(row.start_time)
    .bind(row.last_time)
    .fetch_all(pool)
    .await?;
    let stop = |(lat, lon, start, end, duration_s): (_, _, _, Option<_>, _)| StopView {
        lat,
        lon,
        start_time: UnixMs::from_datetime(start),
        end_time: end.map(UnixMs::from_datetime),
        duration_s,
    };
    Ok(stops.into_iter().map(stop).collect())
}

/// A delivery begins and ends when its courier may stand: its stops are those of its own fixes.
async fn stops_of_delivery(trips: &Trips, row: &TripRow) -> Result<Vec<StopView>, Problem> {
    let range = TimeRange {
        from: UnixMs::from_datetime(row.start_time),
        to: UnixMs::from_datetime(row.last_time).plus_ms(1),
    };
    let mut connection = trips.pool.acquire().await?;
    let days = stored_days_in(&mut connection).await?;
    let rules = trips.rules.for_delivery();
    let run = way(&mut connection, &rules, &row.courier()?, range, &days).await?;
    let stop = |stop: &Stop| StopView {
        lat: f64::from(stop.lat_e7) / 1e7,
        lon: f64::from(stop.lon_e7) / 1e7,
        start_time: stop.arrived_at,
        end_time: stop.ended.then_some(stop.last_at),
        duration_s: stop.duration_ms() as f64 / 1000.0,
    };
    Ok(run.iter().flat_map(|run| &run.stops).map(stop).collect())
}

/// The trip of this number.
pub(super) async fn find(pool: &PgPool, id: &str) -> Result<TripRow, Problem> {
    let missing = || Problem::not_found("this trip");
    let number: i64 = id.parse().map_err(|_| missing())?;
    let row = sqlx::query_as("select t.* from public.trip t where id = $1")
        .bind(number)
        .fetch_optional(pool)
        .await?;
    row.ok_or_else(missing)
}

impl TripRow {
    /// Its courier.
    pub(super) fn courier(&self) -> Result<CourierId, Problem> {
        CourierId::try_from(self.courier_id.as_str()).map_err(|_| Problem::not_found("this trip"))
    }
}

/// An open end binds nothing.
fn bound(at: UnixMs) -> Option<OffsetDateTime> {
    (at.0 != i64::MIN && at.0 != i64::MAX).then(|| at.to_datetime())
}

/// Whether only trips of deliveries are wanted, or only the others.
fn kind(word: Option<&str>) -> Result<Option<bool>, Problem> {
    match word.unwrap_or_default() {
        "" => Ok(None),
        "delivery" => Ok(Some(true)),
        "found" => Ok(Some(false)),
        _ => Err(Problem::invalid("`kind` must be delivery or found")),
    }
}

/// Where the page after this trip begins. A delivery's steps bear microseconds.
fn cursor(row: &TripRow) -> String {
    format!(
        "{}_{}",
        row.start_time.unix_timestamp_nanos() / 1000,
        row.id
    )
}

fn parse_cursor(text: &str) -> Result<(OffsetDateTime, i64), Problem> {
    let parse = |(at, id): (&str, &str)| {
        let nanos = at.parse::<i128>().ok()?.checked_mul(1000)?;
        let at = OffsetDateTime::from_unix_timestamp_nanos(nanos).ok()?;
        Some((at, id.parse().ok()?))
    };
    text.split_once('_')
        .and_then(parse)
        .ok_or_else(|| Problem::invalid("`cursor` must be the next_cursor of the page before"))
}
