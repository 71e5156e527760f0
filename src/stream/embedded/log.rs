//! The open log: its start, its stop, and the seam that the rest of Waylog sees.

use std::collections::BTreeMap;
use std::io;
use std::ops::Range;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::Ordering;
use std::thread::JoinHandle;

use async_trait::async_trait;
use parking_lot::Mutex;

use super::consumer::{EmbeddedConsumer, resolve_on_disk};
use super::core::Core;
use super::folder::{PartitionPlace, RecoverError, create_partition};
use super::keeper::Keeper;
use super::meta::{GROUPS_DIR, LOCK_FILE, Meta, io_error, partition_dir};
use super::offsets::CommittedOffsets;
use super::options::{EmbeddedLogOptions, check_name};
use super::partition::{Partition, Shut};
use super::recovery::{Recovered, recover_partition};
use super::state::State;
use super::status;
use super::storage::{Disk, LockError, Storage, StorageLock};
use super::syncer::Syncer;
use super::topic::Topic;
use super::writer::Writer;
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

/// A log that is open and has no threads yet.
pub(super) struct Opened {
    pub(super) state: Arc<State>,
    pub(super) syncers: Vec<Syncer>,
    pub(super) lock: Box<dyn StorageLock>,
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
        .map_err(|source| LogError::Io {
            context: "cannot start a thread for the log".to_owned(),
            source,
        })
}

/// Opens or creates the log in `options.dir`, without threads.
pub(super) fn open_state(
    storage: Arc<dyn Storage>,
    options: EmbeddedLogOptions,
    clock: SharedClock,
) -> Result<Opened, LogError> {
    options.check()?;
    let dir = options.dir.clone();
    if options.create {
        storage
            .create_dir_all(&dir)
            .map_err(|e| io_error("create", &dir, e))?;
    }
    let lock = lock(&*storage, &dir)?;
    let meta = read_or_create_meta(&*storage, &options, clock.now_us())?;
    let offsets = CommittedOffsets::open(Arc::clone(&storage), dir.join(GROUPS_DIR))?;
    storage
        .sync_dir(&dir)
        .map_err(|e| io_error("sync", &dir, e))?;
    let core = Arc::new(Core::new(storage, clock, options, meta.uuid));
    let total: u32 = meta.topics.iter().map(|topic| topic.partitions).sum();
    let ring_bytes = core.options.ring_bytes / total.max(1) as usize;
    let mut topics = BTreeMap::new();
    let mut writers = Vec::new();
    for topic in &meta.topics {
        let name: Arc<str> = topic.name.as_str().into();
        let mut partitions = Vec::new();
        let mut opened = Vec::new();
        for number in 0..topic.partitions {
            let (partition, writer) = open_partition(&core, &name, number, ring_bytes)?;
            pull_back_offsets(&offsets, &partition)?;
            partitions.push(partition);
            opened.extend(writer);
        }
        let topic = Arc::new(Topic::new(name, partitions));
        writers.extend(
            opened
                .into_iter()
                .map(|writer| (writer, Arc::clone(&topic.news))),
        );
        topics.insert(topic.name.to_string(), topic);
    }
    let mut shares: Vec<Vec<_>> = (0..core.options.sync_threads).map(|_| Vec::new()).collect();
    for (n, writer) in writers.into_iter().enumerate() {
        shares[n % core.options.sync_threads].push(writer);
    }
    let shares = shares.into_iter().filter(|share| !share.is_empty());
    let syncers = shares
        .map(|share| Syncer::new(Arc::clone(&core), share))
        .collect();
    let state = Arc::new(State {
        core,
        topics,
        offsets,
    });
    Ok(Opened {
        state,
        syncers,
        lock,
    })
}

/// Takes the folder for this process.
pub(super) fn lock(storage: &dyn Storage, dir: &Path) -> Result<Box<dyn StorageLock>, LogError> {
    let path = dir.join(LOCK_FILE);
    storage.lock(&path).map_err(|error| match error {
        LockError::Held(holder) => LogError::Refused(format!(
            "the log in {} is in use by {}: stop it, or give this one another data_dir",
            dir.display(),
            holder.map_or_else(
                || "another process".to_owned(),
                |pid| format!("process {pid}")
            ),
        )),
        LockError::Io(source) => io_error("lock", &path, source),
    })
}

/// Reads `META`, adds topics that are missing and creates their files.
fn read_or_create_meta(
    storage: &dyn Storage,
    options: &EmbeddedLogOptions,
    now_us: i64,
) -> Result<Meta, LogError> {
    let dir = &options.dir;
    let io = |error| io_error("create the log in", dir, error);
    let mut meta = match Meta::read(storage, dir)? {
        Some(meta) => meta,
        None => {
            let names = storage.list(dir).map_err(|e| io_error("read", dir, e))?;
            let other = names
                .iter()
                .find(|name| *name != LOCK_FILE && *name != "META.tmp");
            if let Some(other) = other {
                return Err(LogError::Refused(format!(
                    "{} holds no META but {other}: restore META from a backup, or give an empty \
                     folder",
                    dir.display()
                )));
            }
            if !options.create {
                return Err(LogError::Refused(format!(
                    "there is no log in {}",
                    dir.display()
                )));
            }
            Meta::new(options.uuid.unwrap_or_else(uuid::Uuid::new_v4))
        }
    };
    let before = meta.clone();
    meta.add_topics(&options.topics, dir)?;
    if before.topics.is_empty() {
        sync_parents(storage, dir)?;
    }
    if meta != before || meta.topics.iter().any(|topic| !topic.ready) {
        meta.write(storage, dir).map_err(io)?;
        for topic in meta.topics.iter_mut().filter(|topic| !topic.ready) {
            for number in 0..topic.partitions {
                let place = PartitionPlace {
                    storage,
                    log: *meta.uuid.as_bytes(),
                    topic: &topic.name,
                    number,
                    dir: &partition_dir(dir, &topic.name, number),
                };
                create_partition(&place, 0, options.segments.first, now_us).map_err(io)?;
            }
            storage.sync_dir(&dir.join(&topic.name)).map_err(io)?;
            topic.ready = true;
        }
        storage.sync_dir(dir).map_err(io)?;
        meta.write(storage, dir).map_err(io)?;
    }
    Ok(meta)
}

/// Makes the way to a new log durable: the folders above it may be as new as the log.
fn sync_parents(storage: &dyn Storage, dir: &Path) -> Result<(), LogError> {
    for parent in dir.ancestors().skip(1) {
        let parent = if parent.as_os_str().is_empty() {
            Path::new(".")
        } else {
            parent
        };
        match storage.sync_dir(parent) {
            Ok(()) => {}
            // A folder that we may not even open is not one that we have made.
            Err(error) if error.kind() == io::ErrorKind::PermissionDenied => break,
            Err(error) => return Err(io_error("sync", parent, error)),
        }
    }
    Ok(())
}

fn open_partition(
    core: &Arc<Core>,
    topic: &Arc<str>,
    number: u32,
    ring_bytes: usize,
) -> Result<(Arc<Partition>, Option<Writer>), LogError> {
    let dir = partition_dir(&core.options.dir, topic, number);
    let place = PartitionPlace {
        storage: &*core.storage,
        log: *core.uuid.as_bytes(),
        topic,
        number,
        dir: &dir,
    };
    let recovered = recover_partition(&place);
    let buffer_bytes = core.options.buffer_bytes;
    let partition = Partition::new(
        Arc::clone(topic),
        number,
        dir.clone(),
        buffer_bytes,
        ring_bytes,
    );
    match recovered {
        Ok(recovered) => {
            let (partition, writer) = serve(core, partition, recovered);
            Ok((partition, Some(writer)))
        }
        Err(RecoverError::Refused(error)) => Err(error),
        Err(RecoverError::Damaged(what)) => {
            let what = format!(
                "{what}; stop the server, restore the file from a backup or go on without what \
                 is lost by `waylog stream repair --accept-loss`"
            );
            tracing::error!(%topic, partition = number, what, "the partition is quarantined");
            partition.shut(Shut::Quarantined(what.into()));
            Ok((Arc::new(partition), None))
        }
    }
}

fn serve(core: &Arc<Core>, partition: Partition, recovered: Recovered) -> (Arc<Partition>, Writer) {
    let Recovered {
        segments,
        active,
        tail,
        unclean,
        sealed_damage,
        checkpoint,
    } = recovered;
    core.budget
        .add(segments.iter().map(|segment| segment.allocated()).sum());
    partition.set_start(checkpoint.log_start_offset);
    partition.set_durable(tail.next_offset);
    *partition.checkpoint.lock() = (checkpoint, false);
    *partition.segments.write() = segments;
    if let Some(what) = sealed_damage {
        tracing::error!(topic = %partition.topic, partition = partition.number, what, "the log is damaged");
        *partition.damage.lock() = Some(what.into());
    }
    let partition = Arc::new(partition);
    let writer = Writer::new(
        Arc::clone(core),
        Arc::clone(&partition),
        active,
        tail,
        unclean,
    );
    (partition, writer)
}

/// An offset beyond the end would skip records yet to come.
fn pull_back_offsets(offsets: &CommittedOffsets, partition: &Partition) -> Result<(), LogError> {
    if partition.quarantined().is_some() {
        return Ok(());
    }
    let (topic, end) = (&partition.topic, partition.durable());
    for (group, committed) in offsets.pull_back(topic, partition.number, end)? {
        tracing::error!(
            %topic, partition = partition.number, group, committed, end,
            "the group had committed an offset beyond the end of the log: it was set to the end"
        );
    }
    Ok(())
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
