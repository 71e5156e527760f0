//! Which fixes are there already: the exact set of each courier's newest fix times, and the uploads
//! that are on their way to the disk.
//!
//! Invariants:
//! - A fix time is in a courier's set from the moment it is [reserved](Dedupe::reserve) until the
//!   set outgrows its bound or the append fails; so two uploads never append the same fix while it
//!   is remembered.
//! - A [`Flight`] is settled exactly once, by its [`Reservation`], also when that is dropped. Waiting
//!   for flights cannot form a circle: an upload waits only for flights reserved before its own.
//! - Memory is bounded: at most [`MAX_TIMES`] a courier, and a cap over all couriers. What is
//!   forgotten is the oldest; a fix that was forgotten is accepted again and the sink decides.

use std::hash::BuildHasher;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};

use parking_lot::Mutex;
use rustc_hash::{FxBuildHasher, FxHashMap};
use tokio::sync::Notify;

use crate::domain::{CourierId, Fix};

/// Most fix times that are remembered a courier.
pub const MAX_TIMES: usize = 8_192;
/// What is kept when a set outgrows [`MAX_TIMES`]: trimming at every fix would move the whole set
/// each time.
const KEEP_AT_TRIM: usize = MAX_TIMES - 1_024;
/// When memory is short each courier keeps fewer, but no fewer than a batch's worth …
const KEEP_AT_LEAST: usize = 64;
/// … after that couriers are forgotten. Either goes on until this share of the cap is free.
const FREE_AFTER_SHED: usize = 4;
/// Locks; couriers are spread over them.
const SHARDS: usize = 64;
/// A courier's part of the maps: key, set header, slack of the table, allocator's headers.
const COURIER_BYTES: usize = 112;

/// What is remembered. Shared behind an [`Arc`].
#[derive(Debug)]
pub struct Dedupe {
    shards: Box<[Mutex<Shard>]>,
    shard_bytes: usize,
}

#[derive(Debug, Default)]
struct Shard {
    seen: FxHashMap<CourierId, Times>,
    flights: FxHashMap<CourierId, Vec<Arc<Flight>>>,
    bytes: usize,
}

/// An upload on its way to the disk.
#[derive(Debug)]
pub struct Flight {
    /// Its fix times, ascending.
    times: Box<[i64]>,
    state: AtomicU8,
    settled: Notify,
}

const FLYING: u8 = 0;
const LANDED: u8 = 1;
const FAILED: u8 = 2;

impl Flight {
    /// Waits until the upload is on disk (true) or has failed (false).
    pub async fn landed(&self) -> bool {
        loop {
            // Made before the state is read, so that a settling in between is not missed.
            let settled = self.settled.notified();
            match self.state.load(Ordering::Acquire) {
                FLYING => settled.await,
                state => return state == LANDED,
            }
        }
    }
}

/// The fixes of one upload that nobody sent before.
#[derive(Debug, Default)]
pub struct Reservation {
    /// How many were there already, or twice in this upload.
    pub duplicates: usize,
    /// Uploads on their way that hold some of those duplicates: they must land before a duplicate
    /// is acknowledged.
    pub wait_for: Vec<Arc<Flight>>,
    own: Option<Own>,
}

#[derive(Debug)]
struct Own {
    dedupe: Arc<Dedupe>,
    courier: CourierId,
    flight: Arc<Flight>,
}

impl Reservation {
    /// The fixes are on disk.
    pub fn landed(mut self) {
        self.settle(LANDED);
    }

    fn settle(&mut self, state: u8) {
        let Some(own) = self.own.take() else {
            return;
        };
        own.dedupe.settle(&own.courier, &own.flight, state);
    }
}

/// What did not land has failed: its fixes are new again for whoever sends them next.
impl Drop for Reservation {
    fn drop(&mut self) {
        self.settle(FAILED);
    }
}

impl Dedupe {
    /// Remembers within `max_bytes` of memory.
    #[must_use]
    pub fn new(max_bytes: usize) -> Arc<Self> {
        Arc::new(Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            shard_bytes: max_bytes / SHARDS,
        })
    }

    fn shard(&self, courier: &str) -> &Mutex<Shard> {
        let hash = FxBuildHasher.hash_one(courier);
        // The low bits choose the slot in the shard's own tables, so the high bits choose the shard.
        &self.shards[(hash >> 32) as usize % SHARDS]
    }

    /// Removes from `fixes` those that are there already, and remembers the others as on their way.
    pub fn reserve(self: &Arc<Self>, courier: &CourierId, fixes: &mut Vec<Fix>) -> Reservation {
        let sent = fixes.len();
        if sent == 0 {
            return Reservation::default();
        }
        let mut shard = self.shard(courier.as_str()).lock();
        let shard = &mut *shard;
        let flights = shard.flights.get(courier).map_or(&[][..], Vec::as_slice);
        let mut wait_for: Vec<Arc<Flight>> = Vec::new();
        let times = shard.seen.entry(courier.clone()).or_insert_with(|| {
            shard.bytes += COURIER_BYTES;
            Times::default()
        });
        let before = times.bytes();
        fixes.retain(|fix| {
            let is_new = times.insert(fix.fix_time.0);
            if !is_new {
                let holds = |f: &&Arc<Flight>| f.times.binary_search(&fix.fix_time.0).is_ok();
                let waiting = |f: &Arc<Flight>| wait_for.iter().any(|w| Arc::ptr_eq(w, f));
                let flight = flights.iter().find(holds).filter(|f| !waiting(f)).cloned();
                wait_for.extend(flight);
            }
            is_new
        });
        times.trim(MAX_TIMES, KEEP_AT_TRIM);
        shard.bytes = shard.bytes + times.bytes() - before;
        let own = (!fixes.is_empty()).then(|| {
            let flight = Arc::new(Flight::of(fixes));
            let flights = shard.flights.entry(courier.clone()).or_default();
            flights.push(flight.clone());
            Own {
                dedupe: self.clone(),
                courier: courier.clone(),
                flight,
            }
        });
        if shard.bytes > self.shard_bytes {
            shard.shed(self.shard_bytes - self.shard_bytes / FREE_AFTER_SHED);
        }
        Reservation {
            duplicates: sent - fixes.len(),
            wait_for,
            own,
        }
    }

    /// Remembers fixes that are on disk, as read back from the log.
    pub fn remember(&self, courier: &str, fix_times: &[i64]) {
        let mut shard = self.shard(courier).lock();
        if !shard.seen.contains_key(courier) {
            let Ok(id) = CourierId::try_from(courier) else {
                return;
            };
            shard.seen.insert(id, Times::default());
            shard.bytes += COURIER_BYTES;
        }
        let mut change = (0, 0);
        if let Some(times) = shard.seen.get_mut(courier) {
            change.0 = times.bytes();
            for time in fix_times {
                times.insert(*time);
            }
            times.trim(MAX_TIMES, KEEP_AT_TRIM);
            change.1 = times.bytes();
        }
        shard.bytes = shard.bytes + change.1 - change.0;
        if shard.bytes > self.shard_bytes {
            shard.shed(self.shard_bytes - self.shard_bytes / FREE_AFTER_SHED);
        }
    }

    /// Bytes in use, as far as they are counted.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.shards.iter().map(|s| s.lock().bytes).sum()
    }

    fn settle(&self, courier: &CourierId, flight: &Arc<Flight>, state: u8) {
        {
            let mut shard = self.shard(courier.as_str()).lock();
            if let Some(flights) = shard.flights.get_mut(courier) {
                flights.retain(|f| !Arc::ptr_eq(f, flight));
                if flights.is_empty() {
                    shard.flights.remove(courier);
                }
            }
            if state == FAILED
                && let Some(times) = shard.seen.get_mut(courier)
            {
                times.remove(&flight.times);
            }
        }
        flight.state.store(state, Ordering::Release);
        flight.settled.notify_waiters();
    }
}

impl Flight {
    fn of(fixes: &[Fix]) -> Self {
        let mut times: Box<[i64]> = fixes.iter().map(|f| f.fix_time.0).collect();
        times.sort_unstable();
        Self {
            times,
            state: AtomicU8::new(FLYING),
            settled: Notify::new(),
        }
    }
}

impl Shard {
    /// Forgets the oldest until at most `target` bytes are in use: of every courier first, then the
    /// couriers whose newest fix is oldest.
    fn shed(&mut self, target: usize) {
        let mut keep = MAX_TIMES;
        while self.bytes > target && keep > KEEP_AT_LEAST {
            keep /= 2;
            for times in self.seen.values_mut() {
                times.trim(keep, keep);
                times.0.shrink_to_fit();
            }
            self.count();
        }
        if self.bytes > target && !self.seen.is_empty() {
            let mut newest: Vec<i64> = self.seen.values().map(Times::newest).collect();
            let share = self.bytes / newest.len();
            let mut surplus = ((self.bytes - target) / share).min(newest.len() - 1) + 1;
            let (_, &mut last_to_go, _) = newest.select_nth_unstable(surplus - 1);
            self.seen.retain(|_, times| {
                // Counted, since many couriers may have the same newest time.
                let goes = surplus > 0 && times.newest() <= last_to_go;
                surplus -= usize::from(goes);
                !goes
            });
            self.seen.shrink_to_fit();
            self.count();
        }
    }

    fn count(&mut self) {
        let times: usize = self.seen.values().map(Times::bytes).sum();
        self.bytes = times + self.seen.len() * COURIER_BYTES;
    }
}

/// Fix times, ascending. Almost every new one belongs at the end.
#[derive(Debug, Default)]
struct Times(Vec<i64>);

impl Times {
    /// Whether `time` was not there yet.
    #[inline]
    fn insert(&mut self, time: i64) -> bool {
        if self.0.last().is_none_or(|last| *last < time) {
            self.0.push(time);
            return true;
        }
        match self.0.binary_search(&time) {
            Ok(_) => false,
            Err(at) => {
                self.0.insert(at, time);
                true
            }
        }
    }

    /// `gone` is ascending.
    fn remove(&mut self, gone: &[i64]) {
        self.0.retain(|time| gone.binary_search(time).is_err());
    }

    /// Keeps the newest `keep` once there are more than `most`.
    fn trim(&mut self, most: usize, keep: usize) {
        if self.0.len() > most {
            self.0.drain(..self.0.len() - keep);
        }
    }

    fn newest(&self) -> i64 {
        self.0.last().copied().unwrap_or(i64::MIN)
    }

    fn bytes(&self) -> usize {
        self.0.capacity() * size_of::<i64>()
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::*;

    use super::*;
    use crate::domain::{Position, UnixMs};

    const MIB: usize = 1 << 20;

    fn fixes(times: &[i64]) -> Vec<Fix> {
        let place = Position::from_degrees(1.0, 2.0).expect("a place");
        times.iter().map(|t| Fix::new(UnixMs(*t), place)).collect()
    }

    fn courier(id: &str) -> CourierId {
        CourierId::try_from(id).expect("an id")
    }

    /// Reserves and lands; answers the times that were new.
    fn land(dedupe: &Arc<Dedupe>, id: &CourierId, times: &[i64]) -> Vec<i64> {
        let mut fixes = fixes(times);
        let reservation = dedupe.reserve(id, &mut fixes);
        assert_eq!(reservation.duplicates, times.len() - fixes.len());
        reservation.landed();
        fixes.iter().map(|f| f.fix_time.0).collect()
    }

    #[test]
    fn the_first_of_an_instant_wins_also_within_one_upload() {
        let dedupe = Dedupe::new(64 * MIB);
        let (a, b) = (courier("a"), courier("b"));
        assert_eq!(land(&dedupe, &a, &[3, 1, 3, 2, 1]), [3, 1, 2]);
        assert_eq!(land(&dedupe, &a, &[4, 2, 0]), [4, 0]);
        assert_eq!(land(&dedupe, &b, &[3, 1]), [3, 1]);
    }

    #[test]
    fn what_failed_is_new_again() {
        let dedupe = Dedupe::new(64 * MIB);
        let a = courier("a");
        land(&dedupe, &a, &[1]);
        drop(dedupe.reserve(&a, &mut fixes(&[1, 2, 3])));
        assert_eq!(land(&dedupe, &a, &[1, 2, 3]), [2, 3]);
    }

    #[tokio::test]
    async fn a_retry_of_an_upload_in_flight_learns_how_it_ended() {
        let dedupe = Dedupe::new(64 * MIB);
        let a = courier("a");
        for (lands, time) in [(true, 1), (false, 2)] {
            let first = dedupe.reserve(&a, &mut fixes(&[time]));
            let mut again = fixes(&[time, time]);
            let retry = dedupe.reserve(&a, &mut again);
            assert!(again.is_empty() && retry.wait_for.len() == 1);
            let flight = retry.wait_for[0].clone();
            let waiting = tokio::spawn(async move { flight.landed().await });
            tokio::task::yield_now().await;
            if lands {
                first.landed();
            } else {
                drop(first);
            }
            assert_eq!(waiting.await.expect("no panic"), lands);
        }
        assert!(dedupe.reserve(&a, &mut fixes(&[1])).wait_for.is_empty());
    }

    #[test]
    fn remembers_a_bounded_number_of_the_newest() {
        let dedupe = Dedupe::new(64 * MIB);
        let a = courier("a");
        let times: Vec<i64> = (0..3 * MAX_TIMES as i64).collect();
        for batch in times.chunks(500) {
            assert_eq!(land(&dedupe, &a, batch).len(), batch.len());
        }
        let newest = &times[times.len() - KEEP_AT_TRIM + 500..];
        assert!(land(&dedupe, &a, newest).is_empty());
        assert_eq!(
            land(&dedupe, &a, &[0, 0]),
            [0],
            "forgotten, so accepted once"
        );
    }

    #[test]
    fn stays_within_its_memory_and_forgets_the_oldest_first() {
        let cap = 4 * MIB;
        let dedupe = Dedupe::new(cap);
        for round in 0..20_i64 {
            for i in 0..2_000 {
                let base = round * 1_000_000;
                let times: Vec<i64> = (base..base + 40).collect();
                land(&dedupe, &courier(&format!("c-{i}")), &times);
            }
            assert!(dedupe.bytes() <= cap, "{}", dedupe.bytes());
        }
        assert!(land(&dedupe, &courier("c-1999"), &[19_000_039]).is_empty());
        for i in 0..60_000_i64 {
            land(&dedupe, &courier(&format!("d-{i}")), &[100_000_000 + i]);
        }
        assert!(dedupe.bytes() <= cap);
        assert!(land(&dedupe, &courier("d-59999"), &[100_059_999]).is_empty());
        assert_eq!(land(&dedupe, &courier("c-1999"), &[19_000_039]).len(), 1);
    }

    proptest! {
        #[test]
        fn agrees_with_a_plain_set(
            uploads in proptest::collection::vec(
                (proptest::collection::vec(0_i64..200, 0..30), any::<bool>()), 0..40)
        ) {
            let dedupe = Dedupe::new(64 * MIB);
            let a = courier("a");
            let mut model = BTreeSet::new();
            for (times, lands) in uploads {
                let mut left = fixes(&times);
                let reservation = dedupe.reserve(&a, &mut left);
                let mut expected = Vec::new();
                for time in times {
                    if !model.contains(&time) && !expected.contains(&time) {
                        expected.push(time);
                    }
                }
                let left: Vec<i64> = left.iter().map(|f| f.fix_time.0).collect();
                prop_assert_eq!(&left, &expected);
                if lands {
                    model.extend(expected);
                    reservation.landed();
                }
            }
        }
    }
}
