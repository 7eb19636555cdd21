//! Secrets at rest: sealed with the hub's key (ChaCha20-Poly1305, RFC 8439), bound to the place they are stored in.
//!
//! The key lives in a file beside the store, not in it: a copy of the store alone gives nothing away.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use chacha20poly1305::aead::{Aead, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Key, Nonce};
use hmac::{Hmac, Mac};
use sha2::Sha256;

const NONCE: usize = 12;

/// The hub's key. Everything else that needs a key derives one from it.
#[derive(Clone)]
pub struct MasterKey([u8; 32]);

impl MasterKey {
    /// Wraps thirty-two random bytes.
    #[must_use]
    pub const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// HMAC-SHA256 under a key derived for one purpose.
    pub(crate) fn mac(&self, purpose: &str, data: &[u8]) -> [u8; 32] {
        let derived = hmac_sha256(&self.0, purpose.as_bytes());
        hmac_sha256(&derived, data)
    }

    fn cipher(&self) -> ChaCha20Poly1305 {
        ChaCha20Poly1305::new(&Key::from(hmac_sha256(&self.0, b"secrets at rest")))
    }

    /// Seals a secret for one place; opening it for another place fails.
    pub(crate) fn seal(&self, place: &str, secret: &str, nonce: [u8; NONCE]) -> String {
        let payload = Payload { msg: secret.as_bytes(), aad: place.as_bytes() };
        let sealed = self.cipher().encrypt(&Nonce::from(nonce), payload).expect("a secret is far below the cipher's 256 GiB limit");
        STANDARD.encode([nonce.as_slice(), &sealed].concat())
    }

    /// Opens what was sealed for this place; none if it was not, or with another key.
    pub(crate) fn open(&self, place: &str, sealed: &str) -> Option<String> {
        let bytes = STANDARD.decode(sealed).ok()?;
        let (nonce, sealed) = bytes.split_at_checked(NONCE)?;
        let nonce: [u8; NONCE] = nonce.try_into().ok()?;
        let opened = self.cipher().decrypt(&Nonce::from(nonce), Payload { msg: sealed, aad: place.as_bytes() }).ok()?;
        String::from_utf8(opened).ok()
    }
}

impl std::fmt::Debug for MasterKey {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("MasterKey(…)")
    }
}

fn hmac_sha256(key: &[u8], data: &[u8]) -> [u8; 32] {
    let mut mac = Hmac::<Sha256>::new_from_slice(key).expect("HMAC takes a key of any length");
    mac.update(data);
    mac.finalize().into_bytes().into()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sealed_secret_opens_only_in_its_place_and_with_its_key() {
        let key = MasterKey::new([7; 32]);
        let sealed = key.seal("cnx_a/password", "geheim", [1; 12]);
        assert!(!sealed.contains("geheim"));
        assert_eq!(key.open("cnx_a/password", &sealed).as_deref(), Some("geheim"));
        assert_eq!(key.open("cnx_b/password", &sealed), None);
        assert_eq!(MasterKey::new([8; 32]).open("cnx_a/password", &sealed), None);
        assert_eq!(key.open("cnx_a/password", "not base64"), None);
    }

    #[test]
    fn macs_differ_by_purpose() {
        let key = MasterKey::new([7; 32]);
        assert_ne!(key.mac("token", b"x"), key.mac("hook", b"x"));
    }
}
