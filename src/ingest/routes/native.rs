//! `POST /v1/positions`.

use axum::extract::{Request, State};
use axum::http::StatusCode;
use axum::response::{IntoResponse, Response};
use serde::Serialize;

use super::closing;
use crate::access::AccessError;
use crate::http::{Problem, bearer};
use crate::ingest::Ingest;
use crate::ingest::admission::Admitted;
use crate::ingest::advice::Advice;
use crate::ingest::formats::{Format, native};

/// A fix in the native format. The body is one, an array of them, or `{"fixes":[…]}`.
#[derive(utoipa::ToSchema)]
#[expect(
    dead_code,
    reason = "describes the body; fixes are read by `formats::native`"
)]
struct NativeFix {
    /// Device GPS time: RFC 3339, or Unix milliseconds.
    fix_time: String,
    /// Degrees, WGS 84.
    lat: f64,
    /// Degrees, WGS 84.
    lon: f64,
    /// Radius of accuracy, metres.
    accuracy_m: Option<f32>,
    /// Speed over ground, metres a second.
    speed_mps: Option<f32>,
    /// Heading, degrees from north, clockwise.
    heading_deg: Option<f32>,
    /// Altitude, metres.
    altitude_m: Option<f32>,
    /// Battery, percent.
    battery_pct: Option<u8>,
}

/// What became of an upload.
#[derive(Serialize, utoipa::ToSchema)]
struct Answer {
    /// Fixes stored.
    accepted: usize,
    /// Fixes that were there already.
    duplicate: usize,
    /// Fixes put in quarantine.
    quarantined: Vec<QuarantinedFix>,
    /// Fixes not stored because the courier is off duty.
    #[serde(skip_serializing_if = "is_zero")]
    off_duty: usize,
    /// How often to send from now on.
    next: Advice,
}

/// A fix put in quarantine.
#[derive(Serialize, utoipa::ToSchema)]
struct QuarantinedFix {
    /// Its place in the upload, from 0.
    index: usize,
    /// Why.
    reason: String,
}

#[expect(
    clippy::trivially_copy_pass_by_ref,
    reason = "the signature that serde asks for"
)]
fn is_zero(n: &usize) -> bool {
    *n == 0
}

impl Answer {
    fn new(admitted: Admitted, next: Advice) -> Self {
        let quarantined = admitted.quarantined.into_iter().map(|bad| QuarantinedFix {
            index: bad.index,
            reason: bad.reason.to_string(),
        });
        Self {
            accepted: admitted.accepted,
            duplicate: admitted.duplicate,
            quarantined: quarantined.collect(),
            off_duty: admitted.off_duty,
            next,
        }
    }
}

/// Fixes from a phone: one, an array, or an object with `fixes`; JSON, also as gzip, br or zstd.
///
/// 200 means that they are on disk. Bad fixes are named in the answer and cost the others nothing.
#[utoipa::path(
    post,
    path = "/v1/positions",
    tag = "phone",
    request_body(content = Vec<NativeFix>, content_type = "application/json"),
    responses(
        (status = 200, body = Answer),
        (status = 400, description = "Not JSON, or not fixes", body = Problem),
        (status = 401, description = "Not a device token", body = Problem),
        (status = 408, description = "The body did not arrive in time", body = Problem),
        (status = 413, description = "Over 1 MiB, or over 1,000 fixes", body = Problem),
        (status = 415, description = "An unknown Content-Encoding", body = Problem),
        (status = 503, description = "Busy; send it again after Retry-After", body = Problem),
    ),
    security(("device" = []))
)]
pub(super) async fn positions(State(ingest): State<Ingest>, request: Request) -> Response {
    match native_upload(&ingest, request).await {
        Ok(response) => response,
        // A body that was not read to its end leaves the connection unusable.
        Err(problem) if matches!(problem.status, 408 | 413 | 415) => closing(problem),
        Err(problem) => problem.into_response(),
    }
}

async fn native_upload(ingest: &Ingest, request: Request) -> Result<Response, Problem> {
    let (parts, body) = request.into_parts();
    let token = bearer(&parts).ok_or(AccessError::Unauthorized)?;
    let device = ingest.0.access.device(token).await?;
    let body = ingest.0.bodies.read(&parts.headers, body).await?;
    let now = ingest.now();
    let upload = native::parse(&body, &ingest.limits(now)).map_err(|error| match error {
        native::Unreadable::TooMany(_) => Problem::new(
            StatusCode::PAYLOAD_TOO_LARGE,
            "too_many_fixes",
            error.to_string(),
        ),
        native::Unreadable::NotAnUpload(_) => Problem::bad_request(error.to_string()),
    })?;
    drop(body);
    let newest = upload.fixes.iter().max_by_key(|fix| fix.fix_time).copied();
    let sender = ingest.sender(&device, now, Format::Native);
    let on_duty = sender.on_duty;
    let admitted = ingest.0.admission.admit(sender, upload).await?;
    let advisor = &ingest.0.advisor;
    let next = advisor.advise(&device.courier_id, on_duty, newest.as_ref(), now);
    Ok(axum::Json(Answer::new(admitted, next)).into_response())
}
