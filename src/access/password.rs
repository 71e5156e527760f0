//! Passwords: argon2id, computed off the async threads, few at a time.

use std::sync::Arc;

use argon2::Argon2;
use argon2::password_hash::{PasswordHasher, PasswordVerifier};
use tokio::sync::Semaphore;

use super::Chance;

/// Shortest password that is taken, characters.
pub const MIN_PASSWORD_LEN: usize = 10;
/// Longest password that is taken, bytes: hashing must not be a way to keep the server busy.
pub const MAX_PASSWORD_LEN: usize = 256;
/// Hashes computed at once; each takes 19 MiB and some tens of milliseconds of a core.
const AT_ONCE: usize = 2;
/// Hashes that may wait; more are refused.
const WAITING: usize = 32;

/// Why a password was not hashed or checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PasswordError {
    /// Too short or too long.
    #[error(
        "a password has at least {MIN_PASSWORD_LEN} characters and at most {MAX_PASSWORD_LEN} bytes"
    )]
    Length,
    /// Too many are being checked.
    #[error("too many sign-ins at once; try again")]
    Busy,
    /// The hash function failed, or a stored hash cannot be read.
    #[error("the password cannot be checked")]
    Failed,
}

/// Hashes and checks passwords. Cheap to clone.
#[derive(Clone)]
pub struct Passwords {
    computing: Arc<Semaphore>,
    waiting: Arc<Semaphore>,
    chance: Chance,
    /// What a password is compared with when there is no such user, so that the time tells nothing.
    nobody: Arc<tokio::sync::OnceCell<String>>,
}

impl Passwords {
    /// Takes salts from `chance`.
    #[must_use]
    pub fn new(chance: Chance) -> Self {
        Self {
            computing: Arc::new(Semaphore::new(AT_ONCE)),
            waiting: Arc::new(Semaphore::new(AT_ONCE + WAITING)),
            chance,
            nobody: Arc::default(),
        }
    }

    /// The PHC string to be stored for `password`.
    pub async fn hash(&self, password: String) -> Result<String, PasswordError> {
        let long_enough = password.chars().count() >= MIN_PASSWORD_LEN;
        if !long_enough || password.len() > MAX_PASSWORD_LEN {
            return Err(PasswordError::Length);
        }
        let salt: [u8; 16] = self.chance.bytes();
        self.compute(move || {
            let hash = Argon2::default().hash_password_with_salt(password.as_bytes(), &salt);
            hash.map(|hash| hash.to_string())
                .map_err(|_| PasswordError::Failed)
        })
        .await
    }

    /// Whether `password` is the one stored as `stored`; takes as long where nothing is stored.
    pub async fn verify(
        &self,
        password: String,
        stored: Option<String>,
    ) -> Result<bool, PasswordError> {
        if password.len() > MAX_PASSWORD_LEN {
            return Ok(false);
        }
        let exists = stored.is_some();
        let stored = match stored {
            Some(stored) => stored,
            None => {
                let nobody = || self.hash("a password that nobody has".to_owned());
                self.nobody.get_or_try_init(nobody).await?.clone()
            }
        };
        let matches = self.compute(move || {
            Ok(Argon2::default()
                .verify_password(password.as_bytes(), stored.as_str())
                .is_ok())
        });
        Ok(matches.await? && exists)
    }

    async fn compute<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> Result<T, PasswordError> + Send + 'static,
    ) -> Result<T, PasswordError> {
        let _waiting = self
            .waiting
            .try_acquire()
            .map_err(|_| PasswordError::Busy)?;
        let computing = self.computing.clone().acquire_owned().await;
        let computing = computing.map_err(|_| PasswordError::Failed)?;
        // The permit goes with the work, which goes on even if nobody waits for it any more.
        let work = tokio::task::spawn_blocking(move || {
            let _computing = computing;
            work()
        });
        work.await.map_err(|_| PasswordError::Failed)?
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn a_password_is_found_again_and_no_other() {
        let passwords = Passwords::new(Chance::seeded(7));
        let stored = passwords
            .hash("correct horse".to_owned())
            .await
            .expect("hashed");
        assert!(stored.starts_with("$argon2id$"), "{stored}");
        let other = passwords
            .hash("correct horse".to_owned())
            .await
            .expect("hashed");
        assert_ne!(stored, other, "salted");
        let verify = |password: &str, stored: Option<&String>| {
            passwords.verify(password.to_owned(), stored.cloned())
        };
        assert_eq!(verify("correct horse", Some(&stored)).await, Ok(true));
        assert_eq!(verify("correct hors", Some(&stored)).await, Ok(false));
        assert_eq!(verify("a password that nobody has", None).await, Ok(false));
        assert_eq!(verify(&"x".repeat(10_000), Some(&stored)).await, Ok(false));
    }

    #[tokio::test]
    async fn bad_lengths_are_refused() {
        let passwords = Passwords::new(Chance::seeded(7));
        for password in ["short".to_owned(), "x".repeat(MAX_PASSWORD_LEN + 1)] {
            assert_eq!(passwords.hash(password).await, Err(PasswordError::Length));
        }
    }
}
