//! `waylog serve`: the server.

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use crate::app::{self, Role, Roles};
use crate::config::Config;
use crate::lifecycle::Lifecycle;
use crate::telemetry;

#[derive(Debug, Args)]
pub(super) struct ServeArgs {
    /// Only these roles, separated by commas; without it, all.
    #[arg(long, value_enum, value_delimiter = ',')]
    roles: Vec<RoleName>,
}

/// The roles as they are written on the command line.
#[derive(Debug, Clone, Copy, ValueEnum)]
enum RoleName {
    Ingest,
    LiveMap,
    Analytics,
    Notifications,
    Dispatch,
}

pub(super) fn run(config: Config, args: ServeArgs) -> anyhow::Result<ExitCode> {
    telemetry::init_logging(&config.telemetry);
    let roles = Roles::of(args.roles.iter().map(|name| match name {
        RoleName::Ingest => Role::Ingest,
        RoleName::LiveMap => Role::LiveMap,
        RoleName::Analytics => Role::Analytics,
        RoleName::Notifications => Role::Notifications,
        RoleName::Dispatch => Role::Dispatch,
    }));
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?;
    let lifecycle = Lifecycle::new();
    let outcome = runtime.block_on(async {
        lifecycle.listen_to_signals()?;
        app::run(config, roles, lifecycle.clone()).await
    });
    // Blocking work that is still under way (a read of a large file) must not delay the end.
    runtime.shutdown_background();
    outcome?;
    match lifecycle.failure() {
        Some(reason) => Err(anyhow::anyhow!("stopped because of a failure: {reason}")),
        None => Ok(ExitCode::SUCCESS),
    }
}
