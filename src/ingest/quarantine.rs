//! What could not be accepted, read back for the admin, newest first.
//!
//! Records of `delivery-location.quarantine` hold [`Quarantined`] (`proto/quarantined.proto`) under
//! the courier's id. The topic has one partition, so that an offset alone is a cursor.

use std::time::Duration;

use serde::Serialize;

use crate::directory::Directory;
use crate::domain::{CourierId, Quarantined, UnixMs};
use crate::stream::{
    Log, LogError, Offset, Partition, PollError, SeekTo, StreamEvent, TOPIC_QUARANTINE,
};

/// The topic's only partition.
const PARTITION: Partition = Partition(0);
/// A record that is on disk comes at once; the page ends at one that does not come in this time.
const PATIENCE: Duration = Duration::from_secs(5);

/// A fix, or an upload, that could not be accepted.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct QuarantineItem {
    /// Its place in the topic.
    pub offset: u64,
    /// Whose phone sent it.
    pub courier_id: String,
    /// When it arrived.
    #[schema(value_type = String, format = DateTime)]
    pub received_at: UnixMs,
    /// Why it was not accepted.
    pub reason: String,
    /// In which shape it was sent.
    pub format: String,
    /// What was sent, without credentials; what is not text is shown as U+FFFD.
    pub raw: String,
    /// Whether `raw` was cut.
    pub truncated: bool,
}

/// A page of the quarantine.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub struct QuarantinePage {
    /// Newest first.
    pub items: Vec<QuarantineItem>,
    /// What to pass as `cursor` for the next, older page.
    pub next_cursor: Option<String>,
}

/// Why the quarantine could not be read.
#[derive(Debug, thiserror::Error)]
pub enum QuarantineError {
    /// The log could not be asked.
    #[error("the quarantine cannot be read: {0}")]
    Log(#[from] LogError),
    /// The log could not be read.
    #[error("the quarantine cannot be read: {0}")]
    Poll(#[from] PollError),
}

/// At most `limit` items that stand before offset `before`, or before the end; fewer where some are of
/// couriers whose data was erased since.
pub async fn page(
    log: &dyn Log,
    directory: &Directory,
    before: Option<u64>,
    limit: u64,
) -> Result<QuarantinePage, QuarantineError> {
    let topics = log.topics().await?;
    let status = topics
        .iter()
        .find(|t| t.topic == TOPIC_QUARANTINE)
        .and_then(|t| t.partitions.first());
    let (start, end) = status.map_or((0, 0), |p| (p.log_start_offset, p.durable_offset));
    let to = before.unwrap_or(end).min(end);
    let from = to.saturating_sub(limit).max(start);
    let mut items = if from < to {
        read(log, from, to).await?
    } else {
        Vec::new()
    };
    items.retain(|item| !is_erased(item, directory));
    items.reverse();
    Ok(QuarantinePage {
        items,
        next_cursor: (from > start && from < to).then(|| from.to_string()),
    })
}

fn is_erased(item: &QuarantineItem, directory: &Directory) -> bool {
    let courier = CourierId::try_from(item.courier_id.as_str()).ok();
    let before = courier.and_then(|id| directory.erased_before(&id));
    before.is_some_and(|before| item.received_at < before)
}

async fn read(log: &dyn Log, from: u64, to: u64) -> Result<Vec<QuarantineItem>, QuarantineError> {
    let start = SeekTo::Offset(Offset(from));
    let mut reader = log.reader(TOPIC_QUARANTINE, &[PARTITION], start).await?;
    let mut items = Vec::new();
    let mut next = from;
    while next < to {
        match reader.poll(PATIENCE).await? {
            StreamEvent::Records { records, .. } => {
                let wanted = records.iter().take_while(|r| r.offset.0 < to);
                items.extend(wanted.map(|r| item(r.offset, &r.key, &r.value)));
                next = records.last().map_or(to, |r| r.offset.0 + 1);
            }
            StreamEvent::OffsetLost { to: lost, .. } => next = lost.0,
            StreamEvent::Idle => break,
            StreamEvent::Assigned { .. } | StreamEvent::Revoked { .. } => {}
        }
    }
    reader.close(PATIENCE).await;
    Ok(items)
}

fn item(offset: Offset, key: &[u8], value: &[u8]) -> QuarantineItem {
    // Another program may write to the topic; what is not ours is shown as it is.
    let found = Quarantined::decode(value)
        .unwrap_or_else(|| Quarantined::new(UnixMs(0), "not a record of Waylog", "", value));
    QuarantineItem {
        offset: offset.0,
        courier_id: String::from_utf8_lossy(key).into_owned(),
        received_at: found.received_at,
        reason: found.reason,
        format: found.format,
        raw: String::from_utf8_lossy(&found.raw).into_owned(),
        truncated: found.truncated,
    }
}
