//! `POST /owntracks` and `POST /pub`: OwnTracks in HTTP mode.

use axum::extract::{Request, State};
use axum::http::header::{AUTHORIZATION, CONTENT_TYPE, WWW_AUTHENTICATE};
use axum::http::{HeaderMap, HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use base64::Engine;
use base64::prelude::BASE64_STANDARD;

use super::app_body::Content;
use crate::access::AccessError;
use crate::http::Problem;
use crate::ingest::Ingest;
use crate::ingest::formats::{Format, Upload, owntracks, without_secret};

/// A message of OwnTracks in HTTP mode; Basic credentials: courier id and device token.
#[utoipa::path(
    post,
    path = "/owntracks",
    tag = "phone",
    request_body(content = String, content_type = "application/json"),
    responses(
        (status = 200, description = "Taken, or put in quarantine; `[]`"),
        (status = 401, description = "Not this courier's device token", body = Problem),
        (status = 503, description = "Busy; send it again after Retry-After", body = Problem),
    ),
    security(("device_basic" = []))
)]
pub(super) async fn owntracks_post(State(ingest): State<Ingest>, request: Request) -> Response {
    owntracks_answer(&ingest, request).await
}

/// The same under OwnTracks' own path.
#[utoipa::path(
    post,
    path = "/pub",
    tag = "phone",
    request_body(content = String, content_type = "application/json"),
    responses(
        (status = 200, description = "Taken, or put in quarantine; `[]`"),
        (status = 401, description = "Not this courier's device token", body = Problem),
        (status = 503, description = "Busy; send it again after Retry-After", body = Problem),
    ),
    security(("device_basic" = []))
)]
pub(super) async fn pub_post(State(ingest): State<Ingest>, request: Request) -> Response {
    owntracks_answer(&ingest, request).await
}

async fn owntracks_answer(ingest: &Ingest, request: Request) -> Response {
    owntracks_upload(ingest, request)
        .await
        .unwrap_or_else(|problem| {
            let unauthorized = problem.status == StatusCode::UNAUTHORIZED.as_u16();
            let mut response = problem.into_response();
            if unauthorized {
                let scheme = HeaderValue::from_static("Basic realm=\"waylog\"");
                response.headers_mut().insert(WWW_AUTHENTICATE, scheme);
            }
            response
        })
}

async fn owntracks_upload(ingest: &Ingest, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let (user, token) = basic(&parts.headers).ok_or(AccessError::Unauthorized)?;
    let device = ingest.0.access.device(&token).await?;
    if device.courier_id.as_str() != user {
        return Err(AccessError::Unauthorized.into());
    }
    let content = ingest.read_for_app(&parts.headers, body).await?;
    let now = ingest.now();
    let upload = match &content {
        Content::Whole(body) => owntracks::parse(body, &ingest.limits(now)),
        Content::Unread {
            beginning, reason, ..
        } => Upload::unreadable(*reason, without_secret(beginning, &token)),
    };
    ingest
        .admit_from_app(&device, now, Format::OwnTracks, upload)
        .await?;
    let json = HeaderValue::from_static("application/json");
    Ok(content.answer(([(CONTENT_TYPE, json)], "[]")))
}

/// User and password of Basic credentials, split at the last colon: a courier id may hold one, a
/// device token does not.
fn basic(headers: &HeaderMap) -> Option<(String, String)> {
    let value = headers.get(AUTHORIZATION)?;
    let (scheme, encoded) = value.to_str().ok()?.split_once(' ')?;
    if !scheme.eq_ignore_ascii_case("basic") {
        return None;
    }
    let decoded = BASE64_STANDARD.decode(encoded.trim()).ok()?;
    let decoded = String::from_utf8(decoded).ok()?;
    let (user, password) = decoded.rsplit_once(':')?;
    Some((user.to_owned(), password.to_owned()))
}
