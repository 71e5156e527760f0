//! What has happened, as a person would note it, and what may be shown because of it.

use h3o::{LatLng, Resolution};
use proptest::prelude::*;
use serde_json::Value;

use super::{COURIERS, DELIVERIES, Event, place};
use crate::directory::Directory;
use crate::domain::DeliveryStatus::{
    Arrived, Assigned, Cancelled, Created, Delivered, Failed, PickedUp,
};
use crate::domain::geo::{destination, distance_m};
use crate::domain::{Delivery, Position, UnixMs};
use crate::live_map::state::LiveState;
use crate::live_map::test_kit::{T0, at, courier_id, delivery, stepped, upload};

/// Everything that happened.
pub(super) struct History {
    pub(super) now: UnixMs,
    pub(super) deliveries: Vec<Option<Delivery>>,
    /// Couriers are seen only roughly until they are near.
    coarse: bool,
    /// Courier, fix time, when it came, where.
    fixes: Vec<(usize, UnixMs, UnixMs, Position)>,
}

impl History {
    /// A run that nobody has begun.
    pub(super) fn begin(coarse: bool, directory: &Directory) -> Self {
        let deliveries = (0..DELIVERIES).map(|n| {
            let mut new = delivery(&format!("d-{n}"), Some(COURIERS[0]), n as i32, place(n));
            new.pickup.position = place(DELIVERIES + n / 2);
            let assigned = stepped(new, Assigned, T0);
            directory.put_delivery(assigned.clone());
            Some(assigned)
        });
        Self {
            now: T0,
            deliveries: deliveries.collect(),
            coarse,
            fixes: Vec::new(),
        }
    }

    /// Lets something happen in the world, and notes it.
    pub(super) fn happen(&mut self, event: &Event, directory: &Directory, state: &LiveState) {
        let now = self.now;
        match *event {
            Event::Fix {
                courier,
                near,
                away_m,
                bearing,
                ago_s,
            } => {
                let position = destination(place(near), bearing, away_m);
                let fix_time = now.plus_ms(-ago_s * 1000);
                let mut batch = upload(fix_time, position);
                batch.received_at = now;
                state.apply(&courier_id(COURIERS[courier]), &batch);
                self.fixes.push((courier, fix_time, now, position));
            }
            Event::Step {
                delivery: n,
                status,
                ago_s,
            } => {
                let old = self.deliveries[n].clone();
                if let Some(old) = old.filter(|old| old.status.may_become(status)) {
                    let after = stepped(old, status, now.plus_ms(-ago_s * 1000));
                    self.put(n, after, directory);
                }
            }
            Event::Move {
                delivery: n,
                sequence,
                courier,
            } => {
                if let Some(mut moved) = self.deliveries[n].clone()
                    && moved.status.is_open()
                {
                    moved.sequence = sequence;
                    moved.courier_id = Some(courier_id(COURIERS[courier]));
                    self.put(n, moved, directory);
                }
            }
            Event::Remove { delivery: n } => {
                // Those that were completed stay in the books for a while.
                let open = |d: &Delivery| d.status.is_open() || d.status == Cancelled;
                if let Some(gone) = self.deliveries[n].take_if(|d| open(d)) {
                    directory.remove_delivery(&gone.id);
                }
            }
            Event::Wait { s } => self.now = now.plus_ms(s * 1000),
            Event::Reload { .. } => {}
        }
    }

    fn put(&mut self, n: usize, changed: Delivery, directory: &Directory) {
        directory.put_delivery(changed.clone());
        self.deliveries[n] = Some(changed);
    }

    /// Whether nothing at all may be shown of a delivery any more.
    pub(super) fn is_gone(&self, n: usize) -> bool {
        self.deliveries[n].as_ref().is_none_or(|delivery| {
            let completed = delivery.completed_at();
            completed.is_some_and(|at| self.now.since(at) >= 600_000)
        })
    }

    fn courier_of(&self, delivery: &Delivery) -> Option<usize> {
        let id = delivery.courier_id.as_ref()?;
        COURIERS.iter().position(|courier| *courier == id.as_str())
    }

    /// The courier's open deliveries in their order.
    fn run(&self, courier: usize) -> Vec<&Delivery> {
        let mine = |d: &&Delivery| self.courier_of(d) == Some(courier) && d.status.is_open();
        let mut run: Vec<&Delivery> = self.deliveries.iter().flatten().filter(mine).collect();
        run.sort_by_key(|d| (d.sequence, d.id.clone()));
        run
    }

    /// Whether `position` is where the customer of another delivery, or a shop, would be drawn.
    fn is_others_stop(&self, mine: &Delivery, courier: usize, position: Position) -> bool {
        self.run(courier)
            .into_iter()
            .filter(|other| other.id != mine.id)
            .any(|other| {
                distance_m(position, other.dropoff.position) <= 200.0
                    || (matches!(other.status, Created | Assigned)
                        && distance_m(position, other.pickup.position) <= 200.0)
            })
    }

    fn is_next(&self, mine: &Delivery, courier: usize) -> bool {
        let run = self.run(courier);
        run.first().is_some_and(|first| first.id == mine.id)
    }

    fn picked_up_at(&self, delivery: &Delivery) -> Option<UnixMs> {
        let mut steps = delivery.timeline.iter().rev();
        steps
            .find(|step| step.status == PickedUp)
            .map(|step| step.at)
    }

    /// Whether the customer may know exactly that the courier is there.
    fn is_exact(&self, mine: &Delivery, place: Position) -> bool {
        !self.coarse || distance_m(place, mine.dropoff.position) <= 400.0
    }

    /// How a courier that is at `place` is shown.
    fn as_shown(&self, mine: &Delivery, place: Position) -> Position {
        if self.is_exact(mine, place) {
            return place;
        }
        let exact = LatLng::new(place.lat(), place.lon()).expect("finite");
        let middle = LatLng::from(exact.to_cell(Resolution::Nine));
        at(middle.lat(), middle.lng())
    }

    /// Why `shown` may not be shown as the courier's position.
    fn objection(&self, n: usize, shown: Position) -> Option<String> {
        let mine = self.deliveries[n].as_ref()?;
        if !matches!(mine.status, PickedUp | Arrived) {
            return Some(format!("the delivery is {}", mine.status.as_str()));
        }
        let Some(courier) = self.courier_of(mine) else {
            return Some("nobody has it".into());
        };
        let Some(began) = self.picked_up_at(mine) else {
            return Some("it was never picked up".into());
        };
        let others =
            |place| !self.is_next(mine, courier) && self.is_others_stop(mine, courier, place);
        if others(shown) {
            return Some("it is another's stop".into());
        }
        let fits = |(who, fix_time, received_at, place): &(usize, UnixMs, UnixMs, Position)| {
            let live = (*fix_time).min(*received_at);
            let recent = live >= began && self.now.since(live) <= 600_000;
            let there = self.as_shown(mine, *place) == shown && !others(*place);
            *who == courier && recent && there
        };
        (!self.fixes.iter().any(fits)).then(|| "no recent fix since the pick-up is there".into())
    }

    /// Why `corner` may not be part of the way that is drawn; `end` is the position shown with it.
    fn way_objection(&self, n: usize, corner: Position, end: Position) -> Option<String> {
        let mine = self.deliveries[n].as_ref()?;
        let courier = self.courier_of(mine)?;
        if !self.is_next(mine, courier) {
            return Some("it is not the next stop".into());
        }
        if !self.is_exact(mine, corner) {
            return Some("the courier is not near yet".into());
        }
        let completed: Vec<(UnixMs, Position)> = self
            .deliveries
            .iter()
            .flatten()
            .filter(|d| self.courier_of(d) == Some(courier))
            .filter(|d| matches!(d.status, Delivered | Failed))
            .filter_map(|d| Some((d.completed_at()?, d.dropoff.position)))
            .collect();
        let previous = completed.iter().map(|(at, _)| *at).max();
        // Of two that were completed at the same instant either may count.
        let mut doors = completed
            .iter()
            .filter(|(at, _)| Some(*at) == previous)
            .peekable();
        if doors.peek().is_some() && doors.all(|(_, door)| distance_m(corner, *door) < 300.0) {
            return Some("it is within 300 m of the previous stop".into());
        }
        let was_there = |since: UnixMs| {
            self.fixes.iter().any(|(who, fix_time, _, place)| {
                *who == courier && *place == corner && *fix_time >= since
            })
        };
        if corner == end {
            let there = was_there(UnixMs(i64::MIN));
            return match there {
                true => self.objection(n, corner),
                false => Some("the courier was never exactly there".into()),
            };
        }
        let since = self.picked_up_at(mine)?.max(previous.unwrap_or(UnixMs(0)));
        if !was_there(since) {
            return Some("the courier was not there since the previous stop".into());
        }
        self.is_others_stop(mine, courier, corner)
            .then(|| "it is another's stop".into())
    }

    /// Looks through a message to the customer of delivery `n` for what must not be in it.
    pub(super) fn check(&self, n: usize, text: &str) -> Result<Found, TestCaseError> {
        let message: Value = serde_json::from_str(text).expect("JSON");
        let position = match message["type"].as_str() {
            Some("fix") => Some(&message),
            _ => Some(&message["position"]).filter(|p| p.is_object()),
        };
        let shown = position.map(|p| lat_lon(&p["lat"], &p["lon"]));
        if let Some(objection) = shown.and_then(|shown| self.objection(n, shown)) {
            return Err(TestCaseError::fail(format!("{objection}: {text}")));
        }
        for corner in message["path"].as_array().into_iter().flatten() {
            let end = shown.ok_or_else(|| TestCaseError::fail(format!("a path alone: {text}")))?;
            let corner = lat_lon(&corner[1], &corner[0]);
            if let Some(objection) = self.way_objection(n, corner, end) {
                return Err(TestCaseError::fail(format!("path, {objection}: {text}")));
            }
        }
        if message["route"].is_array() {
            // It leads along public roads from where the courier may be shown; whether there may be
            // one at all is what its beginning says.
            let from =
                shown.ok_or_else(|| TestCaseError::fail(format!("a route alone: {text}")))?;
            if let Some(objection) = self.way_objection(n, from, from) {
                return Err(TestCaseError::fail(format!("route, {objection}: {text}")));
            }
            let begin = &message["route"][0];
            prop_assert_eq!(lat_lon(&begin[1], &begin[0]), from, "{}", text);
        }
        // Nothing else in it may look like a place: only the customer's own door does.
        let places = text.matches("\"lat\":").count();
        let door = usize::from(message["delivery"]["dropoff"].is_object());
        prop_assert_eq!(places, door + usize::from(shown.is_some()), "{}", text);
        Ok(Found {
            position: shown.is_some(),
            route: message["route"].is_array(),
        })
    }
}

/// What a message held.
pub(super) struct Found {
    pub(super) position: bool,
    pub(super) route: bool,
}

fn lat_lon(lat: &Value, lon: &Value) -> Position {
    at(
        lat.as_f64().expect("a latitude"),
        lon.as_f64().expect("a longitude"),
    )
}
