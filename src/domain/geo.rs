//! Distances and directions on the sphere.

use super::Position;

/// Mean earth radius in metres (IUGG).
pub const EARTH_RADIUS_M: f64 = 6_371_008.8;
/// Metres of a degree of latitude on the sphere.
pub const DEGREE_M: f64 = EARTH_RADIUS_M * std::f64::consts::PI / 180.0;

/// Great-circle distance in metres, by the haversine formula (R. W. Sinnott, 1984).
#[must_use]
pub fn distance_m(a: Position, b: Position) -> f64 {
    let (lat_a, lat_b) = (a.lat().to_radians(), b.lat().to_radians());
    let half_dlat = ((b.lat() - a.lat()).to_radians() / 2.0).sin();
    let half_dlon = ((b.lon() - a.lon()).to_radians() / 2.0).sin();
    let h = half_dlat * half_dlat + lat_a.cos() * lat_b.cos() * half_dlon * half_dlon;
    2.0 * EARTH_RADIUS_M * h.min(1.0).sqrt().asin()
}

/// Distance in metres on a plane that touches the earth at `a`: good to a percent over a few hundred
/// kilometres away from the poles, and quick.
#[must_use]
pub fn flat_m(a: Position, b: Position) -> f64 {
    let turn = 360.0 * ((b.lon() - a.lon()) / 360.0).round();
    let east = (b.lon() - a.lon() - turn) * a.lat().to_radians().cos();
    let north = b.lat() - a.lat();
    east.hypot(north) * DEGREE_M
}

/// Initial bearing from `a` to `b` in degrees, 0 north, clockwise, below 360.
#[must_use]
pub fn bearing_deg(a: Position, b: Position) -> f64 {
    let (lat_a, lat_b) = (a.lat().to_radians(), b.lat().to_radians());
    let dlon = (b.lon() - a.lon()).to_radians();
    let y = dlon.sin() * lat_b.cos();
    let x = lat_a.cos() * lat_b.sin() - lat_a.sin() * lat_b.cos() * dlon.cos();
    y.atan2(x).to_degrees().rem_euclid(360.0)
}

/// The position `distance_m` metres from `from` in direction `bearing_deg`.
#[must_use]
pub fn destination(from: Position, bearing_deg: f64, distance_m: f64) -> Position {
    let angle = distance_m / EARTH_RADIUS_M;
    let (lat, bearing) = (from.lat().to_radians(), bearing_deg.to_radians());
    let lat_to = (lat.sin() * angle.cos() + lat.cos() * angle.sin() * bearing.cos()).asin();
    let dlon =
        (bearing.sin() * angle.sin() * lat.cos()).atan2(angle.cos() - lat.sin() * lat_to.sin());
    let lon = (from.lon() + dlon.to_degrees() + 540.0).rem_euclid(360.0) - 180.0;
    Position::from_degrees(
        lat_to.to_degrees().clamp(-90.0, 90.0),
        lon.clamp(-180.0, 180.0),
    )
    .unwrap_or(from)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> Position {
        Position::from_degrees(lat, lon).expect("a position")
    }

    #[test]
    fn measures_known_distances() {
        // One degree of latitude on this sphere is 111.195 km.
        assert!((distance_m(at(0.0, 0.0), at(1.0, 0.0)) - 111_195.0).abs() < 1.0);
        // Across the antimeridian it is a short way.
        assert!(distance_m(at(0.0, 179.999), at(0.0, -179.999)) < 223.0);
    }

    #[test]
    fn on_a_plane_it_is_as_far_in_any_direction_and_across_the_antimeridian() {
        for (lat, lon) in [
            (0.0, 0.0),
            (35.9, 14.5),
            (-60.0, 179.999_99),
            (70.0, -180.0),
        ] {
            let here = at(lat, lon);
            for bearing in 0..12 {
                let there = destination(here, f64::from(bearing) * 30.0, 12.0);
                assert!((flat_m(here, there) - 12.0).abs() < 0.1, "{lat} {bearing}");
            }
        }
    }

    #[test]
    fn goes_where_it_points() {
        let from = at(35.9, 14.5);
        let to = destination(from, 90.0, 1_000.0);
        assert!((distance_m(from, to) - 1_000.0).abs() < 0.1);
        assert!((bearing_deg(from, to) - 90.0).abs() < 0.1);
    }
}
