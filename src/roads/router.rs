//! Finds the fastest way between two places of the graph by its contraction hierarchy.

use std::cmp::Ordering;
use std::num::NonZeroU32;

use fast_paths::{FastGraph, InputGraph, PathCalculator};
use parking_lot::Mutex;

use super::Route;
use super::graph::Graph;
use super::grid::{Grid, OnRoad, between};
use crate::domain::Position;

/// Further than this from any road, metres, there is no route.
const MOST_AWAY_M: f64 = 1_000.0;
/// Calculators that are kept for the next query (each about 2 MB for 30,000 vertices).
const KEPT_CALCULATORS: usize = 4;

/// A part of a way: along one piece, from one place of it to another.
struct Part {
    piece: u32,
    from_m: f32,
    to_m: f32,
    /// Travel time of the whole piece in this direction.
    piece_ms: u32,
}

/// A graph with all that is needed to ask it.
pub(super) struct Router {
    graph: Graph,
    hierarchy: FastGraph,
    grid: Grid,
    calculators: Mutex<Vec<PathCalculator>>,
}

impl std::fmt::Debug for Router {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "Router({} vertices, {} pieces)",
            self.graph.vertices(),
            self.graph.pieces.len()
        )
    }
}

impl Part {
    /// A part of a piece; none, if the way begins or ends at the junction already.
    fn of(piece: u32, from_m: f32, to_m: f32, ms: Option<NonZeroU32>) -> Option<Self> {
        Some(Self {
            piece,
            from_m,
            to_m,
            piece_ms: ms?.get(),
        })
    }
}

/// Prepares the hierarchy of a graph.
pub(super) fn contract(graph: &Graph) -> FastGraph {
    let mut edges = Vec::with_capacity(graph.pieces.len() * 2);
    for piece in &graph.pieces {
        edges.extend(piece.forward_ms.map(|ms| (piece.from, piece.to, ms)));
        edges.extend(piece.backward_ms.map(|ms| (piece.to, piece.from, ms)));
    }
    // Of several pieces between two junctions the fastest counts.
    edges.sort_unstable();
    edges.dedup_by_key(|(from, to, _)| (*from, *to));
    let mut input = InputGraph::new();
    for (from, to, ms) in edges {
        input.add_edge(from as usize, to as usize, ms.get() as usize);
    }
    input.freeze();
    fast_paths::prepare(&input)
}

impl Router {
    pub(super) fn new(graph: Graph, hierarchy: FastGraph) -> Self {
        let grid = Grid::over(&graph);
        Self {
            graph,
            hierarchy,
            grid,
            calculators: Mutex::default(),
        }
    }

    pub(super) fn graph(&self) -> &Graph {
        &self.graph
    }

    pub(super) fn nearest(&self, at: Position) -> Option<OnRoad> {
        self.grid.nearest(&self.graph, at, MOST_AWAY_M)
    }

    /// Metres and seconds of the fastest way.
    pub(super) fn measure(&self, from: Position, to: Position) -> Option<(f64, f64)> {
        let parts = self.parts(from, to)?;
        let sum = parts.iter().map(|part| {
            let metres = f64::from((part.to_m - part.from_m).abs());
            (metres, self.seconds(part, part.to_m))
        });
        Some(sum.fold((0.0, 0.0), |sum, part| (sum.0 + part.0, sum.1 + part.1)))
    }

    /// The fastest way with its geometry.
    pub(super) fn route(&self, from: Position, to: Position) -> Option<Route> {
        let mut route = Route::default();
        for part in self.parts(from, to)? {
            self.draw(&part, &mut route);
        }
        if route.path.is_empty() {
            // From a junction to the same junction.
            route.path.push(self.nearest(from)?.position);
            route.elapsed_s.push(0.0);
        }
        Some(route)
    }

    /// Seconds from the begin of a part to `along_m`.
    fn seconds(&self, part: &Part, along_m: f32) -> f64 {
        let share = f64::from((along_m - part.from_m).abs() / self.graph.length_m(part.piece));
        f64::from(part.piece_ms) / 1000.0 * share
    }

    fn parts(&self, from: Position, to: Position) -> Option<Vec<Part>> {
        let (from, to) = (self.nearest(from)?, self.nearest(to)?);
        let direct = self.direct(&from, &to);
        let (starts, ends) = (self.ends(&from, true), self.ends(&to, false));
        let around = if starts.is_empty() || ends.is_empty() {
            None
        } else {
            let mut calculator = self
                .calculators
                .lock()
                .pop()
                .unwrap_or_else(|| fast_paths::create_calculator(&self.hierarchy));
            let path =
                calculator.calc_path_multiple_sources_and_targets(&self.hierarchy, starts, ends);
            let mut calculators = self.calculators.lock();
            if calculators.len() < KEPT_CALCULATORS {
                calculators.push(calculator);
            }
            path
        };
        match (direct, around) {
            (Some((part, ms)), Some(path)) if ms <= path.get_weight() => Some(vec![part]),
            (Some((part, _)), None) => Some(vec![part]),
            (_, Some(path)) => self.unpack(&from, &to, path.get_nodes()),
            (None, None) => None,
        }
    }

    /// The way along one piece that both places are on, if it may be driven in that direction.
    fn direct(&self, from: &OnRoad, to: &OnRoad) -> Option<(Part, usize)> {
        if from.piece != to.piece {
            return None;
        }
        let piece = &self.graph.pieces[from.piece as usize];
        let ms = match to.along_m.total_cmp(&from.along_m) {
            Ordering::Greater => piece.forward_ms,
            Ordering::Less => piece.backward_ms,
            Ordering::Equal => piece.forward_ms.or(piece.backward_ms),
        }?;
        let part = Part {
            piece: from.piece,
            from_m: from.along_m,
            to_m: to.along_m,
            piece_ms: ms.get(),
        };
        let share = (to.along_m - from.along_m).abs() / self.graph.length_m(from.piece);
        Some((part, (ms.get() as f32 * share) as usize))
    }

    /// The vertices by which a place can be left (or reached), with the milliseconds to (from)
    /// there. A place at a junction is on all of its roads.
    fn ends(&self, at: &OnRoad, leaving: bool) -> Vec<(usize, usize)> {
        let piece = &self.graph.pieces[at.piece as usize];
        let share = (at.along_m / self.graph.length_m(at.piece)).min(1.0);
        let (to_start, to_end) = if leaving {
            (piece.backward_ms, piece.forward_ms)
        } else {
            (piece.forward_ms, piece.backward_ms)
        };
        let ms = |whole: Option<NonZeroU32>, share: f32| {
            whole
                .map(|ms| (ms.get() as f32 * share) as usize)
                .or((share == 0.0).then_some(0))
        };
        let start = ms(to_start, share).map(|ms| (piece.from as usize, ms));
        let end = ms(to_end, 1.0 - share).map(|ms| (piece.to as usize, ms));
        start.into_iter().chain(end).collect()
    }

    fn unpack(&self, from: &OnRoad, to: &OnRoad, nodes: &[usize]) -> Option<Vec<Part>> {
        let mut parts = Vec::with_capacity(nodes.len() + 1);
        let (&first, &last) = (nodes.first()?, nodes.last()?);
        let piece = &self.graph.pieces[from.piece as usize];
        let (to_m, ms) = if first == piece.to as usize {
            (self.graph.length_m(from.piece), piece.forward_ms)
        } else {
            (0.0, piece.backward_ms)
        };
        parts.extend(Part::of(from.piece, from.along_m, to_m, ms));
        for pair in nodes.windows(2) {
            let (piece, ms) = self.graph.piece_between(pair[0] as u32, pair[1] as u32)?;
            let length_m = self.graph.length_m(piece);
            let forward = self.graph.pieces[piece as usize].from as usize == pair[0];
            let (from_m, to_m) = if forward {
                (0.0, length_m)
            } else {
                (length_m, 0.0)
            };
            parts.extend(Part::of(piece, from_m, to_m, Some(ms)));
        }
        let piece = &self.graph.pieces[to.piece as usize];
        let (from_m, ms) = if last == piece.from as usize {
            (0.0, piece.forward_ms)
        } else {
            (self.graph.length_m(to.piece), piece.backward_ms)
        };
        parts.extend(Part::of(to.piece, from_m, to.along_m, ms));
        Some(parts)
    }

    /// Adds a part's positions to a route.
    fn draw(&self, part: &Part, route: &mut Route) {
        let range = self.graph.range(part.piece);
        let (points, along) = (
            &self.graph.points[range.clone()],
            &self.graph.along_m[range],
        );
        let begun_s = route.duration_s;
        let mut add = |position: Position, along_m: f32| {
            if route.path.last() != Some(&position) {
                route.path.push(position);
                route
                    .elapsed_s
                    .push((begun_s + self.seconds(part, along_m)) as f32);
            }
        };
        let at = |along_m: f32| {
            let next = along
                .partition_point(|&a| a <= along_m)
                .clamp(1, along.len() - 1);
            let (before_m, after_m) = (along[next - 1], along[next]);
            let share = (along_m - before_m) / (after_m - before_m).max(f32::MIN_POSITIVE);
            between(
                points[next - 1],
                points[next],
                f64::from(share.clamp(0.0, 1.0)),
            )
        };
        add(at(part.from_m), part.from_m);
        let (low_m, high_m) = (part.from_m.min(part.to_m), part.from_m.max(part.to_m));
        let first = along.partition_point(|&a| a <= low_m);
        let end = along.partition_point(|&a| a < high_m).max(first);
        if part.to_m >= part.from_m {
            (first..end).for_each(|i| add(points[i], along[i]));
        } else {
            (first..end).rev().for_each(|i| add(points[i], along[i]));
        }
        add(at(part.to_m), part.to_m);
        route.distance_m += f64::from(high_m - low_m);
        route.duration_s += self.seconds(part, part.to_m);
    }
}
