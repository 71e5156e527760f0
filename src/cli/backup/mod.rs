//! `waylog backup` and `waylog restore`: everything that an installation keeps, in one folder.
//!
//! ```text
//! DIR/postgres.dump     pg_dump in its custom format
//! DIR/log/              the embedded log, as `stream/embedded` describes it
//! DIR/directory.snap    the Directory as the server last wrote it
//! DIR/MANIFEST.json     what is in it, of which versions, and how far each part reaches
//! DIR/SHA256SUMS        of every other file; written last, so that a folder without it is no backup
//! ```
//!
//! The order makes it consistent while the server runs: first Postgres at one moment, then the log,
//! which holds at least what Postgres had read by then. A restored sink goes on reading at the offset
//! that stands beside its rows, so that nothing is lost or stored twice. What is not in it: the
//! configuration, certificates, and the passwords of analysts' logins.

mod manifest;
mod marker;
mod postgres;
mod restore;
mod sums;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use serde_json::json;

use self::manifest::{FORMAT, Manifest};
pub(super) use self::marker::last_backup;
pub(super) use self::restore::{RestoreArgs, run as run_restore};
use super::disk::{self, human_bytes};
use crate::app::tools::{self, ToolDatabase};
use crate::clock::SystemClock;
use crate::config::{Backend, Config};
use crate::domain::UnixMs;
use crate::stream::embedded::{self, CopiedLog};

const DUMP: &str = "postgres.dump";
const LOG: &str = "log";
const SNAPSHOT: &str = "directory.snap";

/// One of the two parts.
#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Part {
    /// What people entered, stored tracks, events.
    Postgres,
    /// The delivery-location log.
    Log,
}

/// Whether `only` leaves `part` in.
fn wants(only: Option<Part>, part: Part) -> bool {
    only.is_none_or(|only| only == part)
}

#[derive(Debug, Args)]
pub(super) struct BackupArgs {
    /// Where to: a folder that is empty or does not exist yet.
    dir: PathBuf,
    /// Only this part; without it, everything.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// Makes a backup, beside a server that runs or without one.
pub(super) async fn run(args: BackupArgs, config: Config) -> anyhow::Result<ExitCode> {
    let log_dir = config.data_dir.join(LOG);
    let has_log = config.stream.backend == Backend::Embedded;
    if !has_log && args.only == Some(Part::Log) {
        bail!("stream.backend is kafka: its log is Kafka's to keep (replication, MirrorMaker)");
    }
    let with_log = has_log && wants(args.only, Part::Log);
    let with_postgres = wants(args.only, Part::Postgres);
    if with_log && embedded::identity(&log_dir)?.is_none() {
        bail!(
            "there is no log in {}: give the server's --config, or its WAYLOG__DATA_DIR",
            log_dir.display()
        );
    }
    if with_postgres && config.database.url.is_none() && !tools::has_private_cluster(&config) {
        bail!(
            "there is no database: database.url is not set, and {} holds no private cluster; give \
             the server's --config, or its WAYLOG__DATA_DIR",
            config.data_dir.display()
        );
    }
    let dir = disk::make_empty(&args.dir)?;
    match fill(&dir, &config, with_postgres, with_log).await {
        Ok(manifest) => {
            let bytes = sums::total_bytes(&dir)?;
            marker::write(&config.data_dir, &dir, &manifest, bytes);
            report(&dir, &manifest, bytes, args.json);
            Ok(ExitCode::SUCCESS)
        }
        Err(error) => {
            // It was empty before: whatever is in it is ours, and no backup.
            std::fs::remove_dir_all(&dir)
                .with_context(|| format!("remove the unfinished backup {}", dir.display()))?;
            Err(error.context("there is no backup: what was written of it is removed"))
        }
    }
}

async fn fill(
    dir: &Path,
    config: &Config,
    with_postgres: bool,
    with_log: bool,
) -> anyhow::Result<Manifest> {
    let log_dir = config.data_dir.join(LOG);
    let made_at = now();
    let postgres = if with_postgres {
        let database = ToolDatabase::open(config).await?;
        let log_bytes = with_log.then(|| disk::bytes_below(&log_dir)).transpose()?;
        let dumped = postgres::dump(database.url(), dir, log_bytes.unwrap_or(0)).await;
        database.close().await?;
        Some(dumped.context("back up Postgres")?)
    } else {
        None
    };
    let log = if with_log {
        let (from, to) = (log_dir, dir.join(LOG));
        let copied = tokio::task::spawn_blocking(move || copy_log(&from, &to));
        Some(copied.await??)
    } else {
        None
    };
    let manifest = Manifest {
        format: FORMAT,
        waylog: env!("CARGO_PKG_VERSION").to_owned(),
        made_at,
        postgres,
        log,
    };
    manifest.check()?;
    let snapshot = config.data_dir.join(SNAPSHOT);
    if with_postgres && snapshot.exists() {
        std::fs::copy(&snapshot, dir.join(SNAPSHOT))
            .with_context(|| format!("copy {}", snapshot.display()))?;
    }
    manifest.write(dir)?;
    let (folder, is_dumped) = (dir.to_owned(), with_postgres);
    tokio::task::spawn_blocking(move || sums::write(&folder)).await??;
    if is_dumped {
        postgres::read_through(&dir.join(DUMP)).await?;
    }
    Ok(manifest)
}

/// Copies the log and reads every byte of the copy.
fn copy_log(from: &Path, to: &Path) -> anyhow::Result<CopiedLog> {
    let copied = embedded::copy(from, to).context("back up the log")?;
    check_log(to)?;
    Ok(copied)
}

/// Reads every byte of a copied log.
fn check_log(dir: &Path) -> anyhow::Result<()> {
    let report = embedded::verify_copy(dir).context("read the copy of the log")?;
    let mut findings = report.partitions.iter().flat_map(|p| &p.findings);
    match report.findings.first().or_else(|| findings.next()) {
        None => Ok(()),
        Some(first) => bail!("the copy of the log is damaged: {first}"),
    }
}

fn report(dir: &Path, manifest: &Manifest, bytes: u64, as_json: bool) {
    if as_json {
        println!(
            "{}",
            json!({"dir": dir, "bytes": bytes, "manifest": manifest})
        );
        return;
    }
    println!("backup of {} in {}", manifest.made_at, dir.display());
    println!("  {}", human_bytes(bytes));
    if let Some(postgres) = &manifest.postgres {
        println!(
            "  Postgres {}: a database of {}",
            postgres.server_major,
            human_bytes(postgres.database_bytes)
        );
        if !postgres.analysts.is_empty() {
            println!(
                "  without the passwords of analysts' logins ({}): make them anew after a restore",
                postgres.analysts.join(", ")
            );
        }
    }
    if let Some(log) = &manifest.log {
        let records: u64 = log
            .partitions
            .iter()
            .map(|p| p.end_offset - p.start_offset)
            .sum();
        println!("  the log: {records} records");
    }
    println!("checked: sums, the log's frames, the dump's contents");
    println!("keep the configuration beside it; `waylog restore` brings it back");
}

fn now() -> String {
    UnixMs(SystemClock::shared().now_ms()).to_rfc3339()
}
