//! Secrets: made here, shown once, kept as hashes.

use rand::Rng;
use sha2::{Digest, Sha256};

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
    let mut secret = String::from(kind.prefix());
    for group in bytes.chunks_exact(5) {
        let bits = group
            .iter()
            .fold(0_u64, |bits, byte| bits << 8 | u64::from(*byte));
        for shift in (0..8).rev() {
            secret.push(char::from(ALPHABET[(bits >> (shift * 5) & 31) as usize]));
        }
    }
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
    }
}
