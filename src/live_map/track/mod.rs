//! The customer channel: one delivery, told to whoever holds its link.
//!
//! Owns the told deliveries ([`topic`]) and who watches which. Woken from two sides: by the reader
//! of the log when a courier moved, and by the Directory when a delivery, a courier or a link
//! changed.

mod events;
mod known;
mod messages;
mod scene;
mod session;
mod topic;
mod world;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod privacy;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use parking_lot::{Mutex, RwLock};
use rustc_hash::FxHashMap;
use tokio::sync::Notify;
use uuid::Uuid;

use crate::directory::Link;
use crate::domain::{CourierId, DeliveryId, UnixMs};
use topic::TrackTopic;

pub(crate) use events::{__path_track, __path_track_events, track, track_events};
pub(crate) use messages::Brand;
pub(crate) use session::{__path_socket, TrackSession, socket};
pub(crate) use world::World;

/// A telling that nobody watches is kept this long, so that whoever reconnects can resume.
const KEEP_IDLE_MS: i64 = 60_000;
/// Most viewers of one link at once.
const MOST_VIEWERS: u32 = 64;
/// A watched courier's phone is told so for this long.
const WATCH_MS: i64 = 25_000;

/// All told deliveries.
pub(crate) struct Tracks {
    pub(crate) world: World,
    registry: RwLock<Registry>,
    links: Mutex<FxHashMap<Uuid, Viewed>>,
    next_epoch: AtomicU32,
    next_session: AtomicU64,
}

#[derive(Default)]
struct Registry {
    topics: FxHashMap<DeliveryId, Entry>,
    /// Told deliveries of each courier.
    by_courier: FxHashMap<CourierId, Vec<Arc<TrackTopic>>>,
}

struct Entry {
    topic: Arc<TrackTopic>,
    courier: Option<CourierId>,
}

/// A link that somebody looks through.
struct Viewed {
    topic: Arc<TrackTopic>,
    viewers: u32,
}

/// Too many look through one link.
#[derive(Debug)]
pub(crate) struct TooManyViewers;

impl Tracks {
    /// `epoch` differs from that of earlier processes.
    pub(crate) fn new(world: World, epoch: u32) -> Self {
        Self {
            world,
            registry: RwLock::default(),
            links: Mutex::default(),
            next_epoch: AtomicU32::new(epoch),
            next_session: AtomicU64::new(0),
        }
    }

    /// Begins to watch what `link` shows; ends when the session is dropped.
    pub(crate) fn join(
        self: &Arc<Self>,
        link: Arc<Link>,
        resume: Option<(u32, u32)>,
        now: UnixMs,
    ) -> Result<TrackSession, TooManyViewers> {
        let mut registry = self.registry.write();
        let topic = self.topic_of(&mut registry, &link.delivery_id);
        {
            let mut links = self.links.lock();
            let viewed = links.entry(link.id).or_insert_with(|| Viewed {
                topic: topic.clone(),
                viewers: 0,
            });
            if viewed.viewers >= MOST_VIEWERS {
                return Err(TooManyViewers);
            }
            viewed.viewers += 1;
            self.world.directory.note_viewers(link.id, viewed.viewers);
        }
        let wake = Arc::new(Notify::new());
        let number = self.next_session.fetch_add(1, Ordering::Relaxed);
        topic.join(number, wake.clone());
        drop(registry);
        self.watch(&link.delivery_id, now);
        Ok(TrackSession::new(
            self.clone(),
            topic,
            link,
            number,
            wake,
            resume,
        ))
    }

    /// The telling of a delivery, for whoever asks once.
    fn topic(&self, delivery: &DeliveryId) -> Arc<TrackTopic> {
        self.topic_of(&mut self.registry.write(), delivery)
    }

    fn topic_of(&self, registry: &mut Registry, delivery: &DeliveryId) -> Arc<TrackTopic> {
        if let Some(entry) = registry.topics.get(delivery) {
            return entry.topic.clone();
        }
        let epoch = self.next_epoch.fetch_add(1, Ordering::Relaxed);
        let topic = Arc::new(TrackTopic::new(delivery.clone(), epoch));
        let courier = self.courier_of(delivery);
        registry.follow(&topic, courier);
        topic
    }

    fn courier_of(&self, delivery: &DeliveryId) -> Option<CourierId> {
        self.world.directory.delivery(delivery)?.courier_id.clone()
    }

    fn leave(&self, topic: &TrackTopic, link: Uuid, number: u64) {
        topic.leave(number);
        let mut links = self.links.lock();
        if let Some(viewed) = links.get_mut(&link) {
            viewed.viewers -= 1;
            self.world.directory.note_viewers(link, viewed.viewers);
            if viewed.viewers == 0 {
                links.remove(&link);
            }
        }
    }

    /// The courier has moved, or its run has changed.
    pub(crate) fn wake_courier(&self, courier: &str) {
        if let Some(topics) = self.registry.read().by_courier.get(courier) {
            topics.iter().for_each(|topic| topic.wake());
        }
    }

    /// The delivery has changed: perhaps its courier, perhaps the run of both.
    pub(crate) fn wake_delivery(&self, delivery: &DeliveryId) {
        let courier = self.courier_of(delivery);
        let mut registry = self.registry.write();
        if let Some(entry) = registry.topics.get(delivery) {
            let topic = entry.topic.clone();
            if entry.courier != courier {
                registry.unfollow(delivery);
                registry.follow(&topic, courier.clone());
            }
            topic.wake();
        }
        drop(registry);
        if let Some(courier) = courier {
            self.wake_courier(courier.as_str());
        }
    }

    /// The link was changed or revoked: its sessions look whether they may stay.
    pub(crate) fn wake_link(&self, link: &Uuid) {
        let topic = self
            .links
            .lock()
            .get(link)
            .map(|viewed| viewed.topic.clone());
        if let Some(topic) = topic {
            topic.wake();
        }
    }

    /// Anything may have changed.
    pub(crate) fn wake_all(&self) {
        let deliveries: Vec<DeliveryId> = self.registry.read().topics.keys().cloned().collect();
        deliveries
            .iter()
            .for_each(|delivery| self.wake_delivery(delivery));
    }

    /// Says who is watched, and forgets tellings that nobody watches any more. To be called every
    /// ten seconds.
    pub(crate) fn tend(&self, now: UnixMs) {
        let mut watched = Vec::new();
        let mut forgotten = Vec::new();
        {
            let registry = self.registry.read();
            for (delivery, entry) in &registry.topics {
                match entry.topic.idle_for_ms(now) {
                    None => watched.push(delivery.clone()),
                    Some(ms) if ms > KEEP_IDLE_MS => forgotten.push(delivery.clone()),
                    Some(_) => {}
                }
            }
        }
        watched
            .iter()
            .for_each(|delivery| self.watch(delivery, now));
        if forgotten.is_empty() {
            return;
        }
        let mut registry = self.registry.write();
        for delivery in forgotten {
            // Somebody may have come meanwhile; joining takes the same lock.
            let still_idle = |e: &Entry| e.topic.idle_for_ms(now).is_some();
            if registry.topics.get(&delivery).is_some_and(still_idle) {
                registry.unfollow(&delivery);
            }
        }
    }

    /// Whether no link is looked through.
    #[cfg(test)]
    pub(crate) fn nobody_watches(&self) -> bool {
        self.links.lock().is_empty()
    }

    fn watch(&self, delivery: &DeliveryId, now: UnixMs) {
        let directory = &self.world.directory;
        let delivery = directory
            .delivery(delivery)
            .filter(|d| d.status.is_under_way());
        if let Some(courier) = delivery.and_then(|d| d.courier_id.clone()) {
            directory.watch(courier, now.plus_ms(WATCH_MS), now);
        }
    }
}

impl Registry {
    fn follow(&mut self, topic: &Arc<TrackTopic>, courier: Option<CourierId>) {
        if let Some(courier) = &courier {
            self.by_courier
                .entry(courier.clone())
                .or_default()
                .push(topic.clone());
        }
        let entry = Entry {
            topic: topic.clone(),
            courier,
        };
        self.topics.insert(topic.id().clone(), entry);
    }

    fn unfollow(&mut self, delivery: &DeliveryId) {
        let Some(courier) = self.topics.remove(delivery).and_then(|entry| entry.courier) else {
            return;
        };
        if let Some(topics) = self.by_courier.get_mut(&courier) {
            topics.retain(|topic| topic.id() != delivery);
            if topics.is_empty() {
                self.by_courier.remove(&courier);
            }
        }
    }
}
