//! The numbers that rules judge by.

use serde::{Deserialize, Serialize};

/// Version of the rules, in every event's evidence; raised whenever the same fixes may be judged
/// otherwise.
pub const RULES_VERSION: u32 = 2;

/// The numbers that rules judge by. As a file (TOML) for backtests; keys left out have defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleSet {
    /// `approaching` when the courier is this near the stop, metres.
    pub approaching_m: f64,
    /// … or, by the road and the courier's own pace, this soon there, seconds; 0: never.
    pub approaching_s: f64,
    /// `arrived` when the courier is this near the stop, metres.
    pub arrived_m: f64,
    /// … and no faster than this, where speed is measured: who drives by has not arrived, metres a
    /// second.
    pub arrived_below_mps: f64,
    /// `offline` when a courier on duty was not heard of for so long, seconds; 0: never.
    pub offline_after_s: i64,
    /// `stopped` when a courier with a delivery stands away from every stop for so long, seconds;
    /// 0: never.
    pub stopped_after_s: i64,
    /// An event of a fix that reached us later than this is recorded and not sent, seconds.
    pub stale_after_s: i64,
}

impl Default for RuleSet {
    fn default() -> Self {
        Self {
            approaching_m: 500.0,
            approaching_s: 120.0,
            arrived_m: 60.0,
            arrived_below_mps: 5.0,
            offline_after_s: 300,
            stopped_after_s: 600,
            stale_after_s: 900,
        }
    }
}

/// Why a set of rules was refused; names the key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct RuleSetError(String);

/// Longest time a rule takes: thirty days, seconds.
const MAX_WAIT_S: f64 = 30.0 * 86_400.0;
/// Largest distance a rule takes, metres.
const MAX_DISTANCE_M: f64 = 100_000.0;

impl RuleSet {
    /// Refuses numbers that no rule can judge by.
    pub fn check(&self) -> Result<(), RuleSetError> {
        let between = |name: &str, value: f64, least: f64, most: f64| {
            // A NaN is in no range.
            if (least..=most).contains(&value) {
                return Ok(());
            }
            Err(RuleSetError(format!(
                "{name} must be between {least} and {most}, not {value}"
            )))
        };
        between("approaching_m", self.approaching_m, 1.0, MAX_DISTANCE_M)?;
        between("approaching_s", self.approaching_s, 0.0, MAX_WAIT_S)?;
        between("arrived_m", self.arrived_m, 1.0, MAX_DISTANCE_M)?;
        between("arrived_below_mps", self.arrived_below_mps, 0.1, 1_000.0)?;
        if self.arrived_m > self.approaching_m {
            return Err(RuleSetError(
                "arrived_m must not be larger than approaching_m".into(),
            ));
        }
        let wait = |name: &str, s: i64| between(name, s as f64, 0.0, MAX_WAIT_S);
        wait("offline_after_s", self.offline_after_s)?;
        wait("stopped_after_s", self.stopped_after_s)?;
        between("stale_after_s", self.stale_after_s as f64, 1.0, MAX_WAIT_S)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_no_rule_can_judge_by() {
        assert_eq!(RuleSet::default().check(), Ok(()));
        for bad in [f64::NAN, 0.0, -5.0, f64::INFINITY] {
            let set = RuleSet {
                arrived_m: bad,
                ..RuleSet::default()
            };
            let error = set.check().expect_err("refused");
            assert!(error.to_string().contains("arrived_m"));
        }
    }
}
