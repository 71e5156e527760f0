//! Ingest over HTTP: the native route, the OsmAnd protocol, OwnTracks, and the quarantine.

mod app_body;
mod native;
mod osmand;
mod owntracks;
mod quarantine;

use axum::Router;
use axum::http::header::CONNECTION;
use axum::http::{HeaderValue, StatusCode};
use axum::response::{IntoResponse, Response};
use axum::routing::get;
use utoipa_axum::router::OpenApiRouter;
use utoipa_axum::routes;

use super::Ingest;
use super::admission::{Refusal, Sender};
use super::body::BodyError;
use super::formats::{Format, Limits};
use crate::directory::Device;
use crate::domain::UnixMs;
use crate::http::Problem;

const DAY_MS: i64 = 86_400_000;

impl Ingest {
    /// The routes of the main port.
    pub fn routes(&self) -> OpenApiRouter {
        OpenApiRouter::new()
            .routes(routes!(native::positions))
            .routes(routes!(osmand::osmand_get, osmand::osmand_post))
            .routes(routes!(owntracks::owntracks_post))
            .routes(routes!(owntracks::pub_post))
            .routes(routes!(quarantine::quarantine_list))
            .with_state(self.clone())
    }

    /// The second port of the OsmAnd protocol, where apps post to `/`.
    pub fn osmand_port(&self) -> Router {
        Router::new()
            .route("/", get(osmand::osmand_get).post(osmand::osmand_post))
            .with_state(self.clone())
    }

    fn limits(&self, now: UnixMs) -> Limits {
        Limits {
            now,
            max_age_ms: i64::from(self.0.config.max_age_days) * DAY_MS,
            max_fixes: self.0.config.max_fixes,
        }
    }

    fn now(&self) -> UnixMs {
        UnixMs(self.0.clock.now_ms())
    }

    fn sender(&self, device: &Device, received_at: UnixMs, format: Format) -> Sender {
        let courier = self.0.directory.courier(&device.courier_id);
        Sender {
            courier: device.courier_id.clone(),
            on_duty: courier.is_none_or(|c| c.on_duty),
            received_at,
            format,
        }
    }
}

fn closing(response: impl IntoResponse) -> Response {
    let mut response = response.into_response();
    let close = HeaderValue::from_static("close");
    response.headers_mut().insert(CONNECTION, close);
    response
}

impl From<Refusal> for Problem {
    fn from(refusal: Refusal) -> Self {
        Self::unavailable(refusal.to_string(), refusal.retry_after_s())
    }
}

impl From<BodyError> for Problem {
    fn from(error: BodyError) -> Self {
        let detail = error.to_string();
        match error {
            BodyError::TooLarge { .. } => {
                Self::new(StatusCode::PAYLOAD_TOO_LARGE, "too_large", detail)
            }
            BodyError::Slow(_) => Self::new(StatusCode::REQUEST_TIMEOUT, "slow_body", detail),
            BodyError::UnknownEncoding => {
                Self::new(StatusCode::UNSUPPORTED_MEDIA_TYPE, "encoding", detail)
            }
            BodyError::Busy => Self::unavailable(detail, 1),
            BodyError::Broken | BodyError::Undecodable { .. } => Self::bad_request(detail),
        }
    }
}
