//! Who is being watched right now: phones of watched couriers are advised to send more often.

use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::domain::{CourierId, UnixMs};

/// Until when each courier is watched.
#[derive(Debug, Default)]
pub(super) struct Watched(RwLock<FxHashMap<CourierId, UnixMs>>);

/// Entries that have run out are dropped when there are more than this.
const SWEEP_ABOVE: usize = 1024;

impl Watched {
    pub(super) fn watch(&self, courier: CourierId, until: UnixMs, now: UnixMs) {
        let mut map = self.0.write();
        if map.len() > SWEEP_ABOVE {
            map.retain(|_, until| *until > now);
        }
        let entry = map.entry(courier).or_insert(until);
        *entry = (*entry).max(until);
    }

    pub(super) fn is_watched(&self, courier: &CourierId, now: UnixMs) -> bool {
        self.0.read().get(courier).is_some_and(|until| *until > now)
    }
}
