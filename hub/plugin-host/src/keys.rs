//! The keys plugins are signed with, and how they are written down. Knows nothing of files.

use std::fmt;
use std::str::FromStr;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ed25519_dalek::{Signer as _, VerifyingKey};

/// Length of a public key, and of the seed that a signing key is.
pub(crate) const KEY_LENGTH: usize = 32;
/// Length of a signature.
pub(crate) const SIGNATURE_LENGTH: usize = 64;

const PUBLIC: &str = "ed25519:";
const SECRET: &str = "ed25519-secret:";

/// Why a text is no key.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum KeyError {
    /// A public key has another form.
    #[error("a public key is written {PUBLIC:?} and {KEY_LENGTH} bytes in Base64")]
    PublicForm,
    /// The bytes are those of no key, or of one that proves nothing.
    #[error("these bytes are no Ed25519 public key")]
    NoPoint,
    /// A signing key has another form. The text is not repeated: it may be a secret.
    #[error("a signing key is written {SECRET:?} and {KEY_LENGTH} bytes in Base64, as `keygen` writes it")]
    SecretForm,
    /// No key can be made.
    #[error("the operating system gives no random numbers: {0}")]
    Random(String),
}

/// The public half of a key: by it a signature is verified, and whoever signed is known. Written `ed25519:` and Base64.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct PublicKey(VerifyingKey);

impl PublicKey {
    pub(crate) fn from_bytes(bytes: &[u8; KEY_LENGTH]) -> Result<Self, KeyError> {
        let key = VerifyingKey::from_bytes(bytes).map_err(|_| KeyError::NoPoint)?;
        // Signatures that fit a weak key can be made by anybody.
        if key.is_weak() { Err(KeyError::NoPoint) } else { Ok(Self(key)) }
    }

    pub(crate) fn as_bytes(&self) -> &[u8; KEY_LENGTH] {
        self.0.as_bytes()
    }

    pub(crate) fn verifies(&self, message: &[u8], signature: &[u8; SIGNATURE_LENGTH]) -> bool {
        self.0.verify_strict(message, &ed25519_dalek::Signature::from_bytes(signature)).is_ok()
    }
}

impl fmt::Display for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{PUBLIC}{}", STANDARD.encode(self.0.as_bytes()))
    }
}

impl fmt::Debug for PublicKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl FromStr for PublicKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        Self::from_bytes(&decode(text, PUBLIC).ok_or(KeyError::PublicForm)?)
    }
}

/// The secret half of a key. Never printed by `Debug`, wiped from memory when dropped.
#[derive(Clone)]
pub struct SigningKey(ed25519_dalek::SigningKey);

impl SigningKey {
    /// A new key.
    pub fn generate() -> Result<Self, KeyError> {
        let mut seed = [0; KEY_LENGTH];
        getrandom::fill(&mut seed).map_err(|error| KeyError::Random(error.to_string()))?;
        Ok(Self::from_seed(&seed))
    }

    /// The key that this seed is.
    #[must_use]
    pub fn from_seed(seed: &[u8; KEY_LENGTH]) -> Self {
        Self(ed25519_dalek::SigningKey::from_bytes(seed))
    }

    /// Its public half.
    #[must_use]
    pub fn public(&self) -> PublicKey {
        PublicKey(self.0.verifying_key())
    }

    /// The key as it is kept in a file. Whoever has this text signs as its owner.
    #[must_use]
    pub fn secret_text(&self) -> String {
        format!("{SECRET}{}", STANDARD.encode(self.0.as_bytes()))
    }

    pub(crate) fn sign(&self, message: &[u8]) -> [u8; SIGNATURE_LENGTH] {
        self.0.sign(message).to_bytes()
    }
}

impl fmt::Debug for SigningKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "SigningKey(… of {})", self.public())
    }
}

impl FromStr for SigningKey {
    type Err = KeyError;

    fn from_str(text: &str) -> Result<Self, KeyError> {
        decode(text, SECRET).map(|seed| Self::from_seed(&seed)).ok_or(KeyError::SecretForm)
    }
}

fn decode(text: &str, prefix: &str) -> Option<[u8; KEY_LENGTH]> {
    STANDARD.decode(text.trim().strip_prefix(prefix)?).ok()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn keys_are_written_and_read_back() {
        let key = SigningKey::generate().unwrap();
        assert_eq!(key.public().to_string().parse(), Ok(key.public()));
        assert_eq!(format!("{}\n", key.secret_text()).parse::<SigningKey>().unwrap().public(), key.public());
        assert_ne!(SigningKey::generate().unwrap().public(), key.public());
        let shown = format!("{key:?}");
        assert!(!shown.contains(key.secret_text().strip_prefix(SECRET).unwrap()), "{shown}");
    }

    // RFC 8032, 7.1, test 1.
    #[test]
    fn a_seed_has_the_public_key_that_the_standard_says() {
        let seed = b"\x9d\x61\xb1\x9d\xef\xfd\x5a\x60\xba\x84\x4a\xf4\x92\xec\x2c\xc4\x44\x49\xc5\x69\x7b\x32\x69\x19\x70\x3b\xac\x03\x1c\xae\x7f\x60";
        assert_eq!(SigningKey::from_seed(seed).public().to_string(), "ed25519:11qYAYKxCrfVS/7TyWQHOg7hcvPapiMlrwIaaPcHURo=");
    }

    #[test]
    fn what_is_no_key_is_refused() {
        let key = SigningKey::from_seed(&[1; KEY_LENGTH]);
        let weak = format!("{PUBLIC}{}", STANDARD.encode([0; KEY_LENGTH]));
        let short = format!("{PUBLIC}{}", STANDARD.encode([1; 31]));
        for (text, wanted) in [
            ("", KeyError::PublicForm),
            ("ed25519:", KeyError::PublicForm),
            ("ed25519:!!!", KeyError::PublicForm),
            (short.as_str(), KeyError::PublicForm),
            (key.secret_text().as_str(), KeyError::PublicForm),
            (weak.as_str(), KeyError::NoPoint),
        ] {
            assert_eq!(text.parse::<PublicKey>(), Err(wanted), "{text}");
        }
        for text in ["", "ed25519-secret:AAAA", key.public().to_string().as_str()] {
            assert_eq!(text.parse::<SigningKey>().unwrap_err(), KeyError::SecretForm, "{text}");
        }
    }
}
