//! What time removes: codes and sessions that have run out, remembered answers, the table of changes,
//! and old entries of the audit log and of events.
//!
//! Rows go a few thousand at a time, so that no transaction is long and none holds up a change.

use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use crate::directory::CHANGES_KEPT_MS;

/// Rows removed in one statement.
const ROWS: i64 = 5_000;
/// Statements of one round and table; the next round goes on.
const STATEMENTS: usize = 20;

/// How long each table's rows are kept, and the statement that removes up to $2 rows older than $1.
const TABLES: &[(Duration, &str)] = &[
    (
        Duration::milliseconds(CHANGES_KEPT_MS),
        "delete from dispatch.change where ctid = any (array(select ctid from dispatch.change \
         where changed_at < $1 order by changed_at limit $2))",
    ),
    (
        Duration::DAY,
        "delete from dispatch.idempotency where scope = any (array(select scope \
         from dispatch.idempotency where created_at < $1 limit $2))",
    ),
    (
        Duration::ZERO,
        "delete from dispatch.one_time_code where code_hash = any (array(select code_hash \
         from dispatch.one_time_code where expires_at < $1 limit $2))",
    ),
    (
        Duration::ZERO,
        "delete from dispatch.session where id = any (array(select id \
         from dispatch.session where expires_at < $1 limit $2))",
    ),
    (
        Duration::days(400),
        "delete from dispatch.audit where id = any (array(select id \
         from dispatch.audit where at < $1 order by at limit $2))",
    ),
    (
        Duration::days(400),
        "delete from public.event where id = any (array(select id \
         from public.event where recorded_at < $1 order by xid, id limit $2))",
    ),
];

/// Removes what is past its time at `now`; answers how many rows.
pub(super) async fn sweep(pool: &PgPool, now: OffsetDateTime) -> sqlx::Result<u64> {
    let mut removed = 0;
    for (kept, statement) in TABLES {
        for _ in 0..STATEMENTS {
            let query = sqlx::query(*statement).bind(now - *kept).bind(ROWS);
            let rows = query.execute(pool).await?.rows_affected();
            removed += rows;
            if rows < ROWS as u64 {
                break;
            }
        }
    }
    Ok(removed)
}
