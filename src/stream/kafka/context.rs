//! What librdkafka calls back: its log lines, its errors, and orders of a rebalance.

use std::collections::{HashMap, VecDeque};
use std::time::{Duration, Instant};

use parking_lot::Mutex;
use rdkafka::ClientContext;
use rdkafka::config::RDKafkaLogLevel;
use rdkafka::consumer::{BaseConsumer, Consumer, ConsumerContext};
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};
use rdkafka::topic_partition_list::TopicPartitionList;
use rdkafka::types::RDKafkaRespErr;

use super::explain::{explain_code, is_passing};

/// The same error is told again after this long.
const TELL_AGAIN: Duration = Duration::from_secs(60);

/// What a client has to complain of.
#[derive(Debug, Default)]
pub(super) struct Complaints {
    told: Mutex<HashMap<i32, Instant>>,
    /// The newest, and whether waiting may mend it. One that may does not hide one that may not.
    last: Mutex<Option<(String, bool)>>,
}

impl Complaints {
    /// Notes an error that came outside of any call, and tells it if it is news.
    pub(super) fn note(&self, error: &KafkaError, reason: &str) {
        let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
        if code == Code::AutoOffsetReset || code == Code::PartitionEOF {
            return;
        }
        let explained = explain_code(code);
        let passing = is_passing(code);
        {
            let mut last = self.last.lock();
            if !passing || last.as_ref().is_none_or(|(_, passing)| *passing) {
                *last = Some((format!("{explained} ({reason})"), passing));
            }
        }
        let now = Instant::now();
        let mut told = self.told.lock();
        let again = told
            .get(&(code as i32))
            .is_none_or(|before| now.duration_since(*before) > TELL_AGAIN);
        if again {
            told.insert(code as i32, now);
            tracing::warn!(reason, "Kafka: {explained}");
        }
    }

    /// The newest complaint, for the message of whatever failed, and whether waiting may mend it.
    pub(super) fn last(&self) -> Option<(String, bool)> {
        self.last.lock().clone()
    }
}

/// Writes a line of librdkafka's to our log.
pub(super) fn log_line(level: RDKafkaLogLevel, facility: &str, line: &str) {
    // Warnings of properties that the other kind of client uses: they are meant for all kinds.
    if facility == "CONFWARN" {
        return;
    }
    match level {
        RDKafkaLogLevel::Emerg
        | RDKafkaLogLevel::Alert
        | RDKafkaLogLevel::Critical
        | RDKafkaLogLevel::Error => tracing::warn!(facility, "librdkafka: {line}"),
        RDKafkaLogLevel::Warning | RDKafkaLogLevel::Notice => {
            tracing::info!(facility, "librdkafka: {line}");
        }
        RDKafkaLogLevel::Info | RDKafkaLogLevel::Debug => {
            tracing::debug!(facility, "librdkafka: {line}");
        }
    }
}

/// What the group's coordinator wants of a member. It must be answered by an assign or an unassign.
#[derive(Debug)]
pub(super) enum Order {
    /// Take these as well.
    Assign(Vec<u32>),
    /// Give these up; with `lost` somebody else may have them already.
    Revoke { partitions: Vec<u32>, lost: bool },
}

/// The context of a consumer.
#[derive(Debug, Default)]
pub(super) struct Context {
    pub(super) complaints: Complaints,
    /// Orders that were not looked at yet; `None` when the client is being closed, and answers at
    /// once.
    orders: Mutex<Option<VecDeque<Order>>>,
}

impl Context {
    /// A context whose orders are taken by [`Self::next_order`].
    pub(super) fn with_orders() -> Self {
        Self {
            orders: Mutex::new(Some(VecDeque::new())),
            ..Self::default()
        }
    }

    pub(super) fn next_order(&self) -> Option<Order> {
        self.orders.lock().as_mut()?.pop_front()
    }

    /// From now on every order is answered at once by giving up everything.
    pub(super) fn close(&self) {
        self.orders.lock().take();
    }
}

impl ClientContext for Context {
    fn log(&self, level: RDKafkaLogLevel, facility: &str, line: &str) {
        log_line(level, facility, line);
    }

    fn error(&self, error: KafkaError, reason: &str) {
        self.complaints.note(&error, reason);
    }
}

impl ConsumerContext for Context {
    fn rebalance(
        &self,
        consumer: &BaseConsumer<Self>,
        kind: RDKafkaRespErr,
        list: &mut TopicPartitionList,
    ) {
        let assign = kind == RDKafkaRespErr::RD_KAFKA_RESP_ERR__ASSIGN_PARTITIONS;
        if let Some(orders) = &mut *self.orders.lock() {
            let numbers = list.elements();
            let partitions = numbers.iter().map(|e| e.partition().cast_unsigned());
            let partitions = partitions.collect();
            orders.push_back(if assign {
                Order::Assign(partitions)
            } else {
                let lost = consumer.assignment_lost();
                Order::Revoke { partitions, lost }
            });
            return;
        }
        let answered = if assign {
            consumer.incremental_assign(list)
        } else {
            consumer.incremental_unassign(list)
        };
        if let Err(error) = answered {
            tracing::debug!(%error, "while leaving the group");
        }
    }
}
