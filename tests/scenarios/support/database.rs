//! A database of its own for a scenario, on the Postgres that `make test` started.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};

/// An empty database; the program brings its own migrations.
pub struct Database {
    pub url: String,
    pub pool: PgPool,
    admin: PgConnectOptions,
    name: String,
}

impl Database {
    pub async fn create() -> Self {
        let base = std::env::var("WAYLOG_TEST_DATABASE_URL")
            .expect("WAYLOG_TEST_DATABASE_URL is not set: run the tests by `make test`");
        let admin: PgConnectOptions = base.parse().expect("a Postgres URL");
        let name = format!("waylog_{}", uuid::Uuid::new_v4().simple());
        run(&admin, format!("create database {name}")).await;
        let (server, _) = base.rsplit_once('/').expect("a URL with a database");
        let pool = PgPoolOptions::new()
            .max_connections(4)
            .connect_lazy_with(admin.clone().database(&name));
        Self {
            url: format!("{server}/{name}"),
            pool,
            admin,
            name,
        }
    }

    /// One number out of the database; `None` while it cannot be had.
    pub async fn number(&self, sql: &'static str) -> Option<i64> {
        sqlx::query_scalar(sql).fetch_one(&self.pool).await.ok()
    }

    pub async fn drop_database(self) {
        self.pool.close().await;
        run(
            &self.admin,
            format!("drop database if exists {} with (force)", self.name),
        )
        .await;
    }
}

async fn run(admin: &PgConnectOptions, statement: String) {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(admin.clone())
        .await
        .expect("the test Postgres answers");
    pool.execute(sqlx::AssertSqlSafe(statement))
        .await
        .expect("the statement works");
    pool.close().await;
}
