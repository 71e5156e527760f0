//! One INSERT a fix, each a transaction of its own: what an application does that has no log.

use sqlx::PgPool;
use waylog::domain::{CourierId, Fix};

/// Makes the table.
pub async fn prepare(pool: PgPool) -> sqlx::Result<PgPool> {
    sqlx::raw_sql(
        "create table if not exists peer_fix ( \
            courier_id text collate \"C\" not null, fix_time timestamptz not null, \
            lat double precision not null, lon double precision not null, accuracy_m real, \
            speed_mps real, heading_deg real, primary key (courier_id, fix_time))",
    )
    .execute(&pool)
    .await?;
    Ok(pool)
}

/// Stores fixes on one connection, one after the other; answers how many were new.
pub async fn each(pool: &PgPool, courier: &CourierId, fixes: &[Fix]) -> sqlx::Result<usize> {
    let mut connection = pool.acquire().await?;
    let mut stored = 0;
    for fix in fixes {
        let done = sqlx::query(
            "insert into peer_fix values ($1, $2, $3, $4, $5, $6, $7) on conflict do nothing",
        )
        .bind(courier.as_str())
        .bind(fix.fix_time.to_datetime())
        .bind(fix.position.lat())
        .bind(fix.position.lon())
        .bind(fix.accuracy_m)
        .bind(fix.speed_mps)
        .bind(fix.heading_deg)
        .execute(&mut *connection)
        .await?;
        stored += done.rows_affected() as usize;
    }
    Ok(stored)
}
