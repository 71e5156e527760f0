//! What has changed in Postgres, as soon as it has; and who is watched, between processes.

use std::collections::BTreeMap;
use std::sync::atomic::Ordering;
use std::time::Duration;

use rustc_hash::FxHashSet;
use sqlx::postgres::{PgListener, PgNotification};
use sqlx::{PgPool, Row};

use super::{CHANGES_KEPT_MS, Sync, Table, in_time};
use crate::domain::{CourierId, UnixMs};

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
/// Changes are kept for [`CHANGES_KEPT_MS`]; after half of that without a look, all is read anew.
const HORIZON_TRUSTED_MS: i64 = CHANGES_KEPT_MS / 2;
/// Rows that one query asks for by id.
const ROWS_PER_QUERY: usize = 5_000;

/// How far the table of changes has been read.
#[derive(Debug, Clone)]
pub(super) struct Horizon {
    xid: u64,
    /// Changes at or above `xid` that were applied already.
    seen: FxHashSet<i64>,
    looked_at: UnixMs,
}
impl Sync {
    pub(super) async fn follow(&self) -> sqlx::Result<std::convert::Infallible> {
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
    pub(super) async fn tell_watched(&self) {
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
    pub(super) async fn look(&self) -> sqlx::Result<()> {
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
