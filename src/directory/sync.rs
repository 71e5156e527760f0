//! Keeps the Directory like Postgres.
//!
//! Invariants:
//! - Rows are read and applied under one lock, so that an older picture of a row never replaces a
//!   newer one.
//! - `horizon`: everything that transactions below it changed has been applied. The changes at and
//!   above it are looked at after every notification, every [`LOOK_EVERY`], and after every lost
//!   connection; only a Directory that has been away for longer than changes are kept is read anew.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::Duration;

use anyhow::Context;
use futures_util::TryStreamExt;
use metrics::{counter, gauge};
use rustc_hash::FxHashSet;
use sqlx::postgres::{PgListener, PgNotification, PgRow};
use sqlx::{FromRow, PgPool, Row};
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::rows::{self, FromTable, Selects};
use super::{ApiKey, Device, Directory, Link, Session, TokenHash, snapshot};
use crate::clock::SharedClock;
use crate::domain::{Courier, CourierId, Delivery, DeliveryId, Geofence, GeofenceId, UnixMs};
use crate::telemetry::metrics::{DIRECTORY_ENTRIES, DIRECTORY_RESYNCS};

const CHANNEL: &str = "waylog_directory";
/// Who is watched, between processes: until when (Unix ms), then couriers, with spaces.
const WATCHED: &str = "waylog_watched";
/// How often what other processes have not heard is told.
const TELL_EVERY: Duration = Duration::from_secs(2);
/// Most bytes of one notification; Postgres takes 8,000.
const NOTIFICATION_LEN: usize = 7_500;
/// Looks at the table of changes also without a notification: it costs one indexed query, and what a
/// lost notification would have told (a revoked key, a revoked link) is in force a second later.
const LOOK_EVERY: Duration = Duration::from_secs(1);
/// A database that has not answered a small query by then is taken to be away.
const PATIENCE: Duration = Duration::from_secs(5);
/// Between two tries to reach a database that is away.
const TRY_EVERY: Duration = Duration::from_secs(1);
/// Changes are kept for [`CHANGES_KEPT_MS`]; after half of that without a look, all is read anew.
const HORIZON_TRUSTED_MS: i64 = CHANGES_KEPT_MS / 2;
/// How long rows of `dispatch.change` are kept, milliseconds.
pub const CHANGES_KEPT_MS: i64 = 60 * 60 * 1000;
/// Completed deliveries are held this long, unless [`Sync::holding_completed`] says otherwise.
const HOLD_COMPLETED_MS: i64 = 30 * 60 * 1000;
/// Rows that one query asks for by id.
const ROWS_PER_QUERY: usize = 5_000;
/// How often what has ended is dropped, and the snapshot is considered.
const SWEEP_EVERY: Duration = Duration::from_secs(5);

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

/// How far the table of changes has been read.
#[derive(Debug, Clone)]
struct Horizon {
    xid: u64,
    /// Changes at or above `xid` that were applied already.
    seen: FxHashSet<i64>,
    looked_at: UnixMs,
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

    async fn follow(&self) -> sqlx::Result<std::convert::Infallible> {
        let mut listener = in_time(PgListener::connect_with(&self.inner.pool)).await?;
        in_time(listener.listen_all([CHANNEL, WATCHED])).await?;
        let mut changed = true;
        loop {
            if changed {
                self.look().await?;
            }
            if !self.inner.fresh.swap(true, Ordering::Relaxed) {
                tracing::info!("the directory follows Postgres");
            }
            changed = match tokio::time::timeout(LOOK_EVERY, listener.try_recv()).await {
                Ok(Ok(Some(first))) => {
                    let mut changed = self.hear(&first);
                    while let Some(next) = listener.next_buffered() {
                        changed |= self.hear(&next);
                    }
                    changed
                }
                Ok(Ok(None)) => return Err(sqlx::Error::PoolClosed),
                Ok(Err(error)) => return Err(error),
                Err(_) => true,
            };
        }
    }

    /// Takes a notification; answers whether it is of a change to the tables.
    fn hear(&self, notification: &PgNotification) -> bool {
        if notification.channel() != WATCHED {
            return true;
        }
        let mut words = notification.payload().split(' ');
        let until = words.next().and_then(|word| word.parse().ok());
        let until = UnixMs(until.unwrap_or_default());
        let now = UnixMs(self.inner.clock.now_ms());
        for courier in words.filter_map(|word| CourierId::try_from(word).ok()) {
            self.inner.directory.watched().hear(courier, until, now);
        }
        false
    }

    /// Tells other processes who is watched here. One that does not get through is told again soon,
    /// as long as somebody watches.
    async fn tell_watched(&self) {
        loop {
            tokio::time::sleep(TELL_EVERY).await;
            let mut by_end: BTreeMap<UnixMs, Vec<CourierId>> = BTreeMap::new();
            for (courier, until) in self.inner.directory.watched().take_unheard() {
                by_end.entry(until).or_default().push(courier);
            }
            for (until, couriers) in by_end {
                if let Err(error) = self.tell(until, &couriers).await {
                    tracing::debug!(%error, "others do not hear who is watched");
                }
            }
        }
    }

    async fn tell(&self, until: UnixMs, couriers: &[CourierId]) -> sqlx::Result<()> {
        let mut payload = until.0.to_string();
        for (n, courier) in couriers.iter().enumerate() {
            payload.push(' ');
            payload.push_str(courier.as_str());
            if payload.len() > NOTIFICATION_LEN || n + 1 == couriers.len() {
                let notify = sqlx::query("select pg_notify($1, $2)");
                let notify = notify.bind(WATCHED).bind(&payload);
                in_time(notify.execute(&self.inner.pool)).await?;
                payload = until.0.to_string();
            }
        }
        Ok(())
    }

    /// Applies what has changed since the last look, or everything.
    async fn look(&self) -> sqlx::Result<()> {
        let mut horizon = self.inner.horizon.lock().await;
        let now = UnixMs(self.inner.clock.now_ms());
        if let Some(old) = horizon
            .as_ref()
            .filter(|h| now.since(h.looked_at) < HORIZON_TRUSTED_MS)
            && let Some(new) = self.apply_changes(old, now).await?
        {
            *horizon = Some(new);
            return Ok(());
        }
        let xid = in_time(current_horizon(&self.inner.pool)).await?;
        self.read_everything().await?;
        *horizon = Some(Horizon {
            xid,
            seen: FxHashSet::default(),
            looked_at: now,
        });
        Ok(())
    }

    /// `None` if the database's transactions are not those that the horizon is of.
    async fn apply_changes(&self, old: &Horizon, now: UnixMs) -> sqlx::Result<Option<Horizon>> {
        const CHANGES: &str = "select pg_snapshot_xmin(pg_current_snapshot())::text as horizon, \
                                      c.id, c.xid::text as xid, c.tbl, c.key \
                                 from (values (1)) one left join dispatch.change c \
                                   on c.xid >= $1::text::xid8";
        let query = sqlx::query(CHANGES).bind(old.xid.to_string());
        let found = in_time(query.fetch_all(&self.inner.pool)).await?;
        let mut xid = old.xid;
        let mut seen = FxHashSet::default();
        let mut keys: Vec<(Table, String)> = Vec::new();
        for row in found {
            xid = number_of(row.try_get("horizon")?)?;
            let Some(id) = row.try_get::<Option<i64>, _>("id")? else {
                continue;
            };
            if number_of(row.try_get("xid")?)? >= xid {
                seen.insert(id);
            }
            if !old.seen.contains(&id)
                && let Some(table) = Table::parse(row.try_get("tbl")?)
            {
                keys.push((table, row.try_get("key")?));
            }
        }
        if xid < old.xid {
            return Ok(None);
        }
        for (table, _) in Table::ALL {
            let of_table = keys.iter().filter(|(t, _)| *t == table);
            let mut keys: Vec<String> = of_table.map(|(_, key)| key.clone()).collect();
            keys.sort_unstable();
            keys.dedup();
            for keys in keys.chunks(ROWS_PER_QUERY) {
                in_time(self.read_rows(table, keys)).await?;
            }
        }
        Ok(Some(Horizon {
            xid,
            seen,
            looked_at: now,
        }))
    }

    fn forget_before(&self) -> time::OffsetDateTime {
        UnixMs(self.inner.clock.now_ms() - self.inner.hold_completed_ms).to_datetime()
    }

    /// Reads the rows of these keys again: those that are there are put, the others removed.
    async fn read_rows(&self, table: Table, keys: &[String]) -> sqlx::Result<()> {
        let directory = &*self.inner.directory;
        self.inner.applied.fetch_add(1, Ordering::Relaxed);
        match table {
            Table::Courier => {
                let mut gone = gone::<CourierId>(keys);
                for row in self.rows_of::<Courier>(&rows::COURIER, keys).await? {
                    gone.remove(&row.id);
                    directory.put_courier(row);
                }
                gone.iter().for_each(|id| directory.remove_courier(id));
            }
            Table::Device => {
                let mut gone = gone_numbers(keys);
                for row in self.rows_of::<Device>(&rows::DEVICE, keys).await? {
                    gone.remove(&row.id);
                    directory.put_device(row);
                }
                gone.into_iter().for_each(|id| directory.remove_device(id));
            }
            Table::Delivery => {
                let mut gone = gone::<DeliveryId>(keys);
                for row in self.rows_of::<Delivery>(&rows::DELIVERY, keys).await? {
                    gone.remove(&row.id);
                    directory.put_delivery(row);
                }
                gone.iter().for_each(|id| directory.remove_delivery(id));
            }
            Table::Link => {
                let mut gone = gone_numbers(keys);
                for row in self.rows_of::<Link>(&rows::LINK, keys).await? {
                    gone.remove(&row.id);
                    directory.put_link(row);
                }
                gone.into_iter().for_each(|id| directory.remove_link(id));
            }
            Table::Geofence => {
                let mut gone = gone::<GeofenceId>(keys);
                for row in self.rows_of::<Geofence>(&rows::GEOFENCE, keys).await? {
                    gone.remove(&row.id);
                    directory.put_geofence(row);
                }
                gone.iter().for_each(|id| directory.remove_geofence(id));
            }
            Table::ApiKey => {
                let mut gone = gone_numbers(keys);
                for row in self.rows_of::<ApiKey>(&rows::API_KEY, keys).await? {
                    gone.remove(&row.id);
                    directory.put_api_key(row);
                }
                gone.into_iter().for_each(|id| directory.remove_api_key(id));
            }
            Table::Session => {
                let mut gone = gone_numbers(keys);
                for row in self.rows_of::<Session>(&rows::SESSION, keys).await? {
                    gone.remove(&row.id);
                    directory.put_session(row);
                }
                gone.into_iter().for_each(|id| directory.remove_session(id));
            }
            Table::Erased => {
                let mut gone = gone::<CourierId>(keys);
                for (id, before) in self.rows_of(&rows::ERASED, keys).await? {
                    gone.remove(&id);
                    directory.put_erased(id, Some(before));
                }
                gone.into_iter()
                    .for_each(|id| directory.put_erased(id, None));
            }
        }
        Ok(())
    }

    async fn rows_of<T>(&self, selects: &Selects, keys: &[String]) -> sqlx::Result<Vec<T>>
    where
        FromTable<T>: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let query = sqlx::query_as(selects.by_id)
            .bind(self.forget_before())
            .bind(keys);
        let found: Vec<FromTable<T>> = query.fetch_all(&self.inner.pool).await?;
        Ok(found.into_iter().map(|row| row.0).collect())
    }

    /// Reads all tables; tells once.
    async fn read_everything(&self) -> sqlx::Result<()> {
        let directory = &*self.inner.directory;
        let erased = self.read_all(&rows::ERASED, |(id, before): (CourierId, UnixMs)| {
            directory.set_erased(&id, Some(before));
            id
        });
        let erased = erased.await?;
        directory.erased.write().retain(|id, _| erased.contains(id));

        macro_rules! read {
            ($selects:expr, $index:expr, $set:ident, $entry:ty, $id:ident, $remove:expr) => {
                let seen = self.read_all(&$selects, |entry: $entry| {
                    let id = entry.id.clone();
                    directory.$set(entry);
                    id
                });
                let seen = seen.await?;
                for $id in $index.keys_unless(|entry| seen.contains(&entry.id)) {
                    $remove;
                }
            };
        }
        read!(
            rows::COURIER,
            directory.couriers,
            set_courier,
            Courier,
            id,
            directory.remove_courier(&id)
        );
        read!(
            rows::DEVICE,
            directory.devices.by_id,
            set_device,
            Device,
            id,
            directory.remove_device(id)
        );
        read!(
            rows::DELIVERY,
            directory.deliveries,
            set_delivery,
            Delivery,
            id,
            directory.remove_delivery(&id)
        );
        read!(
            rows::LINK,
            directory.links.by_id,
            set_link,
            Link,
            id,
            directory.remove_link(id)
        );
        read!(
            rows::GEOFENCE,
            directory.geofences,
            set_geofence,
            Geofence,
            id,
            directory.remove_geofence(&id)
        );
        read!(
            rows::API_KEY,
            directory.api_keys.by_id,
            set_api_key,
            ApiKey,
            id,
            directory.remove_api_key(id)
        );
        read!(
            rows::SESSION,
            directory.sessions.by_id,
            set_session,
            Session,
            id,
            directory.remove_session(id)
        );

        self.inner.applied.fetch_add(1, Ordering::Relaxed);
        counter!(DIRECTORY_RESYNCS).increment(1);
        directory.tell_everything();
        Ok(())
    }

    async fn read_all<T, K: Eq + std::hash::Hash>(
        &self,
        selects: &Selects,
        mut put: impl FnMut(T) -> K,
    ) -> sqlx::Result<FxHashSet<K>>
    where
        FromTable<T>: for<'r> FromRow<'r, PgRow> + Send + Unpin,
    {
        let query = sqlx::query_as::<_, FromTable<T>>(selects.all).bind(self.forget_before());
        let mut found = query.fetch(&self.inner.pool);
        let mut seen = FxHashSet::default();
        while let Some(row) = in_time(found.try_next()).await? {
            seen.insert(put(row.0));
        }
        Ok(seen)
    }

    /// Drops what has ended, says how much is held, and writes the snapshot when it is worth it.
    async fn housekeeping(&self) {
        let mut written = 0;
        let mut pause = SWEEP_EVERY;
        loop {
            tokio::time::sleep(pause).await;
            self.sweep();
            let applied = self.inner.applied.load(Ordering::Relaxed);
            pause = SWEEP_EVERY;
            if applied != written {
                let started = tokio::time::Instant::now();
                self.write_snapshot().await;
                written = applied;
                // A large Directory is written less often: one part in fifty of the time at most.
                pause = SWEEP_EVERY.max(started.elapsed() * 50);
            }
        }
    }

    /// Drops completed deliveries after their time, and links and sessions that have expired.
    fn sweep(&self) {
        let directory = &*self.inner.directory;
        let now = UnixMs(self.inner.clock.now_ms());
        let hold = self.inner.hold_completed_ms;
        let done = |d: &Delivery| d.completed_at().is_some_and(|at| now.since(at) > hold);
        for id in directory.deliveries.keys_unless(|d| !done(d)) {
            directory.remove_delivery(&id);
        }
        for id in directory
            .links
            .by_id
            .keys_unless(|l| now.since(l.expires_at) <= hold)
        {
            directory.remove_link(id);
        }
        for id in directory.sessions.by_id.keys_unless(|s| s.expires_at > now) {
            directory.remove_session(id);
        }
        let entries = [
            ("courier", directory.couriers.len()),
            ("device", directory.devices.by_id.len()),
            ("delivery", directory.deliveries.len()),
            ("link", directory.links.by_id.len()),
            ("geofence", directory.geofences.len()),
            ("api_key", directory.api_keys.by_id.len()),
            ("session", directory.sessions.by_id.len()),
        ];
        for (kind, count) in entries {
            gauge!(DIRECTORY_ENTRIES, "kind" => kind).set(count as f64);
        }
    }

    /// A snapshot that cannot be written is told and tried again: nothing depends on it now.
    async fn write_snapshot(&self) {
        // What was never filled must not replace what is good for a start.
        if self.inner.applied.load(Ordering::Relaxed) == 0 {
            return;
        }
        let inner = self.inner.clone();
        let written =
            tokio::task::spawn_blocking(move || snapshot::write(&inner.snapshot, &inner.directory));
        match written.await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!("cannot write directory.snap: {error:#}"),
            Err(error) => tracing::warn!(%error, "cannot write directory.snap"),
        }
    }
}

/// The lowest transaction that may still change something.
async fn current_horizon(pool: &PgPool) -> sqlx::Result<u64> {
    const HORIZON: &str = "select pg_snapshot_xmin(pg_current_snapshot())::text";
    number_of(
        sqlx::query_scalar::<_, String>(HORIZON)
            .fetch_one(pool)
            .await?
            .as_str(),
    )
}

fn number_of(text: &str) -> sqlx::Result<u64> {
    text.parse()
        .map_err(|error| sqlx::Error::Decode(Box::new(error)))
}

fn gone<K: for<'a> TryFrom<&'a str> + Eq + std::hash::Hash>(keys: &[String]) -> FxHashSet<K> {
    keys.iter()
        .filter_map(|key| K::try_from(key.as_str()).ok())
        .collect()
}

fn gone_numbers(keys: &[String]) -> FxHashSet<Uuid> {
    keys.iter().filter_map(|key| rows::number(key)).collect()
}

/// A database that hangs is as good as away.
async fn in_time<T>(query: impl Future<Output = sqlx::Result<T>>) -> sqlx::Result<T> {
    match tokio::time::timeout(PATIENCE, query).await {
        Ok(answer) => answer,
        Err(_) => Err(sqlx::Error::PoolTimedOut),
    }
}
