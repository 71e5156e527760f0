//! Couriers alone, without a network; `wire.rs` has those with one.

mod eta;
mod wire;

use std::collections::HashMap;
use std::sync::OnceLock;

use super::courier::{Act, Role};
use super::fleet::Step;
use super::phone::Phone;
use super::*;
use crate::domain::{DeliveryId, DeliveryStatus, Position, geo};

const EPOCH_MS: i64 = 1_800_000_000_000;
const HOUR_MS: i64 = 3_600_000;

/// The bundled roads and their places, prepared once for all tests.
fn malta() -> (Roads, World) {
    static MALTA: OnceLock<(Roads, World)> = OnceLock::new();
    MALTA
        .get_or_init(|| {
            let dir = tempfile::tempdir().expect("a folder");
            let config = RoadsConfig { file: None };
            let (roads, stops) = Roads::open_with_stops(&config, dir.path()).expect("roads");
            let world = World::new(roads.clone(), stops).expect("places");
            (roads, world)
        })
        .clone()
}

fn fleet(couriers: usize, seed: u64, tick_ms: i64) -> Fleet {
    Fleet::new(malta().1, couriers, seed, EPOCH_MS, tick_ms)
}

fn steps(fleet: &mut Fleet, until_ms: i64) -> Vec<Step> {
    let mut steps = Vec::new();
    while fleet.next_ms() < until_ms {
        steps.push(fleet.step().expect("a step"));
    }
    steps
}

#[test]
fn the_same_seed_gives_the_same_lives_however_often_they_are_looked_at() {
    let acts = |seed: u64, tick_ms: i64| {
        let mut all = HashMap::<usize, Vec<(i64, Act)>>::new();
        for step in steps(&mut fleet(12, seed, tick_ms), EPOCH_MS + HOUR_MS) {
            // The relay is sent off at the first look after it is needed.
            if step.courier > 3 {
                all.entry(step.courier).or_default().extend(step.acts);
            }
        }
        // A few seconds at the end are seen by one and not yet by the other.
        all.values_mut()
            .for_each(|acts| acts.retain(|act| act.0 < EPOCH_MS + HOUR_MS - 10_000));
        all
    };
    let first = acts(7, 5_000);
    assert!(first.values().map(Vec::len).sum::<usize>() > 50);
    assert!(first == acts(7, 5_000));
    assert!(first == acts(7, 1_000));
    assert!(first != acts(8, 5_000));
}

#[test]
fn deliveries_take_legal_steps_at_the_right_places() {
    let mut fleet = fleet(40, 3, 5_000);
    let mut known: HashMap<DeliveryId, (DeliveryStatus, courier::Order)> = HashMap::new();
    let mut before: HashMap<usize, (i64, Position)> = HashMap::new();
    let (mut runs_of_several, mut unassigned_first, mut late) = (0, 0, 0);
    for step in steps(&mut fleet, EPOCH_MS + 4 * HOUR_MS) {
        let here = step.place.position;
        if let Some((then_ms, there)) = before.insert(step.courier, (step.at_ms, here)) {
            let mps = geo::distance_m(there, here) / ((step.at_ms - then_ms) as f64 / 1000.0);
            assert!(mps < 45.0, "courier {} at {mps} m/s", step.courier);
        }
        for (at_ms, act) in step.acts {
            assert!(
                at_ms <= step.at_ms && at_ms > step.at_ms - 6_000 || step.at_ms < EPOCH_MS + 6_000
            );
            match act {
                Act::Create { orders, assign } => {
                    runs_of_several += usize::from(orders.len() > 1);
                    unassigned_first += usize::from(!assign);
                    let status = if assign {
                        DeliveryStatus::Assigned
                    } else {
                        DeliveryStatus::Created
                    };
                    for order in orders {
                        let is_new = known.insert(order.id.clone(), (status, order)).is_none();
                        assert!(is_new, "an id was used twice");
                    }
                }
                Act::Assign(id) => {
                    let known = known.get_mut(&id).expect("a known delivery");
                    assert!(known.0.may_become(DeliveryStatus::Assigned));
                    known.0 = DeliveryStatus::Assigned;
                }
                Act::Status(id, status) => {
                    let (was, order) = known.get_mut(&id).expect("a known delivery");
                    assert!(was.may_become(status), "{id}: {was:?} → {status:?}");
                    let place = if status == DeliveryStatus::PickedUp {
                        order.pickup.position
                    } else {
                        late += usize::from(at_ms > order.window_ms.1);
                        order.dropoff.position
                    };
                    let away_m = geo::distance_m(place, here);
                    assert!(away_m < 150.0, "{id} is {status:?} {away_m} m away");
                    *was = status;
                }
            }
        }
    }
    let completed = known
        .values()
        .filter(|(status, _)| !status.is_open())
        .count();
    assert!(completed > 300, "{completed} deliveries");
    assert!(
        runs_of_several > 20 && unassigned_first > 5,
        "{runs_of_several}, {unassigned_first}"
    );
    assert!(
        late > 3 && late * 5 < completed,
        "{late} of {completed} late"
    );
    // Those whose life goes on are told to a server that does not know them.
    let present = Crew::new(fleet, 3).present();
    let open = known
        .iter()
        .filter(|(_, (status, _))| status.is_open())
        .map(|(id, _)| id);
    assert_eq!(
        open.cloned().collect::<std::collections::BTreeSet<_>>(),
        present
    );
}

#[test]
fn somebody_always_has_five_minutes_to_go() {
    for seed in 0..4 {
        let mut fleet = fleet(4, seed, 5_000);
        let warm_ms = EPOCH_MS + WARM_UP_MS;
        steps(&mut fleet, warm_ms);
        let mut least_ms = i64::MAX;
        while fleet.next_ms() < warm_ms + 24 * HOUR_MS {
            let at_ms = fleet.step().expect("a step").at_ms;
            let (_, to_go_ms) = fleet.longest_to_go(at_ms).expect("somebody is on the way");
            least_ms = least_ms.min(to_go_ms);
        }
        assert!(least_ms > 5 * 60_000 + 20_000, "seed {seed}: {least_ms} ms");
    }
}

#[test]
fn phones_err_by_a_few_metres_and_lose_the_network() {
    let mut fleet = fleet(40, 5, 5_000);
    let mut phones: Vec<Phone> = (0..40)
        .map(|number| Phone::new(number, fleet.couriers[number].role, 5))
        .collect();
    let (mut errors_m, mut offline, mut tunnel) = (Vec::new(), 0, 0);
    for step in steps(&mut fleet, EPOCH_MS + 2 * HOUR_MS) {
        let phone = &mut phones[step.courier];
        let fix = phone.fix(step.at_ms, &step.place);
        let seen = Position::from_degrees(fix.lat, fix.lon).expect("a position");
        let error_m = geo::distance_m(seen, step.place.position);
        assert!(fix.accuracy_m.is_some_and(|m| f64::from(m) > error_m / 6.0));
        assert!(
            fix.heading_deg
                .is_none_or(|deg| (0.0..360.0).contains(&deg))
        );
        errors_m.push(error_m);
        if phone.is_offline(step.at_ms) {
            let role = fleet.couriers[step.courier].role;
            *(if role == Role::Tunnel {
                &mut tunnel
            } else {
                &mut offline
            }) += 1;
        }
    }
    errors_m.sort_unstable_by(f64::total_cmp);
    let p = |share: f64| errors_m[(errors_m.len() as f64 * share) as usize];
    assert!(
        (2.0..8.0).contains(&p(0.5)) && p(0.95) < 15.0 && p(0.999) > 25.0,
        "{} {}",
        p(0.5),
        p(0.95)
    );
    let fixes = errors_m.len() / 40;
    assert!(
        (fixes / 2..fixes * 2 / 3).contains(&tunnel),
        "{tunnel} of {fixes} in the tunnel"
    );
    assert!(
        offline > 20 && offline < fixes * 39 / 20,
        "{offline} of {}",
        fixes * 39
    );
}

#[test]
fn history_comes_first_and_the_present_after_it() {
    let now_ms = EPOCH_MS + HOUR_MS;
    let mut crew = Crew::new(fleet(10, 2, FIX_EVERY_MS), 2);
    crew.fast_forward(now_ms, Some(HISTORY_EVERY_MS));
    let mut on_the_way = 0;
    for line in &mut crew.lines {
        let (mut times, mut acts) = (Vec::new(), 0);
        while let Some(item) = line.outbox.pop() {
            match item {
                outbox::Item::Fixes(fixes) => {
                    assert_eq!(acts, 0, "history comes first");
                    assert!(fixes.len() <= outbox::MAX_UPLOAD);
                    times.extend(fixes.iter().map(|fix| fix.fix_time));
                }
                _ => acts += 1,
            }
        }
        assert_eq!(times.len(), 240);
        assert!(times.is_sorted() && times[239] < now_ms && times[0] >= EPOCH_MS);
        on_the_way += usize::from(acts > 0);
    }
    assert!(
        on_the_way >= 7,
        "{on_the_way} of 10 couriers have something to do"
    );
}

#[test]
fn an_extract_without_places_is_refused_with_the_reason() {
    let (roads, _) = malta();
    let error = World::new(roads.clone(), crate::roads::Stops::default()).expect_err("no shops");
    assert!(error.to_string().contains("no food shops"));
    let shop = crate::roads::Stop {
        position: Position::from_degrees(35.8955, 14.5085).expect("a position"),
        label: "Kiosk".into(),
    };
    let stops = crate::roads::Stops {
        shops: vec![shop],
        doors: vec![],
    };
    assert!(
        World::new(roads, stops)
            .expect_err("no doors")
            .to_string()
            .contains("0 house numbers")
    );
}
