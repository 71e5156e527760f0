//! Where fixes were, by hour and H3 cell.
//!
//! Couriers are not additive: how many were in a cell cannot be told from earlier counts. So every
//! courier's share of every hour is kept (`analytics.heat_share`), and `heat_hour` moves by the
//! difference between a share's old and new state.

use std::collections::BTreeMap;

use h3o::{LatLng, Resolution};
use rustc_hash::FxHashMap;
use sqlx::PgConnection;
use time::OffsetDateTime;

use crate::analytics::columns::speed_cmps;
use crate::domain::{CourierId, Fix, UnixMs};

/// Cells of about 0.1 km², 350 m across.
pub(in crate::analytics) const RESOLUTION: Resolution = Resolution::Nine;
const HOUR_MS: i64 = 3_600_000;

/// Hours since 1970.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(super) struct Hour(i64);

impl Hour {
    fn of(at: UnixMs) -> Self {
        Self(at.0.div_euclid(HOUR_MS))
    }

    pub(super) fn between(first: UnixMs, last: UnixMs) -> impl Iterator<Item = Self> {
        (Self::of(first).0..=Self::of(last).0).map(Self)
    }

    pub(super) fn start(self) -> UnixMs {
        UnixMs(self.0 * HOUR_MS)
    }

    pub(super) fn end(self) -> UnixMs {
        self.start().plus_ms(HOUR_MS)
    }
}

/// What was counted in one cell.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(in crate::analytics) struct Tally {
    pub(in crate::analytics) fixes: i64,
    pub(in crate::analytics) speed_fixes: i64,
    pub(in crate::analytics) speed_sum_cmps: i64,
}

impl Tally {
    /// Both together, or `self` without `other` where `sign` is -1.
    pub(in crate::analytics) fn plus(self, other: Self, sign: i64) -> Self {
        Self {
            fixes: self.fixes + sign * other.fixes,
            speed_fixes: self.speed_fixes + sign * other.speed_fixes,
            speed_sum_cmps: self.speed_sum_cmps + sign * other.speed_sum_cmps,
        }
    }
}

/// One courier's share of one hour, by cell.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Share(FxHashMap<u64, Tally>);

impl Share {
    pub(super) fn add(&mut self, fix: &Fix) {
        let Ok(at) = LatLng::new(fix.position.lat(), fix.position.lon()) else {
            return; // every position is finite
        };
        let tally = self.0.entry(at.to_cell(RESOLUTION).into()).or_default();
        tally.fixes += 1;
        if let Some(speed) = speed_cmps(fix) {
            tally.speed_fixes += 1;
            tally.speed_sum_cmps += i64::from(speed);
        }
    }

    fn merge(&mut self, other: &Self) {
        for (cell, tally) in &other.0 {
            let mine = self.0.entry(*cell).or_default();
            *mine = mine.plus(*tally, 1);
        }
    }
}

/// Changes to the shares of some couriers, to be written together.
#[derive(Debug, Default)]
pub(super) struct HeatBatch {
    changes: BTreeMap<(Hour, CourierId), Change>,
}

#[derive(Debug, Default)]
struct Change {
    /// Takes the place of the stored share.
    replaced: Option<Share>,
    /// Comes on top.
    added: Share,
}

impl HeatBatch {
    /// A new fix.
    pub(super) fn add(&mut self, courier: &CourierId, fix: &Fix) {
        let key = (Hour::of(fix.fix_time), courier.clone());
        self.changes.entry(key).or_default().added.add(fix);
    }

    /// An hour that was counted again.
    pub(super) fn replace(&mut self, courier: &CourierId, hour: Hour, share: Share) {
        let key = (hour, courier.clone());
        self.changes.entry(key).or_default().replaced = Some(share);
    }

    /// Moves the shares and `heat_hour` with them.
    pub(super) async fn write(self, transaction: &mut PgConnection) -> sqlx::Result<()> {
        if self.changes.is_empty() {
            return Ok(());
        }
        let mut stored = self.stored(transaction).await?;
        let mut shares = ShareRows::default();
        let mut moved: BTreeMap<(Hour, u64), (Tally, i64)> = BTreeMap::new();
        for (key, change) in self.changes {
            let old = stored.remove(&key).unwrap_or_default();
            let mut new = change.replaced.unwrap_or_else(|| old.clone());
            new.merge(&change.added);
            if new == old {
                continue;
            }
            for (share, sign) in [(&old, -1), (&new, 1)] {
                for (cell, tally) in &share.0 {
                    let (sum, couriers) = moved.entry((key.0, *cell)).or_default();
                    *sum = sum.plus(*tally, sign);
                    *couriers += sign;
                }
            }
            shares.push(&key, &new);
        }
        moved.retain(|_, change| *change != (Tally::default(), 0));
        shares.write(transaction).await?;
        write_moved(transaction, &moved).await
    }

    async fn stored(
        &self,
        transaction: &mut PgConnection,
    ) -> sqlx::Result<FxHashMap<(Hour, CourierId), Share>> {
        let keys: Vec<_> = self.changes.keys().collect();
        let hours: Vec<_> = keys.iter().map(|key| key.0.start().to_datetime()).collect();
        let couriers: Vec<&str> = keys.iter().map(|key| key.1.as_str()).collect();
        let rows: Vec<NumberedShare> = sqlx::query_as(
            "select q.at, s.cells, s.fixes, s.speed_fixes, s.speed_sum_cmps \
               from unnest($1::timestamptz[], $2::text[]) with ordinality q(hour, courier_id, at) \
               join analytics.heat_share s on s.hour = q.hour and s.courier_id = q.courier_id",
        )
        .bind(hours)
        .bind(couriers)
        .fetch_all(transaction)
        .await?;
        let mut stored = FxHashMap::default();
        for row in rows {
            let key = usize::try_from(row.at - 1).ok().and_then(|at| keys.get(at));
            if let Some(key) = key {
                stored.insert((*key).clone(), Share(row.share.tallies().collect()));
            }
        }
        Ok(stored)
    }
}

#[derive(sqlx::FromRow)]
struct NumberedShare {
    at: i64,
    #[sqlx(flatten)]
    share: ShareRow,
}

/// A share as it is stored.
#[derive(Debug, sqlx::FromRow)]
pub(in crate::analytics) struct ShareRow {
    pub(in crate::analytics) cells: Vec<i64>,
    pub(in crate::analytics) fixes: Vec<i64>,
    pub(in crate::analytics) speed_fixes: Vec<i64>,
    pub(in crate::analytics) speed_sum_cmps: Vec<i64>,
}

impl ShareRow {
    /// Cells and what was counted in them.
    pub(in crate::analytics) fn tallies(&self) -> impl Iterator<Item = (u64, Tally)> + '_ {
        let tally = |i: usize| {
            Some(Tally {
                fixes: *self.fixes.get(i)?,
                speed_fixes: *self.speed_fixes.get(i)?,
                speed_sum_cmps: *self.speed_sum_cmps.get(i)?,
            })
        };
        let cells = self.cells.iter().enumerate();
        cells.filter_map(move |(i, cell)| Some((cell.cast_unsigned(), tally(i)?)))
    }
}

/// Shares as columns. Arrays cannot hold arrays of different lengths, so each is written as text.
#[derive(Default)]
struct ShareRows {
    hours: Vec<OffsetDateTime>,
    couriers: Vec<String>,
    columns: [Vec<String>; 4],
}

impl ShareRows {
    fn push(&mut self, key: &(Hour, CourierId), share: &Share) {
        let mut cells: Vec<_> = share.0.iter().collect();
        cells.sort_unstable_by_key(|(cell, _)| **cell);
        self.hours.push(key.0.start().to_datetime());
        self.couriers.push(key.1.as_str().to_owned());
        self.columns[0].push(array(cells.iter().map(|(cell, _)| cell.cast_signed())));
        self.columns[1].push(array(cells.iter().map(|(_, tally)| tally.fixes)));
        self.columns[2].push(array(cells.iter().map(|(_, tally)| tally.speed_fixes)));
        self.columns[3].push(array(cells.iter().map(|(_, tally)| tally.speed_sum_cmps)));
    }

    async fn write(self, transaction: &mut PgConnection) -> sqlx::Result<()> {
        let [cells, fixes, speed_fixes, speed_sums] = self.columns;
        sqlx::query(
            "insert into analytics.heat_share \
                    (hour, courier_id, cells, fixes, speed_fixes, speed_sum_cmps) \
             select hour, courier_id, cells::bigint[], fixes::bigint[], speed_fixes::bigint[], \
                    speed_sum_cmps::bigint[] \
               from unnest($1::timestamptz[], $2::text[], $3::text[], $4::text[], $5::text[], \
                    $6::text[]) as n(hour, courier_id, cells, fixes, speed_fixes, speed_sum_cmps) \
             on conflict (hour, courier_id) do update set cells = excluded.cells, \
                fixes = excluded.fixes, speed_fixes = excluded.speed_fixes, \
                speed_sum_cmps = excluded.speed_sum_cmps",
        )
        .bind(self.hours)
        .bind(self.couriers)
        .bind(cells)
        .bind(fixes)
        .bind(speed_fixes)
        .bind(speed_sums)
        .execute(transaction)
        .await?;
        Ok(())
    }
}

/// As Postgres writes an array of numbers.
fn array(numbers: impl Iterator<Item = i64>) -> String {
    let numbers: Vec<String> = numbers.map(|n| n.to_string()).collect();
    format!("{{{}}}", numbers.join(","))
}

async fn write_moved(
    transaction: &mut PgConnection,
    moved: &BTreeMap<(Hour, u64), (Tally, i64)>,
) -> sqlx::Result<()> {
    let column = |of: fn(&(Tally, i64)) -> i64| moved.values().map(of).collect::<Vec<i64>>();
    let hours: Vec<_> = moved
        .keys()
        .map(|key| key.0.start().to_datetime())
        .collect();
    let cells: Vec<i64> = moved.keys().map(|key| key.1.cast_signed()).collect();
    sqlx::query(
        "insert into public.heat_hour as h \
                (hour, cell, fixes, couriers, speed_fixes, speed_sum_cmps) \
         select * from unnest($1::timestamptz[], $2::bigint[], $3::bigint[], $4::bigint[], \
                $5::bigint[], $6::bigint[]) \
         on conflict (hour, cell) do update set fixes = h.fixes + excluded.fixes, \
            couriers = h.couriers + excluded.couriers, \
            speed_fixes = h.speed_fixes + excluded.speed_fixes, \
            speed_sum_cmps = h.speed_sum_cmps + excluded.speed_sum_cmps",
    )
    .bind(&hours)
    .bind(&cells)
    .bind(column(|(tally, _)| tally.fixes))
    .bind(column(|(_, couriers)| *couriers))
    .bind(column(|(tally, _)| tally.speed_fixes))
    .bind(column(|(tally, _)| tally.speed_sum_cmps))
    .execute(&mut *transaction)
    .await?;
    if moved.values().all(|(tally, _)| tally.fixes >= 0) {
        return Ok(());
    }
    sqlx::query(
        "delete from public.heat_hour h using unnest($1::timestamptz[], $2::bigint[]) n(hour, cell) \
         where h.hour = n.hour and h.cell = n.cell and h.fixes = 0",
    )
    .bind(hours)
    .bind(cells)
    .execute(transaction)
    .await?;
    Ok(())
}
