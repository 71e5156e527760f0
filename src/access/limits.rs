//! How often somebody may ask, once it is known who it is: bounds on a phone, a key, an address.
//!
//! Token buckets: so many requests a second, and [`BURST`] seconds' worth at once, since a phone that
//! was offline has much to say. What is over is refused with the seconds to wait, and costs a look
//! into a map. Wrong credentials are counted apart: whoever guesses is told to wait, and holds up
//! nobody with a right one from the same address.

use std::hash::{BuildHasher, Hash};
use std::net::IpAddr;
use std::num::NonZeroU32;
use std::sync::atomic::{AtomicU32, Ordering};

use governor::clock::{Clock, DefaultClock};
use governor::state::keyed::{DashMapStateStore, DefaultHasher};
use governor::{Quota, RateLimiter};
use rustc_hash::FxBuildHasher;
use uuid::Uuid;

use super::LetInBy;
use crate::config::LimitsConfig;

/// Seconds' worth of requests that may come at once.
const BURST: u32 = 10;
/// Every so many checks the buckets that are full again are forgotten.
const FORGET_EVERY: u32 = 1 << 17;

/// The bounds of one process. Several processes each allow as much.
pub struct Limits {
    // Ids are our own random ones: nobody can choose them so that they meet in a map.
    devices: Buckets<Uuid, FxBuildHasher>,
    staff: Buckets<Option<Uuid>, FxBuildHasher>,
    addresses: Buckets<IpAddr>,
    wrong: Buckets<IpAddr>,
}

impl Limits {
    /// As the settings say; a rate of 0 is no limit.
    #[must_use]
    pub fn new(config: LimitsConfig) -> Self {
        Self {
            devices: Buckets::new(config.device_per_s),
            staff: Buckets::new(config.key_per_s),
            addresses: Buckets::new(config.address_per_s),
            wrong: Buckets::new(config.wrong_per_s),
        }
    }

    /// No limits at all, for tests of something else.
    #[must_use]
    pub fn none() -> Self {
        Self::new(LimitsConfig {
            device_per_s: 0,
            key_per_s: 0,
            address_per_s: 0,
            wrong_per_s: 0,
        })
    }

    /// Counts a request of a phone.
    pub(super) fn device(&self, device: Uuid) -> Result<(), u32> {
        self.devices.take(&device)
    }

    /// Counts a request of staff.
    pub(super) fn staff(&self, by: LetInBy) -> Result<(), u32> {
        let id = match by {
            LetInBy::AdminKey => None,
            LetInBy::ApiKey(id) | LetInBy::Session(id) => Some(id),
        };
        self.staff.take(&id)
    }

    /// Counts a request from `address`, whoever asks. This machine's own addresses are free: behind
    /// a proxy that is not named in the settings all callers seem to be one of them.
    ///
    /// # Errors
    /// The seconds to wait.
    pub fn address(&self, address: IpAddr) -> Result<(), u32> {
        if address.is_loopback() {
            return Ok(());
        }
        self.addresses.take(&address)
    }

    /// Counts a wrong credential from `address`.
    ///
    /// # Errors
    /// The seconds to wait before the next guess is looked at.
    pub fn wrong(&self, address: IpAddr) -> Result<(), u32> {
        self.wrong.take(&address)
    }
}

/// A bucket for each key.
struct Buckets<K: Hash + Eq + Clone, S: BuildHasher + Clone = DefaultHasher> {
    limiter: Option<RateLimiter<K, DashMapStateStore<K, S>, DefaultClock>>,
    checks: AtomicU32,
}

impl<K: Hash + Eq + Clone, S: BuildHasher + Clone + Default> Buckets<K, S> {
    fn new(per_s: u32) -> Self {
        let quota = NonZeroU32::new(per_s).map(|per_s| {
            let burst = per_s.saturating_mul(NonZeroU32::new(BURST).unwrap_or(per_s));
            Quota::per_second(per_s).allow_burst(burst)
        });
        Self {
            limiter: quota.map(|quota| {
                let (clock, hasher) = (DefaultClock::default(), S::default());
                RateLimiter::dashmap_with_clock_and_hasher(quota, clock, hasher)
            }),
            checks: AtomicU32::new(0),
        }
    }

    fn take(&self, key: &K) -> Result<(), u32> {
        let Some(limiter) = &self.limiter else {
            return Ok(());
        };
        if self.checks.fetch_add(1, Ordering::Relaxed) % FORGET_EVERY == FORGET_EVERY - 1 {
            limiter.retain_recent();
        }
        limiter.check_key(key).map_err(|not_until| {
            let wait = not_until.wait_time_from(DefaultClock::default().now());
            u32::try_from(wait.as_secs())
                .unwrap_or(u32::MAX)
                .saturating_add(1)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_has_a_bucket_of_its_own_and_is_told_how_long_to_wait() {
        let limits = Limits::new(LimitsConfig {
            device_per_s: 1,
            key_per_s: 0,
            address_per_s: 1,
            wrong_per_s: 1,
        });
        let (one, other) = (Uuid::from_u128(1), Uuid::from_u128(2));
        for _ in 0..BURST {
            assert_eq!(limits.device(one), Ok(()));
        }
        assert!(limits.device(one).is_err_and(|wait| wait >= 1));
        assert_eq!(limits.device(other), Ok(()));
        for _ in 0..10 * BURST {
            assert_eq!(limits.staff(LetInBy::AdminKey), Ok(()), "0 is no limit");
            assert_eq!(limits.address(IpAddr::from([127, 0, 0, 1])), Ok(()));
        }
        let far = IpAddr::from([192, 0, 2, 1]);
        let refused = (0..2 * BURST).filter(|_| limits.address(far).is_err());
        assert!(refused.count() >= BURST as usize - 1);
        assert_eq!(limits.wrong(far), Ok(()), "counted apart");
    }
}
