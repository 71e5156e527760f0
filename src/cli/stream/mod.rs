//! `waylog stream`: what is in the log, who reads it and how far; and the repair of one that no
//! server holds.
//!
//! `topics`, `groups`, `tail`, `reset` and `advise` ask the server that owns the log; `verify` and
//! `repair` open a log's folder themselves, which is refused while a server holds it.

mod online;
mod table;

use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, Subcommand};

use super::ServerArgs;
use super::api::Api;

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
    /// Move an idle group: stop its role first.
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

pub(super) async fn run(args: StreamArgs) -> anyhow::Result<ExitCode> {
    let api = Api::new(&args.server.url, PATIENCE)?;
    let online = online::Online {
        api,
        key: args.server.key()?,
        json: args.json,
    };
    match args.action {
        Action::Topics => online.topics().await,
        Action::Groups => online.groups().await,
        Action::Tail {
            topic,
            partition,
            from,
            limit,
        } => online.tail(&topic, partition, from.as_deref(), limit).await,
        Action::Reset {
            group,
            to,
            partition,
        } => online.reset(&group, &to, partition).await,
        Action::Advise => online.advise().await,
    }
}
