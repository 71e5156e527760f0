//! What unit tests share: a real database of their own.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};

/// A database with all migrations, dropped by [`TestDatabase::drop_database`].
pub(crate) struct TestDatabase {
    pub(crate) pool: PgPool,
    admin: PgConnectOptions,
    name: String,
}

impl TestDatabase {
    /// Creates one on the server that `WAYLOG_TEST_DATABASE_URL` names (`make test` starts it).
    pub(crate) async fn create() -> Self {
        let base = std::env::var("WAYLOG_TEST_DATABASE_URL")
            .expect("WAYLOG_TEST_DATABASE_URL is not set: run the tests by `make test`");
        let admin: PgConnectOptions = base.parse().expect("a Postgres URL");
        let name = format!("waylog_{}", uuid::Uuid::new_v4().simple());
        let one = PgPoolOptions::new().max_connections(1);
        let pool = one
            .connect_with(admin.clone())
            .await
            .expect("the test Postgres answers");
        pool.execute(sqlx::AssertSqlSafe(format!("create database {name}")))
            .await
            .expect("created");
        pool.close().await;
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .connect_with(admin.clone().database(&name))
            .await
            .expect("connects");
        sqlx::migrate!().run(&pool).await.expect("migrations apply");
        Self { pool, admin, name }
    }

    /// Removes it; a test that fails leaves its database behind to be looked at.
    pub(crate) async fn drop_database(self) {
        self.pool.close().await;
        let pool = PgPoolOptions::new()
            .max_connections(1)
            .connect_with(self.admin.clone())
            .await;
        let statement = format!("drop database if exists {} with (force)", self.name);
        pool.expect("connects")
            .execute(sqlx::AssertSqlSafe(statement))
            .await
            .expect("dropped");
    }
}
