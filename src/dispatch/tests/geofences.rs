//! Shapes of every kind: what nobody can be judged by is refused with the reason, and what is only
//! large or runs the other way is kept.

use serde_json::{Value, json};

use super::server::TestServer;

fn polygon(rings: &[Vec<[f64; 2]>]) -> Value {
    json!({"name": "Area", "polygon": {"type": "Polygon", "coordinates": rings}})
}

/// A closed outline of `corners` corners around (14.5, 35.9).
fn outline(corners: usize) -> Vec<[f64; 2]> {
    let corner = |n: usize| {
        let angle = (n % corners) as f64 / corners as f64 * std::f64::consts::TAU;
        let radius = if n.is_multiple_of(2) { 0.02 } else { 0.018 };
        // In the steps in which positions are kept.
        [14.5 + radius * angle.cos(), 35.9 + radius * angle.sin()].map(|d| (d * 1e7).round() / 1e7)
    };
    (0..=corners).map(corner).collect()
}

#[tokio::test]
async fn shapes_that_nobody_can_be_judged_by_are_refused_with_the_reason() {
    let server = TestServer::start().await;
    let square = vec![
        [14.0, 35.0],
        [15.0, 35.0],
        [15.0, 36.0],
        [14.0, 36.0],
        [14.0, 35.0],
    ];
    let tie = vec![
        [14.0, 35.0],
        [15.0, 36.0],
        [15.0, 35.0],
        [14.0, 36.0],
        [14.0, 35.0],
    ];
    let out = vec![[14.5, 35.5], [15.5, 35.5], [14.5, 35.6], [14.5, 35.5]];
    let line = vec![[14.0, 35.0], [14.5, 35.5], [15.0, 36.0], [14.0, 35.0]];
    let spot = vec![[14.0, 35.0]; 4];
    let pole = vec![[0.0, 70.0], [120.0, 70.0], [-120.0, 70.0], [0.0, 70.0]];
    let world = vec![
        [-180.0, -90.0],
        [180.0, -90.0],
        [180.0, 90.0],
        [-180.0, 90.0],
        [-180.0, -90.0],
    ];
    let open = vec![[14.0, 35.0], [15.0, 35.0], [15.0, 36.0], [14.0, 36.0]];
    for (shape, reason) in [
        (polygon(&[tie]), "crosses itself"),
        (polygon(&[square.clone(), out]), "ring 0 and"),
        (polygon(&[line]), "no area"),
        (polygon(&[spot]), "no area"),
        (polygon(&[pole]), "pole"),
        (polygon(&[world]), "area"),
        (polygon(&[open]), "last one is the same"),
        (polygon(&[]), "at least one ring"),
        (polygon(&[vec![]]), "at least 4 positions"),
        (polygon(&[vec![[14.0, 135.0]; 4]]), "latitude"),
        (polygon(&[outline(10_000)]), "at most 10000"),
        (
            json!({"name": "A", "circle": {"lat": 35.9, "lon": 14.5, "radius_m": 0}}),
            "radius_m",
        ),
        (
            json!({"name": "A", "circle": {"lat": 35.9, "lon": 14.5, "radius_m": 1e9}}),
            "radius_m",
        ),
        (
            json!({"name": "A", "circle": {"lat": 35.9, "lon": 14.5, "radius_m": "big"}}),
            "radius_m",
        ),
    ] {
        let answer = server.put("/v1/geofences/x", shape.clone()).await;
        assert_eq!(answer.status, 422, "{reason}: {}", answer.body);
        let detail = answer.text("detail");
        assert!(detail.contains(reason), "{reason}: {detail}");
    }
    assert!(server.directory.geofences().is_empty());

    let mut reversed = square.clone();
    reversed.reverse();
    let hole = vec![[14.4, 35.4], [14.6, 35.4], [14.6, 35.6], [14.4, 35.4]];
    let across = vec![
        [179.0, 10.0],
        [-179.0, 10.0],
        [-179.0, 12.0],
        [179.0, 12.0],
        [179.0, 10.0],
    ];
    let huge = vec![
        [-70.0, -60.0],
        [70.0, -60.0],
        [70.0, 70.0],
        [-70.0, 70.0],
        [-70.0, -60.0],
    ];
    for (id, rings) in [
        ("reversed", vec![reversed]),
        ("hole", vec![square, hole]),
        ("across", vec![across]),
        ("huge", vec![huge]),
        ("corners", vec![outline(9_998)]),
    ] {
        let path = format!("/v1/geofences/{id}");
        let made = server.put(&path, polygon(&rings)).await.expect(201);
        assert_eq!(made.body["polygon"]["coordinates"], json!(rings), "{id}");
    }
    assert_eq!(server.directory.geofences().len(), 5);
    server.stop().await;
}
