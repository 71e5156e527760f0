//! Load against Waylog's public API, and what it measures. `README.md` tells the method.
//!
//! `ingest`, `end-to-end`, `fanout` and `fleet` drive a server that runs already; the others start
//! servers of this build on a stand of their own, since they stop, restart and compare them. Every
//! one warms up, measures several times, and prints medians with their spread as a table, or
//! everything as JSON.

mod access;
mod api;
mod background;
mod backlog;
mod client;
mod clock;
mod couriers;
mod fences;
mod figures;
mod fleet;
mod ingest;
mod kept;
mod latency;
mod live;
mod machine;
mod open_loop;
mod peers;
mod pipeline;
mod posting;
mod process;
mod progress;
mod provision;
mod receiver;
mod report;
mod seed;
mod sink;
mod soak;
mod stand;
mod swarm;
mod template;
mod uploads;
mod watch;
mod webhooks;

use std::path::PathBuf;
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

impl Target {
    /// A server of our own.
    fn of(url: String, api_key: &str, pid: u32) -> Self {
        Self {
            url,
            api_key: api_key.to_owned(),
            pid: Some(pid),
            threads: 1,
            json: false,
        }
    }
}

/// Where a stand is set up.
#[derive(Args, Clone)]
struct Place {
    /// Folder for data, log and Postgres of the stand; the system's for temporary files unless given.
    #[arg(long)]
    dir: Option<PathBuf>,
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
    /// From a phone's POST to the receiver of a webhook, and how many a second one receiver gets.
    Webhooks(webhooks::WebhookArgs),
    /// Wrong tokens by the thousand: what they cost those with right ones.
    Strangers(access::StrangersArgs),
    /// Links and keys that are revoked: how soon their sockets are closed.
    Revoke(access::RevokeArgs),
    /// A backlog into Postgres (a stand of its own).
    Sink(sink::SinkArgs),
    /// The whole pipeline for minutes: lag and memory (a stand of its own).
    Pipeline(pipeline::PipelineArgs),
    /// What geofences cost (a stand of its own).
    Fences(fences::FencesArgs),
    /// The same load from few and from many couriers (a stand of its own).
    Couriers(couriers::CouriersArgs),
    /// What a user would do instead, side by side (a stand of its own).
    Peers(peers::PeersArgs),
    /// An hour of faults, and the ledger (a stand of its own).
    Soak(soak::SoakArgs),
    /// All of the above, and the table and plots of the README.
    Figures(figures::FiguresArgs),
    /// The front end of a peer.
    #[command(hide = true)]
    PeerFront(peers::front::FrontArgs),
}

/// The server's own, so that the peers' front end is not held up by another one.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

fn main() -> ExitCode {
    let cli = Cli::parse();
    let mut runtime = tokio::runtime::Builder::new_multi_thread();
    // A front end runs on as many threads as the server does.
    if !matches!(cli.command, Command::PeerFront(_)) {
        runtime.worker_threads(cli.target.threads);
    }
    let runtime = runtime.enable_all().build();
    let done = runtime.map_err(anyhow::Error::from).and_then(|runtime| {
        runtime.block_on(async {
            match cli.command {
                Command::Ingest(args) => ingest::run(&cli.target, &args).await,
                Command::EndToEnd(args) => live::end_to_end(&cli.target, &args).await,
                Command::Fanout(args) => live::fanout(&cli.target, &args).await,
                Command::Fleet(args) => fleet::run(&cli.target, &args).await,
                Command::Webhooks(args) => webhooks::run(&cli.target, &args).await,
                Command::Strangers(args) => access::strangers(&cli.target, &args).await,
                Command::Revoke(args) => access::revoke(&cli.target, &args).await,
                Command::Sink(args) => sink::run(&cli.target, &args).await,
                Command::Pipeline(args) => pipeline::run(&cli.target, &args).await,
                Command::Fences(args) => fences::run(&cli.target, &args).await,
                Command::Couriers(args) => couriers::run(&cli.target, &args).await,
                Command::Peers(args) => peers::run(&cli.target, &args).await,
                Command::Soak(args) => soak::run(&cli.target, &args).await,
                Command::Figures(args) => figures::run(&args).await,
                Command::PeerFront(args) => peers::front::run(&args).await,
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
