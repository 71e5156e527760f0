//! Tokens that are not in the Directory: asked for in Postgres once, at a bounded rate.
//!
//! A flood of wrong tokens costs a hash and a look into a set each: what was asked for a moment ago is
//! remembered, questions have a budget, and only a few wait at a time. A right token never comes here.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use governor::{DefaultDirectRateLimiter, Quota, RateLimiter};
use parking_lot::Mutex;
use rustc_hash::FxHashSet;
use tokio::sync::Semaphore;

use super::AccessError;
use crate::clock::SharedClock;
use crate::directory::{Device, Sync, TokenHash};

/// Questions to Postgres a second, and at once.
const QUESTIONS_PER_SECOND: std::num::NonZeroU32 = std::num::NonZeroU32::new(100).expect("not 0");
/// Questions that wait for their answer at a time; requests have the rest of the pool.
const QUESTIONS_AT_ONCE: usize = 3;
/// A token that nobody holds is remembered for one to two of this, milliseconds.
const REMEMBERED_MS: i64 = 5_000;
/// Most tokens remembered in one of the two sets: 2 MiB.
const REMEMBERED: usize = 50_000;
/// After a question that failed, Postgres is left alone for this long, milliseconds.
const LEFT_ALONE_MS: i64 = 500;

/// Asks Postgres for what the Directory does not hold.
pub(super) struct Missing {
    sync: Sync,
    clock: SharedClock,
    unknown: Mutex<Unknown>,
    budget: DefaultDirectRateLimiter,
    asking: Semaphore,
    left_alone_until: AtomicI64,
}

/// Tokens that nobody held a moment ago, in two generations.
#[derive(Default)]
struct Unknown {
    newer: FxHashSet<TokenHash>,
    older: FxHashSet<TokenHash>,
    turned_at: i64,
}

impl Unknown {
    fn turn(&mut self, now: i64) {
        if now - self.turned_at >= REMEMBERED_MS || self.newer.len() >= REMEMBERED {
            self.older = std::mem::take(&mut self.newer);
            self.turned_at = now;
        }
    }

    fn contains(&mut self, token: &TokenHash, now: i64) -> bool {
        self.turn(now);
        self.newer.contains(token) || self.older.contains(token)
    }

    fn insert(&mut self, token: TokenHash, now: i64) {
        self.turn(now);
        self.newer.insert(token);
    }
}

impl Missing {
    pub(super) fn new(sync: Sync, clock: SharedClock) -> Self {
        Self {
            sync,
            clock,
            unknown: Mutex::default(),
            budget: RateLimiter::direct(Quota::per_second(QUESTIONS_PER_SECOND)),
            asking: Semaphore::new(QUESTIONS_AT_ONCE),
            left_alone_until: AtomicI64::new(0),
        }
    }

    pub(super) async fn device(&self, token: TokenHash) -> Result<Arc<Device>, AccessError> {
        self.ask(token, self.sync.find_device(&token)).await
    }

    /// [`AccessError::Gone`] if it was a link once.
    pub(super) async fn link(&self, token: TokenHash) -> AccessError {
        let knew = async {
            Ok(self
                .sync
                .knew_link(&token)
                .await?
                .then_some(AccessError::Gone))
        };
        self.ask(token, knew).await.unwrap_or_else(|error| error)
    }

    async fn ask<T>(
        &self,
        token: TokenHash,
        question: impl Future<Output = sqlx::Result<Option<T>>>,
    ) -> Result<T, AccessError> {
        let now = self.clock.now_ms();
        if self.unknown.lock().contains(&token, now) {
            return Err(AccessError::Unauthorized);
        }
        // No question can be asked now. While the Directory follows Postgres, what it does not hold
        // is unknown; otherwise nobody can tell.
        let unasked = || {
            Err(match self.sync.is_fresh() {
                true => AccessError::Unauthorized,
                false => AccessError::Unavailable,
            })
        };
        if now < self.left_alone_until.load(Ordering::Relaxed) {
            return Err(AccessError::Unavailable);
        }
        let Ok(_asking) = self.asking.try_acquire() else {
            return unasked();
        };
        if self.budget.check().is_err() {
            return unasked();
        }
        match question.await {
            Ok(Some(found)) => Ok(found),
            Ok(None) => {
                self.unknown.lock().insert(token, self.clock.now_ms());
                Err(AccessError::Unauthorized)
            }
            Err(error) => {
                tracing::debug!(%error, "cannot ask Postgres for a missing token");
                let until = self.clock.now_ms() + LEFT_ALONE_MS;
                self.left_alone_until.store(until, Ordering::Relaxed);
                Err(AccessError::Unavailable)
            }
        }
    }
}
