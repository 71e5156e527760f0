//! Where a courier came along: a thinned line of the last two hours.
//!
//! Invariants: corners are in order of time; there are never more than the allowance says; every
//! corner is a fix of the courier's (thinning drops corners, it moves none).

use super::simplify::kept_corners;
use crate::domain::geo::flat_m;
use crate::domain::{Fix, Position, UnixMs};

/// Longest stretch of time that is kept, seconds.
pub(crate) const LONGEST_S: u32 = 2 * 3600;
/// A fix nearer than this to the corner before says nothing new, metres.
const LEAST_STEP_M: f64 = 12.0;

/// A place on the way.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Corner {
    /// Where.
    pub(crate) position: Position,
    /// When, in Unix seconds (until 2106).
    pub(crate) at_s: u32,
}

impl Corner {
    fn of(fix: &Fix) -> Self {
        Self {
            position: fix.position,
            at_s: seconds(fix.fix_time),
        }
    }
}

/// `at` in whole Unix seconds, clamped to what a corner can hold.
pub(crate) fn seconds(at: UnixMs) -> u32 {
    u32::try_from(at.0.div_euclid(1000).max(0)).unwrap_or(u32::MAX)
}

/// The line.
#[derive(Debug, Clone, Default)]
pub(crate) struct Trail(Vec<Corner>);

impl Trail {
    /// Takes a fix, be it new or late; keeps at most `most` corners.
    pub(super) fn take(&mut self, fix: &Fix, most: usize) {
        let corner = Corner::of(fix);
        let newest = self
            .0
            .last()
            .map_or(corner.at_s, |c| c.at_s.max(corner.at_s));
        let oldest = newest.saturating_sub(LONGEST_S);
        if corner.at_s < oldest {
            return;
        }
        let at = self.0.partition_point(|c| c.at_s <= corner.at_s);
        let near = |c: Option<&Corner>| {
            c.is_some_and(|c| flat_m(c.position, corner.position) < LEAST_STEP_M)
        };
        if near(at.checked_sub(1).and_then(|i| self.0.get(i))) || near(self.0.get(at)) {
            return;
        }
        if self.0.len() >= most {
            self.thin(oldest, most);
        }
        // Thinning may have moved the place.
        let at = self.0.partition_point(|c| c.at_s <= corner.at_s);
        if self.0.len() == self.0.capacity() {
            // A quarter at a time, and never room for more than may come: a trail in memory is
            // hardly larger than its corners.
            let more = (self.0.len() / 4).max(4);
            let room = most.saturating_sub(self.0.len()).max(1);
            self.0.reserve_exact(more.min(room));
        }
        self.0.insert(at, corner);
    }

    /// The corners from `from` (Unix seconds) on, oldest first.
    pub(crate) fn since(&self, from_s: u32) -> &[Corner] {
        &self.0[self.0.partition_point(|c| c.at_s < from_s)..]
    }

    /// Makes room: first what is too old goes, then corners that the eye does not miss.
    fn thin(&mut self, oldest_s: u32, most: usize) {
        self.0.retain(|c| c.at_s >= oldest_s);
        // Half of them, since looking at all costs the more the oftener it is done.
        let room_for = most / 2;
        if self.0.len() <= room_for {
            return;
        }
        let line: Vec<Position> = self.0.iter().map(|c| c.position).collect();
        let mut keep = kept_corners(&line, room_for).into_iter();
        self.0.retain(|_| keep.next().unwrap_or(true));
        self.0.shrink_to(most);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn fix(at_s: i64, lat: f64, lon: f64) -> Fix {
        let position = Position::from_degrees(lat, lon).expect("a position");
        Fix::new(UnixMs(at_s * 1000), position)
    }

    #[test]
    fn late_fixes_find_their_place_and_standing_still_adds_nothing() {
        let mut trail = Trail::default();
        trail.take(&fix(100, 35.90, 14.5), 64);
        trail.take(&fix(300, 35.92, 14.5), 64);
        trail.take(&fix(200, 35.91, 14.5), 64);
        trail.take(&fix(301, 35.920_01, 14.5), 64);
        let times: Vec<u32> = trail.since(0).iter().map(|c| c.at_s).collect();
        assert_eq!(times, [100, 200, 300]);
        assert_eq!(trail.since(200).len(), 2);
    }

    #[test]
    fn stays_within_its_allowance_and_forgets_what_is_old() {
        let mut trail = Trail::default();
        for i in 0..10_000_i64 {
            // A winding road: 9 km up and down.
            let swing = (i as f64 / 40.0).sin() * 0.01;
            trail.take(&fix(1_000 + i, 35.9 + swing, 14.0 + i as f64 * 1e-4), 64);
        }
        let corners = trail.since(0);
        assert!(
            corners.len() <= 64 && corners.len() > 32,
            "{}",
            corners.len()
        );
        assert!(corners.is_sorted_by_key(|c| c.at_s));
        assert!(corners[0].at_s >= 11_000 - 1 - LONGEST_S - 1000);
        assert!(trail.0.capacity() <= 80);
    }
}
