//! `/osmand`, and `/` of the second port: the OsmAnd protocol and the JSON of Traccar Client.

use axum::extract::{Request, State};
use axum::http::header::CONTENT_TYPE;
use axum::http::{HeaderMap, Method, StatusCode};
use axum::response::{IntoResponse, Response};
use bytes::Bytes;

use super::app_body::Content;
use crate::access::AccessError;
use crate::http::Problem;
use crate::ingest::Ingest;
use crate::ingest::formats::{Format, Upload, osmand, traccar, without_secret};

/// A fix from Traccar Client, OsmAnd, GPSLogger: `id` (device token), `lat`, `lon`, `timestamp`, …
#[utoipa::path(
    get,
    path = "/osmand",
    tag = "phone",
    params(
        ("id" = String, Query, description = "Device token; `deviceid` does as well"),
        ("lat" = Option<f64>, Query, description = "Degrees; without it, a heartbeat"),
        ("lon" = Option<f64>, Query, description = "Degrees"),
        ("timestamp" = Option<String>, Query, description = "Unix s or ms, ISO 8601; else now"),
        ("speed" = Option<f64>, Query, description = "In the device's unit, knots unless set"),
    ),
    responses(
        (status = 200, description = "Taken, or put in quarantine; empty"),
        (status = 401, description = "Not a device token", body = Problem),
        (status = 503, description = "Busy; send it again after Retry-After", body = Problem),
    )
)]
pub(super) async fn osmand_get(State(ingest): State<Ingest>, request: Request) -> Response {
    osmand_answer(&ingest, request).await
}

/// The same with the pairs in the query or a form, or the JSON of Traccar Client 9 and later.
#[utoipa::path(
    post,
    path = "/osmand",
    tag = "phone",
    params(("id" = Option<String>, Query, description = "Device token, if not in the body")),
    request_body(content = String, content_type = "application/x-www-form-urlencoded"),
    responses(
        (status = 200, description = "Taken, or put in quarantine; empty"),
        (status = 401, description = "Not a device token", body = Problem),
        (status = 503, description = "Busy; send it again after Retry-After", body = Problem),
    )
)]
pub(super) async fn osmand_post(State(ingest): State<Ingest>, request: Request) -> Response {
    osmand_answer(&ingest, request).await
}

async fn osmand_answer(ingest: &Ingest, request: Request) -> Response {
    osmand_upload(ingest, request)
        .await
        .unwrap_or_else(IntoResponse::into_response)
}

async fn osmand_upload(ingest: &Ingest, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let query = parts.uri.query().unwrap_or_default().as_bytes();
    // With the token in the query a stranger's body is not read at all.
    let mut token = osmand::token(query).map(|token| token.into_owned());
    let mut device = None;
    if let Some(token) = &token {
        device = Some(ingest.0.access.device(token).await?);
    }
    let content = if parts.method == Method::POST {
        ingest.read_for_app(&parts.headers, body).await?
    } else {
        Content::Whole(Bytes::new())
    };
    let is_json = is_json(&parts.headers, content.bytes());
    if device.is_none() {
        let found = if is_json {
            traccar::token(content.bytes())
        } else {
            osmand::token(content.bytes()).map(|token| token.into_owned())
        };
        let found = found.ok_or(AccessError::Unauthorized)?;
        device = Some(ingest.0.access.device(&found).await?);
        token = Some(found);
    }
    let (Some(device), Some(token)) = (device, token) else {
        return Err(AccessError::Unauthorized.into());
    };
    let now = ingest.now();
    let limits = ingest.limits(now);
    let format = if is_json {
        Format::Traccar
    } else {
        Format::OsmAnd
    };
    let upload = match &content {
        Content::Whole(body) if is_json => traccar::parse(body, &token, &limits),
        Content::Whole(form) => osmand::parse(query, form, device.speed_unit, &limits),
        Content::Unread {
            beginning, reason, ..
        } => Upload::unreadable(*reason, without_secret(beginning, &token)),
    };
    ingest.admit_from_app(&device, now, format, upload).await?;
    Ok(content.answer(StatusCode::OK))
}

fn is_json(headers: &HeaderMap, body: &[u8]) -> bool {
    let declared = headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok());
    declared.is_some_and(|v| v.trim_start().starts_with("application/json"))
        || matches!(body.trim_ascii_start().first(), Some(b'{' | b'['))
}
