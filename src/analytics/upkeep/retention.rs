//! Days past the retention go, with all that was derived from them.
//!
//! Dropping a partition needs the whole table for a moment. An open SELECT keeps it from us; then we
//! give up at once and try again later, since everybody who comes after us would wait behind us.

use sqlx::{Executor, PgConnection};

use super::is_locked;
use crate::analytics::columns::Day;
use crate::analytics::days::{stored_days_in, table_of};

/// Drops everything before `oldest`.
pub(super) async fn forget(session: &mut PgConnection, oldest: Day) -> sqlx::Result<()> {
    let mut past = stored_days_in(session).await?;
    past.retain(|day| *day < oldest);
    for day in past {
        let drop = format!("drop table {}", table_of(day));
        match session.execute(sqlx::AssertSqlSafe(drop)).await {
            Ok(_) => tracing::info!(%day, "a day past the retention was dropped"),
            Err(error) if is_locked(&error) => {
                tracing::info!(%day, "a day past the retention is in use; it will be dropped later");
                return Ok(());
            }
            Err(error) => return Err(error),
        }
        for derived in [
            "delete from public.trip where last_time < $1",
            "delete from public.stop where last_time < $1",
            "delete from public.heat_hour where hour < $1",
            "delete from analytics.heat_share where hour < $1",
            "delete from analytics.courier_state where as_of < $1",
            "delete from analytics.unmerged where hour < $1",
            "delete from analytics.compacted where day < $1",
        ] {
            sqlx::query(derived)
                .bind(day.plus(1).start().to_datetime())
                .execute(&mut *session)
                .await?;
        }
    }
    Ok(())
}
