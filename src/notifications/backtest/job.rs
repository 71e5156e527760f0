//! One backtest after the other, in the background: how far it is, what it came to, and its end.
//!
//! Invariants: one runs at a time, and the last one's report is kept until the next is begun, so that
//! memory is bounded. Nothing is recorded or sent by it.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use anyhow::Context;
use parking_lot::Mutex;
use sqlx::PgPool;
use tokio::sync::Notify;
use tokio_util::sync::CancellationToken;
use uuid::Uuid;

use super::difference::{SAME_WITHIN_MS, pair};
use super::plan::{Plan, Source};
use super::report::{Read, Report};
use super::rerun::{Rerun, Ruling};
use super::sources::{self, Span};
use super::{past, was};
use crate::directory::Directory;
use crate::domain::rules::FenceIndex;
use crate::notifications::estimates::Estimates;
use crate::roads::Roads;
use crate::stream::Log;

/// Rules begin to judge so long before the time that is tried, so that they know where couriers
/// stand when it begins, milliseconds.
const WARM_UP_MS: i64 = 3_600_000;
/// Steps of [`Progress::share`].
const SHARES: f64 = 10_000.0;

/// How far a backtest is. Written by the one who runs it, read by anybody.
#[derive(Debug, Default)]
pub(super) struct Progress {
    fixes: AtomicU64,
    share: AtomicU32,
}

impl Progress {
    pub(super) fn fixes(&self, judged: u64) {
        self.fixes.store(judged, Ordering::Relaxed);
    }

    pub(super) fn share(&self, share: f64) {
        self.share.store((share * SHARES) as u32, Ordering::Relaxed);
    }
}

/// Where a backtest stands.
#[derive(Debug, Clone)]
pub(in super::super) enum State {
    /// It waits or runs.
    Running,
    /// It has come to this.
    Done(Arc<Report>),
    /// It has failed or was stopped, for this reason.
    Failed(String),
}

/// A backtest.
pub(in super::super) struct Job {
    id: Uuid,
    plan: Plan,
    progress: Progress,
    stop: CancellationToken,
    state: Mutex<State>,
}

impl Job {
    pub(in super::super) fn id(&self) -> Uuid {
        self.id
    }

    pub(in super::super) fn state(&self) -> State {
        self.state.lock().clone()
    }

    /// Fixes judged so far, and which share of all there are, 0 to 1.
    pub(in super::super) fn progress(&self) -> (u64, f64) {
        let share = self.progress.share.load(Ordering::Relaxed);
        (
            self.progress.fixes.load(Ordering::Relaxed),
            f64::from(share) / SHARES,
        )
    }
}

/// Begins backtests, looks at them, and runs them. Cheap to clone.
#[derive(Clone, Default)]
pub(in super::super) struct Backtests {
    begun: Arc<Notify>,
    last: Arc<Mutex<Option<Arc<Job>>>>,
}

/// Another backtest is still running.
#[derive(Debug, thiserror::Error)]
#[error("backtest {0} is running: wait for it, or delete it")]
pub(in super::super) struct Busy(Uuid);

/// What a backtest is run over.
pub(in super::super) struct Archive {
    pub(in super::super) log: Arc<dyn Log>,
    pub(in super::super) pool: PgPool,
    pub(in super::super) directory: Arc<Directory>,
    pub(in super::super) roads: Roads,
}

impl Backtests {
    /// Begins a backtest, unless one is running.
    pub(in super::super) fn begin(&self, plan: Plan) -> Result<Arc<Job>, Busy> {
        let mut last = self.last.lock();
        if let Some(running) = &*last
            && matches!(running.state(), State::Running)
        {
            return Err(Busy(running.id));
        }
        let job = Arc::new(Job {
            id: Uuid::now_v7(),
            plan,
            progress: Progress::default(),
            stop: CancellationToken::new(),
            state: Mutex::new(State::Running),
        });
        *last = Some(job.clone());
        self.begun.notify_one();
        Ok(job)
    }

    /// The backtest of this id, if it is the last one.
    pub(in super::super) fn get(&self, id: Uuid) -> Option<Arc<Job>> {
        self.last.lock().clone().filter(|job| job.id == id)
    }

    /// Stops and forgets a backtest; answers whether there was one.
    pub(in super::super) fn remove(&self, id: Uuid) -> bool {
        let mut last = self.last.lock();
        let removed = last.take_if(|job| job.id == id);
        if let Some(job) = &removed {
            job.stop.cancel();
        }
        removed.is_some()
    }
}

impl Backtests {
    /// Runs one backtest after the other over `archive`, until `stop`.
    pub(in super::super) async fn run(
        self,
        archive: Archive,
        stop: CancellationToken,
    ) -> anyhow::Result<()> {
        loop {
            tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = self.begun.notified() => {}
            }
            let last = self.last.lock().clone();
            let Some(job) = last.filter(|job| matches!(job.state(), State::Running)) else {
                continue;
            };
            let done = tokio::select! {
                () = stop.cancelled() => return Ok(()),
                () = job.stop.cancelled() => Err(anyhow::anyhow!("stopped")),
                done = archive.run(&job) => done,
            };
            *job.state.lock() = match done {
                Ok(report) => State::Done(Arc::new(report)),
                Err(error) => {
                    tracing::warn!(error = format!("{error:#}"), "a backtest failed");
                    State::Failed(format!("{error:#}"))
                }
            };
        }
    }
}

impl Archive {
    async fn run(&self, job: &Job) -> anyhow::Result<Report> {
        let plan = &job.plan;
        let begins = plan.from.plus_ms(-WARM_UP_MS);
        let source = match plan.source {
            Some(source) => source,
            None if sources::log_reaches_back(&*self.log, begins).await? => Source::Log,
            None => Source::Tracks,
        };
        let past = past::load(&self.pool, begins, plan.to, plan.courier.as_ref()).await?;
        let ruling = Ruling {
            rules: plan.rules.clone(),
            fences: self.fences(plan).await?,
            estimates: Estimates {
                roads: self.roads.clone(),
            },
            directory: self.directory.clone(),
            begins,
            // What was told just before may be the partner of what is told just after.
            keep_from: plan.from.plus_ms(-SAME_WITHIN_MS),
            ends: plan.to,
        };
        let span = Span {
            from: begins,
            to: plan.to,
            courier: plan.courier.clone(),
        };
        let rerun = Rerun::new(ruling, past);
        let (progress, stop) = (&job.progress, &job.stop);
        let rerun = match source {
            Source::Log => {
                let directory = &self.directory;
                sources::judge_log(&*self.log, directory, &span, rerun, progress, stop).await?
            }
            Source::Tracks => {
                sources::judge_tracks(&self.pool, &span, rerun, progress, stop).await?
            }
        };
        let read = Read {
            from: plan.from,
            to: plan.to,
            source,
            fixes: rerun.fixes(),
            couriers: rerun.couriers(),
        };
        let was = was::load(&self.pool, plan, source).await?;
        let webhooks = was::webhooks(&self.pool).await?;
        let from = plan.from;
        let report = tokio::task::spawn_blocking(move || {
            let told = rerun.finish()?;
            let would_be = was::known_to(source, told.into_iter().map(Into::into));
            let mut pairs = pair(was, would_be);
            pairs.retain(|pair| {
                let sides = [pair.was(), pair.would_be()];
                sides.into_iter().flatten().any(|one| one.at >= from)
            });
            Ok::<_, anyhow::Error>(Report::of(read, &pairs, &webhooks))
        });
        let report = report.await.context("compare")??;
        progress.share(1.0);
        Ok(report)
    }

    /// The stored geofences, and those to try.
    async fn fences(&self, plan: &Plan) -> anyhow::Result<FenceIndex> {
        let (directory, to_try) = (self.directory.clone(), plan.geofences.clone());
        let indexed = tokio::task::spawn_blocking(move || {
            let mut fences = FenceIndex::default();
            let stored = directory.geofences();
            for geofence in stored.into_iter().chain(to_try.into_iter().map(Arc::new)) {
                let id = geofence.id.clone();
                if let Err(error) = fences.put(geofence) {
                    tracing::warn!(geofence = %id, %error, "a geofence cannot be judged by");
                }
            }
            fences
        });
        indexed.await.context("index the geofences")
    }
}
