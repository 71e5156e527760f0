//! What a dispatcher must look at first: deliveries that nobody has or that will be late, couriers
//! with work who have gone quiet, alarms.

use std::sync::Arc;

use axum::Json;
use axum::extract::State;
use parking_lot::Mutex;
use serde::Serialize;

use crate::domain::eta::Pace;
use crate::domain::{CourierId, Delivery, DeliveryId, DeliveryStatus, UnixMs};
use crate::http::{AsDispatcher, Problem};
use crate::live_map::LiveMap;
use crate::live_map::eta;
use crate::live_map::state::{CourierStatus, Live, Work};
use crate::roads::Roads;

/// The list is thought over at most this often, however many ask, milliseconds.
const EVERY_MS: i64 = 2_000;
/// Most items; those of the first kinds come first.
const MOST_ITEMS: usize = 500;
/// An alarm asks for attention this long, milliseconds.
const SOS_FOR_MS: i64 = 30 * 60_000;

/// Why something asks for attention, the most urgent first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, utoipa::ToSchema)]
#[serde(rename_all = "snake_case")]
pub(crate) enum Kind {
    /// The courier pressed the alarm.
    Sos,
    /// The delivery is or will be late.
    Late,
    /// Nobody has the delivery.
    Unassigned,
    /// A courier with work has not been heard of.
    Quiet,
}

/// One matter.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, utoipa::ToSchema)]
pub(crate) struct Matter {
    kind: Kind,
    /// Since when; for what will be late, when it will have been due.
    #[schema(value_type = String, format = DateTime)]
    since: UnixMs,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    courier_id: Option<CourierId>,
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schema(value_type = Option<String>)]
    delivery_id: Option<DeliveryId>,
    /// What people call the courier.
    #[serde(skip_serializing_if = "Option::is_none")]
    courier_name: Option<Box<str>>,
    /// What people call the delivery: where it goes, else its reference.
    #[serde(skip_serializing_if = "Option::is_none")]
    delivery_label: Option<Box<str>>,
    /// What a person would say.
    text: String,
}

/// All matters, the most urgent and the longest standing first.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub(crate) struct Attention {
    #[schema(value_type = Vec<Matter>)]
    items: Arc<[Matter]>,
}

/// The list as it was last thought over.
#[derive(Debug, Default)]
pub(super) struct Noted(Mutex<Option<(UnixMs, Attention)>>);

/// What to look at first.
#[utoipa::path(get, path = "/v1/fleet/attention", tag = "fleet",
    responses((status = 200, description = "The most urgent first", body = Attention),
              (status = 401, description = "No credential", body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(crate) async fn attention(
    State(live): State<LiveMap>,
    _staff: AsDispatcher,
) -> Json<Attention> {
    let now = live.now();
    let mut noted = live.fleet().noted.0.lock();
    match &*noted {
        Some((at, list)) if (0..EVERY_MS).contains(&now.since(*at)) => Json(list.clone()),
        _ => {
            let list = Attention {
                items: matters(&live, now).into(),
            };
            *noted = Some((now, list.clone()));
            Json(list)
        }
    }
}

fn matters(live: &LiveMap, now: UnixMs) -> Vec<Matter> {
    let mut matters = Vec::new();
    live.state().scan(|slot| {
        let known = slot.live();
        matters.extend(sos(slot.id(), known, now));
        matters.extend(quiet(slot.id(), known, live, now));
    });
    for delivery in live.directory().deliveries() {
        matters.extend(unassigned(&delivery, now));
        matters.extend(late(&delivery, live, now));
    }
    matters.sort_unstable_by_key(|matter| (matter.kind, matter.since));
    matters.truncate(MOST_ITEMS);
    for matter in &mut matters {
        matter.courier_name = matter
            .courier_id
            .as_ref()
            .and_then(|id| live.directory().courier(id)?.name.clone());
    }
    matters
}

/// What a dispatcher calls a delivery.
fn label(delivery: &Delivery) -> Option<Box<str>> {
    let label = delivery.dropoff.label.as_ref();
    label.or(delivery.reference.as_ref()).cloned()
}

fn sos(id: &CourierId, known: &Live, now: UnixMs) -> Option<Matter> {
    let since = Some(known.sos_at).filter(|at| now.since(*at) < SOS_FOR_MS)?;
    Some(Matter {
        kind: Kind::Sos,
        since,
        courier_id: Some(id.clone()),
        delivery_id: None,
        courier_name: None,
        delivery_label: None,
        text: "Pressed the alarm".into(),
    })
}

fn quiet(id: &CourierId, known: &Live, live: &LiveMap, now: UnixMs) -> Option<Matter> {
    let silent = matches!(
        known.status(now, live.patience()),
        CourierStatus::Stale | CourierStatus::Offline
    );
    if known.work == Work::None || !known.on_duty || !silent {
        return None;
    }
    let minutes = now.since(known.placed_at()) / 60_000;
    Some(Matter {
        kind: Kind::Quiet,
        since: known.placed_at(),
        courier_id: Some(id.clone()),
        delivery_id: None,
        courier_name: None,
        delivery_label: None,
        text: match minutes {
            0 => "Quiet for less than a minute".into(),
            minutes => format!("Quiet for {minutes} min"),
        },
    })
}

fn unassigned(delivery: &Delivery, now: UnixMs) -> Option<Matter> {
    if delivery.status != DeliveryStatus::Created || delivery.courier_id.is_some() {
        return None;
    }
    let created = delivery.timeline.first().map(|step| step.at);
    Some(Matter {
        kind: Kind::Unassigned,
        since: created.or(delivery.window.map(|w| w.from)).unwrap_or(now),
        courier_id: None,
        delivery_id: Some(delivery.id.clone()),
        courier_name: None,
        delivery_label: label(delivery),
        text: "Nobody has it yet".into(),
    })
}

fn late(delivery: &Delivery, live: &LiveMap, now: UnixMs) -> Option<Matter> {
    let promised = delivery.window?.to;
    if !delivery.status.is_open() {
        return None;
    }
    let text = if now > promised {
        format!("Late for {} min", (now.since(promised) / 60_000).max(1))
    } else {
        // Only when even the hopeful end of the range is too late.
        let expected = expected(delivery, live, now).filter(|eta| eta.from > promised)?;
        format!(
            "Will be late by {} min or more",
            expected.from.since(promised) / 60_000 + 1
        )
    };
    Some(Matter {
        kind: Kind::Late,
        since: promised,
        courier_id: delivery.courier_id.clone(),
        delivery_id: Some(delivery.id.clone()),
        courier_name: None,
        delivery_label: label(delivery),
        text,
    })
}

/// A rough range, from straight lines: this is asked of every open delivery.
fn expected(delivery: &Delivery, live: &LiveMap, now: UnixMs) -> Option<eta::EtaRange> {
    let id = delivery.courier_id.as_ref()?;
    let known = live.state().get(id)?;
    let run = live.directory().run_of(id);
    let stops = eta::stops_until(run.iter().map(|open| &**open), delivery);
    let vehicle = live
        .directory()
        .courier(id)
        .and_then(|courier| courier.vehicle);
    eta::expect(
        &Roads::none(),
        &known,
        &stops,
        vehicle,
        &mut Pace::default(),
        now,
    )
}
