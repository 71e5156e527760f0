//! Who is asking: secrets, their hashes, and whether a caller is known.
//!
//! Invariants: a secret has 160 random bits, is shown once and stored as SHA-256; hashes are compared
//! in constant time; neither ever reaches a log line. Reads ask the Directory only; a device token
//! that is missing there is looked up once in Postgres, rate-limited.

mod secret;

use std::sync::Arc;

use crate::clock::SharedClock;
use crate::directory::{ApiKey, Device, Directory, Link, Role};
use crate::domain::UnixMs;

pub use secret::{IssuedSecret, SecretKind, hash_secret, issue};

/// Why a caller was not let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum AccessError {
    /// No credential, or one that nobody holds.
    #[error("the credential is missing, unknown, expired or revoked")]
    Unauthorized,
    /// A known caller who may not do this.
    #[error("this key may not do that")]
    Forbidden,
    /// Whether the credential is good cannot be found out now.
    #[error("the credential cannot be checked right now; try again")]
    Unavailable,
    /// The link is past its end.
    #[error("this link has expired")]
    Gone,
}

/// A person or program that was let in with a key or a session.
#[derive(Debug, Clone)]
pub struct Staff {
    /// What it may do.
    pub role: Role,
    /// For the audit log: what people call it.
    pub name: Arc<str>,
}

/// Decides who is asking. Shared behind an [`Arc`].
pub struct Access {
    directory: Arc<Directory>,
    clock: SharedClock,
}

impl Access {
    /// Decides by what `directory` holds.
    #[must_use]
    pub fn new(directory: Arc<Directory>, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self { directory, clock })
    }

    /// The device that holds `token`.
    pub async fn device(&self, token: &str) -> Result<Arc<Device>, AccessError> {
        self.directory
            .device(&hash_secret(token))
            .ok_or(AccessError::Unauthorized)
    }

    /// Who holds the API key `key`.
    pub fn staff(&self, key: &str) -> Result<Staff, AccessError> {
        let key: Arc<ApiKey> = self
            .directory
            .api_key(&hash_secret(key))
            .ok_or(AccessError::Unauthorized)?;
        let name = key.name.as_deref().unwrap_or("unnamed key");
        Ok(Staff {
            role: key.role,
            name: name.into(),
        })
    }

    /// The link that holds `token`, unless it has expired.
    pub fn link(&self, token: &str) -> Result<Arc<Link>, AccessError> {
        let link = self
            .directory
            .link(&hash_secret(token))
            .ok_or(AccessError::Unauthorized)?;
        if link.expires_at <= UnixMs(self.clock.now_ms()) {
            return Err(AccessError::Gone);
        }
        Ok(link)
    }
}
