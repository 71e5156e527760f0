//! The day partitions of `track_segment`: made ahead and on demand.

use rustc_hash::FxHashSet;
use sqlx::{PgConnection, PgPool};

use super::columns::Day;

/// Days whose partition is known to exist; saves asking at every flush.
#[derive(Debug, Default)]
pub(super) struct KnownDays(FxHashSet<Day>);

impl KnownDays {
    /// Makes the partitions of `days` that are missing.
    pub(super) async fn ensure(&mut self, pool: &PgPool, days: &[Day]) -> sqlx::Result<()> {
        for day in days {
            if self.0.contains(day) {
                continue;
            }
            ensure_day(pool, *day).await?;
            self.0.insert(*day);
        }
        Ok(())
    }

    /// Believes nothing any more: partitions may have been dropped.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }
}

/// Makes the partition of `day` unless it exists.
pub(super) async fn ensure_day(pool: &PgPool, day: Day) -> sqlx::Result<()> {
    sqlx::query("select analytics.ensure_day($1)")
        .bind(day.date())
        .execute(pool)
        .await?;
    Ok(())
}

/// The partition's own name. Asking it directly spares the planner the other 400.
pub(super) fn table_of(day: Day) -> String {
    let date = day.date();
    let (year, month, of_month) = (date.year(), u8::from(date.month()), date.day());
    format!("public.track_segment_{year:04}{month:02}{of_month:02}")
}

/// The days that have a partition, oldest first.
pub(super) async fn stored_days(pool: &PgPool) -> sqlx::Result<Vec<Day>> {
    stored_days_in(&mut *pool.acquire().await?).await
}

/// The same, as a transaction sees it.
pub(super) async fn stored_days_in(connection: &mut PgConnection) -> sqlx::Result<Vec<Day>> {
    let names: Vec<String> = sqlx::query_scalar(
        "select c.relname::text from pg_inherits i join pg_class c on c.oid = i.inhrelid \
         where i.inhparent = 'public.track_segment'::regclass order by c.relname",
    )
    .fetch_all(connection)
    .await?;
    Ok(names.iter().filter_map(|name| day_of_table(name)).collect())
}

fn day_of_table(name: &str) -> Option<Day> {
    let digits = name.strip_prefix("track_segment_")?;
    let at = |range: std::ops::Range<usize>| digits.get(range)?.parse::<u8>().ok();
    let year = digits.get(..4)?.parse().ok()?;
    let month = time::Month::try_from(at(4..6)?).ok()?;
    let date = time::Date::from_calendar_date(year, month, at(6..8)?).ok()?;
    Some(Day::from_date(date))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_partition_is_named_after_its_day() {
        let day = Day(20_779);
        assert_eq!(table_of(day), "public.track_segment_20261122");
        assert_eq!(day_of_table("track_segment_20261122"), Some(day));
        assert_eq!(day_of_table("track_segment_default"), None);
    }
}
