//! An export under way: from Postgres to the client, at the client's pace.

use axum::body::{Body, Bytes};
use futures_util::{TryStreamExt, stream};
use sqlx::Postgres;
use sqlx::pool::PoolConnection;
use tokio::sync::{OwnedSemaphorePermit, mpsc};

use super::formats::{Format, Writer};
use crate::analytics::columns::Day;
use crate::analytics::range::TimeRange;
use crate::analytics::tracks::{InOrder, segments};
use crate::domain::{CourierId, Fix};

/// Bytes given to the connection at once.
const CHUNK: usize = 64 << 10;
/// Chunks that may wait for a slow reader; then reading from Postgres pauses.
const CHUNKS: usize = 4;

/// The answer's body. Reading goes on while the client reads and ends when it goes away.
pub(super) fn body(
    connection: PoolConnection<Postgres>,
    courier: CourierId,
    days: Vec<Day>,
    range: TimeRange,
    format: Format,
    permit: OwnedSemaphorePermit,
) -> Body {
    let (chunks, receiver) = mpsc::channel(CHUNKS);
    tokio::spawn(async move {
        let mut export = Export {
            chunks,
            writer: Writer::new(format, courier.clone()),
        };
        let done = export.run(connection, &courier, &days, range).await;
        if let Err(Stopped::Database(error)) = done {
            tracing::warn!(%error, "an export broke off");
            // The client sees the connection break, not a file that looks complete.
            drop(export.chunks.send(Err(error)).await);
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
    Database(sqlx::Error),
    ClientGone,
}

impl From<sqlx::Error> for Stopped {
    fn from(error: sqlx::Error) -> Self {
        Self::Database(error)
    }
}

struct Export {
    chunks: mpsc::Sender<Result<Bytes, sqlx::Error>>,
    writer: Writer,
}

impl Export {
    async fn run(
        &mut self,
        mut connection: PoolConnection<Postgres>,
        courier: &CourierId,
        days: &[Day],
        range: TimeRange,
    ) -> Result<(), Stopped> {
        self.writer.begin();
        for day in days {
            let mut in_order = InOrder::new(range);
            let mut rows = segments(&mut connection, courier, *day, range);
            while let Some(row) = rows.try_next().await? {
                self.write(&in_order.push(&row)).await?;
            }
            self.write(&in_order.rest()).await?;
        }
        self.writer.end();
        self.send().await
    }

    async fn write(&mut self, fixes: &[Fix]) -> Result<(), Stopped> {
        for fix in fixes {
            self.writer.fix(fix);
            if self.writer.len() >= CHUNK {
                self.send().await?;
            }
        }
        Ok(())
    }

    async fn send(&mut self) -> Result<(), Stopped> {
        let chunk = Ok(self.writer.take());
        self.chunks
            .send(chunk)
            .await
            .map_err(|_| Stopped::ClientGone)
    }
}
