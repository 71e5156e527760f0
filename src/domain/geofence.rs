//! A geofence: an area whose border means something.

use serde::{Deserialize, Serialize};

use super::{GeofenceId, Position, PositionError};

/// What a geofence tells of.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub enum GeofenceEvent {
    /// A courier came in.
    Enter,
    /// A courier went out.
    Exit,
    /// A courier stayed for `dwell_s`.
    Dwell,
    /// A courier went through between two fixes.
    Cross,
}

impl GeofenceEvent {
    /// The word in the API and in SQL.
    #[must_use]
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Enter => "enter",
            Self::Exit => "exit",
            Self::Dwell => "dwell",
            Self::Cross => "cross",
        }
    }

    /// From the word in the API and in SQL.
    #[must_use]
    pub fn parse(word: &str) -> Option<Self> {
        [Self::Enter, Self::Exit, Self::Dwell, Self::Cross]
            .into_iter()
            .find(|e| e.as_str() == word)
    }
}

/// Largest radius of a circle, metres.
pub const MAX_RADIUS_M: f64 = 1_000_000.0;
/// Most positions of a polygon, all rings together.
pub const MAX_POLYGON_POSITIONS: usize = 10_000;

/// The area. In JSON `{"circle": {"lat", "lon", "radius_m"}}` or `{"polygon": <GeoJSON Polygon>}`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "ShapeJson", into = "ShapeJson")]
pub enum Shape {
    /// Everything within a distance.
    Circle {
        /// The middle.
        center: Position,
        /// The distance in metres.
        radius_m: f64,
    },
    /// A polygon with holes: rings of positions, the first one the outline; each ring is closed
    /// implicitly (the first position is not repeated).
    Polygon {
        /// The rings.
        rings: Vec<Vec<Position>>,
    },
}

/// A geofence.
#[derive(Debug, Clone, PartialEq)]
pub struct Geofence {
    /// The caller's own id.
    pub id: GeofenceId,
    /// What people call it.
    pub name: Box<str>,
    /// The area.
    pub shape: Shape,
    /// How long inside counts as dwelling, seconds.
    pub dwell_s: Option<u32>,
    /// What it tells of.
    pub events: Box<[GeofenceEvent]>,
    /// Raised by one at every change.
    pub version: i64,
}

/// Longest dwelling that can be waited for, seconds: a week.
pub const MAX_DWELL_S: u32 = 7 * 24 * 60 * 60;

/// Why something is not a geofence.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum GeofenceError {
    /// No area.
    #[error(transparent)]
    Shape(#[from] ShapeError),
    /// It would tell of nothing.
    #[error("events must name at least one of enter, exit, dwell, cross")]
    NoEvents,
    /// Dwelling without a time.
    #[error("dwell_s is missing: how long counts as dwelling?")]
    NoDwell,
    /// Out of range.
    #[error("dwell_s must be between 1 and {MAX_DWELL_S}")]
    Dwell,
}

/// What a geofence tells of: enter and exit unless said otherwise, sorted, each once.
pub fn events_of(
    events: Option<Vec<GeofenceEvent>>,
    dwell_s: Option<u32>,
) -> Result<Vec<GeofenceEvent>, GeofenceError> {
    let mut events = events.unwrap_or_else(|| vec![GeofenceEvent::Enter, GeofenceEvent::Exit]);
    if events.is_empty() {
        return Err(GeofenceError::NoEvents);
    }
    if events.contains(&GeofenceEvent::Dwell) && dwell_s.is_none() {
        return Err(GeofenceError::NoDwell);
    }
    if dwell_s.is_some_and(|dwell| !(1..=MAX_DWELL_S).contains(&dwell)) {
        return Err(GeofenceError::Dwell);
    }
    events.sort_unstable_by_key(|event| event.as_str());
    events.dedup();
    Ok(events)
}

/// A geofence as a file of rules gives it: `circle` or `polygon`.
#[derive(Debug, Clone, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct GeofenceJson {
    /// The caller's own id.
    #[schema(value_type = String)]
    pub id: GeofenceId,
    /// What people call it.
    #[schema(value_type = Option<String>)]
    pub name: Option<Box<str>>,
    /// Everything within a distance.
    pub circle: Option<CircleJson>,
    /// A GeoJSON Polygon.
    pub polygon: Option<PolygonJson>,
    /// How long inside counts as dwelling, seconds.
    pub dwell_s: Option<u32>,
    /// What it tells of: enter and exit unless said otherwise.
    pub events: Option<Vec<GeofenceEvent>>,
}

impl TryFrom<GeofenceJson> for Geofence {
    type Error = GeofenceError;

    fn try_from(json: GeofenceJson) -> Result<Self, GeofenceError> {
        let shape = ShapeJson {
            circle: json.circle,
            polygon: json.polygon,
        };
        Ok(Self {
            name: json.name.unwrap_or_else(|| json.id.as_str().into()),
            id: json.id,
            shape: Shape::try_from(shape)?,
            dwell_s: json.dwell_s,
            events: events_of(json.events, json.dwell_s)?.into(),
            version: 0,
        })
    }
}

/// Why numbers are not an area.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ShapeError {
    /// Neither or both.
    #[error("give either circle or polygon")]
    NotOne,
    /// Out of range.
    #[error("radius_m must be more than 0 and at most {MAX_RADIUS_M}")]
    Radius,
    /// A position out of range.
    #[error(transparent)]
    Position(#[from] PositionError),
    /// Not a GeoJSON polygon.
    #[error("polygon must be a GeoJSON object of type Polygon with at least one ring")]
    NotAPolygon,
    /// A ring that bounds nothing.
    #[error(
        "each ring of a polygon has at least 4 positions, and its last one is the same as its first"
    )]
    Ring,
    /// Too much to judge every fix by.
    #[error("a polygon has at most {MAX_POLYGON_POSITIONS} positions")]
    TooManyPositions,
}

/// The form of a [`Shape`] in the API and in SQL.
#[derive(Debug, Clone, Default, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct ShapeJson {
    /// Everything within a distance.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub circle: Option<CircleJson>,
    /// A GeoJSON Polygon.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub polygon: Option<PolygonJson>,
}

/// A circle.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
#[serde(deny_unknown_fields)]
pub struct CircleJson {
    /// Latitude of the middle, degrees.
    pub lat: f64,
    /// Longitude of the middle, degrees.
    pub lon: f64,
    /// Radius, metres.
    pub radius_m: f64,
}

/// A GeoJSON Polygon (RFC 7946): rings of `[lon, lat]`, the first one the outline, each closed.
#[derive(Debug, Clone, Serialize, Deserialize, utoipa::ToSchema)]
pub struct PolygonJson {
    /// `Polygon`.
    #[serde(rename = "type")]
    pub kind: String,
    /// The rings.
    pub coordinates: Vec<Vec<Vec<f64>>>,
}

impl TryFrom<ShapeJson> for Shape {
    type Error = ShapeError;

    fn try_from(json: ShapeJson) -> Result<Self, ShapeError> {
        match (json.circle, json.polygon) {
            (Some(circle), None) => {
                if !(circle.radius_m > 0.0 && circle.radius_m <= MAX_RADIUS_M) {
                    return Err(ShapeError::Radius);
                }
                Ok(Self::Circle {
                    center: Position::from_degrees(circle.lat, circle.lon)?,
                    radius_m: circle.radius_m,
                })
            }
            (None, Some(polygon)) => polygon_rings(&polygon).map(|rings| Self::Polygon { rings }),
            _ => Err(ShapeError::NotOne),
        }
    }
}

fn polygon_rings(polygon: &PolygonJson) -> Result<Vec<Vec<Position>>, ShapeError> {
    if polygon.kind != "Polygon" || polygon.coordinates.is_empty() {
        return Err(ShapeError::NotAPolygon);
    }
    let positions: usize = polygon.coordinates.iter().map(Vec::len).sum();
    if positions > MAX_POLYGON_POSITIONS {
        return Err(ShapeError::TooManyPositions);
    }
    polygon
        .coordinates
        .iter()
        .map(|ring| open_ring(ring))
        .collect()
}

/// A closed ring of GeoJSON without its repeated last position.
fn open_ring(ring: &[Vec<f64>]) -> Result<Vec<Position>, ShapeError> {
    let mut positions = Vec::with_capacity(ring.len());
    for pair in ring {
        // A third number is an altitude, which means nothing here.
        let [lon, lat, ..] = pair[..] else {
            return Err(ShapeError::NotAPolygon);
        };
        positions.push(Position::from_degrees(lat, lon)?);
    }
    let closed = positions.first() == positions.last();
    positions.pop();
    if !closed || positions.len() < 3 {
        return Err(ShapeError::Ring);
    }
    Ok(positions)
}

impl From<Shape> for ShapeJson {
    fn from(shape: Shape) -> Self {
        match shape {
            Shape::Circle { center, radius_m } => Self {
                circle: Some(CircleJson {
                    lat: center.lat(),
                    lon: center.lon(),
                    radius_m,
                }),
                polygon: None,
            },
            Shape::Polygon { rings } => {
                let closed = |ring: Vec<Position>| -> Vec<Vec<f64>> {
                    let first = ring.first().copied();
                    let all = ring.into_iter().chain(first);
                    all.map(|p| vec![p.lon(), p.lat()]).collect()
                };
                let coordinates = rings.into_iter().map(closed).collect();
                let polygon = PolygonJson {
                    kind: "Polygon".to_owned(),
                    coordinates,
                };
                Self {
                    circle: None,
                    polygon: Some(polygon),
                }
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(json: &str) -> Result<Shape, String> {
        serde_json::from_str(json).map_err(|e| e.to_string())
    }

    #[test]
    fn shapes_come_back_as_they_were_given() {
        for json in [
            r#"{"circle":{"lat":35.9,"lon":14.5,"radius_m":50.0}}"#,
            r#"{"polygon":{"type":"Polygon","coordinates":[[[14.5,35.9],[14.6,35.9],[14.6,36.0],[14.5,35.9]]]}}"#,
        ] {
            let shape = read(json).expect("a shape");
            assert_eq!(serde_json::to_string(&shape).expect("JSON"), json);
        }
    }

    #[test]
    fn what_bounds_no_area_is_refused() {
        for (json, what) in [
            (r"{}", "either"),
            (
                r#"{"circle":{"lat":35.9,"lon":14.5,"radius_m":0}}"#,
                "radius_m",
            ),
            (
                r#"{"circle":{"lat":95.9,"lon":14.5,"radius_m":1}}"#,
                "latitude",
            ),
            (
                r#"{"polygon":{"type":"Point","coordinates":[]}}"#,
                "Polygon",
            ),
            (r#"{"polygon":{"type":"Polygon","coordinates":[]}}"#, "ring"),
            (
                r#"{"polygon":{"type":"Polygon","coordinates":[[[1,1],[1,2],[2,2]]]}}"#,
                "ring",
            ),
            (
                r#"{"polygon":{"type":"Polygon","coordinates":[[[1],[1],[1],[1]]]}}"#,
                "Polygon",
            ),
        ] {
            let error = read(json).expect_err(json);
            assert!(error.contains(what), "{json}: {error}");
        }
    }
}
