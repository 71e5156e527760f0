//! When to try again: an event after a failure, and an endpoint that fails at everything.

use rand::{Rng, RngExt};

use crate::domain::UnixMs;

/// Pause before the second try, milliseconds; it doubles with every further one …
const FIRST_PAUSE_MS: i64 = 1_000;
/// … up to this.
const LONGEST_PAUSE_MS: i64 = 3_600_000;
/// Failures in a row that open the breaker.
const TRIP_AFTER: u32 = 5;
/// First pause of an open breaker, milliseconds; it doubles with every failed probe …
const FIRST_REST_MS: i64 = 2_000;
/// … up to this.
const LONGEST_REST_MS: i64 = 300_000;

/// A pause that doubles `doublings` times, cut at `longest_ms`, of which chance takes up to half,
/// so that what failed together is not tried again together.
fn pause_ms(first_ms: i64, doublings: u32, longest_ms: i64, rng: &mut impl Rng) -> i64 {
    let full = first_ms
        .saturating_mul(1 << doublings.min(32))
        .min(longest_ms);
    full - rng.random_range(0..=full / 2)
}

/// How long to wait after the `failures`-th failed attempt of an event, milliseconds.
pub(super) fn retry_pause_ms(failures: u32, rng: &mut impl Rng) -> i64 {
    pause_ms(
        FIRST_PAUSE_MS,
        failures.saturating_sub(1),
        LONGEST_PAUSE_MS,
        rng,
    )
}

/// The circuit breaker of one endpoint. Closed: everything goes. Open: nothing goes until its rest
/// is over; then one attempt goes as a probe, and its outcome decides. An event that a receiver
/// refuses again and again counts once: the others need not wait for it.
#[derive(Debug, Default)]
pub(super) struct Breaker {
    failures: u32,
    /// The event that the receiver has refused last.
    refused: Option<i64>,
    rests_until: Option<UnixMs>,
}

impl Breaker {
    /// How many attempts may be under way now, of at most `usual`.
    pub(super) fn width(&self, now: UnixMs, usual: usize) -> usize {
        match self.rests_until {
            None => usual,
            Some(until) if until <= now => 1,
            Some(_) => 0,
        }
    }

    /// When an open breaker lets a probe go.
    pub(super) fn rests_until(&self) -> Option<UnixMs> {
        self.rests_until
    }

    pub(super) fn succeeded(&mut self) {
        *self = Self::default();
    }

    /// An attempt failed. `refused` is its event, if the receiver answered at all.
    pub(super) fn failed(&mut self, refused: Option<i64>, now: UnixMs, rng: &mut impl Rng) {
        if refused.is_some() && refused == self.refused {
            return;
        }
        self.refused = refused;
        self.failures = self.failures.saturating_add(1);
        if self.failures < TRIP_AFTER {
            return;
        }
        // Of those that were under way together only the first counts as this rest's probe.
        if self.rests_until.is_none_or(|until| until <= now) {
            let rest = pause_ms(
                FIRST_REST_MS,
                self.failures - TRIP_AFTER,
                LONGEST_REST_MS,
                rng,
            );
            self.rests_until = Some(now.plus_ms(rest));
        } else {
            self.failures -= 1;
        }
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;
    use rand::rngs::StdRng;

    use super::*;

    #[test]
    fn pauses_double_up_to_an_hour_and_never_vanish() {
        let mut rng = StdRng::seed_from_u64(7);
        for failures in 1..200 {
            let full = (1_000_i64 << (failures - 1).min(20)).min(3_600_000);
            let pause = retry_pause_ms(failures, &mut rng);
            assert!((full / 2..=full).contains(&pause), "{failures}: {pause}");
        }
    }

    #[test]
    fn three_days_of_pauses_are_some_hundred_attempts() {
        let mut rng = StdRng::seed_from_u64(7);
        let (mut passed_ms, mut attempts) = (0, 0);
        while passed_ms < 72 * 3_600_000 {
            attempts += 1;
            passed_ms += retry_pause_ms(attempts, &mut rng);
        }
        assert!((80..180).contains(&attempts), "{attempts}");
    }

    #[test]
    fn one_event_that_is_refused_does_not_open_the_breaker() {
        let (mut rng, mut breaker) = (StdRng::seed_from_u64(7), Breaker::default());
        for _ in 0..100 {
            breaker.failed(Some(1), UnixMs(0), &mut rng);
        }
        assert_eq!(breaker.width(UnixMs(0), 16), 16);
        for event in 2..10 {
            breaker.failed(Some(event), UnixMs(0), &mut rng);
        }
        assert_eq!(breaker.width(UnixMs(0), 16), 0);
    }

    #[test]
    fn the_breaker_opens_probes_and_closes() {
        let (mut rng, mut breaker) = (StdRng::seed_from_u64(7), Breaker::default());
        let mut now = UnixMs(0);
        for _ in 0..TRIP_AFTER - 1 {
            breaker.failed(None, now, &mut rng);
            assert_eq!(breaker.width(now, 16), 16);
        }
        breaker.failed(None, now, &mut rng);
        assert_eq!(breaker.width(now, 16), 0);
        let until = breaker.rests_until().expect("open");
        // Others that were under way do not lengthen the rest.
        breaker.failed(None, now, &mut rng);
        assert_eq!(breaker.rests_until(), Some(until));
        let mut longest = 0;
        for _ in 0..20 {
            now = breaker.rests_until().expect("open");
            assert_eq!(breaker.width(now, 16), 1);
            breaker.failed(None, now, &mut rng);
            longest = longest.max(breaker.rests_until().expect("open").since(now));
        }
        assert!((LONGEST_REST_MS / 2..=LONGEST_REST_MS).contains(&longest));
        breaker.succeeded();
        assert_eq!(breaker.width(now, 16), 16);
    }
}
