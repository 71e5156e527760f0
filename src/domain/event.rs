//! What can happen: the types of events, and the patterns that webhooks choose them by.

use std::str::FromStr;

use super::{DeliveryStatus, GeofenceEvent};

macro_rules! event_types {
    ($($(#[$doc:meta])* $variant:ident = $word:literal;)*) => {
        /// What happened, as `noun.verb` in the API, in SQL and in webhooks.
        #[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum EventType {
            $($(#[$doc])* $variant,)*
        }

        impl EventType {
            /// All of them.
            pub const ALL: &'static [Self] = &[$(Self::$variant,)*];

            /// The word in the API, in SQL and in webhooks.
            #[must_use]
            pub fn as_str(self) -> &'static str {
                match self {
                    $(Self::$variant => $word,)*
                }
            }
        }
    };
}

event_types! {
    /// A courier was given the delivery.
    DeliveryAssigned = "delivery.assigned";
    /// The courier is near the pick-up.
    DeliveryPickupApproaching = "delivery.pickup_approaching";
    /// The courier stands at the pick-up.
    DeliveryPickupArrived = "delivery.pickup_arrived";
    /// The courier has the goods.
    DeliveryPickedUp = "delivery.picked_up";
    /// The courier is near the drop-off.
    DeliveryApproaching = "delivery.approaching";
    /// The courier is at the drop-off.
    DeliveryArrived = "delivery.arrived";
    /// Done.
    DeliveryDelivered = "delivery.delivered";
    /// Tried without success.
    DeliveryFailed = "delivery.failed";
    /// Called off.
    DeliveryCancelled = "delivery.cancelled";
    /// Late against the promised window, or going to be.
    DeliveryDelayed = "delivery.delayed";
    /// Nothing was heard of the courier's phone for too long.
    CourierOffline = "courier.offline";
    /// The phone is heard again.
    CourierOnline = "courier.online";
    /// The courier stands still for too long, away from every stop.
    CourierStopped = "courier.stopped";
    /// The courier pressed the alarm.
    CourierSos = "courier.sos";
    /// The courier came in.
    GeofenceEnter = "geofence.enter";
    /// The courier went out.
    GeofenceExit = "geofence.exit";
    /// The courier stayed for the geofence's `dwell_s`.
    GeofenceDwell = "geofence.dwell";
    /// The courier went through between two fixes.
    GeofenceCross = "geofence.cross";
}

impl EventType {
    /// From the word in the API, in SQL and in webhooks.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.iter().copied().find(|t| t.as_str() == word)
    }

    /// The states of its delivery in which a rule's event is still true when it is recorded; `None`
    /// where it is true in any.
    #[must_use]
    pub fn holds_while(self) -> Option<&'static [DeliveryStatus]> {
        use DeliveryStatus::{Assigned, PickedUp};
        match self {
            Self::DeliveryPickupApproaching | Self::DeliveryPickupArrived => Some(&[Assigned]),
            Self::DeliveryApproaching | Self::DeliveryArrived => Some(&[PickedUp]),
            Self::DeliveryDelayed => Some(&[Assigned, PickedUp]),
            _ => None,
        }
    }
}

impl From<GeofenceEvent> for EventType {
    fn from(event: GeofenceEvent) -> Self {
        match event {
            GeofenceEvent::Enter => Self::GeofenceEnter,
            GeofenceEvent::Exit => Self::GeofenceExit,
            GeofenceEvent::Dwell => Self::GeofenceDwell,
            GeofenceEvent::Cross => Self::GeofenceCross,
        }
    }
}

impl std::fmt::Display for EventType {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Why a text is not a pattern.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is no event type; give *, a group as in delivery.*, or one of: {known}", known = known())]
pub struct PatternError(pub String);

fn known() -> String {
    let words: Vec<_> = EventType::ALL.iter().map(|t| t.as_str()).collect();
    words.join(", ")
}

/// Which events a webhook wants: `*`, a group as in `delivery.*`, or one type.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EventPattern(Box<str>);

impl EventPattern {
    /// The pattern as text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `event` is wanted. The outbox trigger decides the same in SQL.
    #[must_use]
    pub fn matches(&self, event: EventType) -> bool {
        match self.0.strip_suffix('*') {
            Some(prefix) => event.as_str().starts_with(prefix),
            None => event.as_str() == &*self.0,
        }
    }
}

impl FromStr for EventPattern {
    type Err = PatternError;

    /// Refuses a pattern that no event can match: it would be a webhook that never calls.
    fn from_str(text: &str) -> Result<Self, PatternError> {
        let pattern = Self(text.into());
        let well_formed = match text.strip_suffix('*') {
            Some(prefix) => prefix.is_empty() || prefix.ends_with('.'),
            None => true,
        };
        if well_formed && EventType::ALL.iter().any(|t| pattern.matches(*t)) {
            return Ok(pattern);
        }
        Err(PatternError(text.chars().take(64).collect()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn patterns_choose_what_they_say() {
        let pattern = |text: &str| text.parse::<EventPattern>();
        let count = |text: &str| {
            let pattern = pattern(text).expect("a pattern");
            EventType::ALL
                .iter()
                .filter(|t| pattern.matches(**t))
                .count()
        };
        assert_eq!(count("*"), EventType::ALL.len());
        assert_eq!(count("geofence.*"), 4);
        assert_eq!(count("delivery.arrived"), 1);
        for bad in [
            "",
            "deliv*",
            "delivery.",
            "delivery.arrive",
            "**",
            "geo.*",
            ".*",
            "Delivery.*",
        ] {
            assert!(pattern(bad).is_err(), "{bad}");
        }
    }
}
