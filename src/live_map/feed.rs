//! What the Directory tells: deliveries, couriers and links that changed.
//!
//! Turns each change into what follows from it: the courier's work on the fleet channel, the
//! customers who must be told, the sessions that may not stay.

use rustc_hash::FxHashMap;
use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::LiveMap;
use super::state::Work;
use crate::directory::Change;
use crate::domain::{CourierId, DeliveryId};

/// Who has which open delivery, as far as it was told: when one changes hands, both are concerned.
type Holders = FxHashMap<DeliveryId, CourierId>;

/// Follows the Directory until `stop`.
pub(super) async fn run(live: LiveMap, stop: CancellationToken) -> anyhow::Result<()> {
    let mut changes = live.directory().changes();
    let mut holders = Holders::default();
    everything(&live, &mut holders);
    loop {
        let change = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            change = changes.recv() => change,
        };
        match change {
            Ok(change) => apply(&live, &mut holders, change),
            // What was missed is anything.
            Err(RecvError::Lagged(_)) => everything(&live, &mut holders),
            Err(RecvError::Closed) => return Ok(()),
        }
    }
}

fn apply(live: &LiveMap, holders: &mut Holders, change: Change) {
    match change {
        Change::Delivery(id) => {
            let delivery = live.directory().delivery(&id);
            let open = delivery.filter(|d| d.status.is_open());
            let holder = open.and_then(|d| d.courier_id.clone());
            let before = match &holder {
                Some(courier) => holders.insert(id.clone(), courier.clone()),
                None => holders.remove(&id),
            };
            if let Some(before) = before.filter(|b| Some(b) != holder.as_ref()) {
                refresh_work(live, &before);
                live.tracks().wake_courier(before.as_str());
            }
            if let Some(courier) = holder {
                refresh_work(live, &courier);
            }
            live.tracks().wake_delivery(&id);
        }
        Change::Courier(id) => {
            if live.directory().courier(&id).is_none() {
                live.state().forget(&id);
            } else {
                refresh_work(live, &id);
            }
            live.tracks().wake_courier(id.as_str());
        }
        Change::Link(id) => live.tracks().wake_link(&id),
        Change::ApiKey(_) | Change::Session(_) => live.hub().wake_all(),
        Change::Erased(id) => {
            live.state().forget(&id);
            live.tracks().wake_courier(id.as_str());
        }
        Change::Device(_) | Change::Geofence(_) => {}
        Change::Everything => everything(live, holders),
    }
}

/// Looks at the whole Directory again.
pub(super) fn everything(live: &LiveMap, holders: &mut Holders) {
    let directory = live.directory();
    holders.clear();
    for delivery in directory.deliveries() {
        if let (true, Some(courier)) = (delivery.status.is_open(), &delivery.courier_id) {
            holders.insert(delivery.id.clone(), courier.clone());
        }
    }
    if !directory.couriers().is_empty() {
        // An empty Directory has not been filled yet: it knows nobody, and says nothing.
        live.state().retain(|id| directory.courier(id).is_some());
    }
    for id in live.state().ids() {
        refresh_work(live, &id);
    }
    live.tracks().wake_all();
    live.hub().wake_all();
}

/// Asks the Directory again what the courier has to do.
pub(super) fn refresh_work(live: &LiveMap, id: &CourierId) {
    let directory = live.directory();
    let run = directory.run_of(id);
    let work = if run.iter().any(|d| d.status.is_under_way()) {
        Work::Delivering
    } else if run.is_empty() {
        Work::None
    } else {
        Work::ToPickup
    };
    let on_duty = directory.courier(id).is_none_or(|courier| courier.on_duty);
    live.state().set_work(id, work, on_duty);
}
