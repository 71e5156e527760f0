//! `/v1/webhooks`, `/v1/events` and `/v1/backtests`.

mod attempts;
mod backtests;
mod event;
mod events;
mod webhooks;

use std::sync::Arc;

use axum::extract::rejection::QueryRejection;
use axum::extract::{FromRequestParts, Query};
use axum::http::request::Parts;
use parking_lot::Mutex;
use rand::rngs::StdRng;
use serde::de::DeserializeOwned;
use sqlx::PgPool;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::backtest::Backtests;
use super::outbox::Sender;
use crate::clock::SharedClock;
use crate::domain::rules::RuleSet;
use crate::http::Problem;

/// What the handlers use. Cheap to clone.
#[derive(Clone)]
pub(super) struct Api {
    pub(super) pool: PgPool,
    pub(super) sender: Sender,
    pub(super) clock: SharedClock,
    pub(super) rng: Arc<Mutex<StdRng>>,
    pub(super) allow_private: bool,
    pub(super) rules: RuleSet,
    pub(super) backtests: Backtests,
}

impl Api {
    pub(super) fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(webhooks::create, webhooks::list))
            .routes(routes!(webhooks::read, webhooks::update, webhooks::delete))
            .routes(routes!(webhooks::rotate))
            .routes(routes!(webhooks::test))
            .routes(routes!(attempts::list))
            .routes(routes!(attempts::redeliver))
            .routes(routes!(events::list))
            .routes(routes!(event::read))
            .routes(routes!(backtests::begin))
            .routes(routes!(backtests::read, backtests::delete))
            .with_state(self.clone())
    }
}

/// Most items of one page.
const MAX_PAGE: i64 = 1_000;
/// Items of a page where nobody asks for another number.
const USUAL_PAGE: i64 = 100;

/// The number of items asked for.
fn page_size(limit: Option<i64>) -> Result<i64, Problem> {
    match limit.unwrap_or(USUAL_PAGE) {
        limit @ 1..=MAX_PAGE => Ok(limit),
        _ => Err(Problem::bad_request(format!(
            "limit must be between 1 and {MAX_PAGE}"
        ))),
    }
}

/// Query parameters whose errors are problems.
struct ApiQuery<T>(T);

impl<S: Send + Sync, T: DeserializeOwned> FromRequestParts<S> for ApiQuery<T> {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, state: &S) -> Result<Self, Problem> {
        let read = Query::<T>::from_request_parts(parts, state).await;
        let Query(query) = read.map_err(|e: QueryRejection| Problem::bad_request(e.body_text()))?;
        Ok(Self(query))
    }
}
