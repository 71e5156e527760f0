//! A partition's folder: which files it holds, and whether they are those that must be there.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{CHECKPOINT_FILE, Checkpoint};
use super::meta::io_error;
use super::segment::{SEGMENT_HEADER_LEN, Segment, SegmentHeader, segment_base, segment_path};
use super::snapshot::{SnapshotError, TMP_SUFFIX};
use super::storage::Storage;
use super::writer::{NEXT_FILE, prepare_segment};
use crate::stream::LogError;

/// Folder of a partition that keeps what was cut off.
pub(super) const TORN_DIR: &str = "torn";

/// Which partition is being opened.
pub(super) struct PartitionPlace<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) log: [u8; 16],
    pub(super) topic: &'a str,
    pub(super) number: u32,
    pub(super) dir: &'a Path,
}

/// Why a partition cannot be served.
#[derive(Debug)]
pub(super) enum RecoverError {
    /// Damage: file, position and what was found. The next step is added by the caller.
    Damaged(String),
    /// The folder cannot be used at all (rights, read-only disk, newer format).
    Refused(LogError),
}

pub(super) fn damaged(path: &Path, what: &str) -> RecoverError {
    RecoverError::Damaged(format!("{}: {what}", path.display()))
}

/// Errors that hold for the whole log refuse it; a file that cannot be read is damage.
pub(super) fn classify(path: &Path, error: io::Error) -> RecoverError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            RecoverError::Refused(io_error("use", path, error))
        }
        _ => damaged(path, &error.to_string()),
    }
}

/// Opens every segment file, checks its header and that none is missing between two.
pub(super) fn open_segments(
    place: &PartitionPlace<'_>,
    bases: &[u64],
) -> Result<Vec<Arc<Segment>>, RecoverError> {
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    for base in bases.iter().copied() {
        let path = segment_path(place.dir, base);
        let segment = open_segment(place, path, base)?;
        if let Some(before) = segments.last() {
            check_follows(before, &segment)?;
            before.set_end(segment.header.prev_end_pos);
        }
        segments.push(Arc::new(segment));
    }
    Ok(segments)
}

/// What a partition's folder holds.
#[derive(Debug, Default)]
pub(super) struct Listing {
    /// Base offsets of its segments, in order.
    pub(super) bases: Vec<u64>,
    /// What a crash may have left half made.
    pub(super) leftovers: Vec<PathBuf>,
    /// What is not the log's.
    pub(super) strangers: Vec<PathBuf>,
}

/// Lists a partition's folder.
pub(super) fn list(place: &PartitionPlace<'_>) -> Result<Listing, RecoverError> {
    let names = match place.storage.list(place.dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(place.dir, "the folder is missing"));
        }
        Err(error) => return Err(classify(place.dir, error)),
    };
    let mut listing = Listing::default();
    for name in names {
        if let Some(base) = segment_base(&name) {
            listing.bases.push(base);
        } else if name.ends_with(TMP_SUFFIX) {
            listing.leftovers.push(place.dir.join(&name));
        } else if name != CHECKPOINT_FILE && name != TORN_DIR {
            listing.strangers.push(place.dir.join(&name));
        }
    }
    listing.bases.sort_unstable();
    Ok(listing)
}

impl Listing {
    /// Segments that retention had not given up when the log began at `start`.
    pub(super) fn kept(&self, start: u64) -> &[u64] {
        let gone = self.bases.partition_point(|base| *base <= start);
        &self.bases[gone.saturating_sub(1)..]
    }

    /// Removes leftovers, warns of strangers, and answers the segments.
    pub(super) fn clean(self, place: &PartitionPlace<'_>) -> Result<Vec<u64>, RecoverError> {
        for path in &self.leftovers {
            place.storage.remove(path).map_err(|e| classify(path, e))?;
        }
        for path in &self.strangers {
            tracing::warn!(path = %path.display(), "not a file of the log: ignored, move it away");
        }
        Ok(self.bases)
    }
}

/// Opens one segment and checks that its header belongs here.
pub(super) fn open_segment(
    place: &PartitionPlace<'_>,
    path: PathBuf,
    base: u64,
) -> Result<Segment, RecoverError> {
    let file = place.storage.open(&path).map_err(|e| classify(&path, e))?;
    let mut bytes = vec![0; SEGMENT_HEADER_LEN as usize];
    let read = file
        .read_full_at(&mut bytes, 0)
        .map_err(|e| classify(&path, e))?;
    let len = file.len().map_err(|e| classify(&path, e))?;
    let header = SegmentHeader::decode(&bytes[..read], place.topic)
        .map_err(|fault| damaged(&path, &fault.to_string()))?;
    if header.log != place.log {
        let theirs = uuid::Uuid::from_bytes(header.log);
        return Err(damaged(
            &path,
            &format!("it belongs to another log, {theirs}; move it away"),
        ));
    }
    if header.partition != place.number || header.base_offset != base {
        return Err(damaged(
            &path,
            &format!(
                "it belongs to partition {} at offset {}; move it back",
                header.partition, header.base_offset
            ),
        ));
    }
    let seed = header.seed(place.topic);
    Ok(Segment::new(
        path,
        header,
        seed,
        file,
        SEGMENT_HEADER_LEN,
        len,
    ))
}

/// Creates the folder and the first segment, from `base` on, of a partition without any. What a
/// crash left of an earlier attempt is written over.
pub(super) fn create_partition(
    place: &PartitionPlace<'_>,
    base: u64,
    len: u64,
    now_us: i64,
) -> io::Result<()> {
    let storage = place.storage;
    storage.create_dir_all(place.dir)?;
    let header = SegmentHeader {
        log: place.log,
        partition: place.number,
        base_offset: base,
        prev_base_offset: 0,
        prev_end_offset: 0,
        prev_end_pos: 0,
        prev_last_crc: 0,
        created_ts_us: now_us,
        prev_max_timestamp_ms: i64::MIN,
    };
    let prepared = prepare_segment(storage, place.dir.join(NEXT_FILE), len)?;
    prepared.file.write_all_at(&header.encode(place.topic), 0)?;
    prepared.file.sync_data()?;
    storage.rename(&prepared.path, &segment_path(place.dir, base))?;
    storage.sync_dir(place.dir)
}

/// Whether `next` names `before` as the segment that it follows.
pub(super) fn check_follows(before: &Segment, next: &Segment) -> Result<(), RecoverError> {
    let header = &next.header;
    if header.prev_base_offset != before.base() || header.prev_end_offset > header.base_offset {
        return Err(damaged(
            &next.path,
            &format!(
                "it follows the segment at offset {}, but the one before it is {}: a file is \
                 missing; bring it back from a backup",
                header.prev_base_offset,
                before.path.display()
            ),
        ));
    }
    Ok(())
}

/// Reads the checkpoint; a damaged one is as good as none.
pub(super) fn read_checkpoint(
    place: &PartitionPlace<'_>,
) -> Result<Option<Checkpoint>, RecoverError> {
    match Checkpoint::read(place.storage, place.dir) {
        Ok(checkpoint) => Ok(Some(checkpoint)),
        Err(SnapshotError::Missing) => Ok(None),
        Err(error @ SnapshotError::Damaged(_)) => {
            let path = place.dir.join(CHECKPOINT_FILE);
            tracing::warn!(path = %path.display(), %error, "read without it; a new one follows");
            Ok(None)
        }
        Err(SnapshotError::Io(error)) => Err(classify(&place.dir.join(CHECKPOINT_FILE), error)),
        Err(error @ SnapshotError::Newer { .. }) => Err(damaged(
            &place.dir.join(CHECKPOINT_FILE),
            &error.to_string(),
        )),
    }
}

/// Whether the first and the last file are those that must be there.
pub(super) fn check_ends(
    place: &PartitionPlace<'_>,
    segments: &[Arc<Segment>],
    checkpoint: Option<&Checkpoint>,
) -> Result<(), RecoverError> {
    let (Some(first), Some(last), Some(checkpoint)) =
        (segments.first(), segments.last(), checkpoint)
    else {
        return Ok(());
    };
    let missing = |base: u64| {
        let path = segment_path(place.dir, base);
        Err(damaged(
            &path,
            "the file is missing; bring it back from a backup",
        ))
    };
    if first.base() > checkpoint.log_start_offset {
        return missing(checkpoint.log_start_offset);
    }
    if last.base() < checkpoint.newest_base {
        return missing(checkpoint.newest_base);
    }
    Ok(())
}
