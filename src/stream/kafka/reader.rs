//! The thread of one reader: it owns the client, fetches, and obeys orders of the group.
//!
//! ```text
//!   brokers ──▶ client ──poll──▶ this thread ──Mail──▶ whoever polls the consumer
//!                                     ◀──Command── (where to start, what was understood, seeks)
//! ```
//!
//! Invariants:
//! - Records of a partition go into the mail in order and without a gap from where it was started
//!   or moved to; moving it takes what waits out of the mail.
//! - A partition is given up only after its owner was told, has left, or has not polled for
//!   [`HANDOVER`]; one that was lost is somebody else's already.
//! - The client is polled all the time, so that the group does not give us up; while the mail is
//!   full its partitions are paused.
//! - A client that has failed for good is made anew, with pauses.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, RecvTimeoutError, TryRecvError};
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use parking_lot::Mutex;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::Offset as RawOffset;
use tokio::sync::oneshot;

use super::cluster::Cluster;
use super::context::{Context, Order};
use super::explain::{explain, is_passing};
use super::mail::{Letter, Mail};
use super::scout::{Bounds, list};
use crate::stream::{LogError, Offset, StoredRecord, metrics};

/// How long a partition waits for its owner to understand that it is given up.
const HANDOVER: Duration = Duration::from_secs(30);
/// One wait for records: commands are looked at in between.
const STEP: Duration = Duration::from_millis(20);
/// Bytes of records that are gathered before they go into the mail.
const GATHER_BYTES: usize = 512 << 10;
/// A mail that is full for this long pauses the partitions.
const PATIENCE: Duration = Duration::from_millis(500);
/// How long moving a partition may take.
const SEEK: Duration = Duration::from_secs(5);
/// Looks at where a topic ends before it is believed that it ends before what was read.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(200);
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
        let mut turn = Turn {
            reader: self,
            client,
            places,
            order: None,
            orders,
            full_since: None,
            paused: false,
        };
        let end = match began {
            Ok(()) => turn.run(),
            Err(error) => Err(failed(&error)),
        };
        turn.leave();
        end
    }
}

/// An order that was told and is not answered.
struct Pending {
    number: u64,
    order: Order,
    /// When a revocation is done without an answer.
    deadline: Instant,
}

/// The thread while it has a client.
struct Turn<'a> {
    reader: &'a Reader,
    client: Client,
    places: &'a mut BTreeMap<u32, Place>,
    /// What the group wants, until it is answered.
    order: Option<Pending>,
    /// Orders so far, over all clients.
    orders: &'a mut u64,
    full_since: Option<Instant>,
    paused: bool,
}

impl Turn<'_> {
    fn run(&mut self) -> Result<(), End> {
        loop {
            if self.reader.cluster.is_closing() {
                return Err(End::Over);
            }
            loop {
                match self.reader.commands.try_recv() {
                    Ok(command) => self.obey(command)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Err(End::Over),
                }
            }
            self.follow_orders()?;
            if self.may_read()? {
                self.gather()?;
            }
        }
    }

    /// Takes what the group wants, and does what was waited for long enough.
    fn follow_orders(&mut self) -> Result<(), End> {
        if let Some(pending) = &self.order {
            let overdue = Instant::now() >= pending.deadline;
            if !overdue || matches!(pending.order, Order::Assign(_)) {
                return Ok(());
            }
            tracing::warn!(
                topic = self.reader.topic,
                "a reader did not give up its partitions in time; they are given away without it"
            );
            self.release()?;
        }
        let Some(order) = self.client.context().next_order() else {
            return Ok(());
        };
        if let Kind::Member { group } = &self.reader.kind {
            metrics::rebalance_seen(&self.reader.name, group);
        }
        *self.orders += 1;
        let number = *self.orders;
        let (at_once, letter) = match &order {
            Order::Assign(partitions) => (
                partitions.is_empty(),
                Letter::Assign(number, partitions.clone()),
            ),
            Order::Revoke { partitions, lost } => {
                self.reader.mail.forget(partitions);
                let told = Letter::Revoke(number, partitions.clone());
                (partitions.is_empty() || *lost, told)
            }
        };
        if !matches!(&letter, Letter::Assign(_, partitions) if partitions.is_empty()) {
            self.reader.mail.put(letter);
        }
        let deadline = Instant::now() + HANDOVER;
        self.order = Some(Pending {
            number,
            order,
            deadline,
        });
        match (at_once, &self.order) {
            (
                true,
                Some(Pending {
                    order: Order::Assign(_),
                    ..
                }),
            ) => self.start(&[]),
            (true, Some(_)) => self.release(),
            _ => Ok(()),
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), End> {
        let awaited = self.order.as_ref().map(|pending| pending.number);
        match command {
            Command::Start(number, starts) if awaited == Some(number) => self.start(&starts),
            Command::Release(number) if awaited == Some(number) => self.release(),
            // An answer to an order of an earlier client.
            Command::Start(..) | Command::Release(_) => Ok(()),
            Command::Seek {
                partition,
                to,
                done,
            } => {
                // Whoever asked may have gone.
                drop(done.send(self.seek(partition, to)));
                Ok(())
            }
        }
    }

    /// Gives up what the group wants back.
    fn release(&mut self) -> Result<(), End> {
        let pending = self
            .order
            .take_if(|p| matches!(p.order, Order::Revoke { .. }));
        let Some(Order::Revoke { partitions, .. }) = pending.map(|pending| pending.order) else {
            return Ok(());
        };
        for number in &partitions {
            self.places.remove(number);
        }
        let places = partitions.iter().map(|n| (*n, RawOffset::Invalid));
        let given_up = list(&self.reader.topic, places)
            .and_then(|list| self.client.incremental_unassign(&list));
        given_up.map_err(|error| End::Failed(explain(&error)))
    }

    /// Takes what the group gives, each partition from its offset.
    fn start(&mut self, starts: &[(u32, u64)]) -> Result<(), End> {
        if self
            .order
            .take_if(|p| matches!(p.order, Order::Assign(_)))
            .is_none()
        {
            return Ok(());
        }
        let places = starts.iter().map(|(number, next)| (*number, raw(*next)));
        let assigned =
            list(&self.reader.topic, places).and_then(|list| self.client.incremental_assign(&list));
        assigned.map_err(|error| End::Failed(explain(&error)))?;
        for (number, next) in starts {
            self.places.insert(
                *number,
                Place {
                    next: *next,
                    end: *next,
                },
            );
        }
        if self.paused {
            // New partitions do not know of the pause.
            self.paused = false;
            self.pause(true)?;
        }
        Ok(())
    }

    fn seek(&mut self, partition: u32, to: u64) -> Result<(), LogError> {
        let place = self.places.get(&partition).copied();
        let place = place.ok_or_else(|| not_ours(partition))?;
        let standing = self
            .reader
            .mail
            .first_waiting(partition)
            .unwrap_or(place.next);
        if standing == to {
            return Ok(());
        }
        self.jump(partition, to)
            .map_err(|error| LogError::Refused(format!("not moved: {}", explain(&error))))?;
        self.reader.mail.forget(&[partition]);
        self.places.insert(partition, Place { next: to, ..place });
        Ok(())
    }

    /// Moves the client. Directly after an assignment, and after an offset that was out of range,
    /// it cannot be moved: then the partition is given up and taken again.
    fn jump(&self, partition: u32, to: u64) -> Result<(), KafkaError> {
        let (topic, number) = (&self.reader.topic, partition.cast_signed());
        let Err(error) = self.client.seek(topic, number, raw(to), SEEK) else {
            return Ok(());
        };
        tracing::debug!(topic, partition, %error, "moved by a new assignment");
        match &self.reader.kind {
            Kind::Groupless(_) => {
                let mut places = self.places.clone();
                if let Some(place) = places.get_mut(&partition) {
                    place.next = to;
                }
                assign_all(&self.client, topic, &places)
            }
            // While the group waits for an answer, an assignment would be taken for it.
            Kind::Member { .. } if self.order.is_some() => Err(error),
            Kind::Member { .. } => {
                let list = list(topic, std::iter::once((partition, raw(to))))?;
                self.client.incremental_unassign(&list)?;
                self.client.incremental_assign(&list)
            }
        }
    }

    /// Whether there is room for more records. Without room for a while the partitions are paused,
    /// and the client is polled for what else it has to say.
    fn may_read(&mut self) -> Result<bool, End> {
        if self.reader.mail.has_room(STEP) {
            self.full_since = None;
            self.pause(false)?;
            return Ok(true);
        }
        let since = *self.full_since.get_or_insert_with(Instant::now);
        if since.elapsed() < PATIENCE {
            return Ok(false);
        }
        self.pause(true)?;
        Ok(true)
    }

    fn pause(&mut self, pause: bool) -> Result<(), End> {
        if self.paused == pause || self.places.is_empty() {
            return Ok(());
        }
        let places = self.places.keys().map(|n| (*n, RawOffset::Invalid));
        let done = list(&self.reader.topic, places).and_then(|list| {
            if pause {
                self.client.pause(&list)
            } else {
                self.client.resume(&list)
            }
        });
        done.map_err(|error| End::Failed(explain(&error)))?;
        self.paused = pause;
        Ok(())
    }

    /// Polls until the client has nothing more, or enough was gathered, and puts it into the mail.
    fn gather(&mut self) -> Result<(), End> {
        let mut gathered = Gathered::default();
        let mut wait = STEP;
        let mut trouble = None;
        // The messages borrow the client, not the turn.
        let client = Arc::clone(&self.client);
        while gathered.bytes < GATHER_BYTES {
            match client.poll(wait) {
                Some(Ok(message)) => self.take(&message, &mut gathered),
                Some(Err(error)) => {
                    trouble = Some(error);
                    break;
                }
                None => break,
            }
            wait = Duration::ZERO;
        }
        for (partition, batch) in gathered.batches {
            let end = self.places.get(&partition).map_or(0, |place| place.end);
            self.reader.mail.put(batch.letter(partition, end));
        }
        match trouble {
            Some(error) => self.judge(&error),
            None => Ok(()),
        }
    }

    fn take(&mut self, message: &BorrowedMessage<'_>, gathered: &mut Gathered) {
        let number = message.partition().cast_unsigned();
        let offset = message.offset().cast_unsigned();
        let Some(place) = self.places.get_mut(&number) else {
            return;
        };
        // Fetched again after a pause.
        if offset < place.next {
            return;
        }
        place.next = offset + 1;
        place.end = place.end.max(place.next);
        gathered.add(number, offset, message);
    }

    /// What an error of the client means for its reader.
    fn judge(&mut self, error: &KafkaError) -> Result<(), End> {
        let code = match error {
            KafkaError::MessageConsumptionFatal(_) => return Err(self.fatal(error)),
            other => other.rdkafka_error_code().unwrap_or(Code::Unknown),
        };
        match code {
            Code::AutoOffsetReset | Code::OffsetOutOfRange => self.find_place(),
            Code::Fatal => Err(self.fatal(error)),
            // The context has told it, and the client mends it by itself.
            code if is_passing(code) => Ok(()),
            // The group has given us up; its order to give up everything follows.
            Code::PollExceeded => Ok(()),
            _ => {
                let why = format!("{}: {}", self.reader.topic, explain(error));
                self.reader.mail.put(Letter::Failed(why));
                Ok(())
            }
        }
    }

    fn fatal(&self, error: &KafkaError) -> End {
        let fatal = self.client.client().fatal_error();
        End::Failed(fatal.map_or_else(
            || explain(error),
            |(code, reason)| format!("{} ({reason})", super::explain::explain_code(code)),
        ))
    }

    /// Some partition stands where there is nothing: below its start, because retention was faster,
    /// or beyond its end, because the topic is not what it was.
    fn find_place(&mut self) -> Result<(), End> {
        let numbers: Vec<u32> = self.places.keys().copied().collect();
        let mut bounds = BTreeMap::new();
        for look in 0..LOOKS {
            bounds = self
                .reader
                .cluster
                .scout
                .bounds(&self.reader.topic, &numbers)
                .map_err(|error| End::Failed(error.to_string()))?;
            // A new leader may take a moment to know how far its partition reaches.
            let end = |number| bounds.get(number).map_or(u64::MAX, |b: &Bounds| b.end);
            if look + 1 == LOOKS || self.places.iter().all(|(n, p)| p.next <= end(n)) {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        for (number, bounds) in bounds {
            let Some(place) = self.places.get(&number).copied() else {
                continue;
            };
            // Which partition the client has stopped at it does not say: all are told to go on.
            let to = place.next.clamp(bounds.start, bounds.end);
            if place.next > bounds.end {
                tracing::error!(
                    topic = self.reader.topic,
                    partition = number,
                    offset = place.next,
                    end = to,
                    "the topic ends before what was read: it was made anew, or the brokers lost \
                     records; reading goes on at its end"
                );
            } else if to > place.next {
                let (from, partition) = (place.next, number);
                self.reader.mail.put(Letter::Lost {
                    partition,
                    from,
                    to,
                });
            }
            self.jump(number, to)
                .map_err(|error| End::Failed(explain(&error)))?;
            self.places.insert(
                number,
                Place {
                    next: to,
                    end: bounds.end,
                },
            );
        }
        Ok(())
    }

    /// Answers what the group still waits for, and ends the client.
    fn leave(mut self) {
        let context = Arc::clone(self.client.context());
        context.close();
        let waiting = self.order.take().map(|pending| pending.order);
        let answered = match waiting {
            Some(Order::Assign(partitions)) => {
                let places = partitions.iter().map(|n| (*n, RawOffset::Beginning));
                list(&self.reader.topic, places)
                    .and_then(|list| self.client.incremental_assign(&list))
            }
            Some(Order::Revoke { partitions, .. }) => {
                let places = partitions.iter().map(|n| (*n, RawOffset::Invalid));
                list(&self.reader.topic, places)
                    .and_then(|list| self.client.incremental_unassign(&list))
            }
            None => Ok(()),
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "while leaving the group");
        }
        // The last of its holders closes it; a commit under way may hold it a moment longer.
        drop(self.reader.client.lock().take());
    }
}

/// Records of one poll, by partition.
#[derive(Default)]
struct Gathered {
    batches: BTreeMap<u32, Batch>,
    bytes: usize,
}

impl Gathered {
    fn add(&mut self, number: u32, offset: u64, message: &BorrowedMessage<'_>) {
        let key = message.key().unwrap_or_default();
        let value = message.payload().unwrap_or_default();
        let batch = self.batches.entry(number).or_default();
        batch.bytes.extend_from_slice(key);
        batch.bytes.extend_from_slice(value);
        batch.records.push(Raw {
            offset,
            key_len: key.len(),
            value_len: value.len(),
            timestamp_ms: message.timestamp().to_millis().unwrap_or(0),
        });
        self.bytes += key.len() + value.len() + size_of::<StoredRecord>();
    }
}

/// Records in one piece of memory, cut up at the end.
#[derive(Default)]
struct Batch {
    bytes: BytesMut,
    records: Vec<Raw>,
}

struct Raw {
    offset: u64,
    key_len: usize,
    value_len: usize,
    timestamp_ms: i64,
}

impl Batch {
    fn letter(self, partition: u32, end: u64) -> Letter {
        let size = self.bytes.len() + self.records.len() * size_of::<StoredRecord>();
        let mut bytes: Bytes = self.bytes.freeze();
        let record = |raw: Raw| StoredRecord {
            offset: Offset(raw.offset),
            key: bytes.split_to(raw.key_len),
            value: bytes.split_to(raw.value_len),
            timestamp_ms: raw.timestamp_ms,
        };
        let records = self.records.into_iter().map(record).collect();
        Letter::Records {
            partition,
            records,
            end,
            bytes: size,
        }
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
