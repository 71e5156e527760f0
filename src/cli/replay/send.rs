//! Sends tracks: each courier's uploads one after the other, many couriers at once.

use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::time::Duration;

use futures_util::stream::{self, FuturesUnordered, StreamExt, TryStreamExt};
use indicatif::ProgressBar;
use reqwest::Method;
use tokio::time::Instant;

use super::super::api::{Api, Call, Upload, UploadFix, Uploaded};
use super::Summary;
use super::tracks::Tracks;
use crate::domain::CourierId;

/// Uploads in flight at once.
const IN_FLIGHT: usize = 32;

/// Creates the couriers that do not exist, and a device for each; the tokens are in their order.
pub(super) async fn provision(
    api: &Api,
    api_key: &str,
    couriers: &[CourierId],
    bar: &ProgressBar,
) -> anyhow::Result<Vec<String>> {
    bar.set_message("provision");
    let tokens = stream::iter(couriers)
        .map(|id| async move {
            api.ensure_courier(api_key, id, &serde_json::json!({ "id": id }))
                .await?;
            let key = uuid::Uuid::new_v4().to_string();
            api.create_device(api_key, id, "replay", &key).await
        })
        .buffered(IN_FLIGHT)
        .try_collect()
        .await;
    bar.set_message("replay");
    tokens
}

/// A courier's way through its fixes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
struct Cursor {
    /// When its next fix is due, milliseconds of the recording after the first fix of all.
    due_ms: i64,
    courier: usize,
    next: usize,
}

/// Sends everything; with a `speed` each fix at its time, else at once.
pub(super) async fn all(
    api: &Api,
    tracks: &Tracks,
    tokens: &[String],
    speed: Option<f64>,
    batch: usize,
    bar: &ProgressBar,
) -> Summary {
    let begun = Instant::now();
    let first_ms = tracks.first_ms();
    let due_ms = |fix: &UploadFix| fix.fix_time.saturating_sub(first_ms);
    let mut summary = Summary {
        couriers: tokens.len(),
        ..Summary::default()
    };
    let mut waiting: BinaryHeap<Reverse<Cursor>> = (0..tokens.len())
        .filter_map(|courier| Some((courier, tracks.of(courier).first()?)))
        .map(|(courier, fix)| {
            Reverse(Cursor {
                due_ms: due_ms(fix),
                courier,
                next: 0,
            })
        })
        .collect();
    let mut flying = FuturesUnordered::new();
    loop {
        // Whoever is due next, and how long until then.
        let room = flying.len() < IN_FLIGHT;
        let head = waiting
            .peek()
            .filter(|_| room)
            .map(|Reverse(cursor)| match speed {
                Some(speed) => begun + recorded(cursor.due_ms, speed),
                None => begun,
            });
        tokio::select! {
            biased;
            Some((cursor, outcome)) = flying.next(), if !flying.is_empty() => {
                let cursor: Cursor = cursor;
                if let Err(problem) = settle(&mut summary, outcome, bar) {
                    summary.problem = Some(problem);
                    break;
                }
                if let Some(fix) = tracks.of(cursor.courier).get(cursor.next) {
                    waiting.push(Reverse(Cursor { due_ms: due_ms(fix), ..cursor }));
                }
            }
            () = tokio::time::sleep_until(head.unwrap_or(begun)), if head.is_some() => {
                let Some(Reverse(cursor)) = waiting.pop() else { continue };
                let left = &tracks.of(cursor.courier)[cursor.next..];
                let due = |fix: &UploadFix| match speed {
                    Some(speed) => recorded(due_ms(fix), speed) <= begun.elapsed(),
                    None => true,
                };
                // The first one is due, else we would still sleep; what has fallen due since the
                // courier's last upload goes with it.
                let count = 1 + left.iter().skip(1).take(batch - 1).take_while(|f| due(f)).count();
                let fixes = &left[..count];
                let token = &tokens[cursor.courier];
                let cursor = Cursor { next: cursor.next + count, ..cursor };
                flying.push(async move { (cursor, upload(api, token, fixes).await) });
            }
            else => break,
        }
    }
    summary.unsent = tracks.len() as u64 - summary.sent;
    summary.seconds = begun.elapsed().as_secs_f64();
    summary
}

/// How long after the start something is due that was recorded `ms` milliseconds after it.
fn recorded(ms: i64, speed: f64) -> Duration {
    let seconds = ms.max(0) as f64 / 1000.0 / speed;
    Duration::try_from_secs_f64(seconds).unwrap_or(Duration::MAX)
}

enum Outcome {
    Taken { sent: u64, uploaded: Uploaded },
    Refused { sent: u64, why: String },
}

async fn upload(api: &Api, token: &str, fixes: &[UploadFix]) -> anyhow::Result<Outcome> {
    let sent = fixes.len() as u64;
    let call = Call::new(Method::POST, "/v1/positions", token).json(&Upload { fixes })?;
    let answer = api.call(&call).await?;
    if answer.status.is_success() {
        return Ok(Outcome::Taken {
            sent,
            uploaded: answer.json()?,
        });
    }
    Ok(Outcome::Refused {
        sent,
        why: answer.problem(),
    })
}

/// Books an upload; an error ends the replay.
fn settle(
    summary: &mut Summary,
    outcome: anyhow::Result<Outcome>,
    bar: &ProgressBar,
) -> Result<(), String> {
    match outcome {
        Ok(Outcome::Taken { sent, uploaded }) => {
            summary.sent += sent;
            summary.accepted += uploaded.accepted;
            summary.duplicate += uploaded.duplicate;
            summary.quarantined += uploaded.quarantined.len() as u64;
            bar.inc(sent);
            Ok(())
        }
        Ok(Outcome::Refused { sent, why }) => {
            summary.sent += sent;
            summary.refused += sent;
            summary
                .problem
                .get_or_insert(format!("an upload was refused: {why}"));
            bar.inc(sent);
            Ok(())
        }
        Err(error) => Err(format!("{error:#}")),
    }
}
