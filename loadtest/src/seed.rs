//! Couriers by the hundred thousand, put straight into a stand's Postgres before its server starts:
//! over the API a million of them would take an hour.

use anyhow::Context;
use sqlx::{Connection, PgConnection};
use waylog::access::{Chance, SecretKind};

use crate::provision::Phone;
use crate::stand::Stand;
use crate::template::AREA;

/// Rows of one statement.
const CHUNK: usize = 100_000;
/// Random characters of a token before its number.
const RANDOM: usize = 24;

/// Makes `count` couriers with a phone each. Their tokens share a random beginning and end with their
/// number: good for a test stand, and for nothing else.
pub async fn couriers(stand: &Stand, count: usize) -> anyhow::Result<Vec<Phone>> {
    let status = stand.waylog(&["migrate"]).status().await?;
    anyhow::ensure!(status.success(), "the stand's database could not be made");
    let issued = Chance::from_system()?.issue(SecretKind::Device).secret;
    let random = issued
        .get(..4 + RANDOM)
        .context("a short token")?
        .to_owned();
    let mut connection = PgConnection::connect(stand.postgres_url()).await?;
    for first in (0..count).step_by(CHUNK) {
        let last = (first + CHUNK).min(count) - 1;
        let range = (first as i64, last as i64);
        // The triggers tell a running server of every row; none runs yet.
        let mut transaction = connection.begin().await?;
        for statement in [
            "set local session_replication_role = replica",
            "insert into dispatch.courier (id) \
                select 'load-' || i from generate_series($1, $2) i",
            "insert into dispatch.device (id, courier_id, token_hash, token_prefix) \
                select gen_random_uuid(), 'load-' || i, \
                       sha256(convert_to($3 || lpad(i::text, 8, '0'), 'utf8')), left($3, 8) \
                  from generate_series($1, $2) i",
        ] {
            let mut query = sqlx::query(statement);
            if statement.contains("$1") {
                query = query.bind(range.0).bind(range.1);
            }
            if statement.contains("$3") {
                query = query.bind(&random);
            }
            query.execute(&mut *transaction).await?;
        }
        transaction.commit().await?;
    }
    let phone = |i| Phone {
        courier: format!("load-{i}"),
        token: format!("{random}{i:08}"),
    };
    Ok((0..count).map(phone).collect())
}

/// Makes `count` circular geofences of `radius_m`, spread evenly over the places that uploads go
/// through and `around_deg` beside them.
pub async fn geofences(
    stand: &Stand,
    count: usize,
    radius_m: f64,
    around_deg: f64,
) -> anyhow::Result<()> {
    let status = stand.waylog(&["migrate"]).status().await?;
    anyhow::ensure!(status.success(), "the stand's database could not be made");
    let mut connection = PgConnection::connect(stand.postgres_url()).await?;
    let ((south, west), (north, east)) = AREA;
    let mut transaction = connection.begin().await?;
    sqlx::query("set local session_replication_role = replica")
        .execute(&mut *transaction)
        .await?;
    // A point of the unit square for each number, evenly (the R2 sequence).
    sqlx::query(
        "insert into dispatch.geofence (id, name, shape, events) \
            select 'fence-' || i, 'Fence ' || i, \
                   jsonb_build_object('circle', jsonb_build_object( \
                       'lat', $2 + $4 * ((i * 0.7548776662466927) % 1), \
                       'lon', $3 + $5 * ((i * 0.5698402909980532) % 1), \
                       'radius_m', $6)), \
                   '{enter,exit}'::text[] \
              from generate_series(1, $1) i",
    )
    .bind(count as i64)
    .bind(south - around_deg)
    .bind(west - around_deg)
    .bind(north - south + 2.0 * around_deg)
    .bind(east - west + 2.0 * around_deg)
    .bind(radius_m)
    .execute(&mut *transaction)
    .await?;
    transaction.commit().await?;
    Ok(())
}
