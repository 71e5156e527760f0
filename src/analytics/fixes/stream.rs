//! An export under way: from Postgres to the client, at the client's pace, in constant memory.

use axum::body::{Body, Bytes};
use futures_util::{TryStreamExt, stream};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::format::{Format, Writer};
use crate::analytics::columns::Day;
use crate::analytics::range::TimeRange;
use crate::analytics::tracks::{InOrder, segments};
use crate::domain::{CourierId, Fix};

/// Bytes given to the connection at once.
const CHUNK: usize = 64 << 10;
/// Chunks that may wait for a slow reader; then reading from Postgres pauses.
const CHUNKS: usize = 4;

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
    tokio::spawn(async move {
        match export(connection, &wanted, &chunks).await {
            Ok(()) | Err(Stopped::ClientGone) => {}
            Err(Stopped::Failed(error)) => {
                tracing::warn!(%error, "an export broke off");
                // The client sees the connection break, not a file that looks complete.
                drop(chunks.send(Err(error)).await);
            }
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
    Failed(std::io::Error),
    ClientGone,
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
    };
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
        let chunk = Ok(self.writer.take());
        let sent = self.chunks.send(chunk).await;
        sent.map_err(|_| Stopped::ClientGone)
    }
}
