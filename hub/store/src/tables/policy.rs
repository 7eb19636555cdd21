//! What admins have set of the rules, by name; and the addresses on our side, as they were seen.

use serde::{Deserialize, Serialize};
use serde_json::Value;
use throughline_schemas::{ConnectionId, Timestamp};

use super::{Table, key};

/// A policy as it is kept: its own crate knows its form.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct StoredPolicy {
    /// What is set.
    pub set: Value,
    /// Since when.
    pub at: Timestamp,
}

/// A policy's name -> what is set.
pub struct Policies;

impl Table for Policies {
    const PREFIX: u8 = 0x54;
    const NAME: &'static str = "policies";
    type Key = String;
    type Value = StoredPolicy;
    fn suffix(name: &String) -> Vec<u8> {
        let mut bytes = Vec::new();
        key::text(&mut bytes, name);
        bytes
    }
}

/// An address on our side.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Endpoint {
    /// By which connection it was seen first.
    pub connection_id: ConnectionId,
    /// The address, normalised.
    pub address: String,
    /// When it was seen first.
    pub first_seen: Timestamp,
}

/// Digest of a normalised address -> whose it is.
pub struct Endpoints;

impl Table for Endpoints {
    const PREFIX: u8 = 0x55;
    const NAME: &'static str = "endpoints";
    type Key = [u8; 16];
    type Value = Endpoint;
    fn suffix(key: &[u8; 16]) -> Vec<u8> {
        key.to_vec()
    }
}
