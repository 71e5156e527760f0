//! Once a day is over and merged, its partition is written anew, without the gaps that small
//! segments left behind.
//!
//! Readers of that day wait for the few seconds that it takes; a late fix for it makes the sink wait
//! and try again.

use sqlx::{Executor, PgConnection};

use super::is_locked;
use crate::analytics::columns::Day;
use crate::analytics::days::{stored_days_in, table_of};

/// Compacts the days before `today` that have nothing left to merge, one in a round.
pub(super) async fn compact(session: &mut PgConnection, today: Day) -> sqlx::Result<()> {
    let mut past = stored_days_in(session).await?;
    past.retain(|day| *day < today);
    let dates: Vec<time::Date> = past.iter().map(|day| day.date()).collect();
    let next: Option<time::Date> = sqlx::query_scalar(
        "select d.day from unnest($1::date[]) d(day) \
          where not exists (select from analytics.compacted c where c.day = d.day) \
            and not exists (select from analytics.unmerged u \
                 where (u.hour at time zone 'UTC')::date = d.day) \
          order by d.day limit 1",
    )
    .bind(dates)
    .fetch_optional(&mut *session)
    .await?;
    let Some(day) = next.map(Day::from_date) else {
        return Ok(());
    };
    let rewrite = format!("vacuum (full, analyze) {}", table_of(day));
    match session.execute(sqlx::AssertSqlSafe(rewrite)).await {
        Ok(_) => {}
        Err(error) if is_locked(&error) => return Ok(()),
        Err(error) => return Err(error),
    }
    sqlx::query("insert into analytics.compacted (day) values ($1) on conflict do nothing")
        .bind(day.date())
        .execute(session)
        .await?;
    Ok(())
}
