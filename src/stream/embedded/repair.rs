//! `repair --accept-loss`: makes a damaged log one that can be served, without what is lost.
//!
//! Every sound frame is kept, at its offset: where damage lies between sound frames, those behind it
//! move into a segment of their own, whose header says that the one before ended earlier. Readers
//! are told of the offsets in between as lost. What is cut off is copied to `torn/` first. Where the
//! end itself is gone, the log goes on [`OFFSETS_SKIPPED`] offsets later, so that no offset that was
//! ever acknowledged names another record.
//!
//! A repair that is interrupted leaves a damaged log, and can be run again.

use std::io;
use std::ops::Range;
use std::path::Path;

use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::folder::{PartitionPlace, RecoverError, create_partition, list, read_checkpoint};
use super::frame::{CrcSeed, FramePlace, relocate};
use super::meta::{GROUPS_DIR, Meta, io_error, partition_dir};
use super::offsets::read_all_offsets;
use super::open::lock;
use super::scan::{ScanError, Scanner, nonzero_span, probe};
use super::segment::{SEGMENT_HEADER_LEN, Segment, SegmentHeader, segment_path};
use super::snapshot::{TMP_SUFFIX, with_suffix};
use super::storage::{Disk, Storage};
use super::tail::{keep_copy, latest_timestamp};
use super::verify::verify_on;
use crate::clock::SharedClock;
use crate::stream::LogError;

/// Offsets that are left out where nobody knows how many records were lost.
const OFFSETS_SKIPPED: u64 = 1 << 20;
/// Bytes of a segment that starts behind a lost end.
const FRESH_SEGMENT_LEN: u64 = 4 << 20;

/// What became of one partition.
#[derive(Debug, Clone, Serialize)]
pub struct Repaired {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: u32,
    /// Offsets that no record has any more: some were lost, others were never given.
    pub lost: Vec<Range<u64>>,
}

/// Repairs every damaged partition of the log in `dir` and leaves the others alone. Blocks on the
/// disk.
///
/// # Errors
/// The folder holds no log, is in use by a server, holds files of another log, or cannot be written.
pub fn repair(dir: &Path, clock: &SharedClock) -> Result<Vec<Repaired>, LogError> {
    repair_on(&Disk, dir, clock)
}

/// [`repair`] on any disk.
pub(super) fn repair_on(
    storage: &dyn Storage,
    dir: &Path,
    clock: &SharedClock,
) -> Result<Vec<Repaired>, LogError> {
    let before = verify_on(storage, dir)?;
    let meta = Meta::of_existing(storage, dir)?;
    let _lock = lock(storage, dir)?;
    let (offsets, _) = read_all_offsets(storage, &dir.join(GROUPS_DIR))?;
    let mut repaired = Vec::new();
    for report in before.partitions.iter().filter(|p| !p.findings.is_empty()) {
        let place = PartitionPlace {
            storage,
            log: *meta.uuid.as_bytes(),
            topic: &report.topic,
            number: report.partition,
            dir: &partition_dir(dir, &report.topic, report.partition),
        };
        let committed = offsets.of(&report.topic, report.partition);
        let known_end = committed.map(|(_, next)| next).max().unwrap_or(0);
        let lost = repair_partition(&place, known_end, clock.now_us())?;
        repaired.push(Repaired {
            topic: report.topic.clone(),
            partition: report.partition,
            lost,
        });
    }
    Ok(repaired)
}

/// Frames that follow one another without a fault.
struct Run {
    bytes: Range<u64>,
    offsets: Range<u64>,
    last_crc: u32,
    max_timestamp_ms: i64,
}

/// A segment file with its sound runs, the first of which starts where the file's frames start.
struct Salvage {
    segment: Segment,
    header: Option<SegmentHeader>,
    runs: Vec<Run>,
    /// One past the last byte that is not zero.
    dirty_end: u64,
}

/// The end of a segment as the header of the next one tells it.
#[derive(Clone, Copy)]
struct Told {
    base: u64,
    end_offset: u64,
    end_pos: u64,
    last_crc: u32,
    max_timestamp_ms: i64,
}

fn repair_partition(
    place: &PartitionPlace<'_>,
    committed: u64,
    now_us: i64,
) -> Result<Vec<Range<u64>>, LogError> {
    let io = |error| io_error("repair", place.dir, error);
    let listing = match list(place) {
        Ok(listing) => listing,
        Err(RecoverError::Refused(error)) => return Err(error),
        Err(RecoverError::Damaged(_)) => Default::default(),
    };
    let checkpoint = match read_checkpoint(place) {
        Ok(checkpoint) => checkpoint,
        Err(RecoverError::Refused(error)) => return Err(error),
        Err(RecoverError::Damaged(_)) => None,
    };
    let start = checkpoint.map_or(0, |checkpoint| checkpoint.log_start_offset);
    let known_end = checkpoint.map_or(committed, |c| {
        committed.max(c.synced_offset).max(c.newest_base)
    });
    let mut lost = Vec::new();
    let mut told: Option<Told> = None;
    let bases = listing.kept(start);
    for (at, base) in bases.iter().enumerate() {
        let salvage = salvage(place, *base, bases.get(at + 1).copied())?;
        let expected = told.map_or(start, |told| told.end_offset);
        let accepted = |header: &SegmentHeader| header.prev_end_offset == expected;
        if *base > expected && !(told.is_some() && salvage.header.as_ref().is_some_and(accepted)) {
            lost.push(expected..*base);
        }
        told = Some(settle(place, &salvage, told, &mut lost, now_us).map_err(io)?);
    }
    let end = told.map_or(start, |told| told.end_offset);
    let newest_base = if known_end > end || told.is_none() {
        let base = known_end.max(end) + OFFSETS_SKIPPED;
        lost.push(end..base);
        match told {
            None => create_partition(place, base, FRESH_SEGMENT_LEN, now_us).map_err(io)?,
            Some(told) => {
                let header = next_header(place, base, Some(told), now_us);
                let path = segment_path(place.dir, base);
                write_segment(place, &path, &header, &[]).map_err(io)?;
            }
        }
        base
    } else {
        told.map_or(end, |told| told.base)
    };
    let checkpoint = Checkpoint {
        log_start_offset: bases.first().copied().unwrap_or(newest_base),
        newest_base,
        synced_offset: newest_base,
        frame: None,
    };
    checkpoint.write(place.storage, place.dir).map_err(io)?;
    Ok(lost)
}

/// Reads a segment as far as anything in it is sound, its header set aside.
fn salvage(
    place: &PartitionPlace<'_>,
    base: u64,
    next_base: Option<u64>,
) -> Result<Salvage, LogError> {
    let path = segment_path(place.dir, base);
    let io = |error| io_error("read", &path, error);
    let file = place.storage.open(&path).map_err(io)?;
    let len = file.len().map_err(io)?;
    let mut head = vec![0; SEGMENT_HEADER_LEN as usize];
    let read = file.read_full_at(&mut head, 0).map_err(io)?;
    let header = SegmentHeader::decode(&head[..read], place.topic).ok();
    if let Some(header) = &header
        && (header.log, header.partition, header.base_offset) != (place.log, place.number, base)
    {
        return Err(LogError::Refused(format!(
            "{}: it belongs to another log or partition: move it away, then repair again",
            path.display()
        )));
    }
    let seed = CrcSeed::new(&place.log, place.topic, place.number, base);
    let placed = header.clone().unwrap_or_else(|| blank_header(place, base));
    let segment = Segment::new(path.clone(), placed, seed, file, len, len);
    let limit = next_base.unwrap_or(u64::MAX);
    let (runs, dirty_end) = find_runs(&segment, limit).map_err(io)?;
    Ok(Salvage {
        segment,
        header,
        runs,
        dirty_end,
    })
}

fn find_runs(segment: &Segment, limit: u64) -> io::Result<(Vec<Run>, u64)> {
    let mut runs = Vec::new();
    let (mut pos, mut offset, mut prev_crc) = (SEGMENT_HEADER_LEN, segment.base(), Some(0));
    loop {
        let run = read_run(segment, pos, offset, prev_crc)?;
        (pos, offset) = (run.bytes.end, run.offsets.end);
        runs.push(run);
        let Some((_, last)) = nonzero_span(&*segment.file, pos)? else {
            return Ok((runs, pos));
        };
        let next = probe(segment, pos..last, |frame| {
            frame.base_offset >= offset && frame.end_offset() <= limit
        })?;
        let Some(next) = next else {
            return Ok((runs, last));
        };
        (pos, offset, prev_crc) = (next.pos, next.header.base_offset, None);
    }
}

fn read_run(segment: &Segment, pos: u64, offset: u64, prev_crc: Option<u32>) -> io::Result<Run> {
    let mut scanner = Scanner::new(segment, pos, offset, prev_crc, segment.allocated());
    let mut run = Run {
        bytes: pos..pos,
        offsets: offset..offset,
        last_crc: 0,
        max_timestamp_ms: i64::MIN,
    };
    loop {
        match scanner.next_frame() {
            Ok(Some(frame)) => {
                let Ok(latest) = latest_timestamp(frame.bytes, &frame.header) else {
                    return Ok(run);
                };
                run.bytes.end = scanner.pos;
                run.offsets.end = frame.header.end_offset();
                run.last_crc = frame.header.crc;
                run.max_timestamp_ms = run.max_timestamp_ms.max(latest);
            }
            Ok(None) | Err(ScanError::Fault(_)) => return Ok(run),
            Err(ScanError::Io(error)) => return Err(error),
        }
    }
}

/// Brings one file into order: its first run stays in it, each later one moves into a file of its
/// own. Answers the end of the last.
fn settle(
    place: &PartitionPlace<'_>,
    salvage: &Salvage,
    told: Option<Told>,
    lost: &mut Vec<Range<u64>>,
    now_us: i64,
) -> io::Result<Told> {
    let segment = &salvage.segment;
    let Some((first, later)) = salvage.runs.split_first() else {
        return Err(io::ErrorKind::InvalidData.into());
    };
    let cut = first.bytes.end..salvage.dirty_end;
    if !cut.is_empty() {
        keep_copy(place, segment, cut.clone()).map_err(refusal)?;
    }
    let mut header = salvage
        .header
        .clone()
        .unwrap_or_else(|| blank_header(place, segment.base()));
    if let Some(told) = told {
        header = SegmentHeader {
            created_ts_us: header.created_ts_us,
            ..next_header(place, segment.base(), Some(told), now_us)
        };
    }
    let end_of = |run: &Run, base: u64, end_pos, last_crc, before: i64| Told {
        base,
        end_offset: run.offsets.end,
        end_pos,
        last_crc,
        max_timestamp_ms: before.max(run.max_timestamp_ms),
    };
    let mut before_ms = header.prev_max_timestamp_ms;
    let mut end = end_of(
        first,
        segment.base(),
        first.bytes.end,
        first.last_crc,
        before_ms,
    );
    for run in later {
        if run.offsets.start > end.end_offset {
            lost.push(end.end_offset..run.offsets.start);
        }
        // A first run without records has no name to itself: the next one takes it over.
        let replaces = run.offsets.start == segment.base();
        let header = match replaces {
            true => header.clone(),
            false => next_header(place, run.offsets.start, Some(end), now_us),
        };
        let path = segment_path(place.dir, run.offsets.start);
        let (end_pos, last_crc) = write_segment(place, &path, &header, &frames_of(segment, run)?)?;
        before_ms = header.prev_max_timestamp_ms;
        end = end_of(run, run.offsets.start, end_pos, last_crc, before_ms);
    }
    let replaced = later
        .first()
        .is_some_and(|run| run.offsets.start == segment.base());
    if !replaced {
        if !cut.is_empty() {
            segment.file.truncate(first.bytes.end)?;
            segment.file.sync_data()?;
        }
        if salvage.header.as_ref() != Some(&header) {
            segment.file.write_all_at(&header.encode(place.topic), 0)?;
            segment.file.sync_data()?;
        }
    }
    Ok(end)
}

/// The frames of a run, with their headers' fields that stay.
fn frames_of(segment: &Segment, run: &Run) -> io::Result<Vec<(FramePlace, bytes::Bytes)>> {
    let end = run.bytes.end;
    let mut scanner = Scanner::new(segment, run.bytes.start, run.offsets.start, None, end);
    let mut frames = Vec::new();
    loop {
        match scanner.next_frame() {
            Ok(Some(frame)) => {
                let place = FramePlace {
                    base_offset: frame.header.base_offset,
                    synced_offset: frame.header.synced_offset,
                    prev_frame_crc: 0,
                    append_ts_us: frame.header.append_ts_us,
                };
                frames.push((place, frame.bytes));
            }
            Ok(None) => return Ok(frames),
            Err(ScanError::Io(error)) => return Err(error),
            Err(ScanError::Fault(fault)) => return Err(io::Error::other(fault)),
        }
    }
}

/// Writes a segment under another name first; Ok means durable. Answers where its frames end and
/// the checksum of the last.
fn write_segment(
    place: &PartitionPlace<'_>,
    path: &Path,
    header: &SegmentHeader,
    frames: &[(FramePlace, bytes::Bytes)],
) -> io::Result<(u64, u32)> {
    let aside = with_suffix(path, TMP_SUFFIX);
    let file = place.storage.create(&aside)?;
    file.write_all_at(&header.encode(place.topic), 0)?;
    let seed = header.seed(place.topic);
    let (mut pos, mut crc) = (SEGMENT_HEADER_LEN, 0);
    for (at, bytes) in frames {
        let at = FramePlace {
            prev_frame_crc: crc,
            ..*at
        };
        let moved;
        (moved, crc) = relocate(bytes, at, seed);
        file.write_all_at(&moved, pos)?;
        pos += moved.len() as u64;
    }
    if frames.is_empty() {
        file.allocate(FRESH_SEGMENT_LEN)?;
    }
    file.sync_data()?;
    place.storage.rename(&aside, path)?;
    place.storage.sync_dir(place.dir)?;
    Ok((pos, crc))
}

fn blank_header(place: &PartitionPlace<'_>, base: u64) -> SegmentHeader {
    next_header(place, base, None, 0)
}

fn next_header(
    place: &PartitionPlace<'_>,
    base: u64,
    before: Option<Told>,
    now_us: i64,
) -> SegmentHeader {
    SegmentHeader {
        log: place.log,
        partition: place.number,
        base_offset: base,
        prev_base_offset: before.map_or(0, |told| told.base),
        prev_end_offset: before.map_or(0, |told| told.end_offset),
        prev_end_pos: before.map_or(0, |told| told.end_pos),
        prev_last_crc: before.map_or(0, |told| told.last_crc),
        created_ts_us: now_us,
        prev_max_timestamp_ms: before.map_or(i64::MIN, |told| told.max_timestamp_ms),
    }
}

fn refusal(error: RecoverError) -> io::Error {
    match error {
        RecoverError::Damaged(what) => io::Error::other(what),
        RecoverError::Refused(error) => io::Error::other(error.to_string()),
    }
}
