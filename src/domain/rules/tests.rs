//! Rules over whole tracks, as couriers drive them.

use std::sync::{Arc, LazyLock};

use super::*;
use crate::domain::event::EventType;
use crate::domain::{
    Delivery, DeliveryId, DeliveryStatus, Fix, FixBatch, Place, Position, TimelineEntry, UnixMs,
    geo,
};

const START: UnixMs = UnixMs(1_800_000_000_000);

fn dropoff() -> Position {
    Position::from_degrees(35.9, 14.5).expect("a position")
}

fn delivery(status: DeliveryStatus, sequence: i32) -> Arc<Delivery> {
    let place = |position| Place {
        position,
        label: None,
    };
    Arc::new(Delivery {
        id: DeliveryId::try_from(format!("d-{sequence}")).expect("an id"),
        courier_id: None,
        status,
        sequence,
        pickup: place(geo::destination(dropoff(), 0.0, 5_000.0)),
        dropoff: place(geo::destination(
            dropoff(),
            90.0,
            400.0 * f64::from(sequence),
        )),
        window: None,
        timeline: vec![TimelineEntry { status, at: START }],
        reference: None,
        tags: Box::default(),
        version: 1,
    })
}

static NO_FENCES: LazyLock<FenceIndex> = LazyLock::new(FenceIndex::default);

/// Without geofences.
fn ground<'a>(rules: &'a RuleSet, run: &'a [Arc<Delivery>]) -> Ground<'a> {
    Ground {
        rules,
        run,
        fences: &NO_FENCES,
    }
}

/// A track of (seconds after START, metres north of the drop-off, accuracy).
fn fixes(track: &[(i64, f64, f32)]) -> Vec<Fix> {
    let fix = |(s, north_m, accuracy_m): &(i64, f64, f32)| Fix {
        accuracy_m: Some(*accuracy_m),
        ..Fix::new(
            START.plus_ms(s * 1000),
            geo::destination(dropoff(), 0.0, *north_m),
        )
    };
    track.iter().map(fix).collect()
}

/// Each fix in an upload of its own, at once; what was told.
fn told(state: &mut CourierState, run: &[Arc<Delivery>], fixes: &[Fix]) -> Vec<Told> {
    let rules = RuleSet::default();
    let ground = ground(&rules, run);
    let mut told = Vec::new();
    for fix in fixes {
        let batch = FixBatch {
            received_at: fix.fix_time,
            fixes: vec![*fix],
            sos: false,
        };
        state.see(&batch, ground, &mut told);
        // What is stored between two uploads is all there is.
        *state = CourierState::from_bytes(&state.to_bytes()).expect("own bytes");
    }
    told
}

fn kinds(told: &[Told]) -> Vec<EventType> {
    told.iter().map(|t| t.kind).collect()
}

#[test]
fn a_courier_approaches_and_arrives_once() {
    let run = [delivery(DeliveryStatus::PickedUp, 0)];
    let track: Vec<_> = (0..40)
        .map(|i| (i * 5, (1_000.0 - 30.0 * i as f64).abs(), 8.0))
        .collect();
    let told = told(&mut CourierState::default(), &run, &fixes(&track));
    assert_eq!(
        kinds(&told),
        [EventType::DeliveryApproaching, EventType::DeliveryArrived]
    );
    let approaching = &told[0];
    // 490 m was the first fix within 500 m, 460 m the second, which confirmed it.
    assert_eq!(approaching.at, START.plus_ms(17 * 5_000));
    let distances: Vec<_> = approaching
        .evidence
        .fixes
        .iter()
        .map(|f| f.distance_m.expect("a distance").round())
        .collect();
    assert_eq!(distances, [460.0, 490.0, 520.0]);
    assert_eq!(approaching.evidence.radius_m, Some(500.0));
    assert!(!approaching.evidence.late);
}

#[test]
fn one_lying_fix_tells_nothing() {
    let run = [delivery(DeliveryStatus::PickedUp, 0)];
    let mut track: Vec<_> = (0..40)
        .map(|i| (i * 5, 3_000.0 - 10.0 * i as f64, 2.0))
        .collect();
    track[20].1 = 0.0;
    assert_eq!(
        kinds(&told(&mut CourierState::default(), &run, &fixes(&track))),
        []
    );
}

#[test]
fn vague_fixes_tell_nothing() {
    let run = [delivery(DeliveryStatus::PickedUp, 0)];
    let track: Vec<_> = (0..40).map(|i| (i * 5, 0.0, 800.0)).collect();
    assert_eq!(
        kinds(&told(&mut CourierState::default(), &run, &fixes(&track))),
        []
    );
}

#[test]
fn nothing_is_told_before_the_goods_are_fetched_or_after_the_end() {
    let track: Vec<_> = (0..10).map(|i| (i * 5, 10.0, 5.0)).collect();
    for status in [
        DeliveryStatus::Created,
        DeliveryStatus::Assigned,
        DeliveryStatus::Delivered,
    ] {
        let run = [delivery(status, 0)];
        assert_eq!(
            kinds(&told(&mut CourierState::default(), &run, &fixes(&track))),
            []
        );
    }
    // Fixes of before the pick-up that come after it.
    let run = [delivery(DeliveryStatus::PickedUp, 0)];
    let early: Vec<_> = (0..10).map(|i| (i * 5 - 600, 10.0, 5.0)).collect();
    assert_eq!(
        kinds(&told(&mut CourierState::default(), &run, &fixes(&early))),
        []
    );
}

#[test]
fn who_drives_by_a_later_stop_has_not_come_for_it() {
    let run = [
        delivery(DeliveryStatus::PickedUp, 0),
        delivery(DeliveryStatus::PickedUp, 1),
    ];
    let at_second: Vec<_> = (0..10)
        .map(|i| Fix::new(START.plus_ms(i * 5_000), run[1].dropoff.position))
        .collect();
    let told = told(&mut CourierState::default(), &run, &at_second);
    // 400 m from the first one's drop-off, at the second one's.
    assert_eq!(kinds(&told), [EventType::DeliveryApproaching]);
    assert_eq!(told[0].delivery, Some(run[0].id.clone()));
}

#[test]
fn who_drives_through_at_speed_has_not_arrived() {
    let run = [delivery(DeliveryStatus::PickedUp, 0)];
    let mut track = fixes(
        &(0..100)
            .map(|i| (i, 700.0 - 14.0 * i as f64, 5.0))
            .collect::<Vec<_>>(),
    );
    track.iter_mut().for_each(|f| f.speed_mps = Some(14.0));
    let passing = told(&mut CourierState::default(), &run, &track);
    assert_eq!(kinds(&passing), [EventType::DeliveryApproaching]);
    // One who stands there has, even if the phone still measures the speed of before.
    track.truncate(51);
    let door = track[50];
    track.extend((51..54).map(|s| Fix {
        fix_time: START.plus_ms(s * 1000),
        ..door
    }));
    let standing = told(&mut CourierState::default(), &run, &track);
    assert_eq!(
        kinds(&standing),
        [EventType::DeliveryApproaching, EventType::DeliveryArrived]
    );
}

#[test]
fn the_pick_up_has_events_of_its_own() {
    let run = [delivery(DeliveryStatus::Assigned, 0)];
    let track: Vec<_> = (0..30)
        .map(|i| (i * 5, 6_000.0 - 50.0 * i as f64, 5.0))
        .collect();
    let mut there = track[..21].to_vec();
    there.extend([(200, 5_000.0, 5.0), (205, 5_000.0, 5.0)]);
    let told = told(&mut CourierState::default(), &run, &fixes(&there));
    assert_eq!(
        kinds(&told),
        [
            EventType::DeliveryPickupApproaching,
            EventType::DeliveryPickupArrived
        ]
    );
}

#[test]
fn fixes_in_any_order_of_sending_are_judged_in_their_own() {
    let run = [delivery(DeliveryStatus::PickedUp, 0)];
    let rules = RuleSet::default();
    let ground = ground(&rules, &run);
    let track: Vec<_> = (0..40)
        .map(|i| (i * 5, (1_000.0 - 30.0 * i as f64).abs(), 8.0))
        .collect();
    let mut backwards = fixes(&track);
    backwards.reverse();
    let received_at = START.plus_ms(200_000);
    let mut told = Vec::new();
    let batch = FixBatch {
        received_at,
        fixes: backwards,
        sos: false,
    };
    let mut state = CourierState::default();
    let seen = state.see(&batch, ground, &mut told);
    assert_eq!((seen.judged, seen.out_of_order), (40, 0));
    assert_eq!(
        kinds(&told),
        [EventType::DeliveryApproaching, EventType::DeliveryArrived]
    );
    // The same upload again: nothing to say about now.
    let again = state.see(&batch, ground, &mut told);
    assert_eq!((again.judged, again.out_of_order), (0, 40));
    assert_eq!(told.len(), 2);
}

#[test]
fn what_is_known_too_late_is_recorded_and_not_an_alarm() {
    let run = [delivery(DeliveryStatus::PickedUp, 0)];
    let rules = RuleSet::default();
    let ground = ground(&rules, &run);
    let track: Vec<_> = (0..40)
        .map(|i| (i * 5, (1_000.0 - 30.0 * i as f64).abs(), 8.0))
        .collect();
    let received_at = START.plus_ms(rules.stale_after_s * 1000 + 500_000);
    let batch = FixBatch {
        received_at,
        fixes: fixes(&track),
        sos: false,
    };
    let mut told = Vec::new();
    CourierState::default().see(&batch, ground, &mut told);
    assert_eq!(told.len(), 2);
    assert!(told.iter().all(|t| t.evidence.late));
}

#[test]
fn a_phone_whose_clock_is_ahead_does_not_freeze_its_rules() {
    let run = [delivery(DeliveryStatus::PickedUp, 0)];
    let rules = RuleSet::default();
    let ground = ground(&rules, &run);
    let track: Vec<_> = (0..40)
        .map(|i| (i * 5, (1_000.0 - 30.0 * i as f64).abs(), 8.0))
        .collect();
    let (mut state, mut told) = (CourierState::default(), Vec::new());
    for (i, fix) in fixes(&track).into_iter().enumerate() {
        // The first ten claim to be of tomorrow.
        let received_at = fix.fix_time;
        let ahead = if i < 10 { 86_400_000 } else { 0 };
        let fix = Fix {
            fix_time: fix.fix_time.plus_ms(ahead),
            ..fix
        };
        state.see(
            &FixBatch {
                received_at,
                fixes: vec![fix],
                sos: false,
            },
            ground,
            &mut told,
        );
    }
    assert_eq!(
        kinds(&told),
        [EventType::DeliveryApproaching, EventType::DeliveryArrived]
    );
}

#[test]
fn one_alarm_is_told_once() {
    let rules = RuleSet::default();
    let ground = ground(&rules, &[]);
    let (mut state, mut told) = (CourierState::default(), Vec::new());
    for s in [0, 1, 30, 61] {
        let received_at = START.plus_ms(s * 1000);
        state.see(
            &FixBatch {
                received_at,
                fixes: vec![],
                sos: true,
            },
            ground,
            &mut told,
        );
    }
    assert_eq!(kinds(&told), [EventType::CourierSos, EventType::CourierSos]);
    assert_ne!(told[0].key, told[1].key);
}
