//! The sections of the configuration. Keys are documented in `config/default.toml`.
#![expect(
    missing_docs,
    reason = "each key is documented where it is set, in default.toml"
)]

use std::collections::BTreeMap;
use std::net::SocketAddr;
use std::path::PathBuf;

use serde::{Deserialize, Deserializer};

use super::ConfigError;
use crate::domain::rules::RuleSet;

/// A value that is never printed.
#[derive(Clone, Deserialize)]
#[serde(transparent)]
pub struct Secret(String);

impl Secret {
    /// The value; for the one place that uses it.
    #[must_use]
    pub fn expose(&self) -> &str {
        &self.0
    }
}

impl std::fmt::Debug for Secret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

pub(super) fn secret_or_none<'de, D: Deserializer<'de>>(d: D) -> Result<Option<Secret>, D::Error> {
    Ok(none_if_empty::<String, D>(d)?.map(Secret))
}

/// An empty string is "not set"; anything else must be a `T`.
fn none_if_empty<'de, T, D>(d: D) -> Result<Option<T>, D::Error>
where
    T: std::str::FromStr<Err: std::fmt::Display>,
    D: Deserializer<'de>,
{
    let text = String::deserialize(d)?;
    if text.is_empty() {
        return Ok(None);
    }
    text.parse().map(Some).map_err(serde::de::Error::custom)
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct HttpConfig {
    pub listen: SocketAddr,
    #[serde(deserialize_with = "none_if_empty")]
    pub public_url: Option<String>,
    #[serde(deserialize_with = "none_if_empty")]
    pub osmand_listen: Option<SocketAddr>,
    #[serde(deserialize_with = "none_if_empty")]
    pub operator_listen: Option<SocketAddr>,
    pub request_timeout_s: u64,
    pub max_connections: usize,
    pub cors_origins: Vec<String>,
    pub trusted_proxies: Vec<ipnet::IpNet>,
    pub tls: TlsConfig,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TlsConfig {
    #[serde(deserialize_with = "none_if_empty")]
    pub cert: Option<PathBuf>,
    #[serde(deserialize_with = "none_if_empty")]
    pub key: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LimitsConfig {
    pub device_per_s: u32,
    pub key_per_s: u32,
    pub address_per_s: u32,
    pub wrong_per_s: u32,
}

#[derive(Debug, Clone, Copy, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RetentionConfig {
    pub customers_days: u16,
    pub deliveries_days: u16,
    pub events_days: u16,
    pub audit_days: u16,
    pub link_access_days: u16,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GeocoderConfig {
    #[serde(deserialize_with = "none_if_empty")]
    pub url: Option<String>,
    pub timeout_ms: u64,
}

impl GeocoderConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        match &self.url {
            Some(url) if !(url.starts_with("http://") || url.starts_with("https://")) => {
                Err(ConfigError(format!(
                    "geocoder.url must begin with https:// or http://: {url}"
                )))
            }
            _ => Ok(()),
        }
    }
}

impl HttpConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if let Some(origin) = self.cors_origins.iter().find(|origin| !is_origin(origin)) {
            return Err(ConfigError(format!(
                "http.cors_origins holds origins such as https://shop.example.org, not {origin}"
            )));
        }
        if self.tls.cert.is_some() != self.tls.key.is_some() {
            return Err(ConfigError(
                "http.tls.cert and http.tls.key belong together: give both, or none".into(),
            ));
        }
        match &self.public_url {
            Some(url) if !(url.starts_with("http://") || url.starts_with("https://")) => {
                Err(ConfigError(format!(
                    "http.public_url must begin with https:// or http://: {url}"
                )))
            }
            Some(url) if url.ends_with('/') => Err(ConfigError(format!(
                "http.public_url must not end with a slash: {url}"
            ))),
            _ => Ok(()),
        }
    }
}

/// Scheme and host, no path.
fn is_origin(text: &str) -> bool {
    let rest = text
        .strip_prefix("https://")
        .or_else(|| text.strip_prefix("http://"));
    rest.is_some_and(|host| !host.is_empty() && !host.contains(['/', '*', ' ', '"']))
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DatabaseConfig {
    /// May hold a password: never printed.
    #[serde(deserialize_with = "secret_or_none")]
    pub url: Option<Secret>,
    pub max_connections: u32,
}

/// Which log is behind the seam.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Backend {
    /// Our own files.
    Embedded,
    /// Apache Kafka.
    Kafka,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct StreamConfig {
    pub backend: Backend,
    pub partitions: u32,
    pub embedded: EmbeddedConfig,
    pub kafka: KafkaConfig,
}

/// Most partitions; each has a segment file of at least 4 MiB.
const MAX_PARTITIONS: u32 = 1024;

impl StreamConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(1..=MAX_PARTITIONS).contains(&self.partitions) {
            return Err(ConfigError(format!(
                "stream.partitions must be between 1 and {MAX_PARTITIONS}, not {}",
                self.partitions
            )));
        }
        if self.embedded.sync_threads == 0 {
            return Err(ConfigError(
                "stream.embedded.sync_threads must be at least 1".into(),
            ));
        }
        match self.backend {
            Backend::Embedded => Ok(()),
            Backend::Kafka => self.kafka.check(),
        }
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct EmbeddedConfig {
    pub sync_threads: usize,
    pub min_sync_interval_ms: u64,
    pub ring_mib: usize,
    pub retention_hours: u64,
    pub retention_gib: u64,
    pub hard_cap_gib: u64,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct KafkaConfig {
    pub brokers: String,
    pub replication_factor: u16,
    pub min_insync_replicas: u16,
    pub retention_hours: u64,
    pub create_topics: bool,
    pub topic_prefix: String,
    pub group_prefix: String,
    #[serde(deserialize_with = "none_if_empty")]
    pub group_instance_id: Option<String>,
    pub buffer_mib: usize,
    pub delivery_timeout_ms: u64,
    pub properties: BTreeMap<String, Secret>,
}

impl KafkaConfig {
    fn check(&self) -> Result<(), ConfigError> {
        let wrong = |what: &str| Err(ConfigError(format!("stream.kafka.{what}")));
        if self.brokers.is_empty() {
            return Err(ConfigError(
                "stream.backend is kafka: give stream.kafka.brokers, as in host:9092".into(),
            ));
        }
        if !(1..=self.replication_factor).contains(&self.min_insync_replicas) {
            return wrong("min_insync_replicas must be between 1 and replication_factor");
        }
        if self.buffer_mib == 0 || self.delivery_timeout_ms < 1000 || self.retention_hours == 0 {
            return wrong(
                "buffer_mib and retention_hours must be at least 1, delivery_timeout_ms 1000",
            );
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct IngestConfig {
    pub max_body_kib: usize,
    pub max_fixes: usize,
    pub max_in_flight: usize,
    pub max_buffered_mib: usize,
    pub dedupe_mib: usize,
    pub max_age_days: u32,
    pub interval_fast_s: u32,
    pub interval_normal_s: u32,
    pub interval_idle_s: u32,
    pub min_distance_m: u32,
    pub min_distance_idle_m: u32,
    pub near_stop_m: u32,
    pub low_battery_pct: u8,
}

impl IngestConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let most = crate::domain::fix_batch::MAX_FIXES;
        if !(1..=most).contains(&self.max_fixes) {
            return Err(ConfigError(format!(
                "ingest.max_fixes must be between 1 and {most}"
            )));
        }
        // A body may take all of what pieces may take, or it could never arrive.
        if self.max_body_kib == 0 || self.max_body_kib > self.max_buffered_mib * 1024 {
            return Err(ConfigError(
                "ingest.max_body_kib must be at least 1 and fit into ingest.max_buffered_mib"
                    .into(),
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LiveMapConfig {
    pub tick_ms: u64,
    pub withhold_after_s: u32,
    pub grace_s: u32,
    pub private_radius_m: u32,
    pub exact_within_m: u32,
    pub coarse_resolution: u8,
}

impl LiveMapConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        if !(5..=10).contains(&self.coarse_resolution) {
            return Err(ConfigError(format!(
                "live_map.coarse_resolution must be between 5 and 10, not {}",
                self.coarse_resolution
            )));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct AnalyticsConfig {
    pub flush_after_ms: u64,
    pub flush_fixes: usize,
    pub flush_mib: usize,
    pub retention_days: u32,
    pub stop_radius_m: u32,
    pub stop_after_s: u32,
    pub trip_gap_s: u32,
    pub derive_after_ms: u64,
}

impl AnalyticsConfig {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        let wrong = |what: &str| Err(ConfigError(format!("analytics.{what}")));
        if self.flush_fixes == 0 || self.flush_mib == 0 {
            return wrong("flush_fixes and flush_mib must be at least 1");
        }
        if self.stop_radius_m == 0 || self.stop_after_s == 0 {
            return wrong("stop_radius_m and stop_after_s must be at least 1");
        }
        if self.trip_gap_s <= self.stop_after_s {
            return wrong("trip_gap_s must be longer than analytics.stop_after_s");
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NotificationsConfig {
    pub approaching_m: u32,
    pub approaching_s: u32,
    pub arrived_m: u32,
    pub offline_after_s: u32,
    pub stopped_after_s: u32,
    pub allow_private_endpoints: bool,
    pub stale_after_s: u32,
    pub timeout_s: u64,
    pub give_up_after_hours: u64,
    pub in_flight: usize,
}

impl NotificationsConfig {
    /// The numbers that rules judge by.
    #[must_use]
    pub fn rules(&self) -> RuleSet {
        RuleSet {
            approaching_m: f64::from(self.approaching_m),
            approaching_s: f64::from(self.approaching_s),
            arrived_m: f64::from(self.arrived_m),
            offline_after_s: i64::from(self.offline_after_s),
            stopped_after_s: i64::from(self.stopped_after_s),
            stale_after_s: i64::from(self.stale_after_s),
            ..RuleSet::default()
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.rules()
            .check()
            .map_err(|e| ConfigError(format!("notifications.{e}")))?;
        if self.timeout_s == 0 || self.in_flight == 0 {
            return Err(ConfigError(
                "notifications.timeout_s and notifications.in_flight must be at least 1".into(),
            ));
        }
        Ok(())
    }
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct WebConfig {
    #[serde(deserialize_with = "none_if_empty")]
    pub basemap: Option<String>,
    pub brand_name: String,
    #[serde(deserialize_with = "none_if_empty")]
    pub brand_logo_url: Option<String>,
    #[serde(deserialize_with = "none_if_empty")]
    pub brand_accent: Option<String>,
    #[serde(deserialize_with = "none_if_empty")]
    pub brand_phone: Option<String>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoadsConfig {
    #[serde(deserialize_with = "none_if_empty")]
    pub file: Option<PathBuf>,
}

#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TelemetryConfig {
    pub log: String,
    pub format: String,
}
