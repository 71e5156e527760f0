//! How often somebody may try to sign in.

use std::net::IpAddr;
use std::num::NonZeroU32;

use governor::clock::{Clock, DefaultClock};
use governor::{DefaultKeyedRateLimiter, Quota, RateLimiter};

/// Tries for one user name from one address: at once, and then one every six seconds.
const PER_NAME: NonZeroU32 = NonZeroU32::new(10).expect("not 0");
const PER_NAME_AND_MINUTE: NonZeroU32 = NonZeroU32::new(10).expect("not 0");
/// Tries from one address, whatever the name (many people may share one).
const PER_ADDRESS: NonZeroU32 = NonZeroU32::new(60).expect("not 0");
const PER_ADDRESS_AND_MINUTE: NonZeroU32 = NonZeroU32::new(60).expect("not 0");
/// No user has a longer name, bytes: longer ones are counted together.
const MAX_NAME: usize = 64;
/// Above this many keys, those at rest are forgotten.
const FORGET_ABOVE: usize = 10_000;

/// Bounds guesses. A name is counted together with the address, so that nobody can lock a person
/// out from elsewhere.
pub struct SignInLimits {
    by_name: DefaultKeyedRateLimiter<(IpAddr, Box<str>)>,
    by_address: DefaultKeyedRateLimiter<IpAddr>,
}

impl Default for SignInLimits {
    fn default() -> Self {
        let quota = |per_minute, burst| Quota::per_minute(per_minute).allow_burst(burst);
        Self {
            by_name: RateLimiter::keyed(quota(PER_NAME_AND_MINUTE, PER_NAME)),
            by_address: RateLimiter::keyed(quota(PER_ADDRESS_AND_MINUTE, PER_ADDRESS)),
        }
    }
}

impl SignInLimits {
    /// Counts a try; if there were too many, says after how many seconds the next is allowed.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn check(&self, address: IpAddr, name: &str) -> Result<(), u32> {
        if self.by_name.len() > FORGET_ABOVE {
            self.by_name.retain_recent();
        }
        if self.by_address.len() > FORGET_ABOVE {
            self.by_address.retain_recent();
        }
        let now = DefaultClock::default().now();
        let seconds = |wait: std::time::Duration| u32::try_from(wait.as_secs()).unwrap_or(60) + 1;
        let by_address = self.by_address.check_key(&address);
        by_address.map_err(|not_until| seconds(not_until.wait_time_from(now)))?;
        let name = if name.len() <= MAX_NAME { name } else { "" };
        let by_name = self.by_name.check_key(&(address, name.into()));
        by_name.map_err(|not_until| seconds(not_until.wait_time_from(now)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn guessing_is_slowed_down_for_the_guesser_alone() {
        let limits = SignInLimits::default();
        let (mine, yours) = (IpAddr::from([10, 0, 0, 1]), IpAddr::from([10, 0, 0, 2]));
        for _ in 0..PER_NAME.get() {
            assert_eq!(limits.check(mine, "ann"), Ok(()));
        }
        assert!(
            limits
                .check(mine, "ann")
                .is_err_and(|wait| (1..=60).contains(&wait))
        );
        assert_eq!(limits.check(mine, "bob"), Ok(()));
        assert_eq!(limits.check(yours, "ann"), Ok(()));
    }
}
