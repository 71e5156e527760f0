//! Shapes and the index, against arithmetic that is slow and simple.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::domain::{GeofenceEvent, GeofenceId, geo};

pub(crate) fn at(lat: f64, lon: f64) -> Position {
    Position::from_any_degrees(lat, lon)
}

fn geofence(id: &str, shape: Shape) -> Arc<Geofence> {
    Arc::new(Geofence {
        id: GeofenceId::try_from(id).expect("an id"),
        name: id.into(),
        shape,
        dwell_s: None,
        events: Box::new([GeofenceEvent::Enter]),
        version: 1,
    })
}

fn polygon(corners: &[(f64, f64)]) -> Shape {
    Shape::Polygon {
        rings: vec![corners.iter().map(|(lat, lon)| at(*lat, *lon)).collect()],
    }
}

fn fence(shape: Shape) -> Fence {
    Fence::new(geofence("f", shape)).expect("a fence")
}

fn contains(fence: &Fence, lat: f64, lon: f64) -> bool {
    fence.contains(&at(lat, lon).into())
}

#[test]
fn a_polygon_is_the_same_whichever_way_it_runs_and_holes_are_not_in_it() {
    let square = [(35.0, 14.0), (35.0, 15.0), (36.0, 15.0), (36.0, 14.0)];
    let mut reversed = square;
    reversed.reverse();
    for corners in [square, reversed] {
        let fence = fence(polygon(&corners));
        assert!(contains(&fence, 35.5, 14.5) && !contains(&fence, 36.5, 14.5));
        let border = fence.border_m(&at(35.5, 14.01).into(), 10_000.0);
        let expected = geo::distance_m(at(35.5, 14.0), at(35.5, 14.01));
        assert!(
            (border + expected).abs() < 1.0,
            "{border} against {expected}"
        );
    }
    let hole = [(35.4, 14.4), (35.4, 14.6), (35.6, 14.6), (35.6, 14.4)];
    let ring = |c: &[(f64, f64)]| c.iter().map(|(lat, lon)| at(*lat, *lon)).collect();
    let fence = fence(Shape::Polygon {
        rings: vec![ring(&square), ring(&hole)],
    });
    assert!(!contains(&fence, 35.5, 14.5) && contains(&fence, 35.3, 14.5));
    let border = fence.border_m(&at(35.41, 14.5).into(), 10_000.0);
    assert!((border - geo::distance_m(at(35.41, 14.5), at(35.4, 14.5))).abs() < 1.0);
}

#[test]
fn a_polygon_lies_across_the_antimeridian() {
    for corners in [
        [(10.0, 179.0), (10.0, -179.0), (12.0, -179.0), (12.0, 179.0)],
        [(10.0, -179.0), (12.0, -179.0), (12.0, 179.0), (10.0, 179.0)],
    ] {
        let fence = fence(polygon(&corners));
        for (lon, inside) in [
            (179.5, true),
            (180.0, true),
            (-180.0, true),
            (-179.5, true),
            (178.5, false),
            (0.0, false),
        ] {
            assert_eq!(contains(&fence, 11.0, lon), inside, "{lon}");
        }
        let (west, east) = (Spot::from(at(11.0, 178.99)), Spot::from(at(11.0, 179.01)));
        assert!(fence.is_touched_by(&west, &east));
        let (south, north) = (
            Spot::from(at(9.99, 179.999)),
            Spot::from(at(10.01, -179.999)),
        );
        assert!(fence.is_touched_by(&south, &north));
    }
}

#[test]
fn a_polygon_that_crosses_itself_is_judged_by_the_even_odd_rule() {
    let bowtie = fence(polygon(&[(0.0, 0.0), (2.0, 2.0), (-1.0, 2.0), (1.0, 0.0)]));
    assert!(contains(&bowtie, 0.5, 0.1) && contains(&bowtie, 0.5, 0.9));
    assert!(!contains(&bowtie, 0.1, 0.5) && !contains(&bowtie, 0.9, 0.5));
}

#[test]
fn what_bounds_nothing_is_refused() {
    let refused = |shape| Fence::new(geofence("f", shape)).expect_err("refused");
    let center = at(35.0, 14.0);
    for radius_m in [0.0, -1.0, f64::NAN, f64::INFINITY] {
        assert_eq!(
            refused(Shape::Circle { center, radius_m }),
            FenceError::Radius
        );
    }
    assert_eq!(refused(Shape::Polygon { rings: vec![] }), FenceError::Empty);
    assert_eq!(refused(polygon(&[])), FenceError::Empty);
    assert_eq!(
        refused(polygon(&[(0.0, 0.0), (1.0, 1.0)])),
        FenceError::Empty
    );
    assert_eq!(
        refused(polygon(&[(0.0, 0.0), (1.0, 1.0), (2.0, 2.0)])),
        FenceError::NoArea
    );
    assert_eq!(
        refused(polygon(&[(0.0, 0.0), (0.0, 0.0), (0.0, 0.0)])),
        FenceError::NoArea
    );
    let around = [(70.0, 0.0), (70.0, 120.0), (70.0, -120.0)];
    assert_eq!(refused(polygon(&around)), FenceError::Wraps);
}

#[test]
fn a_way_touches_what_it_goes_through() {
    let circle = fence(Shape::Circle {
        center: at(35.0, 14.0),
        radius_m: 50.0,
    });
    let spot = |north_m: f64, east_m: f64| {
        let north = geo::destination(at(35.0, 14.0), 0.0, north_m);
        Spot::from(geo::destination(north, 90.0, east_m))
    };
    assert!(circle.is_touched_by(&spot(0.0, -400.0), &spot(0.0, 400.0)));
    assert!(circle.is_touched_by(&spot(49.0, -400.0), &spot(49.0, 400.0)));
    assert!(!circle.is_touched_by(&spot(51.0, -400.0), &spot(51.0, 400.0)));
    assert!(
        !circle.is_touched_by(&spot(0.0, -400.0), &spot(0.0, -60.0)),
        "it ends before"
    );
    let gate = fence(polygon(&[
        (35.0, 14.0),
        (35.0, 14.01),
        (35.000_02, 14.01),
        (35.000_02, 14.0),
    ]));
    let (south, north) = (
        Spot::from(at(34.999, 14.005)),
        Spot::from(at(35.001, 14.005)),
    );
    assert!(gate.is_touched_by(&south, &north));
    assert!(!gate.is_touched_by(&south, &Spot::from(at(34.999, 14.006))));
}

/// A star of `n` corners around a place.
fn star(lat: f64, lon: f64, n: usize, radius_deg: f64) -> Vec<(f64, f64)> {
    (0..n)
        .map(|i| {
            let angle = i as f64 / n as f64 * std::f64::consts::TAU;
            let radius = radius_deg * if i % 2 == 0 { 1.0 } else { 0.6 };
            (lat + radius * angle.sin(), lon + radius * angle.cos())
        })
        .collect()
}

#[test]
fn ten_thousand_corners_are_the_same_as_a_slow_look_at_each() {
    let corners = star(35.0, 14.0, 10_000, 0.5);
    let fence = fence(polygon(&corners));
    for i in 0..400 {
        let (lat, lon) = (
            34.4 + 0.003 * f64::from(i),
            13.3 + 0.0041 * f64::from(i * 7 % 400),
        );
        assert_eq!(
            contains(&fence, lat, lon),
            slowly_contains(&corners, lat, lon),
            "{lat} {lon}"
        );
    }
}

fn slowly_contains(corners: &[(f64, f64)], lat: f64, lon: f64) -> bool {
    let p = at(lat, lon);
    let (lat, lon) = (p.lat(), p.lon());
    let mut inside = false;
    for (i, a) in corners.iter().enumerate() {
        let (a, b) = (at(a.0, a.1), corners[(i + 1) % corners.len()]);
        let b = at(b.0, b.1);
        if (a.lat() > lat) != (b.lat() > lat) {
            let x = a.lon() + (lat - a.lat()) / (b.lat() - a.lat()) * (b.lon() - a.lon());
            inside ^= lon < x;
        }
    }
    inside
}

#[test]
fn the_index_changes_while_it_is_asked() {
    let mut index = FenceIndex::default();
    let center = at(35.9, 14.5);
    let circle = |radius_m| Shape::Circle { center, radius_m };
    assert_eq!(index.near_way(None, center).count(), 0);
    index.put(geofence("a", circle(100.0))).expect("put");
    index.put(geofence("b", circle(5_000.0))).expect("put");
    assert_eq!(index.near_way(None, center).count(), 2);
    let elsewhere = Shape::Circle {
        center: at(-35.0, 100.0),
        radius_m: 100.0,
    };
    index.put(geofence("a", elsewhere)).expect("put");
    assert_eq!(index.near_way(None, center).count(), 1);
    let refused = index.put(geofence("b", circle(0.0)));
    assert_eq!((refused, index.len()), (Err(FenceError::Radius), 1));
    index.remove(&GeofenceId::try_from("a").expect("an id"));
    assert!(index.is_empty() && index.cells.is_empty());
    assert_eq!(index.in_use, [0; 16]);
}

#[test]
fn a_handle_that_has_gone_astray_finds_its_geofence_again() {
    let center = at(35.9, 14.5);
    let circle = |id| {
        geofence(
            id,
            Shape::Circle {
                center,
                radius_m: 100.0,
            },
        )
    };
    let [a, b] = ["a", "b"].map(|id| GeofenceId::try_from(id).expect("an id"));
    let mut index = FenceIndex::default();
    index.put(circle("a")).expect("put");
    let mut handle = Handle::default();
    assert_eq!(
        index.find(&a, &mut handle).map(|f| &f.geofence.id),
        Some(&a)
    );
    index.remove(&a);
    assert!(index.at(handle).is_none());
    // Its slot is another's now.
    index.put(circle("b")).expect("put");
    assert_eq!(index.at(handle).map(|f| &f.geofence.id), Some(&b));
    assert!(index.find(&a, &mut handle).is_none());
    assert!(index.at(handle).is_none(), "it leads nowhere");
    index.put(circle("a")).expect("put");
    assert_eq!(
        index.find(&a, &mut handle).map(|f| &f.geofence.id),
        Some(&a)
    );
    assert_eq!(index.at(handle).map(|f| &f.geofence.id), Some(&a));
}

proptest! {
    #[test]
    fn whoever_is_in_a_circle_finds_it_anywhere_on_earth(
        lat in -89.0_f64..89.0,
        lon in -180.0_f64..180.0,
        radius_log in 0.0_f64..6.0,
        bearing in 0.0_f64..360.0,
        share in 0.0_f64..1.0,
    ) {
        let (center, radius_m) = (at(lat, lon), 10_f64.powf(radius_log));
        let mut index = FenceIndex::default();
        index.put(geofence("f", Shape::Circle { center, radius_m })).expect("put");
        let inside = geo::destination(center, bearing, radius_m * share * 0.999);
        let near = index.near_way(None, inside);
        let mut fences = near.filter_map(|handle| index.at(handle));
        prop_assert!(fences.any(|f| f.contains(&inside.into())));
    }

    #[test]
    fn whoever_is_in_a_polygon_finds_it_anywhere_on_earth(
        lat in -75.0_f64..75.0,
        lon in -180.0_f64..180.0,
        size_log in -4.0_f64..1.0,
        n in 2_usize..40,
        angle in 0.0_f64..std::f64::consts::TAU,
        share in 0.0_f64..0.4,
    ) {
        let size = 10_f64.powf(size_log);
        let mut index = FenceIndex::default();
        index.put(geofence("f", polygon(&star(lat, lon, n * 2, size)))).expect("put");
        // Within 0.6 × cos(π / n), so inside whatever the number of corners.
        let inside = at(lat + size * share * angle.sin() * 0.4, lon + size * share * angle.cos() * 0.4);
        let near = index.near_way(None, inside);
        let mut fences = near.filter_map(|handle| index.at(handle));
        prop_assert!(fences.any(|f| f.contains(&inside.into())));
    }

    #[test]
    fn a_polygon_is_the_same_as_a_slow_look_at_each_edge(
        lat in -60.0_f64..60.0,
        lon in -170.0_f64..170.0,
        size_log in -3.5_f64..0.5,
        radii in proptest::collection::vec(0.05_f64..1.0, 3..60),
        places in proptest::collection::vec((-1.1_f64..1.1, -1.1_f64..1.1), 50),
    ) {
        let size = 10_f64.powf(size_log);
        // As positions are stored, so that both look at the same corners.
        let corners: Vec<(f64, f64)> = radii
            .iter()
            .enumerate()
            .map(|(i, radius)| {
                let angle = i as f64 / radii.len() as f64 * std::f64::consts::TAU;
                let corner = at(
                    lat + size * radius * angle.sin(),
                    lon + size * radius * angle.cos(),
                );
                (corner.lat(), corner.lon())
            })
            .collect();
        let fence = fence(polygon(&corners));
        for (north, east) in places {
            let place = at(lat + size * north, lon + size * east);
            prop_assert_eq!(
                fence.contains(&place.into()),
                slowly_contains(&corners, place.lat(), place.lon()),
                "{:?}", place
            );
        }
    }

    #[test]
    fn a_way_through_a_circle_finds_it(
        lat in -80.0_f64..80.0,
        lon in -180.0_f64..180.0,
        radius_m in 5.0_f64..300.0,
        bearing in 0.0_f64..360.0,
        before_m in 0.0_f64..1_400.0,
        after_m in 0.0_f64..1_400.0,
        off in -0.9_f64..0.9,
    ) {
        let center = at(lat, lon);
        let mut index = FenceIndex::default();
        index.put(geofence("f", Shape::Circle { center, radius_m })).expect("put");
        let middle = geo::destination(center, bearing + 90.0, radius_m * off);
        let from = geo::destination(middle, bearing + 180.0, before_m);
        let to = geo::destination(middle, bearing, after_m);
        let touched = |f: &Fence| f.is_touched_by(&from.into(), &to.into());
        let near = index.near_way(Some(from), to);
        prop_assert!(near.filter_map(|handle| index.at(handle)).any(touched));
    }
}
