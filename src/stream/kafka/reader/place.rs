//! Where a partition stands, and moving it.

use std::collections::BTreeMap;
use std::time::Duration;

use rdkafka::consumer::Consumer;
use rdkafka::error::KafkaError;

use super::turn::Turn;
use super::{End, Kind, Place, assign_all, not_ours, raw};
use crate::stream::LogError;
use crate::stream::kafka::explain::explain;
use crate::stream::kafka::mail::Letter;
use crate::stream::kafka::scout::{Bounds, list};

/// How long moving a partition may take.
const SEEK: Duration = Duration::from_secs(5);
/// Looks at where a topic ends before it is believed that it ends before what was read.
const LOOKS: u32 = 10;
const LOOK_AGAIN: Duration = Duration::from_millis(200);

impl Turn<'_> {
    pub(super) fn seek(&mut self, partition: u32, to: u64) -> Result<(), LogError> {
        let place = self.places.get(&partition).copied();
        let place = place.ok_or_else(|| not_ours(partition))?;
        let standing = self
            .reader
            .mail
            .first_waiting(partition)
            .unwrap_or(place.next);
        if standing == to {
            return Ok(());
        }
        self.jump(partition, to)
            .map_err(|error| LogError::Refused(format!("not moved: {}", explain(&error))))?;
        self.reader.mail.forget(&[partition]);
        self.places.insert(partition, Place { next: to, ..place });
        Ok(())
    }

    /// Moves the client. Directly after an assignment, and after an offset that was out of range,
    /// it cannot be moved: then the partition is given up and taken again.
    fn jump(&self, partition: u32, to: u64) -> Result<(), KafkaError> {
        let (topic, number) = (&self.reader.topic, partition.cast_signed());
        let Err(error) = self.client.seek(topic, number, raw(to), SEEK) else {
            return Ok(());
        };
        tracing::debug!(topic, partition, %error, "moved by a new assignment");
        match &self.reader.kind {
            Kind::Groupless(_) => {
                let mut places = self.places.clone();
                if let Some(place) = places.get_mut(&partition) {
                    place.next = to;
                }
                assign_all(&self.client, topic, &places)
            }
            // While the group waits for an answer, an assignment would be taken for it.
            Kind::Member { .. } if self.order.is_some() => Err(error),
            Kind::Member { .. } => {
                let list = list(topic, std::iter::once((partition, raw(to))))?;
                self.client.incremental_unassign(&list)?;
                self.client.incremental_assign(&list)
            }
        }
    }

    /// Some partition stands where there is nothing: below its start, because retention was faster,
    /// or beyond its end, because the topic is not what it was.
    pub(super) fn find_place(&mut self) -> Result<(), End> {
        let numbers: Vec<u32> = self.places.keys().copied().collect();
        let mut bounds = BTreeMap::new();
        for look in 0..LOOKS {
            bounds = self
                .reader
                .cluster
                .scout
                .bounds(&self.reader.topic, &numbers)
                .map_err(|error| End::Failed(error.to_string()))?;
            // A new leader may take a moment to know how far its partition reaches.
            let end = |number| bounds.get(number).map_or(u64::MAX, |b: &Bounds| b.end);
            if look + 1 == LOOKS || self.places.iter().all(|(n, p)| p.next <= end(n)) {
                break;
            }
            std::thread::sleep(LOOK_AGAIN);
        }
        for (number, bounds) in bounds {
            let Some(place) = self.places.get(&number).copied() else {
                continue;
            };
            // Which partition the client has stopped at it does not say: all are told to go on.
            let to = place.next.clamp(bounds.start, bounds.end);
            if place.next > bounds.end {
                tracing::error!(
                    topic = self.reader.topic,
                    partition = number,
                    offset = place.next,
                    end = to,
                    "the topic ends before what was read: it was made anew, or the brokers lost \
                     records; reading goes on at its end"
                );
            } else if to > place.next {
                let (from, partition) = (place.next, number);
                self.reader.mail.put(Letter::Lost {
                    partition,
                    from,
                    to,
                });
            }
            self.jump(number, to)
                .map_err(|error| End::Failed(explain(&error)))?;
            self.places.insert(
                number,
                Place {
                    next: to,
                    end: bounds.end,
                },
            );
        }
        Ok(())
    }
}
