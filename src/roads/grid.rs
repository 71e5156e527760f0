//! A spatial grid over the segments of the roads, to find the nearest one.
//!
//! Not for extracts across the antimeridian: there the roads of the other side are not seen.

use super::graph::Graph;
use crate::domain::{Position, geo};

/// Cells are at least this wide, in steps of 1e-7° (about 110 m).
const SMALLEST_CELL_E7: i64 = 10_000;

/// A place on a road.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) struct OnRoad {
    /// The piece.
    pub(super) piece: u32,
    /// Metres from the piece's first position.
    pub(super) along_m: f32,
    /// Where that is.
    pub(super) position: Position,
    /// Metres from what was asked for.
    pub(super) away_m: f64,
}

/// The grid.
#[derive(Debug)]
pub(super) struct Grid {
    south_e7: i64,
    west_e7: i64,
    cell_e7: i64,
    columns: i64,
    rows: i64,
    /// Where each cell's entries begin; one more than there are cells.
    first: Vec<u32>,
    /// Index of a segment's first position, and its piece.
    entries: Vec<(u32, u32)>,
}

impl Grid {
    /// Lays a grid over the graph, with about as many cells as there are segments.
    pub(super) fn over(graph: &Graph) -> Self {
        let e7 = |p: &Position| (i64::from(p.lat_e7()), i64::from(p.lon_e7()));
        let (mut south_e7, mut west_e7, mut north_e7, mut east_e7) = (0, 0, 0, 0);
        for (at, point) in graph.points.iter().enumerate() {
            let (lat, lon) = e7(point);
            if at == 0 {
                (south_e7, west_e7, north_e7, east_e7) = (lat, lon, lat, lon);
            }
            (south_e7, north_e7) = (south_e7.min(lat), north_e7.max(lat));
            (west_e7, east_e7) = (west_e7.min(lon), east_e7.max(lon));
        }
        let area = (north_e7 - south_e7) as f64 * (east_e7 - west_e7) as f64;
        let cell_e7 =
            ((area / graph.points.len().max(1) as f64).sqrt() as i64).max(SMALLEST_CELL_E7);
        let columns = (east_e7 - west_e7) / cell_e7 + 1;
        let rows = (north_e7 - south_e7) / cell_e7 + 1;
        let mut grid = Self {
            south_e7,
            west_e7,
            cell_e7,
            columns,
            rows,
            first: vec![],
            entries: vec![],
        };
        let mut placed: Vec<(u32, u32, u32)> = Vec::new();
        for piece in 0..graph.pieces.len() as u32 {
            let range = graph.range(piece);
            for at in range.start..range.end - 1 {
                let (a, b) = (grid.cell(graph.points[at]), grid.cell(graph.points[at + 1]));
                for row in a.0.min(b.0)..=a.0.max(b.0) {
                    for column in a.1.min(b.1)..=a.1.max(b.1) {
                        placed.push(((row * columns + column) as u32, at as u32, piece));
                    }
                }
            }
        }
        placed.sort_unstable();
        grid.first = vec![0; (columns * rows) as usize + 1];
        for &(cell, ..) in &placed {
            grid.first[cell as usize + 1] += 1;
        }
        for cell in 1..grid.first.len() {
            grid.first[cell] += grid.first[cell - 1];
        }
        grid.entries = placed
            .into_iter()
            .map(|(_, at, piece)| (at, piece))
            .collect();
        grid
    }

    /// Row and column of a position; outside the grid, of the cell it would be in.
    fn cell(&self, at: Position) -> (i64, i64) {
        let row = (i64::from(at.lat_e7()) - self.south_e7).div_euclid(self.cell_e7);
        let column = (i64::from(at.lon_e7()) - self.west_e7).div_euclid(self.cell_e7);
        (row, column)
    }

    /// The nearest place on a road, if there is one within `most_m` metres.
    pub(super) fn nearest(&self, graph: &Graph, at: Position, most_m: f64) -> Option<OnRoad> {
        let plane = Plane::around(at);
        let (row, column) = self.cell(at);
        let cell_m = self.cell_e7 as f64 * plane.lon_m.min(plane.lat_m);
        let mut best: Option<OnRoad> = None;
        for ring in 0.. {
            // All of a ring is at least this far away.
            let least_m = (ring - 1) as f64 * cell_m;
            if least_m > best.as_ref().map_or(most_m, |b| b.away_m) {
                break;
            }
            for (row, column) in ring_cells(row, column, ring) {
                if !(0..self.rows).contains(&row) || !(0..self.columns).contains(&column) {
                    continue;
                }
                let cell = (row * self.columns + column) as usize;
                let (first, end) = (self.first[cell] as usize, self.first[cell + 1] as usize);
                for &(first_point, piece) in &self.entries[first..end] {
                    let here = plane.onto(graph, first_point as usize, piece);
                    if here.away_m <= best.as_ref().map_or(most_m, |b| b.away_m) {
                        best = Some(here);
                    }
                }
            }
        }
        best
    }
}

/// The cells at a distance of `ring` cells.
fn ring_cells(row: i64, column: i64, ring: i64) -> impl Iterator<Item = (i64, i64)> {
    (-ring..=ring).flat_map(move |dr| {
        // Top and bottom rows in full, of the others only both ends.
        let step = if dr.abs() == ring {
            1
        } else {
            (2 * ring).max(1)
        };
        (-ring..=ring)
            .step_by(step as usize)
            .map(move |dc| (row + dr, column + dc))
    })
}

/// The earth around a place, as a plane in metres.
struct Plane {
    middle: Position,
    lat_m: f64,
    lon_m: f64,
}

impl Plane {
    fn around(middle: Position) -> Self {
        let step_m = geo::EARTH_RADIUS_M.to_radians() / 1e7;
        // Near a pole a step of longitude is not quite nothing.
        let lon_m = step_m * middle.lat().to_radians().cos().max(0.01);
        Self {
            middle,
            lat_m: step_m,
            lon_m,
        }
    }

    fn xy(&self, at: Position) -> (f64, f64) {
        let dlat = i64::from(at.lat_e7()) - i64::from(self.middle.lat_e7());
        let dlon = i64::from(at.lon_e7()) - i64::from(self.middle.lon_e7());
        (dlon as f64 * self.lon_m, dlat as f64 * self.lat_m)
    }

    /// The place of a segment that is nearest to the middle.
    fn onto(&self, graph: &Graph, first_point: usize, piece: u32) -> OnRoad {
        let (a, b) = (graph.points[first_point], graph.points[first_point + 1]);
        let ((ax, ay), (bx, by)) = (self.xy(a), self.xy(b));
        let (dx, dy) = (bx - ax, by - ay);
        let length_squared = dx * dx + dy * dy;
        let share = if length_squared > 0.0 {
            (-(ax * dx + ay * dy) / length_squared).clamp(0.0, 1.0)
        } else {
            0.0
        };
        let (from_m, to_m) = (graph.along_m[first_point], graph.along_m[first_point + 1]);
        OnRoad {
            piece,
            along_m: from_m + (to_m - from_m) * share as f32,
            position: between(a, b, share),
            away_m: (ax + dx * share).hypot(ay + dy * share),
        }
    }
}

/// The position at `share` (0 to 1) of the way from `a` to `b`, which are near each other.
pub(super) fn between(a: Position, b: Position, share: f64) -> Position {
    let mix = |a: i32, b: i32| {
        let (a, b) = (f64::from(a), f64::from(b));
        (a + (b - a) * share).round() as i64
    };
    Position::from_e7(mix(a.lat_e7(), b.lat_e7()), mix(a.lon_e7(), b.lon_e7())).unwrap_or(a)
}
