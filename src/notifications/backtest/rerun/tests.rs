//! Rules over a past made by hand: steps, windows and silence, each at its time.

use super::*;
use crate::domain::{DeliveryId, Fix, Place, Position, Window, geo};
use crate::roads::Roads;

const START: UnixMs = UnixMs(1_800_000_000_000);

fn at(s: i64) -> UnixMs {
    START.plus_ms(s * 1000)
}

fn door() -> Position {
    Position::from_any_degrees(35.9, 14.5)
}

fn courier(n: usize) -> CourierId {
    CourierId::try_from(format!("c-{n}")).expect("an id")
}

/// Delivery `d-1` with these steps (seconds), held from `from` until `until`.
fn then(steps: &[(DeliveryStatus, i64)], from: i64, until: i64, window_to: i64) -> DeliveryThen {
    let place = |north_m| Place {
        position: geo::destination(door(), 0.0, north_m),
        label: None,
    };
    let step = |(status, s): &(DeliveryStatus, i64)| TimelineEntry {
        status: *status,
        at: at(*s),
    };
    DeliveryThen {
        delivery: Delivery {
            id: DeliveryId::try_from("d-1").expect("an id"),
            courier_id: None,
            status: DeliveryStatus::Created,
            sequence: 0,
            pickup: place(9_000.0),
            dropoff: place(0.0),
            window: Some(Window {
                from: START,
                to: at(window_to),
            }),
            timeline: Vec::new(),
            reference: None,
            tags: Box::default(),
            version: 0,
        },
        from: at(from),
        until: at(until),
        steps: steps.iter().map(step).collect(),
    }
}

fn rerun(past: Past, rules: RuleSet, ends: i64) -> Rerun {
    let ruling = Ruling {
        rules,
        fences: FenceIndex::default(),
        estimates: Estimates {
            roads: Roads::none(),
        },
        directory: Directory::new(),
        begins: START,
        keep_from: START,
        ends: at(ends),
    };
    Rerun::new(ruling, past)
}

fn upload(s: i64, north_m: f64) -> FixBatch {
    FixBatch {
        received_at: at(s),
        fixes: vec![Fix::new(at(s), geo::destination(door(), 0.0, north_m))],
        sos: false,
    }
}

fn told(rerun: Rerun) -> Vec<(EventType, i64)> {
    let told = rerun.finish().expect("not too many");
    told.into_iter()
        .map(|(_, t)| (t.kind, t.at.since(START) / 1000))
        .collect()
}

fn quiet() -> RuleSet {
    RuleSet {
        approaching_s: 0.0,
        offline_after_s: 0,
        stopped_after_s: 0,
        ..RuleSet::default()
    }
}

fn past(n: usize, deliveries: Vec<DeliveryThen>, duty: Vec<(UnixMs, bool)>) -> Past {
    [(courier(n), CourierThen { deliveries, duty })]
        .into_iter()
        .collect()
}

use DeliveryStatus::{Assigned, Delivered, PickedUp};

#[test]
fn steps_happen_at_their_time_and_the_rules_take_their_own() {
    let steps = [(Assigned, 0), (PickedUp, 100), (Delivered, 300)];
    let delivery = then(&steps, 0, 1_000_000, 1_000_000);
    let mut rerun = rerun(past(1, vec![delivery], vec![]), quiet(), 1_000);
    // At the door before the goods were fetched, after it, and after the end.
    for s in (0..400).step_by(10) {
        rerun.take(&courier(1), &upload(s, 20.0)).expect("judged");
    }
    assert_eq!(
        told(rerun),
        [
            (EventType::DeliveryApproaching, 100),
            (EventType::DeliveryArrived, 100)
        ]
    );
}

#[test]
fn a_delivery_that_was_handed_over_is_each_couriers_own_time() {
    let steps = [(Assigned, 0), (PickedUp, 0)];
    let first = then(&steps, 0, 100, 1_000_000);
    let second = then(&steps, 100, 1_000_000, 1_000_000);
    let mut both = past(1, vec![first], vec![]);
    both.extend(past(2, vec![second], vec![]));
    let mut rerun = rerun(both, quiet(), 1_000);
    for s in (0..200).step_by(10) {
        // The first comes too late, the second is there at the right time.
        let north_m = if s < 100 { 4_000.0 } else { 20.0 };
        rerun
            .take(&courier(1), &upload(s, north_m))
            .expect("judged");
        rerun.take(&courier(2), &upload(s, 20.0)).expect("judged");
    }
    let told = rerun.finish().expect("not too many");
    assert!(told.iter().all(|(who, _)| *who == courier(2)), "{told:?}");
    assert_eq!(told.len(), 2);
}

#[test]
fn a_window_is_missed_at_its_time_whether_or_not_anything_is_heard() {
    let late = then(
        &[(Assigned, 0), (PickedUp, 10), (Delivered, 700)],
        0,
        1_000_000,
        600,
    );
    let in_time = then(
        &[(Assigned, 0), (PickedUp, 10), (Delivered, 500)],
        0,
        1_000_000,
        600,
    );
    for (delivery, expected) in [
        (late, vec![(EventType::DeliveryDelayed, 600)]),
        (in_time, vec![]),
    ] {
        let past = past(1, vec![delivery], vec![]);
        assert_eq!(told(rerun(past, quiet(), 1_000)), expected);
    }
}

#[test]
fn who_is_off_duty_may_be_silent() {
    let rules = RuleSet {
        offline_after_s: 300,
        ..quiet()
    };
    let duty = vec![(at(100), false), (at(5_000), true)];
    let mut rerun = rerun(past(1, vec![], duty), rules, 10_000);
    rerun.take(&courier(1), &upload(50, 0.0)).expect("judged");
    assert_eq!(told(rerun), [(EventType::CourierOffline, 5_300)]);
}

#[test]
fn more_events_than_fit_are_refused() {
    let rules = RuleSet {
        offline_after_s: 1,
        ..quiet()
    };
    let mut rerun = rerun(Past::default(), rules, 1_000_000);
    let refused =
        (0..MAX_TOLD as i64).find_map(|n| rerun.take(&courier(1), &upload(n * 5, 0.0)).err());
    assert!(refused.expect("refused").to_string().contains("100000"));
}
