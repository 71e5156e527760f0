//! The maps themselves, and the feed of what changes in them.

use std::sync::Arc;

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::sync::broadcast;
use uuid::Uuid;

use super::index::{Index, Keyed};
use super::watched::Watched;
use super::{ApiKey, Device, Link, PreviousStop, Run, Session, TokenHash};
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
    /// A browser signed in or was signed out.
    Session(Uuid),
    /// A courier's stored positions were erased.
    Erased(CourierId),
    /// Anything may have changed.
    Everything,
}

/// Entries found by the hash of their secret, and by number.
#[derive(Debug)]
pub(super) struct Secrets<T: Keyed<TokenHash> + Keyed<Uuid>> {
    pub(super) by_hash: Index<TokenHash, T>,
    pub(super) by_id: Index<Uuid, T>,
}

impl<T: Keyed<TokenHash> + Keyed<Uuid>> Default for Secrets<T> {
    fn default() -> Self {
        Self {
            by_hash: Index::default(),
            by_id: Index::default(),
        }
    }
}

impl<T: Keyed<TokenHash> + Keyed<Uuid> + PartialEq> Secrets<T> {
    /// Adds or replaces; answers whether anything is new.
    fn put(&self, entry: T) -> bool {
        let entry = Arc::new(entry);
        let hash: TokenHash = *entry.key();
        self.by_hash.put(entry.clone());
        let Some(old) = self.by_id.put(entry.clone()) else {
            return true;
        };
        let old_hash: &TokenHash = (*old).key();
        if *old_hash != hash {
            self.by_hash.remove(old_hash);
        }
        old != entry
    }

    fn remove(&self, id: &Uuid) -> bool {
        let Some(old) = self.by_id.remove(id) else {
            return false;
        };
        let hash: &TokenHash = (*old).key();
        self.by_hash.remove(hash);
        true
    }
}

type Runs = FxHashMap<CourierId, Run>;

fn join_run(runs: &mut Runs, delivery: &Arc<Delivery>) {
    let Some(courier) = &delivery.courier_id else {
        return;
    };
    if delivery.status.is_open() {
        let open = &mut runs.entry(courier.clone()).or_default().open;
        let place = (delivery.sequence, &delivery.id);
        let at = open.partition_point(|other| (other.sequence, &other.id) < place);
        open.insert(at, delivery.clone());
    } else if let Some(stop) = stop_at(delivery) {
        let previous = &mut runs.entry(courier.clone()).or_default().previous;
        if previous.is_none_or(|last| last.completed_at <= stop.completed_at) {
            *previous = Some(stop);
        }
    }
}

/// Where and when the courier was at this delivery's door.
fn stop_at(delivery: &Delivery) -> Option<PreviousStop> {
    let visited = matches!(
        delivery.status,
        DeliveryStatus::Delivered | DeliveryStatus::Failed
    );
    let completed_at = delivery.completed_at().filter(|_| visited)?;
    Some(PreviousStop {
        position: delivery.dropoff.position,
        completed_at,
    })
}

fn leave_run(runs: &mut Runs, delivery: &Delivery) {
    let Some(courier) = &delivery.courier_id else {
        return;
    };
    if let Some(run) = runs.get_mut(courier) {
        run.open.retain(|other| other.id != delivery.id);
        if run.open.is_empty() && run.previous.is_none() {
            runs.remove(courier);
        }
    }
}

/// The picture. Shared behind an [`Arc`]; every method takes a moment.
#[derive(Debug)]
pub struct Directory {
    pub(super) couriers: Index<CourierId, Courier>,
    pub(super) devices: Secrets<Device>,
    pub(super) deliveries: Index<DeliveryId, Delivery>,
    /// What couriers have before them, and the stop behind them.
    runs: RwLock<Runs>,
    pub(super) links: Secrets<Link>,
    pub(super) geofences: Index<GeofenceId, Geofence>,
    pub(super) api_keys: Secrets<ApiKey>,
    pub(super) sessions: Secrets<Session>,
    pub(super) erased: RwLock<FxHashMap<CourierId, UnixMs>>,
    watched: Watched,
    changes: broadcast::Sender<Change>,
    /// One writer at a time, so that the indexes of an entry agree.
    writing: Mutex<()>,
}

impl Default for Directory {
    fn default() -> Self {
        Self {
            couriers: Index::default(),
            devices: Secrets::default(),
            deliveries: Index::default(),
            runs: RwLock::default(),
            links: Secrets::default(),
            geofences: Index::default(),
            api_keys: Secrets::default(),
            sessions: Secrets::default(),
            erased: RwLock::default(),
            watched: Watched::default(),
            changes: broadcast::channel(CHANGES_KEPT).0,
            writing: Mutex::default(),
        }
    }
}

/// Reading.
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
        self.couriers.get(id)
    }

    /// All couriers, in no order.
    #[must_use]
    pub fn couriers(&self) -> Vec<Arc<Courier>> {
        self.couriers.all()
    }

    /// The device that holds this token.
    #[must_use]
    pub fn device(&self, token: &TokenHash) -> Option<Arc<Device>> {
        self.devices.by_hash.get(token)
    }

    /// The delivery of this id.
    #[must_use]
    pub fn delivery(&self, id: &DeliveryId) -> Option<Arc<Delivery>> {
        self.deliveries.get(id)
    }

    /// A courier's open deliveries in the order of the run.
    #[must_use]
    pub fn run_of(&self, courier: &CourierId) -> Vec<Arc<Delivery>> {
        let runs = self.runs.read();
        runs.get(courier)
            .map_or_else(Vec::new, |run| run.open.clone())
    }

    /// A courier's run as it stands at one instant: what is open, and the stop before it.
    #[must_use]
    pub fn run(&self, courier: &CourierId) -> Run {
        self.runs.read().get(courier).cloned().unwrap_or_default()
    }

    /// All deliveries held (open ones, and those completed a short while ago), in no order.
    #[must_use]
    pub fn deliveries(&self) -> Vec<Arc<Delivery>> {
        self.deliveries.all()
    }

    /// The link that holds this token. It may have expired: the caller compares `expires_at`.
    #[must_use]
    pub fn link(&self, token: &TokenHash) -> Option<Arc<Link>> {
        self.links.by_hash.get(token)
    }

    /// The link of this number, unless it was revoked.
    #[must_use]
    pub fn link_by_id(&self, id: &Uuid) -> Option<Arc<Link>> {
        self.links.by_id.get(id)
    }

    /// All geofences, in no order.
    #[must_use]
    pub fn geofences(&self) -> Vec<Arc<Geofence>> {
        self.geofences.all()
    }

    /// The geofence of this id.
    #[must_use]
    pub fn geofence(&self, id: &GeofenceId) -> Option<Arc<Geofence>> {
        self.geofences.get(id)
    }

    /// The key with this hash.
    #[must_use]
    pub fn api_key(&self, hash: &TokenHash) -> Option<Arc<ApiKey>> {
        self.api_keys.by_hash.get(hash)
    }

    /// The key of this number, unless it was revoked.
    #[must_use]
    pub fn api_key_by_id(&self, id: &Uuid) -> Option<Arc<ApiKey>> {
        self.api_keys.by_id.get(id)
    }

    /// The session that holds this cookie. It may have expired: the caller compares `expires_at`.
    #[must_use]
    pub fn session(&self, token: &TokenHash) -> Option<Arc<Session>> {
        self.sessions.by_hash.get(token)
    }

    /// The session of this number, unless it was ended.
    #[must_use]
    pub fn session_by_id(&self, id: &Uuid) -> Option<Arc<Session>> {
        self.sessions.by_id.get(id)
    }

    /// Records of `courier` received before this instant are erased: every reader drops them.
    #[must_use]
    pub fn erased_before(&self, courier: &CourierId) -> Option<UnixMs> {
        self.erased.read().get(courier).copied()
    }

    /// Says that `courier` is watched until then.
    pub fn watch(&self, courier: CourierId, until: UnixMs, now: UnixMs) {
        self.watched.watch(courier, until, now);
    }

    /// Who is watched in this process and in others.
    pub(super) fn watched(&self) -> &super::watched::Watched {
        &self.watched
    }

    /// Whether somebody watches `courier`.
    #[must_use]
    pub fn is_watched(&self, courier: &CourierId, now: UnixMs) -> bool {
        self.watched.is_watched(courier, now)
    }

    /// Says how many look through `link` now, in this process.
    pub fn note_viewers(&self, link: Uuid, viewers: u32) {
        self.watched.note_viewers(link, viewers);
    }

    /// How many look through `link` now, in this process.
    #[must_use]
    pub fn viewers(&self, link: &Uuid) -> u32 {
        self.watched.viewers(link)
    }
}

/// Writing. What is as it was is not told.
impl Directory {
    /// Adds or replaces a courier.
    pub fn put_courier(&self, courier: Courier) {
        let id = courier.id.clone();
        self.tell_if(self.set_courier(courier), Change::Courier(id));
    }

    /// Removes a courier; devices are removed by their own changes.
    pub fn remove_courier(&self, id: &CourierId) {
        let removed = self.couriers.remove(id).is_some();
        if let Some(run) = self.runs.write().get_mut(id) {
            run.previous = None;
        }
        self.tell_if(removed, Change::Courier(id.clone()));
    }

    /// Adds or replaces a device.
    pub fn put_device(&self, device: Device) {
        let id = device.id;
        self.tell_if(self.set_device(device), Change::Device(id));
    }

    /// Removes a device: its token is unknown from now on.
    pub fn remove_device(&self, id: Uuid) {
        let removed = self.with_writing(|| self.devices.remove(&id));
        self.tell_if(removed, Change::Device(id));
    }

    /// Adds or replaces a delivery.
    pub fn put_delivery(&self, delivery: Delivery) {
        let id = delivery.id.clone();
        self.tell_if(self.set_delivery(delivery), Change::Delivery(id));
    }

    /// Removes a delivery.
    pub fn remove_delivery(&self, id: &DeliveryId) {
        let removed = self.with_writing(|| self.drop_delivery(id)).is_some();
        self.tell_if(removed, Change::Delivery(id.clone()));
    }

    /// Adds or replaces a link.
    pub fn put_link(&self, link: Link) {
        let id = link.id;
        self.tell_if(self.set_link(link), Change::Link(id));
    }

    /// Removes a link: its token is unknown from now on.
    pub fn remove_link(&self, id: Uuid) {
        let removed = self.with_writing(|| self.links.remove(&id));
        self.tell_if(removed, Change::Link(id));
    }

    /// Adds or replaces a geofence.
    pub fn put_geofence(&self, geofence: Geofence) {
        let id = geofence.id.clone();
        self.tell_if(self.set_geofence(geofence), Change::Geofence(id));
    }

    /// Removes a geofence.
    pub fn remove_geofence(&self, id: &GeofenceId) {
        let removed = self.geofences.remove(id).is_some();
        self.tell_if(removed, Change::Geofence(id.clone()));
    }

    /// Adds or replaces a key.
    pub fn put_api_key(&self, key: ApiKey) {
        let id = key.id;
        self.tell_if(self.set_api_key(key), Change::ApiKey(id));
    }

    /// Removes a key: it is unknown from now on.
    pub fn remove_api_key(&self, id: Uuid) {
        let removed = self.with_writing(|| self.api_keys.remove(&id));
        self.tell_if(removed, Change::ApiKey(id));
    }

    /// Adds or replaces a session.
    pub fn put_session(&self, session: Session) {
        let id = session.id;
        self.tell_if(self.set_session(session), Change::Session(id));
    }

    /// Removes a session: its cookie is unknown from now on.
    pub fn remove_session(&self, id: Uuid) {
        let removed = self.with_writing(|| self.sessions.remove(&id));
        self.tell_if(removed, Change::Session(id));
    }

    /// Says that records of `courier` received before `before` are erased; `None` takes it back.
    pub fn put_erased(&self, courier: CourierId, before: Option<UnixMs>) {
        let changed = self.set_erased(&courier, before);
        self.tell_if(changed, Change::Erased(courier));
    }

    /// Tells that everything may have changed.
    pub(super) fn tell_everything(&self) {
        self.tell_if(true, Change::Everything);
    }

    // The same without telling, for reading everything at once. Each answers whether it changed.

    pub(super) fn set_courier(&self, courier: Courier) -> bool {
        let courier = Arc::new(courier);
        self.couriers.put(courier.clone()) != Some(courier)
    }

    pub(super) fn set_device(&self, mut device: Device) -> bool {
        // One copy of the id in memory for the courier and all devices.
        if let Some(courier) = self.couriers.get(&device.courier_id) {
            device.courier_id = courier.id.clone();
        }
        self.with_writing(|| self.devices.put(device))
    }

    pub(super) fn set_link(&self, mut link: Link) -> bool {
        if let Some(delivery) = self.deliveries.get(&link.delivery_id) {
            link.delivery_id = delivery.id.clone();
        }
        self.with_writing(|| self.links.put(link))
    }

    pub(super) fn set_geofence(&self, geofence: Geofence) -> bool {
        let geofence = Arc::new(geofence);
        self.geofences.put(geofence.clone()) != Some(geofence)
    }

    pub(super) fn set_api_key(&self, key: ApiKey) -> bool {
        self.with_writing(|| self.api_keys.put(key))
    }

    pub(super) fn set_session(&self, session: Session) -> bool {
        self.with_writing(|| self.sessions.put(session))
    }

    pub(super) fn set_erased(&self, courier: &CourierId, before: Option<UnixMs>) -> bool {
        let mut erased = self.erased.write();
        let old = match before {
            Some(before) => erased.insert(courier.clone(), before),
            None => erased.remove(courier),
        };
        old != before
    }

    pub(super) fn set_delivery(&self, mut delivery: Delivery) -> bool {
        if let Some(id) = &delivery.courier_id
            && let Some(courier) = self.couriers.get(id)
        {
            delivery.courier_id = Some(courier.id.clone());
        }
        let delivery = Arc::new(delivery);
        self.with_writing(|| {
            let old = self.deliveries.put(delivery.clone());
            let mut runs = self.runs.write();
            if let Some(old) = &old {
                leave_run(&mut runs, old);
            }
            join_run(&mut runs, &delivery);
            old != Some(delivery)
        })
    }

    fn drop_delivery(&self, id: &DeliveryId) -> Option<Arc<Delivery>> {
        let old = self.deliveries.remove(id)?;
        leave_run(&mut self.runs.write(), &old);
        Some(old)
    }

    fn with_writing<T>(&self, write: impl FnOnce() -> T) -> T {
        let _writing = self.writing.lock();
        write()
    }

    fn tell_if(&self, changed: bool, change: Change) {
        if changed {
            // No listener is no error.
            drop(self.changes.send(change));
        }
    }
}
