//! An area with a border that is crossed only when several fixes agree.
//!
//! A fix is a vote: inside, outside, or neither (in the margin behind the border, or too vague).
//! A zone is entered when [`NEEDED`] of the last [`OF`] fixes voted inside, and left when as many
//! voted outside.

/// Votes that must agree …
pub const NEEDED: u32 = 2;
/// … among the last so many.
pub const OF: u32 = 3;

/// The margin behind the border is at least this wide, metres.
const LEAST_MARGIN_M: f64 = 20.0;
/// … and this share of the radius.
const MARGIN_SHARE: f64 = 0.1;
/// A fix may vote inside while its accuracy is no worse than the zone's radius, or this, metres.
const VAGUE_ABOVE_M: f64 = 50.0;

/// How far behind the border of a zone a courier must be to be out of it, metres.
#[must_use]
pub fn exit_margin_m(radius_m: f64) -> f64 {
    (radius_m * MARGIN_SHARE).max(LEAST_MARGIN_M)
}

/// Whether a fix is too vague to be found inside a zone that is about `radius_m` metres wide.
#[must_use]
pub fn is_vague(radius_m: f64, accuracy_m: Option<f32>) -> bool {
    accuracy_m.is_some_and(|accuracy_m| f64::from(accuracy_m) > radius_m.max(VAGUE_ABOVE_M))
}

/// What one fix says about one zone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Vote {
    /// In it.
    Inside,
    /// In the margin, or too vague to tell.
    Neither,
    /// Behind the margin, with all of its accuracy.
    Outside,
}

/// The vote of a fix `border_m` metres from the border (negative: inside) of a zone that is about
/// `radius_m` metres wide.
#[must_use]
pub fn vote(border_m: f64, radius_m: f64, accuracy_m: Option<f32>) -> Vote {
    if border_m <= 0.0 && !is_vague(radius_m, accuracy_m) {
        Vote::Inside
    } else if border_m - accuracy_m.map_or(0.0, f64::from) > exit_margin_m(radius_m) {
        Vote::Outside
    } else {
        Vote::Neither
    }
}

/// A border was crossed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Crossing {
    /// Outside until now.
    Entered,
    /// Inside until now.
    Left,
}

/// Whether a courier is inside, and the last votes. Starts outside. One byte: bit 7 inside, bits
/// 0–2 votes inside, bits 3–5 votes outside, the newest lowest.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Zone(u8);

const INSIDE: u8 = 0x80;
const VOTES: u8 = (1 << OF) - 1;

impl Zone {
    /// Takes one more vote.
    pub fn take(&mut self, vote: Vote) -> Option<Crossing> {
        let inside = (self.0 << 1 | u8::from(vote == Vote::Inside)) & VOTES;
        let outside = ((self.0 >> OF) << 1 | u8::from(vote == Vote::Outside)) & VOTES;
        let was_inside = self.is_inside();
        self.0 = (self.0 & INSIDE) | outside << OF | inside;
        if !was_inside && inside.count_ones() >= NEEDED {
            self.0 |= INSIDE;
            return Some(Crossing::Entered);
        }
        if was_inside && outside.count_ones() >= NEEDED {
            self.0 &= !INSIDE;
            return Some(Crossing::Left);
        }
        None
    }

    /// Whether the courier is inside.
    #[must_use]
    pub fn is_inside(self) -> bool {
        self.0 & INSIDE != 0
    }

    /// Whether nothing would be lost if this zone were forgotten and begun anew.
    #[must_use]
    pub fn is_blank(self) -> bool {
        self.0 & (INSIDE | VOTES) == 0
    }

    /// Whether the fix before the newest one voted outside.
    #[must_use]
    pub fn voted_outside_before(self) -> bool {
        self.0 >> OF & 0b10 != 0
    }

    /// How many fixes ago the oldest vote for the present side was given; 0 is the newest fix.
    #[must_use]
    pub fn oldest_agreeing(self) -> usize {
        let votes = if self.is_inside() {
            self.0
        } else {
            self.0 >> OF
        } & VOTES;
        (u8::BITS - votes.leading_zeros()).saturating_sub(1) as usize
    }

    /// As it is stored.
    #[must_use]
    pub fn to_byte(self) -> u8 {
        self.0
    }

    /// As it was stored.
    #[must_use]
    pub fn from_byte(byte: u8) -> Self {
        Self(byte & (INSIDE | VOTES | VOTES << OF))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn one_lying_fix_neither_enters_nor_leaves() {
        let mut zone = Zone::default();
        assert_eq!(zone.take(Vote::Outside), None);
        assert_eq!(zone.take(Vote::Inside), None);
        assert_eq!(zone.take(Vote::Outside), None);
        assert_eq!(zone.take(Vote::Outside), None);
        assert_eq!(zone.take(Vote::Inside), None);
        assert_eq!(zone.take(Vote::Inside), Some(Crossing::Entered));
        assert_eq!(zone.oldest_agreeing(), 1);
        assert_eq!(zone.take(Vote::Outside), None);
        assert_eq!(zone.take(Vote::Inside), None);
        assert_eq!(zone.take(Vote::Inside), None);
        assert!(zone.is_inside());
    }

    #[test]
    fn two_of_three_leave() {
        let mut zone = Zone::default();
        zone.take(Vote::Inside);
        zone.take(Vote::Inside);
        assert_eq!(zone.take(Vote::Outside), None);
        assert_eq!(zone.take(Vote::Neither), None);
        assert_eq!(zone.take(Vote::Outside), Some(Crossing::Left));
        assert_eq!(zone.oldest_agreeing(), 2);
    }

    #[test]
    fn the_margin_and_vague_fixes_vote_for_neither() {
        assert_eq!(vote(-1.0, 60.0, Some(5.0)), Vote::Inside);
        assert_eq!(vote(-1.0, 60.0, Some(61.0)), Vote::Neither);
        assert_eq!(vote(-1.0, 500.0, Some(300.0)), Vote::Inside);
        assert_eq!(vote(19.0, 60.0, None), Vote::Neither);
        assert_eq!(vote(21.0, 60.0, None), Vote::Outside);
        assert_eq!(vote(40.0, 60.0, Some(25.0)), Vote::Neither);
        assert_eq!(vote(49.0, 500.0, None), Vote::Neither);
        assert_eq!(vote(51.0, 500.0, None), Vote::Outside);
    }

    #[test]
    fn a_zone_survives_its_byte() {
        let mut zone = Zone::default();
        for vote in [Vote::Inside, Vote::Neither, Vote::Inside, Vote::Outside] {
            zone.take(vote);
            assert_eq!(Zone::from_byte(zone.to_byte()), zone);
        }
        assert!(!zone.is_blank());
        assert!(Zone::default().is_blank());
    }
}
