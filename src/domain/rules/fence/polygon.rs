//! A polygon with holes in the plane of degrees, quick to ask.
//!
//! Its edges are straight in degrees, as RFC 7946 has them. An edge that spans more than 180° goes
//! the short way, across the antimeridian: longitudes are unrolled from the first position on, and
//! places are moved by whole turns to lie beside. Inside is what an odd number of edges separates
//! from the outside (the even-odd rule), whichever way the rings run and even where they cross.
//!
//! Edges are sorted into bands of latitude, so that a polygon of 10,000 positions costs little more
//! than one of fifty.

use super::{FenceError, Spot};
use crate::domain::geo::DEGREE_M;
use crate::domain::{Position, geo};

/// Edges a band holds, roughly.
const EDGES_A_BAND: usize = 6;
/// Most bands.
const MAX_BANDS: usize = 2_048;
/// An edge stands in so many bands at most, on average: a polygon of tall teeth gets fewer bands
/// rather than every edge in every band.
const BANDS_AN_EDGE: f64 = 3.0;
/// Where a metre in the east is more degrees than this times those in the north, near a pole,
/// distances are taken for too small rather than for too large.
const LEAST_COS: f64 = 0.01;

/// From and to, degrees: (east, north).
#[derive(Debug, Clone, Copy, PartialEq)]
struct Edge {
    from: (f64, f64),
    to: (f64, f64),
}

/// An edge as it is kept, half as large: 1e-7° to the east and north of the polygon's corner, as
/// exact as positions are.
#[derive(Debug, Clone, Copy, Default)]
struct KeptEdge {
    from: (u32, u32),
    to: (u32, u32),
}

#[derive(Debug, Clone)]
pub(super) struct Polygon {
    /// West, south, east and north edge, degrees, longitudes unrolled.
    west: f64,
    south: f64,
    east: f64,
    north: f64,
    size_m: f64,
    /// Edges band by band from the south; one that spans several bands stands in each.
    edges: Vec<KeptEdge>,
    /// Where each band begins in `edges`, and the end.
    bands: Vec<u32>,
}

impl Polygon {
    pub(super) fn new(rings: &[Vec<Position>]) -> Result<Self, FenceError> {
        let mut all = Vec::new();
        let mut area = 0.0;
        let origin = rings
            .first()
            .and_then(|r| r.first())
            .ok_or(FenceError::Empty)?;
        for ring in rings {
            let edges = unrolled(ring, origin.lon())?;
            let twice: f64 = edges
                .iter()
                .map(|e| e.from.0 * e.to.1 - e.to.0 * e.from.1)
                .sum();
            // Holes take away, whichever way they run.
            let sign = if all.is_empty() { 1.0 } else { -1.0 };
            area += sign * twice.abs() / 2.0;
            all.extend(edges);
        }
        let fold = |pick: fn(&Edge) -> f64, better: fn(f64, f64) -> f64, start: f64| {
            all.iter().map(pick).fold(start, better)
        };
        let (west, east) = (
            fold(|e| e.from.0, f64::min, f64::MAX),
            fold(|e| e.from.0, f64::max, f64::MIN),
        );
        let (south, north) = (
            fold(|e| e.from.1, f64::min, f64::MAX),
            fold(|e| e.from.1, f64::max, f64::MIN),
        );
        if east - west > 360.0 {
            return Err(FenceError::Wraps);
        }
        // The shoelace sum of what bounds nothing is rounding noise.
        if area < 1e-13 {
            return Err(FenceError::NoArea);
        }
        let cos = f64::midpoint(south, north)
            .to_radians()
            .cos()
            .max(LEAST_COS);
        let size_m = (area * cos / std::f64::consts::PI).sqrt() * DEGREE_M;
        let mut polygon = Self {
            west,
            south,
            east,
            north,
            size_m,
            edges: Vec::new(),
            bands: vec![0],
        };
        polygon.fill_bands(&all);
        Ok(polygon)
    }

    fn fill_bands(&mut self, all: &[Edge]) {
        let height = (self.north - self.south).max(f64::MIN_POSITIVE);
        let climbed: f64 = all.iter().map(|e| (e.to.1 - e.from.1).abs()).sum();
        // An edge stands in one band more than it spans.
        let most = BANDS_AN_EDGE * all.len() as f64 / (climbed / height).max(1.0);
        let count = (all.len() / EDGES_A_BAND).clamp(1, MAX_BANDS);
        let count = count.min(most as usize).max(1);
        self.bands = vec![0; count + 1];
        let spans = |polygon: &Self, e: &Edge| {
            let (low, high) = (e.from.1.min(e.to.1), e.from.1.max(e.to.1));
            polygon.band_of(low)..=polygon.band_of(high)
        };
        for edge in all {
            for band in spans(self, edge) {
                self.bands[band + 1] += 1;
            }
        }
        for band in 0..count {
            self.bands[band + 1] += self.bands[band];
        }
        let mut next = self.bands.clone();
        self.edges = vec![KeptEdge::default(); self.bands[count] as usize];
        for edge in all {
            for band in spans(self, edge) {
                self.edges[next[band] as usize] = self.keep(edge);
                next[band] += 1;
            }
        }
    }

    /// The band that a latitude lies in; those beyond the polygon count to the outermost.
    fn band_of(&self, lat: f64) -> usize {
        let count = self.bands.len() - 1;
        let height = (self.north - self.south).max(f64::MIN_POSITIVE);
        let band = (lat - self.south) / height * count as f64;
        // Negative and too large ones saturate.
        (band as usize).min(count - 1)
    }

    fn keep(&self, edge: &Edge) -> KeptEdge {
        let e7 = |degrees: f64, from: f64| ((degrees - from) * 1e7).round() as u32;
        let keep = |(x, y): (f64, f64)| (e7(x, self.west), e7(y, self.south));
        KeptEdge {
            from: keep(edge.from),
            to: keep(edge.to),
        }
    }

    /// A place in the units of kept edges.
    fn kept_units(&self, (x, y): (f64, f64)) -> (f64, f64) {
        ((x - self.west) * 1e7, (y - self.south) * 1e7)
    }

    /// Edges of all bands between two latitudes; some more than once.
    fn edges_between(&self, low: f64, high: f64) -> &[KeptEdge] {
        let (first, last) = (self.band_of(low), self.band_of(high));
        &self.edges[self.bands[first] as usize..self.bands[last + 1] as usize]
    }

    /// A place in the polygon's own plane, moved by whole turns to lie beside it.
    fn place(&self, at: Position) -> (f64, f64) {
        let middle = f64::midpoint(self.west, self.east);
        let turns = ((at.lon() - middle) / 360.0).round();
        (at.lon() - 360.0 * turns, at.lat())
    }

    pub(super) fn contains(&self, at: Position) -> bool {
        let (x, y) = self.place(at);
        self.is_inside(x, y)
    }

    fn is_inside(&self, x: f64, y: f64) -> bool {
        if !(self.west..=self.east).contains(&x) || !(self.south..=self.north).contains(&y) {
            return false;
        }
        let edges = self.edges_between(y, y).iter().map(KeptEdge::ends);
        let (x, y) = self.kept_units((x, y));
        let crossed = edges.filter(|[from, to]| {
            (from.1 > y) != (to.1 > y)
                && x < from.0 + (y - from.1) / (to.1 - from.1) * (to.0 - from.0)
        });
        crossed.count() % 2 == 1
    }

    /// Metres to the nearest edge, if that is within `reach_m`; otherwise more than `reach_m`.
    pub(super) fn border_m(&self, at: Position, reach_m: f64) -> f64 {
        let (x, y) = self.place(at);
        let reach_deg = reach_m / DEGREE_M;
        let beyond = reach_m.max(1.0) * 2.0;
        if y + reach_deg < self.south || y - reach_deg > self.north {
            return beyond;
        }
        let east = y.to_radians().cos().max(LEAST_COS);
        let (x, north) = self.kept_units((x, y));
        let nearest2 = self
            .edges_between(y - reach_deg, y + reach_deg)
            .iter()
            .map(|edge| {
                let [from, to] = edge.ends().map(|end| ((end.0 - x) * east, end.1 - north));
                distance2_to(from, to)
            })
            .fold(f64::MAX, f64::min);
        if nearest2 == f64::MAX {
            beyond
        } else {
            nearest2.sqrt() * DEGREE_M / 1e7
        }
    }

    pub(super) fn is_touched_by(&self, a: Position, b: Position) -> bool {
        let from = self.place(a);
        let mut to = self.place(b);
        // The short way between the two, whichever side of the antimeridian each was moved to.
        to.0 -= 360.0 * ((to.0 - from.0) / 360.0).round();
        if self.contains(a) || self.contains(b) {
            return true;
        }
        let (low, high) = (from.1.min(to.1), from.1.max(to.1));
        if high < self.south || low > self.north {
            return false;
        }
        let edges = self.edges_between(low, high).iter().map(KeptEdge::ends);
        let [from, to] = [from, to].map(|end| self.kept_units(end));
        edges.into_iter().any(|[a, b]| crosses(from, to, a, b))
    }

    pub(super) fn size_m(&self) -> f64 {
        self.size_m
    }

    /// South, west, north and east edge, degrees, longitudes unrolled.
    pub(super) fn edges_deg(&self) -> [f64; 4] {
        [self.south, self.west, self.north, self.east]
    }

    /// South, west, north and east edge of a box that lies in it, degrees, longitudes unrolled: around
    /// its middle, up to the nearest edge. Most places in a polygon that is about round lie in there.
    pub(super) fn core_deg(&self) -> Option<[f64; 4]> {
        let (x, y) = (
            f64::midpoint(self.west, self.east),
            f64::midpoint(self.south, self.north),
        );
        if !self.is_inside(x, y) {
            return None;
        }
        // The largest box of the proportions of the polygon's own that no edge comes into: of each
        // edge what is nearest, with both directions measured in halves of the polygon.
        let kept = self.kept_units((x, y));
        let (wide, high) = (kept.0.max(f64::MIN_POSITIVE), kept.1.max(f64::MIN_POSITIVE));
        let nearest2 = self
            .edges
            .iter()
            .map(|edge| {
                let scaled = |p: (f64, f64)| ((p.0 - kept.0) / wide, (p.1 - kept.1) / high);
                let [from, to] = edge.ends().map(scaled);
                distance2_to(from, to)
            })
            .fold(f64::MAX, f64::min);
        let half = (nearest2 / 2.0).sqrt() * 1e-7;
        let (wide, high) = (wide * half, high * half);
        Some([y - high, x - wide, y + high, x + wide])
    }

    /// A circle around it.
    pub(super) fn bounds(&self) -> (Spot, f64) {
        let lon = f64::midpoint(self.west, self.east);
        let middle = Position::from_any_degrees(f64::midpoint(self.south, self.north), lon);
        // The parallels bulge: the farthest place of a box is one of its corners or lies in the
        // middle of its side that is nearer to the equator.
        let nearest_equator = 0.0_f64.clamp(self.south, self.north);
        let far = [
            (self.west, self.south),
            (self.west, self.north),
            (self.west, nearest_equator),
            (lon, self.south),
            (lon, self.north),
        ];
        let farthest = far
            .iter()
            .map(|(lon, lat)| geo::distance_m(middle, Position::from_any_degrees(*lat, *lon)))
            .fold(0.0, f64::max);
        (Spot::from(middle), farthest * 1.01 + 1.0)
    }
}

impl KeptEdge {
    /// Both ends, in units of 1e-7°.
    fn ends(&self) -> [(f64, f64); 2] {
        [self.from, self.to].map(|(x, y)| (f64::from(x), f64::from(y)))
    }
}

/// The edges of a ring, each longitude within half a turn of the one before; the first one within
/// half a turn of `beside`.
fn unrolled(ring: &[Position], beside: f64) -> Result<Vec<Edge>, FenceError> {
    if ring.len() < 3 {
        return Err(FenceError::Empty);
    }
    let step = |lon: f64, from: f64| lon - 360.0 * ((lon - from) / 360.0).round();
    let mut last = beside;
    let corners: Vec<(f64, f64)> = ring
        .iter()
        .map(|p| {
            last = step(p.lon(), last);
            (last, p.lat())
        })
        .collect();
    // Closing the ring must come back to where it began, not one turn further.
    let (first, end) = (corners[0], corners[corners.len() - 1]);
    if (step(first.0, end.0) - first.0).abs() > 1.0 {
        return Err(FenceError::Wraps);
    }
    let next = corners.iter().copied().cycle().skip(1);
    Ok(corners
        .iter()
        .copied()
        .zip(next)
        .map(|(from, to)| Edge { from, to })
        .collect())
}

/// Squared distance of the origin to the line from `a` to `b`.
fn distance2_to(a: (f64, f64), b: (f64, f64)) -> f64 {
    let (dx, dy) = (b.0 - a.0, b.1 - a.1);
    let length2 = (dx * dx + dy * dy).max(f64::MIN_POSITIVE);
    let share = (-(a.0 * dx + a.1 * dy) / length2).clamp(0.0, 1.0);
    let (x, y) = (a.0 + share * dx, a.1 + share * dy);
    x * x + y * y
}

/// Whether the lines from `a` to `b` and from `c` to `d` meet.
fn crosses(a: (f64, f64), b: (f64, f64), c: (f64, f64), d: (f64, f64)) -> bool {
    let side = |p: (f64, f64), q: (f64, f64), r: (f64, f64)| {
        (q.0 - p.0) * (r.1 - p.1) - (q.1 - p.1) * (r.0 - p.0)
    };
    let (c_side, d_side) = (side(a, b, c), side(a, b, d));
    let (a_side, b_side) = (side(c, d, a), side(c, d, b));
    c_side * d_side <= 0.0
        && a_side * b_side <= 0.0
        // Both on one line: only if they overlap.
        && (c_side != d_side
            || a.0.min(b.0) <= c.0.max(d.0)
                && c.0.min(d.0) <= a.0.max(b.0)
                && a.1.min(b.1) <= c.1.max(d.1)
                && c.1.min(d.1) <= a.1.max(b.1))
}
