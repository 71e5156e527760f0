//! What analysts wait for, over a day of ten million fixes: `cargo bench --bench analysts`.
//!
//! Wants `WAYLOG_TEST_DATABASE_URL`, a Postgres on this machine with durable settings. The day comes
//! into Postgres through the log and the sink, trips and heat through the job, as always; then it is
//! merged, the documented queries are asked, and the real server is asked over HTTP.

#[path = "../support/database.rs"]
mod database;
mod day;
#[path = "../support/drain.rs"]
mod drain;
#[path = "../support/fleet.rs"]
mod fleet;
mod queries;
mod server;

use database::Database;

fn main() -> anyhow::Result<()> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    runtime.block_on(run())
}

async fn run() -> anyhow::Result<()> {
    let database = Database::create().await?;
    println!("| what | figure |");
    println!("| --- | ---: |");
    let day = day::fill(&database.pool).await?;
    queries::ask(&database.pool, &day).await?;
    server::ask(&database.url, &day).await?;
    database.drop_database().await
}

fn row(what: &str, figure: &str) {
    println!("| {what} | {figure} |");
}

/// The middle one of `times`, in milliseconds.
fn median_ms(mut times: Vec<std::time::Duration>) -> f64 {
    times.sort_unstable();
    times[times.len() / 2].as_secs_f64() * 1000.0
}
