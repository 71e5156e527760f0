//! A courier's erased data: fixes received before the erasure, and all that was derived from them.
//!
//! The sink drops such records itself when it reads them (again). One flush may still be on its way
//! when the erasure is recorded, so every erasure is looked at again for a while.

use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::analytics::derive::LOCK;

/// The job's name in `analytics.progress`.
const NAME: &str = "erasure";
/// For this long an erasure is looked at again.
const AGAIN: &str = "15 minutes";

/// Removes what was erased since the last look.
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
        erase_courier(session, &courier, before, first_look).await?;
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

async fn erase_courier(
    session: &mut PgConnection,
    courier: &str,
    before: OffsetDateTime,
    first_look: bool,
) -> sqlx::Result<()> {
    let mut transaction = session.begin().await?;
    // Trips and heat are not computed meanwhile.
    sqlx::query("select pg_advisory_xact_lock($1)")
        .bind(LOCK)
        .execute(&mut *transaction)
        .await?;
    let gone = sqlx::query(
        "delete from public.track_segment where courier_id = $1 and received_from < $2",
    )
    .bind(courier)
    .bind(before)
    .execute(&mut *transaction)
    .await?
    .rows_affected();
    if gone == 0 && !first_look {
        return transaction.commit().await;
    }
    for derived in [
        "delete from public.trip where courier_id = $1",
        "delete from public.stop where courier_id = $1",
        "delete from analytics.courier_state where courier_id = $1",
        "delete from analytics.mark where courier_id = $1",
        "with gone as ( \
             delete from analytics.heat_share where courier_id = $1 returning * \
         ), share as ( \
             select hour, unnest(cells) as cell, unnest(fixes) as fixes, \
                    unnest(speed_fixes) as speed_fixes, unnest(speed_sum_cmps) as speed_sum_cmps \
               from gone \
         ) \
         update public.heat_hour h set fixes = h.fixes - s.fixes, couriers = h.couriers - 1, \
                speed_fixes = h.speed_fixes - s.speed_fixes, \
                speed_sum_cmps = h.speed_sum_cmps - s.speed_sum_cmps \
           from share s where h.hour = s.hour and h.cell = s.cell",
        // What was received later is looked at anew.
        "insert into analytics.mark (courier_id, day, first_at, last_at, fixes) \
         select courier_id, day, min(segment_from), max(segment_to), sum(fixes) \
           from public.track_segment where courier_id = $1 group by courier_id, day",
    ] {
        sqlx::query(derived)
            .bind(courier)
            .execute(&mut *transaction)
            .await?;
    }
    sqlx::query("delete from public.heat_hour where fixes = 0")
        .execute(&mut *transaction)
        .await?;
    transaction.commit().await?;
    tracing::info!(segments = gone, "a courier's erased tracks were removed");
    Ok(())
}
