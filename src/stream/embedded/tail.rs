//! The end of a partition: where its frames end, and what lies behind them.

use std::io;
use std::ops::Range;
use std::path::Path;

use super::checkpoint::Checkpoint;
use super::folder::{PartitionPlace, RecoverError, TORN_DIR, classify};
use super::frame::{FrameFault, FrameHeader, FrameRecords};
use super::index::IndexEntry;
use super::metrics;
use super::scan::{READ_CHUNK, ScanError, Scanner, nonzero_span, probe};
use super::segment::{SEGMENT_HEADER_LEN, Segment};
use super::storage::is_full;

/// Copies that `torn/` keeps; older ones are removed.
const MAX_TORN_FILES: usize = 32;

/// Where the frames of the newest segment end, and what is behind them.
pub(super) struct TailScan {
    pub(super) pos: u64,
    pub(super) next_offset: u64,
    pub(super) last_crc: u32,
    pub(super) max_timestamp_ms: i64,
    pub(super) marked: bool,
    /// From here on frames may live in the page cache only.
    pub(super) unsynced_from: u64,
    pub(super) fault: Option<FrameFault>,
}

/// Scans the newest segment: from the checkpoint if its frame is there, else from its start.
pub(super) fn scan_tail(
    segment: &Segment,
    checkpoint: Option<&Checkpoint>,
) -> io::Result<TailScan> {
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

/// What the bytes behind the last good frame are.
#[derive(Debug)]
pub(super) enum Verdict {
    /// Preallocated space.
    Clean,
    /// A group that was never acknowledged, up to this position.
    Torn(u64),
    /// Records that were on disk are damaged.
    Damaged(String),
}

/// Judges what lies behind the frames that `end` has found.
pub(super) fn judge(
    segment: &Segment,
    end: &TailScan,
    checkpoint: Option<&Checkpoint>,
) -> io::Result<Verdict> {
    let path = segment.path.display();
    let fault = end
        .fault
        .map_or_else(|| "it ends".to_owned(), |fault| fault.to_string());
    let here = format!(
        "{path}: at byte {} (offset {}): {fault}",
        end.pos, end.next_offset
    );
    if let Some(FrameFault::Version(..)) = end.fault {
        return Ok(Verdict::Damaged(format!("{here}; upgrade Waylog")));
    }
    if let Some(synced) = checkpoint.map(|checkpoint| checkpoint.synced_offset)
        && synced > end.next_offset
    {
        let why = format!("{here}, but the checkpoint saw records below offset {synced} on disk");
        return Ok(Verdict::Damaged(why));
    }
    let Some((_, last)) = nonzero_span(&*segment.file, end.pos)? else {
        return Ok(Verdict::Clean);
    };
    let proof = probe(segment, end.pos..last, |frame| {
        frame.synced_offset > end.next_offset
    })?;
    Ok(match proof {
        None => Verdict::Torn(last),
        Some(proof) => Verdict::Damaged(format!(
            "{here}, but the frame at byte {} proves that records below offset {} were on disk",
            proof.pos, proof.header.synced_offset
        )),
    })
}

/// Keeps a copy of the torn bytes up to `last` and cuts them off. Answers whether the space must
/// be allocated anew before it is written.
pub(super) fn cut_torn(
    place: &PartitionPlace<'_>,
    segment: &Segment,
    end: &TailScan,
    last: u64,
) -> Result<bool, RecoverError> {
    let io = |error| classify(&segment.path, error);
    let torn = last - end.pos;
    metrics::torn_bytes(torn);
    tracing::warn!(
        path = %segment.path.display(),
        byte = end.pos,
        torn_bytes = torn,
        offset = end.next_offset,
        "a group was torn by a crash before it was acknowledged; it is kept in torn/ and cut"
    );
    keep_copy(place, segment, end.pos..last)?;
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

/// Copies bytes that are about to be cut to `torn/`. They are evidence, not records, so a full
/// disk is no reason to stop.
pub(super) fn keep_copy(
    place: &PartitionPlace<'_>,
    segment: &Segment,
    range: Range<u64>,
) -> Result<(), RecoverError> {
    let dir = place.dir.join(TORN_DIR);
    let path = dir.join(format!("{:020}-{}.bin", segment.base(), range.start));
    match copy_range(place, segment, &dir, &path, range) {
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
    range: Range<u64>,
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
pub(super) fn rewrite_unsynced(segment: &Segment, end: &TailScan) -> io::Result<()> {
    let len = usize::try_from(end.pos - end.unsynced_from).unwrap_or(usize::MAX);
    let mut bytes = vec![0; len];
    let read = segment.file.read_full_at(&mut bytes, end.unsynced_from)?;
    if read != len {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    segment.file.write_all_at(&bytes, end.unsynced_from)?;
    segment.file.sync_data()
}
