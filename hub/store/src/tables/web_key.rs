//! Keys by which websites sign what they say of their visitors.

use serde::{Deserialize, Serialize};
use throughline_schemas::Timestamp;

use super::{Table, key};

/// A key as it is kept.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredWebKey {
    /// The brand whose website it is.
    pub brand: String,
    /// The one algorithm that is taken with it.
    pub algorithm: String,
    /// The secret or the public key, sealed with the hub's key.
    pub sealed: String,
    /// The issuer that its tokens must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub issuer: Option<String>,
    /// The audience that its tokens must name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub audience: Option<String>,
    /// When it was made known.
    pub created_at: Timestamp,
}

/// A key's id (the `kid` of its tokens) -> key.
pub struct WebKeys;

impl WebKeys {
    /// The id that a key of this table names.
    #[must_use]
    pub fn id(key: &[u8]) -> Option<String> {
        // The name stands where others have an id before it.
        key::trailing_name(&[&[0; 16], key].concat())
    }
}

impl Table for WebKeys {
    const PREFIX: u8 = 0x57;
    const NAME: &'static str = "web_keys";
    type Key = String;
    type Value = StoredWebKey;
    fn suffix(id: &String) -> Vec<u8> {
        let mut bytes = Vec::new();
        key::text(&mut bytes, id);
        bytes
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ids_are_read_back_from_keys() {
        for id in ["", "key-1", "odd\0\u{1}name", "é"] {
            assert_eq!(WebKeys::id(&WebKeys::key(&id.to_owned())).as_deref(), Some(id));
        }
    }
}
