//! From segments to fixes in the order of time, one segment in memory at once.
//!
//! Segments are read in the order of `segment_from`. A fix may be given out as soon as no segment
//! still to come can hold an earlier one, so that overlapping segments of late fixes come out in
//! order too, and what is held back is no more than what overlaps.

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::pool::PoolConnection;
use sqlx::{PgPool, Postgres};
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::TimeRange;
use super::formats::{Format, Writer};
use crate::analytics::columns::{Day, SEGMENT_ROW, SegmentRow};
use crate::analytics::days::{stored_days, table_of};
use crate::domain::{CourierId, Fix, UnixMs};

/// Bytes given to the connection at once.
const CHUNK: usize = 64 << 10;
/// Chunks that may wait for a slow reader; then reading from Postgres pauses.
const CHUNKS: usize = 4;

/// The days of `range` on which `courier` has fixes, oldest first.
pub(super) async fn days_of(
    pool: &PgPool,
    courier: &CourierId,
    range: TimeRange,
) -> sqlx::Result<Vec<Day>> {
    let mut days = stored_days(pool).await?;
    days.retain(|day| range.touches(*day));
    let days: Vec<_> = days.into_iter().map(Day::date).collect();
    let found: Vec<time::Date> = sqlx::query_scalar(
        "select q.day from unnest($2::date[]) q(day) where exists (select from \
         public.track_segment s where s.day = q.day and s.courier_id = $1) order by q.day",
    )
    .bind(courier.as_str())
    .bind(days)
    .fetch_all(pool)
    .await?;
    Ok(found.into_iter().map(Day::from_date).collect())
}

/// The answer's body. Reading goes on while the client reads and ends when it goes away.
pub(super) fn body(
    connection: PoolConnection<Postgres>,
    courier: CourierId,
    days: Vec<Day>,
    range: TimeRange,
    format: Format,
    permit: OwnedSemaphorePermit,
) -> Body {
    let (chunks, receiver) = mpsc::channel(CHUNKS);
    tokio::spawn(async move {
        let mut export = Export {
            chunks,
            writer: Writer::new(format, courier.clone()),
            waiting: Vec::new(),
            range,
        };
        if let Err(Stopped::Database(error)) = export.run(connection, &courier, &days).await {
            tracing::warn!(%error, "an export broke off");
            // The client sees the connection break, not a file that looks complete.
            drop(export.chunks.send(Err(error)).await);
        }
        drop(permit);
    });
    let chunks = stream::unfold(receiver, |mut receiver| async move {
        receiver.recv().await.map(|chunk| (chunk, receiver))
    });
    Body::from_stream(chunks)
}

/// Why an export ended early.
enum Stopped {
    Database(sqlx::Error),
    ClientGone,
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

struct Export {
    chunks: mpsc::Sender<Result<Bytes, sqlx::Error>>,
    writer: Writer,
    /// Fixes by time that a segment still to come might precede.
    waiting: Vec<Fix>,
    range: TimeRange,
}

impl Export {
    async fn run(
        &mut self,
        mut connection: PoolConnection<Postgres>,
        courier: &CourierId,
        days: &[Day],
    ) -> Result<(), Stopped> {
        self.writer.begin();
        for day in days {
            let sql = format!(
                "select {SEGMENT_ROW} from {} where courier_id = $1 and segment_to >= $2 \
                 and segment_from < $3 order by segment_from",
                table_of(*day)
            );
            // Clamped to the day, so that an open range is a time that Postgres knows.
            let mut rows = sqlx::query_as::<_, SegmentRow>(sqlx::AssertSqlSafe(sql))
                .bind(courier.as_str())
                .bind(self.range.from.max(day.start()).to_datetime())
                .bind(self.range.to.min(day.plus(1).start()).to_datetime())
                .persistent(false)
                .fetch(&mut *connection)
                .boxed();
            while let Some(row) = rows.try_next().await? {
                self.add(&row).await?;
            }
            drop(rows);
            self.give_out(day.plus(1).start()).await?;
        }
        self.writer.end();
        self.send().await
    }

    async fn add(&mut self, row: &SegmentRow) -> Result<(), Stopped> {
        let Some(first) = row.fixes().next() else {
            return Ok(());
        };
        self.give_out(first.fix_time).await?;
        let overlaps = !self.waiting.is_empty();
        let range = self.range;
        let inside = |fix: &Fix| (range.from..range.to).contains(&fix.fix_time);
        self.waiting.extend(row.fixes().filter(inside));
        if overlaps {
            self.waiting.sort_by_key(|fix| fix.fix_time);
        }
        Ok(())
    }

    /// Writes what lies before `before`.
    async fn give_out(&mut self, before: UnixMs) -> Result<(), Stopped> {
        let cut = self.waiting.partition_point(|fix| fix.fix_time < before);
        let mut ready = self.waiting.split_off(cut);
        std::mem::swap(&mut ready, &mut self.waiting);
        for fix in &ready {
            self.writer.fix(fix);
            if self.writer.len() >= CHUNK {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Stopped> {
        let chunk = Ok(self.writer.take());
        self.chunks
            .send(chunk)
            .await
            .map_err(|_| Stopped::ClientGone)
    }
}
