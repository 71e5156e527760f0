//! A log, a database, and the slice between them.

use std::sync::Arc;

use rand::SeedableRng;
use rand::rngs::StdRng;
use tempfile::TempDir;
use tokio_util::sync::CancellationToken;

use super::fixture::{config, count, courier, courier_id, delivery, insert, system_clock};
use crate::directory::Directory;
use crate::domain::{DeliveryStatus, FixBatch, UnixMs};
use crate::notifications::Notifications;
use crate::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use crate::stream::{Log, Record, TOPIC_DELIVERY_LOCATION, partition_for_key};
use crate::test_support::TestDatabase;

pub(super) const PARTITIONS: u32 = 4;

/// A database, a log and a Directory in which courier `c-{n}` has delivery `d-{n}`.
pub(super) struct World {
    pub(super) database: TestDatabase,
    pub(super) log: Arc<EmbeddedLog>,
    pub(super) directory: Arc<Directory>,
    _dir: TempDir,
}

/// The slice at work; dropping its task is as a crash.
pub(super) struct Running {
    stop: CancellationToken,
    task: tokio::task::JoinHandle<anyhow::Result<()>>,
}

impl World {
    pub(super) async fn new(deliveries: usize, picked_up_at: UnixMs) -> Self {
        let database = TestDatabase::create().await;
        let dir = TempDir::new().expect("a folder");
        let options = EmbeddedLogOptions::new(dir.path(), PARTITIONS);
        let log = EmbeddedLog::open(options, system_clock()).expect("a log");
        let directory = Directory::new();
        for n in 0..deliveries {
            let delivery = delivery(n, DeliveryStatus::PickedUp, picked_up_at);
            insert(&database.pool, &delivery).await;
            directory.put_courier(courier(n));
            directory.put_delivery(delivery);
        }
        Self {
            database,
            log,
            directory,
            _dir: dir,
        }
    }

    pub(super) async fn append(&self, n: usize, batch: &FixBatch) {
        let key = courier_id(n).as_str().to_owned();
        let partition = partition_for_key(key.as_bytes(), PARTITIONS);
        let record = Record {
            key: key.into(),
            value: batch.encode(),
            timestamp_ms: batch.received_at.0,
        };
        self.log
            .append(TOPIC_DELIVERY_LOCATION, partition, vec![record])
            .await
            .expect("durable");
    }

    pub(super) fn start(&self) -> Running {
        let slice = Notifications::new(
            &config(),
            self.log.clone(),
            self.directory.clone(),
            system_clock(),
            self.database.pool.clone(),
            StdRng::seed_from_u64(3),
        );
        let stop = CancellationToken::new();
        Running {
            task: tokio::spawn(slice.run(stop.clone())),
            stop,
        }
    }

    pub(super) async fn events(&self) -> i64 {
        count(&self.database.pool, "select count(*) from public.event").await
    }

    pub(super) async fn end(self) {
        self.log.close().await.expect("closed");
        self.database.drop_database().await;
    }
}

impl Running {
    pub(super) async fn stop(self) {
        self.stop.cancel();
        self.task.await.expect("no panic").expect("a clean end");
    }

    pub(super) async fn kill(self) {
        self.task.abort();
        assert!(self.task.await.expect_err("killed").is_cancelled());
    }
}

/// Metres to the drop-off, every five seconds: comes, stands, and is there.
pub(super) fn way(step: i64) -> f64 {
    (1_000.0 - 100.0 * step as f64).max(3.0)
}
