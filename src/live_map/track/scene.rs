//! The world around a delivery at one instant, and what of it a customer may be told.

use std::sync::Arc;

use super::messages::{
    ShownCourier, ShownDelivery, ShownFix, ShownPlace, ToCustomer, TrackSnapshot, lon_lat,
};
use super::topic::Gone;
use super::world::World;
use crate::directory::Run;
use crate::domain::eta::Pace;
use crate::domain::{Delivery, DeliveryId, Position, UnixMs};
use crate::live_map::eta::{self, EtaRange};
use crate::live_map::state::{ahead_of, simplify};
use crate::live_map::visibility::{self, Sight, WhyHidden};

/// Most corners of a path, or of a route after where the courier is.
const MOST_CORNERS: usize = 255;

/// What is there to be seen.
pub(super) struct Scene {
    pub(super) delivery: Arc<Delivery>,
    pub(super) run: Run,
    pub(super) sight: Sight,
    pub(super) courier: Option<ShownCourier>,
    pub(super) at: UnixMs,
}

/// What a snapshot holds beside the scene.
pub(super) struct Telling<'a> {
    pub(super) epoch: u32,
    pub(super) seq: u32,
    pub(super) eta: Option<EtaRange>,
    pub(super) route: Option<&'a [Position]>,
    pub(super) viewers: usize,
}

impl Scene {
    /// Looks around the delivery.
    pub(super) fn look(world: &World, id: &DeliveryId, now: UnixMs) -> Result<Self, Gone> {
        let delivery = world.directory.delivery(id).ok_or(Gone)?;
        if visibility::is_gone(&delivery, &world.rules, now) {
            return Err(Gone);
        }
        let id = delivery.courier_id.as_ref();
        let run = id.map(|id| world.directory.run(id)).unwrap_or_default();
        let live = id.and_then(|id| world.state.get(id));
        let courier = id.and_then(|id| world.directory.courier(id));
        Ok(Self {
            sight: visibility::look(&delivery, &run, live.as_ref(), &world.rules, now),
            delivery,
            run,
            courier: courier.map(|c| ShownCourier {
                name: c.name.clone(),
                vehicle: c.vehicle,
            }),
            at: now,
        })
    }

    /// The fix that is shown, or why there is none.
    pub(super) fn shown(&self) -> Result<ShownFix, WhyHidden> {
        self.sight
            .position
            .as_ref()
            .map(ShownFix::of)
            .map_err(|why| *why)
    }

    /// When the courier is expected: while it is on its way with these goods, hidden or not.
    pub(super) fn eta(&self, world: &World, pace: &mut Pace) -> Option<EtaRange> {
        let under_way = match &self.sight.position {
            Ok(_) | Err(WhyHidden::OtherStop) => true,
            Err(_) => false,
        };
        let id = self.delivery.courier_id.as_ref().filter(|_| under_way)?;
        let live = world.state.get(id)?;
        let stops = eta::stops_until(self.run.open.iter().map(|open| &**open), &self.delivery);
        let vehicle = self.courier.as_ref().and_then(|courier| courier.vehicle);
        eta::expect(&world.roads, &live, &stops, vehicle, pace, self.at)
    }

    /// The way ahead by road, while it may be shown.
    pub(super) fn route(&self, world: &World) -> Option<Box<[Position]>> {
        let (Some(_), Ok(live)) = (self.sight.way_from, &self.sight.position) else {
            return None;
        };
        let to = self.delivery.dropoff.position;
        let route = world.roads.route(live.fix.position, to)?;
        Some(simplify(&route.path, MOST_CORNERS).into())
    }

    /// The way behind, while it may be shown.
    fn path(&self, world: &World) -> Option<Vec<Position>> {
        let (from, id) = (self.sight.way_from?, self.delivery.courier_id.as_ref()?);
        let trail = world.state.trail(id, from);
        let path = visibility::path(&self.sight, &trail, &self.delivery, &self.run, &world.rules)?;
        Some(simplify(&path, MOST_CORNERS))
    }

    /// Everything that may be seen, as JSON.
    pub(super) fn snapshot(&self, world: &World, telling: Telling<'_>) -> String {
        let delivery = &*self.delivery;
        let shown = self.shown();
        let may_lead = telling.route.filter(|_| self.sight.way_from.is_some());
        let route = match (may_lead, &self.sight.position) {
            (Some(route), Ok(live)) => Some(lon_lat(&ahead_of(live.fix.position, route))),
            _ => None,
        };
        let snapshot = TrackSnapshot {
            epoch: telling.epoch,
            seq: telling.seq,
            delivery: ShownDelivery {
                status: delivery.status,
                timeline: &delivery.timeline,
                dropoff: ShownPlace {
                    lat: delivery.dropoff.position.lat(),
                    lon: delivery.dropoff.position.lon(),
                    label: delivery.dropoff.label.as_deref(),
                },
                window: delivery.window,
                reference: delivery.reference.as_deref(),
            },
            courier: self.courier.clone(),
            brand: &world.brand,
            position: shown.ok(),
            why_hidden: shown.err(),
            eta: telling.eta,
            stops_before: self.sight.stops_before,
            path: self.path(world).as_deref().map(lon_lat),
            route,
            viewers: u32::try_from(telling.viewers).unwrap_or(u32::MAX),
        };
        ToCustomer::Snapshot(Box::new(snapshot)).text()
    }
}
