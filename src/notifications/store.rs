//! The group's transaction: offsets, what the rules know, and events, together or not at all.
//!
//! Order inside it: the offsets first (they decide whether this member still owns the partitions),
//! then states, then the deliveries' rows in order of id, then events. A step of a delivery by
//! anyone holds the same row, so that a delivery's events get their numbers in the order in which
//! they happened.

use std::sync::Arc;

use rustc_hash::FxHashMap;
use sqlx::{PgConnection, PgPool, Row};
use time::OffsetDateTime;

use super::judge::CourierTold;
use crate::domain::rules::{CourierState, Told};
use crate::domain::{CourierId, DeliveryStatus, EventType};
use crate::stream::{Offset, Partition};

/// The group's name, in the log and in `stream_offset`.
pub const GROUP: &str = "notifications";

/// Where the group keeps what it knows. Cheap to clone.
#[derive(Clone)]
pub(super) struct Store {
    pool: PgPool,
    stream_id: Arc<str>,
}

/// What is stored about a partition.
pub(super) struct Loaded {
    /// Next offset to be read.
    pub(super) next: Offset,
    /// What the rules know, and up to where in the log.
    pub(super) couriers: FxHashMap<CourierId, (CourierState, Offset)>,
}

/// What one partition has to write.
pub(super) struct PartitionWrite {
    pub(super) partition: Partition,
    pub(super) expected: Offset,
    pub(super) next: Offset,
    pub(super) states: Vec<CourierWrite>,
    pub(super) told: Vec<CourierTold>,
}

/// What the rules know about a courier who has read the records below `as_of`.
pub(super) struct CourierWrite {
    pub(super) courier: CourierId,
    pub(super) as_of: Offset,
    pub(super) state: Vec<u8>,
}

/// What became of a transaction.
#[derive(Debug, PartialEq)]
pub(super) enum Flushed {
    /// It is in; these events were recorded.
    Written(Vec<EventType>),
    /// Nothing was written: another member has moved these partitions on.
    Overtaken(Vec<Partition>),
}

impl Store {
    pub(super) fn new(pool: PgPool, stream_id: &str) -> Self {
        Self {
            pool,
            stream_id: stream_id.into(),
        }
    }

    /// The stored offset of a partition, if there is one.
    pub(super) async fn next(&self, partition: Partition) -> sqlx::Result<Option<Offset>> {
        let row = sqlx::query_scalar::<_, i64>(
            "select next from public.stream_offset where grp = $1 and stream_id = $2 and part = $3",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .bind(part(partition))
        .fetch_optional(&self.pool)
        .await?;
        Ok(row.map(offset))
    }

    /// What is stored about a partition; one that is new begins at `first`.
    pub(super) async fn load(&self, partition: Partition, first: Offset) -> sqlx::Result<Loaded> {
        sqlx::query(
            "insert into public.stream_offset (grp, stream_id, part, next) values ($1, $2, $3, $4)
             on conflict do nothing",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .bind(part(partition))
        .bind(number(first))
        .execute(&self.pool)
        .await?;
        let next = self.next(partition).await?.unwrap_or(first);
        let rows = sqlx::query(
            "select courier_id, state, as_of from notifications.rule_state
              where stream_id = $1 and part = $2",
        )
        .bind(&*self.stream_id)
        .bind(part(partition))
        .fetch_all(&self.pool)
        .await?;
        let mut couriers = FxHashMap::default();
        for row in rows {
            let id = CourierId::try_from(row.try_get::<&str, _>(0)?);
            match (id, CourierState::from_bytes(row.try_get(1)?)) {
                (Ok(id), Ok(state)) => {
                    couriers.insert(id, (state, offset(row.try_get(2)?)));
                }
                // Begun anew, as for a courier never seen.
                _ => tracing::warn!(%partition, "dropped an unreadable state of the rules"),
            }
        }
        Ok(Loaded { next, couriers })
    }

    /// Brings a partition's offset and states that lie beyond `end`, where the log ends, back to it.
    pub(super) async fn pull_back(&self, partition: Partition, end: Offset) -> sqlx::Result<()> {
        let mut tx = self.pool.begin().await?;
        for statement in [
            "update public.stream_offset set next = $4, updated_at = now()
              where grp = $1 and stream_id = $2 and part = $3 and next > $4",
            "update notifications.rule_state set as_of = $4
              where $1::text is not null and stream_id = $2 and part = $3 and as_of > $4",
        ] {
            sqlx::query(statement)
                .bind(GROUP)
                .bind(&*self.stream_id)
                .bind(part(partition))
                .bind(number(end))
                .execute(&mut *tx)
                .await?;
        }
        tx.commit().await
    }

    /// Writes all of it in one transaction.
    pub(super) async fn flush(&self, writes: &[PartitionWrite]) -> sqlx::Result<Flushed> {
        let mut tx = self.pool.begin().await?;
        let moved = self.move_offsets(&mut tx, writes).await?;
        if moved.len() < writes.len() {
            tx.rollback().await?;
            let overtaken = writes
                .iter()
                .map(|w| w.partition)
                .filter(|p| !moved.contains(p));
            return Ok(Flushed::Overtaken(overtaken.collect()));
        }
        self.write_states(&mut tx, writes).await?;
        let told: Vec<&CourierTold> = writes.iter().flat_map(|w| &w.told).collect();
        let recorded = record(&mut tx, &told).await?;
        tx.commit().await?;
        Ok(Flushed::Written(recorded))
    }

    async fn move_offsets(
        &self,
        tx: &mut PgConnection,
        writes: &[PartitionWrite],
    ) -> sqlx::Result<Vec<Partition>> {
        let moved = sqlx::query_scalar::<_, i32>(
            "update public.stream_offset o set next = n.next, updated_at = now()
               from unnest($3::int[], $4::bigint[], $5::bigint[]) n (part, expected, next)
              where o.grp = $1 and o.stream_id = $2 and o.part = n.part and o.next = n.expected
             returning o.part",
        )
        .bind(GROUP)
        .bind(&*self.stream_id)
        .bind(writes.iter().map(|w| part(w.partition)).collect::<Vec<_>>())
        .bind(
            writes
                .iter()
                .map(|w| number(w.expected))
                .collect::<Vec<_>>(),
        )
        .bind(writes.iter().map(|w| number(w.next)).collect::<Vec<_>>())
        .fetch_all(tx)
        .await?;
        Ok(moved
            .into_iter()
            .filter_map(|p| u32::try_from(p).ok())
            .map(Partition)
            .collect())
    }

    async fn write_states(
        &self,
        tx: &mut PgConnection,
        writes: &[PartitionWrite],
    ) -> sqlx::Result<()> {
        let all = || {
            writes
                .iter()
                .flat_map(|w| w.states.iter().map(|s| (w.partition, s)))
        };
        if all().next().is_none() {
            return Ok(());
        }
        sqlx::query(
            "insert into notifications.rule_state (stream_id, part, courier_id, state, as_of)
             select $1, * from unnest($2::int[], $3::text[], $4::bytea[], $5::bigint[])
             on conflict (stream_id, part, courier_id)
             do update set state = excluded.state, as_of = excluded.as_of",
        )
        .bind(&*self.stream_id)
        .bind(all().map(|(p, _)| part(p)).collect::<Vec<_>>())
        .bind(all().map(|(_, s)| s.courier.as_str()).collect::<Vec<_>>())
        .bind(all().map(|(_, s)| s.state.as_slice()).collect::<Vec<_>>())
        .bind(all().map(|(_, s)| number(s.as_of)).collect::<Vec<_>>())
        .execute(tx)
        .await?;
        Ok(())
    }
}

/// Records events in the order in which they were told; answers those that are new and still true.
async fn record(tx: &mut PgConnection, told: &[&CourierTold]) -> sqlx::Result<Vec<EventType>> {
    if told.is_empty() {
        return Ok(Vec::new());
    }
    let deliveries = lock_deliveries(tx, told).await?;
    let still_true = |told: &CourierTold| match (&told.1.delivery, told.1.kind.holds_while()) {
        (Some(id), Some(statuses)) => {
            deliveries
                .get(id.as_str())
                .is_some_and(|(status, courier)| {
                    statuses.contains(status) && courier.as_deref() == Some(told.0.as_str())
                })
        }
        _ => true,
    };
    let mut recorded = Vec::new();
    let mut plain: Vec<&CourierTold> = Vec::new();
    for told in told.iter().copied().filter(|t| still_true(t)) {
        if told.1.kind == EventType::DeliveryArrived {
            recorded.extend(insert(tx, &std::mem::take(&mut plain)).await?);
            recorded.extend(arrive(tx, &told.1).await?);
        } else {
            plain.push(told);
        }
    }
    recorded.extend(insert(tx, &plain).await?);
    Ok(recorded)
}

type DeliveryRow = (DeliveryStatus, Option<String>);

/// Status and courier of the deliveries that were told of; their rows are held from here on.
async fn lock_deliveries(
    tx: &mut PgConnection,
    told: &[&CourierTold],
) -> sqlx::Result<FxHashMap<String, DeliveryRow>> {
    let ids: Vec<&str> = told
        .iter()
        .filter_map(|t| Some(t.1.delivery.as_ref()?.as_str()))
        .collect();
    if ids.is_empty() {
        return Ok(FxHashMap::default());
    }
    let rows = sqlx::query_as::<_, (String, String, Option<String>)>(
        "select id, status, courier_id from dispatch.delivery where id = any($1)
          order by id for update",
    )
    .bind(ids)
    .fetch_all(tx)
    .await?;
    let known = rows
        .into_iter()
        .filter_map(|(id, status, courier)| Some((id, (DeliveryStatus::parse(&status)?, courier))));
    Ok(known.collect())
}

async fn insert(tx: &mut PgConnection, told: &[&CourierTold]) -> sqlx::Result<Vec<EventType>> {
    if told.is_empty() {
        return Ok(Vec::new());
    }
    let column = |f: fn(&Told) -> Option<&str>| -> Vec<Option<&str>> {
        told.iter().map(|t| f(&t.1)).collect()
    };
    let inserted = sqlx::query_scalar::<_, String>(
        "insert into public.event
             (type, at, courier_id, delivery_id, geofence_id, lat, lon, evidence, dedupe_key)
         select type, at, courier, delivery, geofence, lat, lon, evidence::jsonb, key
           from unnest($1::text[], $2::timestamptz[], $3::text[], $4::text[], $5::text[],
                       $6::float8[], $7::float8[], $8::text[], $9::text[])
                with ordinality e (type, at, courier, delivery, geofence, lat, lon, evidence, key, n)
          order by n
         on conflict (dedupe_key) do nothing returning type",
    )
    .bind(told.iter().map(|t| t.1.kind.as_str()).collect::<Vec<_>>())
    .bind(told.iter().map(|t| t.1.at.to_datetime()).collect::<Vec<OffsetDateTime>>())
    .bind(told.iter().map(|t| t.0.as_str()).collect::<Vec<_>>())
    .bind(column(|t| t.delivery.as_ref().map(AsRef::as_ref)))
    .bind(column(|t| t.geofence.as_ref().map(AsRef::as_ref)))
    .bind(told.iter().map(|t| t.1.position.map(|p| p.lat())).collect::<Vec<_>>())
    .bind(told.iter().map(|t| t.1.position.map(|p| p.lon())).collect::<Vec<_>>())
    .bind(told.iter().map(|t| evidence(&t.1)).collect::<Vec<_>>())
    .bind(told.iter().map(|(courier, t)| format!("{courier}/{}", t.key)).collect::<Vec<_>>())
    .fetch_all(tx)
    .await?;
    Ok(inserted
        .iter()
        .filter_map(|word| EventType::parse(word))
        .collect())
}

/// Takes the step to `arrived`, whose event dispatch's own function records; no event where a
/// person was faster.
async fn arrive(tx: &mut PgConnection, told: &Told) -> sqlx::Result<Option<EventType>> {
    let from: Vec<&str> = DeliveryStatus::Arrived
        .predecessors()
        .into_iter()
        .map(DeliveryStatus::as_str)
        .collect();
    let stepped = sqlx::query_scalar::<_, bool>(
        "select dispatch.delivery_step($1, $2, $3, $4, null, $5, $6, $7::jsonb)",
    )
    .bind(told.delivery.as_ref().map(AsRef::<str>::as_ref))
    .bind(from)
    .bind(DeliveryStatus::Arrived.as_str())
    .bind(told.at.to_datetime())
    .bind(told.position.map(|p| p.lat()))
    .bind(told.position.map(|p| p.lon()))
    .bind(evidence(told))
    .fetch_one(tx)
    .await?;
    Ok(stepped.then_some(told.kind))
}

fn evidence(told: &Told) -> String {
    serde_json::to_string(&told.evidence).unwrap_or_else(|_| "{}".into())
}

fn part(partition: Partition) -> i32 {
    i32::try_from(partition.0).unwrap_or(i32::MAX)
}

fn number(offset: Offset) -> i64 {
    i64::try_from(offset.0).unwrap_or(i64::MAX)
}

fn offset(number: i64) -> Offset {
    Offset(u64::try_from(number).unwrap_or_default())
}
