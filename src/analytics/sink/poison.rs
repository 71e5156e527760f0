//! Fixes that Postgres does not take: found by halving, kept in the quarantine topic.
//!
//! Every fix that gets here was valid, so this is the last net: without it one fix that trips over
//! a constraint added by hand would hold up its partition for ever.

use base64::Engine;
use base64::engine::general_purpose::STANDARD as BASE64;
use bytes::Bytes;
use sqlx::{Connection, PgConnection};

use super::flush::Reject;
use super::newest::Part;
use super::writer::copy;
use crate::domain::FixBatch;
use crate::stream::{AppendError, Log, Partition, Record, TOPIC_QUARANTINE};

/// More refused fixes than this in one flush are not poison: the table is wrong. The flush then
/// waits for somebody to put it right.
const MAX_REFUSED: usize = 100;
/// The key under which a record without one is kept.
const NO_KEY: &[u8] = b"(none)";

/// Whether Postgres refused a value, in contrast to being away, full or altered.
pub(super) fn is_refusal(error: &sqlx::Error) -> bool {
    is_bad_value(error) || in_class(error, "23") // "integrity constraint violation"
}

/// The value itself cannot be stored, whatever the table looks like.
fn is_bad_value(error: &sqlx::Error) -> bool {
    in_class(error, "22") // "data exception"
}

fn in_class(error: &sqlx::Error, class: &str) -> bool {
    let code = error.as_database_error().and_then(|e| e.code());
    code.is_some_and(|code| code.starts_with(class))
}

/// Copies all of `parts` that Postgres takes, halving what it refuses down to single fixes, which
/// are removed from `parts` and answered.
///
/// # Errors
/// If a constraint refuses everything, if Postgres refuses more than [`MAX_REFUSED`] fixes, or if it is away.
pub(super) async fn copy_what_is_taken(
    connection: &mut PgConnection,
    parts: &mut Vec<Part<'_>>,
) -> sqlx::Result<Vec<Reject>> {
    let mut rejects = Vec::new();
    let mut taken = Vec::with_capacity(parts.len());
    let mut waiting = vec![std::mem::take(parts)];
    while let Some(group) = waiting.pop() {
        let mut savepoint = connection.begin().await?;
        match copy(&mut savepoint, &group).await {
            Ok(()) => {
                savepoint.commit().await?;
                taken.extend(group);
            }
            Err(error) if is_refusal(&error) => {
                savepoint.rollback().await?;
                match halves(group) {
                    Halves::Two(left, right) => waiting.extend([right, left]),
                    Halves::One(part) => rejects.push(reject(&part, &error)),
                    Halves::None => {}
                }
                if rejects.len() > MAX_REFUSED {
                    return Err(error);
                }
                let nothing_is_taken = waiting.is_empty() && taken.is_empty();
                if nothing_is_taken && !is_bad_value(&error) {
                    return Err(error);
                }
            }
            Err(error) => return Err(error),
        }
    }
    *parts = taken;
    Ok(rejects)
}

enum Halves<'a> {
    Two(Vec<Part<'a>>, Vec<Part<'a>>),
    /// A single fix cannot be halved.
    One(Part<'a>),
    None,
}

fn halves(mut group: Vec<Part<'_>>) -> Halves<'_> {
    if group.len() > 1 {
        let right = group.split_off(group.len() / 2);
        return Halves::Two(group, right);
    }
    let Some(part) = group.pop() else {
        return Halves::None;
    };
    if part.fixes.len() <= 1 {
        return Halves::One(part);
    }
    let (left, right) = part.fixes.split_at(part.fixes.len() / 2);
    let half = |fixes: &[_]| Part {
        fixes: fixes.to_vec().into(),
        ..part.clone()
    };
    Halves::Two(vec![half(left)], vec![half(right)])
}

fn reject(part: &Part<'_>, error: &sqlx::Error) -> Reject {
    let batch = FixBatch {
        received_at: part.received.0,
        fixes: part.fixes.to_vec(),
        sos: false,
    };
    Reject {
        partition: part.partition,
        offset: None,
        key: Bytes::copy_from_slice(part.courier.as_str().as_bytes()),
        value: batch.encode(),
        reason: format!("Postgres refuses it: {error}"),
        fixes: part.fixes.len() as u64,
    }
}

/// What the quarantine topic holds, as JSON.
#[derive(serde::Serialize)]
struct Quarantined<'a> {
    source: &'static str,
    reason: &'a str,
    partition: u32,
    offset: Option<u64>,
    /// The FixBatch as it was read.
    value_base64: String,
}

/// Appends `rejects` to the quarantine topic. A flush that is tried again quarantines them again,
/// with the same partition and offset.
pub(super) async fn quarantine(
    log: &dyn Log,
    now_ms: i64,
    rejects: &[&Reject],
) -> Result<(), AppendError> {
    if rejects.is_empty() {
        return Ok(());
    }
    let mut records = Vec::with_capacity(rejects.len());
    for reject in rejects {
        tracing::warn!(
            partition = %reject.partition,
            offset = reject.offset.map(|o| o.0),
            reason = %reject.reason,
            "a record goes to quarantine"
        );
        let entry = Quarantined {
            source: "analytics",
            reason: &reject.reason,
            partition: reject.partition.0,
            offset: reject.offset.map(|o| o.0),
            value_base64: BASE64.encode(&reject.value),
        };
        let value = serde_json::to_vec(&entry).map_err(|e| AppendError::Invalid(e.to_string()))?;
        // Another program may write without a key, which no log of ours takes.
        let key = match reject.key.is_empty() {
            true => Bytes::from_static(NO_KEY),
            false => reject.key.clone(),
        };
        records.push(Record {
            key,
            value: value.into(),
            timestamp_ms: now_ms,
        });
    }
    log.append(TOPIC_QUARANTINE, Partition(0), records).await?;
    Ok(())
}
