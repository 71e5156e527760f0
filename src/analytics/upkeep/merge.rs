//! Small segments of an hour that is over become few large ones.
//!
//! A flush every few seconds makes segments of a handful of fixes, which take several times the
//! space of the fixes themselves. Merged they take less than 30 bytes a fix.

use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::analytics::columns::Day;
use crate::analytics::days::{stored_days_in, table_of};
use crate::analytics::sink::MAX_SEGMENT_FIXES;
use crate::domain::UnixMs;

/// Nothing must have come for an hour for this long before it is merged, seconds.
pub(super) const QUIET_S: f64 = 120.0;
/// An hour is over only this long after its end, milliseconds: phones are seldom later.
const AFTER_MS: i64 = 600_000;
const HOUR_MS: i64 = 3_600_000;
/// Fixes merged in one transaction.
const BATCH_FIXES: i64 = 200_000;

/// Merges the hours that are over and quiet.
pub(super) async fn merge(
    session: &mut PgConnection,
    now: UnixMs,
    quiet_s: f64,
) -> sqlx::Result<()> {
    let due: Vec<(OffsetDateTime, OffsetDateTime)> = sqlx::query_as(
        "select hour, touched_at from analytics.unmerged \
          where hour < $1 and touched_at <= now() - make_interval(secs => $2) order by hour",
    )
    .bind(now.plus_ms(-HOUR_MS - AFTER_MS).to_datetime())
    .bind(quiet_s)
    .fetch_all(&mut *session)
    .await?;
    let days = stored_days_in(session).await?;
    for (hour, touched_at) in due {
        let start = UnixMs::from_datetime(hour);
        if days.contains(&Day::of(start)) {
            merge_hour(session, start).await?;
        }
        // Whatever came meanwhile has touched the hour again.
        sqlx::query("delete from analytics.unmerged where hour = $1 and touched_at = $2")
            .bind(hour)
            .bind(touched_at)
            .execute(&mut *session)
            .await?;
    }
    Ok(())
}

async fn merge_hour(session: &mut PgConnection, start: UnixMs) -> sqlx::Result<()> {
    let day = Day::of(start);
    let table = table_of(day);
    let (from, to) = (start.to_datetime(), start.plus_ms(HOUR_MS).to_datetime());
    // More segments than their fixes need.
    let couriers: Vec<(String, i64)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select courier_id, sum(fixes)::bigint from {table} \
          where segment_from >= $1 and segment_from < $2 group by courier_id \
         having count(*) > ceil(sum(fixes) / {MAX_SEGMENT_FIXES}.0) order by courier_id"
    )))
    .bind(from)
    .bind(to)
    .persistent(false)
    .fetch_all(&mut *session)
    .await?;
    let mut batch = Vec::new();
    let mut fixes = 0;
    for (courier, count) in couriers {
        batch.push(courier);
        fixes += count;
        if fixes >= BATCH_FIXES {
            merge_couriers(session, &table, &batch, from, to).await?;
            batch.clear();
            fixes = 0;
        }
    }
    if !batch.is_empty() {
        merge_couriers(session, &table, &batch, from, to).await?;
    }
    Ok(())
}

/// One statement takes the segments away and puts their fixes back by time, as few segments.
async fn merge_couriers(
    session: &mut PgConnection,
    table: &str,
    couriers: &[String],
    from: OffsetDateTime,
    to: OffsetDateTime,
) -> sqlx::Result<()> {
    let unless_unknown =
        |column: &str| format!("case when count({column}) > 0 then array_agg({column}) end");
    let sql = format!(
        "with old as ( \
             delete from {table} where courier_id = any($1) and segment_from >= $2 \
                and segment_from < $3 returning * \
         ), fix as ( \
             select courier_id, day, received_from, received_to, \
                    unnest(fix_time_ms) as fix_time_ms, unnest(lat_e7) as lat_e7, \
                    unnest(lon_e7) as lon_e7, unnest(accuracy_dm) as accuracy_dm, \
                    unnest(speed_cmps) as speed_cmps, unnest(heading_ddeg) as heading_ddeg, \
                    unnest(altitude_dm) as altitude_dm, unnest(battery_pct) as battery_pct \
               from old \
         ), numbered as ( \
             select *, (row_number() over (partition by courier_id order by fix_time_ms) - 1) \
                    / {MAX_SEGMENT_FIXES} as piece \
               from fix \
         ), sorted as ( \
             select * from numbered order by courier_id, piece, fix_time_ms \
         ) \
         insert into {table} (courier_id, day, segment_from, segment_to, fixes, lat_min, lat_max, \
                lon_min, lon_max, received_from, received_to, fix_time_ms, lat_e7, lon_e7, \
                accuracy_dm, speed_cmps, heading_ddeg, altitude_dm, battery_pct) \
         select courier_id, day, \
                day::timestamp at time zone 'UTC' + interval '1 millisecond' * min(fix_time_ms), \
                day::timestamp at time zone 'UTC' + interval '1 millisecond' * max(fix_time_ms), \
                count(*), min(lat_e7) / 1e7::float8, max(lat_e7) / 1e7::float8, \
                min(lon_e7) / 1e7::float8, max(lon_e7) / 1e7::float8, min(received_from), \
                max(received_to), array_agg(fix_time_ms), array_agg(lat_e7), array_agg(lon_e7), \
                {}, {}, {}, {}, {} \
           from sorted group by courier_id, day, piece",
        unless_unknown("accuracy_dm"),
        unless_unknown("speed_cmps"),
        unless_unknown("heading_ddeg"),
        unless_unknown("altitude_dm"),
        unless_unknown("battery_pct"),
    );
    let mut transaction = session.begin().await?;
    sqlx::query(sqlx::AssertSqlSafe(sql))
        .bind(couriers)
        .bind(from)
        .bind(to)
        .persistent(false)
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await
}
