//! What tools beside a server need of it: its Postgres, the programs for it, its schema's version.

use std::path::PathBuf;

use anyhow::Context;

use super::database::newest_migration;
use crate::config::Config;
use crate::local_postgres::{self, LocalPostgres};

/// The Postgres of an installation, as a tool uses it.
#[derive(Debug)]
pub struct ToolDatabase {
    url: String,
    /// The private cluster, where this tool had to start it.
    started: Option<LocalPostgres>,
}

impl ToolDatabase {
    /// The named database; or the private cluster, which is made and started if need be. Where a
    /// server looks after that already, it is only used.
    ///
    /// # Errors
    /// If the private cluster cannot be started; the message says what to do.
    pub async fn open(config: &Config) -> anyhow::Result<Self> {
        if let Some(url) = &config.database.url {
            return Ok(Self {
                url: url.expose().to_owned(),
                started: None,
            });
        }
        if let Some(url) = LocalPostgres::running_url(&config.data_dir)? {
            return Ok(Self { url, started: None });
        }
        std::fs::create_dir_all(&config.data_dir)
            .with_context(|| format!("make data_dir {}", config.data_dir.display()))?;
        let cluster = LocalPostgres::start(&config.data_dir).await?;
        Ok(Self {
            url: cluster.url().to_owned(),
            started: Some(cluster),
        })
    }

    /// How to connect; may hold a password.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the private cluster if this tool has started it.
    ///
    /// # Errors
    /// If it does not stop.
    pub async fn close(self) -> anyhow::Result<()> {
        match self.started {
            Some(cluster) => cluster.stop().await,
            None => Ok(()),
        }
    }
}

/// Whether the installation has a private cluster, running or not.
#[must_use]
pub fn has_private_cluster(config: &Config) -> bool {
    LocalPostgres::exists(&config.data_dir)
}

/// Whether the programs that the private cluster needs are installed.
///
/// # Errors
/// If not, with the package that is missing.
pub fn private_cluster_programs(config: &Config) -> anyhow::Result<()> {
    LocalPostgres::check_programs(&config.data_dir)
}

/// Whether the named database answers, is new enough, and holds no newer program's schema.
///
/// # Errors
/// With what to do.
pub async fn check_database(config: &Config) -> anyhow::Result<()> {
    let Some(url) = &config.database.url else {
        return Ok(());
    };
    let pool = super::database::pool(&config.database, url.expose())?;
    let checked = super::database::check(&pool).await;
    pool.close().await;
    checked
}

/// The newest error that the private cluster has told of.
#[must_use]
pub fn private_clusters_last_words(config: &Config) -> Option<String> {
    LocalPostgres::last_words(&config.data_dir)
}

/// A program of Postgres, as `pg_dump`, for a server of that major version or older.
///
/// # Errors
/// If there is none, with the package that is missing.
pub fn postgres_program(name: &str, server_major: u32) -> anyhow::Result<PathBuf> {
    local_postgres::client_program(name, server_major)
}

/// Number of the newest migration that this program knows.
#[must_use]
pub fn newest_schema() -> i64 {
    newest_migration()
}
