//! The road graph: vertices are junctions and ends of ways, pieces are the road between two of
//! them, with its geometry and its travel time in each direction.
//!
//! Invariants: a piece joins two different vertices and has at least two positions; every vertex is
//! reached by a piece; each vertex can be reached from, and can reach, the rest of its component
//! (small components, as islands behind a barrier, are left out), so that a position is never
//! snapped to a road that leads nowhere.

use std::num::NonZeroU32;
use std::ops::Range;

use rustc_hash::FxHashMap;
use serde::{Deserialize, Serialize};

use super::osm::Extract;
use crate::domain::{Position, PositionError, geo};

/// A component with fewer vertices than this share of the largest one is left out.
const SMALLEST_COMPONENT: f64 = 0.01;

/// A stretch of road between two vertices, without a junction in between.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Piece {
    /// Vertex at its first position.
    pub(super) from: u32,
    /// Vertex at its last position.
    pub(super) to: u32,
    /// Index of its first position in [`Graph::points`].
    pub(super) first: u32,
    /// Travel time from `from` to `to`, if that is allowed.
    pub(super) forward_ms: Option<NonZeroU32>,
    /// Travel time from `to` to `from`, if that is allowed.
    pub(super) backward_ms: Option<NonZeroU32>,
}

/// Who leads where: the directed edges, by the vertex they leave.
#[derive(Debug, Clone, PartialEq)]
struct Arcs {
    /// Where each vertex' arcs begin in `all`; one more than there are vertices.
    first: Vec<u32>,
    /// The vertex an arc leads to, and the piece it runs along.
    all: Vec<(u32, u32)>,
}

/// The graph.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(into = "Stored", try_from = "Stored")]
pub(super) struct Graph {
    /// The pieces.
    pub(super) pieces: Vec<Piece>,
    /// Positions of all pieces, one piece after the other.
    pub(super) points: Vec<Position>,
    /// Metres from its piece's first position, for each of `points`.
    pub(super) along_m: Vec<f32>,
    arcs: Arcs,
}

impl Graph {
    /// Puts the graph together; everything else follows from pieces and points.
    pub(super) fn new(pieces: Vec<Piece>, points: Vec<Position>) -> Self {
        let arcs = Arcs::new(&pieces);
        let mut graph = Self {
            pieces,
            points,
            along_m: Vec::new(),
            arcs,
        };
        graph.along_m.reserve_exact(graph.points.len());
        for piece in 0..graph.pieces.len() as u32 {
            let mut along = 0.0;
            let range = graph.range(piece);
            for at in range.clone() {
                if at > range.start {
                    along += geo::distance_m(graph.points[at - 1], graph.points[at]);
                }
                graph.along_m.push(along as f32);
            }
        }
        graph
    }

    /// Builds it from an extract.
    pub(super) fn build(extract: &Extract) -> Self {
        let (pieces, points) = cut(extract);
        let kept = Arcs::new(&pieces).kept_vertices();
        let (pieces, points) = keep(&pieces, &points, &kept);
        Self::new(pieces, points)
    }

    /// How many vertices there are.
    pub(super) fn vertices(&self) -> usize {
        self.arcs.vertices()
    }

    /// Indices into `points` of a piece's positions.
    pub(super) fn range(&self, piece: u32) -> Range<usize> {
        range(&self.pieces, self.points.len(), piece as usize)
    }

    /// Length of a piece in metres; never 0.
    pub(super) fn length_m(&self, piece: u32) -> f32 {
        self.along_m[self.range(piece).end - 1].max(f32::MIN_POSITIVE)
    }

    /// The fastest piece from one vertex to a neighbour, and its travel time.
    pub(super) fn piece_between(&self, from: u32, to: u32) -> Option<(u32, NonZeroU32)> {
        let between = self
            .arcs
            .of(from)
            .iter()
            .filter(|(neighbour, _)| *neighbour == to);
        between
            .filter_map(|&(_, index)| {
                let piece = &self.pieces[index as usize];
                let ms = if piece.from == from {
                    piece.forward_ms
                } else {
                    piece.backward_ms
                };
                Some((index, ms?))
            })
            .min_by_key(|&(_, ms)| ms)
    }
}

/// A graph on disk: pieces, and positions in steps of 1e-7°, each less the one before.
#[derive(Serialize, Deserialize)]
struct Stored {
    pieces: Vec<Piece>,
    points: Vec<(i64, i64)>,
}

impl From<Graph> for Stored {
    fn from(graph: Graph) -> Self {
        let mut last = (0, 0);
        let points = graph.points.iter().map(|point| {
            let here = (i64::from(point.lat_e7()), i64::from(point.lon_e7()));
            let delta = (here.0 - last.0, here.1 - last.1);
            last = here;
            delta
        });
        Self {
            points: points.collect(),
            pieces: graph.pieces,
        }
    }
}

impl TryFrom<Stored> for Graph {
    type Error = PositionError;

    fn try_from(stored: Stored) -> Result<Self, PositionError> {
        let mut last = (0, 0);
        let points: Result<Vec<Position>, _> = stored
            .points
            .into_iter()
            .map(|(dlat, dlon)| {
                last = (last.0 + dlat, last.1 + dlon);
                Position::from_e7(last.0, last.1)
            })
            .collect();
        Ok(Self::new(stored.pieces, points?))
    }
}

fn range(pieces: &[Piece], points: usize, piece: usize) -> Range<usize> {
    let end = pieces.get(piece + 1).map_or(points, |p| p.first as usize);
    pieces[piece].first as usize..end
}

impl Arcs {
    fn new(pieces: &[Piece]) -> Self {
        let vertices = pieces
            .iter()
            .map(|p| p.from.max(p.to) + 1)
            .max()
            .unwrap_or(0) as usize;
        let mut arcs: Vec<(u32, u32, u32)> = Vec::with_capacity(pieces.len() * 2);
        for (index, piece) in (0..).zip(pieces) {
            arcs.extend(piece.forward_ms.map(|_| (piece.from, piece.to, index)));
            arcs.extend(piece.backward_ms.map(|_| (piece.to, piece.from, index)));
        }
        arcs.sort_unstable();
        let mut first = vec![0; vertices + 1];
        for &(from, ..) in &arcs {
            first[from as usize + 1] += 1;
        }
        for vertex in 0..vertices {
            first[vertex + 1] += first[vertex];
        }
        Self {
            first,
            all: arcs.into_iter().map(|(_, to, piece)| (to, piece)).collect(),
        }
    }

    fn vertices(&self) -> usize {
        self.first.len() - 1
    }

    fn of(&self, vertex: u32) -> &[(u32, u32)] {
        let (first, end) = (self.first[vertex as usize], self.first[vertex as usize + 1]);
        &self.all[first as usize..end as usize]
    }

    /// The vertices of the components that are kept (Tarjan's algorithm, with a stack of its own).
    fn kept_vertices(&self) -> Vec<bool> {
        const NEW: u32 = u32::MAX;
        let count = self.vertices();
        let mut order = vec![NEW; count];
        let mut low = vec![0; count];
        let mut component = vec![NEW; count];
        let (mut sizes, mut open, mut calls) = (Vec::new(), Vec::new(), Vec::new());
        let mut next = 0;
        for root in 0..count {
            if order[root] != NEW {
                continue;
            }
            calls.push((root, self.first[root]));
            while let Some((vertex, arc)) = calls.pop() {
                if order[vertex] == NEW {
                    order[vertex] = next;
                    low[vertex] = next;
                    next += 1;
                    open.push(vertex);
                }
                if arc < self.first[vertex + 1] {
                    calls.push((vertex, arc + 1));
                    let neighbour = self.all[arc as usize].0 as usize;
                    if order[neighbour] == NEW {
                        calls.push((neighbour, self.first[neighbour]));
                    } else if component[neighbour] == NEW {
                        low[vertex] = low[vertex].min(order[neighbour]);
                    }
                    continue;
                }
                if low[vertex] == order[vertex] {
                    let mut size = 0;
                    while let Some(member) = open.pop() {
                        component[member] = sizes.len() as u32;
                        size += 1;
                        if member == vertex {
                            break;
                        }
                    }
                    sizes.push(size);
                }
                if let Some(&(caller, _)) = calls.last() {
                    low[caller] = low[caller].min(low[vertex]);
                }
            }
        }
        let largest = sizes.iter().copied().max().unwrap_or(0);
        let least = ((f64::from(largest) * SMALLEST_COMPONENT) as u32).max(2);
        component
            .into_iter()
            .map(|c| sizes[c as usize] >= least)
            .collect()
    }
}

/// Cuts the ways at junctions.
fn cut(extract: &Extract) -> (Vec<Piece>, Vec<Position>) {
    // A way that leaves the extract ends at its last known node.
    let mut ways: Vec<(Vec<i64>, super::profile::Use)> = Vec::with_capacity(extract.ways.len());
    for way in &extract.ways {
        for part in way.nodes.split(|id| !extract.nodes.contains_key(id)) {
            let mut nodes = part.to_vec();
            nodes.dedup();
            if nodes.len() >= 2 {
                ways.push((nodes, way.usage));
            }
        }
    }
    let mut uses: FxHashMap<i64, u8> = FxHashMap::default();
    for (nodes, _) in &ways {
        let ends = [nodes.first(), nodes.last()];
        for &id in nodes.iter().chain(ends.into_iter().flatten()) {
            let count = uses.entry(id).or_default();
            *count = count.saturating_add(1);
        }
    }
    let mut vertices: FxHashMap<i64, u32> = FxHashMap::default();
    let (mut pieces, mut points) = (Vec::new(), Vec::new());
    for (nodes, usage) in &ways {
        let mut start = 0;
        for end in 1..nodes.len() {
            if uses[&nodes[end]] < 2 {
                continue;
            }
            // A loop is cut in the middle: pieces join different vertices.
            let middle = (nodes[start] == nodes[end]).then_some(usize::midpoint(start, end));
            for (a, b) in match middle {
                Some(middle) => vec![(start, middle), (middle, end)],
                None => vec![(start, end)],
            } {
                let mut vertex = |id: i64| {
                    let next = vertices.len() as u32;
                    *vertices.entry(id).or_insert(next)
                };
                let (from, to) = (vertex(nodes[a]), vertex(nodes[b]));
                let stretch: Vec<Position> = nodes[a..=b]
                    .iter()
                    .filter_map(|id| extract.nodes.get(id).copied())
                    .collect();
                let length_m = stretch
                    .windows(2)
                    .map(|w| geo::distance_m(w[0], w[1]))
                    .sum();
                let ms = usage.ms(length_m);
                pieces.push(Piece {
                    from,
                    to,
                    first: points.len() as u32,
                    forward_ms: usage.forward.then_some(ms),
                    backward_ms: usage.backward.then_some(ms),
                });
                points.extend(stretch);
            }
            start = end;
        }
    }
    (pieces, points)
}

/// The pieces that join kept vertices, with the vertices numbered anew.
fn keep(all: &[Piece], all_points: &[Position], kept: &[bool]) -> (Vec<Piece>, Vec<Position>) {
    let mut numbers: FxHashMap<u32, u32> = FxHashMap::default();
    let mut number = |vertex: u32| {
        let next = numbers.len() as u32;
        *numbers.entry(vertex).or_insert(next)
    };
    let (mut pieces, mut points) = (Vec::new(), Vec::new());
    for (index, piece) in all.iter().enumerate() {
        if kept[piece.from as usize] && kept[piece.to as usize] {
            let first = points.len() as u32;
            points.extend_from_slice(&all_points[range(all, all_points.len(), index)]);
            pieces.push(Piece {
                from: number(piece.from),
                to: number(piece.to),
                first,
                ..*piece
            });
        }
    }
    (pieces, points)
}
