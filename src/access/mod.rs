//! Who is asking: secrets, their hashes, and whether a caller is known.
//!
//! Invariants: a secret has 160 random bits, is shown once and stored as SHA-256; hashes are compared
//! in constant time; neither ever reaches a log line. Reads ask the Directory only; a device token
//! that is missing there is looked up once in Postgres, rate-limited (`missing.rs`). A password is
//! stored as argon2id and checked off the async threads (`password.rs`).

mod audit;
mod limits;
mod link_log;
mod missing;
mod password;
mod seal;
mod secret;
mod sign_in;

use std::sync::Arc;

use uuid::Uuid;

use crate::clock::SharedClock;
use crate::directory::{Device, Directory, Link, Role, Sync, TokenHash};
use crate::domain::UnixMs;
use missing::Missing;

pub use audit::audit;
pub use limits::Limits;
pub use link_log::{LinkChannel, LinkLog};
pub use password::{MAX_PASSWORD_LEN, MIN_PASSWORD_LEN, PasswordError, Passwords};
pub use seal::Sealed;
pub use secret::{Chance, IssuedSecret, SecretKind, csrf_token, hash_secret, issue, same_text};
pub use sign_in::SignInLimits;

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
    /// A known caller who asks more often than the settings allow.
    #[error("too many requests; wait {0} s")]
    TooMany(u32),
}

/// By what a person or program was let in.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LetInBy {
    /// The bootstrap admin key of the configuration.
    AdminKey,
    /// An API key.
    ApiKey(Uuid),
    /// A browser session.
    Session(Uuid),
}

/// A person or program that was let in with a key or a session.
#[derive(Debug, Clone)]
pub struct Staff {
    /// What it may do.
    pub role: Role,
    /// For the audit log: what people call it.
    pub name: Arc<str>,
    /// By what it was let in.
    pub by: LetInBy,
}

/// Decides who is asking. Shared behind an [`Arc`].
pub struct Access {
    directory: Arc<Directory>,
    clock: SharedClock,
    missing: Option<Missing>,
    admin: Option<AdminKey>,
    limits: Limits,
    link_log: LinkLog,
}

/// The bootstrap admin key, as hashes.
struct AdminKey {
    hash: TokenHash,
    /// What sessions remember of it: another key, another mark.
    mark: TokenHash,
}

impl Access {
    /// Decides by what `directory` holds, and by nothing else.
    #[must_use]
    pub fn new(directory: Arc<Directory>, clock: SharedClock) -> Arc<Self> {
        Arc::new(Self {
            directory,
            clock,
            missing: None,
            admin: None,
            limits: Limits::none(),
            link_log: LinkLog::default(),
        })
    }

    /// Decides by the Directory that `sync` keeps; asks Postgres once for device tokens that are not
    /// in it. `admin_key` is the bootstrap key of the configuration.
    #[must_use]
    pub fn over(
        sync: Sync,
        clock: SharedClock,
        admin_key: Option<&str>,
        limits: Limits,
    ) -> Arc<Self> {
        let admin = admin_key.map(|key| {
            let hash = hash_secret(key);
            AdminKey {
                hash,
                mark: secret::mark_of(&hash),
            }
        });
        Arc::new(Self {
            directory: sync.directory().clone(),
            clock: clock.clone(),
            missing: Some(Missing::new(sync, clock)),
            admin,
            limits,
            link_log: LinkLog::default(),
        })
    }

    /// How often somebody may ask.
    #[must_use]
    pub fn limits(&self) -> &Limits {
        &self.limits
    }

    /// Where looks through tracking links are noted.
    #[must_use]
    pub fn link_log(&self) -> &LinkLog {
        &self.link_log
    }

    /// The device that holds `token`; counts as one of its requests.
    ///
    /// # Errors
    /// [`AccessError::Unauthorized`] if nobody holds it; [`AccessError::Unavailable`] if that cannot
    /// be found out, as Postgres is away; [`AccessError::TooMany`].
    pub async fn device(&self, token: &str) -> Result<Arc<Device>, AccessError> {
        let hash = hash_secret(token);
        let device = match (self.directory.device(&hash), &self.missing) {
            (Some(device), _) => device,
            // What does not look like one of ours cannot be in Postgres either.
            (None, Some(missing)) if SecretKind::Device.is_form_of(token) => {
                missing.device(hash).await?
            }
            (None, _) => return Err(AccessError::Unauthorized),
        };
        self.limits
            .device(device.id)
            .map_err(AccessError::TooMany)?;
        Ok(device)
    }

    /// Counts a request of `staff`.
    ///
    /// # Errors
    /// [`AccessError::TooMany`].
    pub fn count(&self, staff: &Staff) -> Result<(), AccessError> {
        self.limits.staff(staff.by).map_err(AccessError::TooMany)
    }

    /// Who holds the API key `key`.
    pub fn staff(&self, key: &str) -> Result<Staff, AccessError> {
        let hash = hash_secret(key);
        if self.admin.as_ref().is_some_and(|admin| admin.hash == hash) {
            let name = Arc::from("bootstrap key");
            return Ok(Staff {
                role: Role::Admin,
                name,
                by: LetInBy::AdminKey,
            });
        }
        let key = self
            .directory
            .api_key(&hash)
            .ok_or(AccessError::Unauthorized)?;
        let name = key.name.as_deref().unwrap_or("unnamed key");
        Ok(Staff {
            role: key.role,
            name: name.into(),
            by: LetInBy::ApiKey(key.id),
        })
    }

    /// Who holds the session cookie `token`.
    pub fn session(&self, token: &str) -> Result<Staff, AccessError> {
        let session = self.directory.session(&hash_secret(token));
        let session = session.ok_or(AccessError::Unauthorized)?;
        if session.expires_at <= self.now() {
            return Err(AccessError::Unauthorized);
        }
        if session.admin_mark.is_some() && session.admin_mark != self.admin_mark() {
            return Err(AccessError::Unauthorized);
        }
        Ok(Staff {
            role: session.role,
            name: (*session.name).into(),
            by: LetInBy::Session(session.id),
        })
    }

    /// What a session that was begun with the bootstrap key remembers of it.
    #[must_use]
    pub fn admin_mark(&self) -> Option<TokenHash> {
        self.admin.as_ref().map(|admin| admin.mark)
    }

    /// The link that holds `token`, unless it has expired.
    pub fn link(&self, token: &str) -> Result<Arc<Link>, AccessError> {
        let link = self
            .directory
            .link(&hash_secret(token))
            .ok_or(AccessError::Unauthorized)?;
        if link.expires_at <= self.now() {
            return Err(AccessError::Gone);
        }
        Ok(link)
    }

    /// As [`Access::link`], but a link that was one long ago is [`AccessError::Gone`] and not
    /// unknown: Postgres remembers those that the Directory has dropped.
    pub async fn link_or_gone(&self, token: &str) -> Result<Arc<Link>, AccessError> {
        match (self.link(token), &self.missing) {
            (Err(AccessError::Unauthorized), Some(missing))
                if SecretKind::Link.is_form_of(token) =>
            {
                Err(missing.link(hash_secret(token)).await)
            }
            (decided, _) => decided,
        }
    }

    fn now(&self) -> UnixMs {
        UnixMs(self.clock.now_ms())
    }
}
