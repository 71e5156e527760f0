//! Which geofences may matter at a place: an index of hexagonal cells (H3), changed while it is
//! asked.
//!
//! Each geofence stands in every cell that comes within [`SLACK_M`] of it, at a resolution at which
//! these are a few dozen at most, together with the box around it. A place asks its own cell at each
//! resolution in use, and looks at those geofences only whose box it meets.

use std::sync::Arc;

use h3o::{CellIndex, LatLng, Resolution};
use rustc_hash::FxHashMap;

use super::extent::Extent;
use super::{Fence, FenceError, Spot};
use crate::domain::geo::{EARTH_RADIUS_M, flat_m};
use crate::domain::{Geofence, GeofenceId, Position};

/// A geofence is found from places this near to it, metres. A way is asked for at steps of this
/// length, each for what lies behind it, so that nothing that it touches is missed.
const SLACK_M: f64 = 100.0;
/// Longest way that is looked at, in steps.
const MAX_STEPS: f64 = 100.0;
/// The way straight in degrees and the shortest one lie this far apart at least, metres.
const BESIDE_M: f64 = 2.0;
/// Finest resolution: cells of about 200 m edge length.
const FINEST: Resolution = Resolution::Nine;
/// A geofence is covered at the finest resolution whose edge length times this is at least its
/// radius.
const EDGES_A_RADIUS: f64 = 2.0;
/// A cell's corners lie within its mean edge length times this of its middle.
const CIRCUMRADIUS: f64 = 1.4;
/// Neighbours' middles are at least the mean edge length times this apart.
const SPACING: f64 = 1.2;

/// Geofences by cell.
///
/// Invariant: a geofence's id, its slot and all of its cells name each other.
#[derive(Debug, Default)]
pub struct FenceIndex {
    ids: FxHashMap<GeofenceId, Handle>,
    /// Empty where one was removed.
    slots: Vec<Option<Indexed>>,
    free: Vec<Handle>,
    pub(super) cells: FxHashMap<CellIndex, Vec<Placed>>,
    /// How many geofences are covered at each resolution.
    pub(super) in_use: [u32; 16],
}

/// Where a geofence was found last: a short way to it, which goes astray when the index is changed.
/// Handles say nothing about a geofence, so that all are equal.
#[derive(Debug, Clone, Copy)]
pub struct Handle(u32);

impl Default for Handle {
    fn default() -> Self {
        Self(u32::MAX)
    }
}

impl PartialEq for Handle {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Handle {
    /// Whether both lead to the same place.
    pub(in crate::domain::rules) fn is(self, other: Self) -> bool {
        self.0 == other.0
    }
}

#[derive(Debug)]
struct Indexed {
    fence: Fence,
    resolution: Resolution,
    cells: Vec<CellIndex>,
}

/// A geofence in a cell.
#[derive(Debug, Clone)]
pub(super) struct Placed {
    extent: Extent,
    handle: Handle,
}

impl FenceIndex {
    /// Adds a geofence, or replaces the one of the same id. One that cannot be judged by is not in
    /// the index afterwards.
    pub fn put(&mut self, geofence: Arc<Geofence>) -> Result<(), FenceError> {
        self.remove(&geofence.id);
        let id = geofence.id.clone();
        let fence = Fence::new(geofence)?;
        let (resolution, cells) = cover(&fence);
        let extent = fence.extent();
        let handle = self.free.pop().unwrap_or_else(|| {
            self.slots.push(None);
            Handle((self.slots.len() - 1) as u32)
        });
        for cell in &cells {
            let here = self.cells.entry(*cell).or_default();
            here.push(Placed { extent, handle });
        }
        self.in_use[usize::from(u8::from(resolution))] += 1;
        self.slots[handle.0 as usize] = Some(Indexed {
            fence,
            resolution,
            cells,
        });
        self.ids.insert(id, handle);
        Ok(())
    }

    /// Removes a geofence.
    pub fn remove(&mut self, id: &GeofenceId) {
        let Some(handle) = self.ids.remove(id) else {
            return;
        };
        self.free.push(handle);
        let Some(old) = self.slots[handle.0 as usize].take() else {
            return;
        };
        for cell in &old.cells {
            if let Some(here) = self.cells.get_mut(cell) {
                here.retain(|other| !other.handle.is(handle));
                if here.is_empty() {
                    self.cells.remove(cell);
                }
            }
        }
        self.in_use[usize::from(u8::from(old.resolution))] -= 1;
    }

    /// The geofence of this id: where `handle` still leads to it, without a search. It does
    /// afterwards.
    pub fn find(&self, id: &GeofenceId, handle: &mut Handle) -> Option<&Fence> {
        let there = self.at(*handle);
        there.filter(|f| f.id == *id).or_else(|| {
            *handle = self.ids.get(id).copied().unwrap_or_default();
            self.at(*handle)
        })
    }

    /// The geofence that `handle` leads to.
    #[must_use]
    pub fn at(&self, handle: Handle) -> Option<&Fence> {
        let slot = self.slots.get(handle.0 as usize)?.as_ref();
        slot.map(|indexed| &indexed.fence)
    }

    /// Versions of all geofences, in no order.
    pub fn versions(&self) -> impl Iterator<Item = (&GeofenceId, i64)> {
        let known = self.slots.iter().flatten();
        known.map(|indexed| {
            let fence = &indexed.fence;
            (&fence.id, fence.geofence.version)
        })
    }

    /// Whether there is none.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.ids.is_empty()
    }

    /// How many there are.
    #[must_use]
    pub fn len(&self) -> usize {
        self.ids.len()
    }

    /// Every geofence that the way from `from` to `to` touches or that `to` is in, and others near
    /// them, some more than once. Of a way of more than [`MAX_STEPS`] steps only its end is asked.
    pub fn near_way(&self, from: Option<Position>, to: Position) -> impl Iterator<Item = Handle> {
        let from = from.unwrap_or(to);
        let way_m = flat_m(from, to);
        let steps = (way_m / SLACK_M).ceil().max(1.0);
        let (first, from) = if steps > MAX_STEPS {
            (steps, to)
        } else {
            (1.0, from)
        };
        let steepest = from.lat().abs().max(to.lat().abs()).to_radians().tan();
        let beside_m = BESIDE_M + way_m * way_m * steepest / (8.0 * EARTH_RADIUS_M);
        let way = Extent::of_way(from, to, beside_m);
        let shares = (first as u32..=steps as u32).map(move |step| f64::from(step) / steps);
        shares.flat_map(move |share| self.in_cell_of(between(from, to, share), way))
    }

    /// The geofences in the cells of a place whose boxes meet `extent`.
    fn in_cell_of(&self, at: Position, extent: Extent) -> impl Iterator<Item = Handle> {
        let cell = self.cell_of(at);
        let asked = (0..=15_u8).zip(self.in_use).filter(|(_, count)| *count > 0);
        asked
            .filter_map(move |(resolution, _)| {
                let resolution = Resolution::try_from(resolution).ok()?;
                self.cells.get(&cell?.parent(resolution)?)
            })
            .flatten()
            .filter(move |placed| placed.extent.meets(&extent))
            .map(|placed| placed.handle)
    }

    /// The cell of a place at the finest resolution; `None` while there is no geofence.
    fn cell_of(&self, at: Position) -> Option<CellIndex> {
        (!self.is_empty()).then_some(())?;
        Some(LatLng::new(at.lat(), at.lon()).ok()?.to_cell(FINEST))
    }
}

/// The place at `share` of the way, straight in degrees, the short way round.
fn between(a: Position, b: Position, share: f64) -> Position {
    let turn = 360.0 * ((b.lon() - a.lon()) / 360.0).round();
    let lon = a.lon() + (b.lon() - turn - a.lon()) * share;
    Position::from_any_degrees(a.lat() + (b.lat() - a.lat()) * share, lon)
}

/// The cells that a geofence stands in, and their resolution.
fn cover(fence: &Fence) -> (Resolution, Vec<CellIndex>) {
    let (middle, radius_m) = fence.bounds();
    let position = middle.position;
    let resolution = (0..=u8::from(FINEST))
        .rev()
        .filter_map(|r| Resolution::try_from(r).ok())
        .find(|r| r.edge_length_m() * EDGES_A_RADIUS >= radius_m);
    let start = LatLng::new(position.lat(), position.lon()).ok();
    let (Some(resolution), Some(start)) = (resolution, start) else {
        // Larger than a continent: in all cells of the coarsest resolution.
        return (Resolution::Zero, CellIndex::base_cells().collect());
    };
    let edge_m = resolution.edge_length_m();
    let reach_m = edge_m * CIRCUMRADIUS + SLACK_M;
    // At most (2 × edge + 1.4 × edge + slack + 1.4 × edge) / (1.2 × edge), that is 5 rings.
    let rings = ((radius_m + reach_m + edge_m * CIRCUMRADIUS) / (edge_m * SPACING)).ceil() as u32;
    let around: Vec<CellIndex> = start.to_cell(resolution).grid_disk(rings);
    let near = |cell: &CellIndex| {
        let middle = LatLng::from(*cell);
        let middle = Position::from_any_degrees(middle.lat(), middle.lng());
        fence.is_near(&Spot::from(middle), reach_m)
    };
    (resolution, around.into_iter().filter(near).collect())
}
