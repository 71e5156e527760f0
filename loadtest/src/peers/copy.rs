//! COPY of plain rows straight from the handlers: uploads that wait are stored together, in one binary
//! COPY and one transaction, and answered when it is committed.

use std::sync::Arc;

use anyhow::Context;
use bytes::{BufMut, BytesMut};
use sqlx::{Executor, PgPool};
use tokio::sync::{Mutex, mpsc, oneshot};
use waylog::domain::{CourierId, Fix};

/// Most uploads of one COPY.
const TOGETHER: usize = 1_000;
/// Uploads that may wait.
const WAITING: usize = 4_096;
/// Where Postgres' time begins, Unix milliseconds.
const PG_EPOCH_MS: i64 = 946_684_800_000;
const COLUMNS: i16 = 7;

/// Hands uploads to the tasks that copy.
pub struct Copier(mpsc::Sender<Waiting>);

struct Waiting {
    rows: BytesMut,
    done: oneshot::Sender<()>,
}

impl Copier {
    /// As many tasks as there are connections; the one that is free takes all that wait.
    pub async fn start(pool: &PgPool, tasks: u32) -> anyhow::Result<Self> {
        pool.execute(
            "create table if not exists peer_row ( \
                courier_id text collate \"C\" not null, fix_time timestamptz not null, \
                lat double precision not null, lon double precision not null, accuracy_m real, \
                speed_mps real, heading_deg real); \
             create index if not exists peer_row_idx on peer_row (courier_id, fix_time)",
        )
        .await?;
        let (sender, receiver) = mpsc::channel(WAITING);
        let receiver = Arc::new(Mutex::new(receiver));
        for _ in 0..tasks {
            tokio::spawn(copy_on(pool.clone(), receiver.clone()));
        }
        Ok(Self(sender))
    }

    /// Stores fixes; answers how many when they are committed.
    pub async fn keep(&self, courier: &CourierId, fixes: &[Fix]) -> anyhow::Result<usize> {
        let mut rows = BytesMut::with_capacity(fixes.len() * 96);
        for fix in fixes {
            put_row(&mut rows, courier.as_str(), fix);
        }
        let (done, answer) = oneshot::channel();
        self.0.send(Waiting { rows, done }).await?;
        answer.await.context("the COPY failed")?;
        Ok(fixes.len())
    }
}

async fn copy_on(
    pool: PgPool,
    receiver: Arc<Mutex<mpsc::Receiver<Waiting>>>,
) -> anyhow::Result<()> {
    let mut connection = pool.acquire().await?;
    let mut waiting = Vec::with_capacity(TOGETHER);
    loop {
        if receiver
            .lock()
            .await
            .recv_many(&mut waiting, TOGETHER)
            .await
            == 0
        {
            return Ok(());
        }
        let statement = "copy peer_row from stdin (format binary)";
        let mut copy = connection.copy_in_raw(statement).await?;
        let mut rows = BytesMut::from(&b"PGCOPY\n\xff\r\n\0\0\0\0\0\0\0\0\0"[..]);
        for upload in &waiting {
            rows.extend_from_slice(&upload.rows);
        }
        rows.put_i16(-1);
        copy.send(rows.freeze()).await?;
        copy.finish().await?;
        for upload in waiting.drain(..) {
            // A phone that has gone does not hear it.
            upload.done.send(()).unwrap_or_default();
        }
    }
}

fn put_row(rows: &mut BytesMut, courier: &str, fix: &Fix) {
    rows.put_i16(COLUMNS);
    rows.put_i32(courier.len() as i32);
    rows.put_slice(courier.as_bytes());
    rows.put_i32(8);
    rows.put_i64((fix.fix_time.0 - PG_EPOCH_MS) * 1000);
    for degrees in [fix.position.lat(), fix.position.lon()] {
        rows.put_i32(8);
        rows.put_f64(degrees);
    }
    for value in [fix.accuracy_m, fix.speed_mps, fix.heading_deg] {
        match value {
            Some(value) => {
                rows.put_i32(4);
                rows.put_f32(value);
            }
            None => rows.put_i32(-1),
        }
    }
}
