//! What a topic holds: records, and the numbers that name them.

use bytes::Bytes;

/// The topic that carries every accepted upload; one record is one upload of one courier.
pub const TOPIC_DELIVERY_LOCATION: &str = "delivery-location";
/// The topic that keeps what could not be accepted, with the reason. It has one partition.
pub const TOPIC_QUARANTINE: &str = "delivery-location.quarantine";

/// A topic and how many partitions it has, for ever.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TopicSpec {
    /// Its name: letters, digits, `.`, `_`, `-`.
    pub name: String,
    /// Its partitions.
    pub partitions: u32,
}

impl TopicSpec {
    /// Waylog's two topics.
    #[must_use]
    pub fn ours(partitions: u32) -> Vec<Self> {
        [(TOPIC_DELIVERY_LOCATION, partitions), (TOPIC_QUARANTINE, 1)]
            .map(|(name, partitions)| Self {
                name: name.to_owned(),
                partitions,
            })
            .into()
    }
}

/// Number of a partition within its topic, from 0.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Partition(pub u32);

/// Place of a record within its partition, from 0. A committed offset is the next one to be read.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Offset(pub u64);

impl Offset {
    /// The offset `n` records further on.
    #[must_use]
    pub fn advance(self, n: u64) -> Self {
        Self(self.0 + n)
    }
}

impl std::fmt::Display for Partition {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

impl std::fmt::Display for Offset {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A record to be appended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Record {
    /// The courier id; never empty.
    pub key: Bytes,
    /// The payload, opaque to the log.
    pub value: Bytes,
    /// When the record was received, Unix milliseconds; above 0, which some backends take for now.
    pub timestamp_ms: i64,
}

/// A record as it is read back.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct StoredRecord {
    /// Where it stands in its partition.
    pub offset: Offset,
    /// The courier id.
    pub key: Bytes,
    /// The payload.
    pub value: Bytes,
    /// When the record was received, Unix milliseconds.
    pub timestamp_ms: i64,
}
