//! What is asked of a client: how soon it speaks, how much it says, how long it may be silent.

use std::time::Duration;

use crate::domain::UnixMs;
use crate::live_map::close::Close;

/// Largest message that a client may send, bytes.
pub(super) const MOST_MESSAGE_BYTES: usize = 4096;
/// Messages that a client may send at once, …
const MESSAGE_BURST: i64 = 40;
/// … and one more in this time, milliseconds.
const MESSAGE_EVERY_MS: i64 = 100;

/// Times of a connection.
#[derive(Debug, Clone, Copy)]
pub(in crate::live_map) struct Manners {
    /// A client says hello within this time.
    pub(in crate::live_map) hello: Duration,
    /// A reader that takes nothing of what waits for it for this long is too slow.
    pub(in crate::live_map) stuck: Duration,
    /// A quiet client is pinged this often; it is gone when twice this time has brought no answer.
    pub(in crate::live_map) ping: Duration,
    /// Browsers do not see pings: they are told something at least this often.
    pub(in crate::live_map) heartbeat: Duration,
    /// How long a close frame may take.
    pub(in crate::live_map) close: Duration,
}

impl Default for Manners {
    fn default() -> Self {
        Self {
            hello: Duration::from_secs(5),
            stuck: Duration::from_secs(10),
            ping: Duration::from_secs(25),
            heartbeat: Duration::from_secs(10),
            close: Duration::from_secs(1),
        }
    }
}

/// Refuses what is too long.
pub(super) fn check_size(text: &str) -> Result<(), Close> {
    match text.len() <= MOST_MESSAGE_BYTES {
        true => Ok(()),
        false => Err(Close::BadMessage("a message has at most 4096 bytes")),
    }
}

/// How much a client may still say.
#[derive(Debug, Default)]
pub(super) struct MessageBudget {
    /// When nothing it said counts any more.
    settled_at: UnixMs,
}

impl MessageBudget {
    pub(super) fn take(&mut self, now: UnixMs) -> Result<(), Close> {
        self.settled_at = self.settled_at.max(now).plus_ms(MESSAGE_EVERY_MS);
        if self.settled_at.since(now) > MESSAGE_BURST * MESSAGE_EVERY_MS {
            return Err(Close::TooMany("too many messages; slow down"));
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn forty_messages_at_once_and_ten_a_second() {
        let mut budget = MessageBudget::default();
        let now = UnixMs(1_000_000);
        let taken = (0..100).filter(|_| budget.take(now).is_ok()).count();
        assert_eq!(taken, 40);
        // What was refused counts as well: whoever goes on is not let in again.
        assert!(budget.take(now.plus_ms(5_900)).is_err());
        let mut steady = MessageBudget::default();
        assert!((0..1_000).all(|n| steady.take(now.plus_ms(n * 100)).is_ok()));
    }
}
