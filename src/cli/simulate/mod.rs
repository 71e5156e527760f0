//! `waylog simulate`: couriers with deliveries on real roads, over the public HTTP API.
//!
//! ```text
//! world (shops, doors, routes) ─▶ courier (a state machine over time) ─▶ fleet (all, one clock)
//!                                        │ acts              │ true place
//!                                        ▼                   ▼
//!                              outbox (first in, first out) ◀─ phone (noise, tunnels)
//!                                        ▼
//!                              engine ─ deliver ─▶ server
//! ```
//!
//! Invariants: what couriers do depends on the seed and the time their lives began (kept in
//! `--state`), never on the network; so a second run lives through the time in between and goes on
//! with the same couriers, and the truth that `--truth` writes is exact. A few couriers are special
//! ([`Role`](courier::Role)): four relay each other so that there is always a delivery with at
//! least five minutes to go, one is late, one is in a tunnel half of the time.

mod book;
mod courier;
mod crew;
mod deliver;
mod drive;
mod engine;
mod fleet;
mod outbox;
mod phone;
#[cfg(test)]
mod tests;
mod world;

use std::fs::{File, OpenOptions};
use std::io::BufWriter;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::Args;
use futures_util::stream::{self, StreamExt, TryStreamExt};
use tokio_util::sync::CancellationToken;

use self::book::Book;
use self::crew::Crew;
use self::engine::Engine;
use self::fleet::Fleet;
use self::world::World;
use super::UsageError;
use super::api::{Api, GaveUp};
use crate::clock::{Clock, SystemClock};
use crate::config::RoadsConfig;
use crate::lifecycle::Lifecycle;
use crate::roads::Roads;

/// The generator of all chance: small, fast, and the same on every machine.
type Chance = rand::rngs::Xoshiro256PlusPlus;

/// How often phones take a fix, milliseconds.
const FIX_EVERY_MS: i64 = 5_000;
/// … and in the history that is sent first.
const HISTORY_EVERY_MS: i64 = 15_000;
/// How often the truth is written, milliseconds.
const TRUTH_EVERY_MS: i64 = 1_000;
/// Without history the couriers have lived for this long, so that they are not all at the start of
/// their first run.
const WARM_UP_MS: i64 = 30 * 60_000;
/// Longest past that is lived through again at a start, hours of all couriers together (a few
/// seconds of computing).
const MOST_COURIER_HOURS: f64 = 6_000.0;
/// How long one call is tried before the next courier has its turn.
const PATIENCE: Duration = Duration::from_secs(30);
/// Couriers that are provisioned at once.
const PROVISIONED_AT_ONCE: usize = 16;
/// Most couriers; more is a load test.
const MAX_COURIERS: u32 = 20_000;

/// Arguments of `waylog simulate`.
#[derive(Debug, Clone, Args)]
pub struct SimulateArgs {
    /// How many couriers
    #[arg(long, default_value_t = 200, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_COURIERS)))]
    pub couriers: u32,
    /// OpenStreetMap extract with roads, food shops and house numbers [default: bundled Malta]
    #[arg(long, value_name = "FILE.osm.pbf")]
    pub roads: Option<PathBuf>,
    /// The same seed gives the same couriers with the same lives
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Where the server is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// API key of an admin
    #[arg(long, env = "WAYLOG_API_KEY", hide_env_values = true, value_name = "K")]
    pub api_key: String,
    /// Hours of past movement that are sent first, at the first run
    #[arg(long, default_value_t = 3.0, value_name = "HOURS")]
    pub history: f64,
    /// Append the true positions to this file, a JSON object a line
    #[arg(long, value_name = "FILE")]
    pub truth: Option<PathBuf>,
    /// Where device tokens and the state are kept, so that a second run goes on
    #[arg(long, default_value = "var/simulate", value_name = "DIR")]
    pub state: PathBuf,
}

/// Sums of a simulation, in fixes where nothing else is said.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Totals {
    /// Sent and answered.
    pub sent: u64,
    /// Stored by the server.
    pub accepted: u64,
    /// Known to the server already.
    pub duplicate: u64,
    /// Put aside by the server.
    pub quarantined: u64,
    /// In uploads that the server refused altogether.
    pub refused: u64,
    /// Given up because too much waited.
    pub given_up: u64,
    /// Deliveries that came in.
    pub deliveries: u64,
    /// Deliveries that were completed.
    pub completed: u64,
    /// The first refusal, in words.
    pub first_problem: Option<String>,
}

impl std::fmt::Display for Totals {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "sent {} = accepted {} + duplicate {} + quarantined {} + refused {}; \
             deliveries: {} created, {} completed",
            self.sent,
            self.accepted,
            self.duplicate,
            self.quarantined,
            self.refused,
            self.deliveries,
            self.completed
        )?;
        if self.given_up > 0 {
            write!(f, "; given up: {}", self.given_up)?;
        }
        match &self.first_problem {
            Some(problem) => write!(f, "; first refusal: {problem}"),
            None => Ok(()),
        }
    }
}

/// Simulates until SIGINT or SIGTERM, or until the demo is removed from the server.
///
/// # Errors
/// As [`simulate`].
pub async fn run(args: SimulateArgs) -> anyhow::Result<ExitCode> {
    let lifecycle = Lifecycle::new();
    lifecycle.listen_to_signals()?;
    let totals = simulate(&args, &SystemClock, &lifecycle.soft()).await?;
    println!("{totals}");
    Ok(ExitCode::SUCCESS)
}

/// Simulates until `stop` is cancelled, or the demo is removed from the server.
///
/// # Errors
/// If the roads or the state cannot be read, or the server does not accept the API key. A server
/// that cannot be reached is waited for.
pub async fn simulate(
    args: &SimulateArgs,
    clock: &dyn Clock,
    stop: &CancellationToken,
) -> anyhow::Result<Totals> {
    if !(0.0..=24.0).contains(&args.history) {
        let why = format!(
            "--history must be between 0 and 24 hours, not {}",
            args.history
        );
        return Err(UsageError(why).into());
    }
    let api = Api::new(&args.url, PATIENCE)?;
    let truth = args.truth.as_deref().map(open_truth).transpose()?;
    let book_path = book::path(&args.state, args.seed);
    let kept = Book::read(&book_path)?;
    let first_run = kept.is_none();
    let mut book = kept.unwrap_or_default();
    let now_ms = clock.now_ms();
    let past_ms = now_ms.saturating_sub(book.epoch_ms);
    if first_run || hours(past_ms) * f64::from(args.couriers) > MOST_COURIER_HOURS || past_ms < 0 {
        let history = args
            .history
            .min(MOST_COURIER_HOURS / 2.0 / f64::from(args.couriers));
        let history_ms = if first_run {
            (history * 3_600_000.0) as i64
        } else {
            0
        };
        book.epoch_ms = now_ms - history_ms.max(WARM_UP_MS);
    }
    let history = (first_run && args.history > 0.0).then_some(HISTORY_EVERY_MS);
    let mut crew = tokio::task::spawn_blocking({
        let (args, epoch_ms) = (args.clone(), book.epoch_ms);
        move || prepare(&args, epoch_ms, now_ms, history)
    })
    .await??;

    tokio::select! {
        () = stop.cancelled() => return Ok(Totals::default()),
        done = introduce(&api, &args.api_key, &mut crew, &mut book) => done?,
    }
    book.write(&book_path)?;
    let key = (&api, args.api_key.as_str());
    let mut engine = Engine::new(key, clock, crew, (book, book_path), truth);
    engine.run(stop).await?;
    Ok(engine.totals)
}

fn hours(ms: i64) -> f64 {
    ms as f64 / 3_600_000.0
}

fn open_truth(path: &Path) -> anyhow::Result<BufWriter<File>> {
    let file = OpenOptions::new().create(true).append(true).open(path);
    Ok(BufWriter::new(
        file.with_context(|| format!("open {}", path.display()))?,
    ))
}

/// Opens the roads and lives through the past.
fn prepare(
    args: &SimulateArgs,
    epoch_ms: i64,
    now_ms: i64,
    history: Option<i64>,
) -> anyhow::Result<Crew> {
    let config = RoadsConfig {
        file: args.roads.clone(),
    };
    let (roads, stops) = Roads::open_with_stops(&config, &args.state.join("roads"))?;
    let world = World::new(roads, stops)?;
    let tick_ms = if args.truth.is_some() {
        TRUTH_EVERY_MS
    } else {
        FIX_EVERY_MS
    };
    let fleet = Fleet::new(world, args.couriers as usize, args.seed, epoch_ms, tick_ms);
    let mut crew = Crew::new(fleet, args.seed);
    crew.fast_forward(now_ms, history);
    Ok(crew)
}

/// Makes the server know the couriers, as soon as it is there, and forget what they no longer have.
async fn introduce(
    api: &Api,
    api_key: &str,
    crew: &mut Crew,
    book: &mut Book,
) -> anyhow::Result<()> {
    let unknown = crew
        .fleet
        .couriers
        .iter()
        .filter(|c| !book.tokens.contains_key(&c.id));
    let tokens: Vec<_> = stream::iter(unknown)
        .map(|courier| async move {
            let token = patiently(|| deliver::provision(api, api_key, courier)).await?;
            anyhow::Ok((courier.id.clone(), token))
        })
        .buffer_unordered(PROVISIONED_AT_ONCE)
        .try_collect()
        .await?;
    book.tokens.extend(tokens);
    let present = crew.present();
    let left: Vec<_> = book.open.difference(&present).cloned().collect();
    for id in left {
        patiently(|| deliver::close(api, api_key, &id)).await?;
        book.open.remove(&id);
    }
    Ok(())
}

/// Tries until the server is there.
async fn patiently<T, F>(mut attempt: impl FnMut() -> F) -> anyhow::Result<T>
where
    F: Future<Output = anyhow::Result<T>>,
{
    loop {
        match attempt().await {
            Err(error) if error.is::<GaveUp>() => {
                tracing::warn!("waiting for the server: {error:#}");
            }
            done => return done,
        }
    }
}
