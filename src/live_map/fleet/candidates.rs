//! Who could take a delivery: the free ones first, the nearest to its pick-up by road.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, Query, State};
use serde::{Deserialize, Serialize};

use crate::domain::{Courier, CourierId, DeliveryId, Position, UnixMs, Vehicle, geo};
use crate::http::{AsDispatcher, Problem};
use crate::live_map::LiveMap;
use crate::live_map::state::CourierStatus;

const DEFAULT_LIMIT: usize = 20;
const MOST_LIMIT: usize = 100;
/// Routes are computed for so many, the free ones first and the nearest of them by straight line, so
/// that a large fleet costs no more than that.
const MOST_ROUTES: usize = 200;

/// How many.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(crate) struct Wanted {
    /// At most so many, 20 unless given, at most 100.
    limit: Option<usize>,
}

/// Who could take it, best first.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Candidates {
    items: Vec<Candidate>,
}

/// A courier who is on duty and not offline.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Candidate {
    #[schema(value_type = String)]
    courier_id: CourierId,
    name: Option<Box<str>>,
    vehicle: Option<Vehicle>,
    /// Seconds to the pick-up with this vehicle by road; none where no road is known.
    travel_s: Option<i64>,
    /// Metres to the pick-up: by road, or else in a straight line.
    distance_m: i64,
    open_deliveries: usize,
}

/// A courier before its way is known.
struct Near {
    courier: Arc<Courier>,
    position: Position,
    straight_m: f64,
    open_deliveries: usize,
}

/// List couriers who could take a delivery, free ones first, the nearest to the pick-up by road first.
#[utoipa::path(get, path = "/v1/deliveries/{id}/candidates", tag = "deliveries",
    params(("id" = String, Path, description = "The delivery"), Wanted),
    responses((status = 200, description = "Who could take it", body = Candidates),
              (status = 404, description = "No such delivery that is open", body = Problem),
              (status = 422, description = "More than 100", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(crate) async fn candidates(
    State(live): State<LiveMap>,
    _staff: AsDispatcher,
    Path(id): Path<String>,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Candidates>, Problem> {
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MOST_LIMIT).contains(&limit) {
        return Err(Problem::invalid(format!(
            "limit must be between 1 and {MOST_LIMIT}"
        )));
    }
    let id = DeliveryId::try_from(id).ok();
    let delivery = id.and_then(|id| live.directory().delivery(&id));
    let delivery = delivery
        .filter(|delivery| delivery.status.is_open())
        .ok_or_else(|| Problem::not_found("this open delivery"))?;
    let pickup = delivery.pickup.position;
    let mut near = near(&live, pickup, live.now());
    near.sort_by(|a, b| {
        let busy = |one: &Near| one.open_deliveries > 0;
        (busy(a).cmp(&busy(b))).then(a.straight_m.total_cmp(&b.straight_m))
    });
    near.truncate(MOST_ROUTES);
    let mut items: Vec<Candidate> = near
        .into_iter()
        .map(|one| candidate(&live, one, pickup))
        .collect();
    items.sort_by_key(|one| {
        let far = (one.travel_s.is_none(), one.travel_s, one.distance_m);
        (one.open_deliveries > 0, far)
    });
    items.truncate(limit);
    Ok(Json(Candidates { items }))
}

/// Everybody on duty who is heard of.
fn near(live: &LiveMap, pickup: Position, now: UnixMs) -> Vec<Near> {
    let known = |courier: Arc<Courier>| {
        let known = live.state().get(&courier.id)?;
        let away = known.status(now, live.patience()) == CourierStatus::Offline;
        let position = known.fix.position;
        (courier.on_duty && !away).then(|| Near {
            position,
            straight_m: geo::distance_m(position, pickup),
            open_deliveries: live.directory().run_of(&courier.id).len(),
            courier,
        })
    };
    let couriers = live.directory().couriers();
    couriers.into_iter().filter_map(known).collect()
}

fn candidate(live: &LiveMap, near: Near, pickup: Position) -> Candidate {
    let vehicle = near.courier.vehicle;
    let travel = live.roads().travel(near.position, pickup, vehicle);
    let (travel_s, distance_m) = match travel.by_road {
        true => (Some(travel.duration_s.round() as i64), travel.distance_m),
        false => (None, near.straight_m),
    };
    Candidate {
        courier_id: near.courier.id.clone(),
        name: near.courier.name.clone(),
        vehicle,
        travel_s,
        distance_m: distance_m.round() as i64,
        open_deliveries: near.open_deliveries,
    }
}
