//! What a courier is doing, as far as a dispatcher's screen shows it.

use serde::{Deserialize, Serialize};

use crate::config::IngestConfig;

/// Not heard of for this long: offline, milliseconds.
const OFFLINE_AFTER_MS: i64 = 600_000;
/// Standing this long with work to do: stopped, milliseconds.
const STOPPED_AFTER_MS: i64 = 180_000;
/// Never stale before this, milliseconds.
const LEAST_STALE_MS: i64 = 30_000;

/// The status of the fleet channel; the numbers are on the wire.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum CourierStatus {
    /// No work.
    Idle = 0,
    /// On the way to fetch goods.
    ToPickup = 1,
    /// Goods on board.
    Delivering = 2,
    /// Work to do, but standing.
    Stopped = 3,
    /// No fix for longer than three of the advised intervals.
    Stale = 4,
    /// Off duty, or not heard of for ten minutes.
    Offline = 5,
}

impl CourierStatus {
    /// How many there are.
    pub(crate) const COUNT: usize = 6;

    /// All of them, by number.
    pub(crate) const ALL: [Self; Self::COUNT] = [
        Self::Idle,
        Self::ToPickup,
        Self::Delivering,
        Self::Stopped,
        Self::Stale,
        Self::Offline,
    ];

    /// The word in the API.
    pub(crate) fn as_str(self) -> &'static str {
        match self {
            Self::Idle => "idle",
            Self::ToPickup => "to_pickup",
            Self::Delivering => "delivering",
            Self::Stopped => "stopped",
            Self::Stale => "stale",
            Self::Offline => "offline",
        }
    }

    /// From the word in the API.
    pub(crate) fn parse(word: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|s| s.as_str() == word)
    }
}

/// What a courier's open deliveries ask for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) enum Work {
    /// Nothing.
    #[default]
    None,
    /// Goods to fetch, none on board.
    ToPickup,
    /// Goods on board.
    Delivering,
}

/// After how long silence means something, milliseconds; three of the intervals that phones are
/// advised.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Patience {
    idle_ms: i64,
    working_ms: i64,
}

impl Patience {
    pub(crate) fn new(advice: &IngestConfig) -> Self {
        let three_of = |interval_s: u32| LEAST_STALE_MS.max(i64::from(interval_s) * 3_000);
        Self {
            idle_ms: three_of(advice.interval_idle_s),
            working_ms: three_of(advice.interval_normal_s),
        }
    }

    /// How long a courier with this work may be silent.
    pub(crate) fn for_work(self, work: Work) -> i64 {
        match work {
            Work::None => self.idle_ms,
            Work::ToPickup | Work::Delivering => self.working_ms,
        }
    }
}

/// Ages of a courier's signs of life, milliseconds, and what else the status follows from.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Signs {
    /// Since the newest upload of any kind.
    pub(crate) heard_ago_ms: i64,
    /// Since the newest position was true: the fix, or a heartbeat of a resting phone.
    pub(crate) placed_ago_ms: i64,
    /// Since the courier came to where it stands.
    pub(crate) still_for_ms: i64,
    pub(crate) on_duty: bool,
    pub(crate) work: Work,
}

impl Signs {
    pub(crate) fn status(self, patience: Patience) -> CourierStatus {
        if !self.on_duty || self.heard_ago_ms > OFFLINE_AFTER_MS {
            return CourierStatus::Offline;
        }
        if self.placed_ago_ms > patience.for_work(self.work) {
            return CourierStatus::Stale;
        }
        match self.work {
            Work::None => CourierStatus::Idle,
            _ if self.still_for_ms > STOPPED_AFTER_MS => CourierStatus::Stopped,
            Work::ToPickup => CourierStatus::ToPickup,
            Work::Delivering => CourierStatus::Delivering,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::Config;

    #[test]
    fn silence_outweighs_standing_and_standing_outweighs_work() {
        let patience = Patience::new(&Config::defaults().expect("defaults").ingest);
        let driving = Signs {
            heard_ago_ms: 1_000,
            placed_ago_ms: 1_000,
            still_for_ms: 10_000,
            on_duty: true,
            work: Work::Delivering,
        };
        let status = |signs: Signs| signs.status(patience);
        assert_eq!(status(driving), CourierStatus::Delivering);
        let standing = Signs {
            still_for_ms: 181_000,
            ..driving
        };
        assert_eq!(status(standing), CourierStatus::Stopped);
        assert_eq!(
            status(Signs {
                work: Work::None,
                ..standing
            }),
            CourierStatus::Idle
        );
        let silent = Signs {
            placed_ago_ms: 46_000,
            ..standing
        };
        assert_eq!(status(silent), CourierStatus::Stale);
        // An idle phone is advised to send once a minute.
        assert_eq!(
            status(Signs {
                work: Work::None,
                ..silent
            }),
            CourierStatus::Idle
        );
        assert_eq!(
            status(Signs {
                heard_ago_ms: 600_001,
                ..silent
            }),
            CourierStatus::Offline
        );
        assert_eq!(
            status(Signs {
                on_duty: false,
                ..driving
            }),
            CourierStatus::Offline
        );
    }
}
