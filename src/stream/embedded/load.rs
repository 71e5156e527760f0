//! What a partition's load is measured by: its newest frames in memory.

use super::frame::FrameRecords;
use super::partition::Partition;
use crate::stream::load::KeySample;

/// Looks at what was written to `partition` in the last `seconds`.
pub(super) fn measure(partition: &Partition, seconds: f64) {
    let newest = |limit| Some(sample(partition, limit));
    let mut meter = partition.load.lock();
    meter.measure(partition.durable(), seconds, newest);
}

/// The newest `limit` records of the ring, by key.
fn sample(partition: &Partition, limit: usize) -> KeySample {
    let mut sample = KeySample::default();
    for frame in partition.ring.newest(limit) {
        let mut frame = FrameRecords::new(frame.bytes, &frame.header);
        while let Ok(Some(record)) = frame.next_record() {
            sample.add(record.key, record.value.len());
        }
    }
    sample
}
