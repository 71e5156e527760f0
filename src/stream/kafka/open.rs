//! The start: which cluster this is, and whether its topics can keep our promises.

use std::time::{Duration, Instant};

use rdkafka::admin::{
    AdminClient, AdminOptions, ConfigResource, NewTopic, ResourceSpecifier, TopicReplication,
};
use rdkafka::client::DefaultClientContext;
use rdkafka::error::{KafkaError, RDKafkaErrorCode as Code};

use super::explain::{explain, explain_code, is_passing};
use super::options::{KafkaOptions, MESSAGE_MAX_BYTES};
use super::scout::{Layout, Scout};
use crate::stream::{LogError, TopicSpec};

/// One try to reach the brokers.
const TRY: Duration = Duration::from_secs(3);
/// Between two looks at a topic that is being made.
const LOOK_AGAIN: Duration = Duration::from_millis(50);

/// What was found out about a topic.
#[derive(Debug, Clone)]
pub(super) struct OpenedTopic {
    /// As the rest of Waylog names it.
    pub(super) spec: TopicSpec,
    /// As the brokers name it.
    pub(super) remote: String,
    /// Milliseconds; `None` for ever, or not known.
    pub(super) retention_ms: Option<u64>,
    pub(super) min_in_sync: usize,
}

/// The start of a log.
pub(super) struct Opening<'a> {
    pub(super) options: &'a KafkaOptions,
    pub(super) scout: &'a Scout,
    pub(super) deadline: Instant,
}

impl Opening<'_> {
    /// Waits for a broker; answers the cluster's id.
    pub(super) fn cluster_id(&self) -> Result<String, LogError> {
        loop {
            let asked = self
                .scout
                .layout(&self.options.remote(&self.options.topics[0].name), TRY);
            match asked {
                // It answered, or it answered that we may not look: it is a broker all the same.
                Ok(_) | Err(KafkaError::MetadataFetch(Code::TopicAuthorizationFailed)) => break,
                Err(error) => {
                    let code = error.rdkafka_error_code().unwrap_or(Code::Unknown);
                    let complaint = self.scout.complaint();
                    let (why, passing) =
                        complaint.unwrap_or_else(|| (explain(&error), is_passing(code)));
                    if !passing || !is_passing(code) || self.is_over() {
                        return Err(LogError::Refused(format!(
                            "no broker of stream.kafka.brokers ({}) can be used: {why}",
                            self.options.brokers,
                        )));
                    }
                }
            }
        }
        self.scout
            .cluster_id(TRY)
            .filter(|id| !id.is_empty())
            .ok_or_else(|| {
                LogError::Refused(format!(
                    "the brokers of stream.kafka.brokers ({}) do not tell their cluster's id: {}",
                    self.options.brokers,
                    explain_code(Code::UnsupportedVersion)
                ))
            })
    }

    fn is_over(&self) -> bool {
        Instant::now() >= self.deadline
    }

    /// Makes the topic if it is missing and may be made, and checks it.
    pub(super) async fn topic(&self, ours: &TopicSpec) -> Result<OpenedTopic, LogError> {
        let spec = &TopicSpec {
            name: self.options.remote(&ours.name),
            partitions: ours.partitions,
        };
        let admin: AdminClient<DefaultClientContext> = self
            .options
            .admin()
            .create()
            .map_err(|error| self.wrong(spec, &error))?;
        let mut made = false;
        let layout = loop {
            let found = match self.scout.layout(&spec.name, TRY) {
                Ok(found) => found,
                Err(error) if self.may_pass(&error) => continue,
                Err(error) => return Err(self.wrong(spec, &error)),
            };
            match found {
                Some(layout) if layout.iter().all(|r| r.leader.is_some()) => break layout,
                Some(layout) if self.is_over() => break layout,
                None if self.is_over() => {
                    return Err(self.wrong(spec, &KafkaError::AdminOp(Code::UnknownTopic)));
                }
                None if !made => made = self.make(&admin, spec).await?,
                _ => std::thread::sleep(LOOK_AGAIN),
            }
        };
        self.check_layout(spec, &layout)?;
        self.check_settings(&admin, ours, spec).await
    }

    /// Whether a busy broker may yet do what it did not do in time.
    fn may_pass(&self, error: &KafkaError) -> bool {
        error.rdkafka_error_code().is_some_and(is_passing) && !self.is_over()
    }

    /// Asks for the topic; answers false if it is to be asked again.
    async fn make(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        spec: &TopicSpec,
    ) -> Result<bool, LogError> {
        if !self.options.create_topics {
            return Err(LogError::Refused(format!(
                "there is no topic {}, and stream.kafka.create_topics is false: make it with {} \
                 partitions, or let Waylog make it",
                spec.name, spec.partitions
            )));
        }
        let partitions = i32::try_from(spec.partitions).unwrap_or(i32::MAX);
        let replicas = i32::from(self.options.replication_factor);
        let in_sync = self.options.min_insync_replicas.to_string();
        let retention = self.options.retention.map_or_else(
            || "-1".to_owned(),
            |retention| retention.as_millis().to_string(),
        );
        let topic = NewTopic::new(&spec.name, partitions, TopicReplication::Fixed(replicas))
            .set("min.insync.replicas", &in_sync)
            .set("retention.ms", &retention)
            .set("cleanup.policy", "delete")
            // A phone is not refused because a node's clock is ahead: that is told otherwise.
            .set("message.timestamp.after.max.ms", "9223372036854775807");
        let asked = AdminOptions::new()
            .request_timeout(Some(super::scout::ANSWER))
            .operation_timeout(Some(super::scout::ANSWER));
        let made = match admin.create_topics([&topic], &asked).await {
            Ok(made) => made,
            Err(error) if self.may_pass(&error) => return Ok(false),
            Err(error) => return Err(self.wrong(spec, &error)),
        };
        for result in made {
            match result {
                Ok(_) => tracing::info!(topic = spec.name, spec.partitions, "the topic was made"),
                // Another node was faster.
                Err((_, Code::TopicAlreadyExists)) => {}
                Err((_, code)) if is_passing(code) && !self.is_over() => return Ok(false),
                Err((_, code)) => {
                    return Err(LogError::Refused(format!(
                        "the topic {} cannot be made: {}",
                        spec.name,
                        explain_code(code)
                    )));
                }
            }
        }
        Ok(true)
    }

    fn check_layout(&self, spec: &TopicSpec, layout: &Layout) -> Result<(), LogError> {
        if layout.len() != spec.partitions as usize {
            return Err(LogError::Refused(format!(
                "the topic {} has {} partitions, and stream.partitions is {}: the count is pinned \
                 for a topic's life, as it decides which partition a courier is in; set \
                 stream.partitions to {}",
                spec.name,
                layout.len(),
                spec.partitions,
                layout.len()
            )));
        }
        let fewest = layout.iter().map(|r| r.all).min().unwrap_or(0);
        let wanted = usize::from(self.options.replication_factor);
        if fewest < wanted {
            tracing::warn!(
                topic = spec.name,
                replicas = fewest,
                "the topic has fewer replicas than stream.kafka.replication_factor ({wanted})"
            );
        }
        Ok(())
    }

    /// Whether what the topic is set to can keep our promises.
    async fn check_settings(
        &self,
        admin: &AdminClient<DefaultClientContext>,
        ours: &TopicSpec,
        spec: &TopicSpec,
    ) -> Result<OpenedTopic, LogError> {
        let mut opened = OpenedTopic {
            spec: ours.clone(),
            remote: spec.name.clone(),
            retention_ms: None,
            min_in_sync: usize::from(self.options.min_insync_replicas),
        };
        let asked = AdminOptions::new().request_timeout(Some(super::scout::ANSWER));
        let resource = ResourceSpecifier::Topic(&spec.name);
        let described = admin.describe_configs([&resource], &asked).await;
        let described = described.map_err(|error| self.wrong(spec, &error))?;
        let Some(found) = described.into_iter().next() else {
            return Ok(opened);
        };
        let found = match found {
            Ok(found) => found,
            Err(Code::TopicAuthorizationFailed | Code::ClusterAuthorizationFailed) => {
                tracing::warn!(
                    topic = spec.name,
                    "the topic's settings cannot be checked: the right DescribeConfigs is missing"
                );
                return Ok(opened);
            }
            Err(code) => return Err(self.wrong(spec, &KafkaError::AdminOp(code))),
        };
        let number = |name: &str| value(&found, name).and_then(|text| text.parse::<i64>().ok());
        if value(&found, "cleanup.policy").is_some_and(|policy| policy.contains("compact")) {
            return Err(LogError::Refused(format!(
                "the topic {} is compacted (cleanup.policy): only the newest upload of each courier \
                 would be kept; set it to delete",
                spec.name
            )));
        }
        if let Some(in_sync) = number("min.insync.replicas") {
            opened.min_in_sync = usize::try_from(in_sync).unwrap_or(1);
            let wanted = usize::from(self.options.min_insync_replicas);
            if opened.min_in_sync < wanted {
                return Err(LogError::Refused(format!(
                    "the topic {} acknowledges with min.insync.replicas = {in_sync}, and \
                     stream.kafka.min_insync_replicas is {wanted}: raise the one or lower the other",
                    spec.name
                )));
            }
        }
        let too_small = |most: &i64| *most < MESSAGE_MAX_BYTES as i64;
        if let Some(most) = number("max.message.bytes").filter(too_small) {
            return Err(LogError::Refused(format!(
                "the topic {} takes messages of up to {most} bytes only: raise its \
                 max.message.bytes to {MESSAGE_MAX_BYTES} or more",
                spec.name
            )));
        }
        opened.retention_ms = number("retention.ms").and_then(|ms| u64::try_from(ms).ok());
        Ok(opened)
    }

    fn wrong(&self, spec: &TopicSpec, error: &KafkaError) -> LogError {
        LogError::Refused(format!(
            "the topic {} cannot be used: {}",
            spec.name,
            explain(error)
        ))
    }
}

fn value<'a>(found: &'a ConfigResource, name: &str) -> Option<&'a str> {
    found.get(name)?.value.as_deref()
}
