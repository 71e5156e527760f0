//! What a backtest came to, as the API answers it.

use std::collections::BTreeMap;

use serde::Serialize;
use serde_json::Value;
use utoipa::ToSchema;
use uuid::Uuid;

use super::difference::{Difference, Happening, Pair};
use super::plan::Source;
use crate::domain::{EventPattern, EventType, UnixMs};

/// Most events that are listed; counted are all.
const MAX_LISTED: usize = 10_000;

/// What would have been told and sent, beside what was.
#[derive(Debug, Serialize, ToSchema)]
pub(in super::super) struct Report {
    #[schema(value_type = String, format = DateTime)]
    from: UnixMs,
    #[schema(value_type = String, format = DateTime)]
    to: UnixMs,
    /// Where the fixes were read from.
    source: Source,
    /// Fixes that were judged, those of the hour before `from` included.
    fixes: u64,
    couriers: usize,
    /// By type of event.
    types: Vec<TypeCount>,
    /// By webhook that is switched on now: events that its patterns want and that were not too late.
    webhooks: Vec<WebhookCount>,
    /// In the order of time; where there are too many, first of all what differs.
    events: Vec<EventView>,
    /// Events that are counted and not listed.
    unlisted: usize,
    /// What this source knows nothing of, and which types are left out on both sides therefore.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    left_out: Vec<String>,
}

/// One type's numbers.
#[derive(Debug, Default, PartialEq, Eq, Serialize, ToSchema)]
struct TypeCount {
    #[serde(rename = "type")]
    kind: String,
    was: usize,
    would_be: usize,
    same: usize,
    moved: usize,
    new: usize,
    gone: usize,
}

/// One webhook's numbers.
#[derive(Debug, PartialEq, Eq, Serialize, ToSchema)]
struct WebhookCount {
    id: Uuid,
    url: String,
    was: usize,
    would_be: usize,
}

/// One event.
#[derive(Debug, Serialize, ToSchema)]
struct EventView {
    difference: Difference,
    #[serde(rename = "type")]
    kind: String,
    /// When it would be told, or was where it is gone.
    #[schema(value_type = String, format = DateTime)]
    at: UnixMs,
    /// When it was told, where it has moved.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>, format = DateTime)]
    was_at: Option<UnixMs>,
    /// Its id, where it was recorded.
    #[serde(skip_serializing_if = "Option::is_none")]
    id: Option<String>,
    courier_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_id: Option<String>,
    #[serde(skip_serializing_if = "Option::is_none")]
    geofence_id: Option<String>,
    /// Whether it would be sent to the webhooks that want it, or is known too late for that.
    would_be_sent: bool,
    #[serde(skip_serializing_if = "Option::is_none")]
    lat: Option<f64>,
    #[serde(skip_serializing_if = "Option::is_none")]
    lon: Option<f64>,
    evidence: Value,
}

/// A webhook that is switched on.
pub(super) struct Webhook {
    pub(super) id: Uuid,
    pub(super) url: String,
    pub(super) patterns: Vec<EventPattern>,
}

impl Webhook {
    fn is_sent(&self, one: Option<&Happening>) -> bool {
        let kind = one
            .filter(|one| !one.is_late())
            .and_then(|one| EventType::parse(&one.kind));
        kind.is_some_and(|kind| self.patterns.iter().any(|pattern| pattern.matches(kind)))
    }
}

/// What was read for a report.
pub(super) struct Read {
    pub(super) from: UnixMs,
    pub(super) to: UnixMs,
    pub(super) source: Source,
    pub(super) fixes: u64,
    pub(super) couriers: usize,
}

impl Report {
    pub(super) fn of(read: Read, pairs: &[Pair], webhooks: &[Webhook]) -> Self {
        let listed = list(pairs);
        Self {
            from: read.from,
            to: read.to,
            source: read.source,
            fixes: read.fixes,
            couriers: read.couriers,
            types: count(pairs),
            webhooks: webhooks
                .iter()
                .map(|webhook| sent(webhook, pairs))
                .collect(),
            unlisted: pairs.len() - listed.len(),
            events: listed.into_iter().map(view).collect(),
            left_out: unknown_to(read.source)
                .iter()
                .map(|t| t.as_str().to_owned())
                .collect(),
        }
    }
}

/// Types of events that cannot be judged by what a source holds.
pub(super) fn unknown_to(source: Source) -> &'static [EventType] {
    match source {
        Source::Log => &[],
        // Heartbeats and alarms are not part of a stored track.
        Source::Tracks => &[
            EventType::CourierOffline,
            EventType::CourierOnline,
            EventType::CourierSos,
        ],
    }
}

fn count(pairs: &[Pair]) -> Vec<TypeCount> {
    let mut types: BTreeMap<&str, TypeCount> = BTreeMap::new();
    for pair in pairs {
        let kind = pair.shown().kind.as_str();
        let count = types.entry(kind).or_insert_with(|| TypeCount {
            kind: kind.to_owned(),
            ..TypeCount::default()
        });
        count.was += usize::from(pair.was().is_some());
        count.would_be += usize::from(pair.would_be().is_some());
        *match pair.difference() {
            Difference::Gone => &mut count.gone,
            Difference::New => &mut count.new,
            Difference::Moved => &mut count.moved,
            Difference::Same => &mut count.same,
        } += 1;
    }
    types.into_values().collect()
}

fn sent(webhook: &Webhook, pairs: &[Pair]) -> WebhookCount {
    let count = |side: fn(&Pair) -> Option<&Happening>| {
        pairs
            .iter()
            .filter(|pair| webhook.is_sent(side(pair)))
            .count()
    };
    WebhookCount {
        id: webhook.id,
        url: webhook.url.clone(),
        was: count(Pair::was),
        would_be: count(Pair::would_be),
    }
}

/// The pairs to list, in the order of time.
fn list(pairs: &[Pair]) -> Vec<&Pair> {
    if pairs.len() <= MAX_LISTED {
        return pairs.iter().collect();
    }
    let mut first: Vec<(bool, usize)> = pairs
        .iter()
        .enumerate()
        .map(|(at, pair)| (pair.difference() == Difference::Same, at))
        .collect();
    first.sort_unstable();
    first.truncate(MAX_LISTED);
    first.sort_unstable_by_key(|(_, at)| *at);
    first.into_iter().map(|(_, at)| &pairs[at]).collect()
}

fn view(pair: &Pair) -> EventView {
    let shown = pair.shown();
    let moved = pair.difference() == Difference::Moved;
    EventView {
        difference: pair.difference(),
        kind: shown.kind.clone(),
        at: shown.at,
        was_at: pair.was().filter(|_| moved).map(|was| was.at),
        id: pair.was().and_then(|was| was.id.clone()),
        courier_id: shown.courier.clone(),
        delivery_id: shown.delivery.clone(),
        geofence_id: shown.geofence.clone(),
        would_be_sent: pair.would_be().is_some_and(|now| !now.is_late()),
        lat: shown.position.map(|p| p.lat()),
        lon: shown.position.map(|p| p.lon()),
        evidence: shown.evidence.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn event(at_s: i64, late: bool) -> Happening {
        Happening {
            kind: "geofence.enter".to_owned(),
            at: UnixMs(at_s * 1000),
            courier: Some("c-1".to_owned()),
            delivery: None,
            geofence: None,
            position: None,
            evidence: serde_json::json!({ "late": late }),
            id: None,
        }
    }

    fn report(pairs: &[Pair]) -> Report {
        let webhook = |patterns: &str| Webhook {
            id: Uuid::nil(),
            url: patterns.to_owned(),
            patterns: vec![patterns.parse().expect("a pattern")],
        };
        let read = Read {
            from: UnixMs(0),
            to: UnixMs(1),
            source: Source::Log,
            fixes: 0,
            couriers: 0,
        };
        Report::of(read, pairs, &[webhook("geofence.*"), webhook("delivery.*")])
    }

    #[test]
    fn counts_by_type_and_by_webhook_what_is_not_too_late() {
        let pairs = [
            Pair::Both(event(1, false), event(1, false)),
            Pair::Both(event(2, false), event(2, true)),
            Pair::New(event(3, false)),
            Pair::Gone(event(4, false)),
        ];
        let report = report(&pairs);
        let expected = TypeCount {
            kind: "geofence.enter".to_owned(),
            was: 3,
            would_be: 3,
            same: 1,
            moved: 1,
            new: 1,
            gone: 1,
        };
        assert_eq!(report.types, [expected]);
        let sent: Vec<_> = report
            .webhooks
            .iter()
            .map(|w| (w.was, w.would_be))
            .collect();
        assert_eq!(sent, [(3, 2), (0, 0)]);
        let sent: Vec<_> = report.events.iter().map(|e| e.would_be_sent).collect();
        assert_eq!(sent, [true, false, true, false]);
    }

    #[test]
    fn of_too_many_events_those_that_differ_are_listed() {
        let same = |n: i64| Pair::Both(event(n, false), event(n, false));
        let mut pairs: Vec<Pair> = (0..MAX_LISTED as i64 + 5).map(same).collect();
        pairs.push(Pair::New(event(1_000_000, false)));
        let report = report(&pairs);
        assert_eq!((report.events.len(), report.unlisted), (MAX_LISTED, 6));
        let last = report.events.last().expect("events");
        assert_eq!(last.difference, Difference::New);
    }
}
