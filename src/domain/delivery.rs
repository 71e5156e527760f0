//! A delivery and the steps it may take.
//!
//! ```text
//!   created → assigned → picked_up → arrived → delivered
//!                 └──────────┴──────────┴────→ delivered | failed
//!   any open state ─────────────────────────→ cancelled
//! ```

use serde::{Deserialize, Serialize};

use super::{CourierId, DeliveryId, Position, UnixMs};

/// Where a delivery stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum DeliveryStatus {
    /// Known, nobody has it.
    Created,
    /// A courier has it.
    Assigned,
    /// The courier has the goods; from here on the customer may see the courier.
    PickedUp,
    /// The courier is at the drop-off.
    Arrived,
    /// Done.
    Delivered,
    /// Tried without success.
    Failed,
    /// Called off.
    Cancelled,
}

impl DeliveryStatus {
    /// All of them, in order.
    pub const ALL: [Self; 7] = [
        Self::Created,
        Self::Assigned,
        Self::PickedUp,
        Self::Arrived,
        Self::Delivered,
        Self::Failed,
        Self::Cancelled,
    ];

    /// The word in the API and in SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Created => "created",
            Self::Assigned => "assigned",
            Self::PickedUp => "picked_up",
            Self::Arrived => "arrived",
            Self::Delivered => "delivered",
            Self::Failed => "failed",
            Self::Cancelled => "cancelled",
        }
    }

    /// From the word in the API and in SQL.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }

    /// Whether this status may become `to`.
    #[must_use]
    pub fn may_become(self, to: Self) -> bool {
        use DeliveryStatus::{Arrived, Assigned, Cancelled, Created, Delivered, Failed, PickedUp};
        match to {
            Created => false,
            Assigned => matches!(self, Created),
            PickedUp => matches!(self, Assigned),
            Arrived => matches!(self, PickedUp),
            Delivered | Failed => matches!(self, Assigned | PickedUp | Arrived),
            Cancelled => self.is_open(),
        }
    }

    /// The states that may become `self`.
    #[must_use]
    pub fn predecessors(self) -> Vec<Self> {
        Self::ALL
            .into_iter()
            .filter(|from| from.may_become(self))
            .collect()
    }

    /// Whether it is not yet completed.
    #[must_use]
    pub fn is_open(self) -> bool {
        matches!(
            self,
            Self::Created | Self::Assigned | Self::PickedUp | Self::Arrived
        )
    }

    /// Whether the goods are on their way: the only time a customer may see the courier.
    #[must_use]
    pub fn is_under_way(self) -> bool {
        matches!(self, Self::PickedUp | Self::Arrived)
    }
}

/// A stop: where, and what people call it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Place {
    /// Where.
    pub position: Position,
    /// Address or name, as entered.
    pub label: Option<Box<str>>,
}

/// When the delivery was promised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Window {
    /// Not before.
    pub from: UnixMs,
    /// Late after.
    pub to: UnixMs,
}

/// One step that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct TimelineEntry {
    /// The status reached.
    pub status: DeliveryStatus,
    /// When.
    pub at: UnixMs,
}

/// A delivery, without the customer's name, phone number and e-mail: only dispatch's SQL sees
/// those.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Delivery {
    /// The caller's own id.
    pub id: DeliveryId,
    /// Who has it.
    pub courier_id: Option<CourierId>,
    /// Where it stands.
    pub status: DeliveryStatus,
    /// Its place in the courier's run; smaller comes first.
    pub sequence: i32,
    /// Where the goods are fetched.
    pub pickup: Place,
    /// Where they go.
    pub dropoff: Place,
    /// When it was promised.
    pub window: Option<Window>,
    /// Steps so far, oldest first.
    pub timeline: Vec<TimelineEntry>,
    /// The caller's own order number.
    pub reference: Option<Box<str>>,
    /// Free words to filter by.
    pub tags: Box<[Box<str>]>,
    /// Raised by one at every change.
    pub version: i64,
}

impl Delivery {
    /// When it was completed, if it was.
    #[must_use]
    pub fn completed_at(&self) -> Option<UnixMs> {
        if self.status.is_open() {
            return None;
        }
        self.timeline
            .iter()
            .rev()
            .find(|e| e.status == self.status)
            .map(|e| e.at)
    }
}

#[cfg(test)]
mod tests {
    use super::DeliveryStatus::*;
    use super::*;

    #[test]
    fn takes_the_steps_of_the_api_and_no_others() {
        assert!(Created.may_become(Assigned));
        assert!(Assigned.may_become(PickedUp));
        assert!(PickedUp.may_become(Arrived));
        for from in [Assigned, PickedUp, Arrived] {
            assert!(from.may_become(Delivered) && from.may_become(Failed));
        }
        assert!(!Created.may_become(Delivered));
        assert!(!Arrived.may_become(PickedUp));
        for done in [Delivered, Failed, Cancelled] {
            assert!(
                DeliveryStatus::ALL
                    .into_iter()
                    .all(|to| !done.may_become(to))
            );
        }
        assert_eq!(Arrived.predecessors(), [PickedUp]);
    }
}
