//! `waylog replay`: recorded tracks into ingest over HTTP, as the phones would send them.
//!
//! Invariants: a courier's fixes are sent in the order of their time, one upload at a time; every
//! fix that was sent ends up in exactly one column of the [`Summary`].

mod csv;
mod gpx;
mod send;
#[cfg(test)]
mod tests;
mod tracks;

use std::io::IsTerminal;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{ArgGroup, Args};
use serde::Serialize;

use super::UsageError;
use super::api::Api;
use crate::clock::{Clock, SystemClock};

/// Most fixes in one upload, as ingest's default.
const MAX_BATCH: u32 = 1000;

/// Arguments of `waylog replay`.
#[derive(Debug, Clone, Args)]
#[command(group(ArgGroup::new("credential").args(["token", "provision"]).required(true)))]
pub struct ReplayArgs {
    /// Recorded tracks: CSV (courier_id, fix_time_ms, lat, lon, then optional speed_mps,
    /// heading_deg, accuracy_m, altitude_m, battery_pct) or GPX 1.1
    #[arg(required = true, value_name = "FILE")]
    pub files: Vec<PathBuf>,
    /// Where the server is
    #[arg(long, default_value = "http://127.0.0.1:8080")]
    pub url: String,
    /// Device token of the one courier in the files
    #[arg(long, value_name = "T")]
    pub token: Option<String>,
    /// Create the couriers of the files and a device for each
    #[arg(long, requires = "api_key")]
    pub provision: bool,
    /// API key of a dispatcher or an admin, for --provision
    #[arg(long, env = "WAYLOG_API_KEY", hide_env_values = true, value_name = "K")]
    pub api_key: Option<String>,
    /// How many times faster than it was recorded
    #[arg(long, default_value_t = 1.0, conflicts_with = "as_fast_as_possible")]
    pub speed: f64,
    /// Do not wait between fixes
    #[arg(long)]
    pub as_fast_as_possible: bool,
    /// Shift all times so that the first fix is now
    #[arg(long)]
    pub now: bool,
    /// Most fixes in one upload
    #[arg(long, default_value_t = 50, value_parser = clap::value_parser!(u32).range(1..=i64::from(MAX_BATCH)))]
    pub batch: u32,
    /// How long to go on trying while the server cannot be reached, seconds
    #[arg(long, default_value_t = 600, value_name = "SECONDS")]
    pub patience: u64,
    /// Print the summary as JSON
    #[arg(long)]
    pub json: bool,
}

/// The ledger of a replay, in fixes where nothing else is said.
#[derive(Debug, Clone, Default, PartialEq, Serialize)]
pub struct Summary {
    /// Couriers in the files.
    pub couriers: usize,
    /// Rows of the files that are no fix, as those without a time; they were not sent.
    pub unreadable: u64,
    /// Sent and answered.
    pub sent: u64,
    /// Stored by the server, durably.
    pub accepted: u64,
    /// Known to the server already.
    pub duplicate: u64,
    /// Put aside by the server.
    pub quarantined: u64,
    /// In uploads that the server refused altogether.
    pub refused: u64,
    /// Read from the files, but never answered, because the server could not be reached.
    pub unsent: u64,
    /// How long it took, seconds.
    pub seconds: f64,
    /// The first refusal or failure, in words.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub problem: Option<String>,
}

impl Summary {
    /// Whether every fix was sent and taken, one way or the other.
    #[must_use]
    pub fn adds_up(&self) -> bool {
        self.unsent == 0 && self.accepted + self.duplicate + self.quarantined == self.sent
    }
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "sent {} = accepted {} + duplicate {} + quarantined {} + refused {}; {} couriers, {:.1} s",
            self.sent,
            self.accepted,
            self.duplicate,
            self.quarantined,
            self.refused,
            self.couriers,
            self.seconds
        )?;
        if self.unsent > 0 {
            write!(f, "; not sent: {}", self.unsent)?;
        }
        if self.unreadable > 0 {
            write!(f, "; unreadable rows: {}", self.unreadable)?;
        }
        match &self.problem {
            Some(problem) => write!(f, "; {problem}"),
            None => Ok(()),
        }
    }
}

/// Replays and prints the summary. The exit code is 1 when it does not add up.
///
/// # Errors
/// If a file cannot be read, couriers cannot be provisioned, or the arguments contradict each
/// other ([`UsageError`]).
pub async fn run(args: ReplayArgs) -> anyhow::Result<ExitCode> {
    let json = args.json;
    let summary = replay(&args, &SystemClock).await?;
    if json {
        println!("{}", serde_json::to_string(&summary)?);
    } else {
        println!("{summary}");
    }
    Ok(if summary.adds_up() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    })
}

/// Replays the files and returns the ledger.
///
/// # Errors
/// As [`run`].
pub async fn replay(args: &ReplayArgs, clock: &dyn Clock) -> anyhow::Result<Summary> {
    if !(args.speed.is_finite() && args.speed > 0.0) {
        return Err(UsageError(format!("--speed must be above 0, not {}", args.speed)).into());
    }
    let api = Api::new(&args.url, Duration::from_secs(args.patience))?;
    let mut tracks = tracks::load(&args.files)?;
    if args.now {
        tracks.shift_to(clock.now_ms());
    }
    let couriers: Vec<_> = tracks.couriers().to_vec();
    let bar = progress_bar(tracks.len(), args.json);
    let tokens = match (&args.token, &args.api_key) {
        (Some(_), _) if couriers.len() > 1 => {
            let why = format!(
                "the files hold {} couriers and a device token is one courier's: use --provision \
                 with --api-key",
                couriers.len()
            );
            return Err(UsageError(why).into());
        }
        (Some(token), _) => vec![token.clone(); couriers.len()],
        (None, Some(api_key)) => send::provision(&api, api_key, &couriers, &bar).await?,
        (None, None) => return Err(UsageError("--provision needs --api-key".into()).into()),
    };
    let pace = if args.as_fast_as_possible {
        None
    } else {
        Some(args.speed)
    };
    let mut summary = send::all(&api, &tracks, &tokens, pace, args.batch as usize, &bar).await;
    summary.unreadable = tracks.unreadable();
    bar.finish_and_clear();
    Ok(summary)
}

fn progress_bar(fixes: usize, quiet: bool) -> indicatif::ProgressBar {
    if quiet || !std::io::stderr().is_terminal() {
        return indicatif::ProgressBar::hidden();
    }
    let bar = indicatif::ProgressBar::new(fixes as u64);
    let look = "{msg:>9} {wide_bar} {pos}/{len} fixes, {per_sec}, {eta} to go";
    if let Ok(style) = indicatif::ProgressStyle::with_template(look) {
        bar.set_style(style);
    }
    bar.set_message("replay");
    bar
}
