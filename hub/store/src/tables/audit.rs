//! Who did what through the API, newest first.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use throughline_schemas::Timestamp;

use super::{Table, key};

/// One entry.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct AuditEntry {
    /// Who: an API key's id and name, or the command line.
    pub actor: String,
    /// What: `connection.create`, `profile.merge`, …
    pub action: String,
    /// On what.
    pub target: String,
    /// More, never a secret.
    #[serde(default)]
    pub detail: Value,
    /// When.
    pub at: Timestamp,
}

/// (newest first, unique id) -> entry.
pub struct AuditLog;

impl Table for AuditLog {
    const PREFIX: u8 = 0x2d;
    const NAME: &'static str = "audit";
    type Key = (Timestamp, [u8; 16]);
    type Value = AuditEntry;
    fn suffix((at, id): &Self::Key) -> Vec<u8> {
        let mut bytes = key::newest_first(at.as_millis()).to_vec();
        bytes.extend(key::inverted(id));
        bytes
    }
}
