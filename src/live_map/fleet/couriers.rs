//! The dispatcher's list of couriers, with where they are and what they do.

use std::collections::BinaryHeap;
use std::sync::Arc;

use axum::Json;
use axum::extract::{Query, State};
use serde::{Deserialize, Serialize};

use super::positions::ShownPosition;
use crate::domain::{Courier, CourierId, UnixMs, Vehicle};
use crate::http::{AsDispatcher, Problem};
use crate::live_map::LiveMap;
use crate::live_map::state::CourierStatus;

const DEFAULT_LIMIT: usize = 100;
const MOST_LIMIT: usize = 1_000;

/// Which couriers.
#[derive(Debug, Deserialize, utoipa::IntoParams)]
pub(crate) struct Wanted {
    /// At most so many, 100 unless given, at most 1,000.
    limit: Option<usize>,
    /// `next_cursor` of the page before.
    cursor: Option<String>,
    /// Part of the id or the name, in any case.
    q: Option<String>,
    /// Only couriers of this status: idle, to_pickup, delivering, stopped, stale or offline.
    status: Option<String>,
    /// Only couriers with this tag.
    tag: Option<String>,
}

/// A page of couriers.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Page {
    items: Vec<Item>,
    next_cursor: Option<String>,
}

/// A courier with where it is and what it does.
#[derive(Debug, Serialize, utoipa::ToSchema)]
pub(crate) struct Item {
    #[schema(value_type = String)]
    id: CourierId,
    name: Option<Box<str>>,
    vehicle: Option<Vehicle>,
    #[schema(value_type = Vec<String>)]
    tags: Box<[Box<str>]>,
    status: CourierStatus,
    on_duty: bool,
    position: Option<ShownPosition>,
    open_deliveries: usize,
}

/// What the query asks for, understood.
struct Filter {
    after: Option<CourierId>,
    q: Option<String>,
    status: Option<CourierStatus>,
    tag: Option<String>,
}

/// List couriers with position and status, by id.
#[utoipa::path(get, path = "/v1/fleet/couriers", tag = "fleet", params(Wanted),
    responses((status = 200, description = "A page", body = Page),
              (status = 422, description = "A filter that cannot be", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(crate) async fn couriers(
    State(live): State<LiveMap>,
    _staff: AsDispatcher,
    Query(wanted): Query<Wanted>,
) -> Result<Json<Page>, Problem> {
    let limit = wanted.limit.unwrap_or(DEFAULT_LIMIT);
    if !(1..=MOST_LIMIT).contains(&limit) {
        return Err(Problem::invalid(format!(
            "limit must be between 1 and {MOST_LIMIT}"
        )));
    }
    let filter = Filter::try_from(wanted)?;
    let now = live.now();
    // The first of those that fit, without sorting all of them.
    let mut first: BinaryHeap<ById> = BinaryHeap::with_capacity(limit + 2);
    for courier in live.directory().couriers() {
        if filter.fits(&courier, &live, now) {
            first.push(ById(courier));
            if first.len() > limit + 1 {
                first.pop();
            }
        }
    }
    let mut page: Vec<Arc<Courier>> = first
        .into_sorted_vec()
        .into_iter()
        .map(|ById(courier)| courier)
        .collect();
    let more = page.len() > limit;
    page.truncate(limit);
    let last = page.last().filter(|_| more);
    Ok(Json(Page {
        next_cursor: last.map(|courier| courier.id.as_str().to_owned()),
        items: page
            .iter()
            .map(|courier| item(courier, &live, now))
            .collect(),
    }))
}

/// A courier, ordered by its id.
struct ById(Arc<Courier>);

impl Ord for ById {
    fn cmp(&self, other: &Self) -> std::cmp::Ordering {
        self.0.id.cmp(&other.0.id)
    }
}

impl PartialOrd for ById {
    fn partial_cmp(&self, other: &Self) -> Option<std::cmp::Ordering> {
        Some(self.cmp(other))
    }
}

impl PartialEq for ById {
    fn eq(&self, other: &Self) -> bool {
        self.0.id == other.0.id
    }
}

impl Eq for ById {}

impl TryFrom<Wanted> for Filter {
    type Error = Problem;

    fn try_from(wanted: Wanted) -> Result<Self, Problem> {
        let unknown_status = || {
            let known = CourierStatus::ALL.map(CourierStatus::as_str).join(", ");
            Problem::invalid(format!("status must be one of {known}"))
        };
        let given = |text: Option<String>| text.filter(|t| !t.is_empty());
        Ok(Self {
            after: match given(wanted.cursor) {
                Some(id) => Some(
                    CourierId::try_from(id)
                        .map_err(|_| Problem::invalid("cursor must be a page's next_cursor"))?,
                ),
                None => None,
            },
            q: given(wanted.q).map(|q| q.to_lowercase()),
            status: match given(wanted.status) {
                Some(word) => Some(CourierStatus::parse(&word).ok_or_else(unknown_status)?),
                None => None,
            },
            tag: given(wanted.tag),
        })
    }
}

impl Filter {
    fn fits(&self, courier: &Courier, live: &LiveMap, now: UnixMs) -> bool {
        self.after.as_ref().is_none_or(|after| courier.id > *after)
            && self
                .tag
                .as_ref()
                .is_none_or(|tag| courier.tags.iter().any(|t| **t == **tag))
            && self.q.as_ref().is_none_or(|q| {
                let name = courier.name.as_deref().unwrap_or_default();
                courier.id.as_str().to_lowercase().contains(q) || name.to_lowercase().contains(q)
            })
            && self
                .status
                .is_none_or(|status| status_of(courier, live, now) == status)
    }
}

fn status_of(courier: &Courier, live: &LiveMap, now: UnixMs) -> CourierStatus {
    let known = live.state().get(&courier.id);
    known.map_or(CourierStatus::Offline, |known| {
        known.status(now, live.patience())
    })
}

fn item(courier: &Courier, live: &LiveMap, now: UnixMs) -> Item {
    let known = live.state().get(&courier.id);
    Item {
        id: courier.id.clone(),
        name: courier.name.clone(),
        vehicle: courier.vehicle,
        tags: courier.tags.clone(),
        status: status_of(courier, live, now),
        on_duty: courier.on_duty,
        position: known.map(|known| ShownPosition::of(&courier.id, &known, now)),
        open_deliveries: live.directory().run_of(&courier.id).len(),
    }
}
