//! The log that the settings name: the only file that knows what lies behind the seam.

use std::sync::Arc;
use std::time::Duration;

use super::slices;
use crate::clock::SharedClock;
use crate::config::{Backend, Config};
use crate::lifecycle::Lifecycle;
use crate::stream::Log;
use crate::stream::embedded::{EmbeddedLog, EmbeddedLogOptions};
use crate::stream::kafka::{KafkaLog, KafkaOptions};

/// The log behind the seam, and what only its backend can say.
pub(super) struct OpenedLog {
    pub(super) shared: Arc<dyn Log>,
    embedded: Option<Arc<EmbeddedLog>>,
}

impl OpenedLog {
    /// Opens the log: recovers the files, or reaches the brokers.
    pub(super) async fn open(config: &Config, clock: &SharedClock) -> anyhow::Result<Self> {
        Ok(match config.stream.backend {
            Backend::Embedded => {
                let log = EmbeddedLog::open(embedded_options(config), clock.clone())?;
                Self {
                    shared: log.clone(),
                    embedded: Some(log),
                }
            }
            Backend::Kafka => Self {
                shared: KafkaLog::open(kafka_options(config), clock.clone()).await?,
                embedded: None,
            },
        })
    }

    /// Ends the process when the log has failed for good. (Kafka's clients are mended in place.)
    pub(super) fn watch(&self, lifecycle: &Lifecycle) {
        if let Some(embedded) = &self.embedded {
            let (embedded, owner) = (embedded.clone(), lifecycle.clone());
            tokio::spawn(async move { owner.fail(embedded.failed().await) });
        }
    }
}

fn embedded_options(config: &Config) -> EmbeddedLogOptions {
    const GIB: u64 = 1 << 30;
    let settings = &config.stream.embedded;
    let mut options =
        EmbeddedLogOptions::new(config.data_dir.join("log"), config.stream.partitions);
    options.sync_threads = settings.sync_threads;
    options.min_sync_interval = Duration::from_millis(settings.min_sync_interval_ms);
    options.ring_bytes = (settings.ring_mib << 20) / config.stream.partitions as usize;
    options.retention.age = Duration::from_secs(settings.retention_hours * 3600);
    options.retention.bytes = settings.retention_gib * GIB;
    options.retention.hard_cap_bytes = settings.hard_cap_gib * GIB;
    options.protected = slices::protected_groups();
    options
}

fn kafka_options(config: &Config) -> KafkaOptions {
    let settings = &config.stream.kafka;
    let mut options = KafkaOptions::new(&settings.brokers, config.stream.partitions);
    options.create_topics = settings.create_topics;
    options.replication_factor = settings.replication_factor;
    options.min_insync_replicas = settings.min_insync_replicas;
    options.retention = Some(Duration::from_secs(settings.retention_hours * 3600));
    options.topic_prefix.clone_from(&settings.topic_prefix);
    options.group_prefix.clone_from(&settings.group_prefix);
    options
        .group_instance_id
        .clone_from(&settings.group_instance_id);
    options.groups = slices::groups();
    options.buffer_bytes = settings.buffer_mib << 20;
    options.delivery_timeout = Duration::from_millis(settings.delivery_timeout_ms);
    let properties = settings.properties.iter();
    options.properties = properties
        .map(|(key, value)| (key.clone(), value.expose().to_owned()))
        .collect();
    options
}
