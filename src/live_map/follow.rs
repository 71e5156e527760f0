//! The reader of the log: restores where everybody was, then follows.
//!
//! Groupless: every process that serves a live map reads all partitions. At the start it looks back
//! so far that every courier of the last day is known again, but no further than
//! [`LOOK_BACK_BYTES`]; nobody is woken until that is read, so that the start of a server is no
//! storm of old fixes.

use std::sync::Arc;
use std::time::Duration;

use rustc_hash::FxHashMap;
use tokio_util::sync::CancellationToken;

use super::state::Applied;
use super::{LiveMap, feed};
use crate::domain::{CourierId, FixBatch};
use crate::stream::{
    Consumer, Log, LogError, Offset, Partition, PollError, SeekTo, StoredRecord, StreamEvent,
    TOPIC_DELIVERY_LOCATION,
};
use crate::telemetry::metrics as names;

/// How far back the start looks, milliseconds, …
const LOOK_BACK_MS: i64 = 24 * 3600 * 1000;
/// … but no more than this of all partitions together, bytes, …
const LOOK_BACK_BYTES: u64 = 96 << 20;
/// … and this far where a backend does not tell its bytes, milliseconds.
const LOOK_BACK_BLIND_MS: i64 = 15 * 60 * 1000;
const POLL_WAIT: Duration = Duration::from_secs(1);
/// Pause after a failure, the first and the longest.
const PAUSE: (Duration, Duration) = (Duration::from_millis(250), Duration::from_secs(10));
const CLOSE_WITHIN: Duration = Duration::from_secs(2);

/// Reads until `stop`; opens the log again whenever it fails.
pub(super) async fn run(live: LiveMap, stop: CancellationToken) -> anyhow::Result<()> {
    let mut pause = PAUSE.0;
    while let Err(error) = read(&live, &stop, &mut pause).await {
        tracing::warn!(%error, "the live map cannot read the log; it tries again");
        tokio::select! {
            () = stop.cancelled() => return Ok(()),
            () = tokio::time::sleep(pause) => {}
        }
        pause = (pause * 2).min(PAUSE.1);
    }
    Ok(())
}

/// Reads until `stop`, or until the log must be opened again.
async fn read(
    live: &LiveMap,
    stop: &CancellationToken,
    pause: &mut Duration,
) -> Result<(), LogError> {
    let log = live.log();
    let partitions: Vec<Partition> = (0..log.partitions(TOPIC_DELIVERY_LOCATION)?)
        .map(Partition)
        .collect();
    let mut consumer = log
        .reader(TOPIC_DELIVERY_LOCATION, &partitions, SeekTo::Latest)
        .await?;
    let mut behind = look_back(log, consumer.as_mut(), live.line().now().0).await?;
    if behind.is_empty() {
        live.restored();
    }
    loop {
        let polled = tokio::select! {
            () = stop.cancelled() => break,
            polled = consumer.poll(POLL_WAIT) => polled,
        };
        match polled {
            Ok(event) => {
                *pause = PAUSE.0;
                if let StreamEvent::Records {
                    partition, records, ..
                } = &event
                {
                    for record in records {
                        take(live, record);
                    }
                    let next = records.last().map(|last| last.offset.advance(1));
                    if behind.get(partition).is_some_and(|end| next >= Some(*end)) {
                        behind.remove(partition);
                    }
                }
                if let StreamEvent::OffsetLost { partition, to, .. } = event
                    && behind.get(&partition).is_some_and(|end| to >= *end)
                {
                    behind.remove(&partition);
                }
            }
            Err(PollError::Damaged { partition, reason }) => {
                // The others go on; this one waits for its repair.
                tracing::warn!(%partition, %reason, "the live map cannot read a partition");
                behind.remove(&partition);
                tokio::time::sleep(*pause).await;
                *pause = (*pause * 2).min(PAUSE.1);
            }
            // A reader without a group names its own start; nothing to do but to ask again.
            Err(PollError::NoStart { partition, source }) => {
                tracing::warn!(%partition, error = %source, "the log did not say where to start");
                tokio::time::sleep(*pause).await;
            }
            Err(PollError::Stopped(reason)) => {
                consumer.close(CLOSE_WITHIN).await;
                return Err(LogError::Refused(reason));
            }
        }
        if behind.is_empty() && !live.is_restored() {
            live.restored();
        }
    }
    consumer.close(CLOSE_WITHIN).await;
    Ok(())
}

/// Moves every partition back. Answers those that have something to restore, with the offset at
/// which they are restored.
async fn look_back(
    log: &Arc<dyn Log>,
    consumer: &mut dyn Consumer,
    now_ms: i64,
) -> Result<FxHashMap<Partition, Offset>, LogError> {
    let topics = log.topics().await?;
    let status = topics
        .iter()
        .find(|topic| topic.topic == TOPIC_DELIVERY_LOCATION);
    let mut behind = FxHashMap::default();
    let ends = consumer.end_offsets().await?;
    let share_bytes = LOOK_BACK_BYTES / (ends.len() as u64).max(1);
    for (partition, end) in ends {
        let known = status.and_then(|s| s.partitions.iter().find(|p| p.partition == partition.0));
        let bytes = known.map_or(0, |p| p.disk_bytes);
        let back_ms = if bytes > 0 {
            LOOK_BACK_MS
        } else {
            LOOK_BACK_BLIND_MS
        };
        let mut from = consumer
            .seek(partition, SeekTo::TimestampMs(now_ms - back_ms))
            .await?;
        if let Some(known) = known {
            let held = end.0.saturating_sub(known.log_start_offset);
            let a_record = bytes.checked_div(held).unwrap_or(0).max(1);
            let nearest = Offset(end.0.saturating_sub(share_bytes / a_record));
            if nearest > from {
                from = consumer.seek(partition, SeekTo::Offset(nearest)).await?;
            }
        }
        if from < end {
            behind.insert(partition, end);
        }
    }
    Ok(behind)
}

fn take(live: &LiveMap, record: &StoredRecord) {
    let Ok(courier) = std::str::from_utf8(&record.key) else {
        metrics::counter!(names::LIVE_UNREADABLE).increment(1);
        return;
    };
    let batch = match FixBatch::decode(&record.value) {
        Ok(batch) => batch,
        Err(error) => {
            // Foreign bytes: the sink puts them aside, the map passes over them.
            metrics::counter!(names::LIVE_UNREADABLE).increment(1);
            tracing::debug!(%error, offset = %record.offset, "not a fix batch");
            return;
        }
    };
    let Ok(id) = CourierId::try_from(courier) else {
        metrics::counter!(names::LIVE_UNREADABLE).increment(1);
        return;
    };
    let erased = live.directory().erased_before(&id);
    if erased.is_some_and(|before| batch.received_at < before) {
        return;
    }
    match live.state().apply(&id, &batch) {
        // Before the end of the restoring nobody is woken.
        Applied::Moved | Applied::New if !live.is_restored() => {}
        Applied::Moved => live.tracks().wake_courier(courier),
        Applied::New => {
            feed::refresh_work(live, &id);
            live.tracks().wake_courier(courier);
        }
        Applied::Still => {}
        Applied::Full => metrics::counter!(names::LIVE_UNREADABLE).increment(1),
    }
}
