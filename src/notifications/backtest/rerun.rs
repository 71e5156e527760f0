//! Rules over the past: uploads as they came, between them the steps that people took, and the
//! timers, each at its time.
//!
//! Couriers do not touch one another, so that each has its own time: what lies before its next
//! upload happens first, in order.

use std::sync::Arc;

use rustc_hash::FxHashMap;

use super::super::estimates::Estimates;
use super::super::judge::CourierTold;
use super::past::{CourierThen, DeliveryThen, Past};
use crate::directory::Directory;
use crate::domain::rules::{CourierState, FenceIndex, Ground, RuleSet, Stop, Told};
use crate::domain::{
    CourierId, Delivery, DeliveryStatus, EventType, FixBatch, TimelineEntry, UnixMs,
};

const FOREVER: UnixMs = UnixMs(i64::MAX);
/// Most events that are kept.
pub(super) const MAX_TOLD: usize = 100_000;

/// What the rules judge by.
pub(super) struct Ruling {
    pub(super) rules: RuleSet,
    pub(super) fences: FenceIndex,
    pub(super) estimates: Estimates,
    pub(super) directory: Arc<Directory>,
    /// When judging begins; events are kept from `keep_from` on.
    pub(super) begins: UnixMs,
    pub(super) keep_from: UnixMs,
    pub(super) ends: UnixMs,
}

/// The rules at work over the past.
pub(super) struct Rerun {
    ruling: Ruling,
    past: Past,
    couriers: FxHashMap<CourierId, Box<Then>>,
    told: Vec<CourierTold>,
    fixes: u64,
}

/// One courier, at one instant of the past.
#[derive(Default)]
struct Then {
    state: CourierState,
    /// What was true of the courier; consumed as time goes on.
    deliveries: Vec<Progress>,
    duty: Vec<(UnixMs, bool)>,
    duty_next: usize,
    off_duty: bool,
    /// Before this nothing happens to deliveries or duty.
    changes_at: UnixMs,
    /// Open deliveries in the order of the run.
    run: Vec<Arc<Delivery>>,
}

/// A delivery, as far as it has come.
struct Progress {
    then: DeliveryThen,
    /// The next step.
    next: usize,
    held: bool,
    /// Judged by its window alone.
    waited: bool,
}

/// More events than are kept.
#[derive(Debug, thiserror::Error)]
#[error("more than {MAX_TOLD} events would be told: choose a shorter time, or one courier")]
pub(super) struct TooMany;

impl Rerun {
    pub(super) fn new(ruling: Ruling, past: Past) -> Self {
        Self {
            ruling,
            past,
            couriers: FxHashMap::default(),
            told: Vec::new(),
            fixes: 0,
        }
    }

    /// Fixes judged so far.
    pub(super) fn fixes(&self) -> u64 {
        self.fixes
    }

    /// Couriers met so far.
    pub(super) fn couriers(&self) -> usize {
        self.couriers.len()
    }

    /// Judges an upload.
    pub(super) fn take(&mut self, courier: &CourierId, batch: &FixBatch) -> Result<(), TooMany> {
        let Self {
            ruling,
            past,
            couriers,
            told: all,
            fixes,
        } = self;
        if !couriers.contains_key(courier) {
            let then = Then::of(past.remove(courier).unwrap_or_default());
            couriers.insert(courier.clone(), Box::new(then));
        }
        let Some(then) = couriers.get_mut(courier) else {
            return Ok(());
        };
        *fixes += batch.fixes.len() as u64;
        let mut told = Vec::new();
        then.advance(batch.received_at, ruling, &mut told);
        let Then { state, run, .. } = &mut **then;
        let ground = Ground {
            rules: &ruling.rules,
            run,
            fences: &ruling.fences,
        };
        state.see(batch, ground, &mut told);
        let estimates = &ruling.estimates;
        estimates.judge(state, courier, ground, &ruling.directory, &mut told);
        for arrived in told.iter().filter(|t| t.kind == EventType::DeliveryArrived) {
            then.arrive(arrived);
        }
        keep(ruling, all, courier, told)
    }

    /// Lets time go on to its end for everybody; what was told, by courier in order.
    pub(super) fn finish(mut self) -> Result<Vec<CourierTold>, TooMany> {
        for (courier, then) in std::mem::take(&mut self.past) {
            self.couriers.insert(courier, Box::new(Then::of(then)));
        }
        for (courier, then) in &mut self.couriers {
            let mut told = Vec::new();
            then.advance(self.ruling.ends, &self.ruling, &mut told);
            keep(&self.ruling, &mut self.told, courier, told)?;
        }
        Ok(self.told)
    }
}

fn keep(
    ruling: &Ruling,
    all: &mut Vec<CourierTold>,
    courier: &CourierId,
    told: Vec<Told>,
) -> Result<(), TooMany> {
    let within = |t: &Told| ruling.keep_from <= t.at && t.at < ruling.ends;
    all.extend(
        told.into_iter()
            .filter(within)
            .map(|t| (courier.clone(), t)),
    );
    if all.len() > MAX_TOLD {
        Err(TooMany)
    } else {
        Ok(())
    }
}

/// What comes next in a courier's time.
enum Next {
    /// The delivery of this index is given, takes a step, or is taken away.
    Delivery(usize),
    Duty,
    Overdue,
    /// The window of the delivery of this index is over.
    Window(usize),
}

impl Then {
    fn of(then: CourierThen) -> Self {
        let deliveries = then.deliveries.into_iter().map(|then| Progress {
            then,
            next: 0,
            held: false,
            waited: false,
        });
        Self {
            deliveries: deliveries.collect(),
            duty: then.duty,
            ..Self::default()
        }
    }

    /// Lets everything happen that lies before `now` or at it.
    fn advance(&mut self, now: UnixMs, ruling: &Ruling, told: &mut Vec<Told>) {
        let mut at = ruling.begins;
        loop {
            let overdue = self.state.overdue_at(ruling.begins, &ruling.rules);
            if self.changes_at.min(overdue.unwrap_or(FOREVER)) > now {
                return;
            }
            let change = self.next_change();
            self.changes_at = change.as_ref().map_or(FOREVER, |(due, _)| *due);
            let overdue = overdue.filter(|due| *due < self.changes_at);
            let (due, next) = match (overdue, change) {
                (Some(due), _) => (due, Next::Overdue),
                (None, Some(change)) => change,
                (None, None) => return,
            };
            if due > now {
                return;
            }
            // What is due already happens now; time never goes back.
            at = at.max(due);
            match next {
                Next::Delivery(index) => self.step(index),
                Next::Duty => {
                    let (_, on_duty) = self.duty[self.duty_next];
                    self.duty_next += 1;
                    self.off_duty = !on_duty;
                }
                Next::Overdue => self.miss(at, ruling, told),
                Next::Window(index) => {
                    let progress = &mut self.deliveries[index];
                    progress.waited = true;
                    let delivery = &progress.then.delivery;
                    self.state.wait_for(delivery, at, &ruling.rules, told);
                }
            }
        }
    }

    /// What happens next to deliveries or duty.
    fn next_change(&self) -> Option<(UnixMs, Next)> {
        let deliveries = (0..).zip(&self.deliveries);
        let deliveries = deliveries.filter_map(|(index, progress)| progress.next(index));
        let duty = self
            .duty
            .get(self.duty_next)
            .map(|(at, _)| (*at, Next::Duty));
        deliveries.chain(duty).min_by_key(|(at, _)| *at)
    }

    fn step(&mut self, index: usize) {
        let progress = &mut self.deliveries[index];
        progress.step();
        let mut open: Vec<&Progress> = self
            .deliveries
            .iter()
            .filter(|p| p.held && p.then.delivery.status.is_open())
            .collect();
        open.sort_by(|a, b| a.place().cmp(&b.place()));
        self.run = open
            .iter()
            .map(|p| Arc::new(p.then.delivery.clone()))
            .collect();
    }

    /// Nothing was heard for too long at `at`; off duty that is as it should be, until the courier
    /// comes back.
    fn miss(&mut self, at: UnixMs, ruling: &Ruling, told: &mut Vec<Told>) {
        let back = self
            .duty
            .get(self.duty_next)
            .map_or(ruling.ends, |(at, _)| *at);
        let now = if self.off_duty { at.max(back) } else { at };
        let times = (now, ruling.begins);
        self.state.miss(!self.off_duty, times, &ruling.rules, told);
    }

    /// The rules took the step to `arrived`.
    fn arrive(&mut self, told: &Told) {
        let arrived = (0..)
            .zip(&self.deliveries)
            .find(|(_, p)| p.held && Some(&p.then.delivery.id) == told.delivery.as_ref());
        let Some((index, _)) = arrived else { return };
        let step = TimelineEntry {
            status: DeliveryStatus::Arrived,
            at: told.at,
        };
        let progress = &mut self.deliveries[index];
        let next = progress.next;
        progress.then.steps.insert(next, step);
        self.step(index);
        self.changes_at = UnixMs(0);
    }
}

impl Progress {
    /// Where it stands in the run.
    fn place(&self) -> (i32, &str) {
        (self.then.delivery.sequence, self.then.delivery.id.as_str())
    }

    /// When something happens to it next.
    fn next(&self, index: usize) -> Option<(UnixMs, Next)> {
        let then = &self.then;
        if !self.held {
            return (then.from < then.until).then_some((then.from, Next::Delivery(index)));
        }
        let step = then.steps.get(self.next).map_or(FOREVER, |step| step.at);
        let change = (step.min(then.until), Next::Delivery(index));
        let over = then.delivery.window.map(|window| window.to.plus_ms(1));
        let waits = !self.waited && Stop::ahead(then.delivery.status).is_some();
        match over.filter(|over| waits && *over < change.0) {
            Some(over) => Some((over, Next::Window(index))),
            None => (change.0 < FOREVER).then_some(change),
        }
    }

    /// Is given, takes its next step, or is taken away.
    fn step(&mut self) {
        let then = &mut self.then;
        if !self.held {
            self.held = true;
            return;
        }
        match then
            .steps
            .get(self.next)
            .filter(|step| step.at <= then.until)
        {
            Some(step) => {
                self.next += 1;
                then.delivery.status = step.status;
                then.delivery.timeline.push(*step);
            }
            None => {
                self.held = false;
                then.until = then.from;
            }
        }
    }
}

#[cfg(test)]
mod tests;
