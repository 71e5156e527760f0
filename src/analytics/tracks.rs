//! From segments to fixes in the order of time, one segment in memory at once.
//!
//! Segments of a courier's day are read in the order of `segment_from`. A fix may be given out as
//! soon as no segment still to come can hold an earlier one, so that overlapping segments of late
//! fixes come out in order too, and what is held back is no more than what overlaps.

use futures_util::StreamExt;
use futures_util::stream::BoxStream;
use sqlx::{PgConnection, PgPool};

use super::columns::{Day, SEGMENT_ROW, SegmentRow};
use super::days::table_of;
use super::range::TimeRange;
use crate::domain::{CourierId, Fix, UnixMs};

/// Whether `courier` has fixes on any of `days`.
pub(super) async fn any(pool: &PgPool, courier: &CourierId, days: &[Day]) -> sqlx::Result<bool> {
    let days: Vec<_> = days.iter().map(|day| day.date()).collect();
    sqlx::query_scalar(
        "select exists (select from public.track_segment \
         where courier_id = $1 and day = any($2))",
    )
    .bind(courier.as_str())
    .bind(days)
    .fetch_one(pool)
    .await
}

/// A courier's segments of one day that overlap `range`, by `segment_from`. The day's partition must
/// exist.
pub(super) fn segments<'c>(
    connection: &'c mut PgConnection,
    courier: &CourierId,
    day: Day,
    range: TimeRange,
) -> BoxStream<'c, sqlx::Result<SegmentRow>> {
    let sql = format!(
        "select {SEGMENT_ROW} from {} where courier_id = $1 and segment_to >= $2 \
         and segment_from < $3 order by segment_from",
        table_of(day)
    );
    // Clamped to the day, so that an open range is a time that Postgres knows.
    sqlx::query_as::<_, SegmentRow>(sqlx::AssertSqlSafe(sql))
        .bind(courier.as_str().to_owned())
        .bind(range.from.max(day.start()).to_datetime())
        .bind(range.to.min(day.plus(1).start()).to_datetime())
        .persistent(false)
        .fetch(connection)
        .boxed()
}

/// Fixes that wait until no earlier one can come.
#[derive(Debug)]
pub(super) struct InOrder {
    range: TimeRange,
    waiting: Vec<Fix>,
}

impl InOrder {
    /// Gives out the fixes within `range`.
    pub(super) fn new(range: TimeRange) -> Self {
        Self {
            range,
            waiting: Vec::new(),
        }
    }

    /// Takes the next segment and gives out the fixes before it.
    pub(super) fn push(&mut self, row: &SegmentRow) -> Vec<Fix> {
        let Some(first) = row.fixes().next() else {
            return Vec::new();
        };
        let cut = self
            .waiting
            .partition_point(|fix| fix.fix_time < first.fix_time);
        let rest = self.waiting.split_off(cut);
        let ready = std::mem::replace(&mut self.waiting, rest);
        let overlaps = !self.waiting.is_empty();
        let range = self.range;
        self.waiting
            .extend(row.fixes().filter(|fix| range.holds(fix.fix_time)));
        if overlaps {
            self.waiting.sort_by_key(|fix| fix.fix_time);
        }
        ready
    }

    /// Gives out the rest: no segment comes any more.
    pub(super) fn rest(&mut self) -> Vec<Fix> {
        std::mem::take(&mut self.waiting)
    }
}

/// After every fix there can be.
pub(super) const FOREVER: UnixMs = UnixMs(i64::MAX);
