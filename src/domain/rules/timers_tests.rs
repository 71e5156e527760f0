//! Silence, standing still, and missed windows.

use std::sync::{Arc, LazyLock};

use super::*;
use crate::domain::eta::{Ahead, Pace, estimate};
use crate::domain::event::EventType;
use crate::domain::{
    Delivery, DeliveryId, DeliveryStatus, Fix, FixBatch, Place, Position, TimelineEntry, UnixMs,
    Window, geo,
};

const START: UnixMs = UnixMs(1_800_000_000_000);
static NO_FENCES: LazyLock<FenceIndex> = LazyLock::new(FenceIndex::default);

fn home() -> Position {
    Position::from_any_degrees(35.9, 14.5)
}

fn delivery(window_to_s: i64) -> Arc<Delivery> {
    let place = |north_m| Place {
        position: geo::destination(home(), 0.0, north_m),
        label: None,
    };
    Arc::new(Delivery {
        id: DeliveryId::try_from("d-1").expect("an id"),
        courier_id: None,
        status: DeliveryStatus::PickedUp,
        sequence: 0,
        pickup: place(-3_000.0),
        dropoff: place(3_000.0),
        window: Some(Window {
            from: START,
            to: START.plus_ms(window_to_s * 1000),
        }),
        timeline: vec![TimelineEntry {
            status: DeliveryStatus::PickedUp,
            at: START,
        }],
        reference: None,
        tags: Box::default(),
        version: 1,
    })
}

fn at(s: i64) -> UnixMs {
    START.plus_ms(s * 1000)
}

fn fix(s: i64, north_m: f64) -> FixBatch {
    let fix = Fix::new(at(s), geo::destination(home(), 0.0, north_m));
    FixBatch {
        received_at: at(s),
        fixes: vec![fix],
        sos: false,
    }
}

fn kinds(told: &[Told]) -> Vec<EventType> {
    told.iter().map(|t| t.kind).collect()
}

#[test]
fn a_silent_phone_is_offline_once_and_online_when_it_is_heard() {
    let rules = RuleSet::default();
    let ground = Ground {
        rules: &rules,
        run: &[],
        fences: &NO_FENCES,
    };
    let (mut state, mut told) = (CourierState::default(), Vec::new());
    state.miss(true, (at(10_000), at(0)), &rules, &mut told);
    assert_eq!(
        kinds(&told),
        [],
        "one that was never heard of is not missed"
    );
    state.see(&fix(0, 0.0), ground, &mut told);
    // Whoever has been listening for a minute has heard no silence of five.
    state.miss(true, (at(3_600), at(3_540)), &rules, &mut told);
    assert_eq!(kinds(&told), []);
    state.miss(true, (at(299), at(-100)), &rules, &mut told);
    assert_eq!(kinds(&told), []);
    for s in [300, 305, 310] {
        state.miss(true, (at(s), at(-100)), &rules, &mut told);
    }
    assert_eq!(kinds(&told), [EventType::CourierOffline]);
    assert_eq!(told[0].at, at(300));
    let mut state = CourierState::from_bytes(&state.to_bytes()).expect("own bytes");
    let heartbeat = FixBatch {
        received_at: at(900),
        fixes: vec![],
        sos: false,
    };
    state.see(&heartbeat, ground, &mut told);
    assert_eq!(
        kinds(&told),
        [EventType::CourierOffline, EventType::CourierOnline]
    );
    assert_eq!(told[1].evidence.lasted_s, Some(900));
    // Off duty a phone may be silent, and afterwards the time begins anew.
    state.miss(false, (at(5_000), at(-100)), &rules, &mut told);
    state.miss(true, (at(5_200), at(-100)), &rules, &mut told);
    assert_eq!(told.len(), 2);
    state.miss(true, (at(5_300), at(-100)), &rules, &mut told);
    assert_eq!(kinds(&told[2..]), [EventType::CourierOffline]);
}

#[test]
fn standing_still_with_a_delivery_away_from_stops_is_told_once() {
    let rules = RuleSet {
        approaching_s: 0.0,
        ..RuleSet::default()
    };
    let run = [delivery(100_000)];
    let ground = Ground {
        rules: &rules,
        run: &run,
        fences: &NO_FENCES,
    };
    let stand = |north_m: f64, run: &[Arc<Delivery>]| {
        let (mut state, mut told) = (CourierState::default(), Vec::new());
        for s in (0..1_500).step_by(15) {
            let jitter_m = if s % 2 == 0 { 20.0 } else { -20.0 };
            // One lying fix does not set him moving.
            let north_m = if s == 300 {
                north_m + 900.0
            } else {
                north_m + jitter_m
            };
            state.see(&fix(s, north_m), Ground { run, ..ground }, &mut told);
        }
        told
    };
    let told = stand(0.0, &run);
    assert_eq!(kinds(&told), [EventType::CourierStopped]);
    assert_eq!(told[0].at, at(600));
    assert_eq!(
        kinds(&stand(0.0, &[])),
        [],
        "without a delivery he may rest"
    );
    let at_door = kinds(&stand(2_950.0, &run));
    assert!(
        !at_door.contains(&EventType::CourierStopped),
        "at a stop he works"
    );
}

#[test]
fn a_missed_window_is_told_once_and_an_old_one_is_no_alarm() {
    let rules = RuleSet::default();
    let (mut state, mut told) = (CourierState::default(), Vec::new());
    let delivery = delivery(600);
    for s in [500, 600, 605, 610, 2_000] {
        state.wait_for(&delivery, at(s), &rules, &mut told);
    }
    assert_eq!(kinds(&told), [EventType::DeliveryDelayed]);
    assert_eq!((told[0].at, told[0].evidence.late), (at(600), false));
    let mut told = Vec::new();
    CourierState::default().wait_for(&delivery, at(90_000), &rules, &mut told);
    assert!(told[0].evidence.late);
}

#[test]
fn an_arrival_after_the_window_is_foreseen_and_one_soon_is_an_approach() {
    let rules = RuleSet::default();
    let run = [delivery(900)];
    let ground = Ground {
        rules: &rules,
        run: &run,
        fences: &NO_FENCES,
    };
    let (mut state, mut told) = (CourierState::default(), Vec::new());
    let mut drive = |s: i64, drive_s: f64, told: &mut Vec<Told>| {
        state.see(&fix(s, 0.0), ground, told);
        let (from, stops) = state.wants_estimate(ground).expect("due");
        assert_eq!(stops.len(), 1);
        state.observe(stops[0].position, drive_s);
        let ahead = Ahead {
            drive_s,
            stops_before: 0,
        };
        let eta = estimate(from.at, ahead, &Pace::default());
        let estimates: Vec<_> = stops.into_iter().map(|stop| (stop, eta)).collect();
        state.expect(&estimates, ground, told);
        assert!(state.wants_estimate(ground).is_none(), "not again so soon");
    };
    drive(0, 600.0, &mut told);
    assert_eq!(kinds(&told), []);
    drive(60, 2_000.0, &mut told);
    assert_eq!(kinds(&told), [EventType::DeliveryDelayed]);
    assert!(told[0].evidence.late_by_s.is_some_and(|s| s > 0));
    drive(120, 60.0, &mut told);
    assert_eq!(told.len(), 1, "one estimate may be wrong");
    drive(135, 50.0, &mut told);
    assert_eq!(kinds(&told[1..]), [EventType::DeliveryApproaching]);
    assert_eq!(told[1].evidence.rule, "approaching_soon");
}
