//! One trip a delivery, from its pick-up to its end.
//!
//! Computed anew when the delivery changes and when fixes come that fall between the two.

use futures_util::TryStreamExt;
use sqlx::PgConnection;
use time::OffsetDateTime;

use super::marks::Marked;
use crate::analytics::columns::Day;
use crate::analytics::range::TimeRange;
use crate::analytics::tracks::{FOREVER, InOrder, segments};
use crate::domain::{CourierId, Run, Tracker, TripRules, UnixMs};

/// The job's name in `analytics.progress`.
const NAME: &str = "deliveries";
/// A change becomes visible when its transaction ends, but bears the time at which that began.
const LONGEST_TRANSACTION: &str = "5 minutes";

/// A delivery between pick-up and completion, as `public.delivery` tells it.
#[derive(Debug, sqlx::FromRow)]
struct UnderWay {
    id: String,
    courier_id: String,
    picked_up_at: OffsetDateTime,
    completed_at: Option<OffsetDateTime>,
}

/// Computes the trips of deliveries that have changed, or that `marked` fixes fall into.
pub(super) async fn update(
    transaction: &mut PgConnection,
    rules: &TripRules,
    marked: &[Marked],
    days: &[Day],
) -> sqlx::Result<()> {
    let rules = rules.for_delivery();
    for delivery in affected(transaction, marked).await? {
        let Ok(courier) = CourierId::try_from(delivery.courier_id.as_str()) else {
            continue; // the column's own check rules that out
        };
        let range = TimeRange {
            from: UnixMs::from_datetime(delivery.picked_up_at),
            to: delivery
                .completed_at
                .map_or(FOREVER, |at| UnixMs::from_datetime(at).plus_ms(1)),
        };
        match way(transaction, &rules, &courier, range, days).await? {
            Some(run) => write(transaction, &delivery, &run).await?,
            None => remove(transaction, &delivery.id).await?,
        }
    }
    Ok(())
}

/// Deliveries that changed since the last look, and those of the marked couriers that were under way
/// within their marks.
async fn affected(
    transaction: &mut PgConnection,
    marked: &[Marked],
) -> sqlx::Result<Vec<UnderWay>> {
    let each = || {
        marked
            .iter()
            .flat_map(|m| m.marks.iter().map(move |mark| (m, mark)))
    };
    sqlx::query_as(
        "with looked as ( \
             insert into analytics.progress (name, at) values ($1, now()) \
             on conflict (name) do update set at = now() \
         ), before as ( \
             select coalesce((select at from analytics.progress where name = $1), '-infinity') as at \
         ), mark as ( \
             select * from unnest($3::text[], $4::timestamptz[], $5::timestamptz[]) \
                    as m(courier_id, first_at, last_at) \
         ), candidate as ( \
             select d.id, d.courier_id, d.status, d.timeline, null::timestamptz as first_at, \
                    null::timestamptz as last_at \
               from public.delivery d, before b where d.updated_at > b.at - $2::interval \
             union all \
             select d.id, d.courier_id, d.status, d.timeline, m.first_at, m.last_at \
               from mark m join public.delivery d \
                 on d.courier_id = m.courier_id and d.updated_at >= m.first_at \
             union all \
             select d.id, d.courier_id, d.status, d.timeline, m.first_at, m.last_at \
               from mark m join public.delivery d \
                 on d.courier_id = m.courier_id and d.status in ('picked_up', 'arrived') \
         ), timed as ( \
             select c.*, \
                    (select max((e->>'at')::timestamptz) from jsonb_array_elements(timeline) e \
                      where e->>'status' = 'picked_up') as picked_up_at, \
                    (select max((e->>'at')::timestamptz) from jsonb_array_elements(timeline) e \
                      where e->>'status' in ('delivered', 'failed', 'cancelled')) as completed_at \
               from candidate c where courier_id is not null \
         ) \
         select distinct d.id, d.courier_id, d.picked_up_at, d.completed_at \
           from timed d left join public.trip t on t.delivery_id = d.id \
          where d.picked_up_at is not null \
            and case when d.first_at is null \
                then (t.courier_id, t.start_time, t.end_time) \
                     is distinct from (d.courier_id, d.picked_up_at, d.completed_at) \
                else d.picked_up_at <= d.last_at \
                     and (d.completed_at is null or d.completed_at >= d.first_at) end",
    )
    .bind(NAME)
    .bind(LONGEST_TRANSACTION)
    .bind(each().map(|(m, _)| m.courier.as_str()).collect::<Vec<_>>())
    .bind(each().map(|(_, mark)| mark.first.to_datetime()).collect::<Vec<_>>())
    .bind(each().map(|(_, mark)| mark.last.to_datetime()).collect::<Vec<_>>())
    .fetch_all(transaction)
    .await
}

/// The courier's way in `range`; `None` without a fix in it.
pub(in crate::analytics) async fn way(
    transaction: &mut PgConnection,
    rules: &TripRules,
    courier: &CourierId,
    range: TimeRange,
    days: &[Day],
) -> sqlx::Result<Option<Run>> {
    let mut tracker = Tracker::default();
    for day in days.iter().filter(|day| range.touches(**day)) {
        let mut in_order = InOrder::new(range);
        let mut rows = segments(transaction, courier, *day, range);
        while let Some(row) = rows.try_next().await? {
            for fix in in_order.push(&row) {
                tracker.push(rules, &fix);
            }
        }
        for fix in in_order.rest() {
            tracker.push(rules, &fix);
        }
    }
    Ok(tracker.open(rules))
}

async fn write(transaction: &mut PgConnection, delivery: &UnderWay, run: &Run) -> sqlx::Result<()> {
    let Some(trip) = &run.trip else {
        return remove(transaction, &delivery.id).await;
    };
    let stopped_ms: i64 = run.stops.iter().map(|stop| stop.duration_ms()).sum();
    let moving_ms = run.to.since(run.from) - stopped_ms;
    sqlx::query(
        "insert into public.trip (courier_id, delivery_id, start_time, end_time, last_time, \
                start_lat, start_lon, last_lat, last_lon, distance_m, moving_s, stopped_s, \
                stop_count, max_speed_mps) \
         values ($1, $2, $3, $4, $5, $6, $7, $8, $9, $10, $11, $12, $13, $14) \
         on conflict on constraint trip_delivery do update set courier_id = excluded.courier_id, \
            start_time = excluded.start_time, end_time = excluded.end_time, \
            last_time = excluded.last_time, start_lat = excluded.start_lat, \
            start_lon = excluded.start_lon, last_lat = excluded.last_lat, \
            last_lon = excluded.last_lon, distance_m = excluded.distance_m, \
            moving_s = excluded.moving_s, stopped_s = excluded.stopped_s, \
            stop_count = excluded.stop_count, max_speed_mps = excluded.max_speed_mps, \
            updated_at = now()",
    )
    .bind(&delivery.courier_id)
    .bind(&delivery.id)
    .bind(delivery.picked_up_at)
    .bind(delivery.completed_at)
    .bind(run.to.to_datetime())
    .bind(trip.from.lat())
    .bind(trip.from.lon())
    .bind(trip.to.lat())
    .bind(trip.to.lon())
    .bind(trip.distance_mm as f64 / 1000.0)
    .bind(moving_ms as f64 / 1000.0)
    .bind(stopped_ms as f64 / 1000.0)
    .bind(i32::try_from(run.stops.len()).unwrap_or(i32::MAX))
    .bind(f64::from(trip.max_speed_cmps) / 100.0)
    .execute(transaction)
    .await?;
    Ok(())
}

async fn remove(transaction: &mut PgConnection, delivery_id: &str) -> sqlx::Result<()> {
    sqlx::query("delete from public.trip where delivery_id = $1")
        .bind(delivery_id)
        .execute(transaction)
        .await?;
    Ok(())
}
