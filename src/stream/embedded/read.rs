//! Reading a partition from disk: where an offset or an instant lies, and the frames from there.
//!
//! Everything here blocks on the disk and belongs on a blocking thread. Every frame is verified
//! before it is used; the index only says where to start.

use std::path::Path;
use std::sync::Arc;

use bytes::Bytes;

use super::frame::{FrameFault, FrameHeader, FrameRecords};
use super::index::{self, IndexEntry};
use super::metrics;
use super::partition::Partition;
use super::scan::{READ_CHUNK, ScanError, Scanner};
use super::segment::{SEGMENT_HEADER_LEN, Segment};
use super::tail::latest_timestamp;

/// Bytes that are read to find a place; an index entry stands every 64 KiB.
const SEEK_CHUNK: usize = 128 << 10;

/// A frame's place on disk.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct DiskPlace {
    segment_base: u64,
    pos: u64,
    /// Offset of the frame that starts at `pos`.
    offset: u64,
}

/// What a read from disk found.
pub(super) enum DiskRead {
    /// Frames, the first of which holds the wanted offset, and the place behind them.
    Frames(Vec<(FrameHeader, Bytes)>, DiskPlace),
    /// The wanted offset does not exist (an accepted loss); reading goes on here.
    Gap(u64),
}

/// Damage that was met: file, position and the next step.
#[derive(Debug, Clone, thiserror::Error)]
#[error("{0}")]
pub(super) struct ReadDamage(pub(super) Arc<str>);

/// Reads about a megabyte of frames from the one that holds `offset` on. `place` is where an
/// earlier read ended. `offset` lies below the partition's durable offset.
pub(super) fn read_frames(
    partition: &Partition,
    offset: u64,
    place: Option<DiskPlace>,
) -> Result<DiskRead, ReadDamage> {
    let Some((segment, next)) = partition.segment_for(offset) else {
        return Err(ReadDamage("the partition has no segment".into()));
    };
    if segment.base() > offset {
        return Ok(DiskRead::Gap(segment.base()));
    }
    let place = match place {
        Some(place) if place.segment_base == segment.base() && place.offset <= offset => place,
        _ => locate(partition, &segment, offset)?,
    };
    let mut frames = Vec::new();
    let mut scanner = Scanner::new(&segment, place.pos, place.offset, None, segment.end());
    loop {
        let frame = scanner.next_frame();
        match frame {
            Ok(Some(frame)) if frame.header.end_offset() > offset => {
                frames.push((frame.header, frame.bytes));
                if !scanner.has_buffered() {
                    break;
                }
            }
            Ok(Some(_)) => {}
            Ok(None) => break,
            // What was read up to here is good; the next read meets the damage first.
            Err(_) if !frames.is_empty() => break,
            Err(error) => return Err(damage(partition, &segment, &scanner, &error)),
        }
    }
    if !frames.is_empty() {
        let place = DiskPlace {
            segment_base: segment.base(),
            pos: scanner.pos,
            offset: scanner.next_offset,
        };
        return Ok(DiskRead::Frames(frames, place));
    }
    match next {
        Some(next) if next.header.prev_end_offset == scanner.next_offset => {
            Ok(DiskRead::Gap(next.base()))
        }
        _ => Err(damage(
            partition,
            &segment,
            &scanner,
            &FrameFault::NoMagic.into(),
        )),
    }
}

/// The offset of the first record received at or after `timestamp_ms`; `None` if there is none
/// below the durable offset.
pub(super) fn find_timestamp(
    partition: &Partition,
    timestamp_ms: i64,
) -> Result<Option<u64>, ReadDamage> {
    let segments = partition.segments.read().clone();
    // A header knows the latest timestamp before its segment, so exactly one has to be searched.
    let after = segments
        .partition_point(|segment| segment.header.prev_max_timestamp_ms < timestamp_ms)
        .saturating_sub(1);
    for segment in segments.get(after..).unwrap_or_default() {
        complete_index(partition, segment)?;
        let start = segment
            .index
            .floor_timestamp(timestamp_ms)
            .unwrap_or(first_entry(segment));
        let mut scanner = Scanner::new(segment, start.pos, start.offset, None, segment.end())
            .with_chunk(SEEK_CHUNK);
        loop {
            match scanner.next_frame() {
                Ok(Some(frame)) => {
                    let found = first_at_or_after(frame.bytes, &frame.header, timestamp_ms)
                        .map_err(|fault| damage(partition, segment, &scanner, &fault.into()))?;
                    if found.is_some() {
                        return Ok(found);
                    }
                }
                Ok(None) => break,
                Err(error) => return Err(damage(partition, segment, &scanner, &error)),
            }
        }
    }
    Ok(None)
}

fn first_at_or_after(
    bytes: Bytes,
    header: &FrameHeader,
    timestamp_ms: i64,
) -> Result<Option<u64>, FrameFault> {
    let mut records = FrameRecords::new(bytes, header);
    while let Some((offset, at)) = records.next_timestamp()? {
        if at >= timestamp_ms {
            return Ok(Some(offset));
        }
    }
    Ok(None)
}

/// The frame that holds `offset`, or the last one before it that the index knows.
fn locate(partition: &Partition, segment: &Segment, offset: u64) -> Result<DiskPlace, ReadDamage> {
    let entry = match segment.index.floor_offset(offset) {
        Some(entry) => entry,
        None => {
            complete_index(partition, segment)?;
            segment
                .index
                .floor_offset(offset)
                .unwrap_or(first_entry(segment))
        }
    };
    Ok(DiskPlace {
        segment_base: segment.base(),
        pos: entry.pos,
        offset: entry.offset,
    })
}

fn first_entry(segment: &Segment) -> IndexEntry {
    IndexEntry {
        offset: segment.base(),
        pos: SEGMENT_HEADER_LEN,
        max_timestamp_before_ms: segment.header.prev_max_timestamp_ms,
    }
}

/// Reads the part of a segment that its index does not know yet.
fn complete_index(partition: &Partition, segment: &Segment) -> Result<(), ReadDamage> {
    let known_from = segment.index.known_from().unwrap_or_else(|| segment.end());
    if known_from <= SEGMENT_HEADER_LEN {
        return Ok(());
    }
    let mut entries = Vec::new();
    let mut entry = first_entry(segment);
    let mut scanner = Scanner::new(segment, entry.pos, entry.offset, Some(0), known_from);
    loop {
        match scanner.next_frame() {
            Ok(Some(frame)) => {
                entry.offset = frame.header.base_offset;
                entry.pos = frame.pos;
                index::note(&mut entries, entry);
                let latest = latest_timestamp(frame.bytes, &frame.header)
                    .map_err(|fault| damage(partition, segment, &scanner, &fault.into()))?;
                entry.max_timestamp_before_ms = entry.max_timestamp_before_ms.max(latest);
            }
            Ok(None) => break,
            Err(error) => return Err(damage(partition, segment, &scanner, &error)),
        }
    }
    entries.shrink_to_fit();
    segment.index.prepend(entries);
    Ok(())
}

/// Notes damage on the partition, raises the alarm once, and words it for those who read.
pub(super) fn damage(
    partition: &Partition,
    segment: &Segment,
    scanner: &Scanner<'_>,
    error: &ScanError,
) -> ReadDamage {
    note_damage(
        partition,
        &segment.path,
        scanner.pos,
        scanner.next_offset,
        error,
    )
}

pub(super) fn note_damage(
    partition: &Partition,
    path: &Path,
    pos: u64,
    offset: u64,
    error: &ScanError,
) -> ReadDamage {
    let what: Arc<str> = format!(
        "{}: at byte {pos} (offset {offset}): {error}; stop the server, look with `waylog stream \
         verify`, and go on without these records by `waylog stream repair --accept-loss`",
        path.display()
    )
    .into();
    let mut noted = partition.damage.lock();
    if noted.as_deref() != Some(&what) {
        metrics::corrupt_frame();
        tracing::error!(topic = %partition.topic, partition = partition.number, what = &*what, "the log is damaged");
        *noted = Some(Arc::clone(&what));
    }
    ReadDamage(what)
}

/// Bytes that one read from disk aims at.
pub(super) const READ_AHEAD: usize = READ_CHUNK;
