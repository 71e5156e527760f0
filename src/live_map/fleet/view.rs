//! From what a dispatcher looks at to the topics that tell of it.
//!
//! From zoom 13 on a topic is a cell of resolution 7 with its couriers; below, a topic carries the
//! counts of the cells three resolutions finer than itself; the whole world is one topic of its own.
//! A view never takes more than [`MOST_TOPICS`]: where it would, it is shown one level coarser.

use std::collections::VecDeque;

use h3o::{CellIndex, LatLng, Resolution};
use rustc_hash::FxHashSet;
use serde::Deserialize;

use crate::domain::Position;
use crate::domain::geo::distance_m;

/// Most topics of one socket.
pub(crate) const MOST_TOPICS: usize = 64;

/// How finely couriers are told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) enum Level {
    /// Every courier, by cell of resolution 7.
    Couriers,
    /// Counts a cell of this resolution, by the parent three resolutions coarser.
    Cells(Resolution),
    /// Counts a cell of resolution 2, all in one topic.
    World,
}

impl Level {
    /// All of them, the finest first.
    pub(crate) const ALL: [Self; 7] = [
        Self::Couriers,
        Self::Cells(Resolution::Eight),
        Self::Cells(Resolution::Seven),
        Self::Cells(Resolution::Six),
        Self::Cells(Resolution::Five),
        Self::Cells(Resolution::Four),
        Self::World,
    ];

    fn of_zoom(zoom: f64) -> Self {
        match zoom {
            z if z >= 13.0 => Self::Couriers,
            z if z >= 12.0 => Self::Cells(Resolution::Eight),
            z if z >= 10.0 => Self::Cells(Resolution::Seven),
            z if z >= 8.0 => Self::Cells(Resolution::Six),
            z if z >= 6.0 => Self::Cells(Resolution::Five),
            z if z >= 4.0 => Self::Cells(Resolution::Four),
            _ => Self::World,
        }
    }

    /// Resolution of the topics; the world has none.
    fn topics(self) -> Option<Resolution> {
        match self {
            Self::Couriers => Some(Resolution::Seven),
            Self::Cells(Resolution::Eight) => Some(Resolution::Five),
            Self::Cells(Resolution::Seven) => Some(Resolution::Four),
            Self::Cells(Resolution::Six) => Some(Resolution::Three),
            Self::Cells(Resolution::Five) => Some(Resolution::Two),
            Self::Cells(_) => Some(Resolution::One),
            Self::World => None,
        }
    }

    /// Resolution of the cells that are counted.
    pub(crate) fn cells(self) -> Resolution {
        match self {
            Self::Couriers => Resolution::Seven,
            Self::Cells(resolution) => resolution,
            Self::World => Resolution::Two,
        }
    }

    /// The topic of this level that `cell` (of resolution 8) belongs to.
    #[cfg(test)]
    pub(crate) fn topic_of(self, cell: CellIndex) -> TopicId {
        let parent = self.topics().and_then(|resolution| cell.parent(resolution));
        parent.map_or(TopicId::WORLD, |parent| TopicId(parent.into()))
    }
}

/// Names a topic: its H3 cell, whose resolution tells the level; 0 is the world.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct TopicId(pub(crate) u64);

impl TopicId {
    pub(crate) const WORLD: Self = Self(0);

    /// The cell, unless it is the world.
    pub(crate) fn cell(self) -> Option<CellIndex> {
        CellIndex::try_from(self.0).ok()
    }

    pub(crate) fn level(self) -> Level {
        match self.cell().map(CellIndex::resolution) {
            Some(Resolution::Seven) => Level::Couriers,
            Some(Resolution::Five) => Level::Cells(Resolution::Eight),
            Some(Resolution::Four) => Level::Cells(Resolution::Seven),
            Some(Resolution::Three) => Level::Cells(Resolution::Six),
            Some(Resolution::Two) => Level::Cells(Resolution::Five),
            Some(Resolution::One) => Level::Cells(Resolution::Four),
            _ => Level::World,
        }
    }
}

impl std::fmt::Display for TopicId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

impl serde::Serialize for TopicId {
    fn serialize<S: serde::Serializer>(&self, s: S) -> Result<S::Ok, S::Error> {
        s.collect_str(self)
    }
}

/// A rectangle of longitude and latitude; `west` lies in [-180, 180), `east` is not below it and
/// may be beyond 180 where the rectangle crosses the antimeridian.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(crate) struct Bbox {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

/// Four numbers that are no rectangle on the earth.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("bbox must be west,south,east,north in degrees, south not above north")]
pub(crate) struct NoBbox;

impl<'de> Deserialize<'de> for Bbox {
    fn deserialize<D: serde::Deserializer<'de>>(d: D) -> Result<Self, D::Error> {
        let numbers = <[f64; 4]>::deserialize(d)?;
        Self::try_from(numbers).map_err(serde::de::Error::custom)
    }
}

impl std::str::FromStr for Bbox {
    type Err = NoBbox;

    fn from_str(text: &str) -> Result<Self, NoBbox> {
        let mut numbers = [0.0; 4];
        let mut given = text.split(',');
        for number in &mut numbers {
            let text = given.next().ok_or(NoBbox)?;
            *number = text.trim().parse().map_err(|_| NoBbox)?;
        }
        if given.next().is_some() {
            return Err(NoBbox);
        }
        Self::try_from(numbers)
    }
}

impl TryFrom<[f64; 4]> for Bbox {
    type Error = NoBbox;

    /// From west, south, east, north. Maps that were dragged round the world give longitudes beyond
    /// ±180; west may be greater than east across the antimeridian.
    fn try_from([west, south, east, north]: [f64; 4]) -> Result<Self, NoBbox> {
        let finite = [west, south, east, north]
            .iter()
            .all(|n| n.is_finite() && n.abs() <= 3600.0);
        if !finite || south > north || south > 90.0 || north < -90.0 {
            return Err(NoBbox);
        }
        let width = match east - west {
            w if w >= 360.0 => 360.0,
            w if w < 0.0 => w.rem_euclid(360.0),
            w => w,
        };
        let west = (west + 180.0).rem_euclid(360.0) - 180.0;
        Ok(Self {
            west,
            south: south.max(-90.0),
            east: west + width,
            north: north.min(90.0),
        })
    }
}

impl Bbox {
    /// Whether `position` lies within.
    pub(crate) fn contains(&self, position: Position) -> bool {
        (self.south..=self.north).contains(&position.lat())
            && (position.lon() - self.west).rem_euclid(360.0) <= self.east - self.west
    }

    fn center(&self) -> (f64, f64) {
        (
            f64::midpoint(self.south, self.north),
            f64::midpoint(self.west, self.east),
        )
    }

    /// Metres from `at` to the nearest place of the rectangle, 0 within it; hardly too large near
    /// the poles, never too small.
    fn distance_m(&self, at: Position) -> f64 {
        let east_of_west = (at.lon() - self.west).rem_euclid(360.0);
        let width = self.east - self.west;
        let lon = if east_of_west <= width {
            at.lon()
        } else if east_of_west - width < 360.0 - east_of_west {
            self.east
        } else {
            self.west
        };
        let lat = at.lat().clamp(self.south, self.north);
        [lat, self.south, self.north]
            .into_iter()
            .filter_map(|lat| place(lat, lon))
            .map(|near| distance_m(at, near))
            .fold(f64::INFINITY, f64::min)
    }
}

fn place(lat: f64, lon: f64) -> Option<Position> {
    Position::from_degrees(lat, (lon + 180.0).rem_euclid(360.0) - 180.0).ok()
}

/// The topics for a view, at most [`MOST_TOPICS`].
pub(crate) fn topics_of(bbox: &Bbox, zoom: f64) -> Vec<TopicId> {
    let wanted = Level::of_zoom(zoom);
    let levels = Level::ALL.into_iter().skip_while(|level| *level != wanted);
    levels
        .filter_map(Level::topics)
        .find_map(|resolution| cover(bbox, resolution))
        .unwrap_or_else(|| vec![TopicId::WORLD])
}

/// The cells that touch the rectangle (and hardly others), unless they are too many.
fn cover(bbox: &Bbox, resolution: Resolution) -> Option<Vec<TopicId>> {
    let (lat, lon) = bbox.center();
    let center = LatLng::new(lat, lon).ok()?.to_cell(resolution);
    // No cell reaches further from its middle: the longest edges are a third longer than the mean.
    let reach_m = resolution.edge_length_m() * 1.4;
    let touches = |cell: CellIndex| {
        let middle = LatLng::from(cell);
        place(middle.lat(), middle.lng()).is_some_and(|at| bbox.distance_m(at) <= reach_m)
    };
    let mut seen = FxHashSet::from_iter([center]);
    let mut open = VecDeque::from([center]);
    let mut found = Vec::new();
    while let Some(cell) = open.pop_front() {
        found.push(TopicId(cell.into()));
        if found.len() > MOST_TOPICS {
            return None;
        }
        for next in cell.grid_disk_safe(1) {
            if seen.insert(next) && touches(next) {
                open.push_back(next);
            }
        }
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bbox(numbers: [f64; 4]) -> Bbox {
        Bbox::try_from(numbers).expect("a bbox")
    }

    #[test]
    fn a_city_is_told_by_couriers_and_a_country_by_cells() {
        let valletta = bbox([14.48, 35.88, 14.54, 35.92]);
        let topics = topics_of(&valletta, 13.5);
        assert!((4..=40).contains(&topics.len()), "{}", topics.len());
        assert!(topics.iter().all(|t| t.level() == Level::Couriers));
        let malta = bbox([14.1, 35.75, 14.65, 36.1]);
        let topics = topics_of(&malta, 10.2);
        assert!(
            topics
                .iter()
                .all(|t| t.level() == Level::Cells(Resolution::Seven))
        );
        assert_eq!(
            topics_of(&bbox([-180.0, -85.0, 180.0, 85.0]), 1.0),
            [TopicId::WORLD]
        );
    }

    #[test]
    fn the_whole_world_at_the_finest_zoom_is_still_bounded() {
        for zoom in [0.0, 5.0, 13.0, 22.0, f64::NAN] {
            assert_eq!(
                topics_of(&bbox([-180.0, -90.0, 180.0, 90.0]), zoom),
                [TopicId::WORLD]
            );
        }
    }

    #[test]
    fn bad_rectangles_are_refused_and_dragged_ones_understood() {
        for bad in [
            [f64::NAN, 0.0, 1.0, 1.0],
            [0.0, 2.0, 1.0, 1.0],
            [0.0, 91.0, 1.0, 92.0],
            [f64::INFINITY, 0.0, 1.0, 1.0],
            [1e300, 0.0, 1.0, 1.0],
        ] {
            assert_eq!(Bbox::try_from(bad), Err(NoBbox), "{bad:?}");
        }
        let at = |lat, lon| Position::from_degrees(lat, lon).expect("a position");
        let fiji = bbox([177.0, -20.0, -178.0, -15.0]);
        assert!(fiji.contains(at(-17.0, 179.0)) && fiji.contains(at(-17.0, -179.0)));
        assert!(!fiji.contains(at(-17.0, 0.0)));
        assert!(bbox([374.0, 35.0, 375.0, 36.0]).contains(at(35.9, 14.5)));
        assert!("14,35,15".parse::<Bbox>().is_err() && "14,35,15,36,1".parse::<Bbox>().is_err());
    }

    proptest! {
        /// Whoever is in the view is in one of its topics: everywhere, across the antimeridian and
        /// at the poles.
        #[test]
        fn every_place_of_a_view_is_told(
            south in -90.0..90.0_f64, height in 0.0..20.0_f64,
            west in -180.0..180.0_f64, width in 0.0..40.0_f64,
            zoom in 0.0..18.0_f64, up in 0.0..1.0_f64, right in 0.0..1.0_f64,
        ) {
            let north = (south + height).min(90.0);
            let view = bbox([west, south, west + width, north]);
            let topics = topics_of(&view, zoom);
            prop_assert!(!topics.is_empty() && topics.len() <= MOST_TOPICS);
            let at = place(south + (north - south) * up, west + width * right).expect("a place");
            let cell = LatLng::new(at.lat(), at.lon()).expect("finite").to_cell(Resolution::Eight);
            let topic = topics[0].level().topic_of(cell);
            prop_assert!(topics.contains(&topic), "{at:?} at {topic} is not among {topics:?}");
        }
    }
}
