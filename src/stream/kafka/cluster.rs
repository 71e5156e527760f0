//! What everything of one log on Kafka shares.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use parking_lot::Mutex;
use rdkafka::consumer::{BaseConsumer, CommitMode, Consumer};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::Offset as RawOffset;
use tokio_util::sync::CancellationToken;

use super::context::Context;
use super::explain::explain;
use super::open::OpenedTopic;
use super::options::KafkaOptions;
use super::scout::{ANSWER, Scout, list, listen};
use crate::clock::SharedClock;
use crate::stream::LogError;
use crate::stream::load::LoadMeter;

/// A topic of ours.
pub(super) struct Topic {
    pub(super) opened: OpenedTopic,
    pub(super) partitions: Vec<PartitionState>,
}

/// What is kept of a partition.
#[derive(Default)]
pub(super) struct PartitionState {
    /// Held while the records of one append are handed over.
    pub(super) turn: Mutex<()>,
    pub(super) load: Mutex<LoadMeter>,
}

impl Topic {
    pub(super) fn new(opened: OpenedTopic) -> Self {
        let count = opened.spec.partitions as usize;
        Self {
            opened,
            partitions: std::iter::repeat_with(PartitionState::default)
                .take(count)
                .collect(),
        }
    }

    /// As the rest of Waylog names it.
    pub(super) fn name(&self) -> &str {
        &self.opened.spec.name
    }

    /// As the brokers name it.
    pub(super) fn remote(&self) -> &str {
        &self.opened.remote
    }

    pub(super) fn numbers(&self) -> Vec<u32> {
        (0..self.opened.spec.partitions).collect()
    }
}

/// The cluster as it was found, and who asks it.
pub(super) struct Cluster {
    pub(super) options: KafkaOptions,
    pub(super) clock: SharedClock,
    pub(super) id: String,
    pub(super) scout: Scout,
    pub(super) topics: BTreeMap<String, Topic>,
    pub(super) closing: CancellationToken,
    /// Groups whose state is told, each with the topic it reads.
    groups: Mutex<BTreeSet<(String, String)>>,
    /// A client a group, for its committed offsets.
    desks: Mutex<BTreeMap<String, Arc<Desk>>>,
}

impl Cluster {
    pub(super) fn new(
        options: KafkaOptions,
        clock: SharedClock,
        id: String,
        scout: Scout,
        topics: Vec<OpenedTopic>,
    ) -> Self {
        let first = options.topics.first().map(|spec| spec.name.clone());
        let groups = options.groups.iter().zip(first.iter().cycle());
        let groups = groups.map(|(group, topic)| (group.clone(), topic.clone()));
        Self {
            groups: Mutex::new(groups.collect()),
            options,
            clock,
            id,
            scout,
            topics: topics
                .into_iter()
                .map(|opened| (opened.spec.name.clone(), Topic::new(opened)))
                .collect(),
            closing: CancellationToken::new(),
            desks: Mutex::default(),
        }
    }

    pub(super) fn is_closing(&self) -> bool {
        self.closing.is_cancelled()
    }

    pub(super) fn topic(&self, name: &str) -> Result<&Topic, LogError> {
        self.topics.get(name).ok_or_else(|| {
            let known: Vec<&str> = self.topics.keys().map(String::as_str).collect();
            LogError::Refused(format!(
                "there is no topic {name}; there is {}",
                known.join(", ")
            ))
        })
    }

    /// From now on the state of `group` is told.
    pub(super) fn know_group(&self, group: &str, topic: &str) {
        let known = (group.to_owned(), topic.to_owned());
        self.groups.lock().insert(known);
    }

    pub(super) fn known_groups(&self) -> Vec<(String, String)> {
        self.groups.lock().iter().cloned().collect()
    }

    pub(super) fn desk(&self, group: &str) -> Result<Arc<Desk>, LogError> {
        let mut desks = self.desks.lock();
        if let Some(desk) = desks.get(group) {
            return Ok(Arc::clone(desk));
        }
        let desk = Arc::new(Desk::new(&self.options, group)?);
        desks.insert(group.to_owned(), Arc::clone(&desk));
        Ok(desk)
    }

    /// Lets every client say what it has to.
    pub(super) fn listen(&self) {
        self.scout.listen();
        let desks: Vec<_> = self.desks.lock().values().cloned().collect();
        for desk in desks {
            desk.listen();
        }
    }

    /// Ends the clients that ask. Blocks.
    pub(super) fn close_desks(&self) {
        let desks = std::mem::take(&mut *self.desks.lock());
        drop(desks);
    }
}

/// Asks and sets a group's committed offsets without being a member of it.
pub(super) struct Desk {
    client: BaseConsumer<Context>,
    group: String,
}

impl Desk {
    fn new(options: &KafkaOptions, group: &str) -> Result<Self, LogError> {
        let mut config = options.consumer(Some(group));
        config.remove("group.instance.id");
        config.set("client.id", format!("waylog-desk-{group}"));
        let client = config.create_with_context(Context::default());
        Ok(Self {
            client: client.map_err(|error| LogError::Refused(explain(&error)))?,
            group: group.to_owned(),
        })
    }

    fn listen(&self) {
        listen(&self.client);
    }

    /// The group's committed offsets of these partitions, as far as there are any.
    pub(super) fn committed(
        &self,
        topic: &str,
        partitions: &[u32],
    ) -> Result<BTreeMap<u32, u64>, LogError> {
        let wanted = list(topic, partitions.iter().map(|n| (*n, RawOffset::Invalid)));
        let found = wanted.and_then(|list| self.client.committed_offsets(list, ANSWER));
        let found = found.map_err(|error| self.refused("ask for its committed offsets", &error))?;
        let mut committed = BTreeMap::new();
        for element in found.elements() {
            element
                .error()
                .map_err(|error| self.refused("ask for a committed offset", &error))?;
            if let RawOffset::Offset(next) = element.offset() {
                let number = element.partition().cast_unsigned();
                committed.insert(number, next.max(0).cast_unsigned());
            }
        }
        Ok(committed)
    }

    /// Sets one; the brokers refuse it while the group has members.
    pub(super) fn commit(&self, topic: &str, partition: u32, next: u64) -> Result<(), LogError> {
        let place = (partition, RawOffset::Offset(next.cast_signed()));
        let done = list(topic, std::iter::once(place))
            .and_then(|list| self.client.commit(&list, CommitMode::Sync));
        done.map_err(|error| match error.rdkafka_error_code() {
            Some(Code::UnknownMemberId | Code::IllegalGeneration | Code::RebalanceInProgress) => {
                LogError::Refused(format!(
                    "group {} has members: stop them before its offsets are reset",
                    self.group
                ))
            }
            _ => self.refused("set its committed offset", &error),
        })
    }

    /// Who is in the group, and which of `topic`'s partitions each has.
    pub(super) fn members(&self, id: &str, topic: &str) -> Result<Vec<Member>, LogError> {
        let found = self.client.fetch_group_list(Some(id), ANSWER);
        let found = found.map_err(|error| self.refused("ask for its members", &error))?;
        let group = found.groups().iter().find(|group| group.name() == id);
        let members = group.map_or(&[][..], |group| group.members());
        let member = |m: &rdkafka::groups::GroupMemberInfo| Member {
            id: m.id().to_owned(),
            partitions: super::assignment::partitions(m.assignment().unwrap_or_default(), topic),
        };
        Ok(members.iter().map(member).collect())
    }

    fn refused(&self, what: &str, error: &KafkaError) -> LogError {
        LogError::Refused(format!(
            "group {}: cannot {what}: {}",
            self.group,
            explain(error)
        ))
    }
}

/// A member of a group, as the coordinator knows it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Member {
    pub(super) id: String,
    pub(super) partitions: Vec<u32>,
}
