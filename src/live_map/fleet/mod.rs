//! The fleet channel, and what a dispatcher reads of the present over HTTP.
//!
//! A socket is opened with a ticket ([`tickets`]), says what it looks at ([`view`]), and is told by
//! the [`hub`], [`topic`] by topic, in packed [`frame`]s and counted cells ([`content`]).

mod attention;
mod candidates;
mod content;
mod couriers;
mod frame;
mod hub;
mod positions;
mod rows;
mod session;
mod tickets;
mod topic;
mod view;

#[cfg(test)]
mod fixtures;
#[cfg(test)]
mod tests;

use std::sync::Arc;
use std::sync::atomic::AtomicU64;

use parking_lot::Mutex;
use rand::rngs::StdRng;
use rustc_hash::FxHashMap;

use crate::directory::Directory;
use crate::domain::{CourierId, UnixMs};
use tickets::Tickets;

pub(crate) use attention::{__path_attention, attention};
pub(crate) use candidates::{__path_candidates, candidates};
pub(crate) use couriers::{__path_couriers, couriers};
pub(crate) use hub::Hub;
pub(crate) use positions::{
    __path_position, __path_positions, __path_trail, position, positions, trail,
};
pub(crate) use session::{__path_socket, __path_ticket, socket, ticket};

/// A courier whose card is open is told to send more often, for this long.
const WATCH_MS: i64 = 25_000;

/// What the fleet's routes share.
pub(crate) struct Fleet {
    pub(crate) hub: Arc<Hub>,
    tickets: Tickets,
    next_session: AtomicU64,
    /// Whose card each session has open.
    watching: Mutex<FxHashMap<u64, CourierId>>,
    noted: attention::Noted,
}

impl Fleet {
    pub(crate) fn new(hub: Arc<Hub>, rng: StdRng) -> Self {
        Self {
            hub,
            tickets: Tickets::new(rng),
            next_session: AtomicU64::new(0),
            watching: Mutex::default(),
            noted: attention::Noted::default(),
        }
    }

    /// Says who is watched. To be called every ten seconds.
    pub(crate) fn tend(&self, directory: &Directory, now: UnixMs) {
        for courier in self.watching.lock().values() {
            directory.watch(courier.clone(), now.plus_ms(WATCH_MS), now);
        }
        self.tickets.sweep(now);
    }

    /// The session's card shows `courier` from now on, or nobody.
    fn watch(&self, session: u64, courier: Option<CourierId>, directory: &Directory, now: UnixMs) {
        let mut watching = self.watching.lock();
        match courier {
            Some(courier) => {
                directory.watch(courier.clone(), now.plus_ms(WATCH_MS), now);
                watching.insert(session, courier);
            }
            None => {
                watching.remove(&session);
            }
        }
    }
}
