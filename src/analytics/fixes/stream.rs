//! An export under way: from Postgres to the client, at the client's pace, in constant memory.
//!
//! A task of its own reads and writes ahead by a few chunks. It belongs to the answer's body: a client
//! that goes away ends it at once, and one that reads nothing for a minute is given up, so that
//! neither keeps a connection to Postgres.

use std::time::Duration;

use axum::body::{Body, Bytes};
use futures_util::{StreamExt, TryStreamExt, stream};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::sync::{OwnedSemaphorePermit, mpsc};
use tokio_util::task::AbortOnDropHandle;

use super::format::{Format, Writer};
use crate::analytics::columns::Day;
use crate::analytics::range::TimeRange;
use crate::analytics::tracks::{InOrder, segments};
use crate::domain::{CourierId, Fix};

/// Bytes given to the connection at once.
const CHUNK: usize = 64 << 10;
/// Chunks that may wait for a slow reader; then reading from Postgres pauses.
const CHUNKS: usize = 4;
/// A reader that takes no chunk for this long has gone to sleep.
const PATIENCE: Duration = Duration::from_secs(60);

/// What is to be exported.
pub(super) struct Wanted {
    pub(super) couriers: Vec<CourierId>,
    /// Days that have a partition, oldest first.
    pub(super) days: Vec<Day>,
    pub(super) range: TimeRange,
    pub(super) format: Format,
}

/// The answer's body. Reading goes on while the client reads and ends when it goes away.
pub(super) fn body(
    connection: PoolConnection<Postgres>,
    wanted: Wanted,
    permit: OwnedSemaphorePermit,
) -> Body {
    let (chunks, receiver) = mpsc::channel(CHUNKS);
    let task = tokio::spawn(async move {
        match export(connection, &wanted, &chunks).await {
            Ok(()) | Err(Stopped::ClientGone) => {}
            Err(Stopped::ClientAsleep) => {
                let error = std::io::Error::from(std::io::ErrorKind::TimedOut);
                tracing::info!("an export was given up: its reader took nothing for a minute");
                drop(chunks.try_send(Err(error)));
            }
            Err(Stopped::Failed(error)) => {
                tracing::warn!(%error, "an export broke off");
                // The client sees the connection break, not a file that looks complete.
                drop(chunks.send(Err(error)).await);
            }
        }
        drop(permit);
    });
    let state = (receiver, AbortOnDropHandle::new(task));
    let chunks = stream::unfold(state, |(mut receiver, task)| async move {
        let chunk = receiver.recv().await?;
        Some((chunk, (receiver, task)))
    });
    // Compression asks once more after the end.
    Body::from_stream(chunks.fuse())
}

/// Why an export ended early.
#[derive(Debug)]
enum Stopped {
    Failed(std::io::Error),
    ClientGone,
    ClientAsleep,
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Failed(std::io::Error::other(error))
    }
}

impl From<std::io::Error> for Stopped {
    fn from(error: std::io::Error) -> Self {
        Self::Failed(error)
    }
}

async fn export(
    mut connection: PoolConnection<Postgres>,
    wanted: &Wanted,
    chunks: &mpsc::Sender<Result<Bytes, std::io::Error>>,
) -> Result<(), Stopped> {
    let mut out = Out {
        chunks,
        writer: Writer::new(wanted.format)?,
        patience: PATIENCE,
    };
    // What a format begins with goes out before Postgres is asked.
    out.send().await?;
    for courier in &wanted.couriers {
        for day in &wanted.days {
            let mut in_order = InOrder::new(wanted.range);
            let mut rows = segments(&mut connection, courier, *day, wanted.range);
            while let Some(row) = rows.try_next().await? {
                out.write(courier, &in_order.push(&row)).await?;
            }
            out.write(courier, &in_order.rest()).await?;
        }
    }
    out.writer.finish()?;
    out.send().await
}

struct Out<'a> {
    chunks: &'a mpsc::Sender<Result<Bytes, std::io::Error>>,
    writer: Writer,
    patience: Duration,
}

impl Out<'_> {
    async fn write(&mut self, courier: &CourierId, fixes: &[Fix]) -> Result<(), Stopped> {
        self.writer.write(courier, fixes)?;
        if self.writer.len() >= CHUNK {
            self.send().await?;
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Stopped> {
        let chunk = self.writer.take();
        if chunk.is_empty() {
            return Ok(());
        }
        match self.chunks.send_timeout(Ok(chunk), self.patience).await {
            Ok(()) => Ok(()),
            Err(mpsc::error::SendTimeoutError::Closed(_)) => Err(Stopped::ClientGone),
            Err(mpsc::error::SendTimeoutError::Timeout(_)) => Err(Stopped::ClientAsleep),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_reader_that_sleeps_is_given_up_and_one_that_is_gone_is_noticed() {
        let (chunks, receiver) = mpsc::channel(1);
        let mut out = Out {
            chunks: &chunks,
            writer: Writer::new(Format::Csv).expect("a writer"),
            patience: Duration::from_millis(1),
        };
        out.send().await.expect("there is room for one chunk");
        out.writer = Writer::new(Format::Csv).expect("a writer");
        assert!(matches!(out.send().await, Err(Stopped::ClientAsleep)));
        drop(receiver);
        out.writer = Writer::new(Format::Csv).expect("a writer");
        assert!(matches!(out.send().await, Err(Stopped::ClientGone)));
    }
}
