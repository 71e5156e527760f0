//! The open log: its start, its stop, and the seam that the rest of Waylog sees.

use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::consumer::{EmbeddedConsumer, resolve_on_disk};
use super::keeper::Keeper;
use super::open::open_state;
use super::options::{EmbeddedLogOptions, check_name};
use super::partition::Partition;
use super::state::State;
use super::status;
use super::storage::{Disk, StorageLock};
use crate::clock::SharedClock;
use crate::stream::{
    AppendError, Consumer, GroupStatus, Log, LogError, Offset, Partition as PartitionNumber,
    Record, SeekTo, StartOffsets, TopicStatus,
};

/// A log in a folder of this machine. See [`super`] for its promises and files.
pub struct EmbeddedLog {
    state: Arc<State>,
    engine: Arc<Engine>,
}

/// What runs while the log is open, each taken when it is stopped.
struct Engine {
    threads: Mutex<Vec<JoinHandle<()>>>,
    keeper: Mutex<Option<JoinHandle<()>>>,
    lock: Mutex<Option<Box<dyn StorageLock>>>,
}

impl EmbeddedLog {
    /// Opens or creates the log in `options.dir` and starts its threads. Blocks on the disk.
    ///
    /// # Errors
    /// The folder is in use, of another format or cannot be used. A damaged partition is no
    /// error: it is quarantined, and the others are served.
    pub fn open(options: EmbeddedLogOptions, clock: SharedClock) -> Result<Arc<Self>, LogError> {
        let opened = open_state(Arc::new(Disk), options, clock)?;
        let mut threads = Vec::new();
        for (n, syncer) in opened.syncers.into_iter().enumerate() {
            threads.push(spawn(format!("log-sync-{n}"), move || syncer.run())?);
        }
        let keeper = Keeper::new(Arc::clone(&opened.state));
        let keeper = spawn("log-keeper".to_owned(), move || keeper.run())?;
        let engine = Engine {
            threads: Mutex::new(threads),
            keeper: Mutex::new(Some(keeper)),
            lock: Mutex::new(Some(opened.lock)),
        };
        Ok(Arc::new(Self {
            state: opened.state,
            engine: Arc::new(engine),
        }))
    }

    /// Resolves, with the reason, when a sync or a write has failed. Nothing is acknowledged any
    /// more; the process must end with an error and be started again.
    pub async fn failed(&self) -> String {
        self.state.core.failed().await.to_string()
    }

    /// The uuid that `META` holds.
    #[must_use]
    pub fn uuid(&self) -> uuid::Uuid {
        self.state.core.uuid
    }

    /// Partitions that are quarantined or damaged, each with file, position and next step.
    #[must_use]
    pub fn alarms(&self) -> Vec<String> {
        let alarms = self.state.partitions().filter_map(|partition| {
            let what = partition
                .quarantined()
                .or_else(|| partition.damage.lock().clone())?;
            Some(format!(
                "{} partition {}: {what}",
                partition.topic, partition.number
            ))
        });
        alarms.collect()
    }

    /// Bytes of all frames that are on disk, preallocated space not counted.
    #[must_use]
    pub fn frame_bytes(&self) -> u64 {
        self.state
            .partitions()
            .map(|partition| partition.frame_bytes())
            .sum()
    }

    /// Groups that were synced since the log was opened.
    #[must_use]
    pub fn syncs(&self) -> u64 {
        self.state.core.syncs.load(Ordering::Relaxed)
    }

    /// Bytes of memory that the sparse indexes take.
    #[must_use]
    pub fn index_bytes(&self) -> usize {
        let segments = self.state.partitions().map(|partition| {
            let segments = partition.segments.read();
            segments
                .iter()
                .map(|segment| segment.index.memory_bytes())
                .sum::<usize>()
        });
        segments.sum()
    }

    fn find(&self, topic: &str, number: PartitionNumber) -> Result<Arc<Partition>, LogError> {
        let topic = self.state.topic(topic)?;
        topic.partition(number.0).map(Arc::clone).ok_or_else(|| {
            LogError::Refused(format!(
                "topic {} has no partition {number}; it has 0 to {}",
                topic.name,
                topic.partitions.len() - 1
            ))
        })
    }
}

impl Engine {
    /// Syncs what waits, ends the threads and gives up the folder. Blocks until that is done.
    fn stop(&self, state: &State) {
        let core = &state.core;
        core.closing.store(true, Ordering::Release);
        for partition in state.partitions() {
            partition.wake_writer();
        }
        for thread in self.threads.lock().drain(..) {
            if thread.join().is_err() {
                core.poison("a sync thread panicked");
            }
        }
        core.keeper.stop();
        if let Some(keeper) = self.keeper.lock().take()
            && keeper.join().is_err()
        {
            tracing::error!("the log's keeper panicked");
        }
        for topic in state.topics.values() {
            topic.news.notify_waiters();
        }
        self.lock.lock().take();
    }
}

impl Drop for EmbeddedLog {
    fn drop(&mut self) {
        self.engine.stop(&self.state);
    }
}

fn spawn(name: String, run: impl FnOnce() + Send + 'static) -> Result<JoinHandle<()>, LogError> {
    std::thread::Builder::new()
        .name(name)
        .spawn(run)
        .map_err(|error| LogError::Io {
            context: "cannot start a thread for the log".to_owned(),
            error,
        })
}

#[async_trait]
impl Log for EmbeddedLog {
    fn stream_id(&self, topic: &str) -> Result<String, LogError> {
        let topic = self.state.topic(topic)?;
        Ok(format!("{}:{}", self.state.core.uuid, topic.name))
    }

    fn partitions(&self, topic: &str) -> Result<u32, LogError> {
        Ok(u32::try_from(self.state.topic(topic)?.partitions.len()).unwrap_or(u32::MAX))
    }

    fn furthest_read(
        &self,
        topic: &str,
        group: &str,
        partition: PartitionNumber,
    ) -> Option<Offset> {
        if self.state.offsets.was_read(group, topic, partition.0) {
            return None;
        }
        let partition = self.state.topics.get(topic)?.partition(partition.0)?;
        partition.end_at_open().map(Offset)
    }

    async fn append(
        &self,
        topic: &str,
        partition: PartitionNumber,
        records: Vec<Record>,
    ) -> Result<Range<Offset>, AppendError> {
        let unknown = || AppendError::UnknownPartition {
            topic: topic.to_owned(),
            partition,
        };
        let found = self
            .state
            .topics
            .get(topic)
            .and_then(|topic| topic.partition(partition.0));
        found.ok_or_else(unknown)?.enqueue(&records)?.wait().await
    }

    async fn subscribe(
        &self,
        topic: &str,
        group: &str,
        start: Arc<dyn StartOffsets>,
    ) -> Result<Box<dyn Consumer>, LogError> {
        check_name("group", group)?;
        let topic = Arc::clone(self.state.topic(topic)?);
        Ok(Box::new(EmbeddedConsumer::member(
            Arc::clone(&self.state),
            topic,
            group,
            start,
        )))
    }

    async fn reader(
        &self,
        topic: &str,
        partitions: &[PartitionNumber],
        start: SeekTo,
    ) -> Result<Box<dyn Consumer>, LogError> {
        let mut places = Vec::new();
        for number in partitions {
            let partition = self.find(topic, *number)?;
            let next = resolve_on_disk(Arc::clone(&partition), start).await?;
            places.push((partition, next));
        }
        let topic = Arc::clone(self.state.topic(topic)?);
        Ok(Box::new(EmbeddedConsumer::groupless(
            Arc::clone(&self.state),
            topic,
            places,
        )))
    }

    async fn topics(&self) -> Result<Vec<TopicStatus>, LogError> {
        Ok(status::topics(&self.state))
    }

    async fn groups(&self) -> Result<Vec<GroupStatus>, LogError> {
        Ok(status::groups(&self.state))
    }

    async fn reset_group(
        &self,
        topic: &str,
        group: &str,
        partition: PartitionNumber,
        to: SeekTo,
    ) -> Result<Offset, LogError> {
        check_name("group", group)?;
        let found = self.find(topic, partition)?;
        let members = self
            .state
            .topic(topic)?
            .group(group, |m| m.member_count())
            .unwrap_or(0);
        if members > 0 {
            return Err(LogError::Refused(format!(
                "group {group} has {members} members: stop them before its offsets are reset"
            )));
        }
        let next = resolve_on_disk(found, to).await?;
        let (state, name) = (Arc::clone(&self.state), group.to_owned());
        state.offsets.note(group, topic, partition.0, next);
        let flush = tokio::task::spawn_blocking(move || state.offsets.flush(&name));
        flush
            .await
            .map_err(|e| LogError::Refused(format!("the write ended: {e}")))??;
        Ok(Offset(next))
    }

    async fn close(&self) -> Result<(), LogError> {
        let (engine, state) = (Arc::clone(&self.engine), Arc::clone(&self.state));
        let stopped = tokio::task::spawn_blocking(move || engine.stop(&state)).await;
        stopped.map_err(|e| LogError::Refused(format!("the log did not close: {e}")))?;
        match self.state.core.failure() {
            None => Ok(()),
            Some(why) => Err(LogError::Refused(format!(
                "the log had failed before: {why}"
            ))),
        }
    }
}
