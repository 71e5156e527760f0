//! Two people changing one thing: versions as entity tags.

use axum::extract::FromRequestParts;
use axum::http::header::{ETAG, IF_MATCH};
use axum::http::request::Parts;
use axum::http::{HeaderMap, HeaderValue, StatusCode};

use super::Problem;

/// The version that the caller has seen, if the request names one by `If-Match`; `*` is any.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IfMatch(pub Option<i64>);

impl IfMatch {
    /// Refuses with 412 if the caller has seen another version than `current`.
    ///
    /// # Errors
    /// 412.
    pub fn check(self, current: i64) -> Result<(), Problem> {
        match self.0 {
            Some(seen) if seen != current => Err(Problem::new(
                StatusCode::PRECONDITION_FAILED,
                "changed_meanwhile",
                format!(
                    "somebody has changed it meanwhile: it is at version {current}; read it again"
                ),
            )),
            _ => Ok(()),
        }
    }
}

impl<S: Send + Sync> FromRequestParts<S> for IfMatch {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let Some(value) = parts.headers.get(IF_MATCH) else {
            return Ok(Self(None));
        };
        let text = value.to_str().unwrap_or_default().trim();
        if text == "*" {
            return Ok(Self(None));
        }
        let version = text.trim_matches('"').parse();
        let version = version.map_err(|_| {
            Problem::bad_request("If-Match must be an ETag as this API sends it, such as \"3\"")
        })?;
        Ok(Self(Some(version)))
    }
}

/// The header that tells `version`.
#[must_use]
pub fn etag(version: i64) -> HeaderMap {
    let mut headers = HeaderMap::with_capacity(1);
    if let Ok(value) = HeaderValue::try_from(format!("\"{version}\"")) {
        headers.insert(ETAG, value);
    }
    headers
}
