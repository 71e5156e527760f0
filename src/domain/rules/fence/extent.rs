//! The box around a geofence, small enough to lie in the index itself: most geofences near a place
//! are ruled out without a look at them.

use crate::domain::Position;
use crate::domain::geo::DEGREE_M;

/// Steps of 1e-7° in a whole turn.
const TURN_E7: i64 = 3_600_000_000;
/// Rounding, degrees (about a metre).
const ROUNDING_DEG: f64 = 1e-5;
/// Nearer to a pole than this, degrees of latitude, a box goes all the way round.
const POLAR_DEG: f64 = 89.5;

/// A box of latitudes and longitudes; it may lie across the antimeridian.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Extent {
    south_e7: i32,
    north_e7: i32,
    west_e7: i32,
    /// To the east of `west_e7`.
    width_e7: u32,
}

impl Extent {
    /// Around edges in degrees: south, west, north, east; longitudes may be of any turn.
    pub(super) fn of_degrees([south, west, north, east]: [f64; 4]) -> Self {
        let e7 = |degrees: f64| (degrees * 1e7) as i64;
        let lat = |degrees: f64| e7(degrees.clamp(-90.0, 90.0)) as i32;
        let (south, north) = (south - ROUNDING_DEG, north + ROUNDING_DEG);
        let (west, east) = (e7(west - ROUNDING_DEG), e7(east + ROUNDING_DEG));
        let polar = south < -POLAR_DEG || north > POLAR_DEG;
        let width = if polar {
            TURN_E7
        } else {
            (east - west).clamp(0, TURN_E7)
        };
        Self {
            south_e7: lat(south),
            north_e7: lat(north),
            west_e7: turned(west),
            width_e7: width as u32,
        }
    }

    /// A box in degrees, as near to it as fits inside.
    pub(super) fn within_degrees([south, west, north, east]: [f64; 4]) -> Self {
        let up = |degrees: f64| (degrees * 1e7).ceil() as i64;
        let down = |degrees: f64| (degrees * 1e7).floor() as i64;
        let lat = |e7: i64| e7.clamp(-TURN_E7 / 4, TURN_E7 / 4) as i32;
        let (west, east) = (up(west), down(east));
        Self {
            south_e7: lat(up(south)),
            // Where nothing fits in between: to the south of its own south.
            north_e7: lat(if east < west {
                up(south) - 1
            } else {
                down(north)
            }),
            west_e7: turned(west),
            width_e7: (east - west).clamp(0, TURN_E7) as u32,
        }
    }

    /// Around everything within `radius_m` of a place.
    pub(super) fn around(middle: Position, radius_m: f64) -> Self {
        let north = radius_m / DEGREE_M;
        let farthest = (middle.lat().abs() + north).min(90.0);
        // At this latitude or nearer to the equator a degree of longitude is at least so long.
        let east = north / farthest.to_radians().cos().max(1e-6);
        let east = east.min(180.0);
        Self::of_degrees([
            middle.lat() - north,
            middle.lon() - east,
            middle.lat() + north,
            middle.lon() + east,
        ])
    }

    /// Around the way from `a` to `b`, and `beside_m` metres beside it.
    pub(super) fn of_way(a: Position, b: Position, beside_m: f64) -> Self {
        let turn = 360.0 * ((b.lon() - a.lon()) / 360.0).round();
        let b_lon = b.lon() - turn;
        let north = beside_m / DEGREE_M;
        let farthest = (a.lat().abs().max(b.lat().abs()) + north).min(90.0);
        let east = north / farthest.to_radians().cos().max(1e-6);
        Self::of_degrees([
            a.lat().min(b.lat()) - north,
            a.lon().min(b_lon) - east,
            a.lat().max(b.lat()) + north,
            a.lon().max(b_lon) + east,
        ])
    }

    /// Whether a place lies in it.
    pub(super) fn holds(&self, at: Position) -> bool {
        (self.south_e7..=self.north_e7).contains(&at.lat_e7())
            && eastward(self.west_e7, at.lon_e7()) <= i64::from(self.width_e7)
    }

    /// Whether the two have something in common.
    pub(super) fn meets(&self, other: &Self) -> bool {
        self.south_e7 <= other.north_e7
            && other.south_e7 <= self.north_e7
            && (eastward(self.west_e7, other.west_e7) <= i64::from(self.width_e7)
                || eastward(other.west_e7, self.west_e7) <= i64::from(other.width_e7))
    }
}

/// A longitude of any turn, in −180° to 180°, which fits.
fn turned(lon_e7: i64) -> i32 {
    ((lon_e7 + TURN_E7 / 2).rem_euclid(TURN_E7) - TURN_E7 / 2) as i32
}

/// From `west` to the east until `east`, 1e-7°.
fn eastward(west_e7: i32, east_e7: i32) -> i64 {
    let apart = i64::from(east_e7) - i64::from(west_e7);
    if apart < 0 { apart + TURN_E7 } else { apart }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Extent {
        let place = Position::from_any_degrees(lat, lon);
        Extent::of_way(place, place, 0.0)
    }

    #[test]
    fn boxes_meet_across_the_antimeridian_and_at_poles() {
        let across = Extent::of_degrees([10.0, 179.0, 12.0, 181.0]);
        for (lon, inside) in [
            (179.5, true),
            (180.0, true),
            (-180.0, true),
            (-179.5, true),
            (178.9, false),
            (-178.9, false),
            (0.0, false),
        ] {
            assert_eq!(across.meets(&at(11.0, lon)), inside, "{lon}");
            assert_eq!(at(11.0, lon).meets(&across), inside, "{lon}");
        }
        assert!(!across.meets(&at(13.0, 180.0)));
        let other = Extent::of_degrees([10.0, -179.5, 12.0, -170.0]);
        assert!(across.meets(&other) && other.meets(&across));
        let pole = Extent::around(Position::from_any_degrees(89.99, 0.0), 5_000.0);
        assert!(pole.meets(&at(89.99, 180.0)));
        let world = Extent::of_degrees([-90.0, -180.0, 90.0, 180.0]);
        assert!(world.meets(&at(0.0, 17.0)) && world.meets(&across));
    }
}
