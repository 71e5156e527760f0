//! Moving the sink's place in the log, while it runs or not: `waylog stream reset --group analytics`.
//!
//! Only `stream_offset` moves. A sink at work finds its flush overtaken and reads on from the new
//! place, one at rest looks every few seconds. What is read again and still stored is a duplicate,
//! what is missing in Postgres is stored again: reading everything again rebuilds everything.

use std::time::Duration;

use sqlx::PgPool;

use super::offsets::Offsets;
use crate::stream::{Log, LogError, Offset, Partition, SeekTo, TOPIC_DELIVERY_LOCATION};

/// How long the reader that resolves a place may take to close.
const CLOSE: Duration = Duration::from_secs(1);

/// Why the place was not moved.
#[derive(Debug, thiserror::Error)]
pub enum ResetError {
    /// The log does not know the place.
    #[error("{0}")]
    Log(#[from] LogError),
    /// Postgres is away.
    #[error("Postgres: {0}")]
    Database(#[from] sqlx::Error),
}

/// Moves the sink's place in `partition` and answers the offset that it reads next.
///
/// # Errors
/// If the log cannot tell where that is, or Postgres is away.
pub async fn reset(
    log: &dyn Log,
    pool: &PgPool,
    partition: Partition,
    to: SeekTo,
) -> Result<Offset, ResetError> {
    let stream_id = log.stream_id(TOPIC_DELIVERY_LOCATION)?;
    let mut reader = log
        .reader(TOPIC_DELIVERY_LOCATION, &[partition], SeekTo::Earliest)
        .await?;
    let next = reader.seek(partition, to).await;
    reader.close(CLOSE).await;
    let next = next?;
    let offsets = Offsets::new(pool.clone(), &stream_id);
    offsets.move_to(partition, next).await?;
    Ok(next)
}
