//! Tracks along, across, into and out of geofences.

use std::sync::Arc;

use super::*;
use crate::domain::event::EventType;
use crate::domain::{
    Fix, FixBatch, Geofence, GeofenceEvent, GeofenceId, Position, Shape, UnixMs, geo,
};

const START: UnixMs = UnixMs(1_800_000_000_000);

fn middle() -> Position {
    Position::from_any_degrees(35.9, 14.5)
}

/// A circle around the middle that tells of everything.
fn index(radius_m: f64) -> FenceIndex {
    let mut index = FenceIndex::default();
    let geofence = Geofence {
        id: GeofenceId::try_from("depot").expect("an id"),
        name: "Depot".into(),
        shape: Shape::Circle {
            center: middle(),
            radius_m,
        },
        dwell_s: Some(300),
        events: Box::new([
            GeofenceEvent::Enter,
            GeofenceEvent::Exit,
            GeofenceEvent::Dwell,
            GeofenceEvent::Cross,
        ]),
        version: 4,
    };
    index.put(Arc::new(geofence)).expect("put");
    index
}

/// What is told of fixes at (seconds, metres east, accuracy), one an upload; the state is stored
/// and read again after each.
fn told(index: &FenceIndex, track: impl IntoIterator<Item = (i64, f64, f32)>) -> Vec<Told> {
    let rules = RuleSet::default();
    let ground = Ground {
        rules: &rules,
        run: &[],
        fences: index,
    };
    let (mut state, mut told) = (CourierState::default(), Vec::new());
    for (s, east_m, accuracy_m) in track {
        let at = START.plus_ms(s * 1000);
        let fix = Fix {
            accuracy_m: Some(accuracy_m),
            ..Fix::new(at, geo::destination(middle(), 90.0, east_m))
        };
        let batch = FixBatch {
            received_at: at,
            fixes: vec![fix],
            sos: false,
        };
        state.see(&batch, ground, &mut told);
        state = CourierState::from_bytes(&state.to_bytes()).expect("own bytes");
    }
    told
}

fn kinds(told: &[Told]) -> Vec<EventType> {
    told.iter().map(|t| t.kind).collect()
}

#[test]
fn an_hour_of_jitter_along_the_border_is_one_enter_and_one_exit() {
    let mut track: Vec<_> = (0..6)
        .map(|i| (i * 5, 400.0 - 50.0 * i as f64, 5.0))
        .collect();
    // 100 m radius: up to 18 m either side of the border, by a fixed sequence without a pattern.
    let mut noise = 12_345_u64;
    for i in 6..720 {
        noise = noise
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let off_m = (noise >> 33) as f64 / f64::from(1_u32 << 31) * 36.0 - 18.0;
        track.push((i * 5, 100.0 + off_m, 5.0));
    }
    track.extend((720..730).map(|i| (i * 5, 100.0 + 20.0 * (i - 718) as f64, 5.0)));
    let told = told(&index(100.0), track);
    let kinds = kinds(&told);
    assert_eq!(
        kinds,
        [
            EventType::GeofenceEnter,
            EventType::GeofenceDwell,
            EventType::GeofenceExit
        ]
    );
    assert_eq!(told[1].at, told[0].at.plus_ms(300_000));
    assert_eq!(told[0].evidence.geofence_version, Some(4));
}

#[test]
fn sparse_fixes_across_a_small_geofence_are_one_crossing() {
    // From 160 m to −140 m and on, 30 s apart: no fix inside.
    let through = (0..6).map(|i| (i * 30, 760.0 - 300.0 * i as f64, 5.0));
    assert_eq!(
        kinds(&told(&index(50.0), through)),
        [EventType::GeofenceCross]
    );
    // One fix inside is not enough to have been in.
    let through = (0..7).map(|i| (i * 30, 600.0 - 200.0 * i as f64, 5.0));
    assert_eq!(
        kinds(&told(&index(50.0), through)),
        [EventType::GeofenceCross]
    );
    // One fix in the margin before it.
    let through = [910.0, 610.0, 310.0, 60.0, -240.0, -540.0, -840.0];
    let through = (0..).map(|i| i * 30).zip(through).map(|(s, m)| (s, m, 5.0));
    assert_eq!(
        kinds(&told(&index(50.0), through)),
        [EventType::GeofenceCross]
    );
}

#[test]
fn a_way_between_vague_fixes_is_no_crossing_and_a_long_one_is() {
    let through =
        |accuracy_m: f32| (0..6).map(move |i| (i * 30, 760.0 - 300.0 * i as f64, accuracy_m));
    assert_eq!(kinds(&told(&index(50.0), through(90.0))), []);
    // Five minutes between two fixes, as some apps send: four kilometres on either side.
    let track = [12_000.0, 4_000.0, -4_000.0, -12_000.0];
    let track = (0..).map(|i| i * 300).zip(track).map(|(s, m)| (s, m, 5.0));
    assert_eq!(
        kinds(&told(&index(50.0), track)),
        [EventType::GeofenceCross]
    );
}

#[test]
fn a_jump_of_200_m_at_2_m_claimed_accuracy_is_nothing() {
    for (home, jump) in [(150.0, -50.0), (150.0, 0.0), (-150.0, 60.0)] {
        let mut track: Vec<_> = (0..40).map(|i| (i * 5, home, 2.0)).collect();
        track[20].1 = jump;
        assert_eq!(kinds(&told(&index(50.0), track)), [], "{home} → {jump}");
    }
}

#[test]
fn whoever_stays_in_the_margin_and_leaves_as_he_came_has_not_crossed() {
    let track = [
        400.0, 120.0, 70.0, 62.0, 66.0, 58.0, 64.0, 120.0, 300.0, 400.0,
    ];
    let track = (0..).map(|i| i * 10).zip(track).map(|(s, m)| (s, m, 5.0));
    assert_eq!(kinds(&told(&index(50.0), track)), []);
}

#[test]
fn a_heartbeat_inside_completes_a_stay_and_a_removed_geofence_is_forgotten() {
    let rules = RuleSet::default();
    let mut fences = index(100.0);
    let (mut state, mut told) = (CourierState::default(), Vec::new());
    for s in [0, 5, 10] {
        let at = START.plus_ms(s * 1000);
        let batch = FixBatch {
            received_at: at,
            fixes: vec![Fix::new(at, middle())],
            sos: false,
        };
        state.see(
            &batch,
            Ground {
                rules: &rules,
                run: &[],
                fences: &fences,
            },
            &mut told,
        );
    }
    let heartbeat = |s: i64| FixBatch {
        received_at: START.plus_ms(s * 1000),
        fixes: vec![],
        sos: false,
    };
    state.see(
        &heartbeat(299),
        Ground {
            rules: &rules,
            run: &[],
            fences: &fences,
        },
        &mut told,
    );
    assert_eq!(kinds(&told), [EventType::GeofenceEnter]);
    state.see(
        &heartbeat(301),
        Ground {
            rules: &rules,
            run: &[],
            fences: &fences,
        },
        &mut told,
    );
    assert_eq!(
        kinds(&told),
        [EventType::GeofenceEnter, EventType::GeofenceDwell]
    );
    fences.remove(&GeofenceId::try_from("depot").expect("an id"));
    let at = START.plus_ms(400_000);
    let away = Fix::new(at, geo::destination(middle(), 0.0, 5_000.0));
    let batch = FixBatch {
        received_at: at,
        fixes: vec![away],
        sos: false,
    };
    state.see(
        &batch,
        Ground {
            rules: &rules,
            run: &[],
            fences: &fences,
        },
        &mut told,
    );
    assert_eq!(told.len(), 2);
}
