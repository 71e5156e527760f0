//! The client that asks the brokers: where partitions begin and end, who leads them, what records
//! are like. Every call blocks; none goes through a group.

use std::collections::BTreeMap;
use std::ops::Range;
use std::time::{Duration, Instant};

use bytes::Bytes;
use parking_lot::Mutex;
use rdkafka::Message;
use rdkafka::consumer::{BaseConsumer, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::{Offset, TopicPartitionList};

use super::context::Context;
use super::explain::explain;
use super::options::KafkaOptions;
use crate::stream::load::KeySample;
use crate::stream::{LogError, SeekTo};

/// How long one answer is waited for.
pub(super) const ANSWER: Duration = Duration::from_secs(10);
/// How long records of a sample are waited for.
const SAMPLE_WAIT: Duration = Duration::from_secs(3);
/// How often what the client has to say is listened to.
const STEP: Duration = Duration::from_millis(20);
/// Log lines and errors that are listened to at once.
const LISTENED: usize = 64;
/// Offsets that the brokers use for "nothing found".
const NOTHING: i64 = -1;

/// First and next offset of a partition, as they stand at its leader.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub(super) struct Bounds {
    pub(super) start: u64,
    /// One past the last record that all replicas in sync have.
    pub(super) end: u64,
}

/// Who has a partition.
#[derive(Debug, Clone, Default)]
pub(super) struct Replicas {
    pub(super) leader: Option<i32>,
    pub(super) all: usize,
    pub(super) in_sync: usize,
}

/// What a topic's partitions stand on.
pub(super) type Layout = Vec<Replicas>;

pub(super) struct Scout {
    client: BaseConsumer<Context>,
    /// Samples assign the client, one at a time.
    sampling: Mutex<()>,
}

impl Scout {
    pub(super) fn new(options: &KafkaOptions) -> Result<Self, KafkaError> {
        Ok(Self {
            client: options.scout().create_with_context(Context::default())?,
            sampling: Mutex::new(()),
        })
    }

    /// The newest complaint of the client, for the message of what failed, and whether waiting may
    /// mend it.
    pub(super) fn complaint(&self) -> Option<(String, bool)> {
        self.listen();
        self.client.context().complaints.last()
    }

    /// Lets the client say what it has to: log lines and errors would pile up otherwise.
    pub(super) fn listen(&self) {
        if let Some(_idle) = self.sampling.try_lock() {
            listen(&self.client);
        }
    }

    pub(super) fn cluster_id(&self, wait: Duration) -> Option<String> {
        self.client.client().fetch_cluster_id(wait)
    }

    /// The topic's partitions; `None` if there is no such topic.
    pub(super) fn layout(&self, topic: &str, wait: Duration) -> Result<Option<Layout>, KafkaError> {
        let metadata = self.client.fetch_metadata(Some(topic), wait)?;
        let Some(found) = metadata.topics().iter().find(|t| t.name() == topic) else {
            return Ok(None);
        };
        if let Some(error) = found.error() {
            return match Code::from(error) {
                Code::UnknownTopicOrPartition | Code::UnknownTopic => Ok(None),
                code => Err(KafkaError::MetadataFetch(code)),
            };
        }
        let mut layout = vec![Replicas::default(); found.partitions().len()];
        for partition in found.partitions() {
            let number = usize::try_from(partition.id()).unwrap_or(usize::MAX);
            if let Some(place) = layout.get_mut(number) {
                *place = Replicas {
                    leader: Some(partition.leader()).filter(|leader| *leader >= 0),
                    all: partition.replicas().len(),
                    in_sync: partition.isr().len(),
                };
            }
        }
        Ok(Some(layout))
    }

    /// Where each of `partitions` begins and ends.
    pub(super) fn bounds(
        &self,
        topic: &str,
        partitions: &[u32],
    ) -> Result<BTreeMap<u32, Bounds>, LogError> {
        let starts = self.offsets(topic, partitions, Offset::Beginning)?;
        let ends = self.offsets(topic, partitions, Offset::End)?;
        let bound = |(number, start): (u32, i64)| {
            let start = start.max(0).cast_unsigned();
            let end = ends
                .get(&number)
                .copied()
                .unwrap_or(0)
                .max(0)
                .cast_unsigned();
            // Retention may have moved the start between the two answers.
            let bounds = Bounds {
                start: start.min(end),
                end,
            };
            (number, bounds)
        };
        Ok(starts.into_iter().map(bound).collect())
    }

    /// The offset that `to` means in each partition. One below the start stays as it is, so that
    /// the reader is told what it lost; one beyond the end becomes the end.
    pub(super) fn resolve(
        &self,
        topic: &str,
        places: &[(u32, SeekTo)],
    ) -> Result<BTreeMap<u32, u64>, LogError> {
        let numbers: Vec<u32> = places.iter().map(|(number, _)| *number).collect();
        let bounds = self.bounds(topic, &numbers)?;
        let mut resolved = BTreeMap::new();
        for (number, to) in places {
            let bounds = bounds.get(number).copied().unwrap_or_default();
            let at = match *to {
                SeekTo::Earliest => bounds.start,
                SeekTo::Latest => bounds.end,
                SeekTo::Offset(offset) if offset.0 <= bounds.end => offset.0,
                SeekTo::Offset(offset) => {
                    tracing::error!(
                        topic,
                        partition = number,
                        offset = offset.0,
                        end = bounds.end,
                        "an offset beyond the end of the topic was asked for: reading starts at the \
                         end; either the topic was made anew, or the brokers lost records"
                    );
                    bounds.end
                }
                SeekTo::TimestampMs(at) => {
                    let found = self.offsets(topic, &[*number], Offset::Offset(at.max(0)))?;
                    let found = found.get(number).copied().unwrap_or(NOTHING);
                    u64::try_from(found).unwrap_or(bounds.end)
                }
            };
            resolved.insert(*number, at);
        }
        Ok(resolved)
    }

    /// Asks every partition's leader for one offset.
    fn offsets(
        &self,
        topic: &str,
        partitions: &[u32],
        wanted: Offset,
    ) -> Result<BTreeMap<u32, i64>, LogError> {
        let list = list(topic, partitions.iter().map(|number| (*number, wanted)));
        let found = list.and_then(|list| self.client.offsets_for_times(list, ANSWER));
        let found = found.map_err(|error| self.refused("ask where the topic stands", &error))?;
        let mut offsets = BTreeMap::new();
        for element in found.elements() {
            element
                .error()
                .map_err(|error| self.refused("ask where a partition stands", &error))?;
            let number = element.partition().cast_unsigned();
            offsets.insert(number, element.offset().to_raw().unwrap_or(NOTHING));
        }
        Ok(offsets)
    }

    pub(super) fn refused(&self, what: &str, error: &KafkaError) -> LogError {
        self.listen();
        LogError::Refused(format!("cannot {what}: {}", explain(error)))
    }

    /// Reads the records of each partition's range as far as they come in a moment; hands each with
    /// its partition and timestamp to `take`.
    pub(super) fn sample(
        &self,
        topic: &str,
        mut ranges: BTreeMap<u32, Range<u64>>,
        mut take: impl FnMut(u32, i64, Bytes, usize),
    ) -> Result<(), LogError> {
        ranges.retain(|_, range| !range.is_empty());
        if ranges.is_empty() {
            return Ok(());
        }
        let _turn = self.sampling.lock();
        let places = ranges
            .iter()
            .map(|(number, range)| (*number, Offset::Offset(range.start.cast_signed())));
        let assigned = list(topic, places).and_then(|list| self.client.assign(&list));
        assigned.map_err(|error| self.refused("read a sample", &error))?;
        let deadline = Instant::now() + SAMPLE_WAIT;
        while !ranges.is_empty() && Instant::now() < deadline {
            // Errors were noted by the context; a sample is as good as it gets.
            let Some(Ok(message)) = self.client.poll(STEP) else {
                continue;
            };
            let number = message.partition().cast_unsigned();
            let offset = message.offset().cast_unsigned();
            let Some(range) = ranges.get(&number) else {
                continue;
            };
            let (wanted, last) = (range.contains(&offset), offset + 1 >= range.end);
            if last {
                ranges.remove(&number);
            }
            if wanted {
                let key = Bytes::copy_from_slice(message.key().unwrap_or_default());
                let at = message.timestamp().to_millis().unwrap_or(0);
                take(number, at, key, message.payload_len());
            }
        }
        self.client
            .unassign()
            .map_err(|error| self.refused("end a sample", &error))
    }

    /// What the newest `limit` records of each partition are like, and the newest timestamp.
    pub(super) fn newest(
        &self,
        topic: &str,
        bounds: &BTreeMap<u32, Bounds>,
        limit: u64,
    ) -> Result<BTreeMap<u32, (KeySample, i64)>, LogError> {
        let newest = |b: &Bounds| b.end.saturating_sub(limit).max(b.start)..b.end;
        let ranges = bounds.iter().map(|(number, b)| (*number, newest(b)));
        let mut samples: BTreeMap<u32, (KeySample, i64)> = BTreeMap::new();
        self.sample(topic, ranges.collect(), |number, at, key, value_len| {
            let entry = samples.entry(number).or_default();
            entry.0.add(key, value_len);
            entry.1 = entry.1.max(at);
        })?;
        Ok(samples)
    }
}

/// Lets a client that reads nothing say what it has to.
pub(super) fn listen(client: &BaseConsumer<Context>) {
    // A poll does not tell whether there was something.
    for _ in 0..LISTENED {
        drop(client.poll(Duration::ZERO));
    }
}

/// `places` as the library wants them.
pub(super) fn list(
    topic: &str,
    places: impl Iterator<Item = (u32, Offset)>,
) -> Result<TopicPartitionList, KafkaError> {
    let mut list = TopicPartitionList::new();
    for (number, offset) in places {
        list.add_partition_offset(topic, number.cast_signed(), offset)?;
    }
    Ok(list)
}
