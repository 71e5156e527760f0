//! A fix that could not be accepted, with the reason: the value of a record in the topic
//! `delivery-location.quarantine` (`proto/quarantined.proto`).

use bytes::Bytes;
use prost::Message;

use super::{UnixMs, wire};

/// Most bytes of what was sent that are kept.
pub const MAX_RAW_BYTES: usize = 4096;

/// What was sent, why it was not accepted, and when.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Quarantined {
    /// Our clock when the upload arrived.
    pub received_at: UnixMs,
    /// Why, in words.
    pub reason: String,
    /// What kind of upload it came in, as in `native`.
    pub format: String,
    /// What was sent, without credentials; at most [`MAX_RAW_BYTES`].
    pub raw: Bytes,
    /// Whether `raw` was cut.
    pub truncated: bool,
}

impl Quarantined {
    /// Keeps the beginning of `raw`, which must not hold a credential.
    #[must_use]
    pub fn new(received_at: UnixMs, reason: &str, format: &str, raw: &[u8]) -> Self {
        let kept = &raw[..raw.len().min(MAX_RAW_BYTES)];
        Self {
            received_at,
            reason: reason.to_owned(),
            format: format.to_owned(),
            raw: Bytes::copy_from_slice(kept),
            truncated: kept.len() < raw.len(),
        }
    }

    /// The bytes of a record.
    #[must_use]
    pub fn encode(&self) -> Bytes {
        let wire = wire::Quarantined {
            received_at_ms: self.received_at.0,
            reason: self.reason.clone(),
            format: self.format.clone(),
            raw: self.raw.to_vec(),
            truncated: self.truncated,
        };
        Bytes::from(wire.encode_to_vec())
    }

    /// Reads a record's bytes; `None` if they are not this message. Never panics.
    #[must_use]
    pub fn decode(bytes: &[u8]) -> Option<Self> {
        let wire = wire::Quarantined::decode(bytes).ok()?;
        Some(Self {
            received_at: UnixMs(wire.received_at_ms),
            reason: wire.reason,
            format: wire.format,
            raw: Bytes::from(wire.raw),
            truncated: wire.truncated,
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keeps_the_beginning_and_reads_it_back() {
        let long = vec![b'x'; MAX_RAW_BYTES + 1];
        let cut = Quarantined::new(UnixMs(7), "unreadable", "native", &long);
        assert!(cut.truncated && cut.raw.len() == MAX_RAW_BYTES);
        assert_eq!(Quarantined::decode(&cut.encode()), Some(cut));
        let whole = Quarantined::new(UnixMs(7), "unreadable", "native", b"{}");
        assert!(!whole.truncated && &whole.raw[..] == b"{}");
    }
}
