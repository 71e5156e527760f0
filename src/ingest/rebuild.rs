//! What is remembered about duplicates, read back from the end of the log at start.

use std::time::Duration;

use super::dedupe::Dedupe;
use crate::domain::fix_batch;
use crate::stream::{
    Log, LogError, Offset, Partition, PartitionStatus, PollError, SeekTo, StreamEvent,
    TOPIC_DELIVERY_LOCATION,
};

/// How much of each partition's end is read, bytes of records.
pub const BYTES_A_PARTITION: usize = 16 << 20;
/// Records of the first step back from the end; how large they are is known after it.
const FIRST_STEP: u64 = 4_096;
/// A record that is on disk comes at once; one that does not come in this time is given up.
const PATIENCE: Duration = Duration::from_secs(10);

/// Reads the last [`BYTES_A_PARTITION`] of every partition into `dedupe`; answers how many records
/// that were. A partition that cannot be read is left out: its old fixes are then found by the sink.
///
/// # Errors
/// If the log cannot be asked, or has stopped.
pub async fn rebuild(log: &dyn Log, dedupe: &Dedupe) -> Result<u64, LogError> {
    let topics = log.topics().await?;
    let mut records = 0;
    let partitions = topics
        .iter()
        .filter(|t| t.topic == TOPIC_DELIVERY_LOCATION)
        .flat_map(|t| &t.partitions);
    for partition in partitions {
        match read_end(log, dedupe, partition).await {
            Ok(read) => records += read,
            Err(PollError::Damaged { partition, reason }) => {
                tracing::warn!(%partition, %reason, "old fixes of this partition are not known");
            }
            Err(error @ (PollError::NoStart { .. } | PollError::Stopped(_))) => {
                return Err(LogError::Refused(error.to_string()));
            }
        }
    }
    Ok(records)
}

/// Goes back from the end in steps, so that the size of the records need not be known before.
async fn read_end(
    log: &dyn Log,
    dedupe: &Dedupe,
    status: &PartitionStatus,
) -> Result<u64, PollError> {
    let (start, mut to) = (status.log_start_offset, status.durable_offset);
    let (mut records, mut bytes, mut step) = (0, 0, FIRST_STEP);
    while to > start && bytes < BYTES_A_PARTITION && status.quarantined.is_none() {
        let from = to.saturating_sub(step).max(start);
        let read = read_range(log, dedupe, Partition(status.partition), from, to).await?;
        records += read.records;
        bytes += read.bytes;
        to = from;
        let average = bytes as u64 / records.max(1);
        let left = BYTES_A_PARTITION.saturating_sub(bytes) as u64;
        step = (left / average.max(1)).max(FIRST_STEP);
    }
    Ok(records)
}

#[derive(Default)]
struct Read {
    records: u64,
    bytes: usize,
}

async fn read_range(
    log: &dyn Log,
    dedupe: &Dedupe,
    partition: Partition,
    from: u64,
    to: u64,
) -> Result<Read, PollError> {
    let stopped = |e: LogError| PollError::Stopped(e.to_string());
    let start = SeekTo::Offset(Offset(from));
    let mut reader = log
        .reader(TOPIC_DELIVERY_LOCATION, &[partition], start)
        .await
        .map_err(stopped)?;
    let mut read = Read::default();
    let mut next = from;
    while next < to {
        match reader.poll(PATIENCE).await? {
            StreamEvent::Records { records, .. } => {
                for record in records.iter().take_while(|r| r.offset.0 < to) {
                    read.records += 1;
                    read.bytes += record.key.len() + record.value.len();
                    remember(dedupe, &record.key, &record.value);
                }
                next = records.last().map_or(to, |r| r.offset.0 + 1);
            }
            StreamEvent::OffsetLost { to: lost, .. } => next = lost.0,
            StreamEvent::Idle => break,
            StreamEvent::Assigned { .. } | StreamEvent::Revoked { .. } => {}
        }
    }
    reader.close(PATIENCE).await;
    Ok(read)
}

/// A record that is not ours (another program may write to the topic) tells nothing.
fn remember(dedupe: &Dedupe, key: &[u8], value: &[u8]) {
    if let Ok(courier) = std::str::from_utf8(key)
        && let Ok(times) = fix_batch::fix_times(value)
    {
        dedupe.remember(courier, &times);
    }
}
