//! The couriers with their phones and what each still has to send.

use std::collections::BTreeSet;

use super::FIX_EVERY_MS;
use super::courier::Act;
use super::fleet::{Fleet, Step};
use super::outbox::Outbox;
use super::phone::Phone;
use crate::domain::{CourierId, DeliveryId};

/// A courier's end of the line.
#[derive(Debug)]
pub(super) struct Line {
    pub(super) id: CourierId,
    pub(super) phone: Phone,
    pub(super) outbox: Outbox,
    /// A request of this courier is in flight, or waits for its turn.
    pub(super) busy: bool,
    /// In a tunnel: the outbox waits.
    pub(super) offline: bool,
}

/// Everybody.
#[derive(Debug)]
pub(super) struct Crew {
    pub(super) fleet: Fleet,
    pub(super) lines: Vec<Line>,
}

impl Crew {
    /// Gives every courier of the fleet a phone.
    pub(super) fn new(fleet: Fleet, seed: u64) -> Self {
        let couriers = fleet.couriers.iter().enumerate();
        let lines = couriers.map(|(number, courier)| Line {
            id: courier.id.clone(),
            phone: Phone::new(number, courier.role, seed),
            outbox: Outbox::default(),
            busy: false,
            offline: false,
        });
        Self {
            lines: lines.collect(),
            fleet,
        }
    }

    /// Lives through the past until `now_ms` (Unix milliseconds). With `history_every_ms` the phones
    /// keep a fix at that interval, to be sent first. Of the deliveries only those of the present
    /// are told. Takes a second for a few thousand hours of couriers: not for an async task.
    pub(super) fn fast_forward(&mut self, now_ms: i64, history_every_ms: Option<i64>) {
        while self.fleet.next_ms() < now_ms {
            let Some(step) = self.fleet.step() else { break };
            let kept = history_every_ms.is_some_and(|every| step.at_ms % every < FIX_EVERY_MS);
            if kept && self.is_fix(&step) {
                let line = &mut self.lines[step.courier];
                let fix = line.phone.fix(step.at_ms, &step.place);
                line.outbox.fix(fix);
            }
        }
        for (courier, line) in self.fleet.couriers.iter().zip(&mut self.lines) {
            courier
                .catch_up()
                .into_iter()
                .for_each(|act| line.outbox.act(act));
        }
    }

    /// A step as it happens: what the courier does and what its phone sees go to the outbox.
    pub(super) fn live(&mut self, step: Step) {
        let is_fix = self.is_fix(&step);
        let line = &mut self.lines[step.courier];
        step.acts
            .into_iter()
            .for_each(|(_, act)| line.outbox.act(act));
        if is_fix {
            let fix = line.phone.fix(step.at_ms, &step.place);
            line.outbox.fix(fix);
            line.offline = line.phone.is_offline(step.at_ms);
        }
    }

    /// Whether a phone takes a fix at this step; there may be more steps than fixes.
    fn is_fix(&self, step: &Step) -> bool {
        step.at_ms.rem_euclid(FIX_EVERY_MS) < self.fleet.tick_ms()
    }

    /// The deliveries that couriers have now.
    pub(super) fn present(&self) -> BTreeSet<DeliveryId> {
        let acts = self
            .fleet
            .couriers
            .iter()
            .flat_map(|courier| courier.catch_up());
        let orders = acts.filter_map(|act| match act {
            Act::Create { orders, .. } => Some(orders),
            Act::Assign(_) | Act::Status(..) => None,
        });
        orders.flatten().map(|order| order.id).collect()
    }
}
