//! How much may be on its way to a client at once.
//!
//! Nobody knows a client's line, and whatever the kernel and the proxies keep for it is old when it
//! arrives. So a ping follows what is sent, and its answer tells what has arrived: a quick one after
//! a full window lets more out for a moment, a late one less. What is sent next is made when there
//! is room for it, so that a slow reader lags by what is on its way and by nothing else.

use std::time::Duration;

use tokio::time::Instant;

/// What may be on its way unless answers show otherwise, bytes.
const USUAL: u32 = 8 * 1024;
/// On the slowest lines.
const LEAST: u32 = 4 * 1024;
/// On the fastest.
const MOST: u32 = 256 * 1024;
/// An answer within this time is quick: twice as much may be on its way …
const QUICK: Duration = Duration::from_millis(250);
/// … for as long as this, then it has to show again that it can take it.
const GROWN_FOR: Duration = Duration::from_secs(1);
/// An answer after more than this time is late: half as much. What is told is up to a tick old when
/// it is sent, and a frame more than the window may be under way: with both it is told within 2 s.
const LATE: Duration = Duration::from_millis(700);

/// See the module.
#[derive(Debug)]
pub(super) struct Window {
    size: u32,
    /// Bytes sent of which no answer tells that they have arrived.
    under_way: u32,
    /// Whether there was no room since the last ping.
    was_full: bool,
    /// The ping that is out, and the bytes that were sent before it.
    ping: Option<(Instant, u32)>,
    /// When it was last let grow.
    grown_at: Option<Instant>,
}

impl Window {
    pub(super) fn new() -> Self {
        Self {
            size: USUAL,
            under_way: 0,
            was_full: false,
            ping: None,
            grown_at: None,
        }
    }

    /// Bytes that may be sent now.
    pub(super) fn room(&mut self, now: Instant) -> usize {
        if self.size > USUAL && self.grown_at.is_none_or(|at| now - at > GROWN_FOR) {
            self.size = USUAL;
        }
        let room = self.size.saturating_sub(self.under_way);
        self.was_full |= room == 0;
        room as usize
    }

    /// So many bytes were sent.
    pub(super) fn sent(&mut self, bytes: usize) {
        let bytes = u32::try_from(bytes).unwrap_or(u32::MAX);
        self.under_way = self.under_way.saturating_add(bytes);
        self.was_full |= self.is_full();
    }

    /// Whether a ping is to be sent, to learn of the arrival of what is on its way.
    pub(super) fn wants_ping(&self) -> bool {
        self.ping.is_none() && self.under_way >= self.size / 2
    }

    /// Whether nothing may be sent until a pong has come.
    pub(super) fn is_full(&self) -> bool {
        self.under_way >= self.size
    }

    /// A ping was sent after everything else.
    pub(super) fn pinged(&mut self, now: Instant) {
        self.ping = Some((now, self.under_way));
    }

    /// Since when a ping is out.
    pub(super) fn waits_since(&self) -> Option<Instant> {
        self.ping.map(|(at, _)| at)
    }

    /// A pong came. Answers whether it was waited for.
    pub(super) fn answered(&mut self, now: Instant) -> bool {
        let Some((at, covered)) = self.ping.take() else {
            return false;
        };
        self.under_way = self.under_way.saturating_sub(covered);
        let took = now - at;
        if took > LATE {
            self.size = (self.size / 2).max(LEAST);
        } else if took <= QUICK && self.was_full {
            self.size = (self.size * 2).min(MOST);
            self.grown_at = Some(now);
        }
        self.was_full = false;
        true
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CHUNK: usize = 4 * 1024;

    /// Sends over a line of so many bytes a second with so much delay each way, and always has more
    /// to send. Answers the oldest age at arrival and the bytes that arrived, over ten seconds.
    fn send_over(bytes_a_second: f64, delay: Duration) -> (Duration, usize) {
        let began = Instant::now();
        let mut window = Window::new();
        let mut now = began;
        // When the line is free again, and when the answer to the ping comes.
        let (mut free_at, mut answer_at) = (began, None);
        let (mut oldest, mut arrived) = (Duration::ZERO, 0);
        while now < began + Duration::from_secs(10) {
            if answer_at.is_some_and(|at| at <= now) {
                assert!(window.answered(now));
                answer_at = None;
            }
            if window.wants_ping() {
                window.pinged(now);
                answer_at = Some(free_at.max(now) + 2 * delay);
            }
            let room = window.room(now);
            if room == 0 {
                now += Duration::from_millis(1);
                continue;
            }
            let bytes = CHUNK.min(room.next_multiple_of(1024));
            free_at = free_at.max(now) + Duration::from_secs_f64(bytes as f64 / bytes_a_second);
            oldest = oldest.max(free_at + delay - now);
            arrived += bytes;
            window.sent(bytes);
        }
        (oldest, arrived)
    }

    #[tokio::test]
    async fn on_a_slow_line_nothing_is_old_when_it_arrives() {
        for bytes_a_second in [2_000.0, 8_000.0, 30_000.0] {
            let (oldest, arrived) = send_over(bytes_a_second, Duration::from_millis(50));
            let first = Duration::from_secs_f64(12_288.0 / bytes_a_second);
            assert!(
                oldest < Duration::from_secs(2).max(first + Duration::from_millis(200)),
                "{oldest:?} at {bytes_a_second}"
            );
            let share = arrived as f64 / bytes_a_second / 10.0;
            assert!(share > 0.8, "{share} of {bytes_a_second} was used");
        }
    }

    #[tokio::test]
    async fn a_fast_line_is_used() {
        let (_, arrived) = send_over(10_000_000.0, Duration::from_millis(40));
        assert!(arrived > 10_000_000, "{arrived}");
    }

    #[tokio::test]
    async fn a_pong_that_nobody_waits_for_changes_nothing() {
        let mut window = Window::new();
        let now = Instant::now();
        window.sent(100);
        assert!(!window.wants_ping() && !window.answered(now));
        window.sent(USUAL as usize);
        assert!(window.wants_ping() && window.is_full());
        window.pinged(now);
        assert_eq!((window.room(now), window.waits_since()), (0, Some(now)));
        assert!(!window.wants_ping(), "one is out");
        assert!(window.answered(now) && !window.answered(now));
        assert!(window.room(now) > USUAL as usize, "it was quick");
        let later = now + GROWN_FOR + Duration::from_millis(1);
        let usual = USUAL as usize;
        assert_eq!(window.room(later), usual, "and must show it again");
    }
}
