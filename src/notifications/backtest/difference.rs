//! What would have been told, beside what was: which is the same, which came at another time, which
//! is new and which is gone.
//!
//! Two events are one if they are of the same type, about the same courier, delivery and geofence,
//! and no further apart than [`SAME_WITHIN_MS`]; each has one partner at most, the nearest in order.

use std::collections::{BTreeMap, VecDeque};

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;

use super::super::judge::CourierTold;
use crate::domain::{Position, UnixMs};

/// Further apart than this, two events are two, milliseconds.
pub(super) const SAME_WITHIN_MS: i64 = 600_000;

/// An event that a rule made, then or now.
#[derive(Debug, Clone)]
pub(super) struct Happening {
    pub(super) kind: String,
    pub(super) at: UnixMs,
    pub(super) courier: Option<String>,
    pub(super) delivery: Option<String>,
    pub(super) geofence: Option<String>,
    pub(super) position: Option<Position>,
    pub(super) evidence: Value,
    /// Its id, where it was recorded.
    pub(super) id: Option<String>,
}

impl Happening {
    /// Known too late for an alarm: recorded, not sent.
    pub(super) fn is_late(&self) -> bool {
        self.evidence["late"] == true
    }

    fn subject(&self) -> (&str, Option<&str>, Option<&str>, Option<&str>) {
        let Self {
            courier,
            delivery,
            geofence,
            ..
        } = self;
        (
            &self.kind,
            courier.as_deref(),
            delivery.as_deref(),
            geofence.as_deref(),
        )
    }
}

impl From<CourierTold> for Happening {
    fn from((courier, told): CourierTold) -> Self {
        Self {
            kind: told.kind.as_str().to_owned(),
            at: told.at,
            courier: Some(courier.as_str().to_owned()),
            delivery: told.delivery.map(|id| id.as_str().to_owned()),
            geofence: told.geofence.map(|id| id.as_str().to_owned()),
            position: told.position,
            evidence: serde_json::to_value(&told.evidence).unwrap_or_default(),
            id: None,
        }
    }
}

/// How what would be stands to what was.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "snake_case")]
pub(in super::super) enum Difference {
    /// Told then, and not by the rules that are tried.
    Gone,
    /// Not told then.
    New,
    /// Told then, at another time or with another word on whether it was too late to send.
    Moved,
    /// As it was.
    Same,
}

/// What was, what would be, or both.
#[derive(Debug, Clone)]
pub(super) enum Pair {
    Gone(Happening),
    New(Happening),
    Both(Happening, Happening),
}

impl Pair {
    pub(super) fn was(&self) -> Option<&Happening> {
        match self {
            Self::Gone(was) | Self::Both(was, _) => Some(was),
            Self::New(_) => None,
        }
    }

    pub(super) fn would_be(&self) -> Option<&Happening> {
        match self {
            Self::New(now) | Self::Both(_, now) => Some(now),
            Self::Gone(_) => None,
        }
    }

    /// The one to show: what would be, where it would.
    pub(super) fn shown(&self) -> &Happening {
        match self {
            Self::Gone(one) | Self::New(one) | Self::Both(_, one) => one,
        }
    }

    pub(super) fn difference(&self) -> Difference {
        match self {
            Self::Gone(_) => Difference::Gone,
            Self::New(_) => Difference::New,
            Self::Both(was, now) if was.at == now.at && was.is_late() == now.is_late() => {
                Difference::Same
            }
            Self::Both(..) => Difference::Moved,
        }
    }
}

/// Pairs what was with what would be, in the order of time.
pub(super) fn pair(was: Vec<Happening>, would_be: Vec<Happening>) -> Vec<Pair> {
    type Sides = (Vec<Happening>, Vec<Happening>);
    type Subject = (String, Option<String>, Option<String>, Option<String>);
    let mut subjects: BTreeMap<Subject, Sides> = BTreeMap::new();
    let subject = |one: &Happening| {
        let (kind, courier, delivery, geofence) = one.subject();
        let owned = |text: Option<&str>| text.map(str::to_owned);
        (
            kind.to_owned(),
            owned(courier),
            owned(delivery),
            owned(geofence),
        )
    };
    for one in was {
        subjects.entry(subject(&one)).or_default().0.push(one);
    }
    for one in would_be {
        subjects.entry(subject(&one)).or_default().1.push(one);
    }
    let mut pairs = Vec::new();
    for (mut was, mut would_be) in subjects.into_values() {
        was.sort_by_key(|one| one.at);
        would_be.sort_by_key(|one| one.at);
        pair_in_order(was, would_be, &mut pairs);
    }
    pairs.sort_by_key(|pair| (pair.shown().at, pair.difference()));
    pairs
}

fn pair_in_order(was: Vec<Happening>, would_be: Vec<Happening>, pairs: &mut Vec<Pair>) {
    let (mut was, mut would_be) = (VecDeque::from(was), VecDeque::from(would_be));
    while let (Some(then), Some(now)) = (was.front(), would_be.front()) {
        let apart = |then: &Happening, now: &Happening| now.at.since(then.at).abs();
        let here = apart(then, now);
        let nearer = |other: Option<i64>| other.is_some_and(|other| other < here);
        let alone = here > SAME_WITHIN_MS;
        let pair = if alone && then.at < now.at || nearer(was.get(1).map(|next| apart(next, now))) {
            was.pop_front().map(Pair::Gone)
        } else if alone || nearer(would_be.get(1).map(|next| apart(then, next))) {
            would_be.pop_front().map(Pair::New)
        } else {
            was.pop_front()
                .zip(would_be.pop_front())
                .map(|(then, now)| Pair::Both(then, now))
        };
        pairs.extend(pair);
    }
    pairs.extend(was.into_iter().map(Pair::Gone));
    pairs.extend(would_be.into_iter().map(Pair::New));
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(kind: &str, courier: &str, s: i64) -> Happening {
        Happening {
            kind: kind.to_owned(),
            at: UnixMs(s * 1000),
            courier: Some(courier.to_owned()),
            delivery: None,
            geofence: None,
            position: None,
            evidence: Value::Null,
            id: None,
        }
    }

    fn differences(was: &[Happening], now: &[Happening]) -> Vec<(Difference, i64)> {
        let pairs = pair(was.to_vec(), now.to_vec());
        pairs
            .iter()
            .map(|p| (p.difference(), p.shown().at.0 / 1000))
            .collect()
    }

    #[test]
    fn each_event_has_one_partner_of_its_own_kind_and_time() {
        use Difference::{Gone, Moved, New, Same};
        let was = [
            event("geofence.enter", "c-1", 100),
            event("geofence.enter", "c-1", 5_000),
            event("geofence.enter", "c-2", 100),
        ];
        let now = [
            event("geofence.enter", "c-1", 5_010),
            event("geofence.enter", "c-1", 100),
            event("geofence.exit", "c-1", 110),
            event("geofence.enter", "c-2", 5_000),
        ];
        assert_eq!(
            differences(&was, &now),
            [
                (Gone, 100),
                (Same, 100),
                (New, 110),
                (New, 5_000),
                (Moved, 5_010)
            ]
        );
        assert_eq!(differences(&[], &[]), []);
        // The nearest, not the first.
        let enter = |s| event("geofence.enter", "c-1", s);
        let was = [enter(100), enter(400)];
        assert_eq!(
            differences(&was, &[enter(410)]),
            [(Gone, 100), (Moved, 410)]
        );
        assert_eq!(differences(&[enter(410)], &was), [(New, 100), (Moved, 400)]);
    }

    #[test]
    fn what_was_sent_and_would_be_too_late_has_moved() {
        let was = event("geofence.enter", "c-1", 100);
        let mut now = was.clone();
        now.evidence = serde_json::json!({"late": true});
        assert_eq!(differences(&[was], &[now]), [(Difference::Moved, 100)]);
    }
}
