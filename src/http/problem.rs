//! Errors as RFC 9457 `application/problem+json`.

use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse, Response};
use metrics::counter;
use serde::Serialize;

use crate::access::AccessError;
use crate::telemetry::metrics::ACCESS_DENIED;

/// An error answer. `detail` tells the caller what to do and never holds a secret or a position.
#[derive(Debug, Clone, Serialize, utoipa::ToSchema)]
pub struct Problem {
    /// A short name of the kind of problem, stable for programs.
    #[serde(rename = "type")]
    pub kind: String,
    /// The status in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What is wrong and what to do.
    pub detail: String,
    /// Seconds after which to try again, also sent as Retry-After.
    #[serde(skip)]
    pub retry_after_s: Option<u32>,
}

impl Problem {
    /// A problem with this status; `kind` is a stable name such as `wrong_step`.
    #[must_use]
    pub fn new(status: StatusCode, kind: &str, detail: impl Into<String>) -> Self {
        Self {
            kind: format!("urn:waylog:{kind}"),
            title: status.canonical_reason().unwrap_or("Error").to_owned(),
            status: status.as_u16(),
            detail: detail.into(),
            retry_after_s: None,
        }
    }

    /// 400: the request cannot be understood.
    #[must_use]
    pub fn bad_request(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "bad_request", detail)
    }

    /// 404.
    #[must_use]
    pub fn not_found(what: &str) -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "not_found",
            format!("{what} does not exist"),
        )
    }

    /// 409: it exists already, or the state does not allow it.
    #[must_use]
    pub fn conflict(kind: &str, detail: impl Into<String>) -> Self {
        Self::new(StatusCode::CONFLICT, kind, detail)
    }

    /// 422: understood, but a value is not allowed.
    #[must_use]
    pub fn invalid(detail: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "invalid", detail)
    }

    /// 500; the log says why.
    #[must_use]
    pub fn internal() -> Self {
        let detail = "the server failed; its log says why";
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "internal", detail)
    }

    /// The same problem, said of a part of the request.
    #[must_use]
    pub fn about(mut self, part: &str) -> Self {
        self.detail = format!("{part}: {}", self.detail);
        self
    }

    /// 503 with Retry-After.
    #[must_use]
    pub fn unavailable(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self {
            retry_after_s: Some(retry_after_s),
            ..Self::new(StatusCode::SERVICE_UNAVAILABLE, "unavailable", detail)
        }
    }

    /// 429 with Retry-After.
    #[must_use]
    pub fn too_many(detail: impl Into<String>, retry_after_s: u32) -> Self {
        Self {
            retry_after_s: Some(retry_after_s),
            ..Self::new(StatusCode::TOO_MANY_REQUESTS, "too_many_requests", detail)
        }
    }
}

impl IntoResponse for Problem {
    fn into_response(self) -> Response {
        let status = StatusCode::from_u16(self.status).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
        let body = serde_json::to_vec(&self).unwrap_or_default();
        let content_type = HeaderValue::from_static("application/problem+json");
        let mut response = (status, [(header::CONTENT_TYPE, content_type)], body).into_response();
        if let Some(seconds) = self.retry_after_s {
            response
                .headers_mut()
                .insert(header::RETRY_AFTER, HeaderValue::from(seconds));
        }
        if status == StatusCode::UNAUTHORIZED {
            let scheme = HeaderValue::from_static("Bearer");
            response
                .headers_mut()
                .insert(header::WWW_AUTHENTICATE, scheme);
        }
        response
    }
}

impl From<AccessError> for Problem {
    fn from(error: AccessError) -> Self {
        let detail = error.to_string();
        let reason = match error {
            AccessError::Unauthorized => Some("unauthorized"),
            AccessError::Forbidden => Some("forbidden"),
            AccessError::Gone => Some("gone"),
            AccessError::TooMany(_) => Some("too_many"),
            AccessError::Unavailable => None,
        };
        if let Some(reason) = reason {
            counter!(ACCESS_DENIED, "reason" => reason).increment(1);
        }
        match error {
            AccessError::Unauthorized => {
                Self::new(StatusCode::UNAUTHORIZED, "unauthorized", detail)
            }
            AccessError::Forbidden => Self::new(StatusCode::FORBIDDEN, "forbidden", detail),
            AccessError::Gone => Self::new(StatusCode::GONE, "gone", detail),
            AccessError::Unavailable => Self::unavailable(detail, 5),
            AccessError::TooMany(wait_s) => Self::too_many(detail, wait_s),
        }
    }
}

impl From<sqlx::Error> for Problem {
    fn from(error: sqlx::Error) -> Self {
        match &error {
            sqlx::Error::Database(e) if e.constraint().is_some() => {
                constraint(e.constraint().unwrap_or_default(), e.is_unique_violation())
            }
            // A text that no text in Postgres can be, such as one with a NUL in it.
            sqlx::Error::Database(e) if matches!(e.code().as_deref(), Some("22021" | "22P05")) => {
                Self::invalid("a text must not hold control characters")
            }
            // Serialization failures and deadlocks: the other was first.
            sqlx::Error::Database(e) if matches!(e.code().as_deref(), Some("40001" | "40P01")) => {
                Self::unavailable("somebody else was changing the same; try again", 1)
            }
            sqlx::Error::Io(_) | sqlx::Error::PoolTimedOut | sqlx::Error::PoolClosed => {
                tracing::warn!(%error, "database out of reach");
                Self::unavailable("the database is out of reach; positions are still taken", 5)
            }
            _ => {
                tracing::error!(%error, "database request failed");
                Self::internal()
            }
        }
    }
}

/// What a named constraint of the schema says to a caller.
fn constraint(name: &str, unique: bool) -> Problem {
    let detail = match name {
        "courier_pkey" => "a courier with this id exists already",
        "delivery_pkey" => "a delivery with this id exists already",
        "geofence_pkey" => "a geofence with this id exists already",
        "account_username" => "a user with this name exists already",
        "account_username_form" => "username: 1 to 64 of A–Z a–z 0–9 . _ @ -",
        "delivery_courier" | "device_courier" | "one_time_code_courier" => {
            "there is no such courier"
        }
        "link_delivery" => "there is no such delivery",
        "delivery_window_order" => "window.to must not be before window.from",
        _ if unique => "it exists already",
        _ => "a value is not allowed here",
    };
    if unique {
        Problem::conflict("exists", detail)
    } else {
        Problem::invalid(detail)
    }
}
