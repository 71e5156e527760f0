//! One partition as appenders and readers share it.
//!
//! ```text
//!   appenders ──▶ pending group ──▶ (its sync thread: frame, write, sync) ──▶ durable ──▶ readers
//! ```
//!
//! Invariants:
//! - Appenders touch `pending` only, under its lock, and never do input or output.
//! - `start ≤ durable`; both only grow. Nothing at or beyond `durable` is ever shown.
//! - The writer publishes in this order: ring, segment end, `durable`, acknowledgement.

use std::ops::Range;
use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, OnceLock};
use std::thread::Thread;

use bytes::BytesMut;
use parking_lot::{Mutex, RwLock};
use tokio::sync::SetOnce;

use super::checkpoint::Checkpoint;
use super::frame::{FRAME_HEADER_LEN, FrameBuilder, MAX_RECORD_OVERHEAD};
use super::metrics;
use super::ring::Ring;
use super::segment::{SEGMENT_HEADER_LEN, Segment};
use super::storage::StorageFile;
use crate::stream::load::LoadMeter;
use crate::stream::{AppendError, Offset, Partition as PartitionNumber, Record};

/// What became of a group of records.
#[derive(Debug, Clone)]
pub(super) enum GroupFate {
    /// On disk, the first record at this offset.
    Durable(u64),
    /// Refused: no room. Nothing of it is stored.
    Full(Arc<str>),
    /// The log stopped before it could tell.
    Stopped(Arc<str>),
}

/// Records that become durable together, and those who wait for it.
type Group = SetOnce<GroupFate>;

/// Why a partition takes no more records.
#[derive(Debug, Clone)]
pub(super) enum Shut {
    /// It is damaged.
    Quarantined(Arc<str>),
    /// The log is closed or poisoned.
    Stopped(Arc<str>),
}

/// The group that is being filled.
struct Pending {
    frame: FrameBuilder,
    group: Arc<Group>,
    shut: Option<Shut>,
}

/// A segment file that was made ready in the background.
pub(super) struct PreparedSegment {
    pub(super) file: Arc<dyn StorageFile>,
    pub(super) path: PathBuf,
    pub(super) len: u64,
}

/// The next segment file, and whether somebody is at it.
#[derive(Default)]
pub(super) struct Preparation {
    pub(super) ready: Option<PreparedSegment>,
    pub(super) requested: Option<u64>,
}

/// A partition's shared state.
pub(super) struct Partition {
    pub(super) topic: Arc<str>,
    pub(super) number: u32,
    pub(super) dir: PathBuf,
    pub(super) ring: Ring,
    /// Segments in order; the last is the one that is written. Empty if quarantined.
    pub(super) segments: RwLock<Vec<Arc<Segment>>>,
    /// The file that the next roll will use.
    pub(super) preparation: Mutex<Preparation>,
    /// The newest checkpoint, and whether it is still to be written.
    pub(super) checkpoint: Mutex<(Checkpoint, bool)>,
    /// Set by retention: start a new segment at the next chance.
    pub(super) roll_due: AtomicBool,
    /// Damage that readers or the scrub have met: file, position and next step.
    pub(super) damage: Mutex<Option<Arc<str>>>,
    /// What the keeper measured of its load.
    pub(super) load: Mutex<LoadMeter>,
    pending: Mutex<Pending>,
    buffer_bytes: usize,
    start: AtomicU64,
    durable: AtomicU64,
    /// `durable` when the log was opened; none if it could not be.
    end_at_open: OnceLock<u64>,
    writer: OnceLock<Thread>,
}

impl Partition {
    pub(super) fn new(
        topic: Arc<str>,
        number: u32,
        dir: PathBuf,
        buffer_bytes: usize,
        ring_bytes: usize,
    ) -> Self {
        Self {
            topic,
            number,
            dir,
            ring: Ring::new(ring_bytes),
            segments: RwLock::default(),
            preparation: Mutex::default(),
            checkpoint: Mutex::default(),
            roll_due: AtomicBool::new(false),
            damage: Mutex::default(),
            load: Mutex::default(),
            pending: Mutex::new(Pending {
                frame: FrameBuilder::with_capacity(0),
                group: Arc::default(),
                shut: None,
            }),
            buffer_bytes,
            start: AtomicU64::new(0),
            durable: AtomicU64::new(0),
            end_at_open: OnceLock::new(),
            writer: OnceLock::new(),
        }
    }

    /// First offset that can be read.
    pub(super) fn start(&self) -> u64 {
        self.start.load(Ordering::Acquire)
    }

    /// Everything below is on disk.
    pub(super) fn durable(&self) -> u64 {
        self.durable.load(Ordering::Acquire)
    }

    pub(super) fn set_start(&self, offset: u64) {
        self.start.store(offset, Ordering::Release);
    }

    /// Where it ends as it is opened, before anything is appended.
    pub(super) fn open_at(&self, end: u64) {
        self.set_durable(end);
        self.end_at_open.get_or_init(|| end);
    }

    /// Where it ended when it was opened.
    pub(super) fn end_at_open(&self) -> Option<u64> {
        self.end_at_open.get().copied()
    }

    pub(super) fn set_durable(&self, offset: u64) {
        self.durable.store(offset, Ordering::Release);
    }

    /// Names the thread that is to be woken when records arrive.
    pub(super) fn set_writer(&self, thread: Thread) {
        // A partition has one writer for its whole life; a second name would change nothing.
        self.writer.get_or_init(|| thread);
    }

    pub(super) fn wake_writer(&self) {
        if let Some(thread) = self.writer.get() {
            thread.unpark();
        }
    }

    /// Puts records into the group that is written next.
    pub(super) fn enqueue(&self, records: &[Record]) -> Result<Ticket, AppendError> {
        let count = u32::try_from(records.len()).unwrap_or(u32::MAX);
        let mut bytes = 0;
        for record in records {
            if record.key.is_empty() {
                return Err(AppendError::Invalid("its key is empty".to_owned()));
            }
            bytes += record.key.len() + record.value.len() + MAX_RECORD_OVERHEAD;
        }
        let limit = self.buffer_bytes - FRAME_HEADER_LEN;
        if bytes > limit {
            return Err(AppendError::Invalid(format!(
                "{bytes} bytes at once are more than a partition's buffer of {limit} holds"
            )));
        }
        if count == 0 {
            return Err(AppendError::Invalid("there is none".to_owned()));
        }
        let mut pending = self.pending.lock();
        match &pending.shut {
            None => {}
            Some(Shut::Quarantined(why)) => return Err(AppendError::Quarantined(why.to_string())),
            Some(Shut::Stopped(why)) => return Err(AppendError::Stopped(why.to_string())),
        }
        if pending.frame.len() + bytes > self.buffer_bytes {
            drop(pending);
            metrics::refused();
            return Err(AppendError::Busy);
        }
        let first = pending.frame.record_count();
        for record in records {
            pending.frame.push(record);
        }
        let group = Arc::clone(&pending.group);
        drop(pending);
        if first == 0 {
            self.wake_writer();
        }
        Ok(Ticket {
            group,
            first,
            count,
        })
    }

    /// Takes the group that was filled so far, leaving an empty one; `None` if there is nothing.
    /// `spare` is memory for the new one.
    pub(super) fn take_pending(&self, spare: &mut Option<BytesMut>) -> Option<PendingGroup> {
        let mut pending = self.pending.lock();
        if pending.frame.is_empty() {
            return None;
        }
        let fresh = spare.take().map_or_else(
            || FrameBuilder::with_capacity(pending.frame.len()),
            FrameBuilder::reusing,
        );
        let frame = std::mem::replace(&mut pending.frame, fresh);
        let group = std::mem::take(&mut pending.group);
        Some(PendingGroup { frame, group })
    }

    /// Records that wait to be written.
    pub(super) fn waiting_records(&self) -> u64 {
        u64::from(self.pending.lock().frame.record_count())
    }

    /// Takes no more records; those that wait can still be taken by the writer.
    pub(super) fn shut(&self, why: Shut) {
        self.pending.lock().shut.get_or_insert(why);
    }

    /// Why the partition serves neither reads nor writes, if so.
    pub(super) fn quarantined(&self) -> Option<Arc<str>> {
        match &self.pending.lock().shut {
            Some(Shut::Quarantined(why)) => Some(Arc::clone(why)),
            _ => None,
        }
    }

    /// The segment that holds `offset`, or the first after it.
    pub(super) fn segment_for(&self, offset: u64) -> Option<(Arc<Segment>, Option<Arc<Segment>>)> {
        let segments = self.segments.read();
        let at = segments
            .partition_point(|segment| segment.base() <= offset)
            .saturating_sub(1);
        Some((
            Arc::clone(segments.get(at)?),
            segments.get(at + 1).map(Arc::clone),
        ))
    }

    /// Bytes of its frames.
    pub(super) fn frame_bytes(&self) -> u64 {
        let segments = self.segments.read();
        segments
            .iter()
            .map(|segment| segment.end().saturating_sub(SEGMENT_HEADER_LEN))
            .sum()
    }

    /// Bytes that its segment files take on disk, the prepared one included.
    pub(super) fn disk_bytes(&self) -> u64 {
        let prepared = self
            .preparation
            .lock()
            .ready
            .as_ref()
            .map_or(0, |ready| ready.len);
        self.segments
            .read()
            .iter()
            .map(|segment| segment.allocated())
            .sum::<u64>()
            + prepared
    }
}

/// A group that its writer has taken.
pub(super) struct PendingGroup {
    pub(super) frame: FrameBuilder,
    group: Arc<Group>,
}

impl PendingGroup {
    /// Parts the records from those who wait for them.
    pub(super) fn split(self) -> (FrameBuilder, Acknowledgement) {
        (self.frame, Acknowledgement(self.group))
    }
}

/// Tells everyone who waits for a group what became of it. Dropped without a word, it says that
/// the log has stopped: nobody waits for ever.
pub(super) struct Acknowledgement(Arc<Group>);

impl Acknowledgement {
    pub(super) fn tell(self, fate: GroupFate) {
        self.settle(fate);
    }

    fn settle(&self, fate: GroupFate) {
        // The first word counts; a second comes only from the drop after it.
        if self.0.set(fate).is_err() {}
    }
}

impl Drop for Acknowledgement {
    fn drop(&mut self) {
        if !self.0.initialized() {
            self.settle(GroupFate::Stopped("its writer ended".into()));
        }
    }
}

/// The promise that [`Partition::enqueue`] gives; dropping it leaves the records in the group.
#[must_use = "records are durable only when the ticket says so"]
pub(super) struct Ticket {
    group: Arc<Group>,
    first: u32,
    count: u32,
}

impl Ticket {
    /// Waits until the group's fate is known.
    pub(super) async fn wait(self) -> Result<Range<Offset>, AppendError> {
        self.answer(self.group.wait().await)
    }

    /// The group's fate, if it is known already.
    #[cfg(test)]
    pub(super) fn poll_now(&self) -> Option<Result<Range<Offset>, AppendError>> {
        self.group.get().map(|fate| self.answer(fate))
    }

    fn answer(&self, fate: &GroupFate) -> Result<Range<Offset>, AppendError> {
        match fate {
            GroupFate::Durable(base) => {
                let first = Offset(*base).advance(u64::from(self.first));
                Ok(first..first.advance(u64::from(self.count)))
            }
            GroupFate::Full(why) => Err(AppendError::Full(why.to_string())),
            GroupFate::Stopped(why) => Err(AppendError::Stopped(why.to_string())),
        }
    }
}

impl From<&Partition> for PartitionNumber {
    fn from(partition: &Partition) -> Self {
        Self(partition.number)
    }
}
