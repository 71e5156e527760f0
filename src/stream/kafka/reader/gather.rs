//! Records from the client into the mail, and what the client's errors mean.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use bytes::{Bytes, BytesMut};
use rdkafka::Message;
use rdkafka::consumer::Consumer;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::message::BorrowedMessage;
use rdkafka::topic_partition_list::Offset as RawOffset;

use super::turn::Turn;
use super::{End, STEP};
use crate::stream::kafka::explain::{explain, explain_code, is_passing};
use crate::stream::kafka::mail::Letter;
use crate::stream::kafka::scout::list;
use crate::stream::{Offset, StoredRecord};

/// Bytes of records that are gathered before they go into the mail.
const GATHER_BYTES: usize = 512 << 10;
/// A mail that is full for this long pauses the partitions.
const PATIENCE: Duration = Duration::from_millis(500);

impl Turn<'_> {
    /// Whether there is room for more records. Without room for a while the partitions are paused,
    /// and the client is polled for what else it has to say.
    pub(super) fn may_read(&mut self) -> Result<bool, End> {
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

    pub(super) fn pause(&mut self, pause: bool) -> Result<(), End> {
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
    pub(super) fn gather(&mut self) -> Result<(), End> {
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
            |(code, reason)| format!("{} ({reason})", explain_code(code)),
        ))
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
