//! Lines with fewer corners that look the same: Douglas and Peucker's algorithm (1973).
//!
//! Only corners of the given line are kept, none is made up: a line of positions that may be shown
//! stays one.

use crate::domain::Position;

/// Metres a degree of latitude.
const M_PER_DEG: f64 = 111_195.0;
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
    let mut tolerance_m = FINEST_M;
    loop {
        let keep = within(line, tolerance_m);
        if keep.iter().filter(|k| **k).count() <= most {
            return keep;
        }
        tolerance_m *= 2.0;
    }
}

/// Keeps the corners that lie further than `tolerance_m` from the line through the kept ones.
fn within(line: &[Position], tolerance_m: f64) -> Vec<bool> {
    let mut keep = vec![false; line.len()];
    let (Some(first), Some(last)) = (keep.first_mut(), line.len().checked_sub(1)) else {
        return keep;
    };
    *first = true;
    keep[last] = true;
    let mut open = vec![(0, last)];
    while let Some((from, to)) = open.pop() {
        let farthest = (from + 1..to)
            .map(|i| (off_segment_m(line[i], line[from], line[to]), i))
            .max_by(|a, b| a.0.total_cmp(&b.0));
        if let Some((off_m, i)) = farthest
            && off_m > tolerance_m
        {
            keep[i] = true;
            open.push((from, i));
            open.push((i, to));
        }
    }
    keep
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
    let plane = |q: Position| {
        let east = (q.lon() - a.lon() + 540.0).rem_euclid(360.0) - 180.0;
        (east * shrink * M_PER_DEG, (q.lat() - a.lat()) * M_PER_DEG)
    };
    let ((px, py), (bx, by)) = (plane(p), plane(b));
    let length2 = bx * bx + by * by;
    let share = if length2 > 0.0 {
        ((px * bx + py * by) / length2).clamp(0.0, 1.0)
    } else {
        0.0
    };
    (px - share * bx).hypot(py - share * by)
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
