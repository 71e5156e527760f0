//! What waits to be sent for one courier, first in, first out, as a phone app keeps it.

use std::collections::VecDeque;

use super::courier::{Act, Order};
use crate::cli::api::UploadFix;
use crate::domain::{DeliveryId, DeliveryStatus};

/// Most fixes in one upload.
pub(super) const MAX_UPLOAD: usize = 100;
/// Most items that wait; beyond that the oldest fixes are given up.
const MAX_WAITING: usize = 2_000;

/// Something to be sent.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Item {
    /// A delivery comes in.
    Create { order: Box<Order>, assign: bool },
    /// A courier gets it.
    Assign(DeliveryId),
    /// The courier takes a step.
    Status(DeliveryId, DeliveryStatus),
    /// The phone uploads.
    Fixes(Vec<UploadFix>),
}

/// The queue of one courier.
#[derive(Debug, Default)]
pub(super) struct Outbox {
    items: VecDeque<Item>,
    /// Fixes given up because too much waited.
    pub(super) given_up: u64,
}

impl Outbox {
    /// Adds a fix to the last upload, or to a new one.
    pub(super) fn fix(&mut self, fix: UploadFix) {
        match self.items.back_mut() {
            Some(Item::Fixes(fixes)) if fixes.len() < MAX_UPLOAD => fixes.push(fix),
            _ => self.push(Item::Fixes(vec![fix])),
        }
    }

    /// Adds what a courier did.
    pub(super) fn act(&mut self, act: Act) {
        match act {
            Act::Create { orders, assign } => {
                for order in orders {
                    self.push(Item::Create {
                        order: Box::new(order),
                        assign,
                    });
                }
            }
            Act::Assign(id) => self.push(Item::Assign(id)),
            Act::Status(id, status) => self.push(Item::Status(id, status)),
        }
    }

    fn push(&mut self, item: Item) {
        if self.items.len() >= MAX_WAITING
            && let Some(at) = self
                .items
                .iter()
                .position(|item| matches!(item, Item::Fixes(_)))
            && let Some(Item::Fixes(fixes)) = self.items.remove(at)
        {
            self.given_up += fixes.len() as u64;
        }
        self.items.push_back(item);
    }

    /// Puts something in front of everything else.
    pub(super) fn push_front(&mut self, item: Item) {
        self.items.push_front(item);
    }

    /// Takes the first item.
    pub(super) fn pop(&mut self) -> Option<Item> {
        self.items.pop_front()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.items.is_empty()
    }
}
