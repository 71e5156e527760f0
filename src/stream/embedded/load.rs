//! How busy a partition is and with whom, from its newest records in memory: appenders pay nothing
//! for it.

use std::collections::HashMap;

use bytes::Bytes;

use super::frame::FrameRecords;
use super::partition::Partition;
use crate::stream::PartitionLoad;

/// Newest records that are looked at.
const SAMPLE: usize = 4096;
/// Time over which the rate is averaged, seconds.
const AVERAGED_OVER_S: f64 = 60.0;

/// What was measured, and since which offset.
#[derive(Debug, Default)]
pub(super) struct LoadMeter {
    seen: Option<u64>,
    records_per_s: f64,
    load: PartitionLoad,
}

impl LoadMeter {
    pub(super) fn load(&self) -> PartitionLoad {
        self.load.clone()
    }

    /// Looks at what was written in the last `seconds`.
    pub(super) fn measure(&mut self, partition: &Partition, seconds: f64) {
        let durable = partition.durable();
        let Some(seen) = self.seen.replace(durable) else {
            return;
        };
        let written = durable.saturating_sub(seen);
        let weight = 1.0 - (-seconds / AVERAGED_OVER_S).exp();
        let rate = written as f64 / seconds.max(f64::EPSILON);
        self.records_per_s += weight * (rate - self.records_per_s);
        let newest = usize::try_from(written).unwrap_or(SAMPLE).min(SAMPLE);
        if newest > 0 {
            self.load = sample(partition, newest);
        }
        self.load.bytes_per_s = self.records_per_s * self.load.record_bytes;
    }
}

/// The newest `limit` records of the ring, by key.
fn sample(partition: &Partition, limit: usize) -> PartitionLoad {
    let mut by_key: HashMap<Bytes, u64> = HashMap::new();
    let (mut records, mut bytes) = (0_u64, 0_u64);
    for frame in partition.ring.newest(limit) {
        let mut frame = FrameRecords::new(frame.bytes, &frame.header);
        while let Ok(Some(record)) = frame.next_record() {
            let len = (record.key.len() + record.value.len()) as u64;
            *by_key.entry(record.key).or_default() += len;
            records += 1;
            bytes += len;
        }
    }
    let busiest = by_key
        .iter()
        .max_by_key(|(key, bytes)| (**bytes, (*key).clone()));
    PartitionLoad {
        bytes_per_s: 0.0,
        record_bytes: bytes as f64 / records.max(1) as f64,
        active_keys: u32::try_from(by_key.len()).unwrap_or(u32::MAX),
        busiest_key: busiest.map(|(key, _)| String::from_utf8_lossy(key).into_owned()),
        busiest_share: busiest.map_or(0.0, |(_, most)| *most as f64 / bytes.max(1) as f64),
    }
}
