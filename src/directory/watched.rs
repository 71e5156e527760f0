//! Who is being watched right now: phones of watched couriers are advised to send more often, and
//! dispatchers see how many look through a link.
//!
//! Where roles run in processes of their own, what one says is told to the others ([`Watched::share`]).

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use uuid::Uuid;

use crate::domain::{CourierId, UnixMs};

/// Until when each courier is watched, and how many look through each link.
#[derive(Debug, Default)]
pub(super) struct Watched {
    until: RwLock<FxHashMap<CourierId, UnixMs>>,
    viewers: RwLock<FxHashMap<Uuid, u32>>,
    /// What was said here and other processes have not heard; `None` where there are none.
    unheard: Mutex<Option<FxHashMap<CourierId, UnixMs>>>,
}

/// Entries that have run out are dropped when there are more than this.
const SWEEP_ABOVE: usize = 1024;

impl Watched {
    /// From now on what is said here is kept for other processes.
    pub(super) fn share(&self) {
        self.unheard.lock().get_or_insert_default();
    }

    /// What other processes have not heard.
    pub(super) fn take_unheard(&self) -> FxHashMap<CourierId, UnixMs> {
        let mut unheard = self.unheard.lock();
        unheard.as_mut().map(std::mem::take).unwrap_or_default()
    }

    /// Somebody in this process watches `courier`.
    pub(super) fn watch(&self, courier: CourierId, until: UnixMs, now: UnixMs) {
        if let Some(unheard) = &mut *self.unheard.lock() {
            unheard.insert(courier.clone(), until);
        }
        self.hear(courier, until, now);
    }

    /// Somebody watches `courier`, here or elsewhere.
    pub(super) fn hear(&self, courier: CourierId, until: UnixMs, now: UnixMs) {
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
