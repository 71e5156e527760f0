//! Whether the rings of a polygon cross themselves or each other.
//!
//! Exact, in whole steps of 1e-7°, so that a border that only touches itself is never taken for one
//! that crosses. Edges are swept from one side to the other and compared with those that are open at
//! the same time: quick for real outlines, at worst every edge with every other.

use crate::domain::Position;

/// Steps of a whole turn.
const TURN_E7: i64 = 3_600_000_000;

/// Two edges that cross: the ring and the corner, from 0, at which each begins.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct CrossingEdges {
    /// One of them.
    pub first: (usize, usize),
    /// The other one.
    pub second: (usize, usize),
}

#[derive(Clone, Copy)]
struct Edge {
    from: [i64; 2],
    to: [i64; 2],
    /// Ring and corner.
    place: (usize, usize),
}

impl Edge {
    fn low(&self, axis: usize) -> i64 {
        self.from[axis].min(self.to[axis])
    }

    fn high(&self, axis: usize) -> i64 {
        self.from[axis].max(self.to[axis])
    }

    /// Whether both ends of one lie strictly on different sides of the other, both ways.
    fn crosses(&self, other: &Self) -> bool {
        separates(self, other) && separates(other, self)
    }
}

fn separates(line: &Edge, ends: &Edge) -> bool {
    let side = |p: [i64; 2]| {
        let wide = |a: i64, b: i64| i128::from(a - b);
        let turn = wide(line.to[0], line.from[0]) * wide(p[1], line.from[1])
            - wide(line.to[1], line.from[1]) * wide(p[0], line.from[0]);
        turn.signum()
    };
    side(ends.from) * side(ends.to) < 0
}

/// The first two edges found that cross; `None` for an outline that bounds its area clearly.
pub(super) fn crossing(rings: &[Vec<Position>]) -> Option<CrossingEdges> {
    let mut edges = edges(rings);
    // Along the axis on which edges are short, few are open at once.
    let length = |axis: usize| -> i128 {
        let lengths = edges.iter().map(|e| i128::from(e.high(axis) - e.low(axis)));
        lengths.sum()
    };
    let (along, across) = if length(0) <= length(1) {
        (0, 1)
    } else {
        (1, 0)
    };
    edges.sort_unstable_by_key(|e| e.low(along));
    let mut open: Vec<Edge> = Vec::new();
    for edge in edges {
        open.retain(|o| o.high(along) >= edge.low(along));
        let met = open.iter().find(|o| {
            o.low(across) <= edge.high(across)
                && edge.low(across) <= o.high(across)
                && o.crosses(&edge)
        });
        if let Some(met) = met {
            let (first, second) = (met.place.min(edge.place), met.place.max(edge.place));
            return Some(CrossingEdges { first, second });
        }
        open.push(edge);
    }
    None
}

/// All edges as (east, north), longitudes unrolled the short way.
fn edges(rings: &[Vec<Position>]) -> Vec<Edge> {
    let mut edges = Vec::with_capacity(rings.iter().map(Vec::len).sum());
    let mut last = None;
    for (ring, positions) in rings.iter().enumerate() {
        let mut beside = |p: &Position| {
            let east = i64::from(p.lon_e7());
            let reference = last.unwrap_or(east);
            // To the nearest turn, half a turn goes east.
            let turns = (reference - east + TURN_E7 / 2).div_euclid(TURN_E7);
            let east = east + turns * TURN_E7;
            last = Some(east);
            [east, i64::from(p.lat_e7())]
        };
        let corners: Vec<[i64; 2]> = positions.iter().map(&mut beside).collect();
        let next = corners.iter().copied().cycle().skip(1);
        edges.extend(
            corners
                .iter()
                .copied()
                .zip(next)
                .enumerate()
                .map(|(corner, (from, to))| Edge {
                    from,
                    to,
                    place: (ring, corner),
                }),
        );
        last = corners.first().map(|corner| corner[0]);
    }
    edges
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ring(corners: &[(f64, f64)]) -> Vec<Position> {
        let at = |(lat, lon): &(f64, f64)| Position::from_any_degrees(*lat, *lon);
        corners.iter().map(at).collect()
    }

    #[test]
    fn a_bow_tie_crosses_and_a_square_does_not() {
        let square = ring(&[(0.0, 0.0), (0.0, 1.0), (1.0, 1.0), (1.0, 0.0)]);
        let tie = ring(&[(0.0, 0.0), (1.0, 1.0), (1.0, 0.0), (0.0, 1.0)]);
        assert_eq!(crossing(std::slice::from_ref(&square)), None);
        let mut reversed = square.clone();
        reversed.reverse();
        assert_eq!(crossing(&[reversed]), None);
        let met = crossing(&[tie]).expect("crosses");
        assert_eq!((met.first, met.second), ((0, 0), (0, 2)));
        // A hole within, one that sticks out, one that touches the outline at a corner.
        let hole = ring(&[(0.2, 0.2), (0.2, 0.8), (0.8, 0.5)]);
        let out = ring(&[(0.2, 0.2), (0.2, 1.8), (0.8, 0.5)]);
        let touching = ring(&[(0.0, 0.5), (0.5, 0.8), (0.5, 0.2)]);
        assert_eq!(crossing(&[square.clone(), hole]), None);
        let met = crossing(&[square.clone(), out]).expect("crosses");
        assert_eq!((met.first.0, met.second.0), (0, 1));
        assert_eq!(crossing(&[square, touching]), None);
    }

    #[test]
    fn the_antimeridian_is_no_crossing() {
        let across = ring(&[(10.0, 179.0), (10.0, -179.0), (12.0, -179.0), (12.0, 179.0)]);
        assert_eq!(crossing(&[across]), None);
        let tie = ring(&[(10.0, 179.0), (12.0, -179.0), (12.0, 179.0), (10.0, -179.0)]);
        assert!(crossing(&[tie]).is_some());
    }

    #[test]
    fn of_ten_thousand_corners_the_two_that_cross_are_found() {
        let mut corners: Vec<(f64, f64)> = (0..10_000)
            .map(|i| {
                let angle = f64::from(i) / 10_000.0 * std::f64::consts::TAU;
                let radius = if i % 2 == 0 { 0.5 } else { 0.45 };
                (radius * angle.sin(), radius * angle.cos())
            })
            .collect();
        assert_eq!(crossing(&[ring(&corners)]), None);
        corners.swap(4_000, 4_002);
        let met = crossing(&[ring(&corners)]).expect("crosses");
        assert!((3_999..=4_002).contains(&met.first.1), "{met:?}");
    }
}
