//! A courier's erased data: fixes received before the erasure, and all that was derived from them.
//!
//! It goes in the transaction that records the erasure (`analytics.erase` in the migrations), and the
//! sink drops such records itself when it reads them (again). One flush may still be on its way when
//! the erasure is recorded, so every erasure is looked at again for a while.

use sqlx::PgConnection;
use time::OffsetDateTime;

/// The job's name in `analytics.progress`.
const NAME: &str = "erasure";
/// For this long an erasure is looked at again.
const AGAIN: &str = "15 minutes";

/// Removes what came into the database after it was erased.
pub(super) async fn erase(session: &mut PgConnection) -> sqlx::Result<()> {
    let due: Vec<(String, OffsetDateTime, bool)> = sqlx::query_as(
        "with before as ( \
             select coalesce((select at from analytics.progress where name = $1), '-infinity') as at \
         ) \
         select e.courier_id, e.before_received_at, e.erased_at > b.at \
           from dispatch.erased e, before b where e.erased_at > b.at - $2::interval",
    )
    .bind(NAME)
    .bind(AGAIN)
    .fetch_all(&mut *session)
    .await?;
    let newest: Option<OffsetDateTime> =
        sqlx::query_scalar("select max(erased_at) from dispatch.erased")
            .fetch_one(&mut *session)
            .await?;
    for (courier, before, first_look) in due {
        let gone: i64 = sqlx::query_scalar("select analytics.erase($1, $2, $3)")
            .bind(&courier)
            .bind(before)
            .bind(first_look)
            .fetch_one(&mut *session)
            .await?;
        if gone > 0 {
            tracing::info!(segments = gone, "a courier's erased tracks were removed");
        }
    }
    sqlx::query(
        "insert into analytics.progress (name, at) select $1, $2 where $2 is not null \
         on conflict (name) do update set at = greatest(progress.at, excluded.at)",
    )
    .bind(NAME)
    .bind(newest)
    .execute(session)
    .await?;
    Ok(())
}
