//! From a parsed upload to its acknowledgement: duplicates out, encoded, appended, durable.
//!
//! Invariants:
//! - What is counted as accepted or duplicate is on disk when [`Admission::admit`] answers; a
//!   refusal means that nothing of the upload was appended by it.
//! - An append that was begun is waited for to its end, also when the phone has gone: otherwise
//!   nobody would know whether its fixes are there.
//! - At most `max_in_flight` uploads wait for the log; a waiting upload holds its encoded records
//!   only, neither its body nor its fixes.

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};

use bytes::Bytes;
use tokio_util::task::TaskTracker;

use super::dedupe::{Dedupe, Reservation};
use super::formats::{Bad, Format, Upload};
use super::meters::Meters;
use crate::domain::fix_batch::{self, MAX_FIXES};
use crate::domain::{CourierId, Fix, Quarantined, UnixMs};
use crate::stream::{
    AppendError, Log, LogError, Record, TOPIC_DELIVERY_LOCATION, TOPIC_QUARANTINE,
    partition_for_key,
};

/// Why an upload was not taken. Nothing of it was stored; the phone sends it again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// As many uploads as may are waiting, or the log's buffers are full.
    #[error("too many uploads at once; send it again")]
    Busy,
    /// The log's disk or cap is full.
    #[error("the log is full; the operator must make room, then send it again")]
    Full,
    /// The courier's partition is damaged.
    #[error(
        "this courier's part of the log is damaged; the operator must run `waylog stream verify`"
    )]
    Damaged,
    /// The log has stopped.
    #[error("the log has stopped; send it again")]
    Stopped,
}

impl Refusal {
    /// When to try again, seconds.
    #[must_use]
    pub fn retry_after_s(self) -> u32 {
        match self {
            Self::Busy => 1,
            Self::Stopped => 5,
            Self::Full => 30,
            Self::Damaged => 60,
        }
    }
}

impl From<AppendError> for Refusal {
    fn from(error: AppendError) -> Self {
        match error {
            AppendError::Busy => Self::Busy,
            AppendError::Full(_) => Self::Full,
            AppendError::Quarantined(_) => Self::Damaged,
            AppendError::Stopped(_) => Self::Stopped,
            AppendError::Invalid(_) | AppendError::UnknownPartition { .. } => {
                tracing::error!(%error, "a record of ours was refused by the log");
                Self::Stopped
            }
        }
    }
}

/// What became of an upload.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Admitted {
    /// Fixes stored.
    pub accepted: usize,
    /// Fixes that were there already.
    pub duplicate: usize,
    /// Fixes put in quarantine.
    pub quarantined: Vec<Bad>,
    /// Fixes not stored because the courier is off duty.
    pub off_duty: usize,
}

/// Who sent an upload, when, and in which shape.
#[derive(Debug, Clone)]
pub struct Sender {
    /// Whose token it was sent with.
    pub courier: CourierId,
    /// Off duty nothing but an alarm is stored.
    pub on_duty: bool,
    /// When it arrived.
    pub received_at: UnixMs,
    /// Its shape.
    pub format: Format,
}

/// Admits uploads. Cheap to clone.
#[derive(Clone)]
pub struct Admission {
    log: Arc<dyn Log>,
    dedupe: Arc<Dedupe>,
    partitions: u32,
    quarantine_partitions: u32,
    in_flight: InFlight,
    begun: TaskTracker,
    meters: Meters,
}

impl Admission {
    /// Admits into `log`.
    ///
    /// # Errors
    /// If the log lacks one of our topics.
    pub fn new(
        log: Arc<dyn Log>,
        dedupe: Arc<Dedupe>,
        max_in_flight: usize,
        meters: Meters,
    ) -> Result<Self, LogError> {
        Ok(Self {
            partitions: log.partitions(TOPIC_DELIVERY_LOCATION)?,
            quarantine_partitions: log.partitions(TOPIC_QUARANTINE)?,
            log,
            dedupe,
            in_flight: InFlight::up_to(max_in_flight),
            begun: TaskTracker::new(),
            meters,
        })
    }

    /// Stores an upload; answers when it is durable.
    pub async fn admit(&self, sender: Sender, mut upload: Upload) -> Result<Admitted, Refusal> {
        let sent = upload.fixes.len() + upload.bad.len();
        let mut admitted = Admitted::default();
        if !sender.on_duty {
            self.meters.off_duty.increment(sent as u64);
            admitted.off_duty = sent;
            upload.fixes.clear();
            upload.bad.clear();
            upload.heartbeat = false;
        }
        let refused = |refusal| {
            self.meters.refused.increment(sent as u64);
            refusal
        };
        let permit = self
            .in_flight
            .enter()
            .ok_or(Refusal::Busy)
            .map_err(refused)?;
        let reservation = self.dedupe.reserve(&sender.courier, &mut upload.fixes);
        admitted.accepted = upload.fixes.len();
        admitted.duplicate = reservation.duplicates;
        let records = self.records(&sender, &upload, admitted.duplicate > 0);
        let quarantine = self.quarantine(&sender, &upload.bad);
        admitted.quarantined = upload.bad;
        drop(upload.fixes);

        let beat = admitted.accepted == 0 && !records.is_empty();
        self.store(sender.courier, reservation, records, quarantine, permit)
            .await
            .map_err(refused)?;
        self.meters.count(&admitted, beat);
        Ok(admitted)
    }

    /// Waits for appends whose phones have gone.
    pub async fn finish(&self) {
        self.begun.close();
        self.begun.wait().await;
    }

    /// Uploads that wait for the log now.
    #[must_use]
    pub fn in_flight(&self) -> usize {
        self.in_flight.count.load(Ordering::Relaxed)
    }

    /// One record, or several of an upload that is larger than a batch may be. An upload of nothing
    /// but duplicates is none: its alarm was stored with the first of them.
    fn records(&self, sender: &Sender, upload: &Upload, had_duplicates: bool) -> Vec<Record> {
        let bare = (upload.heartbeat || upload.sos) && !had_duplicates;
        if upload.fixes.is_empty() && !bare {
            return Vec::new();
        }
        let record = |fixes: &[Fix], sos| {
            self.record(sender, fix_batch::encode(sender.received_at, fixes, sos))
        };
        let first = &upload.fixes[..upload.fixes.len().min(MAX_FIXES)];
        let mut records = vec![record(first, upload.sos)];
        let rest = upload.fixes[first.len()..].chunks(MAX_FIXES);
        records.extend(rest.map(|fixes| record(fixes, false)));
        records
    }

    fn quarantine(&self, sender: &Sender, bad: &[Bad]) -> Vec<Record> {
        bad.iter()
            .map(|bad| {
                let reason = bad.reason.to_string();
                let format = sender.format.as_str();
                let value = Quarantined::new(sender.received_at, &reason, format, &bad.raw);
                self.record(sender, value.encode())
            })
            .collect()
    }

    fn record(&self, sender: &Sender, value: Bytes) -> Record {
        Record {
            key: Bytes::copy_from_slice(sender.courier.as_str().as_bytes()),
            value,
            timestamp_ms: sender.received_at.0,
        }
    }

    async fn store(
        &self,
        courier: CourierId,
        reservation: Reservation,
        records: Vec<Record>,
        quarantine: Vec<Record>,
        permit: Permit,
    ) -> Result<(), Refusal> {
        if records.is_empty() && quarantine.is_empty() && reservation.wait_for.is_empty() {
            return Ok(());
        }
        let this = self.clone();
        let work = async move {
            let result = this
                .append(&courier, &reservation, records, quarantine)
                .await;
            if result.is_ok() {
                reservation.landed();
            }
            drop(permit);
            result
        };
        ToTheEnd {
            work: Some(Box::pin(work)),
            begun: self.begun.clone(),
        }
        .await
    }

    async fn append(
        &self,
        courier: &CourierId,
        reservation: &Reservation,
        records: Vec<Record>,
        quarantine: Vec<Record>,
    ) -> Result<(), Refusal> {
        // First the others: if one of them fails, nothing of this upload must be there either.
        for flight in &reservation.wait_for {
            if !flight.landed().await {
                return Err(Refusal::Busy);
            }
        }
        let key = courier.as_str().as_bytes();
        // Bad fixes first, so that a refusal leaves no accepted fix behind.
        if !quarantine.is_empty() {
            let partition = partition_for_key(key, self.quarantine_partitions);
            self.log
                .append(TOPIC_QUARANTINE, partition, quarantine)
                .await?;
        }
        if !records.is_empty() {
            let partition = partition_for_key(key, self.partitions);
            self.log
                .append(TOPIC_DELIVERY_LOCATION, partition, records)
                .await?;
        }
        Ok(())
    }
}

/// Counts uploads that wait for the log.
#[derive(Debug, Clone)]
struct InFlight {
    count: Arc<AtomicUsize>,
    most: usize,
}

impl InFlight {
    fn up_to(most: usize) -> Self {
        Self {
            count: Arc::default(),
            most,
        }
    }

    fn enter(&self) -> Option<Permit> {
        let permit = Permit(self.count.clone());
        (self.count.fetch_add(1, Ordering::AcqRel) < self.most).then_some(permit)
    }
}

/// A place among the waiting; given back when dropped.
struct Permit(Arc<AtomicUsize>);

impl Drop for Permit {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::AcqRel);
    }
}

type Work = Pin<Box<dyn Future<Output = Result<(), Refusal>> + Send>>;

/// Work that goes on as a task of its own when whoever awaits it has gone.
struct ToTheEnd {
    work: Option<Work>,
    begun: TaskTracker,
}

impl Future for ToTheEnd {
    type Output = Result<(), Refusal>;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        let Some(work) = &mut self.work else {
            return Poll::Ready(Err(Refusal::Stopped));
        };
        let result = std::task::ready!(work.as_mut().poll(context));
        self.work = None;
        Poll::Ready(result)
    }
}

impl Drop for ToTheEnd {
    fn drop(&mut self) {
        // Without a runtime the process is ending and the work with it.
        if let Some(work) = self.work.take()
            && let Ok(runtime) = tokio::runtime::Handle::try_current()
        {
            drop(self.begun.spawn_on(work, &runtime));
        }
    }
}
