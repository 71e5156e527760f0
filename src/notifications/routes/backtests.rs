//! `/v1/backtests`: rules tried on the past, without sending anything.

use std::sync::Arc;

use axum::Json;
use axum::extract::{Path, State};
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::Serialize;
use utoipa::ToSchema;
use uuid::Uuid;

use super::super::backtest::{self, BacktestRequest, Job, Plan, Report};
use super::Api;
use crate::domain::UnixMs;
use crate::http::{ApiJson, AsDispatcher, Problem};

/// A backtest as it stands.
#[derive(Debug, Serialize, ToSchema)]
pub(super) struct BacktestView {
    id: Uuid,
    /// `running`, `done` or `failed`.
    state: &'static str,
    /// Which share of the fixes was judged, 0 to 1.
    progress: f64,
    /// Fixes judged so far.
    fixes: u64,
    /// Why it has failed.
    error: Option<String>,
    /// What it came to.
    #[schema(value_type = Option<Report>)]
    report: Option<Arc<Report>>,
}

fn view(job: &Job) -> BacktestView {
    let (fixes, progress) = job.progress();
    let (state, error, report) = match job.state() {
        backtest::State::Running => ("running", None, None),
        backtest::State::Done(report) => ("done", None, Some(report)),
        backtest::State::Failed(why) => ("failed", Some(why), None),
    };
    BacktestView {
        id: job.id(),
        state,
        progress,
        fixes,
        error,
        report,
    }
}

/// Try rules on the past; nothing is recorded or sent
///
/// One runs at a time; ask for it by its id until it is done. What came in the hour before is judged
/// too, so that the rules know where everybody was. Windows, places and the order of runs are those
/// of today, geofences too unless the request gives others.
#[utoipa::path(post, path = "/v1/backtests", tag = "events", request_body = BacktestRequest,
    responses((status = 202, body = BacktestView), (status = 409, body = Problem),
              (status = 422, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn begin(
    _: AsDispatcher,
    State(api): State<Api>,
    ApiJson(request): ApiJson<BacktestRequest>,
) -> Result<Response, Problem> {
    let now = UnixMs(api.clock.now_ms());
    let usual = api.rules.clone();
    let planned = tokio::task::spawn_blocking(move || Plan::of(request, &usual, now)).await;
    let plan = match planned {
        Ok(plan) => plan.map_err(|error| Problem::invalid(error.to_string()))?,
        Err(error) => {
            tracing::error!(%error, "the check of a backtest ended");
            return Err(Problem::invalid("the rules cannot be judged by"));
        }
    };
    let begun = api.backtests.begin(plan);
    let job = begun.map_err(|busy| Problem::conflict("busy", busy.to_string()))?;
    let location = format!("/v1/backtests/{}", job.id());
    let headers = [(header::LOCATION, location)];
    Ok((StatusCode::ACCEPTED, headers, Json(view(&job))).into_response())
}

/// How far a backtest is, and what it came to
#[utoipa::path(get, path = "/v1/backtests/{id}", tag = "events", params(("id" = Uuid, Path)),
    responses((status = 200, body = BacktestView), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn read(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<Json<BacktestView>, Problem> {
    let job = id.parse().ok().and_then(|id| api.backtests.get(id));
    let job = job.ok_or_else(|| Problem::not_found("the backtest"))?;
    Ok(Json(view(&job)))
}

/// Stop a backtest and forget what it came to
#[utoipa::path(delete, path = "/v1/backtests/{id}", tag = "events", params(("id" = Uuid, Path)),
    responses((status = 204), (status = 404, body = Problem)),
    security(("api_key" = []), ("session" = [])))]
pub(super) async fn delete(
    _: AsDispatcher,
    State(api): State<Api>,
    Path(id): Path<String>,
) -> Result<StatusCode, Problem> {
    let removed = id.parse().is_ok_and(|id| api.backtests.remove(id));
    if removed {
        return Ok(StatusCode::NO_CONTENT);
    }
    Err(Problem::not_found("the backtest"))
}
