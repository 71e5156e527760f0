//! Secrets and signatures as Standard Webhooks has them.

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, KeyInit, Mac};
use rand::Rng;
use sha2::Sha256;

/// What a secret begins with when it is shown.
const PREFIX: &str = "whsec_";
/// Random bytes of a new secret.
const BYTES: usize = 32;

/// What a webhook's calls are signed with. Never printed but at its creation.
#[derive(Clone, PartialEq, Eq)]
pub(in super::super) struct WebhookSecret(Vec<u8>);

impl WebhookSecret {
    /// A new one; `rng` must be cryptographically secure.
    pub(in super::super) fn issue(rng: &mut impl Rng) -> Self {
        let mut bytes = vec![0; BYTES];
        rng.fill_bytes(&mut bytes);
        Self(bytes)
    }

    /// As it was stored.
    pub(in super::super) fn from_stored(bytes: Vec<u8>) -> Self {
        Self(bytes)
    }

    /// To be stored.
    pub(in super::super) fn to_stored(&self) -> &[u8] {
        &self.0
    }

    /// To be shown to its owner, once.
    pub(in super::super) fn expose(&self) -> String {
        format!("{PREFIX}{}", STANDARD.encode(&self.0))
    }

    fn sign(&self, id: &str, timestamp_s: i64, body: &[u8]) -> String {
        let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(&self.0) else {
            // HMAC takes keys of any length.
            return String::new();
        };
        mac.update(format!("{id}.{timestamp_s}.").as_bytes());
        mac.update(body);
        format!("v1,{}", STANDARD.encode(mac.finalize().into_bytes()))
    }
}

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("(secret)")
    }
}

/// The header `webhook-signature`: one signature a secret.
pub(super) fn signatures(
    secrets: &[&WebhookSecret],
    id: &str,
    timestamp_s: i64,
    body: &[u8],
) -> String {
    let all: Vec<_> = secrets
        .iter()
        .map(|s| s.sign(id, timestamp_s, body))
        .collect();
    all.join(" ")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signs_as_the_standard_says() {
        // The example of the standard's own libraries.
        let secret = STANDARD
            .decode("MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw")
            .expect("base64");
        let secret = WebhookSecret::from_stored(secret);
        assert_eq!(secret.expose(), "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw");
        let got = signatures(
            &[&secret],
            "msg_p5jXN8AQM9LWM0D4loKWxJek",
            1_614_265_330,
            br#"{"test": 2432232314}"#,
        );
        assert_eq!(got, "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE=");
    }
}
