//! A simulated courier: a state machine over time that knows nothing of the network.
//!
//! ```text
//!   resting → to the shop → at the shop → to the door → at the door ─┬→ resting
//!                                              ↑ next stop of the run ┘
//! ```
//!
//! All chance is drawn in the order of these steps from the courier's own generator, so that the
//! same seed gives the same life whenever and however often it is looked at.

use rand::{RngExt, SeedableRng};

use super::Chance;
use super::drive::{Drive, Place, normal};
use super::world::World;
use crate::domain::{CourierId, DeliveryId, DeliveryStatus, Position, Vehicle};
use crate::roads::{self, Stop};

/// A relay courier's drive to the customer takes at least this long, milliseconds.
pub(super) const RELAY_DRIVE_MS: i64 = 16 * 60_000;
/// Spread of the logarithm of couriers' pace, and of the traffic of one drive.
const PACE_SD: f64 = 0.15;
const TRAFFIC_SD: f64 = 0.1;
/// The late courier promises this, milliseconds, …
const LATE_PROMISE_MS: i64 = 2 * 60_000;
/// … and needs so much longer than others.
const LATE_FACTOR: f64 = 1.6;
/// Added to what a run should take when its window is promised, milliseconds.
const SLACK_MS: i64 = 12 * 60_000;
/// Orders that come in before a courier has them.
const UNASSIGNED_FIRST: f64 = 0.1;
/// Nobody opens the door.
const FAILED: f64 = 0.02;

/// What a courier is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Role {
    /// Works like all others.
    Usual,
    /// Waits at a shop until it is sent off, then drives for a long time: somebody has always time
    /// to go.
    Relay,
    /// Promises more than it can keep.
    Late,
    /// Works like all others, and is in a tunnel half of the time (that is for its phone).
    Tunnel,
}

/// One delivery of a run.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Order {
    pub(super) id: DeliveryId,
    pub(super) pickup: Stop,
    pub(super) dropoff: Stop,
    pub(super) sequence: i32,
    /// When it was promised, Unix milliseconds.
    pub(super) window_ms: (i64, i64),
}

/// What a courier, or the dispatcher about it, does.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Act {
    /// Orders come in, with or without a courier.
    Create { orders: Vec<Order>, assign: bool },
    /// The courier gets orders that came in before.
    Assign(DeliveryId),
    /// A step of a delivery.
    Status(DeliveryId, DeliveryStatus),
}

#[derive(Debug, Clone)]
struct Run {
    orders: Vec<Order>,
    /// The order whose door is next.
    next: usize,
    picked_up: bool,
}

#[derive(Debug, Clone)]
enum Doing {
    Resting {
        until_ms: i64,
    },
    ToShop(Drive),
    /// Until it is sent off, if there is no time.
    AtShop {
        until_ms: Option<i64>,
    },
    ToDoor(Drive),
    AtDoor {
        until_ms: i64,
    },
}

/// A courier.
#[derive(Debug, Clone)]
pub(super) struct Courier {
    pub(super) id: CourierId,
    pub(super) name: &'static str,
    pub(super) vehicle: Vehicle,
    pub(super) role: Role,
    /// Distinguishes the deliveries of one simulation from those of an earlier one.
    era: String,
    chance: Chance,
    pace: f64,
    here: Position,
    doing: Doing,
    run: Option<Run>,
    runs: u32,
}

/// First names, for people to read.
const NAMES: [&str; 24] = [
    "Maria", "Luca", "Aisha", "Karl", "Elena", "Tariq", "Sofia", "Noel", "Amira", "David", "Ruth",
    "Marco", "Ines", "Omar", "Julia", "Pawlu", "Leila", "Stefan", "Nadia", "Jonas", "Carmen",
    "Musa", "Anna", "Felix",
];

impl Courier {
    /// The courier with a number, as it begins its life at `epoch_ms` (Unix milliseconds).
    pub(super) fn new(
        number: usize,
        id: CourierId,
        role: Role,
        seed: u64,
        epoch_ms: i64,
        world: &World,
    ) -> Self {
        let mut chance =
            Chance::seed_from_u64(seed ^ (number as u64 + 1).wrapping_mul(0x9E37_79B9));
        let vehicle = match chance.random_range(0..100) {
            _ if role == Role::Relay => Vehicle::Car,
            0..45 => Vehicle::Car,
            45..65 => Vehicle::Van,
            65..95 => Vehicle::Bike,
            _ => Vehicle::Foot,
        };
        let pace = (normal(&mut chance) * PACE_SD).exp();
        let here = world.any_shop(&mut chance).position;
        let until_ms = epoch_ms + chance.random_range(0..180_000);
        Self {
            name: NAMES[number % NAMES.len()],
            era: base36(epoch_ms / 1000),
            doing: Doing::Resting { until_ms },
            run: None,
            runs: 0,
            id,
            vehicle,
            role,
            chance,
            pace,
            here,
        }
    }

    /// Lives on until `now_ms` and adds what happened, each with its time.
    pub(super) fn advance(&mut self, now_ms: i64, world: &World, acts: &mut Vec<(i64, Act)>) {
        loop {
            match &self.doing {
                Doing::Resting { until_ms } if *until_ms <= now_ms => {
                    let at_ms = *until_ms;
                    self.set_out(at_ms, world, acts);
                }
                Doing::ToShop(drive) if drive.ends_ms() <= now_ms => {
                    let at_ms = drive.ends_ms();
                    self.here = drive.goal().unwrap_or(self.here);
                    let wait_ms = self.chance.random_range(60_000..180_000);
                    let until_ms = (self.role != Role::Relay).then_some(at_ms + wait_ms);
                    self.doing = Doing::AtShop { until_ms };
                }
                Doing::AtShop {
                    until_ms: Some(until_ms),
                } if *until_ms <= now_ms => {
                    let at_ms = *until_ms;
                    self.pick_up(at_ms, world, acts);
                }
                Doing::ToDoor(drive) if drive.ends_ms() <= now_ms => {
                    let at_ms = drive.ends_ms();
                    self.here = drive.goal().unwrap_or(self.here);
                    let until_ms = at_ms + self.chance.random_range(40_000..150_000);
                    self.doing = Doing::AtDoor { until_ms };
                }
                Doing::AtDoor { until_ms } if *until_ms <= now_ms => {
                    let at_ms = *until_ms;
                    self.hand_over(at_ms, world, acts);
                }
                _ => return,
            }
        }
    }

    /// Where the courier is at `now_ms`; ask after [`Courier::advance`].
    pub(super) fn place(&self, now_ms: i64) -> Place {
        let driving = match &self.doing {
            Doing::ToShop(drive) | Doing::ToDoor(drive) => drive.place(now_ms),
            _ => None,
        };
        driving.unwrap_or(Place::standing(self.here))
    }

    /// The delivery whose customer the courier drives to, and milliseconds to go.
    pub(super) fn to_go(&self, now_ms: i64) -> Option<(&DeliveryId, i64)> {
        let Doing::ToDoor(drive) = &self.doing else {
            return None;
        };
        let run = self.run.as_ref()?;
        Some((&run.orders.get(run.next)?.id, drive.ends_ms() - now_ms))
    }

    /// Whether it waits to be sent off.
    pub(super) fn stands_by(&self) -> bool {
        matches!(self.doing, Doing::AtShop { until_ms: None })
    }

    /// How many runs are done.
    pub(super) fn runs(&self) -> u32 {
        self.runs
    }

    /// Sends off a courier that stands by.
    pub(super) fn send_off(&mut self, now_ms: i64) {
        if self.stands_by() {
            self.doing = Doing::AtShop {
                until_ms: Some(now_ms),
            };
        }
    }

    /// What a server that knows nothing of the present run has to be told.
    pub(super) fn catch_up(&self) -> Vec<Act> {
        let Some(run) = &self.run else {
            return Vec::new();
        };
        let orders = run.orders[run.next..].to_vec();
        let assign = !matches!(self.doing, Doing::Resting { .. });
        let picked_up = orders.iter().filter(|_| run.picked_up);
        let steps: Vec<Act> = picked_up
            .map(|o| Act::Status(o.id.clone(), DeliveryStatus::PickedUp))
            .collect();
        let mut acts = vec![Act::Create { orders, assign }];
        acts.extend(steps);
        acts
    }

    fn set_out(&mut self, at_ms: i64, world: &World, acts: &mut Vec<(i64, Act)>) {
        let run = match self.run.take() {
            Some(run) => {
                let ids = run.orders.iter().map(|order| order.id.clone());
                acts.extend(ids.map(|id| (at_ms, Act::Assign(id))));
                run
            }
            None => {
                let run = self.plan(at_ms, world);
                acts.push((
                    at_ms,
                    Act::Create {
                        orders: run.orders.clone(),
                        assign: true,
                    },
                ));
                run
            }
        };
        let shop = run.orders[0].pickup.position;
        self.run = Some(run);
        self.doing = Doing::ToShop(self.drive(at_ms, shop, world, 0));
    }

    fn pick_up(&mut self, at_ms: i64, world: &World, acts: &mut Vec<(i64, Act)>) {
        let Some(run) = &mut self.run else { return };
        run.picked_up = true;
        let ids = run.orders.iter().map(|order| order.id.clone());
        acts.extend(ids.map(|id| (at_ms, Act::Status(id, DeliveryStatus::PickedUp))));
        self.next_door(at_ms, world);
    }

    fn next_door(&mut self, at_ms: i64, world: &World) {
        let order = self.run.as_ref().and_then(|run| run.orders.get(run.next));
        let Some(door) = order.map(|order| order.dropoff.position) else {
            return;
        };
        let least_ms = if self.role == Role::Relay {
            RELAY_DRIVE_MS
        } else {
            0
        };
        self.doing = Doing::ToDoor(self.drive(at_ms, door, world, least_ms));
    }

    fn hand_over(&mut self, at_ms: i64, world: &World, acts: &mut Vec<(i64, Act)>) {
        let Some(run) = &mut self.run else { return };
        let failed = self.chance.random_bool(FAILED);
        let step = if failed {
            DeliveryStatus::Failed
        } else {
            DeliveryStatus::Delivered
        };
        acts.push((at_ms, Act::Status(run.orders[run.next].id.clone(), step)));
        run.next += 1;
        if run.next < run.orders.len() {
            return self.next_door(at_ms, world);
        }
        self.run = None;
        self.runs += 1;
        let rest_ms = match self.role {
            Role::Relay => 1_000,
            _ => self.chance.random_range(20_000..180_000),
        };
        self.doing = Doing::Resting {
            until_ms: at_ms + rest_ms,
        };
        if self.role == Role::Usual && self.chance.random_bool(UNASSIGNED_FIRST) {
            let run = self.plan(at_ms, world);
            acts.push((
                at_ms,
                Act::Create {
                    orders: run.orders.clone(),
                    assign: false,
                },
            ));
            self.run = Some(run);
        }
    }

    fn plan(&mut self, at_ms: i64, world: &World) -> Run {
        // A relay courier has to be back soon.
        let looked_at = if self.role == Role::Relay { 80 } else { 16 };
        let shop = world
            .shop_near(self.here, looked_at, &mut self.chance)
            .clone();
        let metres = match (self.role, self.vehicle) {
            (Role::Relay, _) => 7_000.0..15_000.0,
            (Role::Late, _) => 3_000.0..6_000.0,
            (_, Vehicle::Foot) => 300.0..1_200.0,
            (_, Vehicle::Bike) => 500.0..2_500.0,
            (_, Vehicle::Car | Vehicle::Van) => 800.0..5_000.0,
        };
        let stops = match (self.role, self.chance.random_range(0..100)) {
            (Role::Usual | Role::Tunnel, 75..92) => 2,
            (Role::Usual | Role::Tunnel, 92..) => 3,
            _ => 1,
        };
        let mut promise_ms = at_ms + SLACK_MS + self.expected_ms(self.here, shop.position, world);
        let mut from = shop.position;
        let mut orders = Vec::with_capacity(stops);
        for stop in 0..stops {
            let next = if stop == 0 {
                metres.clone()
            } else {
                200.0..1_500.0
            };
            let dropoff = world.door_within(from, next, &mut self.chance).clone();
            promise_ms += self.expected_ms(from, dropoff.position, world) + 120_000;
            let until_ms = match self.role {
                Role::Late => at_ms + LATE_PROMISE_MS,
                Role::Relay => promise_ms + RELAY_DRIVE_MS * 2,
                Role::Usual | Role::Tunnel => promise_ms,
            };
            from = dropoff.position;
            let id = format!("{}-{}-{}-{}", self.id, self.era, self.runs, stop + 1);
            orders.push(Order {
                id: DeliveryId::try_from(id)
                    .unwrap_or_else(|_| unreachable!("made of parts of ids")),
                pickup: shop.clone(),
                dropoff,
                sequence: stop as i32 + 1,
                window_ms: (at_ms, until_ms),
            });
        }
        Run {
            orders,
            next: 0,
            picked_up: false,
        }
    }

    fn expected_ms(&self, from: Position, to: Position, world: &World) -> i64 {
        let route = world.route(from, to);
        let s = roads::duration_s(route.distance_m, route.duration_s, Some(self.vehicle));
        (s * self.pace * 1000.0) as i64
    }

    fn drive(&mut self, at_ms: i64, to: Position, world: &World, least_ms: i64) -> Drive {
        let route = world.route(self.here, to);
        let vehicle_s = roads::duration_s(route.distance_m, route.duration_s, Some(self.vehicle));
        let vehicle = vehicle_s / route.duration_s.max(1.0);
        let traffic = (normal(&mut self.chance) * TRAFFIC_SD).exp();
        let late = if self.role == Role::Late {
            LATE_FACTOR
        } else {
            1.0
        };
        let mut factor = vehicle * self.pace * traffic * late;
        if least_ms > 0 {
            factor = factor.max(least_ms as f64 / 1000.0 / route.duration_s.max(1.0) * 1.15);
        }
        Drive::new(at_ms, self.here, &route, to, factor, &mut self.chance)
    }
}

/// A number in as few letters and digits as it gets.
fn base36(mut number: i64) -> String {
    let mut text = Vec::new();
    while number > 0 {
        text.push(b"0123456789abcdefghijklmnopqrstuvwxyz"[(number % 36) as usize]);
        number /= 36;
    }
    text.reverse();
    String::from_utf8(text).unwrap_or_default()
}
