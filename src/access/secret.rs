//! Secrets: made here, shown once, kept as hashes.

use std::sync::Arc;

use parking_lot::Mutex;
use rand::rngs::{StdRng, SysRng};
use rand::{Rng, SeedableRng};
use sha2::{Digest, Sha256};
use subtle::ConstantTimeEq;
use uuid::Uuid;

use crate::directory::TokenHash;

/// Random bytes of a secret: 160 bits.
const SECRET_BYTES: usize = 20;
/// Characters of a secret that lists may show.
const PREFIX_LEN: usize = 8;
/// Lower-case base 32 without look-alikes (Crockford's alphabet): safe in URLs, readable aloud.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

/// What a secret is for; its first letters tell people and scanners.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum SecretKind {
    /// `wld_`: a phone.
    Device,
    /// `wlt_`: a customer's link.
    Link,
    /// `wlk_`: an API key.
    ApiKey,
    /// `wls_`: a browser session.
    Session,
    /// `wlj_`: joining or signing in once.
    OneTime,
}

impl SecretKind {
    fn prefix(self) -> &'static str {
        match self {
            Self::Device => "wld_",
            Self::Link => "wlt_",
            Self::ApiKey => "wlk_",
            Self::Session => "wls_",
            Self::OneTime => "wlj_",
        }
    }

    /// Whether `text` looks like a secret of this kind.
    #[must_use]
    pub fn is_form_of(self, text: &str) -> bool {
        text.strip_prefix(self.prefix()).is_some_and(|random| {
            random.len() == SECRET_BYTES * 8 / 5 && random.bytes().all(|b| ALPHABET.contains(&b))
        })
    }
}

/// Where secrets come from: a generator seeded by the operating system, or by a test.
#[derive(Clone)]
pub struct Chance(Arc<Mutex<StdRng>>);

impl Chance {
    /// Seeded by the operating system.
    ///
    /// # Errors
    /// If the operating system has no randomness to give.
    pub fn from_system() -> anyhow::Result<Self> {
        let rng = StdRng::try_from_rng(&mut SysRng)?;
        Ok(Self(Arc::new(Mutex::new(rng))))
    }

    /// A generator of its own for somebody else, seeded from this one.
    #[must_use]
    pub fn rng(&self) -> StdRng {
        StdRng::from_seed(self.bytes())
    }

    /// The same secrets every time: for tests alone.
    #[cfg(test)]
    pub(crate) fn seeded(seed: u64) -> Self {
        Self(Arc::new(Mutex::new(StdRng::seed_from_u64(seed))))
    }

    /// A new secret.
    #[must_use]
    pub fn issue(&self, kind: SecretKind) -> IssuedSecret {
        issue(kind, &mut *self.0.lock())
    }

    /// A new number, later ones greater (UUIDv7).
    #[must_use]
    pub fn number(&self, now_ms: i64) -> Uuid {
        let millis = u64::try_from(now_ms).unwrap_or_default();
        uuid::Builder::from_unix_timestamp_millis(millis, &self.bytes()).into_uuid()
    }

    /// Random bytes.
    #[must_use]
    pub fn bytes<const N: usize>(&self) -> [u8; N] {
        let mut bytes = [0; N];
        self.0.lock().fill_bytes(&mut bytes);
        bytes
    }
}

impl std::fmt::Debug for Chance {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("Chance")
    }
}

/// A new secret. `secret` is shown to its owner once and then forgotten.
pub struct IssuedSecret {
    /// The secret itself.
    pub secret: String,
    /// What is stored.
    pub hash: TokenHash,
    /// What lists show.
    pub prefix: String,
}

/// Makes a secret from `rng`, which must be cryptographically secure.
pub fn issue(kind: SecretKind, rng: &mut impl Rng) -> IssuedSecret {
    let mut bytes = [0_u8; SECRET_BYTES];
    rng.fill_bytes(&mut bytes);
    let secret = format!("{}{}", kind.prefix(), base32(&bytes));
    IssuedSecret {
        hash: hash_secret(&secret),
        prefix: secret.chars().take(PREFIX_LEN).collect(),
        secret,
    }
}

/// What is stored and looked up instead of a secret.
#[must_use]
pub fn hash_secret(secret: &str) -> TokenHash {
    TokenHash(Sha256::digest(secret.as_bytes()).into())
}

/// What a page sends back with every change, to show that it is ours: derived from the session, so
/// that it need not be stored, and of no use without it.
#[must_use]
pub fn csrf_token(session: &str) -> String {
    let mut hash = Sha256::new();
    hash.update(b"waylog csrf token\0");
    hash.update(session.as_bytes());
    base32(&hash.finalize()[..SECRET_BYTES])
}

/// What a session remembers of the bootstrap key that it was begun with.
pub(super) fn mark_of(key: &TokenHash) -> TokenHash {
    let mut hash = Sha256::new();
    hash.update(b"waylog bootstrap key\0");
    hash.update(key.0);
    TokenHash(hash.finalize().into())
}

/// Whether two texts are the same, in a time that does not tell where they differ.
#[must_use]
pub fn same_text(a: &str, b: &str) -> bool {
    a.as_bytes().ct_eq(b.as_bytes()).into()
}

/// Eight characters for every five bytes.
fn base32(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len() / 5 * 8);
    for group in bytes.chunks_exact(5) {
        let bits = group
            .iter()
            .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for shift in (0..8).rev() {
            text.push(char::from(ALPHABET[(bits >> (shift * 5) & 31) as usize]));
        }
    }
    text
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    #[test]
    fn secrets_are_long_distinct_and_found_again_by_hash() {
        let mut rng = rand::rngs::StdRng::seed_from_u64(1);
        let (a, b) = (
            issue(SecretKind::Device, &mut rng),
            issue(SecretKind::Device, &mut rng),
        );
        assert_ne!(a.secret, b.secret);
        assert_eq!(a.secret.len(), 4 + 32);
        assert_eq!(hash_secret(&a.secret), a.hash);
        assert!(a.secret.starts_with(&a.prefix) && a.prefix.len() < 10);
        assert!(SecretKind::Device.is_form_of(&a.secret));
        assert!(!SecretKind::Link.is_form_of(&a.secret));
        assert!(!SecretKind::Device.is_form_of(&a.secret[..a.secret.len() - 1]));
    }

    #[test]
    fn a_csrf_token_belongs_to_its_session() {
        assert_eq!(csrf_token("a"), csrf_token("a"));
        assert_ne!(csrf_token("a"), csrf_token("b"));
        assert!(same_text("abc", "abc") && !same_text("abc", "abd") && !same_text("a", "ab"));
    }
}
