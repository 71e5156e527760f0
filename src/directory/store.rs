//! The maps themselves, and the feed of what changes in them.

use std::sync::Arc;

use parking_lot::RwLock;
use rustc_hash::FxHashMap;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::watched::Watched;
use super::{ApiKey, Device, Link, PreviousStop, Run, TokenHash};
use crate::domain::{
    Courier, CourierId, Delivery, DeliveryId, DeliveryStatus, Geofence, GeofenceId, UnixMs,
};

/// Changes a slow listener may be behind before it must look at everything again.
const CHANGES_KEPT: usize = 4096;

/// Something in the Directory is not what it was. The new state is asked for, not carried.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Change {
    /// A courier was added, changed or removed.
    Courier(CourierId),
    /// A device was added, changed or revoked.
    Device(Uuid),
    /// A delivery was added, changed or removed.
    Delivery(DeliveryId),
    /// A link was added, changed or revoked.
    Link(Uuid),
    /// A geofence was added, changed or removed.
    Geofence(GeofenceId),
    /// A key was added, changed or revoked.
    ApiKey(Uuid),
    /// Anything may have changed.
    Everything,
}

/// The picture. Shared behind an [`Arc`]; every method takes a moment.
#[derive(Debug)]
pub struct Directory {
    maps: RwLock<Maps>,
    watched: Watched,
    changes: broadcast::Sender<Change>,
}

#[derive(Debug, Default)]
struct Maps {
    couriers: FxHashMap<CourierId, Arc<Courier>>,
    devices: FxHashMap<TokenHash, Arc<Device>>,
    device_tokens: FxHashMap<Uuid, TokenHash>,
    deliveries: FxHashMap<DeliveryId, Arc<Delivery>>,
    /// Open deliveries a courier, kept in the order of the run.
    runs: FxHashMap<CourierId, Vec<DeliveryId>>,
    /// Where each courier completed a delivery last.
    previous_stops: FxHashMap<CourierId, PreviousStop>,
    links: FxHashMap<TokenHash, Arc<Link>>,
    link_tokens: FxHashMap<Uuid, TokenHash>,
    geofences: FxHashMap<GeofenceId, Arc<Geofence>>,
    api_keys: FxHashMap<TokenHash, Arc<ApiKey>>,
    api_key_hashes: FxHashMap<Uuid, TokenHash>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            maps: RwLock::default(),
            watched: Watched::default(),
            changes: broadcast::channel(CHANGES_KEPT).0,
        }
    }
}

impl Directory {
    /// An empty picture.
    #[must_use]
    pub fn new() -> Arc<Self> {
        Arc::new(Self::default())
    }

    /// Tells of every change from now on. A listener that lags gets an error and looks at
    /// everything again.
    #[must_use]
    pub fn changes(&self) -> broadcast::Receiver<Change> {
        self.changes.subscribe()
    }

    /// The courier of this id.
    #[must_use]
    pub fn courier(&self, id: &CourierId) -> Option<Arc<Courier>> {
        self.maps.read().couriers.get(id).cloned()
    }

    /// All couriers, in no order.
    #[must_use]
    pub fn couriers(&self) -> Vec<Arc<Courier>> {
        self.maps.read().couriers.values().cloned().collect()
    }

    /// The device that holds this token.
    #[must_use]
    pub fn device(&self, token: &TokenHash) -> Option<Arc<Device>> {
        self.maps.read().devices.get(token).cloned()
    }

    /// The delivery of this id.
    #[must_use]
    pub fn delivery(&self, id: &DeliveryId) -> Option<Arc<Delivery>> {
        self.maps.read().deliveries.get(id).cloned()
    }

    /// A courier's open deliveries in the order of the run.
    #[must_use]
    pub fn run_of(&self, courier: &CourierId) -> Vec<Arc<Delivery>> {
        self.maps.read().open_deliveries(courier)
    }

    /// A courier's run as it stands at one instant: what is open, and the stop before it.
    #[must_use]
    pub fn run(&self, courier: &CourierId) -> Run {
        let maps = self.maps.read();
        Run {
            open: maps.open_deliveries(courier),
            previous: maps.previous_stops.get(courier).copied(),
        }
    }

    /// All deliveries held (open ones, and those completed a short while ago), in no order.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Arc<Delivery>> {
        self.maps.read().deliveries.values().cloned().collect()
    }

    /// The link that holds this token. It may have expired: the caller compares `expires_at`.
    #[must_use]
    pub fn link(&self, token: &TokenHash) -> Option<Arc<Link>> {
        self.maps.read().links.get(token).cloned()
    }

    /// The link of this number, unless it was revoked.
    #[must_use]
    pub fn link_by_id(&self, id: &Uuid) -> Option<Arc<Link>> {
        let maps = self.maps.read();
        maps.links.get(maps.link_tokens.get(id)?).cloned()
    }

    /// All geofences, in no order.
    #[must_use]
    pub fn geofences(&self) -> Vec<Arc<Geofence>> {
        self.maps.read().geofences.values().cloned().collect()
    }

    /// The key with this hash.
    #[must_use]
    pub fn api_key(&self, hash: &TokenHash) -> Option<Arc<ApiKey>> {
        self.maps.read().api_keys.get(hash).cloned()
    }

    /// Says that `courier` is watched until then.
    pub fn watch(&self, courier: CourierId, until: UnixMs, now: UnixMs) {
        self.watched.watch(courier, until, now);
    }

    /// Whether somebody watches `courier`.
    #[must_use]
    pub fn is_watched(&self, courier: &CourierId, now: UnixMs) -> bool {
        self.watched.is_watched(courier, now)
    }

    /// Adds or replaces a courier.
    pub fn put_courier(&self, courier: Courier) {
        let id = courier.id.clone();
        self.maps
            .write()
            .couriers
            .insert(id.clone(), Arc::new(courier));
        self.tell(Change::Courier(id));
    }

    /// Removes a courier; devices are removed by their own changes.
    pub fn remove_courier(&self, id: &CourierId) {
        {
            let mut maps = self.maps.write();
            maps.couriers.remove(id);
            maps.previous_stops.remove(id);
        }
        self.tell(Change::Courier(id.clone()));
    }

    /// Adds or replaces a device.
    pub fn put_device(&self, device: Device) {
        let id = device.id;
        {
            let mut maps = self.maps.write();
            if let Some(old) = maps.device_tokens.insert(id, device.token_hash) {
                maps.devices.remove(&old);
            }
            maps.devices.insert(device.token_hash, Arc::new(device));
        }
        self.tell(Change::Device(id));
    }

    /// Removes a device: its token is unknown from now on.
    pub fn remove_device(&self, id: Uuid) {
        {
            let mut maps = self.maps.write();
            if let Some(token) = maps.device_tokens.remove(&id) {
                maps.devices.remove(&token);
            }
        }
        self.tell(Change::Device(id));
    }

    /// Adds or replaces a delivery.
    pub fn put_delivery(&self, delivery: Delivery) {
        let id = delivery.id.clone();
        self.maps.write().put_delivery(delivery);
        self.tell(Change::Delivery(id));
    }

    /// Removes a delivery.
    pub fn remove_delivery(&self, id: &DeliveryId) {
        self.maps.write().remove_delivery(id);
        self.tell(Change::Delivery(id.clone()));
    }

    /// Adds or replaces a link.
    pub fn put_link(&self, link: Link) {
        let id = link.id;
        {
            let mut maps = self.maps.write();
            if let Some(old) = maps.link_tokens.insert(id, link.token_hash) {
                maps.links.remove(&old);
            }
            maps.links.insert(link.token_hash, Arc::new(link));
        }
        self.tell(Change::Link(id));
    }

    /// Removes a link: its token is unknown from now on.
    pub fn remove_link(&self, id: Uuid) {
        {
            let mut maps = self.maps.write();
            if let Some(token) = maps.link_tokens.remove(&id) {
                maps.links.remove(&token);
            }
        }
        self.tell(Change::Link(id));
    }

    /// Adds or replaces a geofence.
    pub fn put_geofence(&self, geofence: Geofence) {
        let id = geofence.id.clone();
        self.maps
            .write()
            .geofences
            .insert(id.clone(), Arc::new(geofence));
        self.tell(Change::Geofence(id));
    }

    /// Removes a geofence.
    pub fn remove_geofence(&self, id: &GeofenceId) {
        self.maps.write().geofences.remove(id);
        self.tell(Change::Geofence(id.clone()));
    }

    /// Adds or replaces a key.
    pub fn put_api_key(&self, key: ApiKey) {
        let id = key.id;
        {
            let mut maps = self.maps.write();
            if let Some(old) = maps.api_key_hashes.insert(id, key.key_hash) {
                maps.api_keys.remove(&old);
            }
            maps.api_keys.insert(key.key_hash, Arc::new(key));
        }
        self.tell(Change::ApiKey(id));
    }

    /// Removes a key: it is unknown from now on.
    pub fn remove_api_key(&self, id: Uuid) {
        {
            let mut maps = self.maps.write();
            if let Some(hash) = maps.api_key_hashes.remove(&id) {
                maps.api_keys.remove(&hash);
            }
        }
        self.tell(Change::ApiKey(id));
    }

    fn tell(&self, change: Change) {
        // No listener is no error.
        drop(self.changes.send(change));
    }
}

impl Maps {
    fn open_deliveries(&self, courier: &CourierId) -> Vec<Arc<Delivery>> {
        let ids = self.runs.get(courier).map_or(&[][..], Vec::as_slice);
        ids.iter()
            .filter_map(|id| self.deliveries.get(id).cloned())
            .collect()
    }

    /// Remembers where `delivery` was completed, if it is the courier's last to be.
    fn note_previous_stop(&mut self, delivery: &Delivery) {
        let visited = matches!(
            delivery.status,
            DeliveryStatus::Delivered | DeliveryStatus::Failed
        );
        let (Some(courier), Some(completed_at), true) =
            (&delivery.courier_id, delivery.completed_at(), visited)
        else {
            return;
        };
        let stop = PreviousStop {
            position: delivery.dropoff.position,
            completed_at,
        };
        let last = self.previous_stops.entry(courier.clone()).or_insert(stop);
        if last.completed_at <= completed_at {
            *last = stop;
        }
    }

    fn put_delivery(&mut self, delivery: Delivery) {
        self.remove_delivery(&delivery.id);
        self.note_previous_stop(&delivery);
        let delivery = Arc::new(delivery);
        self.deliveries
            .insert(delivery.id.clone(), delivery.clone());
        if let Some(courier) = delivery
            .courier_id
            .clone()
            .filter(|_| delivery.status.is_open())
        {
            let order =
                |id: &DeliveryId| self.deliveries.get(id).map(|d| (d.sequence, d.id.clone()));
            let run = self.runs.entry(courier).or_default();
            let at = run.partition_point(|id| order(id) < order(&delivery.id));
            run.insert(at, delivery.id.clone());
        }
    }

    fn remove_delivery(&mut self, id: &DeliveryId) {
        let Some(old) = self.deliveries.remove(id) else {
            return;
        };
        let Some(courier) = &old.courier_id else {
            return;
        };
        if let Some(run) = self.runs.get_mut(courier) {
            run.retain(|other| other != id);
            if run.is_empty() {
                self.runs.remove(courier);
            }
        }
    }
}
