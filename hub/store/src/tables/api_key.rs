//! API keys: only their hash is stored.

use serde::{Deserialize, Serialize};
use throughline_schemas::{ApiKeyId, Timestamp};

use super::Table;

/// What a key may do.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Scope {
    /// Read everything that is not secret.
    Read,
    /// Change customers' context.
    Write,
    /// What an agent's desktop does: read, notes, messages, assignment.
    Agent,
    /// Only the look-up.
    Lookup,
    /// Everything.
    Admin,
}

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct ApiKeyRecord {
    /// Its public id.
    pub id: ApiKeyId,
    /// For people.
    pub name: String,
    /// What it may do.
    pub scopes: Vec<Scope>,
    /// Created.
    pub created_at: Timestamp,
    /// Refused from then on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
    /// Refused since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub revoked_at: Option<Timestamp>,
}

/// SHA-256 of the key -> record.
pub struct ApiKeys;

impl Table for ApiKeys {
    const PREFIX: u8 = 0x2b;
    const NAME: &'static str = "api_keys";
    type Key = [u8; 32];
    type Value = ApiKeyRecord;
    fn suffix(key: &[u8; 32]) -> Vec<u8> {
        key.to_vec()
    }
}
