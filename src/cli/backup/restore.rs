//! `waylog restore`: brings a backup back, after all of it was checked, and only to where nothing is.
//!
//! Order: sums and versions → the target is empty and no server holds it → the log beside its place
//! → Postgres in one transaction → the log to its place. A restore that fails before the last two
//! steps has changed nothing; one that is cut between them goes on with `--only log`.

use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use anyhow::{Context, anyhow, bail};
use clap::Args;
use serde_json::json;

use super::manifest::{GroupOffset, Manifest, PostgresPart};
use super::{DUMP, LOG, Part, SNAPSHOT, check_log, postgres, sums, wants};
use crate::app::tools::ToolDatabase;
use crate::cli::disk::{bytes_below, copy_below, human_bytes, space};
use crate::config::{Backend, Config};
use crate::stream::TOPIC_DELIVERY_LOCATION;
use crate::stream::embedded::{self, CopiedLog};

/// Where the log lies until Postgres is restored.
const ASIDE: &str = "log.restoring";

#[derive(Debug, Args)]
pub(in crate::cli) struct RestoreArgs {
    /// The backup's folder.
    dir: PathBuf,
    /// Only this part; without it, everything that the backup holds.
    #[arg(long, value_enum)]
    only: Option<Part>,
    /// Only read and check the backup; change nothing.
    #[arg(long)]
    check: bool,
    /// Print JSON.
    #[arg(long)]
    json: bool,
}

/// What a restore has done.
#[derive(Debug, Default)]
struct Done {
    postgres: bool,
    log: bool,
    /// Records that Postgres has not read yet.
    behind: u64,
    /// Places of groups that were beyond the log's end.
    pulled_back: u64,
    /// Records that Postgres had not read and the log no longer holds.
    missing: u64,
}

/// Checks a backup and restores it.
pub(in crate::cli) async fn run(args: RestoreArgs, config: Config) -> anyhow::Result<ExitCode> {
    let folder = args.dir.clone();
    tokio::task::spawn_blocking(move || sums::check(&folder)).await??;
    let manifest = Manifest::read(&args.dir)?;
    manifest.check()?;
    if manifest.postgres.is_some() {
        postgres::read_through(&args.dir.join(DUMP)).await?;
    }
    if args.check {
        if args.json {
            println!("{}", json!({"whole": true, "manifest": manifest}));
        } else {
            println!("the backup of {} is whole", manifest.made_at);
        }
        return Ok(ExitCode::SUCCESS);
    }
    let with_postgres = manifest.postgres.is_some() && wants(args.only, Part::Postgres);
    let kafka = config.stream.backend == Backend::Kafka;
    let with_log = manifest.log.is_some() && wants(args.only, Part::Log) && !kafka;
    if !with_postgres && !with_log {
        bail!("the backup holds nothing of what is asked for");
    }
    let done = bring_back(&args.dir, &config, &manifest, with_postgres, with_log).await?;
    if args.json {
        println!(
            "{}",
            json!({"postgres": done.postgres, "log": done.log, "records_to_read": done.behind,
                "places_pulled_back": done.pulled_back, "records_missing": done.missing})
        );
    } else {
        report(&manifest, &done);
    }
    Ok(ExitCode::SUCCESS)
}

async fn bring_back(
    dir: &Path,
    config: &Config,
    manifest: &Manifest,
    with_postgres: bool,
    with_log: bool,
) -> anyhow::Result<Done> {
    let log_dir = config.data_dir.join(LOG);
    own(&config.data_dir)?;
    if with_log {
        must_be_free(&log_dir)?;
    }
    // No server may run on the log that Postgres is restored beside.
    let _held = match embedded::identity(&log_dir)? {
        Some(_) => Some(embedded::hold(&log_dir)?),
        None => None,
    };
    std::fs::create_dir_all(&config.data_dir)
        .with_context(|| format!("make data_dir {}", config.data_dir.display()))?;
    let aside = config.data_dir.join(ASIDE);
    if with_log {
        let (from, to) = (dir.join(LOG), aside.clone());
        tokio::task::spawn_blocking(move || copy_aside(&from, &to)).await??;
    }
    let mut done = Done::default();
    let log = if with_log {
        manifest.log.clone()
    } else {
        standing_log(&log_dir)?
    };
    let restored = async {
        let database = ToolDatabase::open(config).await?;
        let part = manifest.postgres.as_ref().filter(|_| with_postgres);
        let outcome = postgres_side(&database, dir, part, log.as_ref(), &mut done).await;
        database.close().await?;
        outcome.map_err(|error| match error.downcast::<NotEmpty>() {
            Ok(found) => anyhow!("{found}: {}", make_room(config)),
            Err(error) => error,
        })
    };
    if let Err(error) = restored.await {
        if aside.exists() {
            std::fs::remove_dir_all(&aside)
                .with_context(|| format!("remove {}", aside.display()))?;
        }
        return Err(error);
    }
    if with_postgres && dir.join(SNAPSHOT).exists() {
        std::fs::copy(dir.join(SNAPSHOT), config.data_dir.join(SNAPSHOT))
            .context("copy directory.snap")?;
    }
    if with_log {
        put_in_place(&aside, &log_dir)?;
        done.log = true;
    }
    Ok(done)
}

/// A database that holds something is not restored into.
#[derive(Debug, thiserror::Error)]
#[error("the database is not empty")]
struct NotEmpty;

/// What makes a place for Postgres.
fn make_room(config: &Config) -> String {
    let empty = match &config.database.url {
        Some(_) => "give an empty one (dropdb, createdb)".to_owned(),
        None => {
            let place = config.data_dir.join("postgres");
            format!(
                "move it away (mv {} {}.old)",
                place.display(),
                place.display()
            )
        }
    };
    format!("{empty}. If a restore was cut short after Postgres, go on with --only log")
}

async fn postgres_side(
    database: &ToolDatabase,
    dir: &Path,
    part: Option<&PostgresPart>,
    log: Option<&CopiedLog>,
    done: &mut Done,
) -> anyhow::Result<()> {
    let url = database.url();
    if let Some(part) = part {
        if !postgres::is_empty(url).await? {
            return Err(NotEmpty.into());
        }
        postgres::restore(url, dir, part)
            .await
            .context("restore Postgres; nothing of it was kept")?;
        done.postgres = true;
    } else if postgres::is_empty(url).await? {
        // The log alone: a server that starts fills Postgres from it.
        return Ok(());
    }
    if let Some(log) = log {
        done.pulled_back = postgres::pull_back(url, log).await?;
        (done.behind, done.missing) = distance(&postgres::read_offsets(url).await?, log);
    }
    Ok(())
}

/// Records of `log` that the sink has not read, and those that it can no longer read.
fn distance(offsets: &[GroupOffset], log: &CopiedLog) -> (u64, u64) {
    let stream_id = format!("{}:{TOPIC_DELIVERY_LOCATION}", log.uuid);
    let (mut behind, mut missing) = (0, 0);
    let of_topic = |topic: &str| topic == TOPIC_DELIVERY_LOCATION;
    for partition in log.partitions.iter().filter(|p| of_topic(&p.topic)) {
        let next = offsets.iter().find(|offset| {
            offset.group == "analytics"
                && offset.stream_id == stream_id
                && offset.partition == partition.partition
        });
        let next = next.map_or(partition.start_offset, |offset| offset.next);
        behind += partition
            .end_offset
            .saturating_sub(next.max(partition.start_offset));
        missing += partition.start_offset.saturating_sub(next);
    }
    (behind, missing)
}

/// The log that stays where it is, as far as it reaches; `None` if there is none.
fn standing_log(dir: &Path) -> anyhow::Result<Option<CopiedLog>> {
    if embedded::identity(dir)?.is_none() {
        return Ok(None);
    }
    Ok(Some(embedded::extent(dir).context("look at the log")?))
}

/// Whoever restores must be whoever serves, or the server could not read what is restored.
fn own(data_dir: &Path) -> anyhow::Result<()> {
    let Ok(known) = std::fs::metadata(data_dir) else {
        return Ok(());
    };
    let us = rustix::process::geteuid().as_raw();
    if known.uid() != us {
        bail!(
            "{} belongs to user {}, and this is user {us}: run it as that user (sudo -u), so that \
             the server can use what is restored",
            data_dir.display(),
            known.uid()
        );
    }
    Ok(())
}

fn must_be_free(log_dir: &Path) -> anyhow::Result<()> {
    if let Some(who) = embedded::holder(log_dir)? {
        bail!(
            "the log in {} is in use by {who}: stop it",
            log_dir.display()
        );
    }
    let mut entries = match std::fs::read_dir(log_dir) {
        Ok(entries) => entries,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(error).with_context(|| format!("read {}", log_dir.display())),
    };
    if entries.next().is_some() {
        bail!(
            "{} holds a log already. If it is sound, keep it and restore Postgres alone (--only \
             postgres): what is newer in the log is read again. Otherwise move it away (mv {} \
             {}.old), then restore again",
            log_dir.display(),
            log_dir.display(),
            log_dir.display()
        );
    }
    Ok(())
}

/// Copies the backup's log beside its place, and reads every byte of it.
fn copy_aside(from: &Path, aside: &Path) -> anyhow::Result<()> {
    if aside.exists() {
        std::fs::remove_dir_all(aside).with_context(|| format!("remove {}", aside.display()))?;
    }
    let (needed, parent) = (bytes_below(from)?, aside.parent().unwrap_or(aside));
    let (free, _) = space(parent)?;
    if free < needed {
        bail!(
            "{} has {} free, and the log takes {}",
            parent.display(),
            human_bytes(free),
            human_bytes(needed)
        );
    }
    copy_below(from, aside)?;
    check_log(aside)
}

fn put_in_place(aside: &Path, log_dir: &Path) -> anyhow::Result<()> {
    let moved = (|| {
        if log_dir.exists() {
            std::fs::remove_dir(log_dir)?;
        }
        std::fs::rename(aside, log_dir)?;
        std::fs::File::open(log_dir.parent().unwrap_or(log_dir))?.sync_all()
    })();
    moved.with_context(|| format!("move {} to {}", aside.display(), log_dir.display()))
}

fn report(manifest: &Manifest, done: &Done) {
    let parts = match (done.postgres, done.log) {
        (true, true) => "Postgres and the log are",
        (true, false) => "Postgres is",
        _ => "the log is",
    };
    println!("{parts} as of {}", manifest.made_at);
    if done.behind > 0 {
        println!(
            "  {} records of the log are not in Postgres yet; the server reads them when it starts",
            done.behind
        );
    }
    if done.pulled_back > 0 {
        println!(
            "  {} places of readers lay beyond the log's end and were set to it",
            done.pulled_back
        );
    }
    if done.missing > 0 {
        println!(
            "  {} records that Postgres had not read are no longer in the log: they are lost",
            done.missing
        );
    }
    if let Some(analysts) = manifest
        .postgres
        .as_ref()
        .map(|p| &p.analysts)
        .filter(|analysts| done.postgres && !analysts.is_empty())
    {
        println!(
            "  make the analysts' logins anew (waylog analyst create): {}",
            analysts.join(", ")
        );
    }
    println!("next: start the server, then `waylog status`");
}
