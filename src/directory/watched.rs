//! Who is being watched right now: phones of watched couriers are advised to send more often, and
//! dispatchers see how many look through a link.

use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::domain::{CourierId, UnixMs};

/// Until when each courier is watched, and how many look through each link.
#[derive(Debug, Default)]
pub(super) struct Watched {
    until: RwLock<FxHashMap<CourierId, UnixMs>>,
    viewers: RwLock<FxHashMap<Uuid, u32>>,
}

/// Entries that have run out are dropped when there are more than this.
const SWEEP_ABOVE: usize = 1024;

impl Watched {
    pub(super) fn watch(&self, courier: CourierId, until: UnixMs, now: UnixMs) {
        let mut map = self.until.write();
        if map.len() > SWEEP_ABOVE {
            map.retain(|_, until| *until > now);
        }
        let entry = map.entry(courier).or_insert(until);
        *entry = (*entry).max(until);
    }

    pub(super) fn is_watched(&self, courier: &CourierId, now: UnixMs) -> bool {
        self.until
            .read()
            .get(courier)
            .is_some_and(|until| *until > now)
    }

    pub(super) fn note_viewers(&self, link: Uuid, viewers: u32) {
        let mut map = self.viewers.write();
        match viewers {
            0 => drop(map.remove(&link)),
            _ => drop(map.insert(link, viewers)),
        }
    }

    pub(super) fn viewers(&self, link: &Uuid) -> u32 {
        self.viewers.read().get(link).copied().unwrap_or(0)
    }
}
