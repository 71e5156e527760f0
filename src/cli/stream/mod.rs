//! `waylog stream`: what is in the log, who reads it and how far; and the repair of one that no
//! server holds.
//!
//! `topics`, `groups`, `tail`, `reset` and `advise` ask the server that owns the log; `verify` and
//! `repair` open a log's folder themselves, which is refused while a server holds it.

mod offline;
mod online;

use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::api::Api;
use super::{ServerArgs, UsageError};
use crate::config::{Backend, Config, ConfigError};

/// A server that has not answered by then is not there.
const PATIENCE: Duration = Duration::from_secs(5);

/// Arguments of `waylog stream`.
#[derive(Debug, Args)]
pub struct StreamArgs {
    #[command(flatten)]
    server: ServerArgs,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
    #[command(subcommand)]
    action: Action,
}

#[derive(Debug, Subcommand)]
enum Action {
    #[command(flatten)]
    Online(OnlineAction),
    #[command(flatten)]
    Offline(OfflineAction),
}

/// What the server that owns the log is asked.
#[derive(Debug, Subcommand)]
enum OnlineAction {
    /// Topics and their partitions.
    Topics,
    /// Consumer groups: members, committed offsets, lag.
    Groups,
    /// The newest records, decoded.
    Tail {
        /// The topic.
        #[arg(long, default_value = crate::stream::TOPIC_DELIVERY_LOCATION)]
        topic: String,
        /// Only this partition.
        #[arg(long)]
        partition: Option<u32>,
        /// From here on instead of the newest: earliest, an offset, or an RFC 3339 time.
        #[arg(long)]
        from: Option<String>,
        /// Most records.
        #[arg(long, default_value_t = 20)]
        limit: usize,
    },
    /// Move a group to another place in the log. Stop its role first; analytics may go on running:
    /// what it reads again is stored only where it is missing.
    Reset {
        /// The group.
        #[arg(long)]
        group: String,
        /// earliest, latest, an offset, or an RFC 3339 time.
        #[arg(long)]
        to: String,
        /// Only this partition.
        #[arg(long)]
        partition: Option<u32>,
    },
    /// What is wrong with the partitions and the groups, and what to do.
    Advise,
}

/// What is done to a folder.
#[derive(Debug, Subcommand)]
enum OfflineAction {
    /// Read every byte of a log that no server holds; changes nothing.
    Verify {
        #[command(flatten)]
        folder: Folder,
    },
    /// Make a damaged log one that can be served. Without --accept-loss only says what is wrong.
    Repair {
        #[command(flatten)]
        folder: Folder,
        /// Go on without the records that are lost.
        #[arg(long)]
        accept_loss: bool,
    },
}

/// Which log.
#[derive(Debug, Args)]
struct Folder {
    /// The log's folder; without it, `log` in the configured data_dir.
    #[arg(long)]
    dir: Option<PathBuf>,
}

impl Folder {
    fn path(self, load: impl Fn() -> Result<Config, ConfigError>) -> anyhow::Result<PathBuf> {
        if let Some(dir) = self.dir {
            return Ok(dir);
        }
        let config = load()?;
        if config.stream.backend == Backend::Kafka {
            return Err(UsageError(
                "stream.backend is kafka: the brokers look after their own files; look at them by \
                 `waylog stream topics` and `waylog stream advise`, or name a folder by --dir"
                    .to_owned(),
            )
            .into());
        }
        Ok(config.data_dir.join("log"))
    }
}

pub(super) async fn run(
    args: StreamArgs,
    load: impl Fn() -> Result<Config, ConfigError>,
) -> anyhow::Result<ExitCode> {
    match args.action {
        Action::Offline(OfflineAction::Verify { folder }) => {
            offline::verify(&folder.path(load)?, args.json)
        }
        Action::Offline(OfflineAction::Repair {
            folder,
            accept_loss,
        }) => offline::repair(&folder.path(load)?, accept_loss, args.json),
        Action::Online(action) => ask(action, &args.server, args.json).await,
    }
}

async fn ask(action: OnlineAction, server: &ServerArgs, json: bool) -> anyhow::Result<ExitCode> {
    let online = online::Online {
        api: Api::new(&server.url, PATIENCE)?,
        key: server.key()?,
        json,
    };
    match action {
        OnlineAction::Topics => online.topics().await,
        OnlineAction::Groups => online.groups().await,
        OnlineAction::Tail {
            topic,
            partition,
            from,
            limit,
        } => online.tail(&topic, partition, from.as_deref(), limit).await,
        OnlineAction::Reset {
            group,
            to,
            partition,
        } => online.reset(&group, &to, partition).await,
        OnlineAction::Advise => online.advise().await,
    }
}
