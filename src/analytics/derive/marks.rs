//! What the sink has added since the job last looked: `analytics.mark`.

use std::collections::BTreeSet;

use sqlx::PgConnection;
use time::OffsetDateTime;

use super::heat::Hour;
use crate::domain::{CourierId, UnixMs};

/// Most couriers in one round.
const MAX_COURIERS: i64 = 500;
/// Most fixes in one round, unless one courier alone has more.
const MAX_FIXES: i64 = 500_000;

/// Fixes between two instants, both inclusive, of which some are new.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Mark {
    pub(super) first: UnixMs,
    pub(super) last: UnixMs,
}

/// A courier's marks, by time.
#[derive(Debug, Clone)]
pub(super) struct Marked {
    pub(super) courier: CourierId,
    pub(super) marks: Vec<Mark>,
}

/// Takes the marks of the couriers that have waited longest; also tells whether there are more.
pub(super) async fn take(transaction: &mut PgConnection) -> sqlx::Result<(Vec<Marked>, bool)> {
    let rows: Vec<(String, OffsetDateTime, OffsetDateTime)> = sqlx::query_as(
        "with waiting as ( \
             select courier_id, sum(fixes) as fixes, min(id) as oldest \
               from analytics.mark group by courier_id order by min(id) limit $1 \
         ), chosen as ( \
             select courier_id from ( \
                 select courier_id, sum(fixes) over (order by oldest) - fixes as before \
                   from waiting) w \
              where before < $2 \
         ), taken as ( \
             delete from analytics.mark m using chosen c where m.courier_id = c.courier_id \
             returning m.courier_id, m.first_at, m.last_at \
         ) \
         select courier_id, first_at, last_at from taken order by courier_id, first_at",
    )
    .bind(MAX_COURIERS)
    .bind(MAX_FIXES)
    .fetch_all(&mut *transaction)
    .await?;
    let mut marked: Vec<Marked> = Vec::new();
    for (id, first, last) in rows {
        let mark = Mark {
            first: UnixMs::from_datetime(first),
            last: UnixMs::from_datetime(last),
        };
        match marked.last_mut().filter(|m| m.courier.as_str() == id) {
            Some(of_courier) => of_courier.marks.push(mark),
            None => match CourierId::try_from(id) {
                Ok(courier) => marked.push(Marked {
                    courier,
                    marks: vec![mark],
                }),
                Err(error) => {
                    tracing::warn!(%error, "a mark of no courier, made by hand, is dropped")
                }
            },
        }
    }
    let more = sqlx::query_scalar("select exists (select from analytics.mark)")
        .fetch_one(transaction)
        .await?;
    Ok((marked, more))
}

/// Notes the hours of the marks taken: small segments may be merged there.
pub(super) async fn note_unmerged(
    transaction: &mut PgConnection,
    marked: &[Marked],
) -> sqlx::Result<()> {
    let marks = marked.iter().flat_map(|of_courier| &of_courier.marks);
    let hours: BTreeSet<Hour> = marks.flat_map(|m| Hour::between(m.first, m.last)).collect();
    sqlx::query(
        "insert into analytics.unmerged (hour, touched_at) \
         select hour, now() from unnest($1::timestamptz[]) h(hour) \
         on conflict (hour) do update set touched_at = excluded.touched_at",
    )
    .bind(
        hours
            .iter()
            .map(|hour| hour.start().to_datetime())
            .collect::<Vec<_>>(),
    )
    .execute(transaction)
    .await?;
    Ok(())
}

/// About how many marks wait.
pub(super) async fn left(transaction: &mut PgConnection) -> sqlx::Result<i64> {
    sqlx::query_scalar("select count(*) from analytics.mark")
        .fetch_one(transaction)
        .await
}
