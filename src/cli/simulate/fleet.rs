//! All couriers on one clock: who is next, and what happens then.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use super::courier::{Act, Courier, Role};
use super::drive::Place;
use super::world::World;
use crate::domain::{CourierId, DeliveryId};

/// How many couriers relay each other, so that one has always time to go.
const RELAYS: usize = 4;
/// The courier after the relays is the late one, the next is in a tunnel half of the time.
const TUNNEL: usize = RELAYS + 1;
/// The next one is sent off when the others have less than this to go, milliseconds.
const RELAY_MS: i64 = 8 * 60_000;

/// The couriers. Deterministic: depends on seed, epoch, world and number alone.
#[derive(Debug)]
pub(super) struct Fleet {
    pub(super) couriers: Vec<Courier>,
    world: World,
    due: BinaryHeap<Reverse<(i64, usize)>>,
    tick_ms: i64,
}

/// What happened to a courier by a certain time.
#[derive(Debug)]
pub(super) struct Step {
    /// Its number.
    pub(super) courier: usize,
    /// Unix milliseconds.
    pub(super) at_ms: i64,
    /// What it did since the step before, oldest first.
    pub(super) acts: Vec<(i64, Act)>,
    /// Where it is.
    pub(super) place: Place,
}

impl Fleet {
    /// `count` couriers that begin at `epoch_ms` and are looked at every `tick_ms` (milliseconds).
    pub(super) fn new(world: World, count: usize, seed: u64, epoch_ms: i64, tick_ms: i64) -> Self {
        let couriers: Vec<Courier> = (0..count)
            .map(|number| {
                let role = match number {
                    0..RELAYS => Role::Relay,
                    RELAYS => Role::Late,
                    TUNNEL => Role::Tunnel,
                    _ => Role::Usual,
                };
                Courier::new(number, courier_id(number), role, seed, epoch_ms, &world)
            })
            .collect();
        // Spread over a tick, so that uploads do not come in waves.
        let first = |number: usize| epoch_ms + (number as i64 * 1_009) % tick_ms;
        let due = (0..count)
            .map(|number| Reverse((first(number), number)))
            .collect();
        Self {
            couriers,
            world,
            due,
            tick_ms,
        }
    }

    /// When the next step is due, Unix milliseconds.
    pub(super) fn next_ms(&self) -> i64 {
        self.due
            .peek()
            .map_or(i64::MAX, |Reverse((at_ms, _))| *at_ms)
    }

    /// How often each courier is looked at, milliseconds.
    pub(super) fn tick_ms(&self) -> i64 {
        self.tick_ms
    }

    /// Takes the next step.
    pub(super) fn step(&mut self) -> Option<Step> {
        let Reverse((at_ms, number)) = self.due.pop()?;
        if number == 0 {
            self.relay(at_ms);
        }
        let courier = &mut self.couriers[number];
        let mut acts = Vec::new();
        courier.advance(at_ms, &self.world, &mut acts);
        let place = courier.place(at_ms);
        self.due.push(Reverse((at_ms + self.tick_ms, number)));
        Some(Step {
            courier: number,
            at_ms,
            acts,
            place,
        })
    }

    /// The relay's delivery with the longest way to go, and milliseconds until it is there.
    pub(super) fn longest_to_go(&self, now_ms: i64) -> Option<(&DeliveryId, i64)> {
        let relays = self.couriers.iter().take(RELAYS);
        relays
            .filter_map(|courier| courier.to_go(now_ms))
            .max_by_key(|(_, ms)| *ms)
    }

    fn relay(&mut self, now_ms: i64) {
        if self
            .longest_to_go(now_ms)
            .is_some_and(|(_, ms)| ms >= RELAY_MS)
        {
            return;
        }
        let relays = self.couriers.iter_mut().take(RELAYS);
        // Everybody has a turn.
        let next = relays
            .filter(|courier| courier.stands_by())
            .min_by_key(|courier| courier.runs());
        if let Some(courier) = next {
            courier.send_off(now_ms);
        }
    }
}

/// `sim-001`, `sim-002`, …
fn courier_id(number: usize) -> CourierId {
    CourierId::try_from(format!("sim-{:03}", number + 1))
        .unwrap_or_else(|_| unreachable!("letters, a dash and digits"))
}
