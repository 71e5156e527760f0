//! Where everybody is: the newest fix of each courier, and the way that led there.
//!
//! Invariants:
//! - A courier's newest fix never goes back: fixes are ordered by min(`fix_time`, `received_at`),
//!   then by `fix_time`, so that a phone whose clock is ahead cannot freeze its dot.
//! - Within an upload only the newest fix moves the dot; all of them go to the trail.
//! - A handle names one courier as long as the process runs; it is never given to another.
//! - Every courier is found by its id and by the cell it is in.
//! - At most [`MAX_COURIERS`] couriers, and [`TRAIL_BYTES`] for the trails of all together.

mod simplify;
mod slot;
mod status;
mod trail;

use std::collections::BTreeSet;
use std::ops::Bound;

use h3o::CellIndex;
use parking_lot::RwLock;
use rustc_hash::FxHashMap;

use crate::domain::{CourierId, FixBatch, UnixMs};

pub(crate) use simplify::{ahead_of, off_line_m, simplify};
pub(crate) use slot::{Live, Slot};
pub(crate) use status::{CourierStatus, Patience, Work};
pub(crate) use trail::{Corner, LONGEST_S, seconds};

/// Most couriers that are held; more are counted and left out.
pub(crate) const MAX_COURIERS: usize = 1_000_000;
/// Memory for all trails together.
const TRAIL_BYTES: usize = 10 << 20;
/// A trail is given no more corners than this, however few couriers there are …
const MOST_CORNERS: usize = 256;
/// … and no fewer than this, however many.
const LEAST_CORNERS: usize = 4;
/// Couriers looked at before a scan lets writers in.
const SCAN_CHUNK: usize = 4096;

/// What an upload changed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Applied {
    /// A courier of whom nothing was known.
    New,
    /// The dot moved.
    Moved,
    /// Late fixes, or a heartbeat: the dot is where it was.
    Still,
    /// No room for another courier.
    Full,
}

/// All couriers that were heard of. Every method takes a moment.
#[derive(Debug, Default)]
pub(crate) struct LiveState(RwLock<Slots>);

#[derive(Debug, Default)]
struct Slots {
    slots: Vec<Option<Slot>>,
    index: FxHashMap<CourierId, u32>,
    /// Cell of resolution 8 and place of each courier: what lies in a larger cell is a range.
    by_cell: BTreeSet<(u64, u32)>,
    free: Vec<u32>,
    next_handle: u32,
}

impl LiveState {
    /// Takes an upload of the courier `id`.
    pub(crate) fn apply(&self, id: &CourierId, batch: &FixBatch) -> Applied {
        let mut slots = self.0.write();
        let allowance = slots.corners_a_courier();
        if let Some(place) = slots.index.get(id).copied() {
            return slots.take(place, batch, allowance);
        }
        let Some(newest) = slot::newest_of(batch) else {
            // Nothing to show yet.
            return Applied::Still;
        };
        slots.add(id.clone(), newest, batch, allowance)
    }

    /// Forgets a courier altogether.
    pub(crate) fn forget(&self, id: &CourierId) {
        self.0.write().remove(id);
    }

    /// Forgets couriers that `keep` does not know.
    pub(crate) fn retain(&self, keep: impl Fn(&CourierId) -> bool) {
        let unknown: Vec<CourierId> = {
            let slots = self.0.read();
            slots.index.keys().filter(|id| !keep(id)).cloned().collect()
        };
        for id in unknown {
            self.forget(&id);
        }
    }

    /// Notes what the courier's open deliveries ask for, and whether it is on duty.
    pub(crate) fn set_work(&self, id: &CourierId, work: Work, on_duty: bool) {
        if let Some(slot) = self.0.write().get_mut(id) {
            slot.set_work(work, on_duty);
        }
    }

    /// The courier's newest fix and what goes with it.
    pub(crate) fn get(&self, id: &CourierId) -> Option<Live> {
        self.0.read().get(id).map(|slot| *slot.live())
    }

    /// The corners of the courier's trail from `from` on, oldest first.
    pub(crate) fn trail(&self, id: &CourierId, from: UnixMs) -> Vec<Corner> {
        let slots = self.0.read();
        let corners = slots
            .get(id)
            .map(|slot| slot.trail().since(seconds(from)).to_vec());
        corners.unwrap_or_default()
    }

    /// How many couriers are held.
    pub(crate) fn len(&self) -> usize {
        self.0.read().index.len()
    }

    /// Ids of all couriers, in no order.
    pub(crate) fn ids(&self) -> Vec<CourierId> {
        self.0.read().index.keys().cloned().collect()
    }

    /// Calls `look` with every courier. Writers get in between, so that nobody waits long; a
    /// courier who comes or goes meanwhile may be missed.
    pub(crate) fn scan(&self, mut look: impl FnMut(&Slot)) {
        let mut from = 0;
        loop {
            let slots = self.0.read();
            let Some(rest) = slots.slots.get(from..).filter(|rest| !rest.is_empty()) else {
                return;
            };
            rest.iter().take(SCAN_CHUNK).flatten().for_each(&mut look);
            from += SCAN_CHUNK;
        }
    }

    /// The same with those in `cell` (of a resolution of at most 8; the whole earth without), in
    /// order of their cells of resolution 8. A courier who moves meanwhile may be seen twice.
    pub(crate) fn scan_cell(&self, cell: Option<CellIndex>, mut look: impl FnMut(&Slot)) {
        let (first, last) = cell.map_or((0, u64::MAX), slot::cells_within);
        let mut from = Bound::Included((first, 0));
        loop {
            let slots = self.0.read();
            let range = slots
                .by_cell
                .range((from, Bound::Included((last, u32::MAX))));
            let mut at = None;
            for (cell, place) in range.take(SCAN_CHUNK) {
                slots.slots[*place as usize].iter().for_each(&mut look);
                at = Some((*cell, *place));
            }
            let Some(at) = at else { return };
            from = Bound::Excluded(at);
        }
    }
}

impl Slots {
    fn get(&self, id: &CourierId) -> Option<&Slot> {
        self.slots.get(*self.index.get(id)? as usize)?.as_ref()
    }

    fn get_mut(&mut self, id: &CourierId) -> Option<&mut Slot> {
        self.slots.get_mut(*self.index.get(id)? as usize)?.as_mut()
    }

    fn take(&mut self, place: u32, batch: &FixBatch, allowance: usize) -> Applied {
        let Some(slot) = &mut self.slots[place as usize] else {
            // The index names no empty place.
            return Applied::Still;
        };
        let before = u64::from(slot.cell());
        let applied = slot.take(batch, allowance);
        let after = u64::from(slot.cell());
        if before != after {
            self.by_cell.remove(&(before, place));
            self.by_cell.insert((after, place));
        }
        applied
    }

    fn add(&mut self, id: CourierId, newest: Live, batch: &FixBatch, allowance: usize) -> Applied {
        if self.index.len() >= MAX_COURIERS {
            return Applied::Full;
        }
        let handle = self.next_handle;
        self.next_handle = self.next_handle.wrapping_add(1);
        let slot = Slot::new(id.clone(), handle, newest, batch, allowance);
        let place = self.free.pop().unwrap_or_else(|| {
            if self.slots.len() == self.slots.capacity() {
                // An eighth at a time: doubling would hold much memory for nobody.
                self.slots.reserve_exact((self.slots.len() / 8).max(64));
            }
            self.slots.push(None);
            // Below MAX_COURIERS.
            (self.slots.len() - 1) as u32
        });
        self.by_cell.insert((u64::from(slot.cell()), place));
        self.slots[place as usize] = Some(slot);
        self.index.insert(id, place);
        Applied::New
    }

    fn remove(&mut self, id: &CourierId) {
        if let Some(place) = self.index.remove(id) {
            if let Some(slot) = self.slots[place as usize].take() {
                self.by_cell.remove(&(u64::from(slot.cell()), place));
            }
            self.free.push(place);
        }
    }

    fn corners_a_courier(&self) -> usize {
        let share = TRAIL_BYTES / std::mem::size_of::<Corner>() / self.index.len().max(1);
        share.clamp(LEAST_CORNERS, MOST_CORNERS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::domain::{Fix, Position};

    fn batch(received_s: i64, fixes: &[(i64, f64)]) -> FixBatch {
        let fix = |&(at_s, lat): &(i64, f64)| {
            let position = Position::from_degrees(lat, 14.5).expect("a position");
            Fix::new(UnixMs(at_s * 1000), position)
        };
        FixBatch {
            received_at: UnixMs(received_s * 1000),
            fixes: fixes.iter().map(fix).collect(),
            sos: false,
        }
    }

    fn c1() -> CourierId {
        CourierId::try_from("c-1").expect("an id")
    }

    fn lat(state: &LiveState) -> f64 {
        state.get(&c1()).expect("is there").fix.position.lat()
    }

    #[test]
    fn the_newest_fix_moves_the_dot_and_the_backlog_goes_to_the_trail() {
        let state = LiveState::default();
        // First in, first out after a tunnel: the newest is last, an older upload comes after it.
        assert_eq!(
            state.apply(
                &c1(),
                &batch(1000, &[(900, 35.90), (990, 35.93), (950, 35.91)])
            ),
            Applied::New
        );
        assert!((lat(&state) - 35.93).abs() < 1e-9);
        assert_eq!(
            state.apply(&c1(), &batch(1001, &[(970, 35.92)])),
            Applied::Still
        );
        assert!((lat(&state) - 35.93).abs() < 1e-9);
        let id = c1();
        let times: Vec<u32> = state.trail(&id, UnixMs(0)).iter().map(|c| c.at_s).collect();
        assert_eq!(times, [900, 950, 970, 990]);
    }

    #[test]
    fn a_phone_whose_clock_is_ahead_cannot_freeze_its_dot() {
        let state = LiveState::default();
        state.apply(&c1(), &batch(1000, &[(5000, 35.90)]));
        assert_eq!(
            state.apply(&c1(), &batch(1010, &[(1010, 35.91)])),
            Applied::Moved
        );
        assert!((lat(&state) - 35.91).abs() < 1e-9);
        // Two of them in one upload: its own order counts.
        state.apply(&c1(), &batch(1020, &[(5020, 35.93), (5015, 35.92)]));
        assert!((lat(&state) - 35.93).abs() < 1e-9);
    }

    #[test]
    fn a_heartbeat_keeps_a_resting_phone_alive_but_moves_nothing() {
        let state = LiveState::default();
        assert_eq!(state.apply(&c1(), &batch(1000, &[])), Applied::Still);
        assert_eq!(state.len(), 0);
        state.apply(&c1(), &batch(1000, &[(1000, 35.9)]));
        assert_eq!(state.apply(&c1(), &batch(1500, &[])), Applied::Still);
        let id = c1();
        let live = state.get(&id).expect("is there");
        assert_eq!(live.heard_at(), UnixMs(1_500_000));
        assert_eq!(live.fix.fix_time, UnixMs(1_000_000));
    }

    #[test]
    fn a_forgotten_couriers_handle_is_not_given_to_another() {
        let state = LiveState::default();
        state.apply(&c1(), &batch(1000, &[(1000, 35.9)]));
        let id = c1();
        let first = state.get(&id).expect("is there").handle;
        state.forget(&id);
        assert!(state.get(&id).is_none());
        state.apply(
            &CourierId::try_from("c-2").expect("an id"),
            &batch(1000, &[(1000, 35.9)]),
        );
        let mut handles = Vec::new();
        state.scan(|slot| handles.push(slot.live().handle));
        assert_eq!(handles.len(), 1);
        assert_ne!(handles[0], first);
    }

    #[test]
    fn whoever_is_in_a_cell_is_found_there_and_nowhere_else() {
        let state = LiveState::default();
        let id = |n: u32| CourierId::try_from(format!("c-{n}")).expect("an id");
        let place = |n: u32| (f64::from(n % 170) - 85.0, f64::from(n % 359) - 179.0);
        for n in 0..2_000_u32 {
            let (lat, lon) = place(n);
            state.apply(&id(n), &batch_at(1_000, lat, lon));
        }
        for n in (0..2_000_u32).step_by(3) {
            let (lat, lon) = place(n + 7);
            state.apply(&id(n), &batch_at(2_000, lat, lon));
        }
        for n in (0..2_000_u32).step_by(11) {
            state.forget(&id(n));
        }
        let mut all = Vec::new();
        state.scan(|slot| all.push((slot.live().handle, slot.cell())));
        let whole = |cell| {
            let mut found = Vec::new();
            state.scan_cell(cell, |slot| found.push(slot.live().handle));
            found.sort_unstable();
            found
        };
        assert_eq!(whole(None).len(), all.len());
        for resolution in h3o::Resolution::range(h3o::Resolution::Zero, h3o::Resolution::Eight) {
            for (_, cell) in all.iter().step_by(97) {
                let cell = cell.parent(resolution).expect("a coarser cell");
                let within = |c: &CellIndex| c.parent(resolution) == Some(cell);
                let mut expected: Vec<u32> = all
                    .iter()
                    .filter(|(_, c)| within(c))
                    .map(|(handle, _)| *handle)
                    .collect();
                expected.sort_unstable();
                assert_eq!(whole(Some(cell)), expected, "{cell}");
            }
        }
    }

    fn batch_at(at_s: i64, lat: f64, lon: f64) -> FixBatch {
        let position = Position::from_degrees(lat, lon).expect("a position");
        FixBatch {
            received_at: UnixMs(at_s * 1000),
            fixes: vec![Fix::new(UnixMs(at_s * 1000), position)],
            sos: false,
        }
    }
}
