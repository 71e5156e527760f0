//! Opening the folder: its lock, its `META`, the recovery of each partition, committed offsets.

use std::collections::BTreeMap;
use std::io;
use std::path::Path;
use std::sync::Arc;

use super::core::Core;
use super::folder::{PartitionPlace, RecoverError, create_partition};
use super::meta::{GROUPS_DIR, LOCK_FILE, Meta, io_error, partition_dir};
use super::offsets::CommittedOffsets;
use super::options::EmbeddedLogOptions;
use super::partition::{Partition, Shut};
use super::recovery::{Recovered, recover_partition};
use super::state::State;
use super::storage::{LockError, Storage, StorageLock};
use super::syncer::Syncer;
use super::topic::Topic;
use super::writer::Writer;
use crate::clock::SharedClock;
use crate::stream::LogError;

/// A log that is open and has no threads yet.
pub(super) struct Opened {
    pub(super) state: Arc<State>,
    pub(super) syncers: Vec<Syncer>,
    pub(super) lock: Box<dyn StorageLock>,
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
            holder.unwrap_or_else(|| "another process".to_owned()),
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
    partition.open_at(tail.next_offset);
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
