//! Who calls, as arguments of handlers: a handler that takes one of these lets nobody else in.
//!
//! [`Access`] is found in the request's extensions, where the router puts it.

use std::sync::Arc;

use axum::extract::FromRequestParts;
use axum::http::header::AUTHORIZATION;
use axum::http::request::Parts;

use super::Problem;
use crate::access::{Access, AccessError, Staff};
use crate::directory::{Device, Link, Role};

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

fn access(parts: &Parts) -> Result<Arc<Access>, AccessError> {
    parts
        .extensions
        .get::<Arc<Access>>()
        .cloned()
        .ok_or(AccessError::Unavailable)
}

fn staff(parts: &Parts, at_least: Role) -> Result<Staff, AccessError> {
    let key = bearer(parts).ok_or(AccessError::Unauthorized)?;
    let staff = access(parts)?.staff(key)?;
    if staff.role < at_least {
        return Err(AccessError::Forbidden);
    }
    Ok(staff)
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
        Ok(Self(access(parts)?.link(token)?))
    }
}
