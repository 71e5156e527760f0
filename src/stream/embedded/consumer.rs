//! Readers: members of a group, and those without one.
//!
//! A reader holds a cursor a partition and pulls; nothing is queued for it, so it can be as slow
//! as it likes. Newest frames come from the ring without a copy, older ones from disk on a
//! blocking thread.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use tokio::time::Instant;

use super::frame::{FrameFault, FrameRecords};
use super::membership::MemberId;
use super::partition::Partition;
use super::read::{DiskPlace, DiskRead, READ_AHEAD, note_damage, read_frames};
use super::state::{State, resolve};
use super::topic::Topic;
use crate::stream::{
    CommitError, Consumer, LogError, Offset, Partition as PartitionNumber, PollError, SeekTo,
    StartOffsets, StoredRecord, StreamEvent,
};

/// A place in one partition.
struct Cursor {
    partition: Arc<Partition>,
    next: u64,
    ready: VecDeque<FrameRecords>,
    place: Option<DiskPlace>,
    /// Damage was reported; nothing more is read before a seek.
    stopped: bool,
}

impl Cursor {
    fn new(partition: Arc<Partition>, next: u64) -> Self {
        Self {
            partition,
            next,
            ready: VecDeque::new(),
            place: None,
            stopped: false,
        }
    }

    fn number(&self) -> PartitionNumber {
        PartitionNumber(self.partition.number)
    }

    fn jump(&mut self, to: u64) {
        *self = Self::new(Arc::clone(&self.partition), to);
    }

    /// What there is to tell about this partition, if anything.
    async fn next_event(&mut self) -> Result<Option<StreamEvent>, PollError> {
        if self.stopped {
            return Ok(None);
        }
        if let Some(reason) = self.partition.quarantined() {
            return Err(self.stop(&reason));
        }
        if self.ready.is_empty() {
            let (from, start) = (self.next, self.partition.start());
            if from < start {
                return Ok(Some(self.lost(start)));
            }
            if from >= self.partition.durable() {
                return Ok(None);
            }
            if let Some(gap_end) = self.fill().await? {
                return Ok(Some(self.lost(gap_end)));
            }
        }
        let records = self.take().map_err(|fault| {
            let damage = note_damage(
                &self.partition,
                &self.partition.dir,
                0,
                self.next,
                &fault.into(),
            );
            self.stop(&damage.0)
        })?;
        let Some(last) = records.last() else {
            return Ok(None);
        };
        self.next = last.offset.0 + 1;
        Ok(Some(StreamEvent::Records {
            partition: self.number(),
            durable_offset: Offset(self.partition.durable()),
            records,
        }))
    }

    /// Gets the frames that hold `next`; answers where the log goes on if it has a gap there.
    async fn fill(&mut self) -> Result<Option<u64>, PollError> {
        if let Some(frames) = self.partition.ring.read(self.next, READ_AHEAD) {
            self.place = None;
            self.ready = frames
                .iter()
                .map(|f| FrameRecords::new(f.bytes.clone(), &f.header))
                .collect();
            return Ok(None);
        }
        let (partition, next, place) = (Arc::clone(&self.partition), self.next, self.place);
        let read = tokio::task::spawn_blocking(move || read_frames(&partition, next, place));
        match read.await {
            Ok(Ok(DiskRead::Frames(frames, place))) => {
                self.place = Some(place);
                self.ready = frames
                    .into_iter()
                    .map(|(h, b)| FrameRecords::new(b, &h))
                    .collect();
                Ok(None)
            }
            Ok(Ok(DiskRead::Gap(end))) => Ok(Some(end)),
            Ok(Err(damage)) => Err(self.stop(&damage.0)),
            Err(error) => Err(PollError::Stopped(format!(
                "a read from disk ended: {error}"
            ))),
        }
    }

    /// About [`READ_AHEAD`] bytes of records from `next` on.
    fn take(&mut self) -> Result<Vec<StoredRecord>, FrameFault> {
        let mut records = Vec::new();
        let mut bytes = 0;
        while let Some(frame) = self.ready.front_mut() {
            frame.skip_to(self.next)?;
            while bytes < READ_AHEAD {
                let Some(record) = frame.next_record()? else {
                    break;
                };
                bytes += record.key.len() + record.value.len();
                records.push(record);
            }
            if bytes >= READ_AHEAD {
                break;
            }
            self.ready.pop_front();
        }
        Ok(records)
    }

    fn lost(&mut self, to: u64) -> StreamEvent {
        let event = StreamEvent::OffsetLost {
            partition: self.number(),
            from: Offset(self.next),
            to: Offset(to),
        };
        self.jump(to);
        event
    }

    fn stop(&mut self, reason: &str) -> PollError {
        self.stopped = true;
        PollError::Damaged {
            partition: self.number(),
            reason: reason.to_owned(),
        }
    }
}

/// A reader's membership in a group.
struct Member {
    group: String,
    id: MemberId,
    start: Arc<dyn StartOffsets>,
    /// Assigned, but where to start is not known yet.
    unresolved: Vec<u32>,
    generation: u64,
}

/// A reader of the embedded log.
pub(super) struct EmbeddedConsumer {
    state: Arc<State>,
    topic: Arc<Topic>,
    member: Option<Member>,
    cursors: Vec<Cursor>,
    turn: usize,
}

impl EmbeddedConsumer {
    /// A new member of `group`.
    pub(super) fn member(
        state: Arc<State>,
        topic: Arc<Topic>,
        group: &str,
        start: Arc<dyn StartOffsets>,
    ) -> Self {
        let id = topic.join(group, state.core.clock.now_ms());
        let member = Member {
            group: group.to_owned(),
            id,
            start,
            unresolved: Vec::new(),
            generation: 0,
        };
        Self {
            state,
            topic,
            member: Some(member),
            cursors: Vec::new(),
            turn: 0,
        }
    }

    /// A reader of `places` that belongs to no group.
    pub(super) fn groupless(
        state: Arc<State>,
        topic: Arc<Topic>,
        places: Vec<(Arc<Partition>, u64)>,
    ) -> Self {
        let cursors = places
            .into_iter()
            .map(|(partition, next)| Cursor::new(partition, next));
        let cursors = cursors.collect();
        Self {
            state,
            topic,
            member: None,
            cursors,
            turn: 0,
        }
    }

    async fn next_event(&mut self) -> Result<Option<StreamEvent>, PollError> {
        if let Some(why) = self.state.core.failure() {
            return Err(PollError::Stopped(why.to_string()));
        }
        if self.state.core.is_closing() {
            return Err(PollError::Stopped("the log is closed".to_owned()));
        }
        if let Some(event) = self.membership_event().await? {
            return Ok(Some(event));
        }
        for _ in 0..self.cursors.len() {
            // Each partition in turn, so that a full one does not starve the others.
            self.turn = (self.turn + 1) % self.cursors.len();
            if let Some(event) = self.cursors[self.turn].next_event().await? {
                return Ok(Some(event));
            }
        }
        Ok(None)
    }

    async fn membership_event(&mut self) -> Result<Option<StreamEvent>, PollError> {
        let Some(member) = &mut self.member else {
            return Ok(None);
        };
        let mut held: Vec<u32> = self
            .cursors
            .iter()
            .map(|cursor| cursor.partition.number)
            .collect();
        held.extend(&member.unresolved);
        let now_ms = self.state.core.clock.now_ms();
        let changes = self.topic.changes(&member.group, member.id, &held, now_ms);
        member.generation = changes.generation;
        if !changes.revoked.is_empty() {
            member.unresolved.retain(|p| !changes.revoked.contains(p));
            let mut told = Vec::new();
            self.cursors.retain(|cursor| {
                let gone = changes.revoked.contains(&cursor.partition.number);
                if gone {
                    told.push(cursor.number());
                }
                !gone
            });
            // A partition whose assignment was never told needs no revocation.
            if !told.is_empty() {
                return Ok(Some(StreamEvent::Revoked { partitions: told }));
            }
        }
        member.unresolved.extend(changes.assigned);
        if member.unresolved.is_empty() {
            return Ok(None);
        }
        let mut starts = Vec::new();
        for number in &member.unresolved {
            let Some(partition) = self.topic.partition(*number) else {
                continue;
            };
            let wanted = member
                .start
                .start_at(PartitionNumber(*number))
                .await
                .map_err(|source| PollError::NoStart {
                    partition: PartitionNumber(*number),
                    source,
                })?;
            let to = wanted.unwrap_or_else(|| {
                let name = &*self.topic.name;
                let committed = self.state.offsets.get(&member.group, name, *number);
                committed.map_or(SeekTo::Earliest, |next| SeekTo::Offset(Offset(next)))
            });
            let next = resolve_on_disk(Arc::clone(partition), to)
                .await
                .map_err(|source| PollError::NoStart {
                    partition: PartitionNumber(*number),
                    source: source.into(),
                })?;
            starts.push((Arc::clone(partition), next));
        }
        member.unresolved.clear();
        let told = starts
            .iter()
            .map(|(p, next)| (PartitionNumber(p.number), Offset(*next)));
        let event = StreamEvent::Assigned {
            generation: member.generation,
            partitions: told.collect(),
        };
        self.cursors
            .extend(starts.into_iter().map(|(p, next)| Cursor::new(p, next)));
        Ok(Some(event))
    }

    fn leave(&mut self) {
        if let Some(member) = self.member.take() {
            self.topic
                .leave(&member.group, member.id, self.state.core.clock.now_ms());
        }
        self.cursors.clear();
    }
}

/// [`resolve`], with its disk reads on a blocking thread.
pub(super) async fn resolve_on_disk(
    partition: Arc<Partition>,
    to: SeekTo,
) -> Result<u64, LogError> {
    let resolved = match to {
        SeekTo::TimestampMs(_) => {
            let look = tokio::task::spawn_blocking(move || resolve(&partition, to));
            look.await
                .map_err(|e| LogError::Refused(format!("a read from disk ended: {e}")))?
        }
        _ => resolve(&partition, to),
    };
    resolved.map_err(|damage| LogError::Refused(damage.to_string()))
}

#[async_trait]
impl Consumer for EmbeddedConsumer {
    async fn poll(&mut self, timeout: Duration) -> Result<StreamEvent, PollError> {
        let deadline = Instant::now() + timeout;
        let news = Arc::clone(&self.topic.news);
        loop {
            tokio::task::coop::consume_budget().await;
            let rung = news.notified();
            tokio::pin!(rung);
            // Listen before looking, so that nothing is missed in between.
            rung.as_mut().enable();
            if let Some(event) = self.next_event().await? {
                return Ok(event);
            }
            if tokio::time::timeout_at(deadline, rung).await.is_err() {
                return Ok(StreamEvent::Idle);
            }
        }
    }

    async fn commit(
        &mut self,
        partition: PartitionNumber,
        next: Offset,
    ) -> Result<(), CommitError> {
        let Some(member) = &self.member else {
            return Err(CommitError::NoGroup);
        };
        let noted = self.topic.group(&member.group, |membership| {
            let mine = membership.owner(partition.0) == Some(member.id);
            if mine {
                let name = &*self.topic.name;
                self.state
                    .offsets
                    .note_read(&member.group, name, partition.0, next.0);
            }
            mine
        });
        if noted != Some(true) {
            return Err(CommitError::Stale(partition));
        }
        let (state, group) = (Arc::clone(&self.state), member.group.clone());
        let flush = tokio::task::spawn_blocking(move || state.offsets.flush(&group));
        match flush.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(CommitError::Failed(error.to_string())),
            Err(error) => Err(CommitError::Failed(error.to_string())),
        }
    }

    async fn seek(&mut self, partition: PartitionNumber, to: SeekTo) -> Result<Offset, LogError> {
        let cursor = self
            .cursors
            .iter_mut()
            .find(|cursor| cursor.number() == partition);
        let Some(cursor) = cursor else {
            return Err(LogError::Refused(format!(
                "partition {partition} is not assigned to this reader"
            )));
        };
        let next = resolve_on_disk(Arc::clone(&cursor.partition), to).await?;
        cursor.jump(next);
        Ok(Offset(next))
    }

    async fn end_offsets(&self) -> Result<Vec<(PartitionNumber, Offset)>, LogError> {
        let ends = self
            .cursors
            .iter()
            .map(|c| (c.number(), Offset(c.partition.durable())));
        Ok(ends.collect())
    }

    async fn close(mut self: Box<Self>, _deadline: Duration) {
        self.leave();
    }
}

impl Drop for EmbeddedConsumer {
    fn drop(&mut self) {
        self.leave();
    }
}
