//! Where the fixes of a backtest come from: the log, or the stored tracks.
//!
//! Judging is the processor's work and goes on aside, piece by piece, so that what else the process
//! does is not held up. Nothing is written and no group's offset is moved.

use std::sync::Arc;
use std::time::Duration;

use anyhow::{Context, bail};
use futures_util::TryStreamExt;
use sqlx::{PgPool, Row};
use time::OffsetDateTime;
use tokio_util::sync::CancellationToken;

use super::job::Progress;
use super::rerun::Rerun;
use crate::directory::Directory;
use crate::domain::{CourierId, Fix, FixBatch, Position, UnixMs};
use crate::notifications::judge::decode;
use crate::stream::{
    Consumer, Log, Offset, Partition, PollError, SeekTo, StoredRecord, StreamEvent,
    TOPIC_DELIVERY_LOCATION,
};

/// A partition that has nothing for this long has been read to its end.
const QUIET: Duration = Duration::from_millis(200);
/// Stored fixes that are judged at once.
const PIECE: usize = 4_096;
/// Most couriers whose tracks are read.
const MAX_COURIERS: i64 = 1_000_000;

/// What is read: uploads received (or fixes made) from `from` on and before `to`.
#[derive(Clone)]
pub(super) struct Span {
    pub(super) from: UnixMs,
    pub(super) to: UnixMs,
    pub(super) courier: Option<CourierId>,
}

/// A piece of somebody's uploads.
type Uploads = Vec<(CourierId, FixBatch)>;

/// Judges a piece aside.
async fn judge(mut rerun: Rerun, uploads: Uploads, progress: &Progress) -> anyhow::Result<Rerun> {
    let judged = tokio::task::spawn_blocking(move || {
        for (courier, batch) in &uploads {
            rerun.take(courier, batch)?;
        }
        Ok::<_, anyhow::Error>(rerun)
    });
    let rerun = judged.await.context("judge")??;
    progress.fixes(rerun.fixes());
    Ok(rerun)
}

/// Whether the log holds everything since `from`.
pub(super) async fn log_reaches_back(log: &dyn Log, from: UnixMs) -> anyhow::Result<bool> {
    for partition in partitions(log).await? {
        if partition.start == Offset(0) || partition.start == partition.end {
            continue;
        }
        let mut reader = read_from(log, partition.number, SeekTo::Earliest).await?;
        let first = loop {
            match reader.poll(QUIET).await? {
                StreamEvent::Records { records, .. } => {
                    break records.first().map(|r| r.timestamp_ms);
                }
                StreamEvent::Idle => break None,
                _ => {}
            }
        };
        reader.close(QUIET).await;
        if first.is_none_or(|first| first > from.0) {
            return Ok(false);
        }
    }
    Ok(true)
}

/// Judges what the log holds.
pub(super) async fn judge_log(
    log: &dyn Log,
    directory: &Arc<Directory>,
    span: &Span,
    mut rerun: Rerun,
    progress: &Progress,
    stop: &CancellationToken,
) -> anyhow::Result<Rerun> {
    let partitions = partitions(log).await?;
    let count = partitions.len();
    for (done, partition) in partitions.into_iter().enumerate() {
        let start = SeekTo::TimestampMs(span.from.0);
        let mut reader = read_from(log, partition.number, start).await?;
        loop {
            let polled = tokio::select! {
                () = stop.cancelled() => bail!("stopped"),
                polled = reader.poll(QUIET) => polled,
            };
            let records = match polled {
                Ok(StreamEvent::Records { records, .. }) => records,
                Ok(StreamEvent::Idle) => break,
                Ok(StreamEvent::OffsetLost { .. }) => {
                    bail!("retention has deleted records while they were read: choose a later from")
                }
                Ok(_) => continue,
                Err(error @ (PollError::Damaged { .. } | PollError::Stopped(_))) => {
                    return Err(error.into());
                }
                Err(error) => return Err(error).context("read the log"),
            };
            let next = records
                .last()
                .map_or(partition.end, |last| last.offset.advance(1));
            let over = records.iter().position(|r| r.timestamp_ms >= span.to.0);
            let uploads = uploads(&records[..over.unwrap_or(records.len())], directory, span);
            rerun = judge(rerun, uploads, progress).await?;
            let read = (next.0.saturating_sub(partition.start.0)) as f64;
            let all = (partition.end.0.saturating_sub(partition.start.0)).max(1) as f64;
            progress.share((done as f64 + (read / all).min(1.0)) / count as f64);
            if over.is_some() || next >= partition.end {
                break;
            }
        }
        reader.close(QUIET).await;
    }
    Ok(rerun)
}

/// The uploads of `records` that count.
fn uploads(records: &[StoredRecord], directory: &Directory, span: &Span) -> Uploads {
    let counts = |(courier, batch): &(CourierId, FixBatch)| {
        let erased = directory.erased_before(courier);
        span.courier.as_ref().is_none_or(|only| only == courier)
            && erased.is_none_or(|before| batch.received_at >= before)
    };
    records.iter().filter_map(decode).filter(counts).collect()
}

struct PartitionSpan {
    number: Partition,
    start: Offset,
    end: Offset,
}

/// The partitions as they stand.
async fn partitions(log: &dyn Log) -> anyhow::Result<Vec<PartitionSpan>> {
    let topics = log.topics().await.context("look at the log")?;
    let topic = topics
        .into_iter()
        .find(|t| t.topic == TOPIC_DELIVERY_LOCATION);
    let partitions = topic.map(|topic| topic.partitions).unwrap_or_default();
    let spans = partitions.iter().map(|p| PartitionSpan {
        number: Partition(p.partition),
        start: Offset(p.log_start_offset),
        end: Offset(p.durable_offset),
    });
    Ok(spans.collect())
}

async fn read_from(
    log: &dyn Log,
    partition: Partition,
    start: SeekTo,
) -> anyhow::Result<Box<dyn Consumer>> {
    let only = [partition];
    let reader = log.reader(TOPIC_DELIVERY_LOCATION, &only, start).await;
    reader.with_context(|| format!("read partition {partition}"))
}

/// Judges the stored tracks, courier by courier.
pub(super) async fn judge_tracks(
    pool: &PgPool,
    span: &Span,
    mut rerun: Rerun,
    progress: &Progress,
    stop: &CancellationToken,
) -> anyhow::Result<Rerun> {
    let couriers: Vec<String> = sqlx::query_scalar(
        "select distinct courier_id from public.track_segment
          where day between ($1 at time zone 'UTC')::date and ($2 at time zone 'UTC')::date
            and segment_to >= $1 and segment_from < $2 and ($3::text is null or courier_id = $3)
          order by courier_id limit $4",
    )
    .bind(span.from.to_datetime())
    .bind(span.to.to_datetime())
    .bind(span.courier.as_ref().map(CourierId::as_str))
    .bind(MAX_COURIERS)
    .fetch_all(pool)
    .await
    .context("look for stored tracks")?;
    let count = couriers.len();
    for (done, courier) in couriers.into_iter().enumerate() {
        let courier = CourierId::try_from(courier)?;
        let mut fixes = sqlx::query(
            "select fix_time, lat, lon, accuracy_m, speed_mps from public.fixes($1, $2, $3)
              order by fix_time",
        )
        .bind(courier.as_str())
        .bind(span.from.to_datetime())
        .bind(span.to.to_datetime())
        .fetch(pool);
        let mut piece = Uploads::new();
        while let Some(row) = fixes.try_next().await.context("read a stored track")? {
            if stop.is_cancelled() {
                bail!("stopped");
            }
            let at = UnixMs::from_datetime(row.try_get::<OffsetDateTime, _>(0)?);
            let position = Position::from_degrees(row.try_get(1)?, row.try_get(2)?)?;
            let small = |value: Option<f64>| value.map(|value| value as f32);
            let fix = Fix {
                accuracy_m: small(row.try_get(3)?),
                speed_mps: small(row.try_get(4)?),
                ..Fix::new(at, position)
            };
            // When it was received is not stored: as if at once.
            let batch = FixBatch {
                received_at: at,
                fixes: vec![fix],
                sos: false,
            };
            piece.push((courier.clone(), batch));
            if piece.len() >= PIECE {
                rerun = judge(rerun, std::mem::take(&mut piece), progress).await?;
            }
        }
        rerun = judge(rerun, piece, progress).await?;
        progress.share((done + 1) as f64 / count as f64);
    }
    Ok(rerun)
}
