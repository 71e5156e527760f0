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
    fn goes_where_it_points() {
        let from = at(35.9, 14.5);
        let to = destination(from, 90.0, 1_000.0);
        assert!((distance_m(from, to) - 1_000.0).abs() < 0.1);
        assert!((bearing_deg(from, to) - 90.0).abs() < 0.1);
    }
}
