//! Whether a courier's phone is heard.
//!
//! Any upload counts, a heartbeat too, by the time at which it reached us. Silence counts only
//! while somebody could have heard: the caller says since when it has been listening without a gap.

use super::{Evidence, Recent, RuleSet, Told};
use crate::domain::UnixMs;
use crate::domain::event::EventType;

/// What is known of a courier's phone.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Presence {
    /// When the last upload was received, or later, where silence before does not count.
    pub silent_since: UnixMs,
    /// `offline` was told.
    pub offline: bool,
}

impl Presence {
    /// An upload was received.
    pub(super) fn hear(&mut self, at: UnixMs, recent: &Recent, told: &mut Vec<Told>) {
        let silent_s = at.since(self.silent_since) / 1000;
        self.silent_since = self.silent_since.max(at);
        if self.offline {
            self.offline = false;
            let kind = EventType::CourierOnline;
            told.push(tell(kind, "online", at, silent_s, recent));
        }
    }

    /// Off duty, a phone may be silent.
    pub(super) fn excuse(&mut self, now: UnixMs) {
        self.silent_since = self.silent_since.max(now);
        self.offline = false;
    }

    /// When silence will have lasted too long, if nothing is heard until then, for somebody who
    /// listens since `listening_since`; `None` where it does not count or was told.
    pub(super) fn overdue_at(&self, listening_since: UnixMs, rules: &RuleSet) -> Option<UnixMs> {
        let heard_ever = self.silent_since > UnixMs::default();
        let counts = rules.offline_after_s > 0 && heard_ever && !self.offline;
        let since = self.silent_since.max(listening_since);
        counts.then(|| since.plus_ms(rules.offline_after_s.saturating_mul(1000)))
    }

    /// Tells of a silence that has lasted too long.
    pub(super) fn miss(
        &mut self,
        now: UnixMs,
        listening_since: UnixMs,
        rules: &RuleSet,
        recent: &Recent,
        told: &mut Vec<Told>,
    ) {
        let Some(at) = self
            .overdue_at(listening_since, rules)
            .filter(|at| now >= *at)
        else {
            return;
        };
        self.offline = true;
        let since = self.silent_since.max(listening_since);
        let silent_s = now.since(since) / 1000;
        told.push(tell(
            EventType::CourierOffline,
            "offline",
            at,
            silent_s,
            recent,
        ));
    }
}

fn tell(kind: EventType, rule: &'static str, at: UnixMs, silent_s: i64, recent: &Recent) -> Told {
    Told {
        kind,
        at,
        delivery: None,
        geofence: None,
        position: recent.newest().map(|s| s.position),
        evidence: Evidence {
            lasted_s: Some(silent_s),
            ..Evidence::new(rule, recent, |_| None)
        },
        key: format!("{kind}/{}", at.0),
    }
}
