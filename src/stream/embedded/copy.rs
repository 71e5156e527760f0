//! A copy of a log, also of one that a server is writing.
//!
//! Written bytes never change (recovery only writes the same again), files of a partition are
//! written one after the other, and everything that a server deletes is listed in a checkpoint
//! before. So the files of a partition, the last one up to the frames that are whole, are a log as
//! it stood at some moment. Committed offsets are copied first: none lies beyond the end of the copy.
//!
//! Invariant: nothing in the source is changed, and no lock is taken: a server may start, run and
//! stop meanwhile. A repair may not; what it would spoil, `verify` of the copy finds.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::{Deserialize, Serialize};
use uuid::Uuid;

use super::checkpoint::Checkpoint;
use super::folder::{
    PartitionPlace, RecoverError, check_ends, list, open_segments, read_checkpoint,
};
use super::meta::{GROUPS_DIR, LOCK_FILE, Meta, io_error, partition_dir};
use super::open::lock;
use super::scan::READ_CHUNK;
use super::segment::{Segment, segment_path};
use super::snapshot::TMP_SUFFIX;
use super::storage::{Disk, LockError, Storage, StorageFile};
use super::tail::{TailScan, Verdict, judge, scan_tail};
use crate::stream::LogError;

/// How often a partition is looked at again whose files retention deletes meanwhile.
const TRIES: usize = 5;
/// Longest file of committed offsets that is believed to be one, bytes.
const MAX_GROUP_FILE: u64 = 16 << 20;

/// What a copy holds.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedLog {
    /// The log's uuid; the copy's as well.
    pub uuid: Uuid,
    /// A row a partition.
    pub partitions: Vec<CopiedPartition>,
}

/// What a copy holds of one partition.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct CopiedPartition {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: u32,
    /// First offset in the copy.
    pub start_offset: u64,
    /// One past the last offset in the copy.
    pub end_offset: u64,
}

/// Copies the log in `from` to `to`, which must be empty or absent. Blocks on the disk. Ok means
/// durable.
///
/// # Errors
/// `from` holds no log or a damaged one, or `to` cannot be written.
pub fn copy(from: &Path, to: &Path) -> Result<CopiedLog, LogError> {
    let disk = &Disk;
    let meta = Meta::of_existing(disk, from)?;
    let cannot_write = |error| io_error("write", to, error);
    disk.create_dir_all(to).map_err(cannot_write)?;
    copy_groups(disk, &from.join(GROUPS_DIR), &to.join(GROUPS_DIR))?;
    let mut partitions = Vec::new();
    for topic in meta.topics.iter().filter(|topic| topic.ready) {
        for number in 0..topic.partitions {
            let place = PartitionPlace {
                storage: disk,
                log: *meta.uuid.as_bytes(),
                topic: &topic.name,
                number,
                dir: &partition_dir(from, &topic.name, number),
            };
            let target = partition_dir(to, &topic.name, number);
            partitions.push(copy_partition(&place, &target)?);
        }
        let folder = to.join(&topic.name);
        disk.sync_dir(&folder).map_err(cannot_write)?;
    }
    // Last: a copy that was cut short holds no META, and is no log.
    meta.write(disk, to).map_err(cannot_write)?;
    Ok(CopiedLog {
        uuid: meta.uuid,
        partitions,
    })
}

/// How far the log in `dir` reaches. Changes nothing; blocks on the disk.
///
/// # Errors
/// `dir` holds no log or a damaged one.
pub fn extent(dir: &Path) -> Result<CopiedLog, LogError> {
    let disk = &Disk;
    let meta = Meta::of_existing(disk, dir)?;
    let mut partitions = Vec::new();
    for topic in meta.topics.iter().filter(|topic| topic.ready) {
        for number in 0..topic.partitions {
            let place = PartitionPlace {
                storage: disk,
                log: *meta.uuid.as_bytes(),
                topic: &topic.name,
                number,
                dir: &partition_dir(dir, &topic.name, number),
            };
            let kept = Kept::open(&place)?;
            partitions.push(kept.extent(&place));
        }
    }
    Ok(CopiedLog {
        uuid: meta.uuid,
        partitions,
    })
}

/// The uuid of the log in `dir`; `None` if there is no log.
///
/// # Errors
/// Its `META` is damaged, of a newer version, or cannot be read.
pub fn identity(dir: &Path) -> Result<Option<Uuid>, LogError> {
    Ok(Meta::read(&Disk, dir)?.map(|meta| meta.uuid))
}

/// How many partitions `topic` has in the log in `dir`; `None` if there is no such log or topic.
///
/// # Errors
/// Its `META` is damaged, of a newer version, or cannot be read.
pub fn pinned_partitions(dir: &Path, topic: &str) -> Result<Option<u32>, LogError> {
    let topics = Meta::read(&Disk, dir)?.map(|meta| meta.topics);
    let known = topics
        .into_iter()
        .flatten()
        .find(|known| known.name == topic);
    Ok(known.map(|known| known.partitions))
}

/// Who holds the log in `dir`, if a process does.
///
/// # Errors
/// The lock cannot be looked at.
pub fn holder(dir: &Path) -> Result<Option<String>, LogError> {
    let path = dir.join(LOCK_FILE);
    if !path.exists() {
        return Ok(None);
    }
    match Disk.lock(&path) {
        Ok(_released_at_once) => Ok(None),
        Err(LockError::Held(who)) => Ok(Some(who.unwrap_or_else(|| "another process".to_owned()))),
        Err(LockError::Io(error)) => Err(io_error("lock", &path, error)),
    }
}

/// Makes sure that no process holds the log in `dir`, for as long as the answer is kept.
///
/// # Errors
/// A process holds it, or the folder cannot be used.
pub fn hold(dir: &Path) -> Result<impl Sized + use<>, LogError> {
    lock(&Disk, dir)
}

fn copy_groups(disk: &Disk, from: &Path, to: &Path) -> Result<(), LogError> {
    disk.create_dir_all(to)
        .map_err(|error| io_error("write", to, error))?;
    let names = match disk.list(from) {
        Ok(names) => names,
        // Every group begins at the earliest record then, as it would in the source.
        Err(error) if error.kind() == io::ErrorKind::NotFound => Vec::new(),
        Err(error) => return Err(io_error("read", from, error)),
    };
    for name in names.iter().filter(|name| !name.ends_with(TMP_SUFFIX)) {
        let path = from.join(name);
        let read = || {
            let file = disk.open(&path)?;
            copy_bytes(
                &*file,
                file.len()?.min(MAX_GROUP_FILE),
                disk,
                &to.join(name),
            )
        };
        read().map_err(|error| io_error("copy", &path, error))?;
    }
    disk.sync_dir(to)
        .map_err(|error| io_error("write", to, error))
}

fn copy_partition(place: &PartitionPlace<'_>, to: &Path) -> Result<CopiedPartition, LogError> {
    let kept = Kept::open(place)?;
    let disk = place.storage;
    let write = |error| io_error("write", to, error);
    disk.create_dir_all(to).map_err(write)?;
    for segment in &kept.segments {
        let bytes = if segment.base() == kept.last().base() {
            kept.end.pos
        } else {
            segment.end()
        };
        let target = segment_path(to, segment.base());
        copy_bytes(&*segment.file, bytes, disk, &target)
            .map_err(|error| io_error("copy", &segment.path, error))?;
    }
    let extent = kept.extent(place);
    // So that a copy that was cut afterwards is not taken for one that ends earlier.
    let checkpoint = Checkpoint {
        log_start_offset: extent.start_offset,
        newest_base: kept.last().base(),
        synced_offset: extent.end_offset,
        frame: None,
    };
    checkpoint.write(disk, to).map_err(write)?;
    Ok(extent)
}

/// The files of a partition that retention has left; once open, they stay whole until they are
/// closed.
struct Kept {
    segments: Vec<Arc<Segment>>,
    /// Where the whole frames of the newest file end.
    end: TailScan,
}

impl Kept {
    fn open(place: &PartitionPlace<'_>) -> Result<Self, LogError> {
        let mut tries = 1;
        let (segments, checkpoint) = loop {
            match try_open(place) {
                Ok(opened) => break opened,
                // Retention may have deleted a file between the listing and the opening.
                Err(RecoverError::Damaged(_)) if tries < TRIES => tries += 1,
                Err(RecoverError::Damaged(what)) => return Err(damaged(&what)),
                Err(RecoverError::Refused(error)) => return Err(error),
            }
        };
        let Some(last) = segments.last() else {
            let what = format!("{}: it holds no segment", place.dir.display());
            return Err(damaged(&what));
        };
        let end = end_of(last, checkpoint.as_ref())?;
        Ok(Self { segments, end })
    }

    fn last(&self) -> &Segment {
        &self.segments[self.segments.len() - 1]
    }

    fn extent(&self, place: &PartitionPlace<'_>) -> CopiedPartition {
        CopiedPartition {
            topic: place.topic.to_owned(),
            partition: place.number,
            start_offset: self.segments[0].base(),
            end_offset: self.end.next_offset,
        }
    }
}

fn try_open(
    place: &PartitionPlace<'_>,
) -> Result<(Vec<Arc<Segment>>, Option<Checkpoint>), RecoverError> {
    let checkpoint = read_checkpoint(place)?;
    let start = checkpoint.map_or(0, |checkpoint| checkpoint.log_start_offset);
    let segments = open_segments(place, list(place)?.kept(start))?;
    check_ends(place, &segments, checkpoint.as_ref())?;
    Ok((segments, checkpoint))
}

fn end_of(last: &Segment, checkpoint: Option<&Checkpoint>) -> Result<TailScan, LogError> {
    let io = |error| io_error("read", &last.path, error);
    let end = scan_tail(last, None).map_err(io)?;
    if let Verdict::Damaged(what) = judge(last, &end, checkpoint).map_err(io)? {
        // A frame that was being written when it was read is whole by now; damage stays.
        let again = scan_tail(last, None).map_err(io)?;
        if again.pos <= end.pos {
            return Err(damaged(&what));
        }
    }
    Ok(end)
}

fn copy_bytes(from: &dyn StorageFile, bytes: u64, disk: &dyn Storage, to: &Path) -> io::Result<()> {
    let file = disk.create(to)?;
    let mut window = vec![0; READ_CHUNK];
    let mut pos = 0;
    while pos < bytes {
        let room = usize::try_from(bytes - pos).map_or(READ_CHUNK, |left| left.min(READ_CHUNK));
        let read = from.read_full_at(&mut window[..room], pos)?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        file.write_all_at(&window[..read], pos)?;
        pos += read as u64;
    }
    file.sync_data()
}

fn damaged(what: &str) -> LogError {
    LogError::Refused(format!(
        "{what}; the log is damaged: with the server stopped `waylog stream verify` tells where, and \
         Postgres alone can be backed up and restored with --only postgres"
    ))
}
