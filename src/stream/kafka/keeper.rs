//! What is done now and then: metrics, a look at how busy partitions are and with whom, and whether
//! the nodes' clocks agree.

use std::collections::BTreeSet;
use std::sync::Arc;
use std::time::{Duration, Instant};

use metrics::gauge;

use super::cluster::Cluster;
use super::status;
use crate::stream::{GroupStatus, LogError, TopicStatus, advice, metrics as counted};
use crate::telemetry::metrics as names;

/// How often clients are listened to, and the end is looked for.
const STEP: Duration = Duration::from_millis(200);
/// Newest records of a partition that a round looks at, at most.
const SAMPLE: u64 = 256;
/// A group whose headroom is below this is warned of.
const HEADROOM_WARNING: f64 = 0.5;
/// Records received so far ahead of our clock, milliseconds, mean that clocks disagree.
const CLOCKS_AGREE_MS: i64 = 10_000;

pub(super) struct Keeper {
    cluster: Arc<Cluster>,
    measured_at: Option<Instant>,
    warned: BTreeSet<String>,
    away: bool,
}

impl Keeper {
    pub(super) fn new(cluster: Arc<Cluster>) -> Self {
        Self {
            cluster,
            measured_at: None,
            warned: BTreeSet::new(),
            away: false,
        }
    }

    /// Works until the log is closed.
    pub(super) fn run(mut self) {
        let mut due = Instant::now();
        while !self.cluster.is_closing() {
            self.cluster.listen();
            if Instant::now() >= due {
                self.round();
                due = Instant::now() + self.cluster.options.housekeeping_interval;
            }
            std::thread::sleep(STEP);
        }
    }

    fn round(&mut self) {
        match self.look() {
            Ok(()) => {
                if std::mem::take(&mut self.away) {
                    tracing::info!("Kafka answers again");
                }
            }
            Err(error) => {
                if !std::mem::replace(&mut self.away, true) {
                    tracing::warn!(%error, "Kafka cannot be looked at");
                }
            }
        }
    }

    fn look(&mut self) -> Result<(), LogError> {
        let cluster = Arc::clone(&self.cluster);
        let topics = status::topics(&cluster)?;
        self.measure(&topics)?;
        for topic in status::with_loads(&cluster, topics) {
            for partition in &topic.partitions {
                let (start, durable) = (partition.log_start_offset, partition.durable_offset);
                counted::partition(&topic.topic, partition.partition, start, durable);
            }
            let bytes = topic.partitions.iter().map(|p| p.disk_bytes).sum();
            counted::disk_bytes(&topic.topic, bytes);
            let loads: Vec<_> = topic.partitions.into_iter().map(|p| p.load).collect();
            counted::balance(&topic.topic, advice::balance(&loads));
        }
        for group in status::groups(&cluster)? {
            self.tell(&group)?;
        }
        Ok(())
    }

    /// How busy partitions are since the last round, and whether the clocks agree.
    fn measure(&mut self, topics: &[TopicStatus]) -> Result<(), LogError> {
        let now = Instant::now();
        let seconds = self
            .measured_at
            .replace(now)
            .map_or(0.0, |before| now.duration_since(before).as_secs_f64());
        let mut newest_ms = i64::MIN;
        for status in topics {
            let topic = self.cluster.topic(&status.topic)?;
            let bounds = status.partitions.iter().map(|p| {
                let (start, end) = (p.log_start_offset, p.durable_offset);
                (p.partition, super::scout::Bounds { start, end })
            });
            let mut samples =
                self.cluster
                    .scout
                    .newest(topic.remote(), &bounds.clone().collect(), SAMPLE)?;
            for (number, bounds) in bounds {
                let (sample, at_ms) = samples.remove(&number).unwrap_or_default();
                newest_ms = newest_ms.max(at_ms);
                if let Some(state) = topic.partitions.get(number as usize) {
                    let mut meter = state.load.lock();
                    meter.measure(bounds.end, seconds, |_| Some(sample));
                }
            }
        }
        self.compare_clocks(newest_ms);
        Ok(())
    }

    fn compare_clocks(&mut self, newest_ms: i64) {
        let ahead_ms = newest_ms.saturating_sub(self.cluster.clock.now_ms()).max(0);
        gauge!(names::LOG_CLOCK_AHEAD_SECONDS).set(ahead_ms as f64 / 1e3);
        let key = "clock".to_owned();
        if ahead_ms < CLOCKS_AGREE_MS {
            self.warned.remove(&key);
        } else if self.warned.insert(key) {
            tracing::warn!(
                ahead_s = ahead_ms / 1000,
                "a record was received in our future: this machine's clock is behind another \
                 node's, or that one's ahead; let all machines keep time (NTP)"
            );
        }
    }

    fn tell(&mut self, group: &GroupStatus) -> Result<(), LogError> {
        let topic = self.cluster.topic(&group.topic)?;
        let lag = group.partitions.iter().map(|p| p.lag_records).sum();
        let seconds = group
            .partitions
            .iter()
            .map(|p| p.lag_seconds)
            .fold(0.0, f64::max);
        let headroom = status::headroom(topic, group);
        counted::group(&group.topic, &group.group, lag, seconds, headroom);
        let owners: BTreeSet<_> = group
            .partitions
            .iter()
            .filter_map(|p| p.member.as_ref())
            .collect();
        let idle = (group.members as usize).saturating_sub(owners.len());
        counted::idle_members(&group.topic, &group.group, idle);
        if headroom >= HEADROOM_WARNING {
            self.warned.remove(&group.group);
        } else if self.warned.insert(group.group.clone()) {
            tracing::warn!(
                topic = group.topic,
                group = group.group,
                headroom,
                "the group has used up half of the topic's retention: the brokers delete records \
                 whether it has read them or not"
            );
        }
        Ok(())
    }
}
