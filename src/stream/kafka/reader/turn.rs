//! One life of a client, and what the group wants of it.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::mpsc::TryRecvError;
use std::time::{Duration, Instant};

use rdkafka::consumer::Consumer;
use rdkafka::topic_partition_list::Offset as RawOffset;

use super::{Client, Command, End, Kind, Place, Reader, raw};
use crate::stream::kafka::context::Order;
use crate::stream::kafka::explain::explain;
use crate::stream::kafka::mail::Letter;
use crate::stream::kafka::scout::list;
use crate::stream::metrics;

/// How long a partition waits for its owner to understand that it is given up.
const HANDOVER: Duration = Duration::from_secs(30);

/// An order that was told and is not answered.
pub(super) struct Pending {
    number: u64,
    order: Order,
    /// When a revocation is done without an answer.
    deadline: Instant,
}

/// The thread while it has a client.
pub(super) struct Turn<'a> {
    pub(super) reader: &'a Reader,
    pub(super) client: Client,
    pub(super) places: &'a mut BTreeMap<u32, Place>,
    /// What the group wants, until it is answered.
    pub(super) order: Option<Pending>,
    /// Orders so far, over all clients.
    orders: &'a mut u64,
    pub(super) full_since: Option<Instant>,
    pub(super) paused: bool,
}
impl<'a> Turn<'a> {
    pub(super) fn new(
        reader: &'a Reader,
        client: Client,
        places: &'a mut BTreeMap<u32, Place>,
        orders: &'a mut u64,
    ) -> Self {
        Self {
            reader,
            client,
            places,
            order: None,
            orders,
            full_since: None,
            paused: false,
        }
    }

    pub(super) fn run(&mut self) -> Result<(), End> {
        loop {
            if self.reader.cluster.is_closing() {
                return Err(End::Over);
            }
            loop {
                match self.reader.commands.try_recv() {
                    Ok(command) => self.obey(command)?,
                    Err(TryRecvError::Empty) => break,
                    Err(TryRecvError::Disconnected) => return Err(End::Over),
                }
            }
            self.follow_orders()?;
            if self.may_read()? {
                self.gather()?;
            }
        }
    }

    /// Takes what the group wants, and does what was waited for long enough.
    fn follow_orders(&mut self) -> Result<(), End> {
        if let Some(pending) = &self.order {
            let overdue = Instant::now() >= pending.deadline;
            if !overdue || matches!(pending.order, Order::Assign(_)) {
                return Ok(());
            }
            tracing::warn!(
                topic = self.reader.topic,
                "a reader did not give up its partitions in time; they are given away without it"
            );
            self.release()?;
        }
        let Some(order) = self.client.context().next_order() else {
            return Ok(());
        };
        if let Kind::Member { group } = &self.reader.kind {
            metrics::rebalance_seen(&self.reader.name, group);
        }
        *self.orders += 1;
        let number = *self.orders;
        let (at_once, letter) = match &order {
            Order::Assign(partitions) => (
                partitions.is_empty(),
                Letter::Assign(number, partitions.clone()),
            ),
            Order::Revoke { partitions, lost } => {
                self.reader.mail.forget(partitions);
                let told = Letter::Revoke(number, partitions.clone());
                (partitions.is_empty() || *lost, told)
            }
        };
        if !matches!(&letter, Letter::Assign(_, partitions) if partitions.is_empty()) {
            self.reader.mail.put(letter);
        }
        let deadline = Instant::now() + HANDOVER;
        self.order = Some(Pending {
            number,
            order,
            deadline,
        });
        match (at_once, &self.order) {
            (
                true,
                Some(Pending {
                    order: Order::Assign(_),
                    ..
                }),
            ) => self.start(&[]),
            (true, Some(_)) => self.release(),
            _ => Ok(()),
        }
    }

    fn obey(&mut self, command: Command) -> Result<(), End> {
        let awaited = self.order.as_ref().map(|pending| pending.number);
        match command {
            Command::Start(number, starts) if awaited == Some(number) => self.start(&starts),
            Command::Release(number) if awaited == Some(number) => self.release(),
            // An answer to an order of an earlier client.
            Command::Start(..) | Command::Release(_) => Ok(()),
            Command::Seek {
                partition,
                to,
                done,
            } => {
                // Whoever asked may have gone.
                drop(done.send(self.seek(partition, to)));
                Ok(())
            }
        }
    }

    /// Gives up what the group wants back.
    fn release(&mut self) -> Result<(), End> {
        let pending = self
            .order
            .take_if(|p| matches!(p.order, Order::Revoke { .. }));
        let Some(Order::Revoke { partitions, .. }) = pending.map(|pending| pending.order) else {
            return Ok(());
        };
        for number in &partitions {
            self.places.remove(number);
        }
        let places = partitions.iter().map(|n| (*n, RawOffset::Invalid));
        let given_up = list(&self.reader.topic, places)
            .and_then(|list| self.client.incremental_unassign(&list));
        given_up.map_err(|error| End::Failed(explain(&error)))
    }

    /// Takes what the group gives, each partition from its offset.
    fn start(&mut self, starts: &[(u32, u64)]) -> Result<(), End> {
        if self
            .order
            .take_if(|p| matches!(p.order, Order::Assign(_)))
            .is_none()
        {
            return Ok(());
        }
        let places = starts.iter().map(|(number, next)| (*number, raw(*next)));
        let assigned =
            list(&self.reader.topic, places).and_then(|list| self.client.incremental_assign(&list));
        assigned.map_err(|error| End::Failed(explain(&error)))?;
        for (number, next) in starts {
            self.places.insert(
                *number,
                Place {
                    next: *next,
                    end: *next,
                },
            );
        }
        if self.paused {
            // New partitions do not know of the pause.
            self.paused = false;
            self.pause(true)?;
        }
        Ok(())
    }

    /// Answers what the group still waits for, and ends the client.
    pub(super) fn leave(mut self) {
        let context = Arc::clone(self.client.context());
        context.close();
        let waiting = self.order.take().map(|pending| pending.order);
        let answered = match waiting {
            Some(Order::Assign(partitions)) => {
                let places = partitions.iter().map(|n| (*n, RawOffset::Beginning));
                list(&self.reader.topic, places)
                    .and_then(|list| self.client.incremental_assign(&list))
            }
            Some(Order::Revoke { partitions, .. }) => {
                let places = partitions.iter().map(|n| (*n, RawOffset::Invalid));
                list(&self.reader.topic, places)
                    .and_then(|list| self.client.incremental_unassign(&list))
            }
            None => Ok(()),
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "while leaving the group");
        }
        // The last of its holders closes it; a commit under way may hold it a moment longer.
        drop(self.reader.client.lock().take());
    }
}
