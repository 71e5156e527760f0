//! What unit tests share: a real database of their own.

use sqlx::postgres::{PgConnectOptions, PgPoolOptions};
use sqlx::{Executor, PgPool};
use tokio::sync::OnceCell;

/// A database that has all migrations and nothing else, made once a test run: a copy of it costs a
/// fraction of migrating each test's own.
static TEMPLATE: OnceCell<String> = OnceCell::const_new();

async fn template(admin: &PgConnectOptions) -> String {
    let name = format!("waylog_template_{}", uuid::Uuid::new_v4().simple());
    execute(admin, format!("create database {name}")).await;
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(admin.clone().database(&name))
        .await
        .expect("connects");
    sqlx::migrate!().run(&pool).await.expect("migrations apply");
    pool.close().await;
    name
}

/// One statement on a connection of its own to the server's first database.
async fn execute(admin: &PgConnectOptions, statement: String) {
    let pool = PgPoolOptions::new()
        .max_connections(1)
        .connect_with(admin.clone())
        .await
        .expect("the test Postgres answers");
    pool.execute(sqlx::AssertSqlSafe(statement))
        .await
        .expect("the statement runs");
    pool.close().await;
}

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
        let template = TEMPLATE.get_or_init(|| template(&admin)).await;
        let name = format!("waylog_{}", uuid::Uuid::new_v4().simple());
        let statement = format!("create database {name} template {template}");
        execute(&admin, statement).await;
        let pool = PgPoolOptions::new()
            .max_connections(8)
            .connect_with(admin.clone().database(&name))
            .await
            .expect("connects");
        Self { pool, admin, name }
    }

    /// Removes it; a test that fails leaves its database behind to be looked at.
    pub(crate) async fn drop_database(self) {
        self.pool.close().await;
        let statement = format!("drop database if exists {} with (force)", self.name);
        execute(&self.admin, statement).await;
    }
}
