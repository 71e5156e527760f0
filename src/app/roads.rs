//! The road graph: made ready before anything is served, in memory as soon as there is something to
//! deliver. A server at rest needs none of it.

use std::sync::Arc;

use tokio::sync::broadcast::error::RecvError;
use tokio_util::sync::CancellationToken;

use super::{Role, Roles};
use crate::config::Config;
use crate::directory::{Change, Directory};
use crate::domain::DeliveryId;
use crate::roads::Roads;

/// The roads, for those who tell when a courier arrives. Loaded already, if a delivery is open.
pub(super) async fn prepare(
    config: &Config,
    roles: &Roles,
    directory: &Arc<Directory>,
) -> anyhow::Result<Roads> {
    if !roles.has(Role::LiveMap) && !roles.has(Role::Notifications) {
        return Ok(Roads::none());
    }
    let (settings, cache) = (config.roads.clone(), config.data_dir.join("roads"));
    let needed = any_open(directory);
    let prepare = if needed { Roads::open } else { Roads::prepare };
    tokio::task::spawn_blocking(move || prepare(&settings, &cache)).await?
}

/// Loads them with the first delivery, so that hardly any query has to wait for it.
pub(super) async fn load_when_needed(
    roads: Roads,
    directory: Arc<Directory>,
    stop: CancellationToken,
) -> anyhow::Result<()> {
    let mut changes = directory.changes();
    let mut needed = any_open(&directory);
    while !needed {
        let change = tokio::select! {
            () = stop.cancelled() => return Ok(()),
            change = changes.recv() => change,
        };
        needed = match change {
            Ok(Change::Delivery(id)) => is_open(&directory, &id),
            Ok(Change::Everything) | Err(RecvError::Lagged(_)) => any_open(&directory),
            Ok(_) => false,
            Err(RecvError::Closed) => return Ok(()),
        };
    }
    tokio::task::spawn_blocking(move || roads.load()).await?;
    Ok(())
}

fn any_open(directory: &Directory) -> bool {
    let deliveries = directory.deliveries();
    deliveries.iter().any(|delivery| delivery.status.is_open())
}

fn is_open(directory: &Directory, id: &DeliveryId) -> bool {
    let delivery = directory.delivery(id);
    delivery.is_some_and(|delivery| delivery.status.is_open())
}
