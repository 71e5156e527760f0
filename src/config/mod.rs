//! Settings: the embedded `config/default.toml`, then a file, then `WAYLOG__*` environment.
//!
//! Every key stands in the default file, so that the default file is the documentation, and a key
//! that is not in it is refused with the nearest that is. Values are checked once, here.

mod merge;
mod sections;

use std::path::{Path, PathBuf};

use serde::Deserialize;

pub use sections::{
    AnalyticsConfig, Backend, DatabaseConfig, EmbeddedConfig, GeocoderConfig, HttpConfig,
    IngestConfig, KafkaConfig, LimitsConfig, LiveMapConfig, NotificationsConfig, RetentionConfig,
    RoadsConfig, StreamConfig, TelemetryConfig, TlsConfig, WebConfig,
};

/// The commented defaults.
pub const DEFAULT_TOML: &str = include_str!("../../config/default.toml");
/// Shortest bootstrap admin key that is taken, characters.
pub const MIN_ADMIN_KEY_LEN: usize = 32;

/// Everything that can be set.
#[derive(Debug, Clone, Deserialize)]
#[serde(deny_unknown_fields)]
#[expect(
    missing_docs,
    reason = "each key is documented where it is set, in default.toml"
)]
pub struct Config {
    pub data_dir: PathBuf,
    #[serde(deserialize_with = "sections::secret_or_none")]
    pub admin_key: Option<sections::Secret>,
    pub http: HttpConfig,
    pub limits: LimitsConfig,
    pub retention: RetentionConfig,
    pub geocoder: GeocoderConfig,
    pub database: DatabaseConfig,
    pub stream: StreamConfig,
    pub ingest: IngestConfig,
    pub live_map: LiveMapConfig,
    pub analytics: AnalyticsConfig,
    pub notifications: NotificationsConfig,
    pub web: WebConfig,
    pub roads: RoadsConfig,
    pub telemetry: TelemetryConfig,
}

/// Why settings were refused. The message names the key and what to do.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct ConfigError(pub(crate) String);

impl Config {
    /// Reads the defaults, then `file`, then the environment's `WAYLOG__*` variables.
    pub fn load(
        file: Option<&Path>,
        environment: impl Iterator<Item = (String, String)>,
    ) -> Result<Self, ConfigError> {
        let defaults: toml::Table = DEFAULT_TOML
            .parse()
            .map_err(|e| ConfigError(format!("the embedded defaults cannot be read: {e}")))?;
        let mut settings = defaults.clone();
        if let Some(path) = file {
            let text = std::fs::read_to_string(path).map_err(|e| {
                ConfigError(format!(
                    "cannot read the configuration file {}: {e}",
                    path.display()
                ))
            })?;
            let table: toml::Table = text
                .parse()
                .map_err(|e| ConfigError(format!("{} is not valid TOML: {e}", path.display())))?;
            merge::merge_file(&mut settings, table, &defaults, path)?;
        }
        merge::merge_environment(&mut settings, &defaults, environment)?;
        let config: Self = toml::Value::Table(settings)
            .try_into()
            .map_err(|e: toml::de::Error| ConfigError(e.to_string()))?;
        config.check()?;
        Ok(config)
    }

    /// The defaults alone, as tests use them.
    ///
    /// # Errors
    /// If the embedded file were not a valid configuration; a test proves that it is.
    pub fn defaults() -> Result<Self, ConfigError> {
        Self::load(None, std::iter::empty())
    }

    fn check(&self) -> Result<(), ConfigError> {
        if let Some(key) = &self.admin_key
            && key.expose().chars().count() < MIN_ADMIN_KEY_LEN
        {
            return Err(ConfigError(format!(
                "admin_key is too short: give at least {MIN_ADMIN_KEY_LEN} random characters, \
                 as `openssl rand -hex 32` prints"
            )));
        }
        self.http.check()?;
        self.geocoder.check()?;
        self.stream.check()?;
        if self.stream.backend == Backend::Kafka && self.database.url.is_none() {
            return Err(ConfigError(
                "stream.backend is kafka: all processes share one Postgres; give database.url"
                    .into(),
            ));
        }
        self.ingest.check()?;
        self.live_map.check()?;
        self.analytics.check()?;
        self.notifications.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn env(pairs: &[(&str, &str)]) -> impl Iterator<Item = (String, String)> {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect::<Vec<_>>()
            .into_iter()
    }

    #[test]
    fn the_embedded_defaults_are_a_configuration() {
        let config = Config::defaults().expect("defaults load");
        assert_eq!(config.stream.partitions, 12);
        assert!(config.database.url.is_none());
    }

    #[test]
    fn the_environment_overrides() {
        let config = Config::load(
            None,
            env(&[
                ("WAYLOG__HTTP__LISTEN", "127.0.0.1:0"),
                ("WAYLOG__STREAM__PARTITIONS", "6"),
                ("WAYLOG__NOTIFICATIONS__ALLOW_PRIVATE_ENDPOINTS", "true"),
                ("PATH", "/bin"),
            ]),
        )
        .expect("loads");
        assert_eq!(config.stream.partitions, 6);
        assert!(config.notifications.allow_private_endpoints);
    }

    #[test]
    fn an_unknown_key_is_refused_with_the_nearest() {
        let error = Config::load(None, env(&[("WAYLOG__HTTP__LISTN", "x")])).expect_err("refused");
        assert!(
            error.to_string().contains("WAYLOG__HTTP__LISTEN"),
            "{error}"
        );
        let file = tempfile::NamedTempFile::new().expect("a file");
        std::fs::write(file.path(), "[strem]\npartitions = 3\n").expect("written");
        let error = Config::load(Some(file.path()), env(&[])).expect_err("refused");
        assert!(error.to_string().contains("stream"), "{error}");
    }

    #[test]
    fn a_wrong_type_is_refused_by_name() {
        let error = Config::load(None, env(&[("WAYLOG__STREAM__PARTITIONS", "many")]))
            .expect_err("refused");
        assert!(
            error.to_string().contains("WAYLOG__STREAM__PARTITIONS"),
            "{error}"
        );
    }

    #[test]
    fn kafkas_properties_are_taken_as_they_are_and_never_shown() {
        let file = tempfile::NamedTempFile::new().expect("a file");
        let text = "[stream.kafka.properties]\n\"sasl.username\" = \"waylog\"\n\
                    socket.timeout.ms = 7000\nsasl.password = \"hunter2\"\n";
        std::fs::write(file.path(), text).expect("written");
        let name = "WAYLOG__STREAM__KAFKA__PROPERTIES__SASL_PASSWORD";
        let config = Config::load(Some(file.path()), env(&[(name, "hunter3")])).expect("loads");
        let taken: Vec<_> = config
            .stream
            .kafka
            .properties
            .iter()
            .map(|(k, v)| (k.as_str(), v.expose()))
            .collect();
        let wanted = [
            ("sasl.password", "hunter3"),
            ("sasl.username", "waylog"),
            ("socket.timeout.ms", "7000"),
        ];
        assert_eq!(taken, wanted);
        assert!(!format!("{config:?}").contains("hunter"));
    }

    #[test]
    fn kafka_wants_brokers_a_shared_database_and_sensible_replicas() {
        let refused = |pairs: &[(&str, &str)]| {
            let kafka = [("WAYLOG__STREAM__BACKEND", "kafka")];
            Config::load(None, env(&[&kafka, pairs].concat()))
                .expect_err("refused")
                .to_string()
        };
        let brokers = ("WAYLOG__STREAM__KAFKA__BROKERS", "b:9092");
        let database = ("WAYLOG__DATABASE__URL", "postgres://h/d");
        assert!(refused(&[database]).contains("stream.kafka.brokers"));
        assert!(refused(&[brokers]).contains("database.url"));
        let few = ("WAYLOG__STREAM__KAFKA__REPLICATION_FACTOR", "1");
        assert!(refused(&[brokers, database, few]).contains("min_insync_replicas"));
    }

    #[test]
    fn a_short_admin_key_is_refused_and_not_shown() {
        let error =
            Config::load(None, env(&[("WAYLOG__ADMIN_KEY", "hunter2")])).expect_err("refused");
        assert!(!error.to_string().contains("hunter2"));
    }
}
