//! A database of a benchmark's own.
#![allow(dead_code, reason = "each benchmark uses a part of it")]

use std::fmt::Write;

use anyhow::Context;
use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};
use waylog::domain::Fix;

pub struct Database {
    pub pool: PgPool,
    pub url: String,
    admin: PgConnectOptions,
    name: String,
}

impl Database {
    pub async fn create() -> anyhow::Result<Self> {
        let url = std::env::var("WAYLOG_TEST_DATABASE_URL")
            .context("WAYLOG_TEST_DATABASE_URL is not set: run this by `make bench`")?;
        let admin: PgConnectOptions = url.parse()?;
        let name = format!("waylog_bench_{}", std::process::id());
        let pool = PgPoolOptions::new().connect_with(admin.clone()).await?;
        pool.execute(sqlx::AssertSqlSafe(format!("create database {name}")))
            .await?;
        pool.close().await;
        let options = admin.clone().database(&name);
        let pool = PgPoolOptions::new()
            .max_connections(12)
            .connect_with(options)
            .await?;
        sqlx::migrate!().run(&pool).await?;
        let (server, _) = url.rsplit_once('/').context("a URL with a database")?;
        let url = format!("{server}/{name}");
        Ok(Self {
            pool,
            url,
            admin,
            name,
        })
    }

    pub async fn drop_database(self) -> anyhow::Result<()> {
        self.pool.close().await;
        let pool = PgPoolOptions::new().connect_with(self.admin).await?;
        let drop = format!("drop database {} with (force)", self.name);
        pool.execute(sqlx::AssertSqlSafe(drop)).await?;
        Ok(())
    }
}

/// Fixes stored.
pub async fn stored(pool: &PgPool) -> sqlx::Result<i64> {
    sqlx::query_scalar("select coalesce(sum(fixes), 0)::bigint from track_segment")
        .fetch_one(pool)
        .await
}

/// Records read of a stream.
pub async fn read(pool: &PgPool, stream_id: &str) -> sqlx::Result<i64> {
    sqlx::query_scalar(
        "select coalesce(sum(next), 0)::bigint from stream_offset where stream_id = $1",
    )
    .bind(stream_id)
    .fetch_one(pool)
    .await
}

pub const COPY_PLAIN: &str = "copy plain.fix (courier_id, fix_time, lat, lon, accuracy_m, speed_mps, \
     heading_deg, altitude_m, battery_pct) from stdin";

/// A row of COPY's text format.
pub fn push_row(text: &mut String, id: &str, fix: &Fix) {
    let position = fix.position;
    writeln!(
        text,
        "{id}\t{}\t{}\t{}\t{}\t{}\t{}\t{}\t{}",
        fix.fix_time,
        position.lat(),
        position.lon(),
        fix.accuracy_m.unwrap_or_default(),
        fix.speed_mps.unwrap_or_default(),
        fix.heading_deg.unwrap_or_default(),
        fix.altitude_m.unwrap_or_default(),
        fix.battery_pct.unwrap_or_default(),
    )
    .expect("a String takes everything");
}

/// `text` in pieces of so many lines.
pub fn chunks(text: &str, lines: usize) -> Vec<&str> {
    let mut pieces = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let cut = rest
            .match_indices('\n')
            .nth(lines - 1)
            .map_or(rest.len(), |(at, _)| at + 1);
        let (piece, after) = rest.split_at(cut);
        pieces.push(piece);
        rest = after;
    }
    pieces
}
