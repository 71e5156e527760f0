//! Keeps the Directory like Postgres.
//!
//! - [`follow`]: what has changed, as soon as it has, and who is watched
//! - [`read`]: rows of Postgres into the Directory
//! - [`upkeep`]: what has ended is dropped; the snapshot
//!
//! Invariants:
//! - Rows are read and applied under one lock, so that an older picture of a row never replaces a
//!   newer one.
//! - `horizon`: everything that transactions below it changed has been applied. The changes at and
//!   above it are looked at after every notification, every second, and after every lost connection;
//!   only a Directory that has been away for longer than changes are kept is read anew.

mod follow;
mod read;
mod upkeep;

use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use sqlx::PgPool;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use self::follow::Horizon;
use super::{Device, Directory, TokenHash, snapshot};
use crate::clock::SharedClock;

/// A database that has not answered a small query by then is taken to be away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to reach a database that is away.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// How long rows of `dispatch.change` are kept, milliseconds.
pub const CHANGES_KEPT_MS: i64 = 60 * 60 * 1000;
/// Completed deliveries are held this long, unless [`Sync::holding_completed`] says otherwise.
const HOLD_COMPLETED_MS: i64 = 30 * 60 * 1000;

/// A table that the Directory holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Table {
    /// `dispatch.courier`
    Courier,
    /// `dispatch.device`
    Device,
    /// `dispatch.delivery`
    Delivery,
    /// `dispatch.tracking_link`
    Link,
    /// `dispatch.geofence`
    Geofence,
    /// `dispatch.api_key`
    ApiKey,
    /// `dispatch.session`
    Session,
    /// `dispatch.erased`
    Erased,
}

impl Table {
    /// In the order in which they are applied: what others refer to comes first.
    const ALL: [(Self, &'static str); 8] = [
        (Self::Erased, "erased"),
        (Self::Courier, "courier"),
        (Self::Device, "device"),
        (Self::Delivery, "delivery"),
        (Self::Link, "tracking_link"),
        (Self::Geofence, "geofence"),
        (Self::ApiKey, "api_key"),
        (Self::Session, "session"),
    ];

    fn parse(name: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|(_, n)| *n == name)
            .map(|(table, _)| table)
    }
}

/// Where a Directory was filled from at the start.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filled {
    /// From Postgres: complete.
    FromPostgres,
    /// From `directory.snap`, as Postgres is away: complete but for the last moments before it was
    /// written.
    FromSnapshot,
    /// From nothing: Postgres is away and there is no snapshot.
    Empty,
}

/// Keeps a Directory like Postgres. Cheap to clone.
#[derive(Clone)]
pub struct Sync {
    inner: Arc<Inner>,
}

struct Inner {
    pool: PgPool,
    directory: Arc<Directory>,
    clock: SharedClock,
    snapshot: PathBuf,
    hold_completed_ms: i64,
    horizon: tokio::sync::Mutex<Option<Horizon>>,
    /// Counts what was applied, so that an unchanged Directory is not written again.
    applied: AtomicU64,
    fresh: AtomicBool,
}

impl Sync {
    /// Keeps `directory` like the database of `pool`, and a copy of it in `data_dir`.
    #[must_use]
    pub fn new(
        pool: PgPool,
        directory: Arc<Directory>,
        clock: SharedClock,
        data_dir: PathBuf,
    ) -> Self {
        let inner = Inner {
            pool,
            directory,
            clock,
            snapshot: data_dir.join("directory.snap"),
            hold_completed_ms: HOLD_COMPLETED_MS,
            horizon: tokio::sync::Mutex::default(),
            applied: AtomicU64::new(0),
            fresh: AtomicBool::new(false),
        };
        Self {
            inner: Arc::new(inner),
        }
    }

    /// Holds completed deliveries for `hold_ms` milliseconds. To be said before it is shared.
    #[must_use]
    pub fn holding_completed(mut self, hold_ms: i64) -> Self {
        if let Some(inner) = Arc::get_mut(&mut self.inner) {
            inner.hold_completed_ms = hold_ms;
        }
        self
    }

    /// Tells other processes who is watched here, and hears what they tell. To be said before it
    /// runs.
    #[must_use]
    pub fn sharing_watched(self) -> Self {
        self.inner.directory.watched().share();
        self
    }

    /// The Directory that is kept.
    #[must_use]
    pub fn directory(&self) -> &Arc<Directory> {
        &self.inner.directory
    }

    /// Whether the Directory is known to be like Postgres, but for the last moments.
    #[must_use]
    pub fn is_fresh(&self) -> bool {
        self.inner.fresh.load(Ordering::Relaxed)
    }

    /// Fills the Directory before the start is over: from Postgres or, where that is away, from
    /// `directory.snap`.
    ///
    /// # Errors
    /// If Postgres is away and the snapshot is damaged.
    pub async fn load_or_snapshot(&self) -> anyhow::Result<Filled> {
        let reached = tokio::time::timeout(PATIENCE, self.inner.pool.acquire()).await;
        if matches!(reached, Ok(Ok(_))) {
            match self.look().await {
                Ok(()) => return Ok(Filled::FromPostgres),
                Err(error) => tracing::warn!(%error, "cannot read the directory from Postgres"),
            }
        }
        let (inner, path) = (self.inner.clone(), self.inner.snapshot.clone());
        let found = tokio::task::spawn_blocking(move || snapshot::restore(&path, &inner.directory))
            .await?
            .context("read directory.snap; remove it to start without what it holds")?;
        if !found {
            tracing::warn!("Postgres is away and there is no directory.snap: nobody is known yet");
            return Ok(Filled::Empty);
        }
        tracing::warn!("Postgres is away: devices, deliveries and keys come from directory.snap");
        self.inner.directory.tell_everything();
        Ok(Filled::FromSnapshot)
    }

    /// Follows Postgres until `stop`, through any number of its absences.
    ///
    /// # Errors
    /// None that a database or a disk could cause: those are logged and tried again.
    pub async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        let following = async {
            loop {
                let error = match self.follow().await {
                    Ok(never) => match never {},
                    Err(error) => error,
                };
                if self.inner.fresh.swap(false, Ordering::Relaxed) {
                    tracing::warn!(%error, "the directory stands still: Postgres is out of reach");
                }
                tokio::time::sleep(TRY_EVERY).await;
            }
        };
        tokio::select! {
            () = stop.cancelled() => {}
            () = following => {}
            () = self.tell_watched() => {}
            () = self.housekeeping() => {}
        }
        self.write_snapshot().await;
        Ok(())
    }

    /// Reads rows again that this process has just changed, so that they are in its Directory before
    /// the change is answered.
    pub async fn refresh(&self, changed: &[(Table, &str)]) -> sqlx::Result<()> {
        let _reading = self.inner.horizon.lock().await;
        for (table, _) in Table::ALL {
            let of_table = changed.iter().filter(|(t, _)| *t == table);
            let keys: Vec<String> = of_table.map(|(_, key)| (*key).to_owned()).collect();
            if !keys.is_empty() {
                self.read_rows(table, &keys).await?;
            }
        }
        Ok(())
    }

    /// Asks Postgres for a device that the Directory does not hold.
    pub async fn find_device(&self, token: &TokenHash) -> sqlx::Result<Option<Arc<Device>>> {
        const FIND: &str = "select id, courier_id from dispatch.device \
                            where token_hash = $1 and revoked_at is null";
        let query = sqlx::query_as(FIND).bind(&token.0[..]);
        let found: Option<(Uuid, String)> = in_time(query.fetch_optional(&self.inner.pool)).await?;
        let Some((id, courier)) = found else {
            return Ok(None);
        };
        let id = id.to_string();
        in_time(self.refresh(&[(Table::Courier, &courier), (Table::Device, &id)])).await?;
        Ok(self.inner.directory.device(token))
    }

    /// Asks Postgres whether a link that the Directory does not hold has ever been one.
    pub async fn knew_link(&self, token: &TokenHash) -> sqlx::Result<bool> {
        const FIND: &str =
            "select exists (select from dispatch.tracking_link where token_hash = $1)";
        in_time(
            sqlx::query_scalar(FIND)
                .bind(&token.0[..])
                .fetch_one(&self.inner.pool),
        )
        .await
    }
}

/// A database that hangs is as good as away.
async fn in_time<T>(query: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    match tokio::time::timeout(PATIENCE, query).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}
