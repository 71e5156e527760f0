//! `GET /v1/heatmap`: where the fleet was, as H3 cells.
//!
//! Counted from the couriers' shares of each hour, courier by courier, since the same courier in two
//! hours or two small cells is still one courier.

use std::collections::BTreeMap;
use std::ops::RangeInclusive;

use axum::Json;
use axum::extract::State;
use futures_util::TryStreamExt;
use h3o::{CellIndex, LatLng, Resolution};
use rustc_hash::{FxHashMap, FxHashSet};
use serde::Serialize;
use sqlx::PgPool;
use utoipa::ToSchema;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::columns::DAY_MS;
use super::derive::heat::{RESOLUTION, ShareRow, Tally};
use super::range::TimeRange;
use crate::http::{ApiQuery, AsAnalyst, Problem};

/// Coarsest resolution that may be asked for: cells of about 12,000 km².
const COARSEST: u8 = 3;
/// Resolution without `res`: about 0.7 km².
const USUAL: u8 = 8;
/// Longest range.
const MOST_DAYS: i64 = 31;
/// Most cells in an answer.
const MOST_CELLS: usize = 50_000;

pub(super) fn routes(pool: PgPool) -> OpenApiRouter {
    OpenApiRouter::new()
        .routes(routes!(heatmap))
        .with_state(pool)
}

#[derive(Debug, serde::Deserialize, utoipa::IntoParams)]
#[into_params(parameter_in = Query)]
struct HeatQuery {
    /// H3 resolution, 3 to 9; 8 unless said.
    res: Option<String>,
    /// First hour, RFC 3339 or a date (UTC).
    from: Option<String>,
    /// Hour before which it ends, RFC 3339 or a date (UTC); at most 31 days after `from`.
    to: Option<String>,
    /// west,south,east,north in degrees; west may be greater than east, across the antimeridian.
    bbox: Option<String>,
    /// Only this hour of the day, 0 to 23.
    hour: Option<String>,
    /// Only this day of the week, 1 (Monday) to 7.
    weekday: Option<String>,
    /// Time zone of `hour` and `weekday`, as in Europe/Malta; UTC unless said.
    tz: Option<String>,
}

/// A GeoJSON FeatureCollection of H3 cells.
#[derive(Debug, Serialize, ToSchema)]
struct Heatmap {
    r#type: &'static str,
    features: Vec<Feature>,
}

#[derive(Debug, Serialize, ToSchema)]
struct Feature {
    r#type: &'static str,
    geometry: Geometry,
    properties: Properties,
}

#[derive(Debug, Serialize, ToSchema)]
struct Geometry {
    r#type: &'static str,
    coordinates: [Vec<[f64; 2]>; 1],
}

#[derive(Debug, Serialize, ToSchema)]
struct Properties {
    /// H3 index.
    cell: String,
    fixes: i64,
    couriers: u32,
    /// Mean of the reported speeds; null where none was reported.
    mean_speed_mps: Option<f64>,
}

/// Where couriers were, as H3 cells with fixes, couriers and mean speed
///
/// Whole hours: those that begin in the range. Follows new fixes within a minute.
#[utoipa::path(get, path = "/v1/heatmap", tag = "analytics", params(HeatQuery),
    responses((status = 200, body = Heatmap, content_type = "application/geo+json"),
        (status = 422, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
async fn heatmap(
    _: AsAnalyst,
    State(pool): State<PgPool>,
    ApiQuery(query): ApiQuery<HeatQuery>,
) -> Result<([(axum::http::HeaderName, &'static str); 1], Json<Heatmap>), Problem> {
    let resolution = resolution(query.res.as_deref())?;
    let range = TimeRange::parse(query.from.as_deref(), query.to.as_deref())?;
    if range.to.since(range.from) > MOST_DAYS * DAY_MS {
        return Err(Problem::invalid(
            "give `from` and `to` at most 31 days apart",
        ));
    }
    let bbox = query.bbox.as_deref().filter(|b| !b.is_empty());
    let bbox = bbox.map(Bbox::parse).transpose()?;
    let hour = number("hour", query.hour.as_deref(), 0..=23)?;
    let weekday = number("weekday", query.weekday.as_deref(), 1..=7)?;
    let zone = query.tz.filter(|tz| !tz.is_empty());
    let mut cells = Cells::new(resolution, bbox);
    let mut rows = sqlx::query_as::<_, CourierShare>(
        "select courier_id, cells, fixes, speed_fixes, speed_sum_cmps from analytics.heat_share \
          where hour >= $1 and hour < $2 \
            and ($3::int is null or extract(hour from hour at time zone $5) = $3) \
            and ($4::int is null or extract(isodow from hour at time zone $5) = $4) \
          order by courier_id",
    )
    .bind(range.from.to_datetime())
    .bind(range.to.to_datetime())
    .bind(hour)
    .bind(weekday)
    .bind(zone.as_deref().unwrap_or("UTC"))
    .fetch(&pool);
    while let Some(row) = rows.try_next().await.map_err(refused)? {
        cells.add(&row);
    }
    let features = cells.finish();
    if features.len() > MOST_CELLS {
        return Err(Problem::invalid(
            "more than 50,000 cells: ask for a smaller `bbox` or a coarser `res`",
        ));
    }
    let kind = [(axum::http::header::CONTENT_TYPE, "application/geo+json")];
    let r#type = "FeatureCollection";
    Ok((kind, Json(Heatmap { r#type, features })))
}

#[derive(sqlx::FromRow)]
struct CourierShare {
    courier_id: String,
    #[sqlx(flatten)]
    share: ShareRow,
}

/// Cells counted so far.
struct Cells {
    resolution: Resolution,
    bbox: Option<Bbox>,
    /// Stored cell to the cell asked for; `None` outside of the box.
    known: FxHashMap<u64, Option<CellIndex>>,
    counted: BTreeMap<CellIndex, (Tally, u32)>,
    courier: String,
    /// Where the courier at hand was.
    visited: FxHashSet<CellIndex>,
}

impl Cells {
    fn new(resolution: Resolution, bbox: Option<Bbox>) -> Self {
        Self {
            resolution,
            bbox,
            known: FxHashMap::default(),
            counted: BTreeMap::new(),
            courier: String::new(),
            visited: FxHashSet::default(),
        }
    }

    /// Adds a courier's hour; all hours of a courier come together.
    fn add(&mut self, row: &CourierShare) {
        if row.courier_id != self.courier {
            self.count_courier();
            self.courier.clone_from(&row.courier_id);
        }
        for (stored, tally) in row.share.tallies() {
            let (resolution, bbox) = (self.resolution, &self.bbox);
            let cell = self.known.entry(stored).or_insert_with(|| {
                let cell = CellIndex::try_from(stored).ok()?.parent(resolution)?;
                let inside = bbox.as_ref().is_none_or(|bbox| bbox.holds(cell.into()));
                inside.then_some(cell)
            });
            if let Some(cell) = *cell {
                let counted = self.counted.entry(cell).or_default();
                counted.0 = counted.0.plus(tally, 1);
                self.visited.insert(cell);
            }
        }
    }

    fn count_courier(&mut self) {
        for cell in self.visited.drain() {
            if let Some(counted) = self.counted.get_mut(&cell) {
                counted.1 += 1;
            }
        }
    }

    fn finish(mut self) -> Vec<Feature> {
        self.count_courier();
        self.counted
            .into_iter()
            .map(|(cell, (tally, couriers))| feature(cell, tally, couriers))
            .collect()
    }
}

fn feature(cell: CellIndex, tally: Tally, couriers: u32) -> Feature {
    let mut ring: Vec<[f64; 2]> = cell
        .boundary()
        .iter()
        .map(|at| [at.lng(), at.lat()])
        .collect();
    // A cell across the antimeridian is drawn on one side of it, as RFC 7946 wants no ring around
    // the world.
    let middle = LatLng::from(cell).lng();
    for vertex in &mut ring {
        vertex[0] += ((middle - vertex[0]) / 360.0).round() * 360.0;
    }
    ring.extend(ring.first().copied());
    let mean = tally.speed_sum_cmps as f64 / 100.0 / tally.speed_fixes as f64;
    Feature {
        r#type: "Feature",
        geometry: Geometry {
            r#type: "Polygon",
            coordinates: [ring],
        },
        properties: Properties {
            cell: cell.to_string(),
            fixes: tally.fixes,
            couriers,
            mean_speed_mps: (tally.speed_fixes > 0).then_some(mean),
        },
    }
}

/// A box in degrees.
#[derive(Debug, Clone, Copy, PartialEq)]
struct Bbox {
    west: f64,
    south: f64,
    east: f64,
    north: f64,
}

impl Bbox {
    fn parse(text: &str) -> Result<Self, Problem> {
        let wrong = || {
            Problem::invalid(
                "`bbox` must be west,south,east,north in degrees, as in 14.1,35.7,14.6,36.1",
            )
        };
        let numbers: Result<Vec<f64>, _> = text.split(',').map(|n| n.trim().parse()).collect();
        let numbers = numbers.map_err(|_| wrong())?;
        let [west, south, east, north] = *numbers.as_slice() else {
            return Err(wrong());
        };
        let in_range = |n: f64, most: f64| (-most..=most).contains(&n);
        // Maps that were turned around the world ask beyond ±180°.
        let fine = in_range(west, 540.0)
            && in_range(east, 540.0)
            && in_range(south, 90.0)
            && in_range(north, 90.0)
            && south <= north;
        if !fine {
            return Err(wrong());
        }
        Ok(Self {
            west,
            south,
            east,
            north,
        })
    }

    fn holds(&self, at: LatLng) -> bool {
        let width = if self.east - self.west >= 360.0 {
            360.0
        } else {
            (self.east - self.west).rem_euclid(360.0)
        };
        let from_west = (at.lng() - self.west).rem_euclid(360.0);
        (self.south..=self.north).contains(&at.lat()) && from_west <= width
    }
}

fn resolution(text: Option<&str>) -> Result<Resolution, Problem> {
    let number = match text.filter(|text| !text.is_empty()) {
        Some(text) => text.parse().ok(),
        None => Some(USUAL),
    };
    let finest = u8::from(RESOLUTION);
    let number = number.filter(|n| (COARSEST..=finest).contains(n));
    let resolution = number.and_then(|n| Resolution::try_from(n).ok());
    resolution.ok_or_else(|| Problem::invalid("`res` must be an H3 resolution from 3 to 9"))
}

fn number(
    name: &str,
    text: Option<&str>,
    allowed: RangeInclusive<i32>,
) -> Result<Option<i32>, Problem> {
    let Some(text) = text.filter(|text| !text.is_empty()) else {
        return Ok(None);
    };
    let number = text.parse().ok().filter(|n| allowed.contains(n));
    let (first, last) = (allowed.start(), allowed.end());
    let wrong = || Problem::invalid(format!("`{name}` must be from {first} to {last}"));
    number.ok_or_else(wrong).map(Some)
}

/// Postgres knows which time zones there are.
fn refused(error: sqlx::Error) -> Problem {
    let code = error.as_database_error().and_then(|e| e.code());
    match code.as_deref() {
        Some("22023") => Problem::invalid("`tz` must be a time zone as in Europe/Malta"),
        _ => error.into(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(lat: f64, lon: f64) -> LatLng {
        LatLng::new(lat, lon).expect("a place")
    }

    #[test]
    fn a_box_may_lie_across_the_antimeridian() {
        let fiji = Bbox::parse("177,-19,-178,-16").expect("a box");
        assert!(fiji.holds(at(-17.0, 179.0)) && fiji.holds(at(-17.0, -179.0)));
        assert!(!fiji.holds(at(-17.0, 0.0)) && !fiji.holds(at(0.0, 179.0)));
        let same = Bbox::parse("177,-19,182,-16").expect("a box");
        assert!(same.holds(at(-17.0, -179.0)) && !same.holds(at(-17.0, -177.0)));
        let world = Bbox::parse("-180,-90,180,90").expect("a box");
        assert!(world.holds(at(10.0, 10.0)));
        for wrong in ["1,2,3", "a,b,c,d", "0,50,1,40", "0,0,0,91", "NaN,0,1,1"] {
            assert_eq!(Bbox::parse(wrong).expect_err(wrong).status, 422);
        }
    }

    #[test]
    fn cells_across_the_antimeridian_stay_on_one_side() {
        let cell = at(0.0, 179.999).to_cell(Resolution::Five);
        let drawn = feature(cell, Tally::default(), 1);
        let lons: Vec<f64> = drawn.geometry.coordinates[0].iter().map(|v| v[0]).collect();
        let (least, most) = lons
            .iter()
            .fold((f64::MAX, f64::MIN), |m, l| (m.0.min(*l), m.1.max(*l)));
        assert!(most - least < 1.0);
        assert_eq!(lons.first(), lons.last());
    }

    #[test]
    fn a_courier_counts_once_however_many_hours_and_small_cells() {
        let small: Vec<u64> = (0..3)
            .map(|n| {
                at(35.9, 14.5 + f64::from(n) * 0.003)
                    .to_cell(RESOLUTION)
                    .into()
            })
            .collect();
        let row = |courier: &str| CourierShare {
            courier_id: courier.to_owned(),
            share: ShareRow {
                cells: small.iter().map(|c| c.cast_signed()).collect(),
                fixes: vec![2; 3],
                speed_fixes: vec![1; 3],
                speed_sum_cmps: vec![500; 3],
            },
        };
        let mut cells = Cells::new(Resolution::Five, None);
        for courier in ["a", "a", "b"] {
            cells.add(&row(courier));
        }
        let features = cells.finish();
        let total: i64 = features.iter().map(|f| f.properties.fixes).sum();
        assert_eq!(total, 18);
        assert!(features.iter().all(|f| f.properties.couriers == 2));
        assert!(
            features
                .iter()
                .all(|f| f.properties.mean_speed_mps == Some(5.0))
        );
    }
}
