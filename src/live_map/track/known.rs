//! What watchers of a delivery have been told, and what differs from it now.

use std::hash::BuildHasher;
use std::sync::Arc;

use rustc_hash::FxBuildHasher;

use super::messages::{ShownCourier, ShownFix};
use super::scene::Scene;
use super::world::World;
use crate::domain::eta::Pace;
use crate::domain::{Delivery, DeliveryId, Position, UnixMs};
use crate::live_map::eta::EtaRange;
use crate::live_map::state::off_line_m;
use crate::live_map::visibility::WhyHidden;

/// An ETA is thought over when between a twentieth and a tenth of the time that is left has passed,
/// but not sooner than this, milliseconds …
const ETA_SOONEST_MS: i64 = 10_000;
/// … and not later.
const ETA_LATEST_MS: i64 = 60_000;
/// A courier further than this from the route has taken another one, metres.
const OFF_ROUTE_M: f64 = 150.0;

/// What watchers have been told.
pub(super) struct Known {
    pub(super) delivery: Arc<Delivery>,
    courier: Option<ShownCourier>,
    pub(super) shown: Result<ShownFix, WhyHidden>,
    stops_before: u32,
    way_from: Option<UnixMs>,
    pub(super) eta: Option<EtaRange>,
    /// When the ETA is to be thought over.
    eta_due: UnixMs,
    /// The way ahead.
    pub(super) route: Option<Box<[Position]>>,
    /// When it must be looked at again though nobody says so.
    pub(super) due: Option<UnixMs>,
}

impl Known {
    /// Whoever is told a snapshot of `scene` knows this.
    pub(super) fn of(scene: &Scene, world: &World, pace: &mut Pace) -> Self {
        let eta = scene.eta(world, pace);
        Self {
            delivery: scene.delivery.clone(),
            courier: scene.courier.clone(),
            shown: scene.shown(),
            stops_before: scene.sight.stops_before,
            way_from: scene.sight.way_from,
            eta,
            eta_due: eta_due(&scene.delivery.id, eta, scene.at),
            route: scene.route(world),
            due: scene.sight.until,
        }
    }

    /// Whether the change is one that only a snapshot can tell.
    pub(super) fn must_resync(&self, scene: &Scene) -> bool {
        let (old, new) = (&*self.delivery, &*scene.delivery);
        let told = old.timeline.len();
        self.courier != scene.courier
            || self.stops_before != scene.sight.stops_before
            || (scene.sight.way_from.is_some() && self.way_from != scene.sight.way_from)
            || old.courier_id != new.courier_id
            || old.dropoff != new.dropoff
            || old.window != new.window
            || old.reference != new.reference
            || new.timeline.get(..told) != Some(&old.timeline[..])
            || (old.status != new.status && new.timeline.len() == told)
            || self.is_off_route(scene)
    }

    /// Whether the way ahead that was told is not the one that the courier takes.
    fn is_off_route(&self, scene: &Scene) -> bool {
        match (&self.route, &scene.sight.position) {
            (Some(route), Ok(live)) => {
                self.eta_due <= scene.at && off_line_m(live.fix.position, route) > OFF_ROUTE_M
            }
            _ => false,
        }
    }

    /// Notes that watchers know that there is nothing to be seen: neither the way.
    pub(super) fn hide(&mut self, why: WhyHidden) {
        self.shown = Err(why);
        self.way_from = None;
        self.route = None;
    }

    /// Thinks the ETA over if it is time, or the delivery has `stepped`. Answers it if it changed.
    pub(super) fn rethink_eta(
        &mut self,
        scene: &Scene,
        world: &World,
        pace: &mut Pace,
        stepped: bool,
    ) -> Option<Option<EtaRange>> {
        if !stepped && self.eta_due > scene.at {
            return None;
        }
        let eta = scene.eta(world, pace);
        self.eta_due = eta_due(&scene.delivery.id, eta, scene.at);
        (std::mem::replace(&mut self.eta, eta) != eta).then_some(eta)
    }
}

/// When to think it over. Each delivery has a time of its own: after a restart all are looked at in
/// the same second, and ways for thousands of them must not be asked for in one later second again.
fn eta_due(id: &DeliveryId, eta: Option<EtaRange>, now: UnixMs) -> UnixMs {
    let left_ms = eta.map_or(0, |eta| eta.to.since(now));
    let least_ms = (left_ms / 20).clamp(ETA_SOONEST_MS, ETA_LATEST_MS / 2);
    let share = FxBuildHasher.hash_one((id, now)) % 1024;
    now.plus_ms(least_ms + least_ms * share as i64 / 1024)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn deliveries_that_were_looked_at_together_are_thought_over_one_after_the_other() {
        let now = UnixMs(1_790_000_000_000);
        let mut a_second = [0; 20];
        for n in 0..1_000 {
            let id = DeliveryId::try_from(format!("d-{n}")).expect("an id");
            let after_ms = eta_due(&id, None, now).since(now);
            a_second[usize::try_from(after_ms / 1_000).expect("later")] += 1;
        }
        assert_eq!(a_second[..10], [0; 10], "not sooner than ten seconds");
        assert!(
            a_second[10..].iter().all(|n| (50..200).contains(n)),
            "spread over ten more: {a_second:?}"
        );
    }
}
