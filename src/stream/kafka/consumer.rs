//! The reader as the rest of Waylog sees it: takes letters of its thread, says where partitions
//! start, commits.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::mpsc::Sender;
use std::time::Duration;

use async_trait::async_trait;
use rdkafka::consumer::{CommitMode, Consumer as _};
use rdkafka::error::RDKafkaErrorCode as Code;
use rdkafka::topic_partition_list::Offset as RawOffset;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::cluster::Cluster;
use super::explain::explain;
use super::mail::{Letter, Mail};
use super::open::OpenedTopic;
use super::reader::{Command, Kind, Reader, SharedClient};
use super::scout::list;
use crate::stream::{
    CommitError, Consumer, LogError, Offset, Partition, PollError, SeekTo, StartOffsets,
    StreamEvent,
};

/// A reader's membership in a group.
struct Member {
    group: String,
    start: Arc<dyn StartOffsets>,
    /// Ours, but where to start is not known yet.
    unresolved: Vec<u32>,
    /// The assignment that was ordered and is not answered, by its number.
    ordered: Option<u64>,
    generation: u64,
}

/// A reader of a topic on Kafka.
pub(super) struct KafkaConsumer {
    cluster: Arc<Cluster>,
    /// As the brokers name it.
    topic: String,
    member: Option<Member>,
    held: BTreeSet<u32>,
    mail: Arc<Mail>,
    client: SharedClient,
    commands: Sender<Command>,
    ended: oneshot::Receiver<()>,
}

impl KafkaConsumer {
    /// Starts the thread of a reader.
    pub(super) fn start(
        cluster: Arc<Cluster>,
        opened: OpenedTopic,
        kind: Kind,
        start: Arc<dyn StartOffsets>,
    ) -> Result<Self, LogError> {
        let mail = Arc::new(Mail::default());
        let client = SharedClient::default();
        let (commands, orders) = std::sync::mpsc::channel();
        let (tell_end, ended) = oneshot::channel();
        let (member, held) = match &kind {
            Kind::Member { group } => {
                let member = Member {
                    group: group.clone(),
                    start,
                    unresolved: Vec::new(),
                    ordered: None,
                    generation: 0,
                };
                (Some(member), BTreeSet::new())
            }
            Kind::Groupless(places) => (None, places.keys().copied().collect()),
        };
        let reader = Reader {
            cluster: Arc::clone(&cluster),
            name: opened.spec.name,
            topic: opened.remote.clone(),
            kind,
            mail: Arc::clone(&mail),
            client: Arc::clone(&client),
            commands: orders,
        };
        let run = move || {
            reader.run();
            // Whoever waited for the end may have gone.
            tell_end.send(()).unwrap_or_default();
        };
        std::thread::Builder::new()
            .name("kafka-reader".to_owned())
            .spawn(run)
            .map_err(|error| LogError::Io {
                context: "cannot start a thread for a reader".to_owned(),
                error,
            })?;
        Ok(Self {
            cluster,
            topic: opened.remote,
            member,
            held,
            mail,
            client,
            commands,
            ended,
        })
    }

    fn command(&self, command: Command) {
        // A thread that has ended needs no command.
        drop(self.commands.send(command));
    }

    /// Tells where the partitions start that were ordered to be ours.
    async fn take_over(&mut self) -> Result<Option<StreamEvent>, PollError> {
        let Some(member) = &mut self.member else {
            return Ok(None);
        };
        let Some(order) = member.ordered else {
            return Ok(None);
        };
        let mut wanted = Vec::new();
        let mut unknown = Vec::new();
        for number in &member.unresolved {
            let partition = Partition(*number);
            let said = member.start.start_at(partition).await;
            match said.map_err(|source| PollError::NoStart { partition, source })? {
                Some(to) => wanted.push((*number, to)),
                None => unknown.push(*number),
            }
        }
        let starts = if member.unresolved.is_empty() {
            Vec::new()
        } else {
            let no_start = |source: LogError| PollError::NoStart {
                partition: Partition(member.unresolved[0]),
                source: source.into(),
            };
            let (cluster, topic) = (Arc::clone(&self.cluster), self.topic.clone());
            let group = member.group.clone();
            let asked = blocking(move || {
                if !unknown.is_empty() {
                    let committed = cluster.desk(&group)?.committed(&topic, &unknown)?;
                    wanted.extend(unknown.iter().map(|number| {
                        let next = committed.get(number);
                        let to = next.map_or(SeekTo::Earliest, |n| SeekTo::Offset(Offset(*n)));
                        (*number, to)
                    }));
                }
                cluster.scout.resolve(&topic, &wanted)
            });
            asked.await.map_err(no_start)?.into_iter().collect()
        };
        member.unresolved.clear();
        member.ordered = None;
        let partitions: Vec<_> = starts
            .iter()
            .map(|(number, next)| (Partition(*number), Offset(*next)))
            .collect();
        let generation = member.generation;
        self.held.extend(starts.iter().map(|(number, _)| *number));
        self.command(Command::Start(order, starts));
        Ok((!partitions.is_empty()).then_some(StreamEvent::Assigned {
            generation,
            partitions,
        }))
    }

    /// What there is to tell, if anything.
    async fn next_event(&mut self) -> Result<Option<StreamEvent>, PollError> {
        loop {
            if self.cluster.is_closing() {
                return Err(PollError::Stopped("the log is closed".to_owned()));
            }
            if let Some(event) = self.take_over().await? {
                return Ok(Some(event));
            }
            let Some(letter) = self.mail.take() else {
                return Ok(None);
            };
            if let Some(event) = self.read(letter)? {
                return Ok(Some(event));
            }
        }
    }

    fn read(&mut self, letter: Letter) -> Result<Option<StreamEvent>, PollError> {
        match letter {
            Letter::Assign(order, partitions) => {
                if let Some(member) = &mut self.member {
                    member.generation += 1;
                    member.unresolved = partitions;
                    member.ordered = Some(order);
                }
                Ok(None)
            }
            Letter::Revoke(order, partitions) => {
                if let Some(member) = &mut self.member {
                    member.generation += 1;
                    member.unresolved.retain(|p| !partitions.contains(p));
                    member.ordered = member.ordered.filter(|_| !member.unresolved.is_empty());
                }
                let told: Vec<Partition> = partitions
                    .into_iter()
                    .filter(|number| self.held.remove(number))
                    .map(Partition)
                    .collect();
                self.command(Command::Release(order));
                // A partition whose assignment was never told needs no revocation.
                Ok((!told.is_empty()).then_some(StreamEvent::Revoked { partitions: told }))
            }
            Letter::Records {
                partition,
                records,
                end,
                ..
            } => Ok(self
                .held
                .contains(&partition)
                .then_some(StreamEvent::Records {
                    partition: Partition(partition),
                    records,
                    durable_offset: Offset(end),
                })),
            Letter::Lost {
                partition,
                from,
                to,
            } => Ok(Some(StreamEvent::OffsetLost {
                partition: Partition(partition),
                from: Offset(from),
                to: Offset(to),
            })),
            Letter::Failed(why) => Err(PollError::Stopped(why)),
        }
    }
}

#[async_trait]
impl Consumer for KafkaConsumer {
    async fn poll(&mut self, timeout: Duration) -> Result<StreamEvent, PollError> {
        let deadline = Instant::now() + timeout;
        let mail = Arc::clone(&self.mail);
        let closing = self.cluster.closing.clone();
        loop {
            tokio::task::coop::consume_budget().await;
            let rung = mail.rung.notified();
            tokio::pin!(rung);
            // Listen before looking, so that nothing is missed in between.
            rung.as_mut().enable();
            if let Some(event) = self.next_event().await? {
                return Ok(event);
            }
            tokio::select! {
                () = rung => {}
                () = closing.cancelled() => {}
                () = tokio::time::sleep_until(deadline) => return Ok(StreamEvent::Idle),
            }
        }
    }

    async fn commit(&mut self, partition: Partition, next: Offset) -> Result<(), CommitError> {
        if self.member.is_none() {
            return Err(CommitError::NoGroup);
        }
        if !self.held.contains(&partition.0) {
            return Err(CommitError::Stale(partition));
        }
        let client = self.client.lock().clone();
        let Some(client) = client else {
            return Err(CommitError::Failed(
                "the client is being made anew".to_owned(),
            ));
        };
        let topic = self.topic.clone();
        let place = (partition.0, RawOffset::Offset(next.0.cast_signed()));
        let committed = tokio::task::spawn_blocking(move || {
            let list = list(&topic, std::iter::once(place))?;
            client.commit(&list, CommitMode::Sync)
        });
        match committed.await {
            Ok(Ok(())) => Ok(()),
            Ok(Err(error)) => Err(match error.rdkafka_error_code() {
                Some(
                    Code::IllegalGeneration
                    | Code::UnknownMemberId
                    | Code::FencedInstanceId
                    | Code::AssignmentLost,
                ) => CommitError::Stale(partition),
                _ => CommitError::Failed(explain(&error)),
            }),
            Err(error) => Err(CommitError::Failed(error.to_string())),
        }
    }

    async fn seek(&mut self, partition: Partition, to: SeekTo) -> Result<Offset, LogError> {
        if !self.held.contains(&partition.0) {
            return Err(LogError::Refused(format!(
                "partition {partition} is not assigned to this reader"
            )));
        }
        let (cluster, topic) = (Arc::clone(&self.cluster), self.topic.clone());
        let resolved =
            blocking(move || cluster.scout.resolve(&topic, &[(partition.0, to)])).await?;
        let to = resolved.get(&partition.0).copied().unwrap_or_default();
        let (done, moved) = oneshot::channel();
        self.command(Command::Seek {
            partition: partition.0,
            to,
            done,
        });
        let ended = |_| LogError::Refused("the reader has ended".to_owned());
        moved.await.map_err(ended)??;
        Ok(Offset(to))
    }

    async fn end_offsets(&self) -> Result<Vec<(Partition, Offset)>, LogError> {
        let numbers: Vec<u32> = self.held.iter().copied().collect();
        if numbers.is_empty() {
            return Ok(Vec::new());
        }
        let (cluster, topic) = (Arc::clone(&self.cluster), self.topic.clone());
        let bounds = blocking(move || cluster.scout.bounds(&topic, &numbers)).await?;
        let end =
            |(number, bounds): (u32, super::scout::Bounds)| (Partition(number), Offset(bounds.end));
        Ok(bounds.into_iter().map(end).collect())
    }

    async fn close(self: Box<Self>, deadline: Duration) {
        let Self {
            commands, ended, ..
        } = *self;
        // The thread ends when nobody can command it any more.
        drop(commands);
        if tokio::time::timeout(deadline, ended).await.is_err() {
            tracing::warn!("a reader has not left its group in time; the brokers will find out");
        }
    }
}

/// Runs what asks the brokers, and waits for them, on a thread that may wait.
pub(super) async fn blocking<T: Send + 'static>(
    ask: impl FnOnce() -> Result<T, LogError> + Send + 'static,
) -> Result<T, LogError> {
    let asked = tokio::task::spawn_blocking(ask).await;
    asked.map_err(|error| LogError::Refused(format!("a question to the brokers ended: {error}")))?
}
