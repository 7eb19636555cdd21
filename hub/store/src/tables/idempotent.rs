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

/// Digest of (scope, key) -> response.
pub struct IdempotentResponses;

impl Table for IdempotentResponses {
    const PREFIX: u8 = 0x2c;
    const NAME: &'static str = "idempotent_responses";
    type Key = (String, String);
    type Value = IdempotentResponse;
    fn suffix((scope, key): &Self::Key) -> Vec<u8> {
        let mut digest = Sha256::new();
        digest.update((scope.len() as u64).to_be_bytes());
        digest.update(scope.as_bytes());
        digest.update(key.as_bytes());
        digest.finalize().to_vec()
    }
}
