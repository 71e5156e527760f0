//! One flush, one transaction: the rows, the offsets and the duplicates counted.
//!
//! The transaction first locks the rows of `stream_offset` that it will move, so that whatever it
//! reads afterwards about stored fixes stays true until it ends. If another member has moved one of
//! them, nothing is written and the sink looks where Postgres stands.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use metrics::{counter, gauge, histogram};
use sqlx::{Connection, Executor, PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use super::copy::{COPY_SEGMENTS, NewSegment, SegmentCopy};
use super::flush::{Flush, Reject, Span};
use super::newest::{Newest, Part, parts};
use super::offsets::Offsets;
use super::poison;
use crate::analytics::columns::Day;
use crate::analytics::days::KnownDays;
use crate::clock::SharedClock;
use crate::domain::{Fix, UnixMs};
use crate::stream::{Log, Offset, Partition};
use crate::telemetry::metrics::{ANALYTICS_DATABASE_UP, ANALYTICS_FIXES, ANALYTICS_FLUSH_SECONDS};

/// Most fixes in one segment: an array of so many 4-byte numbers just fits one page chunk of 1,996
/// bytes when it is stored out of line; 512, the limit of the design, would need two.
pub(in crate::analytics) const MAX_SEGMENT_FIXES: usize = 490;

/// Bytes of rows sent at once: Postgres parses them while the next are made.
const SEND_BYTES: usize = 1 << 20;

const FIRST_BACKOFF: Duration = Duration::from_millis(100);
const LAST_BACKOFF: Duration = Duration::from_secs(10);

/// How long connecting may take.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);
/// Settings of the writer's session.
const SESSION: &str = "set lock_timeout = '10s'; set idle_in_transaction_session_timeout = '60s'";

/// What became of a flush.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Outcome {
    /// Rows and offsets are in Postgres.
    Stored,
    /// Another member has moved an offset, or ours did move when we could not see it.
    Overtaken,
    /// Told to stop while Postgres was away. The log still has everything.
    Stopped,
}

/// Writes flushes, one after the other.
pub(super) struct Writer {
    pool: PgPool,
    /// A session of our own, kept from flush to flush. It is in no pool, so that a try that fails
    /// or is dropped closes it: no open transaction can stay behind and hold the offsets' locks.
    connection: Option<PgConnection>,
    offsets: Offsets,
    log: Arc<dyn Log>,
    clock: SharedClock,
    days: KnownDays,
    newest: Newest,
    /// Where we left each partition. One that stands elsewhere was another member's meanwhile, and
    /// what we believe is stored of its couriers is no longer true.
    left_at: BTreeMap<Partition, Offset>,
}

/// Why one try did not end in a stored flush.
#[derive(Debug, thiserror::Error)]
pub(super) enum WriteError {
    #[error("{0}")]
    Database(#[from] sqlx::Error),
    #[error("quarantine: {0}")]
    Quarantine(#[from] crate::stream::AppendError),
}

/// What a stored flush held.
#[derive(Debug, Default)]
struct Counts {
    stored: u64,
    duplicates: u64,
    quarantined: u64,
    erased: u64,
}

impl Writer {
    pub(super) fn new(
        pool: PgPool,
        offsets: Offsets,
        log: Arc<dyn Log>,
        clock: SharedClock,
    ) -> Self {
        Self {
            pool,
            connection: None,
            offsets,
            log,
            clock,
            left_at: BTreeMap::new(),
            days: KnownDays::default(),
            newest: Newest::default(),
        }
    }

    /// Writes `flush`; tries for ever while Postgres is away, until `stop`.
    pub(super) async fn write(&mut self, mut flush: Flush, stop: &CancellationToken) -> Outcome {
        flush.settle();
        let ours =
            |(partition, span): (_, &Span)| self.left_at.get(partition) == Some(&span.expected);
        if !flush.spans.iter().all(ours) {
            self.newest.forget();
        }
        let mut backoff = FIRST_BACKOFF;
        let mut refused = false;
        loop {
            let started = Instant::now();
            match self.attempt(&flush, refused).await {
                Ok(Some(counts)) => {
                    gauge!(ANALYTICS_DATABASE_UP).set(1);
                    histogram!(ANALYTICS_FLUSH_SECONDS).record(started.elapsed());
                    count(&counts);
                    let left_at = flush.spans.iter().map(|(p, span)| (*p, span.next));
                    self.left_at.extend(left_at);
                    return Outcome::Stored;
                }
                Ok(None) => {
                    self.newest.forget();
                    return Outcome::Overtaken;
                }
                Err(error) => {
                    // What we believe of partitions and stored fixes may be what was wrong.
                    self.newest.forget();
                    self.days.forget();
                    let refused_before = std::mem::replace(&mut refused, is_refusal(&error));
                    if refused && !refused_before {
                        tracing::warn!(%error, "Postgres refuses rows; looking for the fixes it refuses");
                        continue;
                    }
                    gauge!(ANALYTICS_DATABASE_UP).set(0);
                    tracing::warn!(%error, wait = ?backoff, "cannot write to Postgres; will try again");
                }
            }
            tokio::select! {
                () = stop.cancelled() => return Outcome::Stopped,
                () = tokio::time::sleep(backoff) => {}
            }
            backoff = (backoff * 2).min(LAST_BACKOFF);
        }
    }

    /// One transaction; `None` if an offset is not where it is expected. After a refusal fixes that
    /// Postgres does not take are looked for and left out.
    async fn attempt(
        &mut self,
        flush: &Flush,
        refused: bool,
    ) -> Result<Option<Counts>, WriteError> {
        let mut parts = parts(flush);
        let mut days: Vec<Day> = parts.iter().map(|part| part.day).collect();
        days.sort_unstable();
        days.dedup();
        self.days.ensure(&self.pool, &days).await?;

        let mut connection = match self.connection.take() {
            Some(connection) => connection,
            None => connect(&self.pool).await?,
        };
        let mut transaction = connection.begin().await?;
        let stands = self.offsets.lock(&mut transaction, &flush.spans).await?;
        let as_expected =
            |(partition, span): (_, &Span)| stands.get(partition) == Some(&span.expected);
        if !flush.spans.iter().all(as_expected) {
            return Ok(None);
        }

        let mut duplicates = flush.duplicates.clone();
        for (partition, found) in self.newest.retain_new(&mut transaction, &mut parts).await? {
            *duplicates.entry(partition).or_default() += found;
        }
        let mut rejects = Vec::new();
        if refused {
            rejects = poison::copy_what_is_taken(&mut transaction, &mut parts).await?;
        } else {
            copy(&mut transaction, &parts).await?;
        }
        leave_marks(&mut transaction, &parts).await?;
        let rejects: Vec<&Reject> = flush.rejects.iter().chain(&rejects).collect();
        poison::quarantine(&*self.log, self.clock.now_ms(), &rejects).await?;
        self.offsets
            .advance(&mut transaction, &flush.spans, &duplicates)
            .await?;
        transaction.commit().await?;

        self.newest.stored(&parts);
        self.connection = Some(connection);
        Ok(Some(Counts {
            stored: parts.iter().map(|part| part.fixes.len() as u64).sum(),
            duplicates: duplicates.values().sum(),
            quarantined: rejects.iter().map(|reject| reject.fixes).sum(),
            erased: flush.erased,
        }))
    }
}

/// A new session whose waits are bounded: rather than for ever, it fails, says so and tries again.
async fn connect(pool: &PgPool) -> sqlx::Result<PgConnection> {
    let options = pool.connect_options();
    let connecting = PgConnection::connect_with(&options);
    let mut connection = tokio::time::timeout(CONNECT_TIMEOUT, connecting)
        .await
        .map_err(|_| sqlx::Error::PoolTimedOut)??;
    connection.execute(SESSION).await?;
    Ok(connection)
}

/// Postgres reached, and it did not like a value.
fn is_refusal(error: &WriteError) -> bool {
    matches!(error, WriteError::Database(error) if poison::is_refusal(error))
}

/// Copies `parts` into `track_segment`.
pub(super) async fn copy(connection: &mut PgConnection, parts: &[Part<'_>]) -> sqlx::Result<()> {
    if parts.iter().all(|part| part.fixes.is_empty()) {
        return Ok(());
    }
    let mut rows = SegmentCopy::new();
    let mut sink = connection.copy_in_raw(COPY_SEGMENTS).await?;
    for part in parts {
        for fixes in part.fixes.chunks(MAX_SEGMENT_FIXES) {
            rows.push(segment(part, fixes));
        }
        if rows.len() >= SEND_BYTES {
            sink.send(rows.take()).await?;
        }
    }
    sink.send(rows.finish()).await?;
    sink.finish().await?;
    Ok(())
}

/// Tells the job that looks after trips and heat which couriers have new fixes, and where.
async fn leave_marks(connection: &mut PgConnection, parts: &[Part<'_>]) -> sqlx::Result<()> {
    let ends = |part: &Part<'_>| {
        part.fixes
            .first()
            .zip(part.fixes.last())
            .map(|e| (e.0.fix_time, e.1.fix_time))
    };
    let (parts, ends): (Vec<&Part<'_>>, Vec<(UnixMs, UnixMs)>) = parts
        .iter()
        .filter_map(|part| Some((part, ends(part)?)))
        .unzip();
    let fixes = |part: &&Part<'_>| i32::try_from(part.fixes.len()).unwrap_or(i32::MAX);
    sqlx::query(
        "insert into analytics.mark (courier_id, day, first_at, last_at, fixes) \
         select * from unnest($1::text[], $2::date[], $3::timestamptz[], $4::timestamptz[], \
                $5::int[])",
    )
    .bind(
        parts
            .iter()
            .map(|part| part.courier.as_str())
            .collect::<Vec<_>>(),
    )
    .bind(parts.iter().map(|part| part.day.date()).collect::<Vec<_>>())
    .bind(ends.iter().map(|e| e.0.to_datetime()).collect::<Vec<_>>())
    .bind(ends.iter().map(|e| e.1.to_datetime()).collect::<Vec<_>>())
    .bind(parts.iter().map(fixes).collect::<Vec<_>>())
    .execute(connection)
    .await?;
    Ok(())
}

fn segment<'a>(part: &'a Part<'_>, fixes: &'a [Fix]) -> NewSegment<'a> {
    NewSegment {
        courier_id: part.courier.as_str(),
        day: part.day,
        fixes,
        received: part.received,
    }
}

fn count(counts: &Counts) {
    counter!(ANALYTICS_FIXES, "outcome" => "stored").increment(counts.stored);
    counter!(ANALYTICS_FIXES, "outcome" => "duplicate").increment(counts.duplicates);
    counter!(ANALYTICS_FIXES, "outcome" => "quarantined").increment(counts.quarantined);
    counter!(ANALYTICS_FIXES, "outcome" => "erased").increment(counts.erased);
}
