//! Trips, stops and the state of the trackers in Postgres.

use sqlx::PgConnection;
use sqlx::types::Json;
use time::OffsetDateTime;

use super::courier::Replaced;
use super::marks::Marked;
use crate::domain::{CourierId, Run, Stop, Tracker, Trip, UnixMs};

/// How far a courier's fixes were looked at.
#[derive(Debug, Clone)]
pub(super) struct State {
    /// The newest fix looked at.
    pub(super) as_of: UnixMs,
    /// What it has seen of the run under way.
    pub(super) tracker: Tracker,
}

/// What became of one courier's marks.
#[derive(Debug)]
pub(super) struct Found {
    pub(super) courier: CourierId,
    pub(super) state: State,
    pub(super) replaced: Vec<Replaced>,
}

/// The states of `marked`, in their order; a courier never looked at has one that begins.
pub(super) async fn states(
    transaction: &mut PgConnection,
    marked: &[Marked],
) -> sqlx::Result<Vec<State>> {
    let ids: Vec<&str> = marked.iter().map(|m| m.courier.as_str()).collect();
    let rows: Vec<(Option<OffsetDateTime>, Option<Json<Tracker>>)> = sqlx::query_as(
        "select s.as_of, s.tracker from unnest($1::text[]) with ordinality q(id, at) \
         left join analytics.courier_state s on s.courier_id = q.id order by q.at",
    )
    .bind(ids)
    .fetch_all(transaction)
    .await?;
    let state = |(as_of, tracker): (Option<_>, Option<Json<Tracker>>)| State {
        as_of: as_of.map_or(UnixMs(i64::MIN), UnixMs::from_datetime),
        tracker: tracker.map(|json| json.0).unwrap_or_default(),
    };
    Ok(rows.into_iter().map(state).collect())
}

/// Where known runs of a courier begin: the last one not after `at`, and all later ones.
pub(super) async fn known_runs(
    transaction: &mut PgConnection,
    courier: &CourierId,
    at: UnixMs,
) -> sqlx::Result<Vec<UnixMs>> {
    let runs: Vec<OffsetDateTime> = sqlx::query_scalar(
        "with run as ( \
             select run_from from public.trip where courier_id = $1 and run_from is not null \
             union select run_from from public.stop where courier_id = $1 \
         ) \
         select run_from from run where run_from >= coalesce( \
             (select max(run_from) from run where run_from <= $2), '-infinity')",
    )
    .bind(courier.as_str())
    .bind(at.to_datetime())
    .fetch_all(transaction)
    .await?;
    Ok(runs.into_iter().map(UnixMs::from_datetime).collect())
}

/// Writes everything found.
pub(super) async fn write(transaction: &mut PgConnection, found: &[Found]) -> sqlx::Result<()> {
    let mut rows = Rows::default();
    for of_courier in found {
        rows.add(of_courier);
    }
    remove_replaced(transaction, &rows).await?;
    write_trips(transaction, &rows.trips).await?;
    write_stops(transaction, &rows.stops).await?;
    write_states(transaction, found).await
}

/// Rows to be written, and ranges of runs whose other rows go.
#[derive(Default)]
struct Rows<'a> {
    ranges: Vec<(&'a CourierId, UnixMs, UnixMs)>,
    trips: Vec<(&'a CourierId, UnixMs, &'a Trip)>,
    stops: Vec<(&'a CourierId, UnixMs, &'a Stop)>,
}

impl<'a> Rows<'a> {
    fn add(&mut self, found: &'a Found) {
        let courier = &found.courier;
        for replaced in &found.replaced {
            let range = replaced.range;
            self.ranges.push((courier, range.from, range.to));
            // A later replacement of the same runs knows better: it read on from them.
            let outside = |run: &UnixMs| !range.holds(*run);
            self.trips.retain(|row| row.0 != courier || outside(&row.1));
            self.stops.retain(|row| row.0 != courier || outside(&row.1));
            for run in &replaced.runs {
                self.add_run(courier, run);
            }
        }
    }

    fn add_run(&mut self, courier: &'a CourierId, run: &'a Run) {
        self.trips
            .extend(run.trip.iter().map(|trip| (courier, run.from, trip)));
        self.stops
            .extend(run.stops.iter().map(|stop| (courier, run.from, stop)));
    }
}

/// Removes trips and stops of the replaced runs that were not found again.
async fn remove_replaced(transaction: &mut PgConnection, rows: &Rows<'_>) -> sqlx::Result<()> {
    let couriers: Vec<&str> = rows.ranges.iter().map(|r| r.0.as_str()).collect();
    let from: Vec<_> = rows.ranges.iter().map(|r| clamped(r.1)).collect();
    let to: Vec<_> = rows.ranges.iter().map(|r| clamped(r.2)).collect();
    sqlx::query(
        "delete from public.trip t using unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) \
                r(courier_id, first, until) \
          where t.courier_id = r.courier_id and t.run_from >= r.first and t.run_from < r.until \
            and (t.courier_id, t.run_from) not in \
                (select * from unnest($4::text[], $5::timestamptz[]))",
    )
    .bind(&couriers)
    .bind(&from)
    .bind(&to)
    .bind(rows.trips.iter().map(|t| t.0.as_str()).collect::<Vec<_>>())
    .bind(
        rows.trips
            .iter()
            .map(|t| t.1.to_datetime())
            .collect::<Vec<_>>(),
    )
    .execute(&mut *transaction)
    .await?;
    sqlx::query(
        "delete from public.stop s using unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) \
                r(courier_id, first, until) \
          where s.courier_id = r.courier_id and s.run_from >= r.first and s.run_from < r.until \
            and (s.courier_id, s.start_time) not in \
                (select * from unnest($4::text[], $5::timestamptz[]))",
    )
    .bind(couriers)
    .bind(from)
    .bind(to)
    .bind(rows.stops.iter().map(|s| s.0.as_str()).collect::<Vec<_>>())
    .bind(
        rows.stops
            .iter()
            .map(|s| s.2.arrived_at.to_datetime())
            .collect::<Vec<_>>(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// An open end as an instant that Postgres knows.
fn clamped(at: UnixMs) -> OffsetDateTime {
    // Years 1 and 9999.
    UnixMs(at.0.clamp(-62_135_596_800_000, 253_402_300_799_000)).to_datetime()
}

async fn write_trips(
    transaction: &mut PgConnection,
    rows: &[(&CourierId, UnixMs, &Trip)],
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let times = |of: fn(&Trip) -> UnixMs| {
        rows.iter()
            .map(|r| of(r.2).to_datetime())
            .collect::<Vec<_>>()
    };
    let numbers = |of: fn(&Trip) -> f64| rows.iter().map(|r| of(r.2)).collect::<Vec<_>>();
    let ended = rows
        .iter()
        .map(|r| (!r.2.open).then(|| r.2.ended_at.to_datetime()));
    sqlx::query(
        "insert into public.trip as t (courier_id, run_from, start_time, end_time, last_time, start_lat, \
                start_lon, last_lat, last_lon, distance_m, moving_s, stopped_s, stop_count, \
                max_speed_mps) \
         select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], \
                $5::timestamptz[], $6::float8[], $7::float8[], $8::float8[], $9::float8[], \
                $10::float8[], $11::float8[], $12::float8[], $13::int[], $14::float8[]) \
         on conflict on constraint trip_run do update set start_time = excluded.start_time, \
            end_time = excluded.end_time, last_time = excluded.last_time, \
            start_lat = excluded.start_lat, start_lon = excluded.start_lon, \
            last_lat = excluded.last_lat, last_lon = excluded.last_lon, \
            distance_m = excluded.distance_m, moving_s = excluded.moving_s, \
            stopped_s = excluded.stopped_s, stop_count = excluded.stop_count, \
            max_speed_mps = excluded.max_speed_mps, updated_at = now() \
          where (t.start_time, t.end_time, t.last_time, t.start_lat, t.start_lon, t.last_lat, \
                 t.last_lon, t.distance_m, t.moving_s, t.stopped_s, t.stop_count, t.max_speed_mps) \
             is distinct from (excluded.start_time, excluded.end_time, excluded.last_time, \
                 excluded.start_lat, excluded.start_lon, excluded.last_lat, excluded.last_lon, \
                 excluded.distance_m, excluded.moving_s, excluded.stopped_s, \
                 excluded.stop_count, excluded.max_speed_mps)",
    )
    .bind(rows.iter().map(|r| r.0.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.1.to_datetime()).collect::<Vec<_>>())
    .bind(times(|t| t.started_at))
    .bind(ended.collect::<Vec<_>>())
    .bind(times(|t| t.ended_at))
    .bind(numbers(|t| t.from.lat()))
    .bind(numbers(|t| t.from.lon()))
    .bind(numbers(|t| t.to.lat()))
    .bind(numbers(|t| t.to.lon()))
    .bind(numbers(|t| t.distance_mm as f64 / 1000.0))
    .bind(numbers(|t| t.moving_ms() as f64 / 1000.0))
    .bind(numbers(|t| t.stopped_ms as f64 / 1000.0))
    .bind(rows.iter().map(|r| r.2.stops.cast_signed()).collect::<Vec<_>>())
    .bind(numbers(|t| f64::from(t.max_speed_cmps) / 100.0))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn write_stops(
    transaction: &mut PgConnection,
    rows: &[(&CourierId, UnixMs, &Stop)],
) -> sqlx::Result<()> {
    if rows.is_empty() {
        return Ok(());
    }
    let degrees = |of: fn(&Stop) -> i32| {
        rows.iter()
            .map(|r| f64::from(of(r.2)) / 1e7)
            .collect::<Vec<_>>()
    };
    let ended = rows
        .iter()
        .map(|r| r.2.ended.then(|| r.2.last_at.to_datetime()));
    sqlx::query(
        "insert into public.stop as s (courier_id, run_from, start_time, end_time, last_time, lat, lon) \
         select * from unnest($1::text[], $2::timestamptz[], $3::timestamptz[], $4::timestamptz[], \
                $5::timestamptz[], $6::float8[], $7::float8[]) \
         on conflict on constraint stop_arrival do update set run_from = excluded.run_from, \
            end_time = excluded.end_time, last_time = excluded.last_time, lat = excluded.lat, \
            lon = excluded.lon \
          where (s.run_from, s.end_time, s.last_time, s.lat, s.lon) is distinct from \
                (excluded.run_from, excluded.end_time, excluded.last_time, excluded.lat, excluded.lon)",
    )
    .bind(rows.iter().map(|r| r.0.as_str()).collect::<Vec<_>>())
    .bind(rows.iter().map(|r| r.1.to_datetime()).collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|r| r.2.arrived_at.to_datetime())
            .collect::<Vec<_>>(),
    )
    .bind(ended.collect::<Vec<_>>())
    .bind(
        rows.iter()
            .map(|r| r.2.last_at.to_datetime())
            .collect::<Vec<_>>(),
    )
    .bind(degrees(|s| s.lat_e7))
    .bind(degrees(|s| s.lon_e7))
    .execute(transaction)
    .await?;
    Ok(())
}

async fn write_states(transaction: &mut PgConnection, found: &[Found]) -> sqlx::Result<()> {
    let looked_at: Vec<&Found> = found
        .iter()
        .filter(|f| f.state.as_of.0 != i64::MIN)
        .collect();
    sqlx::query(
        "insert into analytics.courier_state (courier_id, as_of, tracker) \
         select * from unnest($1::text[], $2::timestamptz[], $3::jsonb[]) \
         on conflict (courier_id) do update set as_of = excluded.as_of, tracker = excluded.tracker",
    )
    .bind(
        looked_at
            .iter()
            .map(|f| f.courier.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(
        looked_at
            .iter()
            .map(|f| f.state.as_of.to_datetime())
            .collect::<Vec<_>>(),
    )
    .bind(
        looked_at
            .iter()
            .map(|f| Json(&f.state.tracker))
            .collect::<Vec<_>>(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}
