//! The numbers that rules judge by.

use serde::{Deserialize, Serialize};

/// Version of the rules, in every event's evidence; raised whenever the same fixes may be judged
/// otherwise.
pub const RULES_VERSION: u32 = 1;

/// The numbers that rules judge by. As a file (TOML) for backtests; keys left out have defaults.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct RuleSet {
    /// `approaching` when the courier is this near the stop, metres.
    pub approaching_m: f64,
    /// `arrived` when the courier is this near the stop, metres.
    pub arrived_m: f64,
    /// … and no faster than this, where speed is measured: who drives by has not arrived, metres a
    /// second.
    pub arrived_below_mps: f64,
    /// An event of a fix that reached us later than this is recorded and not sent, seconds.
    pub stale_after_s: i64,
}

impl Default for RuleSet {
    fn default() -> Self {
        Self {
            approaching_m: 500.0,
            arrived_m: 60.0,
            arrived_below_mps: 5.0,
            stale_after_s: 900,
        }
    }
}

/// Why a set of rules was refused; names the key.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[error("{0}")]
pub struct RuleSetError(String);

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
        between("arrived_m", self.arrived_m, 1.0, MAX_DISTANCE_M)?;
        between("arrived_below_mps", self.arrived_below_mps, 0.1, 1_000.0)?;
        if self.arrived_m > self.approaching_m {
            return Err(RuleSetError(
                "arrived_m must not be larger than approaching_m".into(),
            ));
        }
        if self.stale_after_s < 1 {
            return Err(RuleSetError("stale_after_s must be at least 1".into()));
        }
        Ok(())
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
