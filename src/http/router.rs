//! Every route of the process under one roof: which layers which kind of route goes through.
//!
//! - *API*: panics become problems, answers are compressed, requests are bounded in time and size and
//!   counted by route template (never by URI: a URI may hold a token).
//! - *Uploads*: as little as possible, because they come tens of thousands a second; ingest bounds
//!   and counts them itself.
//! - *Pages*: security headers that all answers bear.

use std::any::Any;
use std::sync::Arc;
use std::time::Duration;

use axum::extract::{DefaultBodyLimit, MatchedPath, Request};
use axum::http::{HeaderName, HeaderValue, StatusCode, header};
use axum::middleware::{Next, from_fn};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use axum::{Extension, Router};
use tower_http::catch_panic::CatchPanicLayer;
use tower_http::compression::CompressionLayer;
use tower_http::set_header::SetResponseHeaderLayer;
use tower_http::timeout::TimeoutLayer;
use utoipa::openapi::OpenApi;
use utoipa_axum::router::OpenApiRouter;

use super::Problem;
use crate::access::Access;
use crate::telemetry::metrics::{HTTP_REQUESTS, HTTP_SECONDS};

/// Largest body of an API request, bytes: a thousand deliveries fit.
const MAX_API_BODY: usize = 2 * 1024 * 1024;

/// Only our own files, no inline code; tiles may be drawn from blobs; MapLibre's worker is one.
const CONTENT_SECURITY_POLICY: &str = "default-src 'self'; script-src 'self'; style-src 'self'; \
     img-src 'self' data: blob:; font-src 'self'; worker-src 'self' blob:; connect-src 'self'; \
     object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'none'";

/// What a process serves.
pub struct Parts {
    /// The API of all roles.
    pub api: OpenApiRouter,
    /// Routes that phones post to.
    pub uploads: OpenApiRouter,
    /// Live channels: they outlive any request timeout.
    pub live: OpenApiRouter,
    /// Pages and their assets.
    pub pages: Router,
    /// Health and metrics, unless they have a listener of their own.
    pub probes: Router,
}

/// One router of all parts.
pub fn assemble(parts: Parts, access: Arc<Access>, request_timeout: Duration) -> Router {
    let (api, mut document) = parts.api.split_for_parts();
    let (uploads, upload_document) = parts.uploads.split_for_parts();
    let (live, live_document) = parts.live.split_for_parts();
    document.merge(upload_document);
    document.merge(live_document);
    describe(&mut document);

    let document: Arc<str> = document.to_json().unwrap_or_default().into();
    let openapi = get(move || async move {
        (
            [(header::CONTENT_TYPE, "application/json")],
            document.to_string(),
        )
    });
    let api = api
        .route("/v1/openapi.json", openapi)
        .layer(DefaultBodyLimit::max(MAX_API_BODY))
        .layer(TimeoutLayer::with_status_code(
            StatusCode::REQUEST_TIMEOUT,
            request_timeout,
        ))
        .layer(from_fn(count))
        .layer(CompressionLayer::new());
    let outside = api
        .merge(live)
        .merge(parts.pages)
        .merge(parts.probes)
        .layer(fixed_header(
            header::CONTENT_SECURITY_POLICY,
            CONTENT_SECURITY_POLICY,
        ))
        .layer(fixed_header(header::REFERRER_POLICY, "no-referrer"))
        .layer(fixed_header(header::X_CONTENT_TYPE_OPTIONS, "nosniff"))
        .layer(fixed_header(header::X_FRAME_OPTIONS, "DENY"));
    outside
        .merge(uploads)
        .layer(CatchPanicLayer::custom(panicked))
        .layer(Extension(access))
}

/// The document of all routes, as `waylog openapi` prints it.
pub fn describe(document: &mut OpenApi) {
    use utoipa::openapi::security::{Http, HttpAuthScheme, SecurityRequirement, SecurityScheme};
    document.info.title = "Waylog".to_owned();
    document.info.version = env!("CARGO_PKG_VERSION").to_owned();
    document.info.description = Some(
        "Delivery-location tracking. Callers send `Authorization: Bearer` with a device token, an \
         API key or a tracking link's token, as each route says. Errors are RFC 9457 problems."
            .to_owned(),
    );
    let bearer = SecurityScheme::Http(Http::new(HttpAuthScheme::Bearer));
    document
        .components
        .get_or_insert_default()
        .security_schemes
        .insert("bearer".to_owned(), bearer.into());
    document.security = Some(vec![SecurityRequirement::new(
        "bearer",
        Vec::<String>::new(),
    )]);
}

fn fixed_header(name: HeaderName, value: &'static str) -> SetResponseHeaderLayer<HeaderValue> {
    SetResponseHeaderLayer::if_not_present(name, HeaderValue::from_static(value))
}

/// Counts and times a request by its route template.
async fn count(request: Request, next: Next) -> Response {
    let route = request.extensions().get::<MatchedPath>().cloned();
    let route = route.map_or_else(|| "(none)".to_owned(), |path| path.as_str().to_owned());
    let method = request.method().clone();
    let began = tokio::time::Instant::now();
    let response = next.run(request).await;
    let took = began.elapsed();
    let class = match response.status().as_u16() / 100 {
        2 => "2xx",
        3 => "3xx",
        4 => "4xx",
        _ => "5xx",
    };
    metrics::counter!(HTTP_REQUESTS, "route" => route.clone(), "method" => method.to_string(),
        "status" => class)
    .increment(1);
    metrics::histogram!(HTTP_SECONDS, "route" => route.clone()).record(took.as_secs_f64());
    tracing::debug!(%method, route, status = response.status().as_u16(), ?took, "request");
    response
}

fn panicked(cause: Box<dyn Any + Send + 'static>) -> Response {
    let what = cause
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| cause.downcast_ref::<String>().cloned())
        .unwrap_or_default();
    tracing::error!(what, "a request panicked");
    let detail = "the server failed at this request; its log says why";
    Problem::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail).into_response()
}
