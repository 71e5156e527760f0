//! When couriers will be at their stops: by road, corrected by their own pace.

use crate::directory::Directory;
use crate::domain::CourierId;
use crate::domain::eta::{self, Ahead};
use crate::domain::rules::{CourierState, Ground, Told};
use crate::roads::Roads;

/// Estimates for the rules.
pub(super) struct Estimates {
    pub(super) roads: Roads,
}

impl Estimates {
    /// Estimates the stops ahead of a courier and judges by them, if the rules want it now.
    pub(super) fn judge(
        &self,
        state: &mut CourierState,
        courier: &CourierId,
        ground: Ground<'_>,
        directory: &Directory,
        told: &mut Vec<Told>,
    ) {
        let Some((from, stops)) = state.wants_estimate(ground) else {
            return;
        };
        let Some(first) = stops.first() else { return };
        let vehicle = directory.courier(courier).and_then(|c| c.vehicle);
        let mut drive_s = self
            .roads
            .travel_time(from.position, first.position, vehicle);
        let pace = state.observe(first.position, drive_s);
        let mut before = None;
        let estimates: Vec<_> = stops
            .into_iter()
            .enumerate()
            .map(|(stops_before, stop)| {
                if let Some(before) = before.replace(stop.position) {
                    drive_s += self.roads.travel_time(before, stop.position, vehicle);
                }
                let ahead = Ahead {
                    drive_s,
                    stops_before,
                };
                let eta = eta::estimate(from.at, ahead, &pace);
                (stop, eta)
            })
            .collect();
        state.expect(&estimates, ground, told);
    }
}
