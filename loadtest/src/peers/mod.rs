//! What a user would do instead, side by side in one run: the same uploads, the same front end, the
//! same machine, each with its durability named.

mod copy;
pub mod front;
mod insert;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use clap::Args;
use serde::Serialize;
use serde_json::json;
use tokio::process::Command;

use self::front::Keeping;
use crate::api::Api;
use crate::process::Process;
use crate::report::Report;
use crate::seed;
use crate::stand::{Stand, started};
use crate::uploads::{Counts, Outcome, Phones, Shape, drive};
use crate::watch::Watch;
use crate::{Place, Target};

/// How long the groups may take to read what is left.
const PATIENCE: Duration = Duration::from_secs(300);

/// How many brokers have a record, and how many must.
const COPIES: [&str; 2] = [
    "WAYLOG__STREAM__KAFKA__REPLICATION_FACTOR",
    "WAYLOG__STREAM__KAFKA__MIN_INSYNC_REPLICAS",
];

/// What is sent to each.
#[derive(Args, Clone, Serialize)]
pub struct PeersArgs {
    #[command(flatten)]
    #[serde(skip)]
    place: Place,
    /// Fixes an upload.
    #[arg(long, default_value_t = 100)]
    fixes: usize,
    /// Keep-alive connections.
    #[arg(long, default_value_t = 256)]
    connections: usize,
    /// Couriers, each with a phone.
    #[arg(long, default_value_t = 1000)]
    couriers: usize,
    /// Seconds before it is measured.
    #[arg(long, default_value_t = 2)]
    warm_up_s: u64,
    /// Seconds of a run.
    #[arg(long, default_value_t = 5)]
    seconds: u64,
    /// Rounds; each measures every peer once. Medians are shown.
    #[arg(long, default_value_t = 3)]
    runs: usize,
    /// host:port of a Kafka broker; its peer is left out without one (scripts/kafka.sh start).
    #[arg(long)]
    kafka: Option<String>,
}

/// One way of taking fixes in.
struct Peer {
    name: &'static str,
    durability: &'static str,
    way: Way,
}

#[derive(Clone, Copy)]
enum Way {
    /// The front end and something else behind it.
    Front(Keeping, u32),
    /// Waylog with these roles; `stored`: measured to the last fix in Postgres.
    Waylog {
        roles: &'static str,
        kafka: bool,
        stored: bool,
    },
}

static PEERS: [Peer; 8] = [
    Peer {
        name: "front end alone",
        durability: "none: answered after parsing",
        way: Way::Front(Keeping::Nothing, 0),
    },
    Peer {
        name: "INSERT a fix, pool of 8",
        durability: "each fix committed (synchronous_commit)",
        way: Way::Front(Keeping::Insert, 8),
    },
    Peer {
        name: "INSERT a fix, pool of 64",
        durability: "each fix committed (synchronous_commit)",
        way: Way::Front(Keeping::Insert, 64),
    },
    Peer {
        name: "batched COPY of rows",
        durability: "each batch committed (synchronous_commit)",
        way: Way::Front(Keeping::Copy, 4),
    },
    Peer {
        name: "Waylog, Kafka as its log",
        durability: "acks=all; the broker's page cache",
        way: Way::Waylog {
            roles: "ingest,dispatch",
            kafka: true,
            stored: false,
        },
    },
    Peer {
        name: "Waylog, ingest",
        durability: "fdatasync of the log",
        way: Way::Waylog {
            roles: "ingest,dispatch",
            kafka: false,
            stored: false,
        },
    },
    Peer {
        name: "Waylog, into Postgres",
        durability: "fdatasync of the log, then Postgres",
        way: Way::Waylog {
            roles: "ingest,dispatch,analytics",
            kafka: false,
            stored: true,
        },
    },
    Peer {
        name: "Waylog, Postgres, map and rules",
        durability: "fdatasync of the log, then Postgres",
        way: Way::Waylog {
            roles: "",
            kafka: false,
            stored: true,
        },
    },
];

/// Measures and prints.
pub async fn run(target: &Target, args: &PeersArgs) -> anyhow::Result<()> {
    let title = format!("Side by side, {} fixes an upload", args.fixes);
    let mut rows: Vec<(&Peer, Report)> = PEERS
        .iter()
        .filter(|peer| args.kafka.is_some() || !peer.needs_kafka())
        .map(|peer| (peer, Report::new(peer.name, args)))
        .collect();
    for run in 1..=args.runs {
        for (peer, report) in &mut rows {
            let measured = measure(peer, args).await?;
            eprintln!(
                "run {run} of {}: {}: {:.0} fixes/s",
                args.runs, peer.name, measured.fixes_a_second
            );
            report.add("fixes a second", "1/s", measured.fixes_a_second);
            measured.outcome.into_report(report, args.fixes);
        }
    }
    print(target, &title, args, &rows)
}

/// One run of one peer.
struct Measured {
    /// Fixes a second to the end of its way.
    fixes_a_second: f64,
    outcome: Outcome,
}

async fn measure(peer: &Peer, args: &PeersArgs) -> anyhow::Result<Measured> {
    // Each begins with empty tables and an empty log.
    let mut stand = Stand::new(args.place.dir.as_deref()).await?;
    let mut phones = Phones::new(seed::couriers(&stand, args.couriers).await?);
    let measured = match peer.way {
        Way::Front(keeping, pool) => {
            let file = stand.file("phones.json");
            phones.keep(&file)?;
            let (child, url) = started(front(&stand, keeping, pool, &file)?).await?;
            let process = Process {
                pid: child.id().unwrap_or_default(),
            };
            let api = Api::new(&url, "")?;
            let outcome = upload(&api, args, &mut phones, process).await?;
            Measured {
                fixes_a_second: outcome.fixes_a_second(),
                outcome,
            }
        }
        Way::Waylog {
            roles,
            kafka,
            stored,
        } => {
            let brokers = args.kafka.as_deref().filter(|_| kafka);
            let settings = brokers.map_or_else(Vec::new, |brokers| {
                let mut settings = vec![
                    ("WAYLOG__STREAM__BACKEND", "kafka"),
                    ("WAYLOG__STREAM__KAFKA__BROKERS", brokers),
                ];
                // One broker has no more, unless whoever measures says so.
                let copies = COPIES
                    .iter()
                    .filter(|name| std::env::var_os(name).is_none());
                settings.extend(copies.map(|name| (*name, "1")));
                settings
            });
            let server = stand.serve(roles, &settings).await?;
            let api = Api::new(&server.target.url, &server.target.api_key)?;
            let mut outcome = upload(&api, args, &mut phones, server.process()).await?;
            if stored {
                // To the end of the way: the time until the last of them is in Postgres.
                let mut watch = Watch::begin(&api, server.process()).await?;
                outcome.seconds += watch.until_read(PATIENCE).await?.as_secs_f64();
            }
            let fixes_a_second = outcome.fixes_a_second();
            server.stop().await?;
            Measured {
                fixes_a_second,
                outcome,
            }
        }
    };
    stand.end().await?;
    Ok(measured)
}

async fn upload(
    api: &Api,
    args: &PeersArgs,
    phones: &mut Phones,
    process: Process,
) -> anyhow::Result<Outcome> {
    let shape = Shape {
        fixes: args.fixes,
        connections: args.connections,
        pipeline: 1,
        rate: None,
    };
    let counts = Arc::new(Counts::default());
    let warm_up = Duration::from_secs(args.warm_up_s);
    drive(api, shape, phones, warm_up, None, &counts).await?;
    let time = Duration::from_secs(args.seconds);
    drive(api, shape, phones, time, Some(process), &counts).await
}

fn front(stand: &Stand, keeping: Keeping, pool: u32, phones: &Path) -> anyhow::Result<Command> {
    let mut command = Command::new(std::env::current_exe()?);
    let keep = match keeping {
        Keeping::Nothing => "nothing",
        Keeping::Insert => "insert",
        Keeping::Copy => "copy",
    };
    command
        .args(["peer-front", "--keep", keep, "--pool", &pool.to_string()])
        .arg("--phones")
        .arg(phones)
        .env("PEER_DATABASE_URL", stand.postgres_url());
    Ok(command)
}

impl Peer {
    fn needs_kafka(&self) -> bool {
        matches!(self.way, Way::Waylog { kafka: true, .. })
    }
}

fn print(
    target: &Target,
    title: &str,
    args: &PeersArgs,
    rows: &[(&Peer, Report)],
) -> anyhow::Result<()> {
    if target.json {
        let peers: Vec<_> = rows
            .iter()
            .map(|(peer, report)| {
                json!({"name": peer.name, "durability": peer.durability, "report": report.to_json()})
            })
            .collect();
        let settings = serde_json::to_value(args)?;
        println!(
            "{}",
            json!({"title": title, "settings": settings, "peers": peers})
        );
        return Ok(());
    }
    println!("\n{title}\n{}\n", crate::machine::Machine::here());
    println!(
        "{:<34} {:>12} {:>10} {:>10} {:>12}  durability",
        "peer", "fixes/s", "p50 ms", "p99 ms", "CPU µs a fix"
    );
    for (peer, report) in rows {
        println!(
            "{:<34} {:>12.0} {:>10.1} {:>10.1} {:>12.2}  {}",
            peer.name,
            report.median("fixes a second"),
            report.median("acknowledged p50"),
            report.median("acknowledged p99"),
            report.median("server CPU a fix"),
            peer.durability
        );
    }
    Ok(())
}
