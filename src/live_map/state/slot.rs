//! One courier in live state.

use h3o::{CellIndex, LatLng, Resolution};

use super::Applied;
use super::status::{CourierStatus, Patience, Signs, Work};
use super::trail::Trail;
use crate::domain::geo::distance_m;
use crate::domain::{CourierId, Fix, FixBatch, Position, UnixMs};

/// The courier is still where it stood while it is within this distance, metres.
const STILL_RADIUS_M: f64 = 50.0;
/// Finest cells that couriers are counted in; those of the map's topics are parents of it.
const CELL_RESOLUTION: Resolution = Resolution::Eight;

/// When something happened that has not: before everything.
const NEVER: UnixMs = UnixMs(i64::MIN);

/// A courier's newest fix and what is known with it.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Live {
    /// Names the courier on the fleet channel.
    pub(crate) handle: u32,
    /// Raised whenever anything here changes.
    pub(crate) version: u32,
    pub(crate) fix: Fix,
    /// When the fix came to us.
    pub(crate) received_at: UnixMs,
    /// When the phone last said that it is alive without a new fix, or [`NEVER`].
    pub(crate) heartbeat_at: UnixMs,
    /// When the courier came to where it stands.
    pub(crate) still_since: UnixMs,
    /// When the alarm was last pressed, or [`NEVER`].
    pub(crate) sos_at: UnixMs,
    pub(crate) work: Work,
    pub(crate) on_duty: bool,
}

impl Live {
    /// What the dot is ordered by.
    pub(crate) fn live_time(&self) -> UnixMs {
        self.fix.live_time(self.received_at)
    }

    /// When the phone was last heard of.
    pub(crate) fn heard_at(&self) -> UnixMs {
        self.received_at.max(self.heartbeat_at)
    }

    /// When the position was last true.
    pub(crate) fn placed_at(&self) -> UnixMs {
        self.live_time().max(self.heartbeat_at)
    }

    /// What the courier is doing at `now`.
    pub(crate) fn status(&self, now: UnixMs, patience: Patience) -> CourierStatus {
        let signs = Signs {
            heard_ago_ms: now.since(self.heard_at()),
            placed_ago_ms: now.since(self.placed_at()),
            still_for_ms: now.since(self.still_since),
            on_duty: self.on_duty,
            work: self.work,
        };
        signs.status(patience)
    }

    fn order(&self) -> (UnixMs, UnixMs) {
        (self.live_time(), self.fix.fix_time)
    }
}

/// The newest fix of an upload, as a courier of whom nothing else is known.
pub(super) fn newest_of(batch: &FixBatch) -> Option<Live> {
    let order = |fix: &&Fix| (fix.live_time(batch.received_at), fix.fix_time);
    let fix = *batch.fixes.iter().max_by_key(order)?;
    Some(Live {
        handle: 0,
        version: 0,
        fix,
        received_at: batch.received_at,
        heartbeat_at: NEVER,
        still_since: fix.live_time(batch.received_at),
        sos_at: NEVER,
        work: Work::None,
        on_duty: true,
    })
}

/// A courier, with its place on the grid and its trail.
#[derive(Debug)]
pub(crate) struct Slot {
    id: CourierId,
    live: Live,
    cell: CellIndex,
    /// Where the courier came to a stand at `still_since`.
    anchor: Position,
    trail: Trail,
}

impl Slot {
    pub(super) fn new(
        id: CourierId,
        handle: u32,
        newest: Live,
        batch: &FixBatch,
        allowance: usize,
    ) -> Self {
        let mut slot = Self {
            id,
            live: Live { handle, ..newest },
            cell: cell_of(newest.fix.position),
            anchor: newest.fix.position,
            trail: Trail::default(),
        };
        slot.note(batch, allowance);
        slot
    }

    /// Takes an upload; see the module's invariants.
    pub(super) fn take(&mut self, batch: &FixBatch, allowance: usize) -> Applied {
        self.note(batch, allowance);
        let Some(newest) = newest_of(batch).filter(|new| new.order() > self.live.order()) else {
            return Applied::Still;
        };
        self.live.fix = newest.fix;
        self.live.received_at = newest.received_at;
        self.cell = cell_of(newest.fix.position);
        if distance_m(self.anchor, newest.fix.position) > STILL_RADIUS_M {
            self.anchor = newest.fix.position;
            self.live.still_since = newest.live_time();
        }
        Applied::Moved
    }

    /// What every upload tells, whether or not it moves the dot.
    fn note(&mut self, batch: &FixBatch, allowance: usize) {
        for fix in &batch.fixes {
            self.trail.take(fix, allowance);
        }
        if batch.fixes.is_empty() {
            self.live.heartbeat_at = self.live.heartbeat_at.max(batch.received_at);
        }
        if batch.sos {
            self.live.sos_at = self.live.sos_at.max(batch.received_at);
        }
        self.live.version = self.live.version.wrapping_add(1);
    }

    pub(super) fn set_work(&mut self, work: Work, on_duty: bool) {
        if (self.live.work, self.live.on_duty) != (work, on_duty) {
            self.live.work = work;
            self.live.on_duty = on_duty;
            self.live.version = self.live.version.wrapping_add(1);
        }
    }

    pub(crate) fn id(&self) -> &CourierId {
        &self.id
    }

    pub(crate) fn live(&self) -> &Live {
        &self.live
    }

    /// The cell of resolution 8 that the courier is in.
    pub(crate) fn cell(&self) -> CellIndex {
        self.cell
    }

    pub(super) fn trail(&self) -> &Trail {
        &self.trail
    }
}

fn cell_of(position: Position) -> CellIndex {
    // A position's numbers are finite: only those LatLng refuses.
    LatLng::new(position.lat(), position.lon()).map_or_else(
        |_| CellIndex::first(CELL_RESOLUTION),
        |at| at.to_cell(CELL_RESOLUTION),
    )
}

/// The first and the last number that a cell of resolution 8 within `cell` can have: the digits of
/// a cell's number stand below one another like those of a date.
pub(super) fn cells_within(cell: CellIndex) -> (u64, u64) {
    const RESOLUTION_AT: u32 = 52;
    const DIGIT_BITS: u32 = 3;
    let below = |resolution: Resolution| {
        (1_u64 << (DIGIT_BITS * (15 - u32::from(u8::from(resolution))))) - 1
    };
    let open = below(cell.resolution()) & !below(CELL_RESOLUTION);
    let fine = u64::from(u8::from(CELL_RESOLUTION)) << RESOLUTION_AT;
    let number = u64::from(cell) & !(0xf << RESOLUTION_AT) | fine;
    (number & !open, number | open)
}
