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
    until: RwLock<Until>,
    viewers: RwLock<FxHashMap<Uuid, u32>>,
    /// What was said here and other processes have not heard; `None` where there are none.
    unheard: Mutex<Option<FxHashMap<CourierId, UnixMs>>>,
}

/// See [`Watched`]. What has run out is dropped when there is twice as much as was left the last time:
/// with thousands of watched couriers a look at all of them each time would hold up the phones, which
/// ask here with every upload.
#[derive(Debug)]
struct Until {
    by_courier: FxHashMap<CourierId, UnixMs>,
    sweep_above: usize,
}

/// Fewer than this are not worth a look.
const SWEEP_ABOVE: usize = 1024;

impl Default for Until {
    fn default() -> Self {
        Self {
            by_courier: FxHashMap::default(),
            sweep_above: SWEEP_ABOVE,
        }
    }
}

impl Until {
    fn extend(&mut self, courier: CourierId, until: UnixMs, now: UnixMs) {
        if self.by_courier.len() > self.sweep_above {
            self.by_courier.retain(|_, until| *until > now);
            self.sweep_above = SWEEP_ABOVE.max(2 * self.by_courier.len());
        }
        let entry = self.by_courier.entry(courier).or_insert(until);
        *entry = (*entry).max(until);
    }
}

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
        self.until.write().extend(courier, until, now);
    }

    pub(super) fn is_watched(&self, courier: &CourierId, now: UnixMs) -> bool {
        self.until
            .read()
            .by_courier
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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_has_run_out_is_dropped_and_what_holds_is_kept() {
        let watched = Watched::default();
        let id = |n: usize| CourierId::try_from(format!("c-{n}")).expect("an id");
        let (early, late) = (UnixMs(1_000), UnixMs(2_000));
        let many = 4 * SWEEP_ABOVE;
        (0..many).for_each(|n| watched.hear(id(n), early, UnixMs(0)));
        assert_eq!(watched.until.read().by_courier.len(), many, "all hold");
        // As many again, after the first have run out.
        (many..2 * many).for_each(|n| watched.hear(id(n), late, UnixMs(1_500)));
        let kept = watched.until.read().by_courier.len();
        assert!((many..2 * many).contains(&kept), "{kept} are kept");
        assert!(!watched.is_watched(&id(0), UnixMs(1_500)));
        assert!((many..2 * many).all(|n| watched.is_watched(&id(n), UnixMs(1_500))));
    }
}
