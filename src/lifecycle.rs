//! Start and stop: signals, soft and hard cancellation, and who owns which task.
//!
//! Invariants: every task is spawned through [`Lifecycle::spawn`]; a task that fails or panics stops
//! the process; the soft token asks tasks to finish their work, the hard token tells them to drop it.

use std::future::Future;
use std::time::Duration;

use tokio_util::sync::CancellationToken;
use tokio_util::task::TaskTracker;

/// How long a soft stop may take before it becomes a hard one.
pub const STOP_DEADLINE: Duration = Duration::from_secs(25);

/// Owns the process's tasks and tokens. Cheap to clone.
#[derive(Debug, Clone, Default)]
pub struct Lifecycle {
    soft: CancellationToken,
    hard: CancellationToken,
    tasks: TaskTracker,
    failure: std::sync::Arc<std::sync::OnceLock<String>>,
}

impl Lifecycle {
    /// A process that runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Cancelled when tasks should finish what they have and return.
    #[must_use]
    pub fn soft(&self) -> CancellationToken {
        self.soft.clone()
    }

    /// Cancelled when tasks must return at once.
    #[must_use]
    pub fn hard(&self) -> CancellationToken {
        self.hard.clone()
    }

    /// Runs a task of the process. Should it fail or panic, the process stops and exits non-zero.
    pub fn spawn<F>(&self, name: &'static str, task: F)
    where
        F: Future<Output = anyhow::Result<()>> + Send + 'static,
    {
        let owner = self.clone();
        let inner = tokio::spawn(task);
        self.tasks.spawn(async move {
            let reason = match inner.await {
                Ok(Ok(())) => return,
                Ok(Err(error)) => format!("{name} failed: {error:#}"),
                Err(error) if error.is_panic() => format!("{name} panicked"),
                Err(_) => return,
            };
            owner.fail(reason);
        });
    }

    /// Stops the process because of `reason`; it will exit non-zero.
    pub fn fail(&self, reason: String) {
        tracing::error!(%reason, "stopping");
        // The first reason is the cause, later ones follow from it.
        if self.failure.set(reason).is_err() {
            tracing::debug!("already stopping because of an earlier failure");
        }
        self.soft.cancel();
    }

    /// Why the process had to stop, if it had to.
    #[must_use]
    pub fn failure(&self) -> Option<&str> {
        self.failure.get().map(String::as_str)
    }

    /// Waits for the tasks after a soft stop, for [`STOP_DEADLINE`] at most, then stops them hard.
    pub async fn finish(&self) {
        self.soft.cancel();
        self.tasks.close();
        if tokio::time::timeout(STOP_DEADLINE, self.tasks.wait())
            .await
            .is_err()
        {
            tracing::warn!("the deadline for stopping has passed");
        }
        self.hard.cancel();
    }

    /// Turns the first SIGINT or SIGTERM into a soft stop and the second into a hard one.
    ///
    /// # Errors
    /// If the signals cannot be listened to.
    pub fn listen_to_signals(&self) -> anyhow::Result<()> {
        use tokio::signal::unix::{SignalKind, signal};
        let mut interrupt = signal(SignalKind::interrupt())?;
        let mut terminate = signal(SignalKind::terminate())?;
        let owner = self.clone();
        tokio::spawn(async move {
            for stop in [&owner.soft, &owner.hard] {
                tokio::select! {
                    _ = interrupt.recv() => {}
                    _ = terminate.recv() => {}
                }
                tracing::info!("stopping; a second signal stops at once");
                stop.cancel();
            }
        });
        Ok(())
    }
}
