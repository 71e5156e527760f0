//! The segment: one preallocated file of a partition, a header and then frames.
//!
//! The header takes the first 4096 bytes, little-endian, the rest of them zero:
//!
//! | off | size | field |
//! | --- | --- | --- |
//! | 0 | 8 | magic `WAYLOGSG` |
//! | 8 | 4 | format version, 1 |
//! | 12 | 4 | partition |
//! | 16 | 16 | uuid of the log |
//! | 32 | 8 | `base_offset`, also the file's name |
//! | 40 | 8 | `prev_base_offset`: the file before; a file that is missing shows here |
//! | 48 | 8 | `prev_end_offset`: where the file before ended. Less than `base_offset` only after an accepted loss |
//! | 56 | 8 | `prev_end_pos`: position where its last frame ended, 0 without a file before |
//! | 64 | 4 | `prev_last_crc`: checksum of its last frame, 0 without |
//! | 68 | 4 | zero |
//! | 72 | 8 | `created_ts`, Unix microseconds |
//! | 80 | 8 | latest record timestamp of everything before, Unix milliseconds, `i64::MIN` without |
//! | 88 | 4 | crc32c of all other bytes of the header and the topic's name |
//!
//! The numbers of the file before make the end of a sealed segment known without reading it.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::frame::CrcSeed;
use super::index::SparseIndex;
use super::storage::StorageFile;

/// Bytes before the first frame.
pub(super) const SEGMENT_HEADER_LEN: u64 = 4096;
/// Newest segment format that can be read, and the one that is written.
pub(super) const SEGMENT_VERSION: u32 = 1;
const MAGIC: [u8; 8] = *b"WAYLOGSG";
const SUFFIX: &str = ".seg";

/// A segment's header, without what is constant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct SegmentHeader {
    pub(super) log: [u8; 16],
    pub(super) partition: u32,
    pub(super) base_offset: u64,
    pub(super) prev_base_offset: u64,
    pub(super) prev_end_offset: u64,
    pub(super) prev_end_pos: u64,
    pub(super) prev_last_crc: u32,
    pub(super) created_ts_us: i64,
    pub(super) prev_max_timestamp_ms: i64,
}

/// Why a segment's header cannot be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub(super) enum HeaderFault {
    #[error("its header is damaged")]
    Damaged,
    #[error(
        "it was written by a newer Waylog (segment format {0}, this one reads up to {SEGMENT_VERSION})"
    )]
    Newer(u32),
}

impl SegmentHeader {
    pub(super) fn encode(&self, topic: &str) -> Vec<u8> {
        let mut bytes = vec![0; SEGMENT_HEADER_LEN as usize];
        let mut put = |at: usize, field: &[u8]| bytes[at..at + field.len()].copy_from_slice(field);
        put(0, &MAGIC);
        put(8, &SEGMENT_VERSION.to_le_bytes());
        put(12, &self.partition.to_le_bytes());
        put(16, &self.log);
        put(32, &self.base_offset.to_le_bytes());
        put(40, &self.prev_base_offset.to_le_bytes());
        put(48, &self.prev_end_offset.to_le_bytes());
        put(56, &self.prev_end_pos.to_le_bytes());
        put(64, &self.prev_last_crc.to_le_bytes());
        put(72, &self.created_ts_us.to_le_bytes());
        put(80, &self.prev_max_timestamp_ms.to_le_bytes());
        let crc = header_crc(&bytes, topic);
        bytes[88..92].copy_from_slice(&crc.to_le_bytes());
        bytes
    }

    pub(super) fn decode(bytes: &[u8], topic: &str) -> Result<Self, HeaderFault> {
        if bytes.len() < SEGMENT_HEADER_LEN as usize || bytes[..8] != MAGIC {
            return Err(HeaderFault::Damaged);
        }
        let bytes = &bytes[..SEGMENT_HEADER_LEN as usize];
        if field::<4>(bytes, 88) != header_crc(bytes, topic).to_le_bytes() {
            return Err(HeaderFault::Damaged);
        }
        let version = u32::from_le_bytes(field(bytes, 8));
        if version != SEGMENT_VERSION {
            return Err(HeaderFault::Newer(version));
        }
        Ok(Self {
            log: field(bytes, 16),
            partition: u32::from_le_bytes(field(bytes, 12)),
            base_offset: u64::from_le_bytes(field(bytes, 32)),
            prev_base_offset: u64::from_le_bytes(field(bytes, 40)),
            prev_end_offset: u64::from_le_bytes(field(bytes, 48)),
            prev_end_pos: u64::from_le_bytes(field(bytes, 56)),
            prev_last_crc: u32::from_le_bytes(field(bytes, 64)),
            created_ts_us: i64::from_le_bytes(field(bytes, 72)),
            prev_max_timestamp_ms: i64::from_le_bytes(field(bytes, 80)),
        })
    }

    /// The seed of this segment's frames.
    pub(super) fn seed(&self, topic: &str) -> CrcSeed {
        CrcSeed::new(&self.log, topic, self.partition, self.base_offset)
    }
}

fn header_crc(bytes: &[u8], topic: &str) -> u32 {
    let crc = crc32c::crc32c(topic.as_bytes());
    crc32c::crc32c_append(crc32c::crc32c_append(crc, &bytes[..88]), &bytes[92..])
}

fn field<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    let mut out = [0; N];
    out.copy_from_slice(&bytes[at..at + N]);
    out
}

/// An open segment. Readers go up to `end`, which only the partition's writer moves.
pub(super) struct Segment {
    pub(super) path: PathBuf,
    pub(super) header: SegmentHeader,
    pub(super) seed: CrcSeed,
    pub(super) file: Arc<dyn StorageFile>,
    pub(super) index: SparseIndex,
    /// Position behind the last durable frame.
    end: AtomicU64,
    /// Bytes that the file takes on disk.
    allocated: AtomicU64,
}

impl Segment {
    pub(super) fn new(
        path: PathBuf,
        header: SegmentHeader,
        seed: CrcSeed,
        file: Arc<dyn StorageFile>,
        end: u64,
        allocated: u64,
    ) -> Self {
        let (end, allocated) = (AtomicU64::new(end), AtomicU64::new(allocated));
        Self {
            path,
            header,
            seed,
            file,
            index: SparseIndex::default(),
            end,
            allocated,
        }
    }

    pub(super) fn base(&self) -> u64 {
        self.header.base_offset
    }

    pub(super) fn end(&self) -> u64 {
        self.end.load(Ordering::Acquire)
    }

    pub(super) fn set_end(&self, end: u64) {
        self.end.store(end, Ordering::Release);
    }

    pub(super) fn allocated(&self) -> u64 {
        self.allocated.load(Ordering::Relaxed)
    }

    pub(super) fn set_allocated(&self, bytes: u64) {
        self.allocated.store(bytes, Ordering::Relaxed);
    }
}

/// The file of the segment that starts at `base`.
pub(super) fn segment_path(dir: &Path, base: u64) -> PathBuf {
    dir.join(format!("{base:020}{SUFFIX}"))
}

/// The base offset that a file's name gives, if it is a segment's.
pub(super) fn segment_base(name: &str) -> Option<u64> {
    let digits = name.strip_suffix(SUFFIX)?;
    (digits.len() == 20 && digits.bytes().all(|b| b.is_ascii_digit())).then_some(())?;
    digits.parse().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn header() -> SegmentHeader {
        SegmentHeader {
            log: [1; 16],
            partition: 4,
            base_offset: 77,
            prev_base_offset: 11,
            prev_end_offset: 77,
            prev_end_pos: 8192,
            prev_last_crc: 5,
            created_ts_us: 6,
            prev_max_timestamp_ms: i64::MIN,
        }
    }

    #[test]
    fn a_header_is_read_back_and_every_flipped_bit_is_noticed() {
        let bytes = header().encode("t");
        assert_eq!(SegmentHeader::decode(&bytes, "t"), Ok(header()));
        assert_eq!(
            SegmentHeader::decode(&bytes, "u"),
            Err(HeaderFault::Damaged)
        );
        for bit in 0..bytes.len() * 8 {
            let mut damaged = bytes.clone();
            damaged[bit / 8] ^= 1 << (bit % 8);
            assert!(SegmentHeader::decode(&damaged, "t").is_err(), "bit {bit}");
        }
    }

    #[test]
    fn a_header_of_a_newer_format_is_called_so() {
        let mut bytes = header().encode("t");
        bytes[8..12].copy_from_slice(&2_u32.to_le_bytes());
        let crc = header_crc(&bytes, "t");
        bytes[88..92].copy_from_slice(&crc.to_le_bytes());
        let fault = SegmentHeader::decode(&bytes, "t").expect_err("newer");
        assert!(fault.to_string().contains("newer Waylog"), "{fault}");
    }

    #[test]
    fn names_and_bases_agree() {
        let path = segment_path(Path::new("p"), 42);
        let name = path.file_name().and_then(|n| n.to_str()).unwrap();
        assert_eq!(segment_base(name), Some(42));
        for other in ["42.seg", "checkpoint", "0000000000000000004x.seg", "torn"] {
            assert_eq!(segment_base(other), None);
        }
    }
}
