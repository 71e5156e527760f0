//! No customer ever receives a position outside what the rules allow, whatever happens.
//!
//! Random histories of a run of several stops; after each event everything that customers are sent
//! is looked through for coordinates, and each is held against the rules as they are written for
//! people, computed anew from the history alone. Sockets and event streams send the frames that
//! [`TrackSession::next`] gives, polling what `snapshot_now` gives: both are looked through.

use std::sync::{Arc, OnceLock};

use proptest::prelude::*;
use serde_json::Value;
use uuid::Uuid;

use super::topic::Told;
use super::{Brand, TrackSession, Tracks, World};
use crate::config::{Config, RoadsConfig};
use crate::directory::{Directory, Link, TokenHash};
use crate::domain::DeliveryStatus::{Assigned, Cancelled, Created, Delivered, Failed, PickedUp};
use crate::domain::geo::{destination, distance_m};
use crate::domain::{Delivery, DeliveryStatus, Position, UnixMs};
use crate::live_map::state::LiveState;
use crate::live_map::test_kit::{T0, at, courier_id, delivery, stepped, upload};
use crate::live_map::visibility::Rules;
use crate::roads::Roads;

const DELIVERIES: usize = 4;
const COURIERS: [&str; 2] = ["c-1", "c-2"];

/// Something that happens.
#[derive(Debug, Clone)]
enum Event {
    /// A courier is seen near a stop (or far from all), some time ago.
    Fix {
        courier: usize,
        near: usize,
        away_m: f64,
        bearing: f64,
        ago_s: i64,
    },
    /// A delivery takes a step, if it may; the step may have been taken some time ago.
    Step {
        delivery: usize,
        status: DeliveryStatus,
        ago_s: i64,
    },
    /// A delivery gets another place in the run, or another courier.
    Move {
        delivery: usize,
        sequence: i32,
        courier: usize,
    },
    /// A delivery is taken out of the books.
    Remove { delivery: usize },
    /// Time goes by.
    Wait { s: i64 },
    /// A customer opens the page anew.
    Reload { delivery: usize },
}

fn event() -> impl Strategy<Value = Event> {
    let status = prop::sample::select(DeliveryStatus::ALL.to_vec());
    prop_oneof![
        6 => (0..2_usize, 0..=DELIVERIES * 2, 0.0..600.0_f64, 0.0..360.0_f64, 0..40_i64).prop_map(
            |(courier, near, away_m, bearing, ago_s)| {
                // Now and then one that comes very late.
                let ago_s = if ago_s > 35 { ago_s * 20 } else { ago_s };
                Event::Fix { courier, near, away_m, bearing, ago_s }
            }
        ),
        3 => (0..DELIVERIES, status, 0..60_i64).prop_map(|(delivery, status, ago_s)| {
            Event::Step { delivery, status, ago_s }
        }),
        1 => (0..DELIVERIES, 0..5_i32, 0..6_usize).prop_map(|(delivery, sequence, courier)| {
            Event::Move { delivery, sequence, courier: courier / 5 }
        }),
        1 => (0..DELIVERIES * 4).prop_map(|n| match n {
            n if n < DELIVERIES => Event::Remove { delivery: n },
            n => Event::Reload { delivery: n % DELIVERIES },
        }),
        3 => (1..90_i64).prop_map(|s| Event::Wait { s: if s > 85 { s * 10 } else { s } }),
    ]
}

/// Doors and shops; some within the private radius of another.
fn place(n: usize) -> Position {
    let middle = at(35.9, 14.5);
    match n {
        0 => middle,
        1 => destination(middle, 80.0, 250.0),
        2 => destination(middle, 200.0, 900.0),
        3 => destination(middle, 10.0, 150.0),
        n => destination(middle, 60.0 * n as f64, 1_500.0),
    }
}

/// Everything that happened, as a person would note it.
struct History {
    now: UnixMs,
    deliveries: Vec<Option<Delivery>>,
    /// Courier, fix time, when it came, where.
    fixes: Vec<(usize, UnixMs, UnixMs, Position)>,
}

impl History {
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

    fn picked_up_at(&self, delivery: &Delivery) -> Option<UnixMs> {
        let mut steps = delivery.timeline.iter().rev();
        steps
            .find(|step| step.status == PickedUp)
            .map(|step| step.at)
    }

    /// Why `shown` may not be shown as the courier's position.
    fn objection(&self, n: usize, shown: Position) -> Option<String> {
        let mine = self.deliveries[n].as_ref()?;
        if !matches!(mine.status, PickedUp | DeliveryStatus::Arrived) {
            return Some(format!("the delivery is {}", mine.status.as_str()));
        }
        let Some(courier) = self.courier_of(mine) else {
            return Some("nobody has it".into());
        };
        let Some(began) = self.picked_up_at(mine) else {
            return Some("it was never picked up".into());
        };
        let fits = |(who, fix_time, received_at, place): &(usize, UnixMs, UnixMs, Position)| {
            let live = (*fix_time).min(*received_at);
            *who == courier && *place == shown && live >= began && self.now.since(live) <= 600_000
        };
        if !self.fixes.iter().any(fits) {
            return Some("no recent fix since the pick-up is there".into());
        }
        let next = self
            .run(courier)
            .first()
            .is_some_and(|first| first.id == mine.id);
        (!next && self.is_others_stop(mine, courier, shown)).then(|| "it is another's stop".into())
    }

    /// Why `corner` may not be part of the way that is drawn; `end` is the position shown with it.
    fn way_objection(&self, n: usize, corner: Position, end: Position) -> Option<String> {
        let mine = self.deliveries[n].as_ref()?;
        let courier = self.courier_of(mine)?;
        if self
            .run(courier)
            .first()
            .is_none_or(|first| first.id != mine.id)
        {
            return Some("it is not the next stop".into());
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
        if corner == end {
            return self.objection(n, corner);
        }
        let since = self.picked_up_at(mine)?.max(previous.unwrap_or(UnixMs(0)));
        let fits = |(who, fix_time, _, place): &(usize, UnixMs, UnixMs, Position)| {
            *who == courier && *place == corner && *fix_time >= since
        };
        if !self.fixes.iter().any(fits) {
            return Some("the courier was not there since the previous stop".into());
        }
        self.is_others_stop(mine, courier, corner)
            .then(|| "it is another's stop".into())
    }

    /// Looks through a message for what must not be in it.
    fn check(&self, n: usize, text: &str) -> Result<(), TestCaseError> {
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
        Ok(())
    }
}

fn lat_lon(lat: &Value, lon: &Value) -> Position {
    at(
        lat.as_f64().expect("a latitude"),
        lon.as_f64().expect("a longitude"),
    )
}

/// The bundled roads, read once: routes must be checked as well.
fn roads() -> Roads {
    static ROADS: OnceLock<Roads> = OnceLock::new();
    let open = || {
        let cache = tempfile::tempdir().expect("a folder");
        Roads::open(&RoadsConfig { file: None }, cache.path()).expect("the bundled roads")
    };
    ROADS.get_or_init(open).clone()
}

/// Customers of every delivery, and the world that they look at.
struct Stage {
    directory: Arc<Directory>,
    state: Arc<LiveState>,
    tracks: Arc<Tracks>,
    sessions: Vec<TrackSession>,
    history: History,
    /// Positions and routes that were shown at all: a test that shows nothing proves nothing.
    shown: usize,
    routes: usize,
}

impl Stage {
    fn new() -> Self {
        let directory = Directory::new();
        let state = Arc::new(LiveState::default());
        let config = Config::defaults().expect("defaults");
        let world = World {
            directory: directory.clone(),
            state: state.clone(),
            roads: roads(),
            rules: Rules::new(&config.live_map),
            brand: Brand::new(&config.web),
        };
        let mut deliveries = Vec::new();
        for n in 0..DELIVERIES {
            let mut new = delivery(&format!("d-{n}"), Some(COURIERS[0]), n as i32, place(n));
            new.pickup.position = place(DELIVERIES + n / 2);
            let assigned = stepped(new, Assigned, T0);
            directory.put_delivery(assigned.clone());
            directory.put_link(link(n));
            deliveries.push(Some(assigned));
        }
        let mut stage = Self {
            directory,
            state,
            tracks: Arc::new(Tracks::new(world, 1)),
            sessions: Vec::new(),
            history: History {
                now: T0,
                deliveries,
                fixes: Vec::new(),
            },
            shown: 0,
            routes: 0,
        };
        stage.sessions = (0..DELIVERIES).map(|n| stage.join(n)).collect();
        stage
    }

    fn join(&self, n: usize) -> TrackSession {
        let joined = self.tracks.join(Arc::new(link(n)), None, self.history.now);
        joined.expect("room for a viewer")
    }

    fn put(&mut self, n: usize, changed: Delivery) {
        self.directory.put_delivery(changed.clone());
        self.tracks.wake_delivery(&changed.id);
        self.history.deliveries[n] = Some(changed);
    }

    fn happen(&mut self, event: &Event) {
        let now = self.history.now;
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
                self.state.apply(&courier_id(COURIERS[courier]), &batch);
                self.history.fixes.push((courier, fix_time, now, position));
            }
            Event::Step {
                delivery: n,
                status,
                ago_s,
            } => {
                let old = self.history.deliveries[n].clone();
                if let Some(old) = old.filter(|old| old.status.may_become(status)) {
                    self.put(n, stepped(old, status, now.plus_ms(-ago_s * 1000)));
                }
            }
            Event::Move {
                delivery: n,
                sequence,
                courier,
            } => {
                if let Some(mut moved) = self.history.deliveries[n].clone()
                    && moved.status.is_open()
                {
                    moved.sequence = sequence;
                    moved.courier_id = Some(courier_id(COURIERS[courier]));
                    self.put(n, moved);
                }
            }
            Event::Remove { delivery: n } => {
                // Those that were completed stay in the books for a while.
                let open = |d: &Delivery| d.status.is_open() || d.status == Cancelled;
                if let Some(gone) = self.history.deliveries[n].take_if(|d| open(d)) {
                    self.directory.remove_delivery(&gone.id);
                    self.tracks.wake_delivery(&gone.id);
                }
            }
            Event::Wait { s } => self.history.now = now.plus_ms(s * 1000),
            Event::Reload { delivery: n } => self.sessions[n] = self.join(n),
        }
    }

    /// Looks through everything that customers are sent now.
    fn look(&mut self) -> Result<(), TestCaseError> {
        let now = self.history.now;
        for n in 0..DELIVERIES {
            let mut texts = Vec::new();
            let told = self.sessions[n].next(now, |told| {
                if let Told::Frame(text, _) = told {
                    texts.push(text.as_str().to_owned());
                }
            });
            let completed = self.history.deliveries[n]
                .as_ref()
                .and_then(Delivery::completed_at);
            let gone = self.history.deliveries[n].is_none()
                || completed.is_some_and(|at| now.since(at) >= 600_000);
            prop_assert_eq!(told.is_err(), gone);
            let topic = self.tracks.topic(&link(n).delivery_id);
            match topic.snapshot_now(&self.tracks.world, now) {
                Ok(polled) => texts.push(polled),
                Err(_) => prop_assert!(gone),
            }
            for text in &texts {
                self.history.check(n, text)?;
                self.shown += usize::from(!text.contains("\"position\":null"));
                self.routes += usize::from(text.contains("\"route\":[["));
            }
        }
        Ok(())
    }
}

fn link(n: usize) -> Link {
    Link {
        id: Uuid::from_u128(n as u128),
        delivery_id: format!("d-{n}").as_str().try_into().expect("an id"),
        expires_at: T0.plus_ms(i64::MAX / 2),
        token_hash: TokenHash([n as u8; 32]),
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 400, ..ProptestConfig::default() })]

    #[test]
    fn no_customer_receives_a_position_outside_the_rules(
        events in prop::collection::vec(event(), 1..80),
    ) {
        let mut stage = Stage::new();
        // Everybody's goods are on board, so that there is something to be seen from the start.
        for n in 0..DELIVERIES - 1 {
            stage.happen(&Event::Step { delivery: n, status: PickedUp, ago_s: 0 });
        }
        stage.look()?;
        for event in &events {
            stage.happen(event);
            stage.look()?;
        }
    }
}

/// The property would hold for a map that shows nothing: a plain history must show the courier.
#[test]
fn what_the_rules_allow_is_shown() {
    let mut stage = Stage::new();
    stage.happen(&Event::Step {
        delivery: 0,
        status: PickedUp,
        ago_s: 0,
    });
    stage.happen(&Event::Wait { s: 5 });
    let fix = Event::Fix {
        courier: 0,
        near: 0,
        away_m: 500.0,
        bearing: 300.0,
        ago_s: 0,
    };
    stage.happen(&fix);
    stage.look().expect("all within the rules");
    assert!(stage.shown >= 2, "the courier is neither told nor polled");
    assert!(stage.routes >= 1, "the way ahead is not told");
}
