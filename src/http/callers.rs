//! Who calls, as arguments of handlers: a handler that takes one of these lets nobody else in.
//!
//! [`Access`] is found in the request's extensions, where the router puts it. Staff come with an API
//! key (`Authorization: Bearer`) or with the session cookie; a cookie is sent by browsers on their
//! own, so that changes made with it need the session's CSRF token in `X-CSRF-Token` as well.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::{AUTHORIZATION, COOKIE};
use axum::http::request::Parts;
use axum::http::{Method, StatusCode};

use super::Problem;
use crate::access::{Access, AccessError, Staff, csrf_token, same_text};
use crate::directory::{Device, Link, Role};

/// The cookie of a signed-in browser.
pub const SESSION_COOKIE: &str = "waylog_session";
/// The header that shows that a change comes from our own page.
pub const CSRF_HEADER: &str = "x-csrf-token";

/// An analyst, dispatcher or admin.
pub struct AsAnalyst(pub Staff);
/// A dispatcher or admin.
pub struct AsDispatcher(pub Staff);
/// An admin.
pub struct AsAdmin(pub Staff);
/// A courier's phone.
pub struct AsDevice(pub Arc<Device>);
/// A customer with a tracking link.
pub struct AsLink(pub Arc<Link>);

/// The bearer token of a request.
#[must_use]
pub fn bearer(parts: &Parts) -> Option<&str> {
    let value = parts.headers.get(AUTHORIZATION)?.to_str().ok()?;
    let (scheme, token) = value.split_once(' ')?;
    scheme.eq_ignore_ascii_case("bearer").then(|| token.trim())
}

/// The session cookie of a request.
#[must_use]
pub fn session_cookie(parts: &Parts) -> Option<&str> {
    let cookies = parts
        .headers
        .get_all(COOKIE)
        .iter()
        .filter_map(|value| value.to_str().ok());
    let mut pairs = cookies
        .flat_map(|value| value.split(';'))
        .filter_map(|p| p.split_once('='));
    pairs
        .find(|(name, _)| name.trim() == SESSION_COOKIE)
        .map(|(_, value)| value.trim())
}

/// The credential that staff came with: the key, or else the cookie.
#[must_use]
pub fn credential(parts: &Parts) -> Option<&str> {
    bearer(parts).or_else(|| session_cookie(parts))
}

fn access(parts: &Parts) -> Result<&Access, AccessError> {
    let access = parts.extensions.get::<Arc<Access>>();
    access
        .map(|access| &**access)
        .ok_or(AccessError::Unavailable)
}

fn staff(parts: &Parts, at_least: Role) -> Result<Staff, Problem> {
    let access = access(parts)?;
    let staff = if let Some(key) = bearer(parts) {
        access.staff(key)?
    } else {
        let session = session_cookie(parts).ok_or(AccessError::Unauthorized)?;
        let staff = access.session(session)?;
        check_csrf(parts, session)?;
        staff
    };
    access.count(&staff)?;
    if staff.role < at_least {
        return Err(AccessError::Forbidden.into());
    }
    Ok(staff)
}

fn check_csrf(parts: &Parts, session: &str) -> Result<(), Problem> {
    if matches!(parts.method, Method::GET | Method::HEAD | Method::OPTIONS) {
        return Ok(());
    }
    let sent = parts
        .headers
        .get(CSRF_HEADER)
        .and_then(|value| value.to_str().ok());
    if sent.is_some_and(|sent| same_text(sent, &csrf_token(session))) {
        return Ok(());
    }
    let detail = "a change made with the session cookie needs the csrf_token of GET /v1/me in the \
                  header X-CSRF-Token";
    Err(Problem::new(StatusCode::FORBIDDEN, "csrf", detail))
}

macro_rules! staff_extractor {
    ($name:ident, $role:expr) => {
        impl<S: Send + Sync> FromRequestParts<S> for $name {
            type Rejection = Problem;
            async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
                Ok(Self(staff(parts, $role)?))
            }
        }
    };
}

staff_extractor!(AsAnalyst, Role::Analyst);
staff_extractor!(AsDispatcher, Role::Dispatcher);
staff_extractor!(AsAdmin, Role::Admin);

impl<S: Send + Sync> FromRequestParts<S> for AsDevice {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let token = bearer(parts).ok_or(AccessError::Unauthorized)?;
        Ok(Self(access(parts)?.device(token).await?))
    }
}

impl<S: Send + Sync> FromRequestParts<S> for AsLink {
    type Rejection = Problem;

    async fn from_request_parts(parts: &mut Parts, _: &S) -> Result<Self, Problem> {
        let token = bearer(parts).ok_or(AccessError::Unauthorized)?;
        Ok(Self(access(parts)?.link_or_gone(token).await?))
    }
}
