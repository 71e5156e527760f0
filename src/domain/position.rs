//! Where: WGS 84 latitude and longitude in steps of 1e-7° (about 1 cm).

/// Steps a degree.
const E7: f64 = 1e7;

/// Why a pair of numbers is not a position.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PositionError {
    /// NaN or infinite.
    #[error("latitude and longitude must be finite numbers")]
    NotFinite,
    /// Outside ±90°.
    #[error("latitude must be between -90 and 90 degrees")]
    Latitude,
    /// Outside ±180°.
    #[error("longitude must be between -180 and 180 degrees")]
    Longitude,
}

/// A place on the earth. Built only from numbers in range.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Position {
    lat_e7: i32,
    lon_e7: i32,
}

impl Position {
    /// From degrees.
    pub fn from_degrees(lat: f64, lon: f64) -> Result<Self, PositionError> {
        if !lat.is_finite() || !lon.is_finite() {
            return Err(PositionError::NotFinite);
        }
        if !(-90.0..=90.0).contains(&lat) {
            return Err(PositionError::Latitude);
        }
        if !(-180.0..=180.0).contains(&lon) {
            return Err(PositionError::Longitude);
        }
        // In range, so the rounded products fit an i32 (at most 1.8e9).
        Ok(Self {
            lat_e7: (lat * E7).round() as i32,
            lon_e7: (lon * E7).round() as i32,
        })
    }

    /// The nearest place to degrees of any size, for results of arithmetic: longitudes go round,
    /// latitudes end at the poles. Not for input, which is refused instead.
    #[must_use]
    pub fn from_any_degrees(lat: f64, lon: f64) -> Self {
        let lon = lon - 360.0 * (lon / 360.0).round();
        // What is not a number becomes 0.
        Self {
            lat_e7: (lat.clamp(-90.0, 90.0) * E7).round() as i32,
            lon_e7: (lon.clamp(-180.0, 180.0) * E7).round() as i32,
        }
    }

    /// From steps of 1e-7°.
    pub fn from_e7(lat_e7: i64, lon_e7: i64) -> Result<Self, PositionError> {
        match (i32::try_from(lat_e7), i32::try_from(lon_e7)) {
            (Ok(lat), _) if !(-900_000_000..=900_000_000).contains(&lat) => {
                Err(PositionError::Latitude)
            }
            (Err(_), _) => Err(PositionError::Latitude),
            (Ok(lat_e7), Ok(lon_e7)) if (-1_800_000_000..=1_800_000_000).contains(&lon_e7) => {
                Ok(Self { lat_e7, lon_e7 })
            }
            _ => Err(PositionError::Longitude),
        }
    }

    /// Latitude in degrees.
    #[must_use]
    pub fn lat(self) -> f64 {
        f64::from(self.lat_e7) / E7
    }

    /// Longitude in degrees.
    #[must_use]
    pub fn lon(self) -> f64 {
        f64::from(self.lon_e7) / E7
    }

    /// Latitude in steps of 1e-7°.
    #[must_use]
    pub fn lat_e7(self) -> i32 {
        self.lat_e7
    }

    /// Longitude in steps of 1e-7°.
    #[must_use]
    pub fn lon_e7(self) -> i32 {
        self.lon_e7
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_what_is_no_place_on_earth() {
        assert_eq!(
            Position::from_degrees(f64::NAN, 0.0),
            Err(PositionError::NotFinite)
        );
        assert_eq!(
            Position::from_degrees(90.1, 0.0),
            Err(PositionError::Latitude)
        );
        assert_eq!(
            Position::from_degrees(0.0, 200.0),
            Err(PositionError::Longitude)
        );
        assert_eq!(
            Position::from_e7(900_000_001, 0),
            Err(PositionError::Latitude)
        );
        assert_eq!(
            Position::from_e7(0, i64::MAX),
            Err(PositionError::Longitude)
        );
        assert!(Position::from_degrees(-90.0, 180.0).is_ok());
    }

    #[test]
    fn arithmetic_goes_round_and_ends_at_the_poles() {
        let at = |lat, lon| {
            let p = Position::from_any_degrees(lat, lon);
            (p.lat(), p.lon())
        };
        assert_eq!(at(1.0, 190.0), (1.0, -170.0));
        assert_eq!(at(95.0, -200.0), (90.0, 160.0));
        assert_eq!(at(f64::NAN, f64::INFINITY), (0.0, 0.0));
    }
}
