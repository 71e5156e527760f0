//! A 201, as it is sent and as it is kept for the same Idempotency-Key.

use axum::Json;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Problem, etag};

/// What a request that creates is answered.
#[derive(Debug, Serialize, Deserialize)]
pub struct Answer {
    location: String,
    version: Option<i64>,
    body: Value,
}

impl Answer {
    /// It is at `location` now; `version` becomes its ETag, if it has one.
    ///
    /// # Errors
    /// If `body` is nothing that JSON can say.
    pub fn created<T: Serialize>(
        location: String,
        version: Option<i64>,
        body: &T,
    ) -> Result<Self, Problem> {
        let body = serde_json::to_value(body).map_err(|error| {
            tracing::error!(%error, "an answer cannot be written as JSON");
            Problem::internal()
        })?;
        Ok(Self {
            location,
            version,
            body,
        })
    }
}

impl IntoResponse for Answer {
    fn into_response(self) -> Response {
        let mut response =
            (StatusCode::CREATED, self.version.map(etag), Json(self.body)).into_response();
        if let Ok(location) = HeaderValue::try_from(self.location) {
            response.headers_mut().insert(header::LOCATION, location);
        }
        response
    }
}
