//! `verify`: reads every byte of a log that no process holds, and changes nothing.

use std::io;
use std::path::Path;
use std::sync::Arc;

use serde::Serialize;

use super::checkpoint::Checkpoint;
use super::folder::{
    PartitionPlace, RecoverError, check_ends, check_follows, list, open_segment, read_checkpoint,
};
use super::frame::FrameFault;
use super::meta::{GROUPS_DIR, Meta, partition_dir};
use super::offsets::read_all_offsets;
use super::open::lock;
use super::scan::{ScanError, Scanner};
use super::segment::{SEGMENT_HEADER_LEN, Segment, segment_path};
use super::storage::{Disk, Storage};
use super::tail::{Verdict, judge, scan_tail};
use crate::stream::LogError;

/// What was found in a log's folder.
#[derive(Debug, Clone, Serialize)]
pub struct LogReport {
    /// The log's uuid.
    pub uuid: uuid::Uuid,
    /// Damage outside the partitions: file, what is wrong, next step.
    pub findings: Vec<String>,
    /// A row a partition.
    pub partitions: Vec<PartitionReport>,
}

/// What was found in one partition.
#[derive(Debug, Clone, Default, Serialize)]
pub struct PartitionReport {
    /// Its topic.
    pub topic: String,
    /// Its number.
    pub partition: u32,
    /// Segment files.
    pub segments: usize,
    /// First offset that is there.
    pub start_offset: u64,
    /// One past the last offset that is there.
    pub end_offset: u64,
    /// Records that were read and are sound.
    pub records: u64,
    /// Bytes of their frames.
    pub bytes: u64,
    /// Damage: file, byte, offset and what is wrong. Empty: all is sound.
    pub findings: Vec<String>,
    /// What a start will put right by itself, as a group torn by a crash.
    pub notes: Vec<String>,
}

impl LogReport {
    /// Whether nothing is damaged.
    #[must_use]
    pub fn is_sound(&self) -> bool {
        self.findings.is_empty() && self.partitions.iter().all(|p| p.findings.is_empty())
    }
}

/// Reads the whole log in `dir`. Blocks on the disk.
///
/// # Errors
/// The folder holds no log, is in use by a server, or cannot be read.
pub fn verify(dir: &Path) -> Result<LogReport, LogError> {
    verify_on(&Disk, dir)
}

/// [`verify`] of a copy that nobody serves: takes no lock, so that the folder stays as it is.
///
/// # Errors
/// The folder holds no log, or cannot be read.
pub fn verify_copy(dir: &Path) -> Result<LogReport, LogError> {
    read_through(&Disk, dir)
}

/// [`verify`] on any disk.
pub(super) fn verify_on(storage: &dyn Storage, dir: &Path) -> Result<LogReport, LogError> {
    Meta::of_existing(storage, dir)?;
    let _lock = lock(storage, dir)?;
    read_through(storage, dir)
}

fn read_through(storage: &dyn Storage, dir: &Path) -> Result<LogReport, LogError> {
    let meta = Meta::of_existing(storage, dir)?;
    let (offsets, findings) = read_all_offsets(storage, &dir.join(GROUPS_DIR))?;
    let mut partitions = Vec::new();
    for topic in &meta.topics {
        for number in 0..topic.partitions {
            let place = PartitionPlace {
                storage,
                log: *meta.uuid.as_bytes(),
                topic: &topic.name,
                number,
                dir: &partition_dir(dir, &topic.name, number),
            };
            let mut report = verify_partition(&place)?;
            for (group, committed) in offsets.of(&topic.name, number) {
                if committed > report.end_offset && report.findings.is_empty() {
                    report.notes.push(format!(
                        "group {group} has committed offset {committed}, beyond the end at {}: a \
                         start sets it to the end",
                        report.end_offset
                    ));
                }
            }
            partitions.push(report);
        }
    }
    Ok(LogReport {
        uuid: meta.uuid,
        findings,
        partitions,
    })
}

/// Damage becomes a finding; what makes the folder unusable is an error.
fn found<T>(
    report: &mut PartitionReport,
    result: Result<T, RecoverError>,
) -> Result<Option<T>, LogError> {
    match result {
        Ok(value) => Ok(Some(value)),
        Err(RecoverError::Damaged(what)) => {
            report.findings.push(what);
            Ok(None)
        }
        Err(RecoverError::Refused(error)) => Err(error),
    }
}

fn verify_partition(place: &PartitionPlace<'_>) -> Result<PartitionReport, LogError> {
    let mut report = PartitionReport {
        topic: place.topic.to_owned(),
        partition: place.number,
        ..PartitionReport::default()
    };
    let Some(listing) = found(&mut report, list(place))? else {
        return Ok(report);
    };
    for stranger in &listing.strangers {
        let what = "not a file of the log: ignored, move it away";
        report.notes.push(format!("{}: {what}", stranger.display()));
    }
    let checkpoint = found(&mut report, read_checkpoint(place))?.flatten();
    let start = checkpoint.map_or(0, |checkpoint| checkpoint.log_start_offset);
    let bases = listing.kept(start);
    report.segments = bases.len();
    let mut segments: Vec<Arc<Segment>> = Vec::new();
    for base in bases {
        let opened = open_segment(place, segment_path(place.dir, *base), *base);
        let Some(segment) = found(&mut report, opened)? else {
            continue;
        };
        if let Some(before) = segments.last() {
            before.set_end(segment.header.prev_end_pos);
            found(&mut report, check_follows(before, &segment))?;
        }
        segments.push(Arc::new(segment));
    }
    found(
        &mut report,
        check_ends(place, &segments, checkpoint.as_ref()),
    )?;
    report.start_offset = segments.first().map_or(0, |first| first.base());
    for pair in segments.windows(2) {
        verify_sealed(&pair[0], &pair[1], &mut report);
    }
    match segments.last() {
        Some(last) => verify_active(last, checkpoint.as_ref(), &mut report)
            .map_err(|error| super::meta::io_error("read", &last.path, error))?,
        None => report.findings.push(format!(
            "{}: it holds no segment that can be read",
            place.dir.display()
        )),
    }
    Ok(report)
}

fn finding(segment: &Segment, pos: u64, offset: u64, error: &dyn std::fmt::Display) -> String {
    format!(
        "{}: at byte {pos} (offset {offset}): {error}",
        segment.path.display()
    )
}

fn verify_sealed(segment: &Segment, next: &Segment, report: &mut PartitionReport) {
    let (pos, base) = (SEGMENT_HEADER_LEN, segment.base());
    let mut scanner = Scanner::new(segment, pos, base, Some(0), segment.end());
    loop {
        match scanner.next_frame() {
            Ok(Some(frame)) => count(report, &frame.header),
            Ok(None) => break,
            Err(error) => {
                let what = finding(segment, scanner.pos, scanner.next_offset, &error);
                report.findings.push(what);
                return;
            }
        }
    }
    let told = (next.header.prev_end_offset, next.header.prev_last_crc);
    if (scanner.next_offset, scanner.prev_crc) != (told.0, Some(told.1)) {
        let fault = ScanError::Fault(FrameFault::Chain);
        let what = finding(segment, scanner.pos, scanner.next_offset, &fault);
        report.findings.push(what);
    }
}

fn count(report: &mut PartitionReport, header: &super::frame::FrameHeader) {
    report.records += u64::from(header.record_count);
    report.bytes += header.frame_len as u64;
    report.end_offset = header.end_offset();
}

fn verify_active(
    last: &Segment,
    checkpoint: Option<&Checkpoint>,
    report: &mut PartitionReport,
) -> io::Result<()> {
    // From its start, whatever the checkpoint would save.
    let end = scan_tail(last, None)?;
    let (pos, base) = (SEGMENT_HEADER_LEN, last.base());
    let mut scanner = Scanner::new(last, pos, base, Some(0), end.pos);
    while let Ok(Some(frame)) = scanner.next_frame() {
        count(report, &frame.header);
    }
    report.end_offset = end.next_offset;
    match judge(last, &end, checkpoint)? {
        Verdict::Clean => {}
        Verdict::Torn(to) => report.notes.push(format!(
            "{}: bytes {} to {to} are a group that a crash tore before it was acknowledged; a \
             start keeps them in torn/ and cuts them off",
            last.path.display(),
            end.pos
        )),
        Verdict::Damaged(what) => report.findings.push(what),
    }
    Ok(())
}
