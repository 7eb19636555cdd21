//! Signatures of the Standard Webhooks specification: HMAC-SHA256 over `id.timestamp.body`, symmetric, version `v1`.
//!
//! A receiver finds the same in a library of its language; [`verify`] is what such a library does, for receivers in Rust and for our
//! own tests.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// What every secret begins with.
pub const SECRET_PREFIX: &str = "whsec_";
/// Names the message; the same at every attempt, so that a receiver can tell a repetition.
pub const HEADER_ID: &str = "webhook-id";
/// When this attempt was made, in seconds since the Unix epoch.
pub const HEADER_TIMESTAMP: &str = "webhook-timestamp";
/// One signature for each secret that holds, separated by blanks.
pub const HEADER_SIGNATURE: &str = "webhook-signature";
/// How far a timestamp may be off, in seconds.
pub const TOLERANCE_SECONDS: i64 = 5 * 60;
/// Bytes of a secret: 192 to 512 bits.
const SECRET_BYTES: std::ops::RangeInclusive<usize> = 24..=64;

/// Why a secret or a message is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignatureError {
    /// The text is no secret.
    #[error("a secret is {SECRET_PREFIX} and the base64 of {} to {} bytes", SECRET_BYTES.start(), SECRET_BYTES.end())]
    Secret,
    /// The timestamp is no number.
    #[error("{HEADER_TIMESTAMP} is not a number of seconds")]
    Timestamp,
    /// The timestamp is too old: somebody may be repeating an old message.
    #[error("{HEADER_TIMESTAMP} is more than {TOLERANCE_SECONDS} seconds ago")]
    TooOld,
    /// The timestamp is in the future.
    #[error("{HEADER_TIMESTAMP} is more than {TOLERANCE_SECONDS} seconds ahead")]
    TooNew,
    /// No signature fits.
    #[error("none of the signatures fits")]
    NoMatch,
}

/// What a webhook's messages are signed with.
#[derive(Clone, PartialEq, Eq)]
pub struct WebhookSecret(Vec<u8>);

impl std::fmt::Debug for WebhookSecret {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str("WebhookSecret(…)")
    }
}

impl WebhookSecret {
    /// Wraps random bytes.
    ///
    /// # Errors
    /// If there are too few or too many of them.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self, SignatureError> {
        if SECRET_BYTES.contains(&bytes.len()) { Ok(Self(bytes.to_vec())) } else { Err(SignatureError::Secret) }
    }

    /// Reads `whsec_…`.
    ///
    /// # Errors
    /// If it is not of that form or not of a good length.
    pub fn parse(text: &str) -> Result<Self, SignatureError> {
        let encoded = text.strip_prefix(SECRET_PREFIX).ok_or(SignatureError::Secret)?;
        Self::from_bytes(&STANDARD.decode(encoded).map_err(|_| SignatureError::Secret)?)
    }

    /// As `whsec_…`: for who receives, and for the sealed store.
    #[must_use]
    pub fn to_text(&self) -> String {
        format!("{SECRET_PREFIX}{}", STANDARD.encode(&self.0))
    }

    /// Signs a message: `v1,` and base64.
    #[must_use]
    pub fn sign(&self, id: &str, timestamp: i64, body: &[u8]) -> String {
        format!("v1,{}", STANDARD.encode(self.mac(id, timestamp, body).finalize().into_bytes()))
    }

    fn mac(&self, id: &str, timestamp: i64, body: &[u8]) -> Hmac<Sha256> {
        let mut mac = <Hmac<Sha256> as hmac::KeyInit>::new_from_slice(&self.0).expect("HMAC takes a key of any length");
        mac.update(format!("{id}.{timestamp}.").as_bytes());
        mac.update(body);
        mac
    }

    fn fits(&self, signature: &str, id: &str, timestamp: i64, body: &[u8]) -> bool {
        let Some(encoded) = signature.strip_prefix("v1,") else { return false };
        // Compared in constant time: the time must not tell how much of a forged signature is right.
        STANDARD.decode(encoded).is_ok_and(|given| self.mac(id, timestamp, body).verify_slice(&given).is_ok())
    }
}

/// The three headers of a received message.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Headers<'h> {
    /// `webhook-id`.
    pub id: &'h str,
    /// `webhook-timestamp`.
    pub timestamp: &'h str,
    /// `webhook-signature`.
    pub signature: &'h str,
}

/// Accepts a message if one of its signatures was made with `secret`, and not long before or after `now_seconds`.
///
/// # Errors
/// If it was not: then the message is nobody's, and is not to be acted on.
pub fn verify(secret: &WebhookSecret, headers: &Headers<'_>, body: &[u8], now_seconds: i64) -> Result<(), SignatureError> {
    let timestamp: i64 = headers.timestamp.parse().map_err(|_| SignatureError::Timestamp)?;
    if timestamp < now_seconds.saturating_sub(TOLERANCE_SECONDS) {
        return Err(SignatureError::TooOld);
    }
    if timestamp > now_seconds.saturating_add(TOLERANCE_SECONDS) {
        return Err(SignatureError::TooNew);
    }
    let fits = headers.signature.split(' ').any(|signature| secret.fits(signature, headers.id, timestamp, body));
    if fits { Ok(()) } else { Err(SignatureError::NoMatch) }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors that the specification's reference libraries (MIT) share.
    const SECRET: &str = "whsec_C2FVsBQIhrscChlQIMV+b5sSYspob7oD";
    const ID: &str = "msg_27UH4WbU6Z5A5EzD8u03UvzRbpk";
    const BODY: &[u8] = br#"{"email":"test@example.com","username":"test_user"}"#;
    const SIGNED_AT: i64 = 1_649_367_553;
    const SIGNATURE: &str = "v1,tZ1I4/hDygAJgO5TYxiSd6Sd0kDW6hPenDe+bTa3Kkw=";
    const OTHERS: [&str; 3] = [
        "v1,tFtCZ5RDCPxzWQRWXWPgrCgE2frDBe9gjpbWQxnVfsQ=",
        "v1,Mm7xgUVICxZfQ3bgf0h0Dof65L/IFx+PnZvnDWPCX6Q=",
        "v1,9DfC1c3eeOrXB6w/5dIDydLNQaEyww5KalE5jLBZucE=",
    ];

    fn secret() -> WebhookSecret {
        WebhookSecret::parse(SECRET).unwrap()
    }

    fn check(signature: &str, now: i64, wanted: Result<(), SignatureError>) {
        let headers = Headers { id: ID, timestamp: &SIGNED_AT.to_string(), signature };
        assert_eq!(verify(&secret(), &headers, BODY, now), wanted, "{signature} at {now}");
    }

    #[test]
    fn the_published_vector_is_signed_alike() {
        assert_eq!(secret().sign(ID, SIGNED_AT, BODY), SIGNATURE);
    }

    #[test]
    fn the_published_vectors_are_accepted_and_refused() {
        check(SIGNATURE, SIGNED_AT, Ok(()));
        check(&format!("{} {SIGNATURE} {}", OTHERS.join(" "), OTHERS[0]), SIGNED_AT, Ok(()));
        for wrong in ["v1,R3PTzyfHASBKHH98a7yexTwaJ4yNIcGhFQc1yuN+BPU=", "v1,", &SIGNATURE[..8], "", &OTHERS.join(" ")] {
            check(wrong, SIGNED_AT, Err(SignatureError::NoMatch));
        }
        check(&SIGNATURE.replace("v1,", "v1a,"), SIGNED_AT, Err(SignatureError::NoMatch));
        check(SIGNATURE, SIGNED_AT + TOLERANCE_SECONDS, Ok(()));
        check(SIGNATURE, SIGNED_AT + TOLERANCE_SECONDS + 1, Err(SignatureError::TooOld));
        check(SIGNATURE, SIGNED_AT - TOLERANCE_SECONDS - 1, Err(SignatureError::TooNew));
    }

    #[test]
    fn every_part_of_a_message_is_signed() {
        let timestamp = SIGNED_AT.to_string();
        let good = Headers { id: ID, timestamp: &timestamp, signature: SIGNATURE };
        let later = (SIGNED_AT + 1).to_string();
        for (headers, body) in [
            (Headers { id: "msg_other", ..good }, BODY),
            (Headers { timestamp: &later, ..good }, BODY),
            (good, br#"{"email":"test@example.com","username":"other"}"#.as_slice()),
        ] {
            assert_eq!(verify(&secret(), &headers, body, SIGNED_AT), Err(SignatureError::NoMatch), "{headers:?}");
        }
        let no_number = Headers { timestamp: "now", ..good };
        assert_eq!(verify(&secret(), &no_number, BODY, SIGNED_AT), Err(SignatureError::Timestamp));
    }

    #[test]
    fn secrets_have_a_form_and_a_length() {
        assert_eq!(secret().to_text(), SECRET);
        let of = |bytes: usize| format!("{SECRET_PREFIX}{}", STANDARD.encode(vec![7; bytes]));
        for (text, good) in
            [(of(24), true), (of(64), true), (of(23), false), (of(65), false), ("whsec_?".into(), false), ("x".into(), false)]
        {
            assert_eq!(WebhookSecret::parse(&text).is_ok(), good, "{text}");
        }
        assert!(!format!("{:?}", secret()).contains("C2FV"));
    }
}
