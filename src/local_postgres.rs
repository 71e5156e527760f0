//! The private Postgres cluster of an installation that names no database.
//!
//! ```text
//! data_dir/postgres/            of the cluster's account
//!     lock                      flock: one process looks after a cluster
//!     password                  ours alone; the role waylog logs in with it (SCRAM)
//!     data/                     the cluster, made by initdb
//!     run/                      its Unix socket; loopback TCP where that path is too long
//!     postgres.log              what Postgres says, begun anew when it is long
//! ```
//!
//! Invariants: the cluster is stopped with [`LocalPostgres::stop`]; one that outlived its process
//! (after kill -9) is adopted, not started twice; one that dies is started again. As root it runs
//! as an ordinary user, since Postgres refuses to be root. Every wait is for a condition, bounded,
//! and ends with a message that says what to do.

mod account;
mod cluster;
mod programs;
#[cfg(test)]
mod tests;

use std::fs::File;
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::{Context, bail};
use rustix::fs::{FlockOperation, flock};
use tokio::task::JoinHandle;
use tokio_util::sync::CancellationToken;

use self::account::Account;
use self::cluster::{Cluster, Running};
use self::programs::Programs;

/// First pause before a cluster that died is started again; each later one is twice as long.
const FIRST_PAUSE: Duration = Duration::from_millis(200);
/// Longest pause.
const LONGEST_PAUSE: Duration = Duration::from_secs(30);
/// A cluster that ran for so long has recovered: the pauses begin anew.
const RECOVERED_AFTER: Duration = Duration::from_secs(60);

/// A private cluster that runs. Dropped without [`LocalPostgres::stop`] it runs on, and the next
/// start adopts it.
#[derive(Debug)]
pub struct LocalPostgres {
    url: String,
    stop: CancellationToken,
    watch: Option<JoinHandle<anyhow::Result<()>>>,
}

impl LocalPostgres {
    /// Makes the cluster in `data_dir/postgres` if there is none, adopts or starts it, and waits
    /// until it answers. From then on it is looked after.
    ///
    /// # Errors
    /// If there are no Postgres programs, the folder cannot be used, another process looks after
    /// this cluster, or Postgres does not start; the message says what to do.
    pub async fn start(data_dir: &Path) -> anyhow::Result<Self> {
        let found = Programs::search_path();
        let data_dir = absolute(data_dir)?;
        // initdb and its folders: a second of blocking work, once.
        let (cluster, lock) = tokio::task::spawn_blocking(move || {
            let dir = data_dir.join("postgres");
            std::fs::create_dir_all(&dir).with_context(|| format!("create {}", dir.display()))?;
            let account = Account::for_folder(&dir)?;
            account.give(&dir)?;
            let lock = lock(&dir.join("lock"))?;
            anyhow::Ok((Cluster::make(&dir, account, &found)?, lock))
        })
        .await??;
        let running = cluster.adopt_or_start().await?;
        cluster.ensure_database().await?;
        let stop = CancellationToken::new();
        let url = cluster.url();
        let watch = tokio::spawn(look_after(cluster, running, stop.clone(), lock));
        Ok(Self {
            url,
            stop,
            watch: Some(watch),
        })
    }

    /// How to connect: `postgres://…`, with the password; not for a log line.
    #[must_use]
    pub fn url(&self) -> &str {
        &self.url
    }

    /// Stops the cluster (fast: sessions are ended, nothing that was committed is lost).
    ///
    /// # Errors
    /// If it did not stop in time even when told to stop at once.
    pub async fn stop(mut self) -> anyhow::Result<()> {
        self.stop.cancel();
        match self.watch.take() {
            Some(watch) => watch.await.context("look after Postgres")?,
            None => Ok(()),
        }
    }

    /// Whether `data_dir` holds a private cluster, running or not.
    #[must_use]
    pub fn exists(data_dir: &Path) -> bool {
        data_dir.join("postgres").join("data").exists()
    }

    /// Whether the programs for the cluster in `data_dir` are installed, or any for a new one.
    ///
    /// # Errors
    /// If not, with the package that is missing.
    pub fn check_programs(data_dir: &Path) -> anyhow::Result<()> {
        let made_by = cluster::made_by(&data_dir.join("postgres").join("data"));
        Programs::find(&Programs::search_path(), made_by).map(drop)
    }

    /// The newest line of the cluster's own log that tells of an error, for those who find it dead.
    #[must_use]
    pub fn last_words(data_dir: &Path) -> Option<String> {
        cluster::last_error(&data_dir.join("postgres"))
    }

    /// The URL of the cluster in `data_dir` if one runs there, for tools beside the server.
    ///
    /// # Errors
    /// If there is a cluster whose password cannot be read.
    pub fn running_url(data_dir: &Path) -> anyhow::Result<Option<String>> {
        cluster::running_url(&absolute(data_dir)?.join("postgres"))
    }
}

impl Drop for LocalPostgres {
    fn drop(&mut self) {
        if let Some(watch) = &self.watch {
            watch.abort();
        }
    }
}

/// A client's program, as `pg_dump`, that can speak to a server of major version `at_least`.
///
/// # Errors
/// If there is none, with the package that is missing.
pub fn client_program(name: &str, at_least: u32) -> anyhow::Result<PathBuf> {
    Programs::client(&Programs::search_path(), name, at_least)
}

fn absolute(dir: &Path) -> anyhow::Result<PathBuf> {
    std::path::absolute(dir).with_context(|| format!("find the folder {}", dir.display()))
}

/// Makes sure that nobody else looks after this cluster; released with the file, also by kill -9.
fn lock(path: &Path) -> anyhow::Result<File> {
    let file = File::create(path).with_context(|| format!("create {}", path.display()))?;
    if flock(&file, FlockOperation::NonBlockingLockExclusive).is_err() {
        bail!(
            "another process looks after the Postgres cluster in {}: stop that one, or give this \
             one a data_dir of its own",
            path.parent().unwrap_or(path).display()
        );
    }
    Ok(file)
}

/// Starts the cluster again whenever it ends, until it is told to stop.
async fn look_after(
    cluster: Cluster,
    mut running: Running,
    stop: CancellationToken,
    _lock: File,
) -> anyhow::Result<()> {
    let mut pause = FIRST_PAUSE;
    loop {
        let begun = tokio::time::Instant::now();
        tokio::select! {
            () = stop.cancelled() => return running.stop().await,
            () = running.ended() => {}
        }
        tracing::warn!("Postgres ended unexpectedly; it is started again");
        if begun.elapsed() > RECOVERED_AFTER {
            pause = FIRST_PAUSE;
        }
        running = loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = tokio::time::sleep(pause) => {}
            }
            pause = (pause * 2).min(LONGEST_PAUSE);
            match cluster.adopt_or_start().await {
                Ok(running) => break running,
                Err(error) => tracing::error!("cannot start Postgres again: {error:#}"),
            }
        };
        tracing::info!("Postgres runs again");
    }
}
