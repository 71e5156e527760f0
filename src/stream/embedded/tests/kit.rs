//! What the tests of the embedded backend share.

use std::collections::BTreeMap;

use bytes::Bytes;

use crate::stream::embedded::frame::FrameRecords;
use crate::stream::embedded::partition::Partition;
use crate::stream::embedded::read::{DiskRead, read_frames};
use crate::stream::embedded::storage::sim::Chance;

/// The payload of a record tells its id, so that a record read back names itself.
pub(super) fn payload(id: u64) -> Bytes {
    let mut chance = Chance::new(id);
    let len = if chance.hits(1, 20) {
        chance.below(2500)
    } else {
        chance.below(200)
    } as usize;
    let mut bytes = id.to_le_bytes().to_vec();
    bytes.extend((0..len).map(|_| chance.next() as u8));
    bytes.into()
}

/// Every record's offset and id, read from disk; or the damage that was met.
pub(super) fn read_all(
    partition: &Partition,
    start: u64,
    durable: u64,
) -> Result<BTreeMap<u64, u64>, String> {
    let mut read = BTreeMap::new();
    let (mut next, mut place) = (start, None);
    while next < durable {
        match read_frames(partition, next, place).map_err(|damage| damage.to_string())? {
            DiskRead::Gap(to) => next = to,
            DiskRead::Frames(frames, after) => {
                place = Some(after);
                for (header, bytes) in frames {
                    let mut records = FrameRecords::new(bytes, &header);
                    while let Some(record) = records.next_record().expect("sound") {
                        let id = u64::from_le_bytes(record.value[..8].try_into().unwrap());
                        assert_eq!(record.value, payload(id));
                        assert_eq!(record.timestamp_ms, 1_700_000_000_000 + id.cast_signed());
                        read.insert(record.offset.0, id);
                        next = record.offset.0 + 1;
                    }
                }
            }
        }
    }
    Ok(read)
}
