//! What time removes: codes and sessions that have run out, remembered answers, the table of changes;
//! and, by the settings, customers, deliveries, events, the audit log, looks at links.
//!
//! Rows go a few thousand at a time, so that no transaction is long and none holds up a change.

use sqlx::PgPool;
use time::{Duration, OffsetDateTime};

use super::erasure;
use crate::config::RetentionConfig;
use crate::directory::CHANGES_KEPT_MS;

/// Rows removed in one statement.
const ROWS: i64 = 5_000;
/// Statements of one round and table; the next round goes on.
const STATEMENTS: usize = 20;
/// Deliveries whose customers are forgotten in one transaction.
const CUSTOMERS: i64 = 200;

/// How long each table's rows are kept, and the statement that removes up to $2 rows older than $1.
fn tables(retention: &RetentionConfig) -> [(Duration, &'static str); 8] {
    let days = |days: u16| Duration::days(i64::from(days));
    [
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
            days(retention.audit_days),
            "delete from dispatch.audit where id = any (array(select id \
             from dispatch.audit where at < $1 order by at limit $2))",
        ),
        (
            days(retention.events_days),
            "delete from public.event where id = any (array(select id \
             from public.event where recorded_at < $1 order by xid, id limit $2))",
        ),
        (
            days(retention.link_access_days),
            "delete from dispatch.link_access where ctid = any (array(select ctid \
             from dispatch.link_access where hour < $1 order by hour limit $2))",
        ),
        (
            days(retention.deliveries_days),
            "delete from dispatch.delivery where id = any (array(select id \
             from dispatch.delivery where completed_at < $1 order by completed_at limit $2))",
        ),
    ]
}

/// Removes what is past its time at `now`; answers how many rows. The Directory hears of it as of any
/// change.
pub(super) async fn sweep(
    pool: &PgPool,
    retention: &RetentionConfig,
    now: OffsetDateTime,
) -> sqlx::Result<u64> {
    let mut removed = 0;
    for (kept, statement) in tables(retention) {
        for _ in 0..STATEMENTS {
            let query = sqlx::query(statement).bind(now - kept).bind(ROWS);
            let rows = query.execute(pool).await?.rows_affected();
            removed += rows;
            if rows < ROWS as u64 {
                break;
            }
        }
    }
    let before = now - Duration::days(i64::from(retention.customers_days));
    for _ in 0..STATEMENTS {
        let mut transaction = pool.begin().await?;
        let rows = erasure::forget_customers(&mut transaction, before, CUSTOMERS).await?;
        transaction.commit().await?;
        removed += rows;
        if rows < CUSTOMERS as u64 {
            break;
        }
    }
    Ok(removed)
}
