//! The documented queries.

use std::time::Instant;

use sqlx::{Connection, Executor, PgConnection, PgPool};

use super::day::Day;
use super::{median_ms, row};

const RUNS: usize = 3;

/// Asks every query of docs/analytics.md about the day.
pub async fn ask(pool: &PgPool, day: &Day) -> anyhow::Result<()> {
    let page = include_str!("../../docs/analytics.md");
    let blocks = page.split("```sql\n").skip(1);
    let queries = blocks.filter_map(|block| block.split("```").next());
    let titles = page.split("```sql\n").filter_map(|text| {
        let title = text.trim_end().rsplit("\n\n").next()?;
        Some(title.trim_end_matches(':').to_owned())
    });
    let mut session = PgConnection::connect_with(&pool.connect_options()).await?;
    session.execute("set role waylog_analyst").await?;
    let mut slowest: f64 = 0.0;
    for (title, query) in titles.zip(queries) {
        let next = format!("{}T23:00:00Z", day.date);
        let query = query
            .replace("2026-11-22", &day.date)
            .replace("2026-11-23", &next)
            .replace("c-17", &day.busiest)
            .replace("now()", &format!("'{} 20:00Z'::timestamptz", day.date));
        let mut times = Vec::new();
        let mut rows = 0;
        for _ in 0..RUNS {
            let begun = Instant::now();
            rows = session
                .fetch_all(sqlx::AssertSqlSafe(query.clone()))
                .await?
                .len();
            times.push(begun.elapsed());
        }
        let ms = median_ms(times);
        slowest = slowest.max(ms);
        row(&title, &format!("{ms:.0} ms, {rows} rows"));
    }
    row("the slowest of them", &format!("{slowest:.0} ms"));
    Ok(())
}
