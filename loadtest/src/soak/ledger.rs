//! The ledger: what phones sent, what they were told, and what is in Postgres.
//!
//! Every phone makes the fixes of a courier one second apart from a first one on, so that a count, a
//! number of distinct times, the first and the last of them tell whether exactly those are stored.

use std::collections::HashMap;

use sqlx::{Connection, PgConnection};
use time::OffsetDateTime;

use crate::template::STEP_MS;

/// What a phone has counted.
#[derive(Debug, Default, Clone, Copy)]
pub struct Account {
    /// Fixes in requests that were answered.
    pub sent: u64,
    /// Told: stored.
    pub accepted: u64,
    /// Told: were there already.
    pub duplicate: u64,
    /// Told: in quarantine.
    pub quarantined: u64,
    /// Told: not taken (busy, or a body that cannot be read).
    pub refused: u64,
    /// Fixes in requests whose answer never came; each was sent again until it was answered.
    pub unanswered: u64,
    /// Good fixes that were sent again on purpose after they had been acknowledged.
    pub repeated: u64,
    /// Good fixes, each counted once.
    pub made: u64,
}

/// What one courier's rows must be.
#[derive(Debug, Clone)]
pub struct Expected {
    pub courier: String,
    pub first_ms: u64,
    pub made: u64,
}

/// What Postgres holds, compared.
#[derive(Debug, Default)]
pub struct Reconciled {
    pub rows: u64,
    pub doubled: u64,
    /// Couriers whose rows are not exactly what was made.
    pub wrong: Vec<String>,
    /// Duplicates that the sink found, older than ingest remembers.
    pub found_by_sink: u64,
}

impl Account {
    /// Adds another phone's.
    pub fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.accepted += other.accepted;
        self.duplicate += other.duplicate;
        self.quarantined += other.quarantined;
        self.refused += other.refused;
        self.unanswered += other.unanswered;
        self.repeated += other.repeated;
        self.made += other.made;
    }

    /// Fixes that were stored by a request whose answer was lost: told to be duplicates when they
    /// were sent again.
    fn answer_lost(&self) -> u64 {
        self.duplicate.saturating_sub(self.repeated)
    }

    /// Whether every fix was answered for.
    pub fn balances(&self) -> bool {
        self.sent == self.accepted + self.duplicate + self.quarantined + self.refused
    }

    /// The ledger as lines, and whether all of it is right.
    pub fn settle(&self, stored: &Reconciled) -> (Vec<(&'static str, u64)>, bool) {
        let lines = vec![
            ("sent and answered", self.sent),
            ("  accepted", self.accepted),
            ("  duplicate", self.duplicate),
            ("  quarantined", self.quarantined),
            ("  refused", self.refused),
            ("sent, answer lost (sent again)", self.unanswered),
            ("duplicates sent on purpose", self.repeated),
            ("stored although the answer was lost", self.answer_lost()),
            ("different good fixes", self.made),
            ("in Postgres", stored.rows),
            ("duplicates found by the sink", stored.found_by_sink),
            ("lost or wrong couriers", stored.wrong.len() as u64),
            ("doubled", stored.doubled),
        ];
        let stored_once = self.accepted + self.answer_lost() == stored.rows + stored.found_by_sink;
        let right = self.balances()
            && stored_once
            && stored.rows == self.made
            && stored.doubled == 0
            && stored.wrong.is_empty();
        (lines, right)
    }
}

/// Reads what Postgres holds and compares it with what was made.
pub async fn reconcile(url: &str, expected: &[Expected]) -> anyhow::Result<Reconciled> {
    type Row = (String, i64, i64, OffsetDateTime, OffsetDateTime);
    let mut connection = PgConnection::connect(url).await?;
    let rows: Vec<Row> = sqlx::query_as(
        "select courier_id, count(*), count(distinct fix_time), min(fix_time), max(fix_time) \
           from fix group by courier_id",
    )
    .fetch_all(&mut connection)
    .await?;
    let found: i64 = sqlx::query_scalar(
        "select coalesce(sum(duplicates), 0)::bigint from stream_offset where grp = 'analytics'",
    )
    .fetch_one(&mut connection)
    .await?;
    let mut reconciled = Reconciled {
        found_by_sink: found.cast_unsigned(),
        ..Reconciled::default()
    };
    let mut by_courier: HashMap<String, Row> = rows.into_iter().map(|r| (r.0.clone(), r)).collect();
    for courier in expected {
        let Some((_, count, distinct, first, last)) = by_courier.remove(&courier.courier) else {
            if courier.made > 0 {
                reconciled
                    .wrong
                    .push(format!("{}: no row", courier.courier));
            }
            continue;
        };
        let (count, distinct) = (count.cast_unsigned(), distinct.cast_unsigned());
        reconciled.rows += distinct;
        reconciled.doubled += count - distinct;
        let last_ms = courier.first_ms + courier.made.saturating_sub(1) * STEP_MS;
        if (distinct, ms(first), ms(last)) != (courier.made, courier.first_ms, last_ms) {
            reconciled.wrong.push(format!(
                "{}: {distinct} of {} fixes",
                courier.courier, courier.made
            ));
        }
    }
    for stranger in by_courier.into_keys() {
        reconciled.wrong.push(format!("{stranger}: nobody sent it"));
    }
    Ok(reconciled)
}

fn ms(at: OffsetDateTime) -> u64 {
    (at.unix_timestamp_nanos() / 1_000_000) as u64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_ledger_is_right_only_if_everything_is_accounted_for() {
        let account = Account {
            sent: 20,
            accepted: 10,
            duplicate: 7,
            quarantined: 2,
            refused: 1,
            unanswered: 5,
            repeated: 4,
            made: 12,
        };
        let stored = |rows, found_by_sink, doubled| Reconciled {
            rows,
            doubled,
            wrong: Vec::new(),
            found_by_sink,
        };
        assert!(account.settle(&stored(12, 1, 0)).1);
        assert!(!account.settle(&stored(11, 1, 0)).1, "one is lost");
        assert!(!account.settle(&stored(12, 1, 1)).1, "one is doubled");
        let unbalanced = Account {
            sent: 21,
            ..account
        };
        assert!(!unbalanced.settle(&stored(12, 1, 0)).1);
    }
}
