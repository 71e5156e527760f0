//! A fleet for benchmarks: couriers on random ways with everything that a phone reports, noise and
//! all, the same ones each time.

use std::sync::Arc;

use bytes::Bytes;
use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use waylog::clock::SystemClock;
use waylog::domain::{Fix, FixBatch, Position, UnixMs};
use waylog::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use waylog::stream::{Log, Record, TOPIC_DELIVERY_LOCATION, partition_for_key};

pub const PARTITIONS: u32 = 12;
/// Records appended at once.
const APPEND: usize = 1_000;

/// A courier that drives and stops, one fix every `every_ms`.
pub struct Courier {
    pub id: String,
    rng: SmallRng,
    at: i64,
    every_ms: i64,
    lat: f64,
    lon: f64,
    heading: f64,
    speed: f64,
    battery: f64,
}

impl Courier {
    pub fn new(number: usize, start: UnixMs, every_ms: i64) -> Self {
        let mut rng = SmallRng::seed_from_u64(number as u64);
        Self {
            id: format!("courier-{number:05}"),
            at: start.0 + rng.random_range(0..every_ms),
            every_ms,
            lat: 35.85 + rng.random_range(0.0..0.1),
            lon: 14.40 + rng.random_range(0.0..0.15),
            heading: rng.random_range(0.0..360.0),
            speed: 0.0,
            battery: 100.0,
            rng,
        }
    }

    pub fn fix(&mut self) -> Fix {
        let rng = &mut self.rng;
        let seconds = self.every_ms as f64 / 1000.0;
        // Drives for some minutes, stands for some.
        let target = if self.at / 400_000 % 3 == 0 { 0.0 } else { 9.0 };
        self.speed =
            (self.speed + (target - self.speed) * 0.2 + rng.random_range(-0.6..0.6)).max(0.0);
        self.heading = (self.heading + rng.random_range(-6.0..6.0)).rem_euclid(360.0);
        let (sin, cos) = self.heading.to_radians().sin_cos();
        self.lat = (self.lat + self.speed * seconds * cos / 111_195.0).clamp(35.6, 36.1);
        self.lon = (self.lon + self.speed * seconds * sin / 90_000.0).clamp(14.1, 14.7);
        self.battery = (self.battery - seconds * 0.002).max(5.0);
        let noise = 2e-5;
        let position = Position::from_degrees(
            self.lat + rng.random_range(-noise..noise),
            self.lon + rng.random_range(-noise..noise),
        );
        let mut fix = Fix::new(UnixMs(self.at), position.expect("on Malta"));
        fix.accuracy_m = Some(rng.random_range(3.0..14.0));
        fix.speed_mps = Some(self.speed as f32);
        fix.heading_deg = Some(self.heading as f32);
        fix.altitude_m = Some(30.0 + rng.random_range(0.0..8.0));
        fix.battery_pct = Some(self.battery as u8);
        self.at += self.every_ms + rng.random_range(-20..20);
        fix
    }
}

/// A log in `folder` into which `couriers` have put `rounds` uploads of `fixes` each.
pub async fn fill(
    folder: &std::path::Path,
    couriers: &mut [Courier],
    rounds: usize,
    fixes: usize,
) -> anyhow::Result<Arc<dyn Log>> {
    let mut options = EmbeddedLogOptions::new(folder, PARTITIONS);
    options.sync_threads = 2;
    let log = EmbeddedLog::open(options, SystemClock::shared())?;
    let mut waiting: Vec<Vec<Record>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    for _ in 0..rounds {
        for courier in couriers.iter_mut() {
            let partition = partition_for_key(courier.id.as_bytes(), PARTITIONS);
            let batch = FixBatch {
                received_at: UnixMs(courier.at + courier.every_ms * fixes as i64),
                fixes: (0..fixes).map(|_| courier.fix()).collect(),
                sos: false,
            };
            let records = &mut waiting[partition.0 as usize];
            records.push(Record {
                key: Bytes::copy_from_slice(courier.id.as_bytes()),
                value: batch.encode(),
                timestamp_ms: batch.received_at.0,
            });
            if records.len() >= APPEND {
                let records = std::mem::take(records);
                log.append(TOPIC_DELIVERY_LOCATION, partition, records)
                    .await?;
            }
        }
    }
    for (partition, records) in (0..).map(waylog::stream::Partition).zip(waiting) {
        if !records.is_empty() {
            log.append(TOPIC_DELIVERY_LOCATION, partition, records)
                .await?;
        }
    }
    Ok(log)
}
