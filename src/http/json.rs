//! JSON bodies whose errors are problems that name the field.

use axum::Json;
use axum::body::Bytes;
use axum::extract::rejection::{BytesRejection, JsonRejection};
use axum::extract::{FromRequest, Request};
use axum::http::{HeaderMap, StatusCode, header};
use serde::de::DeserializeOwned;

use super::Problem;

/// A JSON body. Refused as a [`Problem`]: 400 unreadable, 413 too large, 415 not JSON, 422 a field
/// of the wrong type.
pub struct ApiJson<T>(pub T);

/// A JSON body together with its bytes. An empty body is an empty object.
pub struct ApiBytes<T> {
    /// As it was sent.
    pub bytes: Bytes,
    /// As it was read.
    pub value: T,
}

impl<S, T> FromRequest<S> for ApiJson<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        Ok(Self(ApiBytes::from_request(request, state).await?.value))
    }
}

impl<S, T> FromRequest<S> for ApiBytes<T>
where
    S: Send + Sync,
    T: DeserializeOwned,
{
    type Rejection = Problem;

    async fn from_request(request: Request, state: &S) -> Result<Self, Problem> {
        let json = is_json(request.headers());
        let bytes = Bytes::from_request(request, state)
            .await
            .map_err(|r| unread(&r))?;
        if bytes.is_empty() {
            let value = serde_json::from_str("{}");
            let value =
                value.map_err(|_| Problem::bad_request("the body must be a JSON object"))?;
            return Ok(Self { bytes, value });
        }
        if !json {
            return Err(Problem::new(
                StatusCode::UNSUPPORTED_MEDIA_TYPE,
                "not_json",
                "the body must be JSON, with the header Content-Type: application/json",
            ));
        }
        match Json::from_bytes(&bytes) {
            Ok(Json(value)) => Ok(Self { bytes, value }),
            Err(rejection) => Err(unreadable(&rejection)),
        }
    }
}

fn is_json(headers: &HeaderMap) -> bool {
    let kind = headers
        .get(header::CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let kind = kind
        .and_then(|kind| kind.split(';').next())
        .unwrap_or_default();
    let kind = kind.trim().to_ascii_lowercase();
    kind == "application/json" || (kind.starts_with("application/") && kind.ends_with("+json"))
}

fn unread(rejection: &BytesRejection) -> Problem {
    match rejection.status() {
        StatusCode::PAYLOAD_TOO_LARGE => Problem::new(
            rejection.status(),
            "too_large",
            "the body is too large for this route",
        ),
        _ => Problem::bad_request("the body did not arrive in full"),
    }
}

fn unreadable(rejection: &JsonRejection) -> Problem {
    match rejection.status() {
        StatusCode::UNPROCESSABLE_ENTITY => Problem::invalid(rejection.body_text()),
        _ => Problem::bad_request(rejection.body_text()),
    }
}
