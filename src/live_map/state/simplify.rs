//! Lines with fewer corners that look the same: Douglas and Peucker's algorithm (1973).
//!
//! Only corners of the given line are kept, none is made up: a line of positions that may be shown
//! stays one.

use crate::domain::Position;
use crate::domain::geo::DEGREE_M;

/// The finest tolerance that is tried, metres.
const FINEST_M: f64 = 4.0;

/// At most `most` corners of `line`, the first and the last among them.
///
/// The tolerance is doubled until they are few enough.
pub(crate) fn simplify(line: &[Position], most: usize) -> Vec<Position> {
    if line.len() <= most {
        return line.to_vec();
    }
    let kept = kept_corners(line, most);
    line.iter()
        .zip(kept)
        .filter_map(|(corner, keep)| keep.then_some(*corner))
        .collect()
}

/// Which corners to keep so that they are at most `most` (and at least the two ends).
pub(super) fn kept_corners(line: &[Position], most: usize) -> Vec<bool> {
    let most = most.max(2);
    let weights = weights_m(line);
    let mut tolerance_m = FINEST_M;
    loop {
        if weights.iter().filter(|w| **w > tolerance_m).count() <= most {
            return weights.iter().map(|w| *w > tolerance_m).collect();
        }
        tolerance_m *= 2.0;
    }
}

/// Up to which tolerance each corner is kept, metres: one that lies further than that from the line
/// through the kept ones. The ends are always kept; what no tolerance keeps has 0.
///
/// The algorithm asks of the parts of a line only where it has kept the corner between them: so a
/// corner is kept no longer than the one that its part ends at, and one pass tells of all tolerances.
fn weights_m(line: &[Position]) -> Vec<f64> {
    let mut weights = vec![0.0; line.len()];
    let Some(last) = line.len().checked_sub(1) else {
        return weights;
    };
    (weights[0], weights[last]) = (f64::INFINITY, f64::INFINITY);
    let flat = flat(line);
    let mut open = vec![(0, last, f64::INFINITY)];
    while let Some((from, to, most_m)) = open.pop() {
        let (a, b) = (flat[from], flat[to]);
        let (mut farthest, mut farthest2) = (from, 0.0);
        for (i, p) in flat.iter().enumerate().take(to).skip(from + 1) {
            let off2 = off_segment2(*p, a, b);
            if off2 > farthest2 {
                (farthest, farthest2) = (i, off2);
            }
        }
        let weight = farthest2.sqrt().min(most_m);
        if weight > FINEST_M {
            weights[farthest] = weight;
            open.push((from, farthest, weight));
            open.push((farthest, to, weight));
        }
    }
    weights
}

/// A line in metres to the east and north of its first corner, on a plane that touches the earth
/// there: good for what a courier drives in some hours.
fn flat(line: &[Position]) -> Vec<(f64, f64)> {
    let Some(origin) = line.first() else {
        return Vec::new();
    };
    let shrink = origin.lat().to_radians().cos();
    line.iter().map(|p| on_plane(*p, *origin, shrink)).collect()
}

/// Distance of `p` from `line` in metres; infinite from a line without corners.
pub(crate) fn off_line_m(p: Position, line: &[Position]) -> f64 {
    let segments = line
        .windows(2)
        .map(|pair| off_segment_m(p, pair[0], pair[1]));
    let start = line.first().map(|only| off_segment_m(p, *only, *only));
    segments.chain(start).fold(f64::INFINITY, f64::min)
}

/// What of `line` lies ahead of `p`: `p` itself, then the corners after the segment nearest to it.
pub(crate) fn ahead_of(p: Position, line: &[Position]) -> Vec<Position> {
    let off_m = |i: &usize| off_segment_m(p, line[*i], line[*i + 1]);
    let segments = 0..line.len().saturating_sub(1);
    let nearest = segments.min_by(|a, b| off_m(a).total_cmp(&off_m(b)));
    let rest = nearest.map_or(line, |i| &line[i + 1..]);
    std::iter::once(p).chain(rest.iter().copied()).collect()
}

/// Distance of `p` from the segment `a`–`b` in metres, on a plane that touches the earth at `a`.
fn off_segment_m(p: Position, a: Position, b: Position) -> f64 {
    let shrink = a.lat().to_radians().cos();
    let [p, b] = [p, b].map(|q| on_plane(q, a, shrink));
    off_segment2(p, (0.0, 0.0), b).sqrt()
}

/// Metres to the east and north of `origin`, where a degree of longitude is `shrink` of one of latitude.
fn on_plane(p: Position, origin: Position, shrink: f64) -> (f64, f64) {
    let east = (p.lon() - origin.lon() + 540.0).rem_euclid(360.0) - 180.0;
    (
        east * shrink * DEGREE_M,
        (p.lat() - origin.lat()) * DEGREE_M,
    )
}

/// Squared distance of `p` from the segment `a`–`b` in a plane.
fn off_segment2(p: (f64, f64), a: (f64, f64), b: (f64, f64)) -> f64 {
    let (px, py, bx, by) = (p.0 - a.0, p.1 - a.1, b.0 - a.0, b.1 - a.1);
    let length2 = bx * bx + by * by;
    let share = if length2 > 0.0 {
        ((px * bx + py * by) / length2).clamp(0.0, 1.0)
    } else {
        0.0
    };
    let (dx, dy) = (px - share * bx, py - share * by);
    dx * dx + dy * dy
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Position {
        Position::from_degrees(lat, lon).expect("a position")
    }

    #[test]
    fn keeps_ends_and_turns_and_drops_what_lies_between() {
        let mut line: Vec<_> = (0..200)
            .map(|i| at(35.9, 14.4 + f64::from(i) * 1e-4))
            .collect();
        line.extend((1..200).map(|i| at(35.9 + f64::from(i) * 1e-4, 14.4 + 199.0 * 1e-4)));
        let few = simplify(&line, 64);
        assert_eq!(few, [line[0], line[199], *line.last().expect("a last")]);
    }

    #[test]
    fn a_corner_is_kept_as_long_as_the_line_would_be_off_without_it() {
        // A tooth of 100 m on a straight way, and one of 10 m beside it.
        let m = |north: f64, east: f64| at(35.0 + north / DEGREE_M, 14.0 + east / DEGREE_M);
        let line = [
            m(0.0, 0.0),
            m(100.0, 1000.0),
            m(0.0, 2000.0),
            m(10.0, 3000.0),
            m(0.0, 4000.0),
        ];
        let kept = |most| kept_corners(&line, most);
        assert_eq!(kept(5), [true; 5]);
        assert_eq!(kept(4), [true, true, true, false, true]);
        assert_eq!(kept(2), [true, false, false, false, true]);
    }

    #[test]
    fn what_lies_ahead_begins_where_the_courier_is() {
        let line = [
            at(35.0, 14.0),
            at(35.0, 14.1),
            at(35.0, 14.2),
            at(35.1, 14.2),
        ];
        let here = at(35.001, 14.15);
        assert_eq!(ahead_of(here, &line), [here, line[2], line[3]]);
        assert_eq!(ahead_of(here, &[]), [here]);
        assert!((off_line_m(here, &line) - 111.2).abs() < 1.0);
    }

    #[test]
    fn never_keeps_more_than_asked_and_makes_up_nothing() {
        // A saw that no small tolerance flattens, across the antimeridian.
        let line: Vec<_> = (0..5_000)
            .map(|i| {
                let lon = 179.9 + f64::from(i) * 1e-4;
                let lon = if lon > 180.0 { lon - 360.0 } else { lon };
                at(f64::from(i % 7) * 1e-3, lon)
            })
            .collect();
        let few = simplify(&line, 256);
        assert!((2..=256).contains(&few.len()), "{}", few.len());
        assert!(few.iter().all(|corner| line.contains(corner)));
    }
}
