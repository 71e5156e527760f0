//! The command line: one file a subcommand. Exit codes: 0 done, 1 failed, 2 bad usage or
//! configuration.

mod analyst;
mod analytics;
pub mod api;
mod backup;
mod check_config;
mod demo;
mod disk;
mod keys;
mod migrate;
mod notify;
mod openapi;
pub mod replay;
mod serve;
pub mod simulate;
mod status;
pub mod stream;
mod table;

use std::path::PathBuf;
use std::process::ExitCode;

use clap::{CommandFactory, Parser, Subcommand};

use crate::config::{Config, ConfigError};

/// Self-hosted delivery-location tracking around a durable log.
#[derive(Debug, Parser)]
#[command(name = "waylog", version, propagate_version = true)]
struct Cli {
    /// A configuration file; what it does not set keeps its default.
    #[arg(long, global = true, value_name = "FILE")]
    config: Option<PathBuf>,
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    /// Run the server: all roles, or those named.
    Serve(serve::ServeArgs),
    /// Send recorded tracks to a server, as phones would.
    Replay(replay::ReplayArgs),
    /// Couriers with deliveries who drive real roads.
    Simulate(simulate::SimulateArgs),
    /// The log: topics, groups, records, advice, verify, repair.
    Stream(stream::StreamArgs),
    /// What is wrong now, and the next command.
    Status(status::StatusArgs),
    /// Copy everything that is kept into a folder, also beside a running server.
    Backup(backup::BackupArgs),
    /// Bring a backup back, to where nothing is yet.
    Restore(backup::RestoreArgs),
    /// API keys: create, list, revoke.
    Keys(keys::KeysArgs),
    /// Read-only logins to Postgres: create, list, remove.
    Analyst(analyst::AnalystArgs),
    /// Work on stored tracks: find trips anew.
    Analytics(analytics::AnalyticsArgs),
    /// Try rules on the past, without sending anything.
    Notify(notify::NotifyArgs),
    /// Where to look at a server that was just started.
    #[command(hide = true)]
    Demo(demo::DemoArgs),
    /// Apply the database migrations and end.
    Migrate,
    /// Check the configuration and end.
    CheckConfig,
    /// Print the OpenAPI document.
    Openapi,
    /// Print completions for your shell.
    Completions {
        /// Which shell.
        shell: clap_complete::Shell,
    },
}

/// Wrong usage or configuration: exit code 2.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct UsageError(pub(crate) String);

/// Where the server is, and who asks: for the tools that speak its public API.
#[derive(Debug, Clone, clap::Args)]
struct ServerArgs {
    /// Where the server is.
    #[arg(long, env = "WAYLOG_URL", default_value = "http://127.0.0.1:8080")]
    url: String,
    /// An API key; without it, the bootstrap admin key of WAYLOG__ADMIN_KEY.
    #[arg(long, env = "WAYLOG_API_KEY", hide_env_values = true, value_name = "K")]
    api_key: Option<String>,
}

impl ServerArgs {
    fn key(&self) -> anyhow::Result<String> {
        let bootstrap = || {
            std::env::var("WAYLOG__ADMIN_KEY")
                .ok()
                .filter(|key| !key.is_empty())
        };
        self.api_key
            .clone()
            .or_else(bootstrap)
            .ok_or_else(|| UsageError("give --api-key K, or set WAYLOG_API_KEY".to_owned()).into())
    }
}

/// Parses the arguments, runs the command and answers the exit code.
#[must_use]
pub fn main() -> ExitCode {
    let cli = Cli::parse();
    if !matches!(cli.command, Command::Serve(_)) {
        // `waylog stream tail | head` ends with its reader, without a word.
        sigpipe::reset();
    }
    match run(cli) {
        Ok(code) => code,
        Err(error) => {
            eprintln!("waylog: {error:#}");
            let usage = error.is::<ConfigError>() || error.is::<UsageError>();
            if usage {
                ExitCode::from(2)
            } else {
                ExitCode::FAILURE
            }
        }
    }
}

fn run(cli: Cli) -> anyhow::Result<ExitCode> {
    let load = || Config::load(cli.config.as_deref(), std::env::vars());
    match cli.command {
        Command::Serve(args) => serve::run(load()?, args),
        Command::Replay(args) => block_on(replay::run(args)),
        Command::Simulate(args) => block_on(simulate::run(args)),
        Command::Stream(args) => block_on(stream::run(args, load)),
        Command::Status(args) => block_on(status::run(args, load)),
        Command::Backup(args) => block_on(backup::run(args, load()?)),
        Command::Restore(args) => block_on(backup::run_restore(args, load()?)),
        Command::Keys(args) => block_on(keys::run(args)),
        Command::Analyst(args) => block_on(analyst::run(args)),
        Command::Analytics(args) => block_on(analytics::run(args)),
        Command::Notify(args) => block_on(notify::run(args)),
        Command::Demo(args) => block_on(demo::run(args)),
        Command::Migrate => block_on(migrate::run(load()?)),
        Command::CheckConfig => check_config::run(&load()?),
        Command::Openapi => block_on(openapi::run()),
        Command::Completions { shell } => {
            clap_complete::generate(shell, &mut Cli::command(), "waylog", &mut std::io::stdout());
            Ok(ExitCode::SUCCESS)
        }
    }
}

/// Runs a command's future on a runtime of its own.
fn block_on<F: Future<Output = anyhow::Result<ExitCode>>>(command: F) -> anyhow::Result<ExitCode> {
    tokio::runtime::Builder::new_multi_thread()
        .enable_all()
        .build()?
        .block_on(command)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn every(command: &clap::Command, path: &str, check: &mut impl FnMut(&clap::Command, &str)) {
        check(command, path);
        for inner in command.get_subcommands() {
            every(inner, &format!("{path} {}", inner.get_name()), check);
        }
    }

    #[test]
    fn every_command_and_every_argument_explains_itself() {
        let command = Cli::command();
        command.clone().debug_assert();
        let mut commands = 0;
        every(&command, "waylog", &mut |command, path| {
            commands += 1;
            assert!(command.get_about().is_some(), "{path} has no help");
            for argument in command.get_arguments() {
                let id = argument.get_id();
                assert!(argument.get_help().is_some(), "{path}: {id} has no help");
            }
        });
        assert!(commands > 20, "{commands} commands");
    }

    #[test]
    fn completions_know_every_command() {
        use clap_complete::Shell;
        for shell in [Shell::Bash, Shell::Zsh, Shell::Fish] {
            let mut script = Vec::new();
            clap_complete::generate(shell, &mut Cli::command(), "waylog", &mut script);
            let script = String::from_utf8(script).expect("text");
            for word in ["backup", "restore", "status", "operator-url"] {
                assert!(script.contains(word), "{shell}: {word}");
            }
        }
    }
}
