//! The sink's place in the log, which lives in Postgres beside the rows: `public.stream_offset`.
//!
//! The group's own committed offset is a hint for metrics and retention only.

use std::collections::BTreeMap;
use std::sync::Arc;

use async_trait::async_trait;
use sqlx::{PgConnection, PgPool};

use super::GROUP;
use super::flush::Span;
use crate::stream::{Offset, Partition, SeekTo, StartOffsets};

/// Rows of `stream_offset` of this group and this very stream.
#[derive(Debug, Clone)]
pub(super) struct Offsets {
    pool: PgPool,
    stream_id: Arc<str>,
}

impl Offsets {
    pub(super) fn new(pool: PgPool, stream_id: &str) -> Self {
        Self {
            pool,
            stream_id: stream_id.into(),
        }
    }

    /// Where Postgres stands, for those of `partitions` that it knows.
    pub(super) async fn load(
        &self,
        partitions: &[Partition],
    ) -> sqlx::Result<BTreeMap<Partition, Offset>> {
        let rows: Vec<(i32, i64)> = sqlx::query_as(
            "select part, next from public.stream_offset \
             where grp = $1 and stream_id = $2 and part = any($3)",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .bind(parts(partitions.iter().copied()))
        .fetch_all(&self.pool)
        .await?;
        Ok(from_rows(rows))
    }

    /// Another stream that the group has read, if this one is new to it: the newest.
    pub(super) async fn other_stream(&self) -> sqlx::Result<Option<String>> {
        sqlx::query_scalar(
            "select stream_id from public.stream_offset where grp = $1 and stream_id <> $2 \
             order by updated_at desc limit 1",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .fetch_optional(&self.pool)
        .await
    }

    /// Enters a partition that Postgres does not know yet. Another member may have been faster.
    pub(super) async fn enter(&self, partition: Partition, next: Offset) -> sqlx::Result<()> {
        sqlx::query(
            "insert into public.stream_offset (grp, stream_id, part, next) values ($1, $2, $3, $4) \
             on conflict do nothing",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .bind(part(partition))
        .bind(number(next))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Moves a partition to `next`, wherever it stands.
    pub(super) async fn move_to(&self, partition: Partition, next: Offset) -> sqlx::Result<()> {
        sqlx::query(
            "insert into public.stream_offset (grp, stream_id, part, next) values ($1, $2, $3, $4) \
             on conflict (grp, stream_id, part) do update \
                set next = excluded.next, updated_at = now()",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .bind(part(partition))
        .bind(number(next))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Moves a partition back from `beyond`, which lies past the log's end, to `start`.
    pub(super) async fn pull_back(
        &self,
        partition: Partition,
        beyond: Offset,
        start: Offset,
    ) -> sqlx::Result<()> {
        sqlx::query(
            "update public.stream_offset set next = $5, updated_at = now() \
             where grp = $1 and stream_id = $2 and part = $3 and next = $4",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .bind(part(partition))
        .bind(number(beyond))
        .bind(number(start))
        .execute(&self.pool)
        .await?;
        Ok(())
    }

    /// Locks the rows of `spans` until the transaction ends and tells where each stands. Locked in
    /// order, so that two members cannot wait for each other.
    pub(super) async fn lock(
        &self,
        transaction: &mut PgConnection,
        spans: &BTreeMap<Partition, Span>,
    ) -> sqlx::Result<BTreeMap<Partition, Offset>> {
        let rows: Vec<(i32, i64)> = sqlx::query_as(
            "select part, next from public.stream_offset \
             where grp = $1 and stream_id = $2 and part = any($3) order by part for update",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .bind(parts(spans.keys().copied()))
        .fetch_all(transaction)
        .await?;
        Ok(from_rows(rows))
    }

    /// Moves the locked rows from `expected` to `next` and counts the duplicates found. Answers how
    /// many rows moved.
    pub(super) async fn advance(
        &self,
        transaction: &mut PgConnection,
        spans: &BTreeMap<Partition, Span>,
        duplicates: &BTreeMap<Partition, u64>,
    ) -> sqlx::Result<u64> {
        let expected: Vec<i64> = spans.values().map(|span| number(span.expected)).collect();
        let next: Vec<i64> = spans.values().map(|span| number(span.next)).collect();
        let found = |p| duplicates.get(p).copied().unwrap_or(0).cast_signed();
        let found: Vec<i64> = spans.keys().map(found).collect();
        let done = sqlx::query(
            "update public.stream_offset o \
                set next = n.next, duplicates = o.duplicates + n.duplicates, updated_at = now() \
               from unnest($3::int[], $4::bigint[], $5::bigint[], $6::bigint[]) \
                    as n(part, expected, next, duplicates) \
              where o.grp = $1 and o.stream_id = $2 and o.part = n.part and o.next = n.expected",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .bind(parts(spans.keys().copied()))
        .bind(expected)
        .bind(next)
        .bind(found)
        .execute(transaction)
        .await?;
        Ok(done.rows_affected())
    }
}

#[async_trait]
impl StartOffsets for Offsets {
    /// While Postgres is away, the committed offset will do: the sink asks again before it writes.
    async fn start_at(&self, partition: Partition) -> anyhow::Result<Option<SeekTo>> {
        match self.load(&[partition]).await {
            Ok(known) => Ok(Some(match known.get(&partition) {
                Some(next) => SeekTo::Offset(*next),
                None => SeekTo::Earliest,
            })),
            Err(error) => {
                tracing::warn!(%error, %partition, "cannot ask Postgres for the offset yet");
                Ok(None)
            }
        }
    }
}

fn from_rows(rows: Vec<(i32, i64)>) -> BTreeMap<Partition, Offset> {
    let row = |(part, next): (i32, i64)| (Partition(part.cast_unsigned()), offset(next));
    rows.into_iter().map(row).collect()
}

fn parts(partitions: impl Iterator<Item = Partition>) -> Vec<i32> {
    partitions.map(part).collect()
}

fn part(partition: Partition) -> i32 {
    partition.0.cast_signed()
}

fn number(offset: Offset) -> i64 {
    offset.0.cast_signed()
}

fn offset(number: i64) -> Offset {
    Offset(number.max(0).cast_unsigned())
}
