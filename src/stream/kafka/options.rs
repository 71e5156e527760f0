//! What a log on Kafka is opened with, and the settings of each kind of client made of it.

use std::time::Duration;

use rdkafka::ClientConfig;
use rdkafka::error::KafkaError;

use crate::stream::{LogError, TopicSpec};

/// Largest record that is taken, key and value, bytes: what a broker takes by default, less what
/// Kafka puts around it.
pub(super) const MAX_RECORD_LEN: usize = 960_000;
/// The brokers' and our clients' limit of a message, bytes (Kafka's own default).
pub(super) const MESSAGE_MAX_BYTES: usize = 1_000_000;
/// Records of one reader that lie in its client and wait to be taken, KiB.
const READ_AHEAD_KIB: usize = 16 << 10;

/// Client properties that are not the operator's to choose, and why.
const RESERVED: &[(&str, &str)] = &[
    ("bootstrap.servers", "use stream.kafka.brokers"),
    ("metadata.broker.list", "use stream.kafka.brokers"),
    ("enable.idempotence", "records are never doubled by a retry"),
    (
        "acks",
        "a record is acknowledged only when all replicas in sync have it",
    ),
    (
        "request.required.acks",
        "a record is acknowledged only when all replicas in sync have it",
    ),
    (
        "enable.auto.commit",
        "offsets are stored with what was done with the records",
    ),
    (
        "enable.auto.offset.store",
        "offsets are stored with what was done with the records",
    ),
    (
        "auto.offset.reset",
        "records that were lost must be told of",
    ),
    (
        "partition.assignment.strategy",
        "all nodes must use the same one",
    ),
    ("group.protocol", "all nodes must use the same one"),
    ("group.id", "use stream.kafka.group_prefix"),
    ("group.instance.id", "use stream.kafka.group_instance_id"),
    ("transactional.id", "Waylog uses no transactions of Kafka"),
    ("message.timeout.ms", "use stream.kafka.delivery_timeout_ms"),
    (
        "delivery.timeout.ms",
        "use stream.kafka.delivery_timeout_ms",
    ),
    ("queue.buffering.max.kbytes", "use stream.kafka.buffer_mib"),
    (
        "queue.buffering.max.messages",
        "use stream.kafka.buffer_mib",
    ),
];

/// Which brokers, which topics, and how.
#[derive(Clone)]
pub struct KafkaOptions {
    /// Some of the brokers, as in `host:9092,host:9092`.
    pub brokers: String,
    /// Topics that must exist; a count that differs is refused.
    pub topics: Vec<TopicSpec>,
    /// Whether topics that do not exist are made.
    pub create_topics: bool,
    /// Replicas of a topic that is made.
    pub replication_factor: u16,
    /// How many replicas must have a record before it is acknowledged.
    pub min_insync_replicas: u16,
    /// How long a topic that is made keeps its records; `None` keeps them for ever.
    pub retention: Option<Duration>,
    /// Stands before the names of topics.
    pub topic_prefix: String,
    /// Stands before the names of groups.
    pub group_prefix: String,
    /// Groups whose state is told also while nobody here reads for them.
    pub groups: Vec<String>,
    /// This process's name among the members of its groups, if it has one.
    pub group_instance_id: Option<String>,
    /// Bytes of records that may wait for their acknowledgement.
    pub buffer_bytes: usize,
    /// How long an acknowledgement may take.
    pub delivery_timeout: Duration,
    /// How long the start waits for the brokers.
    pub open_timeout: Duration,
    /// How often metrics are brought up to date.
    pub housekeeping_interval: Duration,
    /// Client properties of librdkafka, passed on as they are. May hold passwords.
    pub properties: Vec<(String, String)>,
}

impl KafkaOptions {
    /// The defaults, with Waylog's two topics.
    #[must_use]
    pub fn new(brokers: impl Into<String>, partitions: u32) -> Self {
        Self {
            brokers: brokers.into(),
            topics: TopicSpec::ours(partitions),
            create_topics: true,
            replication_factor: 3,
            min_insync_replicas: 2,
            retention: Some(Duration::from_secs(7 * 24 * 3600)),
            topic_prefix: String::new(),
            group_prefix: "waylog.".to_owned(),
            groups: Vec::new(),
            group_instance_id: None,
            buffer_bytes: 64 << 20,
            delivery_timeout: Duration::from_secs(20),
            open_timeout: Duration::from_secs(30),
            housekeeping_interval: Duration::from_secs(10),
            properties: Vec::new(),
        }
    }

    /// Refuses what cannot work, naming the setting.
    pub(super) fn check(&self) -> Result<(), LogError> {
        for (key, _) in &self.properties {
            if let Some((_, why)) = RESERVED.iter().find(|(name, _)| name == key) {
                return Err(LogError::Refused(format!(
                    "stream.kafka.properties must not hold {key}: {why}"
                )));
            }
        }
        self.producer()
            .create_native_config()
            .map(drop)
            .map_err(|error| LogError::Refused(wrong_property(&error)))
    }

    /// How the brokers know a topic.
    pub(super) fn remote(&self, topic: &str) -> String {
        format!("{}{topic}", self.topic_prefix)
    }

    /// How the brokers know a group.
    pub(super) fn group_id(&self, group: &str) -> String {
        format!("{}{group}", self.group_prefix)
    }

    /// What every client has. Ours first, so that the operator's replace it.
    fn client(&self, name: &str, ours: &[(&str, &str)]) -> ClientConfig {
        let mut config = ClientConfig::new();
        config
            .set("client.id", format!("waylog-{name}"))
            .set("socket.timeout.ms", "10000")
            .set("reconnect.backoff.max.ms", "2000")
            .set("socket.nagle.disable", "true");
        for (key, value) in ours {
            config.set(*key, *value);
        }
        for (key, value) in &self.properties {
            config.set(key, value);
        }
        config.set("bootstrap.servers", &self.brokers);
        config
    }

    /// The client that makes topics.
    pub(super) fn admin(&self) -> ClientConfig {
        self.client("admin", &[])
    }

    pub(super) fn producer(&self) -> ClientConfig {
        let ours = [("compression.type", "lz4"), ("linger.ms", "2")];
        let mut config = self.client("producer", &ours);
        // Room is given out by us, before a record gets here; the client's own bound is the last
        // resort. What it counts is more than the records' bytes.
        let kib = (self.buffer_bytes >> 10) * 2 + (4 << 10);
        config
            .set("enable.idempotence", "true")
            .set("acks", "all")
            .set("queue.buffering.max.messages", "0")
            .set("queue.buffering.max.kbytes", kib.to_string())
            .set(
                "message.timeout.ms",
                self.delivery_timeout.as_millis().to_string(),
            );
        config
    }

    /// A reader's client: of a group, or of none.
    pub(super) fn consumer(&self, group: Option<&str>) -> ClientConfig {
        let read_ahead = READ_AHEAD_KIB.to_string();
        // A member with a name comes back within this time, one without is given up sooner.
        let named = self.group_instance_id.as_ref().filter(|_| group.is_some());
        let session = if named.is_some() { "45000" } else { "10000" };
        let ours = [
            ("queued.max.messages.kbytes", &*read_ahead),
            ("fetch.message.max.bytes", "1048576"),
            ("fetch.queue.backoff.ms", "20"),
            ("session.timeout.ms", session),
            ("check.crcs", "true"),
            ("isolation.level", "read_uncommitted"),
        ];
        let mut config = self.client(group.unwrap_or("reader"), &ours);
        // Without a group this is a name only: nothing is joined and nothing committed.
        config
            .set("group.id", self.group_id(group.unwrap_or("reader")))
            .set("partition.assignment.strategy", "cooperative-sticky")
            .set("enable.auto.commit", "false")
            .set("enable.auto.offset.store", "false")
            .set("auto.offset.reset", "error");
        if let Some(name) = named {
            config.set("group.instance.id", name);
        }
        config
    }

    /// The client that asks and looks: small, as it reads single records.
    pub(super) fn scout(&self) -> ClientConfig {
        let mut config = self.consumer(None);
        config
            .set("client.id", "waylog-scout")
            .set("queued.max.messages.kbytes", "2048")
            .set("fetch.message.max.bytes", "65536")
            .set("fetch.wait.max.ms", "50");
        config
    }
}

impl std::fmt::Debug for KafkaOptions {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let names: Vec<&str> = self
            .properties
            .iter()
            .map(|(key, _)| key.as_str())
            .collect();
        f.debug_struct("KafkaOptions")
            .field("brokers", &self.brokers)
            .field("topics", &self.topics)
            .field("properties", &names)
            .finish_non_exhaustive()
    }
}

/// Says which property the client refuses; never its value, which may be a password.
fn wrong_property(error: &KafkaError) -> String {
    match error {
        KafkaError::ClientConfig(_, _, key, _) => format!(
            "stream.kafka.properties: librdkafka does not take {key}, or not with this value; its \
             CONFIGURATION.md lists all that exist"
        ),
        other => format!("stream.kafka.properties: {other}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(key: &str, value: &str) -> String {
        let mut options = KafkaOptions::new("127.0.0.1:1", 3);
        options.properties = vec![(key.to_owned(), value.to_owned())];
        options.check().expect_err("refused").to_string()
    }

    #[test]
    fn properties_that_promises_rest_on_are_refused_by_name() {
        for (key, _) in RESERVED {
            assert!(refusal(key, "1").contains(key));
        }
    }

    #[test]
    fn a_property_that_does_not_exist_is_named_and_values_are_never_shown() {
        let said = refusal("sasl.pasword", "hunter2");
        assert!(
            said.contains("sasl.pasword") && !said.contains("hunter2"),
            "{said}"
        );
        let said = refusal("socket.timeout.ms", "soon");
        assert!(said.contains("socket.timeout.ms"), "{said}");
        let mut options = KafkaOptions::new("b:1", 3);
        options.properties = vec![("sasl.password".to_owned(), "hunter2".to_owned())];
        assert!(options.check().is_ok());
        assert!(!format!("{options:?}").contains("hunter2"));
    }

    #[test]
    fn an_operators_property_replaces_ours_but_not_a_promise() {
        let mut options = KafkaOptions::new("b:1", 3);
        options.properties = vec![("compression.type".to_owned(), "zstd".to_owned())];
        let config = options.producer();
        assert_eq!(config.get("compression.type"), Some("zstd"));
        assert_eq!(config.get("acks"), Some("all"));
        assert_eq!(config.get("enable.idempotence"), Some("true"));
    }

    #[test]
    fn only_a_member_of_a_group_bears_the_instance_id() {
        let mut options = KafkaOptions::new("b:1", 3);
        options.group_instance_id = Some("node-7".to_owned());
        let member = options.consumer(Some("analytics"));
        assert_eq!(member.get("group.instance.id"), Some("node-7"));
        assert_eq!(member.get("group.id"), Some("waylog.analytics"));
        assert_eq!(options.consumer(None).get("group.instance.id"), None);
    }
}
