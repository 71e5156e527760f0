//! Trips, stops and heat: computed from the stored fixes, soon after they change.
//!
//! The sink leaves a mark for every courier and day that it adds to. The job takes marks, reads
//! what is new and writes what follows from it, all in one transaction of one snapshot: whatever
//! was committed by then is looked at, whatever comes later leaves another mark.
//!
//! Invariants:
//! - one job at a time in the whole database (an advisory lock);
//! - trips, stops and heat are a function of the stored fixes, the rules and the deliveries: the
//!   order in which fixes came, crashes and repetitions leave no trace;
//! - late fixes change the runs they fall into, and no other.
//!
//! The job is careful with the machine: it rests as long as it worked.

mod courier;
mod deliveries;
pub(super) mod heat;
mod marks;
mod store;

use std::time::Duration;

use metrics::gauge;
use sqlx::{Connection, PgConnection, PgPool};
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

pub(super) use self::deliveries::way;
use self::heat::HeatBatch;
use self::store::Found;
use super::columns::Day;
use super::days::stored_days_in;
use crate::advisory_lock::AdvisoryLock;
use crate::config::AnalyticsConfig;
use crate::domain::TripRules;
use crate::telemetry::metrics::ANALYTICS_MARKS;

/// Pause after a failure.
const PAUSE: Duration = Duration::from_secs(5);

/// Keeps trips, stops and heat up to date.
pub(super) struct Derive {
    pool: PgPool,
    rules: TripRules,
    after: Duration,
}

/// How a round ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Round {
    /// Marks were worked off, and there are more.
    More,
    /// Nothing is left to be done.
    Done,
    /// Another process does the job.
    Elsewhere,
}

impl Derive {
    pub(super) fn new(config: &AnalyticsConfig, pool: PgPool) -> Self {
        Self {
            pool,
            rules: rules(config),
            after: Duration::from_millis(config.derive_after_ms),
        }
    }

    /// Runs until `stop`; a round under way is finished or rolled back.
    pub(super) async fn run(self, stop: CancellationToken) -> anyhow::Result<()> {
        loop {
            let started = Instant::now();
            let rest = match self.round().await {
                Ok(Round::More) => started.elapsed(),
                Ok(Round::Done | Round::Elsewhere) => self.after,
                Err(error) => {
                    tracing::warn!(%error, "trips cannot be computed now; will try again");
                    PAUSE
                }
            };
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(rest) => {}
            }
        }
    }

    /// Works off some marks, and the deliveries that have changed.
    pub(super) async fn round(&self) -> sqlx::Result<Round> {
        let mut connection = self.pool.acquire().await?;
        let mut transaction = connection.begin_with(BEGIN).await?;
        let ours: bool = sqlx::query_scalar("select pg_try_advisory_xact_lock($1)")
            .bind(AdvisoryLock::Derive.key())
            .fetch_one(&mut *transaction)
            .await?;
        if !ours {
            return Ok(Round::Elsewhere);
        }
        let (marked, more) = marks::take(&mut transaction).await?;
        let days = stored_days_in(&mut transaction).await?;
        let (found, heat) = self.look_at(&mut transaction, &marked, &days).await?;
        store::write(&mut transaction, &found).await?;
        heat.write(&mut transaction).await?;
        deliveries::update(&mut transaction, &self.rules, &marked, &days).await?;
        marks::note_unmerged(&mut transaction, &marked).await?;
        let left = marks::left(&mut transaction).await?;
        transaction.commit().await?;
        gauge!(ANALYTICS_MARKS).set(left as f64);
        Ok(if more { Round::More } else { Round::Done })
    }

    async fn look_at(
        &self,
        transaction: &mut PgConnection,
        marked: &[marks::Marked],
        days: &[Day],
    ) -> sqlx::Result<(Vec<Found>, HeatBatch)> {
        let states = store::states(transaction, marked).await?;
        let mut found = Vec::with_capacity(marked.len());
        let mut heat = HeatBatch::default();
        for (of_courier, state) in marked.iter().zip(states) {
            let mut look = courier::Look::new(&self.rules, of_courier, state, days);
            found.push(look.run(transaction, &mut heat).await?);
        }
        Ok((found, heat))
    }
}

/// One snapshot: the fixes that are read are those whose marks were taken.
const BEGIN: &str = "begin isolation level repeatable read";

/// The rules that the settings ask for.
pub(super) fn rules(config: &AnalyticsConfig) -> TripRules {
    TripRules {
        stop_radius_m: config.stop_radius_m.into(),
        stop_ms: i64::from(config.stop_after_s) * 1000,
        gap_ms: i64::from(config.trip_gap_s) * 1000,
        ..TripRules::default()
    }
}
