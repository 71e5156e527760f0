//! A schedule that does not wait for answers: what came late is counted from when it was due, so
//! that a stalled server is not flattered by a generator that stalled with it (coordinated omission).

use std::time::{Duration, Instant};

/// When the requests of one of several connections are due.
pub struct Schedule {
    began: Instant,
    gap: Duration,
    next: u32,
    offset: Duration,
}

impl Schedule {
    /// Connection `which` of `connections` that together send `rate` requests a second.
    pub fn new(began: Instant, rate: f64, which: usize, connections: usize) -> Self {
        let gap = Duration::from_secs_f64(connections as f64 / rate);
        let offset = Duration::from_secs_f64(which as f64 / rate);
        Self {
            began,
            gap,
            next: 0,
            offset,
        }
    }

    /// Waits until the next request is due and answers when that was. A connection that is behind
    /// does not wait.
    pub async fn next(&mut self) -> Instant {
        let due = self.began + self.offset + self.gap * self.next;
        self.next += 1;
        tokio::time::sleep_until(due.into()).await;
        due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_connection_that_is_behind_keeps_the_times_at_which_it_should_have_sent() {
        let began = Instant::now() - Duration::from_secs(10);
        let mut schedule = Schedule::new(began, 100.0, 3, 10);
        let first = schedule.next().await;
        let second = schedule.next().await;
        assert_eq!(first - began, Duration::from_millis(30));
        assert_eq!(second - first, Duration::from_millis(100));
    }
}
