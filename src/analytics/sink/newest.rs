//! Which fixes Postgres has already.
//!
//! Exact and without a window. A fix is compared with what is stored of its courier and UTC day
//! only, since a segment never crosses midnight. Newer than the newest stored one: new, which one
//! comparison in memory tells. Not newer: the segments that overlap its time are asked.
//!
//! Invariant: an entry is the newest stored fix of its courier and day, as of the last transaction
//! of the member that owns the courier's partition. Whoever loses a partition forgets everything.

use std::borrow::Cow;

use rustc_hash::{FxHashMap, FxHashSet};
use sqlx::PgConnection;

use super::flush::Flush;
use crate::analytics::columns::Day;
use crate::analytics::days::table_of;
use crate::domain::{CourierId, Fix, UnixMs};
use crate::stream::Partition;

/// Couriers remembered at once, about 100 bytes each; beyond that all are forgotten and asked anew.
const MAX_COURIERS: usize = 500_000;
/// Before anything: what "nothing stored" compares as.
const NOTHING: UnixMs = UnixMs(i64::MIN);

/// Fixes of one courier and one day that may become a segment: by time, no two of the same time.
#[derive(Debug, Clone)]
pub(super) struct Part<'a> {
    pub(super) courier: &'a CourierId,
    pub(super) partition: Partition,
    pub(super) received: (UnixMs, UnixMs),
    pub(super) day: Day,
    pub(super) fixes: Cow<'a, [Fix]>,
}

/// Cuts a settled flush at the midnights.
pub(super) fn parts(flush: &Flush) -> Vec<Part<'_>> {
    let mut parts = Vec::with_capacity(flush.couriers.len());
    for (courier, of_courier) in &flush.couriers {
        let mut rest = of_courier.fixes.as_slice();
        while let Some(first) = rest.first() {
            let day = Day::of(first.fix_time);
            let cut = rest.partition_point(|fix| fix.fix_time < day.plus(1).start());
            let (fixes, after) = rest.split_at(cut);
            rest = after;
            parts.push(Part {
                courier,
                partition: of_courier.partition,
                received: of_courier.received,
                day,
                fixes: Cow::Borrowed(fixes),
            });
        }
    }
    parts
}

/// The newest stored fix of the couriers seen lately, for up to two days each.
#[derive(Debug, Default)]
pub(super) struct Newest(FxHashMap<CourierId, [Option<(Day, UnixMs)>; 2]>);

impl Newest {
    fn of(&self, courier: &CourierId, day: Day) -> Option<UnixMs> {
        let entries = self.0.get(courier)?.iter().flatten();
        entries.into_iter().find(|e| e.0 == day).map(|e| e.1)
    }

    fn learn(&mut self, courier: &CourierId, day: Day, newest: UnixMs) {
        if self.0.len() >= MAX_COURIERS && !self.0.contains_key(courier) {
            self.0.clear();
        }
        let entries = self.0.entry(courier.clone()).or_default();
        let same = entries.iter().position(|e| e.is_some_and(|e| e.0 == day));
        // Otherwise the older of the two days gives way; an empty place counts as oldest.
        let slot = same.unwrap_or(usize::from(
            entries[1].map(|e| e.0) < entries[0].map(|e| e.0),
        ));
        entries[slot] = Some((day, newest));
    }

    /// Believes nothing any more.
    pub(super) fn forget(&mut self) {
        self.0.clear();
    }

    /// What became of `parts` is in Postgres now.
    pub(super) fn stored(&mut self, parts: &[Part<'_>]) {
        for part in parts {
            if let Some(last) = part.fixes.last() {
                let known = self.of(part.courier, part.day).unwrap_or(NOTHING);
                self.learn(part.courier, part.day, last.fix_time.max(known));
            }
        }
    }

    /// Removes from `parts` whatever is stored already and tells how many that were, by partition.
    pub(super) async fn retain_new(
        &mut self,
        transaction: &mut PgConnection,
        parts: &mut [Part<'_>],
    ) -> sqlx::Result<FxHashMap<Partition, u64>> {
        self.look_up(transaction, parts).await?;
        let mut late: FxHashMap<Day, Vec<usize>> = FxHashMap::default();
        for (i, part) in parts.iter().enumerate() {
            let newest = self.of(part.courier, part.day).unwrap_or(NOTHING);
            if part.fixes[0].fix_time <= newest {
                late.entry(part.day).or_default().push(i);
            }
        }
        let mut duplicates = FxHashMap::default();
        for (day, indices) in late {
            let stored = stored_times(transaction, day, &indices, parts).await?;
            for i in indices {
                let part = &mut parts[i];
                let before = part.fixes.len();
                let known = |fix: &Fix| stored.contains(&(i, fix.fix_time));
                if part.fixes.iter().any(known) {
                    part.fixes.to_mut().retain(|fix| !known(fix));
                    let found = (before - part.fixes.len()) as u64;
                    *duplicates.entry(part.partition).or_default() += found;
                }
            }
        }
        Ok(duplicates)
    }

    /// Asks Postgres for the couriers and days of `parts` that are not in memory.
    async fn look_up(
        &mut self,
        transaction: &mut PgConnection,
        parts: &[Part<'_>],
    ) -> sqlx::Result<()> {
        let mut unknown: FxHashMap<Day, Vec<&CourierId>> = FxHashMap::default();
        for part in parts {
            if self.of(part.courier, part.day).is_none() {
                unknown.entry(part.day).or_default().push(part.courier);
            }
        }
        for (day, couriers) in unknown {
            let ids: Vec<&str> = couriers.iter().map(|id| id.as_str()).collect();
            let newest: Vec<Option<time::OffsetDateTime>> =
                sqlx::query_scalar(sqlx::AssertSqlSafe(format!(
                    "select (select s.segment_to from {} s where s.courier_id = q.id \
                              order by s.segment_to desc limit 1) \
                       from unnest($1::text[]) with ordinality q(id, at) order by q.at",
                    table_of(day)
                )))
                .bind(ids)
                .persistent(false)
                .fetch_all(&mut *transaction)
                .await?;
            for (courier, newest) in couriers.into_iter().zip(newest) {
                self.learn(courier, day, newest.map_or(NOTHING, UnixMs::from_datetime));
            }
        }
        Ok(())
    }
}

/// The times of all stored fixes in segments that overlap the parts `indices`, all of one day.
async fn stored_times(
    transaction: &mut PgConnection,
    day: Day,
    indices: &[usize],
    parts: &[Part<'_>],
) -> sqlx::Result<FxHashSet<(usize, UnixMs)>> {
    let ends = |i: &usize| parts[*i].fixes.first().zip(parts[*i].fixes.last());
    let first = indices.iter().filter_map(ends).map(|e| e.0.fix_time);
    let last = indices.iter().filter_map(ends).map(|e| e.1.fix_time);
    let ids: Vec<&str> = indices.iter().map(|i| parts[*i].courier.as_str()).collect();
    let rows: Vec<(i64, Vec<i32>)> = sqlx::query_as(sqlx::AssertSqlSafe(format!(
        "select q.at, s.fix_time_ms \
           from unnest($1::text[], $2::timestamptz[], $3::timestamptz[]) \
                with ordinality q(id, first, last, at) \
           join {} s on s.courier_id = q.id and s.segment_to >= q.first \
                    and s.segment_from <= q.last",
        table_of(day)
    )))
    .bind(ids)
    .bind(first.map(UnixMs::to_datetime).collect::<Vec<_>>())
    .bind(last.map(UnixMs::to_datetime).collect::<Vec<_>>())
    .persistent(false)
    .fetch_all(transaction)
    .await?;
    let midnight = day.start();
    let mut times = FxHashSet::default();
    for (at, of_segment) in rows {
        let Some(i) = usize::try_from(at - 1).ok().and_then(|at| indices.get(at)) else {
            continue;
        };
        let at = |ms: i32| (*i, midnight.plus_ms(i64::from(ms)));
        times.extend(of_segment.into_iter().map(at));
    }
    Ok(times)
}
