//! Tickets: a browser cannot send a header with a WebSocket, so it fetches a ticket first.
//!
//! Invariants: a ticket opens one socket once, within [`VALID_MS`]; only its hash is kept; no more
//! than [`MOST`] are out at once.

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;

use crate::access::{LetInBy, SecretKind, hash_secret, issue};
use crate::directory::{Directory, Role, TokenHash};
use crate::domain::UnixMs;

/// How long a ticket may wait to be used, milliseconds.
const VALID_MS: i64 = 30_000;
/// Most tickets that are out at once.
const MOST: usize = 10_000;

/// Whether whoever was let in by `by` may still watch: a revoked key, or a signed-out browser, may
/// not.
pub(super) fn may_stay(by: LetInBy, directory: &Directory, now: UnixMs) -> bool {
    let (role, expires_at) = match by {
        LetInBy::AdminKey => return true,
        LetInBy::ApiKey(id) => match directory.api_key_by_id(&id) {
            Some(key) => (key.role, None),
            None => return false,
        },
        LetInBy::Session(id) => match directory.session_by_id(&id) {
            Some(session) => (session.role, Some(session.expires_at)),
            None => return false,
        },
    };
    role >= Role::Dispatcher && expires_at.is_none_or(|at| at > now)
}

/// Tickets that are out.
pub(super) struct Tickets(Mutex<Inner>);

struct Inner {
    out: FxHashMap<TokenHash, (LetInBy, UnixMs)>,
    rng: StdRng,
}

impl Tickets {
    pub(super) fn new(rng: StdRng) -> Self {
        let out = FxHashMap::default();
        Self(Mutex::new(Inner { out, rng }))
    }

    /// A new ticket and its end, unless too many are out.
    pub(super) fn issue(&self, holder: LetInBy, now: UnixMs) -> Option<(String, UnixMs)> {
        let mut inner = self.0.lock();
        if inner.out.len() >= MOST {
            inner.sweep(now);
        }
        if inner.out.len() >= MOST {
            return None;
        }
        let issued = issue(SecretKind::OneTime, &mut inner.rng);
        let expires_at = now.plus_ms(VALID_MS);
        inner.out.insert(issued.hash, (holder, expires_at));
        Some((issued.secret, expires_at))
    }

    /// Uses a ticket up.
    pub(super) fn redeem(&self, ticket: &str, now: UnixMs) -> Option<LetInBy> {
        let (holder, expires_at) = self.0.lock().out.remove(&hash_secret(ticket))?;
        (expires_at > now).then_some(holder)
    }

    /// Forgets those that were never used.
    pub(super) fn sweep(&self, now: UnixMs) {
        self.0.lock().sweep(now);
    }
}

impl Inner {
    fn sweep(&mut self, now: UnixMs) {
        self.out.retain(|_, (_, expires_at)| *expires_at > now);
    }
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn a_ticket_is_good_once_and_for_thirty_seconds() {
        let tickets = Tickets::new(StdRng::seed_from_u64(1));
        let holder = LetInBy::AdminKey;
        let now = UnixMs(1_000_000);
        let (ticket, expires_at) = tickets.issue(holder, now).expect("a ticket");
        assert_eq!(expires_at, now.plus_ms(30_000));
        assert_eq!(tickets.redeem(&ticket, now.plus_ms(29_999)), Some(holder));
        assert_eq!(tickets.redeem(&ticket, now), None);
        let (late, _) = tickets.issue(holder, now).expect("a ticket");
        assert_eq!(tickets.redeem(&late, expires_at), None);
        assert_eq!(tickets.redeem("wlj_made_up", now), None);
    }

    #[test]
    fn tickets_that_are_out_are_bounded() {
        let tickets = Tickets::new(StdRng::seed_from_u64(1));
        let now = UnixMs(0);
        let given = (0..=MOST)
            .filter_map(|_| tickets.issue(LetInBy::AdminKey, now))
            .count();
        assert_eq!(given, MOST);
        assert!(
            tickets
                .issue(LetInBy::AdminKey, now.plus_ms(VALID_MS))
                .is_some()
        );
    }
}
