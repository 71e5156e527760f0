//! The open log: its start, its stop, and the seam that the rest of Waylog sees.

use std::collections::BTreeMap;
use std::ops::Range;
use std::sync::Arc;
use std::thread::JoinHandle;
use std::time::Instant;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::cluster::Cluster;
use super::consumer::{KafkaConsumer, blocking};
use super::keeper::Keeper;
use super::open::Opening;
use super::options::KafkaOptions;
use super::producer::Producer;
use super::reader::Kind;
use super::scout::Scout;
use super::status;
use crate::clock::SharedClock;
use crate::stream::{
    AppendError, Consumer, FromCommitted, GroupStatus, Log, LogError, Offset, Partition, Record,
    SeekTo, StartOffsets, TopicStatus,
};

/// A log on Apache Kafka. See [`super`] for its promises.
pub struct KafkaLog {
    cluster: Arc<Cluster>,
    producer: Arc<Producer>,
    keeper: Mutex<Option<JoinHandle<()>>>,
}

impl KafkaLog {
    /// Reaches the brokers, makes and checks the topics.
    ///
    /// # Errors
    /// No broker answers in time, or what is there cannot keep our promises; the message names the
    /// setting, the right or the topic.
    pub async fn open(options: KafkaOptions, clock: SharedClock) -> Result<Arc<Self>, LogError> {
        options.check()?;
        let runtime = tokio::runtime::Handle::current();
        let cluster = blocking(move || {
            let scout =
                Scout::new(&options).map_err(|error| LogError::Refused(error.to_string()))?;
            let opening = Opening {
                options: &options,
                scout: &scout,
                deadline: Instant::now() + options.open_timeout,
            };
            let id = opening.cluster_id()?;
            let topics = options.topics.iter();
            let topics = topics.map(|spec| runtime.block_on(opening.topic(spec)));
            let topics = topics.collect::<Result<Vec<_>, _>>()?;
            Ok(Cluster::new(options, clock, id, scout, topics))
        });
        let cluster = Arc::new(cluster.await?);
        let producer = Producer::new(&cluster.options);
        let producer = producer.map_err(|error| LogError::Refused(error.to_string()))?;
        let keeper = Keeper::new(Arc::clone(&cluster));
        let keeper = std::thread::Builder::new()
            .name("kafka-keeper".to_owned())
            .spawn(move || keeper.run())
            .map_err(|error| LogError::Io {
                context: "cannot start a thread for the log".to_owned(),
                error,
            })?;
        tracing::info!(
            cluster = cluster.id,
            "Kafka is reached, and its topics are fit"
        );
        Ok(Arc::new(Self {
            cluster,
            producer: Arc::new(producer),
            keeper: Mutex::new(Some(keeper)),
        }))
    }

    #[cfg(test)]
    pub(super) fn producer(&self) -> &Producer {
        &self.producer
    }
}

impl Drop for KafkaLog {
    fn drop(&mut self) {
        self.cluster.closing.cancel();
    }
}

#[async_trait]
impl Log for KafkaLog {
    fn stream_id(&self, topic: &str) -> Result<String, LogError> {
        let topic = self.cluster.topic(topic)?;
        Ok(format!("{}:{}", self.cluster.id, topic.remote()))
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Ok(self.cluster.topic(topic)?.opened.spec.partitions)
    }

    async fn append(
        &self,
        topic: &str,
        partition: Partition,
        records: Vec<Record>,
    ) -> Result<Range<Offset>, AppendError> {
        let found = self.cluster.topics.get(topic);
        let found = found.and_then(|topic| {
            let state = topic.partitions.get(partition.0 as usize)?;
            Some((topic.remote(), state))
        });
        let (remote, state) = found.ok_or_else(|| AppendError::UnknownPartition {
            topic: topic.to_owned(),
            partition,
        })?;
        self.producer
            .append(remote, partition, &state.turn, &records)
            .await
    }

    async fn subscribe(
        &self,
        topic: &str,
        group: &str,
        start: Arc<dyn StartOffsets>,
    ) -> Result<Box<dyn Consumer>, LogError> {
        let found = self.cluster.topic(topic)?;
        self.cluster.know_group(group, topic);
        let kind = Kind::Member {
            group: group.to_owned(),
        };
        let consumer =
            KafkaConsumer::start(Arc::clone(&self.cluster), found.opened.clone(), kind, start)?;
        Ok(Box::new(consumer))
    }

    async fn reader(
        &self,
        topic: &str,
        partitions: &[Partition],
        start: SeekTo,
    ) -> Result<Box<dyn Consumer>, LogError> {
        let found = self.cluster.topic(topic)?;
        let count = found.opened.spec.partitions;
        if let Some(wrong) = partitions.iter().find(|number| number.0 >= count) {
            return Err(LogError::Refused(format!(
                "topic {topic} has no partition {wrong}; it has 0 to {}",
                count - 1
            )));
        }
        let places: Vec<_> = partitions.iter().map(|number| (number.0, start)).collect();
        let (cluster, name) = (Arc::clone(&self.cluster), found.remote().to_owned());
        let starts: BTreeMap<u32, u64> =
            blocking(move || cluster.scout.resolve(&name, &places)).await?;
        let consumer = KafkaConsumer::start(
            Arc::clone(&self.cluster),
            found.opened.clone(),
            Kind::Groupless(starts),
            Arc::new(FromCommitted),
        )?;
        Ok(Box::new(consumer))
    }

    async fn topics(&self) -> Result<Vec<TopicStatus>, LogError> {
        let cluster = Arc::clone(&self.cluster);
        blocking(move || status::topics(&cluster)).await
    }

    async fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        let cluster = Arc::clone(&self.cluster);
        blocking(move || status::groups(&cluster)).await
    }

    async fn reset_group(
        &self,
        topic: &str,
        group: &str,
        partition: Partition,
        to: SeekTo,
    ) -> Result<Offset, LogError> {
        let name = self.cluster.topic(topic)?.remote().to_owned();
        self.cluster.know_group(group, topic);
        let (cluster, group) = (Arc::clone(&self.cluster), group.to_owned());
        blocking(move || {
            let desk = cluster.desk(&group)?;
            let members = desk
                .members(&cluster.options.group_id(&group), &name)?
                .len();
            if members > 0 {
                return Err(LogError::Refused(format!(
                    "group {group} has {members} members: stop them before its offsets are reset"
                )));
            }
            let resolved = cluster.scout.resolve(&name, &[(partition.0, to)])?;
            let next = resolved.get(&partition.0).copied().unwrap_or_default();
            desk.commit(&name, partition.0, next)?;
            Ok(Offset(next))
        })
        .await
    }

    async fn close(&self) -> Result<(), LogError> {
        let (cluster, producer) = (Arc::clone(&self.cluster), Arc::clone(&self.producer));
        let keeper = self.keeper.lock().take();
        blocking(move || {
            let flushed = producer.close();
            cluster.closing.cancel();
            if let Some(keeper) = keeper
                && keeper.join().is_err()
            {
                tracing::error!("the keeper of Kafka panicked");
            }
            cluster.close_desks();
            flushed
        })
        .await
    }
}
