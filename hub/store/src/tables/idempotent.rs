//! Responses to requests that carried an idempotency key.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use throughline_schemas::Timestamp;

use super::Table;

/// A stored response.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct IdempotentResponse {
    /// Digest of the request's body, hex: another body under the same key is refused.
    pub request: String,
    /// The status that was answered.
    pub status: u16,
    /// The body that was answered, as text.
    pub body: String,
    /// When.
    pub at: Timestamp,
}

/// Names a stored response: a digest, since neither scope nor key has a length that fits a row's key.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct IdempotentKey([u8; 32]);

impl IdempotentKey {
    /// Of a key within a scope.
    #[must_use]
    pub fn new(scope: &str, key: &str) -> Self {
        let mut digest = Sha256::new();
        digest.update((scope.len() as u64).to_be_bytes());
        digest.update(scope.as_bytes());
        digest.update(key.as_bytes());
        Self(digest.finalize().into())
    }

    /// Of a row, by its key's bytes.
    #[must_use]
    pub fn of_row(key: &[u8]) -> Option<Self> {
        Some(Self(key.get(1..)?.try_into().ok()?))
    }
}

/// Digest of (scope, key) -> response.
pub struct IdempotentResponses;

impl Table for IdempotentResponses {
    const PREFIX: u8 = 0x2c;
    const NAME: &'static str = "idempotent_responses";
    type Key = IdempotentKey;
    type Value = IdempotentResponse;
    fn suffix(key: &IdempotentKey) -> Vec<u8> {
        key.0.to_vec()
    }
}
