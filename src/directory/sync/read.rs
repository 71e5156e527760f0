//! Rows of Postgres into the Directory: those of some keys, or all.

use std::sync::atomic::Ordering;

use futures_util::TryStreamExt;
use metrics::counter;
use rustc_hash::FxHashSet;
use sqlx::FromRow;
use sqlx::postgres::PgRow;
use uuid::Uuid;

use super::{Sync, Table, in_time};
use crate::directory::rows::{self, FromTable, Selects};
use crate::directory::{ApiKey, Device, Link, Session};
use crate::domain::{Courier, CourierId, Delivery, DeliveryId, Geofence, GeofenceId, UnixMs};
use crate::telemetry::metrics::DIRECTORY_RESYNCS;

impl Sync {
    fn forget_before(&self) -> time::OffsetDateTime {
        UnixMs(self.inner.clock.now_ms() - self.inner.hold_completed_ms).to_datetime()
    }

    /// Reads the rows of these keys again: those that are there are put, the others removed.
    pub(super) async fn read_rows(&self, table: Table, keys: &[String]) -> sqlx::Result<()> {
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
    pub(super) async fn read_everything(&self) -> sqlx::Result<()> {
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
}

fn gone<K: for<'a> TryFrom<&'a str> + Eq + std::hash::Hash>(keys: &[String]) -> FxHashSet<K> {
    keys.iter()
        .filter_map(|key| K::try_from(key.as_str()).ok())
        .collect()
}

fn gone_numbers(keys: &[String]) -> FxHashSet<Uuid> {
    keys.iter().filter_map(|key| rows::number(key)).collect()
}
