//! How busy a partition is and with whom, from a sample of its newest records: appenders pay nothing
//! for it.

use std::collections::HashMap;

use bytes::Bytes;

use super::PartitionLoad;

/// Newest records that are looked at, at most.
const SAMPLE: usize = 4096;
/// Time over which the rate is averaged, seconds.
const AVERAGED_OVER_S: f64 = 60.0;

/// What was measured of a partition, and up to which offset.
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

    /// Looks at what was written in the last `seconds`; `sample` is asked for so many of the newest
    /// records.
    pub(super) fn measure(
        &mut self,
        durable: u64,
        seconds: f64,
        sample: impl FnOnce(usize) -> Option<KeySample>,
    ) {
        let Some(seen) = self.seen.replace(durable) else {
            return;
        };
        let written = durable.saturating_sub(seen);
        let weight = 1.0 - (-seconds / AVERAGED_OVER_S).exp();
        let rate = written as f64 / seconds.max(f64::EPSILON);
        self.records_per_s += weight * (rate - self.records_per_s);
        let newest = usize::try_from(written).unwrap_or(SAMPLE).min(SAMPLE);
        if newest > 0
            && let Some(sample) = sample(newest)
        {
            self.load = sample.load();
        }
        self.load.bytes_per_s = self.records_per_s * self.load.record_bytes;
    }

    /// Takes over what records are like, without a rate.
    pub(super) fn note(&mut self, sample: &KeySample) {
        self.load = PartitionLoad {
            bytes_per_s: self.load.bytes_per_s,
            ..sample.load()
        };
    }
}

/// Records by key.
#[derive(Debug, Default)]
pub(super) struct KeySample {
    by_key: HashMap<Bytes, u64>,
    records: u64,
    bytes: u64,
}

impl KeySample {
    pub(super) fn add(&mut self, key: Bytes, value_len: usize) {
        let len = (key.len() + value_len) as u64;
        *self.by_key.entry(key).or_default() += len;
        self.records += 1;
        self.bytes += len;
    }

    fn load(&self) -> PartitionLoad {
        let busiest = self
            .by_key
            .iter()
            .max_by_key(|(key, bytes)| (**bytes, (*key).clone()));
        let share = |most: u64| most as f64 / self.bytes.max(1) as f64;
        PartitionLoad {
            bytes_per_s: 0.0,
            record_bytes: self.bytes as f64 / self.records.max(1) as f64,
            active_keys: u32::try_from(self.by_key.len()).unwrap_or(u32::MAX),
            busiest_key: busiest.map(|(key, _)| String::from_utf8_lossy(key).into_owned()),
            busiest_share: busiest.map_or(0.0, |(_, most)| share(*most)),
        }
    }
}
