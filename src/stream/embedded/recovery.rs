//! Opening a partition: what is there, what is torn, what is damaged.
//!
//! The rule is that acknowledged records are never cut away in silence. After a crash the last
//! group may be torn, and only that: it is copied to `torn/` and cut. Anything else that does not
//! fit (a hole between segments, a bad frame with later frames that prove it was synced, an end
//! before what a checkpoint saw on disk) is damage, and the partition waits for an operator.

use std::sync::Arc;

use super::checkpoint::Checkpoint;
use super::folder::{
    PartitionPlace, RecoverError, check_ends, classify, damaged, list, open_segments,
    read_checkpoint,
};
use super::metrics;
use super::segment::{SEGMENT_HEADER_LEN, Segment};
use super::tail::{Verdict, cut_torn, judge, rewrite_unsynced, scan_tail};
use super::writer::Tail;

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

/// Opens a partition as [`super`] says.
pub(super) fn recover_partition(place: &PartitionPlace<'_>) -> Result<Recovered, RecoverError> {
    let mut segments = open_segments(place, &list(place)?.clean(place)?)?;
    let checkpoint = read_checkpoint(place)?;
    check_ends(place, &segments, checkpoint.as_ref())?;
    finish_deletion(place, &mut segments, checkpoint.as_ref())?;
    let (Some(last), before) = (segments.last(), segments.len().checked_sub(2)) else {
        return Err(damaged(place.dir, "it holds no segment"));
    };
    let io = |error| classify(&last.path, error);
    let end = scan_tail(last, checkpoint.as_ref()).map_err(io)?;
    let unclean = match judge(last, &end, checkpoint.as_ref()).map_err(io)? {
        Verdict::Clean => false,
        Verdict::Torn(to) => cut_torn(place, last, &end, to)?,
        Verdict::Damaged(what) => {
            metrics::corrupt_frame();
            return Err(RecoverError::Damaged(what));
        }
    };
    rewrite_unsynced(last, &end).map_err(io)?;
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
