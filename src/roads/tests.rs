//! Over the real bundled extract, and over small ones made by hand.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::sync::OnceLock;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};

use super::graph::Graph;
use super::osm::{Extract, Way};
use super::*;

/// The bundled roads, prepared once for all tests.
fn malta() -> &'static (Roads, Stops) {
    static MALTA: OnceLock<(Roads, Stops)> = OnceLock::new();
    MALTA.get_or_init(|| {
        let dir = tempfile::tempdir().expect("a folder");
        Roads::open_with_stops(&RoadsConfig { file: None }, dir.path()).expect("the bundled roads")
    })
}

fn router(roads: &Roads) -> &Router {
    roads.router().expect("a graph")
}

fn at(lat: f64, lon: f64) -> Position {
    Position::from_degrees(lat, lon).expect("a position")
}

/// Chance with a seed that a failure can be repeated with.
fn chance() -> Xoshiro256PlusPlus {
    Xoshiro256PlusPlus::seed_from_u64(0x57A7)
}

/// Travel times from one vertex to all others, milliseconds, without the hierarchy.
fn dijkstra(graph: &Graph, from: u32) -> Vec<u64> {
    let mut arcs = vec![Vec::new(); graph.vertices()];
    for piece in &graph.pieces {
        if let Some(ms) = piece.forward_ms {
            arcs[piece.from as usize].push((piece.to, u64::from(ms.get())));
        }
        if let Some(ms) = piece.backward_ms {
            arcs[piece.to as usize].push((piece.from, u64::from(ms.get())));
        }
    }
    let mut best = vec![u64::MAX; graph.vertices()];
    let mut open = BinaryHeap::from([(Reverse(0), from)]);
    while let Some((Reverse(ms), vertex)) = open.pop() {
        if ms >= best[vertex as usize] {
            continue;
        }
        best[vertex as usize] = ms;
        open.extend(
            arcs[vertex as usize]
                .iter()
                .map(|&(to, more)| (Reverse(ms + more), to)),
        );
    }
    best
}

/// A vertex' position.
fn vertex_positions(graph: &Graph) -> Vec<Position> {
    let mut positions = vec![at(0.0, 0.0); graph.vertices()];
    for (index, piece) in (0..).zip(&graph.pieces) {
        let range = graph.range(index);
        positions[piece.from as usize] = graph.points[range.start];
        positions[piece.to as usize] = graph.points[range.end - 1];
    }
    positions
}

#[test]
fn the_fastest_way_is_as_fast_as_a_plain_search_finds() {
    let (roads, _) = malta();
    let graph = router(roads).graph();
    let positions = vertex_positions(graph);
    let mut chance = chance();
    let (mut compared, mut differ) = (0, 0);
    for _ in 0..5 {
        let from = chance.random_range(0..graph.vertices());
        let best = dijkstra(graph, from as u32);
        for _ in 0..200 {
            let to = chance.random_range(0..graph.vertices());
            let travel = roads.travel(positions[from], positions[to], None);
            assert_eq!(travel.by_road, best[to] != u64::MAX, "{from} to {to}");
            if travel.by_road {
                compared += 1;
                // Two roads can cross at one spot without a junction, as on a bridge: then a
                // position means another vertex.
                differ += usize::from((travel.duration_s - best[to] as f64 / 1000.0).abs() > 0.5);
            }
        }
    }
    assert!(compared > 500, "{compared}");
    assert!(differ * 100 < compared, "{differ} of {compared} differ");
}

#[test]
fn a_route_is_a_connected_line_with_rising_times() {
    let (roads, stops) = malta();
    let mut chance = chance();
    let mut found = 0;
    for _ in 0..200 {
        let from = &stops.shops[chance.random_range(0..stops.shops.len())];
        let to = &stops.doors[chance.random_range(0..stops.doors.len())];
        let Some(route) = roads.route(from.position, to.position) else {
            continue;
        };
        found += 1;
        assert_eq!(route.path.len(), route.elapsed_s.len());
        assert!(route.elapsed_s.is_sorted(), "{} → {}", from.label, to.label);
        let ends = [(route.path.first(), from), (route.path.last(), to)];
        for (end, stop) in ends {
            let nearest = roads.nearest(stop.position).expect("a road");
            assert!(geo::distance_m(*end.expect("a position"), nearest.position) < 0.1);
        }
        let length_m: f64 = route
            .path
            .windows(2)
            .map(|w| geo::distance_m(w[0], w[1]))
            .sum();
        assert!((length_m - route.distance_m).abs() < 1.0 + length_m * 1e-3);
        let last_s = f64::from(*route.elapsed_s.last().expect("a time"));
        assert!((last_s - route.duration_s).abs() < 0.1);
        assert!(route.distance_m >= geo::distance_m(route.path[0], to.position) * 0.9);
        let travel = roads.travel(from.position, to.position, None);
        assert!((travel.duration_s - route.duration_s).abs() < 1e-6);
    }
    assert!(found > 100, "{found} of 200 pairs have a route");
}

#[test]
fn knows_well_known_ways() {
    let (roads, _) = malta();
    // From the airport to the gate of Valletta, and to Mellieħa in the north.
    let airport = at(35.8497, 14.4954);
    let valletta = roads.route(airport, at(35.8955, 14.5085)).expect("a way");
    assert!(
        (6_000.0..11_000.0).contains(&valletta.distance_m),
        "{}",
        valletta.distance_m
    );
    assert!(
        (480.0..1_500.0).contains(&valletta.duration_s),
        "{}",
        valletta.duration_s
    );
    let north = roads.travel(airport, at(35.9564, 14.3622), None);
    assert!(
        (18_000.0..28_000.0).contains(&north.distance_m),
        "{north:?}"
    );
    let on_foot = roads.travel_time(airport, at(35.9564, 14.3622), Some(Vehicle::Foot));
    assert!((on_foot - north.distance_m / 1.35).abs() < 1.0, "{on_foot}");
    assert!(roads.travel_time(airport, airport, None) < 1.0);
}

#[test]
fn finds_the_same_nearest_road_as_looking_at_all_of_them() {
    let (roads, _) = malta();
    let router = router(roads);
    let graph = router.graph();
    let mut chance = chance();
    for _ in 0..40 {
        let here = at(
            chance.random_range(35.80..36.08),
            chance.random_range(14.18..14.58),
        );
        let mut least_m = f64::MAX;
        for piece in 0..graph.pieces.len() as u32 {
            let range = graph.range(piece);
            for pair in graph.points[range].windows(2) {
                for share in [0.0, 0.25, 0.5, 0.75, 1.0] {
                    let place = grid::between(pair[0], pair[1], share);
                    least_m = least_m.min(geo::distance_m(here, place));
                }
            }
        }
        match roads.nearest(here) {
            // Sampled places of a segment are never nearer than its nearest place.
            Some(found) => assert!(found.away_m <= least_m + 0.5, "{found:?}, {least_m}"),
            None => assert!(least_m > 990.0, "{least_m}"),
        }
    }
    assert!(roads.nearest(at(36.5, 14.5)).is_none(), "far out at sea");
}

#[test]
fn without_a_road_the_straight_line_answers() {
    let (roads, _) = malta();
    let (here, there) = (at(52.5, 13.4), at(52.6, 13.4));
    assert!(roads.route(here, there).is_none());
    for roads in [roads, &Roads::none()] {
        let travel = roads.travel(here, there, None);
        assert!(!travel.by_road);
        assert!((travel.distance_m - geo::distance_m(here, there) * 1.4).abs() < 1.0);
        assert!((travel.duration_s - travel.distance_m / 8.0).abs() < 1.0);
    }
}

#[test]
fn almost_every_shop_and_door_can_be_reached() {
    let (roads, stops) = malta();
    assert!(stops.shops.len() > 500, "{} shops", stops.shops.len());
    assert!(stops.doors.len() > 500, "{} doors", stops.doors.len());
    assert!(stops.doors.iter().all(|door| !door.label.is_empty()));
    let airport = at(35.8497, 14.4954);
    let on_malta: Vec<_> = stops
        .doors
        .iter()
        .filter(|d| d.position.lat() < 35.98 && d.position.lon() > 14.33)
        .collect();
    let reached = on_malta
        .iter()
        .filter(|d| roads.travel(airport, d.position, None).by_road)
        .count();
    assert!(
        reached * 1000 > on_malta.len() * 995,
        "{reached} of {}",
        on_malta.len()
    );
}

#[test]
fn a_kept_graph_is_the_same_and_a_damaged_one_is_built_anew() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = RoadsConfig { file: None };
    let (first, stops) = Roads::open_with_stops(&config, dir.path()).expect("built");
    let files: Vec<_> = std::fs::read_dir(dir.path())
        .expect("a folder")
        .flatten()
        .collect();
    assert_eq!(files.len(), 1, "one file, nothing left aside");
    let path = files[0].path();
    let hash = Source::Bundled.hash().expect("a hash");
    let kept = cache::read(&path, &hash).expect("what was written");
    assert!(kept.graph == *router(&first).graph());
    assert_eq!(kept.stops, stops);
    let whole = std::fs::read(&path).expect("the file");
    for damage in [0, 8, 12, 44, 48, whole.len() / 2, whole.len() - 1] {
        let mut file = whole.clone();
        file[damage] ^= 0x10;
        std::fs::write(&path, &file).expect("damage it");
        assert!(cache::read(&path, &hash).is_err(), "byte {damage}");
    }
    std::fs::write(&path, &whole[..whole.len() / 2]).expect("cut it");
    assert!(cache::read(&path, &hash).is_err());
    let again = Roads::open(&config, dir.path()).expect("built anew");
    assert_eq!(again.size(), first.size());
    assert_eq!(std::fs::read(&path).expect("the file"), whole);
}

#[test]
fn a_prepared_graph_is_loaded_when_it_is_asked_and_built_anew_if_it_has_gone() {
    let dir = tempfile::tempdir().expect("a folder");
    let config = RoadsConfig { file: None };
    let loaded = |roads: &Roads| roads.0.as_ref().is_some_and(|roads| roads.is_loaded());
    for prepared in ["built", "found"] {
        let roads = Roads::prepare(&config, dir.path()).expect(prepared);
        assert!(!loaded(&roads), "{prepared}");
        assert!(roads.size().0 > 10_000, "{prepared}");
        assert!(loaded(&roads), "{prepared}");
    }
    let roads = Roads::prepare(&config, dir.path()).expect("found");
    std::fs::remove_dir_all(dir.path()).expect("removed");
    roads.load();
    assert_eq!(roads.size(), malta().0.size());
}

#[test]
fn a_graph_that_cannot_be_kept_is_used_all_the_same() {
    let dir = tempfile::tempdir().expect("a folder");
    let file = dir.path().join("a-file");
    std::fs::write(&file, "").expect("a file");
    for open in [Roads::open, Roads::prepare] {
        let roads = open(&RoadsConfig { file: None }, &file.join("sub")).expect("roads");
        assert!(roads.size().0 > 10_000);
    }
}

#[test]
fn says_what_is_wrong_with_an_extract() {
    let dir = tempfile::tempdir().expect("a folder");
    let said = |name: &str, content: Option<&[u8]>| {
        let file = dir.path().join(name);
        if let Some(content) = content {
            std::fs::write(&file, content).expect("a file");
        }
        let config = RoadsConfig { file: Some(file) };
        format!(
            "{:#}",
            Roads::open(&config, dir.path()).expect_err("refused")
        )
    };
    assert!(said("none.osm.pbf", None).contains("none.osm.pbf"));
    assert!(said("text.osm.pbf", Some(b"<osm/> is not protobuf")).contains("not a readable"));
    assert!(said("empty.osm.pbf", Some(b"")).contains("holds no roads"));
}

/// A crossroads of three streets; `tags` are the tags of the second one.
///
/// ```text
///        4
///        │
///  1 ─── 2 ─── 3      first street 1-2-3, second 2-4, third 3-4
/// ```
fn crossroads(tags: &[(&str, &str)]) -> Router {
    let usage = |tags: &[(&str, &str)]| profile::read(tags.iter().copied()).expect("a way");
    let street = [("highway", "residential")];
    let extract = Extract {
        ways: vec![
            Way {
                nodes: vec![1, 2, 3],
                usage: usage(&street),
            },
            Way {
                nodes: vec![2, 4],
                usage: usage(tags),
            },
            Way {
                nodes: vec![3, 4],
                usage: usage(&street),
            },
            // An island of its own, and a way out of the extract.
            Way {
                nodes: vec![90, 91],
                usage: usage(&[street[0], ("oneway", "yes")]),
            },
            Way {
                nodes: vec![3, 99],
                usage: usage(&street),
            },
        ],
        nodes: [
            (1, at(0.0, 0.0)),
            (2, at(0.0, 0.01)),
            (3, at(0.0, 0.02)),
            (4, at(0.01, 0.01)),
            (90, at(0.05, 0.0)),
            (91, at(0.05, 0.001)),
        ]
        .into_iter()
        .collect(),
        stops: Stops::default(),
    };
    let graph = Graph::build(&extract);
    let hierarchy = router::contract(&graph);
    Router::new(graph, hierarchy)
}

#[test]
fn a_one_way_street_is_driven_around() {
    let assert_metres = |router: &Router, from: Position, to: Position, expected: f64| {
        let metres = router.measure(from, to).expect("a way").0;
        assert!(
            (metres - expected).abs() < 3.0,
            "{metres} m instead of {expected} m"
        );
    };
    let (corner, top) = (at(0.0, 0.01), at(0.01, 0.01));
    let both_ways = crossroads(&[("highway", "residential")]);
    assert_eq!(both_ways.graph().vertices(), 4);
    assert_metres(&both_ways, top, corner, 1_112.0);
    let one_way = crossroads(&[("highway", "residential"), ("oneway", "yes")]);
    assert_metres(&one_way, corner, top, 1_112.0);
    // Down by the third street and back along the first.
    assert_metres(&one_way, top, corner, 1_573.0 + 1_112.0);
    // Along the one-way street itself: with it directly, against it all the way around.
    let (low, high) = (at(0.003, 0.01), at(0.008, 0.01));
    assert_metres(&one_way, low, high, 556.0);
    let around = 222.0 + 1_573.0 + 1_112.0 + 334.0;
    assert_metres(&one_way, high, low, around);
    let route = one_way.route(high, low).expect("a way");
    assert_eq!(route.path, [high, top, at(0.0, 0.02), corner, low]);
}

#[test]
fn a_place_is_not_snapped_to_a_road_that_leads_nowhere() {
    let router = crossroads(&[("highway", "residential")]);
    assert!(router.nearest(at(0.05, 0.0005)).is_none());
    assert!(router.measure(at(0.0, 0.0), at(0.05, 0.0005)).is_none());
}
