//! One courier's new fixes: what they add, and what late ones change.
//!
//! `as_of` parts the courier's fixes: up to it everything has been looked at before. Marks that
//! reach below it are late. Late fixes are looked at first, from the run they fall into until the
//! runs found anew begin again where known ones do; then what is newer than `as_of` goes on from the
//! stored tracker.

use std::collections::BTreeSet;

use futures_util::TryStreamExt;
use sqlx::PgConnection;

use super::heat::{HeatBatch, Hour, Share};
use super::marks::{Mark, Marked};
use super::store::{Found, State, known_runs};
use crate::analytics::columns::Day;
use crate::analytics::range::TimeRange;
use crate::analytics::tracks::{FOREVER, InOrder, segments};
use crate::domain::{CourierId, Fix, Run, Tracker, TripRules, UnixMs};

/// Before everything.
const BEGINNING: UnixMs = UnixMs(i64::MIN);

/// The work on one courier.
pub(super) struct Look<'a> {
    rules: &'a TripRules,
    courier: &'a CourierId,
    marks: &'a [Mark],
    days: &'a [Day],
    state: State,
    replaced: Vec<Replaced>,
}

/// Runs that take the place of whatever was known to begin in `range`.
#[derive(Debug)]
pub(super) struct Replaced {
    pub(super) range: TimeRange,
    pub(super) runs: Vec<Run>,
}

/// Fixes found between two instants, run by run.
struct Reading<'a> {
    rules: &'a TripRules,
    tracker: Tracker,
    runs: Vec<Run>,
}

impl Reading<'_> {
    fn push(&mut self, fix: &Fix) {
        self.runs.extend(self.tracker.push(self.rules, fix));
    }

    fn with_open_run(mut self) -> (Vec<Run>, Tracker) {
        self.runs.extend(self.tracker.open(self.rules));
        (self.runs, self.tracker)
    }
}

impl<'a> Look<'a> {
    pub(super) fn new(
        rules: &'a TripRules,
        marked: &'a Marked,
        state: State,
        days: &'a [Day],
    ) -> Self {
        Self {
            rules,
            courier: &marked.courier,
            marks: &marked.marks,
            days,
            state,
            replaced: Vec::new(),
        }
    }

    /// Looks at everything that is marked.
    pub(super) async fn run(
        &mut self,
        transaction: &mut PgConnection,
        heat: &mut HeatBatch,
    ) -> sqlx::Result<Found> {
        let as_of = self.state.as_of;
        let late: Vec<Mark> = self
            .marks
            .iter()
            .copied()
            .filter(|m| m.first <= as_of)
            .collect();
        let until = |mark: Mark| Mark {
            last: mark.last.min(as_of),
            ..mark
        };
        let late: Vec<Mark> = late.into_iter().map(until).collect();
        if !late.is_empty() {
            self.look_back(transaction, &late).await?;
            self.heat_again(transaction, &late, heat).await?;
        }
        self.look_on(transaction, heat).await?;
        Ok(Found {
            courier: self.courier.clone(),
            state: self.state.clone(),
            replaced: std::mem::take(&mut self.replaced),
        })
    }

    /// Late fixes: every run from the one they fall into, until runs begin where they did before.
    async fn look_back(
        &mut self,
        transaction: &mut PgConnection,
        late: &[Mark],
    ) -> sqlx::Result<()> {
        let as_of = self.state.as_of;
        let mut done_before = BEGINNING;
        for mark in late {
            if mark.last < done_before {
                continue;
            }
            let known = known_runs(transaction, self.courier, mark.first).await?;
            let open = self.state.tracker.run_from();
            let known: BTreeSet<UnixMs> = known.into_iter().chain(open).collect();
            let from = known.range(..=mark.first).next_back();
            let from = from.copied().unwrap_or(BEGINNING);
            let clear = |at: UnixMs| {
                known.contains(&at)
                    && at > mark.last
                    && late.iter().all(|m| at < m.first || m.last < at)
            };
            let range = TimeRange {
                from,
                to: as_of.plus_ms(1),
            };
            let mut reading = self.reading(Tracker::default());
            let met = self
                .read_until(transaction, range, &mut reading, clear)
                .await?;
            match met {
                Some(at) => {
                    done_before = at;
                    self.replaced.push(Replaced {
                        range: TimeRange { from, to: at },
                        runs: reading.runs,
                    });
                }
                None => {
                    done_before = FOREVER;
                    let (runs, tracker) = reading.with_open_run();
                    self.state.tracker = tracker;
                    let range = TimeRange { from, to: FOREVER };
                    self.replaced.push(Replaced { range, runs });
                }
            }
        }
        Ok(())
    }

    /// Newer fixes: on from the stored tracker.
    async fn look_on(
        &mut self,
        transaction: &mut PgConnection,
        heat: &mut HeatBatch,
    ) -> sqlx::Result<()> {
        let as_of = self.state.as_of;
        let from = as_of.plus_ms(1).max(BEGINNING);
        if !self.marks.iter().any(|mark| mark.last > as_of) {
            return Ok(());
        }
        let tracker = std::mem::take(&mut self.state.tracker);
        let open = tracker.run_from();
        let mut reading = self.reading(tracker);
        let range = TimeRange { from, to: FOREVER };
        let mut last = None;
        self.read(transaction, range, |fix| {
            reading.push(fix);
            heat.add(self.courier, fix);
            last = Some(fix.fix_time);
            true
        })
        .await?;
        let (runs, tracker) = reading.with_open_run();
        self.state.tracker = tracker;
        if let Some(last) = last {
            self.state.as_of = last;
        }
        if let Some(first) = open.or(runs.first().map(|run| run.from)) {
            let range = TimeRange {
                from: first,
                to: FOREVER,
            };
            self.replaced.push(Replaced { range, runs });
        }
        Ok(())
    }

    /// The shares of the hours that late fixes fall into, from all fixes up to `as_of`.
    async fn heat_again(
        &self,
        transaction: &mut PgConnection,
        late: &[Mark],
        heat: &mut HeatBatch,
    ) -> sqlx::Result<()> {
        let hours = late.iter().flat_map(|m| Hour::between(m.first, m.last));
        let hours: BTreeSet<Hour> = hours.collect();
        for hour in hours {
            let range = TimeRange {
                from: hour.start(),
                to: hour.end().min(self.state.as_of.plus_ms(1)),
            };
            let mut share = Share::default();
            self.read(transaction, range, |fix| {
                share.add(fix);
                true
            })
            .await?;
            heat.replace(self.courier, hour, share);
        }
        Ok(())
    }

    fn reading(&self, tracker: Tracker) -> Reading<'a> {
        Reading {
            rules: self.rules,
            tracker,
            runs: Vec::new(),
        }
    }

    /// Reads `range` until a run begins at an instant that is `clear`, and answers that.
    async fn read_until(
        &self,
        transaction: &mut PgConnection,
        range: TimeRange,
        reading: &mut Reading<'_>,
        clear: impl Fn(UnixMs) -> bool,
    ) -> sqlx::Result<Option<UnixMs>> {
        let mut met = None;
        self.read(transaction, range, |fix| {
            let before = reading.tracker.run_from();
            reading.push(fix);
            let begun = reading.tracker.run_from().filter(|at| before != Some(*at));
            met = begun.filter(|at| clear(*at));
            met.is_none()
        })
        .await?;
        Ok(met)
    }

    /// Gives every stored fix of `range` to `each`, by time, until that answers false.
    async fn read(
        &self,
        transaction: &mut PgConnection,
        range: TimeRange,
        mut each: impl FnMut(&Fix) -> bool,
    ) -> sqlx::Result<()> {
        for day in self.days.iter().filter(|day| range.touches(**day)) {
            let mut in_order = InOrder::new(range);
            let mut rows = segments(transaction, self.courier, *day, range);
            while let Some(row) = rows.try_next().await? {
                if !in_order.push(&row).iter().all(&mut each) {
                    return Ok(());
                }
            }
            if !in_order.rest().iter().all(&mut each) {
                return Ok(());
            }
        }
        Ok(())
    }
}
