//! The thread of one reader: it owns the client, fetches, and obeys orders of the group.
//!
//! ```text
//!   brokers ──▶ client ──poll──▶ this thread ──Mail──▶ whoever polls the consumer
//!                                     ◀──Command── (where to start, what was understood, seeks)
//! ```
//!
//! - [`turn`]: one life of a client, and what the group wants of it
//! - [`gather`]: records from the client into the mail
//! - [`place`]: where a partition stands, and moving it
//!
//! Invariants:
//! - Records of a partition go into the mail in order and without a gap from where it was started
//!   or moved to; moving it takes what waits out of the mail.
//! - A partition is given up only after its owner was told, has left, or has not polled for
//!   half a minute; one that was lost is somebody else's already.
//! - The client is polled all the time, so that the group does not give us up; while the mail is
//!   full its partitions are paused.
//! - A client that has failed for good is made anew, with pauses.

mod gather;
mod place;
mod turn;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::KafkaError;
use rdkafka::topic_partition_list::Offset as RawOffset;
use tokio::sync::oneshot;

use self::turn::Turn;
use super::cluster::Cluster;
use super::context::Context;
use super::explain::explain;
use super::mail::{Letter, Mail};
use super::scout::list;
use crate::stream::LogError;

/// One wait for records: commands are looked at in between.
const STEP: Duration = Duration::from_millis(20);
/// Pauses before a failed client is made anew, the first and the longest.
const AGAIN: (Duration, Duration) = (Duration::from_secs(1), Duration::from_secs(30));

/// What whoever polls wants of the thread.
pub(super) enum Command {
    /// Start the partitions that the [`Letter::Assign`] of this number named.
    Start(u64, Vec<(u32, u64)>),
    /// The [`Letter::Revoke`] of this number was understood.
    Release(u64),
    /// Go on from elsewhere.
    Seek {
        partition: u32,
        to: u64,
        done: oneshot::Sender<Result<(), LogError>>,
    },
}

/// Where a partition stands.
#[derive(Debug, Clone, Copy)]
struct Place {
    /// The next record to go into the mail.
    next: u64,
    /// The end, as far as it is known.
    end: u64,
}

/// The client, shared with the commits of its group.
pub(super) type Client = Arc<BaseConsumer<Context>>;
pub(super) type SharedClient = Arc<Mutex<Option<Client>>>;

/// Who reads.
#[derive(Debug, Clone)]
pub(super) enum Kind {
    Member {
        group: String,
    },
    /// No group: these partitions from these offsets on.
    Groupless(BTreeMap<u32, u64>),
}

pub(super) struct Reader {
    pub(super) cluster: Arc<Cluster>,
    /// The topic as the rest of Waylog names it, and as the brokers do.
    pub(super) name: String,
    pub(super) topic: String,
    pub(super) kind: Kind,
    pub(super) mail: Arc<Mail>,
    pub(super) client: SharedClient,
    pub(super) commands: Receiver<Command>,
}

/// Why a turn of the thread has ended.
enum End {
    /// Nobody polls any more, or the log is closed.
    Over,
    /// The client is of no use any more.
    Failed(String),
}

impl Reader {
    /// Works until nobody polls any more.
    pub(super) fn run(self) {
        let mut places = match &self.kind {
            Kind::Member { .. } => BTreeMap::new(),
            Kind::Groupless(starts) => starts
                .iter()
                .map(|(number, next)| {
                    (
                        *number,
                        Place {
                            next: *next,
                            end: *next,
                        },
                    )
                })
                .collect(),
        };
        let mut pause = AGAIN.0;
        let mut orders = 0;
        loop {
            let began = Instant::now();
            let why = match self.work(&mut places, &mut orders) {
                Ok(()) | Err(End::Over) => return,
                Err(End::Failed(why)) => why,
            };
            if matches!(self.kind, Kind::Member { .. }) {
                let owned: Vec<u32> = places.keys().copied().collect();
                places.clear();
                self.mail.forget(&owned);
                // Nothing waits for an answer to this one.
                self.mail.put(Letter::Revoke(0, owned));
            }
            self.mail.put(Letter::Failed(why));
            if began.elapsed() > AGAIN.1 {
                pause = AGAIN.0;
            }
            if !self.wait_apart(pause, &mut places) {
                return;
            }
            pause = (pause * 2).min(AGAIN.1);
        }
    }

    /// Waits without a client; answers whether anybody still polls.
    fn wait_apart(&self, pause: Duration, places: &mut BTreeMap<u32, Place>) -> bool {
        let deadline = Instant::now() + pause;
        while !self.cluster.is_closing() {
            let left = deadline.saturating_duration_since(Instant::now());
            match self.commands.recv_timeout(left.min(STEP * 5)) {
                Ok(Command::Seek {
                    partition,
                    to,
                    done,
                }) => {
                    let moved = match places.get_mut(&partition) {
                        Some(place) => {
                            self.mail.forget(&[partition]);
                            place.next = to;
                            Ok(())
                        }
                        None => Err(not_ours(partition)),
                    };
                    // Whoever asked may have gone.
                    drop(done.send(moved));
                }
                Ok(_) => {}
                Err(RecvTimeoutError::Timeout) if left.is_zero() => return true,
                Err(RecvTimeoutError::Timeout) => {}
                Err(RecvTimeoutError::Disconnected) => return false,
            }
        }
        false
    }

    /// One life of a client.
    fn work(&self, places: &mut BTreeMap<u32, Place>, orders: &mut u64) -> Result<(), End> {
        let failed = |error: &KafkaError| End::Failed(explain(error));
        let options = &self.cluster.options;
        let (config, context) = match &self.kind {
            Kind::Member { group } => (options.consumer(Some(group)), Context::with_orders()),
            Kind::Groupless(_) => (options.consumer(None), Context::default()),
        };
        let client: BaseConsumer<Context> = config
            .create_with_context(context)
            .map_err(|e| failed(&e))?;
        let client = Arc::new(client);
        *self.client.lock() = Some(Arc::clone(&client));
        let began = match &self.kind {
            Kind::Member { .. } => client.subscribe(&[&self.topic]),
            Kind::Groupless(_) => assign_all(&client, &self.topic, places),
        };
        let mut turn = Turn::new(self, client, places, orders);
        let end = match began {
            Ok(()) => turn.run(),
            Err(error) => Err(failed(&error)),
        };
        turn.leave();
        end
    }
}
fn assign_all(
    client: &BaseConsumer<Context>,
    topic: &str,
    places: &BTreeMap<u32, Place>,
) -> Result<(), KafkaError> {
    let places = places
        .iter()
        .map(|(number, place)| (*number, raw(place.next)));
    client.assign(&list(topic, places)?)
}

fn raw(offset: u64) -> RawOffset {
    RawOffset::Offset(offset.cast_signed())
}

fn not_ours(partition: u32) -> LogError {
    LogError::Refused(format!(
        "partition {partition} is not assigned to this reader"
    ))
}
