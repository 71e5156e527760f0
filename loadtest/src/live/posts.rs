//! When each fix was due to be posted, and how late customers saw it.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Instant;

use crate::latency::Latencies;
use crate::swarm::{Ears, Heard};

/// Fixes of a courier that are remembered: as many seconds as one may be late.
const REMEMBERED: usize = 64;
/// What a fix begins with, and where its time stands.
const FIX: &[u8] = br#"{"type":"fix""#;
const FIX_TIME: &[u8] = br#""fix_time":"2026-11-22T14:00:"#;
/// Milliseconds of which a message's time is read: the rest of a minute.
const MINUTE_MS: u64 = 60_000;

/// The newest posts of one courier.
#[derive(Default)]
pub struct Posts(Mutex<Vec<(u64, Instant)>>);

impl Posts {
    /// A fix of the time `fix_ms` was due at `due`.
    pub fn posted(&self, fix_ms: u64, due: Instant) {
        let mut posts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if posts.len() >= REMEMBERED {
            posts.remove(0);
        }
        posts.push((fix_ms % MINUTE_MS, due));
    }

    fn due(&self, within_minute_ms: u64) -> Option<Instant> {
        let posts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let newest_first = posts.iter().rev();
        newest_first
            .filter(|(fix_ms, _)| *fix_ms == within_minute_ms)
            .map(|(_, due)| *due)
            .next()
    }
}

/// What customers hear.
pub struct Customers {
    posts: Arc<[Posts]>,
    /// Sockets a courier; socket `n` watches courier `n / sockets`.
    sockets: usize,
    /// Which sockets have had their snapshot.
    pub greeted: Vec<bool>,
    pub messages: u64,
    pub bytes: u64,
    pub latencies: Latencies,
}

impl Customers {
    pub fn new(posts: Arc<[Posts]>, sockets: usize) -> anyhow::Result<Self> {
        Ok(Self {
            greeted: vec![false; posts.len() * sockets],
            posts,
            sockets,
            messages: 0,
            bytes: 0,
            latencies: Latencies::new()?,
        })
    }

    /// Begins to count anew.
    pub fn begin(&mut self) -> anyhow::Result<()> {
        (self.messages, self.bytes) = (0, 0);
        self.latencies = Latencies::new()?;
        Ok(())
    }
}

impl Ears for Customers {
    fn hear(&mut self, socket: usize, heard: Heard<'_>) -> anyhow::Result<()> {
        let Heard::Text(text) = heard else {
            anyhow::bail!("customers are told in text");
        };
        self.messages += 1;
        self.bytes += text.len() as u64;
        if !text.starts_with(FIX) {
            self.greeted[socket] = true;
            return Ok(());
        }
        let due = within_minute(text).and_then(|ms| self.posts[socket / self.sockets].due(ms));
        if let Some(due) = due {
            self.latencies.add(due.elapsed());
        }
        Ok(())
    }
}

/// Seconds and milliseconds of a fix's time, which ends its message.
fn within_minute(text: &[u8]) -> Option<u64> {
    let at = text.windows(12).rposition(|w| w == &FIX_TIME[..12])?;
    let time = text.get(at + FIX_TIME.len()..at + FIX_TIME.len() + 6)?;
    let [s1, s2, b'.', m1, m2, m3] = *time else {
        return None;
    };
    [s1, s2, m1, m2, m3].iter().try_fold(0, |number, digit| {
        digit
            .is_ascii_digit()
            .then(|| number * 10 + u64::from(digit - b'0'))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_fix_is_known_by_its_time() {
        let posts: Arc<[Posts]> = Arc::from_iter([Posts::default(), Posts::default()]);
        let mut customers = Customers::new(posts.clone(), 2).expect("a histogram");
        let due = Instant::now();
        posts[1].posted(1_795_356_059_023, due);
        let fix = |time: &str| {
            format!(r#"{{"type":"fix","seq":3,"lat":35.9,"lon":14.5,"fix_time":"{time}"}}"#)
        };
        for (socket, time, counted) in [
            (3, "2026-11-22T14:00:59.023Z", 1),
            (1, "2026-11-22T14:00:59.023Z", 1),
            (2, "2026-11-22T14:00:59.024Z", 1),
            (2, "2026-11-22T14:00:59.023Z", 2),
        ] {
            let text = fix(time);
            customers
                .hear(socket, Heard::Text(text.as_bytes()))
                .expect("heard");
            assert_eq!(customers.latencies.len(), counted, "{socket} {time}");
        }
        assert!(!customers.greeted[2]);
        let snapshot = Heard::Text(br#"{"type":"snapshot"}"#);
        customers.hear(2, snapshot).expect("heard");
        assert!(customers.greeted[2]);
    }
}
