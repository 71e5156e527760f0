//! Load against Waylog's public API, and what it measures. `README.md` tells the method.
//!
//! Every subcommand provisions what it needs with an admin key, warms up, measures several times,
//! and prints medians with their spread as a table, or everything as JSON.

mod api;
mod client;
mod clock;
mod fleet;
mod ingest;
mod latency;
mod live;
mod machine;
mod open_loop;
mod process;
mod provision;
mod report;
mod template;

use std::process::ExitCode;

use clap::{Args, Parser, Subcommand};

/// Drives a running Waylog server and prints what it measured.
#[derive(Parser)]
#[command(version, about)]
struct Cli {
    #[command(flatten)]
    target: Target,
    #[command(subcommand)]
    command: Command,
}

/// The server, and how the load is made.
#[derive(Args, Clone)]
struct Target {
    /// The server: an address on this machine, without TLS.
    #[arg(long, global = true, default_value = "http://127.0.0.1:8080")]
    url: String,
    /// An admin API key.
    #[arg(
        long,
        global = true,
        env = "WAYLOG_API_KEY",
        default_value = "",
        hide_env_values = true
    )]
    api_key: String,
    /// The server's process, for its CPU and memory; found by its port unless given.
    #[arg(long, global = true)]
    pid: Option<u32>,
    /// Threads of the load generator.
    #[arg(long, global = true, default_value_t = 1)]
    threads: usize,
    /// Print JSON.
    #[arg(long, global = true)]
    json: bool,
}

#[derive(Subcommand)]
enum Command {
    /// Uploads with durable acknowledgement: as many as go through, or at a fixed rate.
    Ingest(ingest::IngestArgs),
    /// From a phone's POST to a customer's socket, one socket a courier.
    EndToEnd(live::EndToEndArgs),
    /// Many sockets a courier: how many updates reach customers, and how late.
    Fanout(live::FanoutArgs),
    /// Dispatchers' screens: how many updates reach them, and how late.
    Fleet(fleet::FleetArgs),
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(cli.target.threads)
        .enable_all()
        .build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                Command::Ingest(args) => ingest::run(&cli.target, &args).await,
                Command::EndToEnd(args) => live::end_to_end(&cli.target, &args).await,
                Command::Fanout(args) => live::fanout(&cli.target, &args).await,
                Command::Fleet(args) => fleet::run(&cli.target, &args).await,
            }
        })
    });
    match done {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("loadtest: {error:#}");
            ExitCode::FAILURE
        }
    }
}
