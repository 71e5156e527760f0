//! What operators ask: is it alive, is it ready, what do the numbers say, how does the stream stand.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use axum::extract::State;
use axum::http::{StatusCode, header};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Json, Router};
use metrics::gauge;
use metrics_exporter_prometheus::PrometheusHandle;
use serde::Serialize;
use sqlx::PgPool;

use crate::http::Problem;
use crate::telemetry::metrics as names;

/// A database that has not answered by then counts as away.
const DATABASE_PATIENCE: Duration = Duration::from_secs(2);

/// What the operator's routes look at. Cheap to clone.
#[derive(Clone)]
pub(super) struct Operator {
    pub(super) pool: PgPool,
    pub(super) metrics: PrometheusHandle,
    /// Set when every role has started, cleared when the process begins to stop.
    pub(super) ready: Arc<AtomicBool>,
}

impl Operator {
    /// Whether Postgres answers soon.
    pub(super) async fn database_is_up(&self) -> bool {
        let asked = sqlx::query("select 1").execute(&self.pool);
        matches!(
            tokio::time::timeout(DATABASE_PATIENCE, asked).await,
            Ok(Ok(_))
        )
    }

    /// Whether every role has started and the process is not stopping.
    fn is_ready(&self) -> bool {
        self.ready.load(Ordering::SeqCst)
    }

    /// `/healthz`, `/readyz` and `/metrics`; not for the public internet.
    pub(super) fn probes(&self) -> Router {
        Router::new()
            .route("/healthz", get(healthz))
            .route("/readyz", get(readyz))
            .route("/metrics", get(render))
            .with_state(self.clone())
    }
}

#[derive(Serialize)]
struct Health {
    status: &'static str,
    database: &'static str,
}

async fn healthz(State(operator): State<Operator>) -> Json<Health> {
    Json(Health {
        status: "ok",
        database: if operator.database_is_up().await {
            "up"
        } else {
            "down"
        },
    })
}

async fn readyz(State(operator): State<Operator>) -> Response {
    if operator.is_ready() {
        (StatusCode::OK, "ready\n").into_response()
    } else {
        Problem::unavailable("starting or stopping", 1).into_response()
    }
}

async fn render(State(operator): State<Operator>) -> Response {
    operator.metrics.run_upkeep();
    // Of now, not of the last round of vital signs: /readyz and this must not contradict each other.
    gauge!(names::PROCESS_READY).set(f64::from(u8::from(operator.is_ready())));
    let kind = [(
        header::CONTENT_TYPE,
        "text/plain; version=0.0.4; charset=utf-8",
    )];
    (kind, operator.metrics.render()).into_response()
}
