//! Opening a partition: what is there, what is torn, what is damaged.
//!
//! The rule is that acknowledged records are never cut away in silence. After a crash the last
//! group may be torn, and only that: it is copied to `torn/` and cut. Anything else that does not
//! fit (a hole between segments, a bad frame with later frames that prove it was synced, an end
//! before what a checkpoint saw on disk) is damage, and the partition waits for an operator.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use super::checkpoint::{CHECKPOINT_FILE, Checkpoint};
use super::frame::{FrameFault, FrameHeader, FrameRecords};
use super::index::IndexEntry;
use super::meta::io_error;
use super::metrics;
use super::scan::{READ_CHUNK, ScanError, Scanner, nonzero_span, probe};
use super::segment::{SEGMENT_HEADER_LEN, Segment, SegmentHeader, segment_base, segment_path};
use super::snapshot::{SnapshotError, TMP_SUFFIX};
use super::storage::{Storage, is_full};
use super::writer::{NEXT_FILE, Tail, prepare_segment};
use crate::stream::LogError;

/// Folder of a partition that keeps what recovery cut off.
pub(super) const TORN_DIR: &str = "torn";
/// Copies that it keeps; older ones are removed.
const MAX_TORN_FILES: usize = 32;

/// Which partition is being opened.
pub(super) struct PartitionPlace<'a> {
    pub(super) storage: &'a dyn Storage,
    pub(super) log: [u8; 16],
    pub(super) topic: &'a str,
    pub(super) number: u32,
    pub(super) dir: &'a Path,
}

/// A partition that can be served.
pub(super) struct Recovered {
    pub(super) segments: Vec<Arc<Segment>>,
    /// The newest of them, which is written.
    pub(super) active: Arc<Segment>,
    pub(super) tail: Tail,
    /// Whether the newest segment lost its preallocation and must be cleaned before a write.
    pub(super) unclean: bool,
    /// Damage in a sealed segment that was met on the way.
    pub(super) sealed_damage: Option<String>,
    /// What the next checkpoint says until more is written.
    pub(super) checkpoint: Checkpoint,
}

/// Why a partition cannot be served.
#[derive(Debug)]
pub(super) enum RecoverError {
    /// Damage: file, position and what was found. The next step is added by the caller.
    Damaged(String),
    /// The folder cannot be used at all (rights, read-only disk, newer format).
    Refused(LogError),
}

/// Opens a partition as [`super`] says.
pub(super) fn recover_partition(place: &PartitionPlace<'_>) -> Result<Recovered, RecoverError> {
    let mut segments = open_segments(place)?;
    let checkpoint = read_checkpoint(place)?;
    check_ends(place, &segments, checkpoint.as_ref())?;
    finish_deletion(place, &mut segments, checkpoint.as_ref())?;
    let (Some(last), before) = (segments.last(), segments.len().checked_sub(2)) else {
        return Err(damaged(place.dir, "it holds no segment"));
    };
    let end = scan_tail(last, checkpoint.as_ref()).map_err(|e| classify(&last.path, e))?;
    if let Some(fault @ FrameFault::Version(..)) = end.fault {
        return Err(damaged(
            &last.path,
            &format!("at byte {}: {fault}; upgrade Waylog", end.pos),
        ));
    }
    if let Some(checkpoint) = checkpoint
        && checkpoint.synced_offset > end.next_offset
    {
        return Err(RecoverError::Damaged(format!(
            "{}: it ends at offset {} (byte {}), but records below offset {} were on disk{}",
            last.path.display(),
            end.next_offset,
            end.pos,
            checkpoint.synced_offset,
            end.fault
                .map_or_else(String::new, |fault| format!(": {fault}")),
        )));
    }
    let unclean = settle_tail(place, last, &end)?;
    rewrite_unsynced(last, &end).map_err(|e| classify(&last.path, e))?;
    place
        .storage
        .sync_dir(place.dir)
        .map_err(|e| classify(place.dir, e))?;
    last.set_end(end.pos);
    let sealed_damage = match before {
        Some(at) if end.pos == SEGMENT_HEADER_LEN => {
            check_sealed_end(&segments[at], last, checkpoint.as_ref())
        }
        _ => None,
    };
    let tail = Tail {
        pos: end.pos,
        next_offset: end.next_offset,
        last_crc: end.last_crc,
        max_timestamp_ms: end.max_timestamp_ms,
        marked: end.marked,
    };
    let checkpoint = Checkpoint {
        log_start_offset: segments.first().map_or(0, |first| first.base()),
        newest_base: last.base(),
        synced_offset: end.next_offset,
        frame: checkpoint.and_then(|checkpoint| checkpoint.frame),
    };
    let active = Arc::clone(last);
    Ok(Recovered {
        segments,
        active,
        tail,
        unclean,
        sealed_damage,
        checkpoint,
    })
}

/// Opens every segment file, checks its header and that none is missing between two.
fn open_segments(place: &PartitionPlace<'_>) -> Result<Vec<Arc<Segment>>, RecoverError> {
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    for base in segment_bases(place)? {
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

/// Names of a partition's folder: segments are answered in order, leftovers of a crash removed.
pub(super) fn segment_bases(place: &PartitionPlace<'_>) -> Result<Vec<u64>, RecoverError> {
    let mut bases = Vec::new();
    let names = match place.storage.list(place.dir) {
        Ok(names) => names,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return Err(damaged(place.dir, "the folder is missing"));
        }
        Err(error) => return Err(classify(place.dir, error)),
    };
    for name in names {
        if let Some(base) = segment_base(&name) {
            bases.push(base);
        } else if name.ends_with(TMP_SUFFIX) {
            let path = place.dir.join(&name);
            place
                .storage
                .remove(&path)
                .map_err(|e| classify(&path, e))?;
        } else if name != CHECKPOINT_FILE && name != TORN_DIR {
            let path = place.dir.join(&name);
            tracing::warn!(path = %path.display(), "not a file of the log: ignored, move it away");
        }
    }
    bases.sort_unstable();
    Ok(bases)
}

fn open_segment(
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

/// Creates the folder and the first segment of a partition that has never held a record. What a
/// crash left of an earlier attempt is written over.
pub(super) fn create_partition(
    place: &PartitionPlace<'_>,
    len: u64,
    now_us: i64,
) -> io::Result<()> {
    let storage = place.storage;
    storage.create_dir_all(place.dir)?;
    let header = SegmentHeader {
        log: place.log,
        partition: place.number,
        base_offset: 0,
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
    storage.rename(&prepared.path, &segment_path(place.dir, 0))?;
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
    if header.prev_end_pos > before.allocated() {
        return Err(damaged(
            &before.path,
            &format!(
                "it has {} bytes, but its frames go up to byte {}",
                before.allocated(),
                header.prev_end_pos
            ),
        ));
    }
    Ok(())
}

fn read_checkpoint(place: &PartitionPlace<'_>) -> Result<Option<Checkpoint>, RecoverError> {
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
fn check_ends(
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

/// Removes segments that retention had given up when the process ended.
fn finish_deletion(
    place: &PartitionPlace<'_>,
    segments: &mut Vec<Arc<Segment>>,
    checkpoint: Option<&Checkpoint>,
) -> Result<(), RecoverError> {
    let start = checkpoint.map_or(0, |checkpoint| checkpoint.log_start_offset);
    while segments.get(1).is_some_and(|next| next.base() <= start) {
        let gone = segments.remove(0);
        place
            .storage
            .remove(&gone.path)
            .map_err(|e| classify(&gone.path, e))?;
    }
    Ok(())
}

/// Where the frames of the newest segment end, and what is behind them.
struct TailScan {
    pos: u64,
    next_offset: u64,
    last_crc: u32,
    max_timestamp_ms: i64,
    marked: bool,
    /// From here on frames may live in the page cache only.
    unsynced_from: u64,
    fault: Option<FrameFault>,
}

/// Scans the newest segment: from the checkpoint if its frame is there, else from its start.
fn scan_tail(segment: &Segment, checkpoint: Option<&Checkpoint>) -> io::Result<TailScan> {
    let frame = checkpoint.and_then(|checkpoint| checkpoint.frame);
    if let Some(frame) = frame.filter(|frame| frame.segment_base == segment.base()) {
        let entry = IndexEntry {
            offset: frame.offset,
            pos: frame.pos,
            max_timestamp_before_ms: frame.max_timestamp_before_ms,
        };
        let scan = scan_from(segment, entry, frame.prev_crc)?;
        if scan.pos > frame.pos {
            return Ok(scan);
        }
        tracing::warn!(
            path = %segment.path.display(),
            byte = frame.pos,
            "the checkpoint's frame is not there; the whole segment is read"
        );
    }
    let start = IndexEntry {
        offset: segment.base(),
        pos: SEGMENT_HEADER_LEN,
        max_timestamp_before_ms: segment.header.prev_max_timestamp_ms,
    };
    scan_from(segment, start, 0)
}

fn scan_from(segment: &Segment, start: IndexEntry, prev_crc: u32) -> io::Result<TailScan> {
    let mut scanner = Scanner::new(
        segment,
        start.pos,
        start.offset,
        Some(prev_crc),
        segment.allocated(),
    );
    let mut scan = TailScan {
        pos: start.pos,
        next_offset: start.offset,
        last_crc: prev_crc,
        max_timestamp_ms: start.max_timestamp_before_ms,
        marked: true,
        unsynced_from: start.pos,
        fault: None,
    };
    loop {
        let frame = match scanner.next_frame() {
            Ok(Some(frame)) => frame,
            Ok(None) => return Ok(scan),
            Err(ScanError::Io(error)) => return Err(error),
            Err(ScanError::Fault(fault)) => {
                scan.fault = Some(fault);
                return Ok(scan);
            }
        };
        segment.index.note(IndexEntry {
            offset: frame.header.base_offset,
            pos: frame.pos,
            max_timestamp_before_ms: scan.max_timestamp_ms,
        });
        match latest_timestamp(frame.bytes, &frame.header) {
            Ok(latest) => scan.max_timestamp_ms = scan.max_timestamp_ms.max(latest),
            Err(fault) => {
                scan.fault = Some(fault);
                return Ok(scan);
            }
        }
        if frame.header.synced_offset >= scan.next_offset {
            scan.unsynced_from = frame.pos;
        }
        scan.pos = scanner.pos;
        scan.next_offset = frame.header.end_offset();
        scan.last_crc = frame.header.crc;
        scan.marked = frame.header.record_count == 0;
    }
}

/// The latest timestamp of a frame's records; `i64::MIN` without records.
pub(super) fn latest_timestamp(
    bytes: bytes::Bytes,
    header: &FrameHeader,
) -> Result<i64, FrameFault> {
    let mut records = FrameRecords::new(bytes, header);
    let mut latest = i64::MIN;
    while let Some((_, timestamp_ms)) = records.next_timestamp()? {
        latest = latest.max(timestamp_ms);
    }
    Ok(latest)
}

/// Decides what the bytes behind the last good frame are, and cuts them if they are torn.
/// Answers whether the space behind the end must be cleaned before it is written.
fn settle_tail(
    place: &PartitionPlace<'_>,
    segment: &Segment,
    end: &TailScan,
) -> Result<bool, RecoverError> {
    let io = |error| classify(&segment.path, error);
    let Some((first, last)) = nonzero_span(&*segment.file, end.pos).map_err(io)? else {
        return Ok(false);
    };
    let proof = probe(segment, end.pos..last, |frame| {
        frame.synced_offset > end.next_offset
    });
    if let Some(proof) = proof.map_err(io)? {
        metrics::corrupt_frame();
        return Err(RecoverError::Damaged(format!(
            "{}: the frame at byte {} (offset {}) is damaged ({}), and the frame at byte {} \
             proves that records below offset {} were on disk",
            segment.path.display(),
            end.pos,
            end.next_offset,
            end.fault
                .map_or_else(|| "unreadable".to_owned(), |fault| fault.to_string()),
            proof.pos,
            proof.header.synced_offset,
        )));
    }
    let torn = last - end.pos;
    metrics::torn_bytes(torn);
    tracing::warn!(
        path = %segment.path.display(),
        byte = end.pos,
        first_nonzero = first,
        torn_bytes = torn,
        offset = end.next_offset,
        "a group was torn by a crash before it was acknowledged; it is kept in torn/ and cut"
    );
    keep_torn(place, segment, end.pos, last)?;
    let allocated = segment.allocated();
    segment.file.truncate(end.pos).map_err(io)?;
    let unclean = match segment.file.allocate(allocated) {
        Ok(()) => false,
        Err(error) if is_full(&error) => true,
        Err(error) => return Err(io(error)),
    };
    segment.file.sync_data().map_err(io)?;
    Ok(unclean)
}

/// Copies torn bytes aside. They were never acknowledged, so a full disk is no reason to stop.
fn keep_torn(
    place: &PartitionPlace<'_>,
    segment: &Segment,
    from: u64,
    to: u64,
) -> Result<(), RecoverError> {
    let dir = place.dir.join(TORN_DIR);
    let path = dir.join(format!("{:020}-{from}.bin", segment.base()));
    match copy_range(place, segment, &dir, &path, from..to) {
        Ok(()) => Ok(()),
        Err(error) if is_full(&error) => {
            tracing::warn!(path = %path.display(), "the disk is full: torn bytes are not kept");
            Ok(())
        }
        Err(error) => Err(classify(&path, error)),
    }
}

fn copy_range(
    place: &PartitionPlace<'_>,
    segment: &Segment,
    dir: &Path,
    path: &Path,
    range: std::ops::Range<u64>,
) -> io::Result<()> {
    place.storage.create_dir_all(dir)?;
    place.storage.sync_dir(place.dir)?;
    let kept = place.storage.list(dir)?;
    for old in kept
        .iter()
        .take((kept.len() + 1).saturating_sub(MAX_TORN_FILES))
    {
        place.storage.remove(&dir.join(old))?;
    }
    let copy = place.storage.create(path)?;
    let mut window = vec![0; READ_CHUNK];
    let mut pos = range.start;
    while pos < range.end {
        let room = usize::try_from(range.end - pos)
            .unwrap_or(usize::MAX)
            .min(READ_CHUNK);
        let read = segment.file.read_full_at(&mut window[..room], pos)?;
        if read == 0 {
            break;
        }
        copy.write_all_at(&window[..read], pos - range.start)?;
        pos += read as u64;
    }
    copy.sync_data()?;
    place.storage.sync_dir(dir)
}

/// Writes the last group once more and syncs it: after a kill it may live in the page cache only,
/// and after a failed sync the cache may call it clean although the disk never got it.
fn rewrite_unsynced(segment: &Segment, end: &TailScan) -> io::Result<()> {
    let len = usize::try_from(end.pos - end.unsynced_from).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let read = segment.file.read_full_at(&mut bytes, end.unsynced_from)?;
    if read != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    segment.file.write_all_at(&bytes, end.unsynced_from)?;
    segment.file.sync_data()
}

/// Whether the segment before an empty newest one ends as the newest one's header says.
fn check_sealed_end(
    sealed: &Segment,
    next: &Segment,
    checkpoint: Option<&Checkpoint>,
) -> Option<String> {
    let told = (
        next.header.prev_end_pos,
        next.header.prev_end_offset,
        next.header.prev_last_crc,
    );
    sealed.set_end(told.0);
    let problem = match scan_tail(sealed, checkpoint) {
        Err(error) => error.to_string(),
        Ok(scan) if scan.pos < told.0 => {
            format!(
                "byte {} (offset {}): {}",
                scan.pos, scan.next_offset, scan.fault?
            )
        }
        Ok(_) => return None,
    };
    Some(format!("{}: {problem}", sealed.path.display()))
}

fn damaged(path: &Path, what: &str) -> RecoverError {
    RecoverError::Damaged(format!("{}: {what}", path.display()))
}

/// Errors that hold for the whole log refuse it; a file that cannot be read is damage.
fn classify(path: &Path, error: io::Error) -> RecoverError {
    match error.kind() {
        io::ErrorKind::PermissionDenied | io::ErrorKind::ReadOnlyFilesystem => {
            RecoverError::Refused(io_error("use", path, error))
        }
        _ => damaged(path, &error.to_string()),
    }
}
