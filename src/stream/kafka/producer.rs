//! The writing side: one idempotent producer, which is replaced when it has failed for good.
//!
//! Invariants:
//! - Room for records is given out before they are handed to librdkafka: a refusal for want of room
//!   means that nothing of that append was sent.
//! - Records of one append are handed over under their partition's lock, so that they stay together
//!   and in order.
//! - An append is answered when the fate of its last record is known.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::time::Duration;

use arc_swap::ArcSwap;
use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::Message;
use rdkafka::config::{FromClientConfigAndContext, RDKafkaLogLevel};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::DeliveryResult;
use rdkafka::producer::{BaseRecord, Producer as _, ProducerContext, ThreadedProducer};
use tokio::sync::oneshot;

use super::context::{Complaints, log_line};
use super::explain::explain_code;
use super::options::{KafkaOptions, MAX_RECORD_LEN};
use crate::stream::{AppendError, LogError, Offset, Partition, Record, metrics};

/// What a waiting record takes beside its bytes.
const OVERHEAD: usize = 128;
/// How long a producer that is replaced, or closed, may take to send what it has.
const FLUSH: Duration = Duration::from_secs(10);

/// One append on its way; shared by its records.
pub(super) struct Flight {
    state: Mutex<FlightState>,
    room: Arc<AtomicUsize>,
    bytes: usize,
    records: u32,
}

struct FlightState {
    left: usize,
    first: i64,
    last: i64,
    failure: Option<AppendError>,
    answer: Option<oneshot::Sender<Result<Range<Offset>, AppendError>>>,
}

impl Flight {
    /// So many of its records have met their fate.
    fn settle(&self, count: usize, fate: Result<i64, AppendError>) {
        let mut state = self.state.lock();
        match fate {
            Ok(offset) => {
                state.first = state.first.min(offset);
                state.last = state.last.max(offset);
            }
            Err(error) => drop(state.failure.get_or_insert(error)),
        }
        state.left = state.left.saturating_sub(count);
        if state.left > 0 {
            return;
        }
        let Some(answer) = state.answer.take() else {
            return;
        };
        self.room.fetch_sub(self.bytes, Ordering::AcqRel);
        let result = match state.failure.take() {
            Some(error) => Err(error),
            None => {
                metrics::appended(self.records, self.bytes as u64);
                let next = state.last.cast_unsigned() + 1;
                Ok(Offset(state.first.cast_unsigned())..Offset(next))
            }
        };
        // Whoever appended may have gone.
        drop(answer.send(result));
    }
}

/// What librdkafka's producer calls back.
struct Deliveries {
    complaints: Complaints,
    /// Nothing can be produced any more.
    broken: Arc<AtomicBool>,
}

impl ClientContext for Deliveries {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        if error.rdkafka_error_code() == Some(Code::Fatal) {
            self.broken.store(true, Ordering::Release);
        }
        self.complaints.note(&error, reason);
    }
}

impl ProducerContext for Deliveries {
    type DeliveryOpaque = Arc<Flight>;

    fn delivery(&self, result: &DeliveryResult<'_>, flight: Arc<Flight>) {
        let fate = match result {
            Ok(message) => Ok(message.offset()),
            Err((error, _)) => {
                let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                if code == Code::Fatal {
                    self.broken.store(true, Ordering::Release);
                }
                Err(failure(code))
            }
        };
        flight.settle(1, fate);
    }
}

fn failure(code: Code) -> AppendError {
    match code {
        Code::QueueFull => AppendError::Busy,
        Code::MessageSizeTooLarge | Code::InvalidMessageSize | Code::MessageBatchTooLarge => {
            AppendError::Invalid(explain_code(code))
        }
        code => AppendError::Stopped(explain_code(code)),
    }
}

/// A producer and whether it still works.
struct Line {
    producer: ThreadedProducer<Deliveries>,
    broken: Arc<AtomicBool>,
}

impl Line {
    fn new(options: &KafkaOptions) -> Result<Self, KafkaError> {
        let broken = Arc::new(AtomicBool::new(false));
        let deliveries = Deliveries {
            complaints: Complaints::default(),
            broken: Arc::clone(&broken),
        };
        let producer = ThreadedProducer::from_config_and_context(&options.producer(), deliveries)?;
        Ok(Self { producer, broken })
    }
}

/// Appends for all topics.
pub(super) struct Producer {
    options: KafkaOptions,
    line: ArcSwap<Line>,
    /// Held while the line is replaced.
    replacing: Mutex<()>,
    closed: AtomicBool,
    /// Bytes that wait for their acknowledgement.
    room: Arc<AtomicUsize>,
}

impl Producer {
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, KafkaError> {
        Ok(Self {
            options: options.clone(),
            line: ArcSwap::from_pointee(Line::new(options)?),
            replacing: Mutex::new(()),
            closed: AtomicBool::new(false),
            room: Arc::default(),
        })
    }

    /// Appends `records` to one partition; `turn` is that partition's lock.
    pub(super) async fn append(
        self: &Arc<Self>,
        topic: &str,
        partition: Partition,
        turn: &Mutex<()>,
        records: &[Record],
    ) -> Result<Range<Offset>, AppendError> {
        let bytes = check(records)?;
        if self.closed.load(Ordering::Acquire) {
            return Err(AppendError::Stopped("the log is closed".to_owned()));
        }
        let line = self.line.load_full();
        if line.broken.load(Ordering::Acquire) {
            return Err(self.replace(&line));
        }
        if self.room.fetch_add(bytes, Ordering::AcqRel) + bytes > self.options.buffer_bytes {
            self.room.fetch_sub(bytes, Ordering::AcqRel);
            metrics::refused();
            return Err(AppendError::Busy);
        }
        let (answer, answered) = oneshot::channel();
        let flight = Arc::new(Flight {
            state: Mutex::new(FlightState {
                left: records.len(),
                first: i64::MAX,
                last: i64::MIN,
                failure: None,
                answer: Some(answer),
            }),
            room: Arc::clone(&self.room),
            bytes,
            records: u32::try_from(records.len()).unwrap_or(u32::MAX),
        });
        {
            let _turn = turn.lock();
            for (sent, record) in records.iter().enumerate() {
                let message = BaseRecord::with_opaque_to(topic, Arc::clone(&flight))
                    .partition(partition.0.cast_signed())
                    .key(&record.key[..])
                    .payload(&record.value[..])
                    .timestamp(record.timestamp_ms);
                if let Err((error, _)) = line.producer.send(message) {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                    if code == Code::Fatal {
                        line.broken.store(true, Ordering::Release);
                    }
                    let fate = match (failure(code), sent) {
                        // Those before it are on their way: whether they arrive is not known.
                        (AppendError::Busy, 1..) => failure(Code::Unknown),
                        (error, _) => error,
                    };
                    flight.settle(records.len() - sent, Err(fate));
                    break;
                }
            }
        }
        drop((flight, line));
        let ended = |_| AppendError::Stopped("the producer has ended".to_owned());
        answered.await.map_err(ended)?
    }

    /// Replaces a line that is broken for good; answers what the append that met it is told.
    fn replace(self: &Arc<Self>, broken: &Arc<Line>) -> AppendError {
        let why = broken.producer.client().fatal_error();
        let why = why.map_or_else(
            || "the producer has failed".to_owned(),
            |(code, reason)| format!("{} ({reason})", explain_code(code)),
        );
        let (this, broken) = (Arc::clone(self), Arc::clone(broken));
        let told = why.clone();
        // Making and ending a producer blocks.
        tokio::task::spawn_blocking(move || this.replace_now(&broken, &told));
        AppendError::Stopped(why)
    }

    fn replace_now(&self, broken: &Arc<Line>, why: &str) {
        let Some(_turn) = self.replacing.try_lock() else {
            return;
        };
        if !Arc::ptr_eq(&self.line.load(), broken) || self.closed.load(Ordering::Acquire) {
            return;
        }
        tracing::error!("the producer has failed for good and is made anew: {why}");
        match Line::new(&self.options) {
            Ok(line) => drop(self.line.swap(Arc::new(line))),
            Err(error) => tracing::error!(%error, "no new producer; it will be tried again"),
        }
    }

    /// Sends what waits, then takes nothing more. Blocks.
    pub(super) fn close(&self) -> Result<(), LogError> {
        self.closed.store(true, Ordering::Release);
        let line = self.line.load_full();
        let flushed = line
            .producer
            .flush(FLUSH.max(self.options.delivery_timeout));
        flushed.map_err(|error| LogError::Refused(format!("the producer did not end: {error}")))
    }

    /// Bytes that wait for their acknowledgement.
    #[cfg(test)]
    pub(super) fn waiting_bytes(&self) -> usize {
        self.room.load(Ordering::Acquire)
    }
}

/// Refuses what can never be stored; answers the room that the records take.
fn check(records: &[Record]) -> Result<usize, AppendError> {
    if records.is_empty() {
        return Err(AppendError::Invalid("there is none".to_owned()));
    }
    let mut bytes = 0;
    for record in records {
        let len = record.key.len() + record.value.len();
        if record.key.is_empty() {
            return Err(AppendError::Invalid("its key is empty".to_owned()));
        }
        if len > MAX_RECORD_LEN {
            return Err(AppendError::Invalid(format!(
                "{len} bytes are more than the {MAX_RECORD_LEN} that a record may have"
            )));
        }
        bytes += len + OVERHEAD;
    }
    Ok(bytes)
}
