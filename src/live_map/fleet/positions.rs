//! Where couriers are, over plain HTTP.

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};

use super::view::Bbox;
use crate::domain::{CourierId, UnixMs};
use crate::http::{AsDispatcher, Problem};
use crate::live_map::LiveMap;
use crate::live_map::state::{CourierStatus, LONGEST_S, Live};

/// Most couriers in one answer.
const MOST_FEATURES: usize = 20_000;
/// A trail goes back this far unless told otherwise, minutes.
const DEFAULT_MINUTES: u32 = 30;

/// A courier's newest fix.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct ShownPosition {
    #[schema(value_type = String)]
    courier_id: CourierId,
    lat: f64,
    lon: f64,
    /// The phone's GPS time.
    #[schema(value_type = String, format = DateTime)]
    fix_time: UnixMs,
    /// When it came to us.
    #[schema(value_type = String, format = DateTime)]
    received_at: UnixMs,
    accuracy_m: Option<f32>,
    speed_mps: Option<f32>,
    heading_deg: Option<f32>,
    /// Seconds since the fix.
    age_s: i64,
}

impl ShownPosition {
    pub(super) fn of(courier_id: &CourierId, live: &Live, now: UnixMs) -> Self {
        Self {
            courier_id: courier_id.clone(),
            lat: live.fix.position.lat(),
            lon: live.fix.position.lon(),
            fix_time: live.fix.fix_time,
            received_at: live.received_at,
            accuracy_m: live.fix.accuracy_m,
            speed_mps: live.fix.speed_mps,
            heading_deg: live.fix.heading_deg,
            age_s: now.since(live.live_time()).max(0) / 1000,
        }
    }
}

/// Where a courier is.
#[utoipa::path(get, path = "/v1/couriers/{id}/position", tag = "couriers",
    params(("id" = String, Path, description = "The courier")),
    responses((status = 200, description = "The newest fix", body = ShownPosition),
              (status = 404, description = "No such courier, or no fix yet", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(crate) async fn position(
    State(live): State<LiveMap>,
    _staff: AsDispatcher,
    Path(id): Path<String>,
) -> Result<Json<ShownPosition>, Problem> {
    let id = courier_id(&id)?;
    let known = live.state().get(&id);
    let known = known.ok_or_else(|| Problem::not_found("a position of this courier"))?;
    Ok(Json(ShownPosition::of(&id, &known, live.now())))
}

/// An id from a path; one that cannot exist does not.
fn courier_id(id: &str) -> Result<CourierId, Problem> {
    CourierId::try_from(id).map_err(|_| Problem::not_found("this courier"))
}

/// Which part of the earth.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(crate) struct InBbox {
    /// west,south,east,north in degrees; the whole earth without.
    bbox: Option<String>,
}

/// GeoJSON of positions.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct FeatureCollection {
    r#type: &'static str,
    features: Vec<Feature>,
    /// There are more; ask for a smaller bbox.
    truncated: bool,
}

/// One courier.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Feature {
    r#type: &'static str,
    geometry: Point,
    properties: Properties,
}

/// Where.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Point {
    r#type: &'static str,
    /// Longitude, latitude.
    coordinates: [f64; 2],
}

/// Who, and since when.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Properties {
    status: CourierStatus,
    #[serde(flatten)]
    position: ShownPosition,
}

/// Where everybody is, as GeoJSON.
///
/// At most 20,000 couriers; `truncated` says whether there are more.
#[utoipa::path(get, path = "/v1/fleet/positions", tag = "fleet", params(InBbox),
    responses((status = 200, description = "A feature a courier", body = FeatureCollection),
              (status = 422, description = "No such bbox", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(crate) async fn positions(
    State(live): State<LiveMap>,
    _staff: AsDispatcher,
    Query(wanted): Query<InBbox>,
) -> Result<Json<FeatureCollection>, Problem> {
    let bbox: Option<Bbox> = match &wanted.bbox {
        Some(text) => Some(text.parse().map_err(|e| Problem::invalid(format!("{e}")))?),
        None => None,
    };
    let now = live.now();
    let mut features = Vec::new();
    let mut truncated = false;
    live.state().scan(|slot| {
        let known = slot.live();
        if bbox.is_some_and(|bbox| !bbox.contains(known.fix.position)) {
            return;
        }
        if features.len() >= MOST_FEATURES {
            truncated = true;
            return;
        }
        let position = ShownPosition::of(slot.id(), known, now);
        features.push(Feature {
            r#type: "Feature",
            geometry: Point {
                r#type: "Point",
                coordinates: [position.lon, position.lat],
            },
            properties: Properties {
                status: known.status(now, live.patience()),
                position,
            },
        });
    });
    Ok(Json(FeatureCollection {
        r#type: "FeatureCollection",
        features,
        truncated,
    }))
}

/// How far back.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(crate) struct Back {
    /// Minutes, 30 unless given, at most 120.
    minutes: Option<u32>,
}

/// GeoJSON of a trail.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Trail {
    r#type: &'static str,
    /// None where there is no way yet.
    geometry: Option<LineString>,
    properties: TrailProperties,
}

/// The way.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct LineString {
    r#type: &'static str,
    /// Longitude and latitude of each corner, oldest first; two at least.
    coordinates: Vec<[f64; 2]>,
}

/// Whose way, and when.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct TrailProperties {
    #[schema(value_type = String)]
    courier_id: CourierId,
    /// When the courier was at each corner.
    #[schema(value_type = Vec<String>)]
    fix_times: Vec<UnixMs>,
}

/// Where a courier came along.
///
/// A GeoJSON feature with a thinned line; for every fix there is `/v1/couriers/{id}/fixes`.
#[utoipa::path(get, path = "/v1/couriers/{id}/trail", tag = "couriers",
    params(("id" = String, Path, description = "The courier"), Back),
    responses((status = 200, description = "The way", body = Trail),
              (status = 404, description = "No such courier, or no fix yet", body = Problem),
              (status = 422, description = "More than 120 minutes", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(crate) async fn trail(
    State(live): State<LiveMap>,
    _staff: AsDispatcher,
    Path(id): Path<String>,
    Query(back): Query<Back>,
) -> Result<Json<Trail>, Problem> {
    let id = courier_id(&id)?;
    let most = LONGEST_S / 60;
    let minutes = back.minutes.unwrap_or(DEFAULT_MINUTES);
    if !(1..=most).contains(&minutes) {
        return Err(Problem::invalid(format!(
            "minutes must be between 1 and {most}"
        )));
    }
    let known = live.state().get(&id);
    let known = known.ok_or_else(|| Problem::not_found("a position of this courier"))?;
    let from = live.now().plus_ms(-i64::from(minutes) * 60_000);
    let corners = live.state().trail(&id, from);
    let mut coordinates: Vec<[f64; 2]> = corners
        .iter()
        .map(|corner| [corner.position.lon(), corner.position.lat()])
        .collect();
    let mut fix_times: Vec<UnixMs> = corners
        .iter()
        .map(|corner| UnixMs(i64::from(corner.at_s) * 1000))
        .collect();
    let end = [known.fix.position.lon(), known.fix.position.lat()];
    if known.fix.fix_time >= from && coordinates.last() != Some(&end) {
        coordinates.push(end);
        fix_times.push(known.fix.fix_time);
    }
    Ok(Json(Trail {
        r#type: "Feature",
        geometry: (coordinates.len() > 1).then_some(LineString {
            r#type: "LineString",
            coordinates,
        }),
        properties: TrailProperties {
            courier_id: id,
            fix_times,
        },
    }))
}
