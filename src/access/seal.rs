//! Keeping an answer so that only its caller can read it again.

use ring::aead::{Aad, CHACHA20_POLY1305, LessSafeKey, Nonce, UnboundKey};

/// Seals one text with a key that is used for nothing else.
pub struct Sealed(Option<LessSafeKey>);

impl Sealed {
    /// With a key that must be used for one text alone: the nonce is constant.
    #[must_use]
    pub fn with(key: [u8; 32]) -> Self {
        Self(
            UnboundKey::new(&CHACHA20_POLY1305, &key)
                .ok()
                .map(LessSafeKey::new),
        )
    }

    /// `plain`, sealed; nothing if that fails, so that nothing is stored in the clear.
    #[must_use]
    pub fn seal(&self, mut plain: Vec<u8>) -> Option<Vec<u8>> {
        let key = self.0.as_ref()?;
        let sealed = key.seal_in_place_append_tag(nonce(), Aad::empty(), &mut plain);
        sealed.ok().map(|()| plain)
    }

    /// What was sealed, if it was by this key and is whole.
    #[must_use]
    pub fn open(&self, mut sealed: Vec<u8>) -> Option<Vec<u8>> {
        let key = self.0.as_ref()?;
        let plain = key.open_in_place(nonce(), Aad::empty(), &mut sealed).ok()?;
        Some(plain.to_vec())
    }
}

fn nonce() -> Nonce {
    Nonce::assume_unique_for_key([0; 12])
}

#[cfg(test)]
mod tests {
    use super::Sealed;

    #[test]
    fn only_the_same_key_opens_what_is_whole() {
        let sealed = Sealed::with([1; 32])
            .seal(b"wlk_secret".to_vec())
            .expect("sealed");
        assert!(!sealed.windows(6).any(|w| w == b"secret"));
        assert_eq!(
            Sealed::with([1; 32]).open(sealed.clone()).as_deref(),
            Some(&b"wlk_secret"[..])
        );
        assert_eq!(Sealed::with([2; 32]).open(sealed.clone()), None);
        let mut damaged = sealed;
        damaged[0] ^= 1;
        assert_eq!(Sealed::with([1; 32]).open(damaged), None);
    }
}
