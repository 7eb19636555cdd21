//! What has been accepted from each connection: the same news twice is the same row.

use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use throughline_schemas::{ConnectionId, InteractionId};

use super::{Table, key};

/// What became of an item.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InboxEntry {
    /// The interaction it is.
    pub interaction: InteractionId,
    /// The highest version accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
}

/// (connection, entity, digest of the silo's key) -> what became of it.
pub struct Inbox;

impl Table for Inbox {
    const PREFIX: u8 = 0x16;
    const NAME: &'static str = "inbox";
    type Key = (ConnectionId, String, String);
    type Value = InboxEntry;
    fn suffix((connection, entity, external): &Self::Key) -> Vec<u8> {
        let mut bytes = connection.as_bytes().to_vec();
        key::text(&mut bytes, entity);
        bytes.extend(&Sha256::digest(external.as_bytes())[..16]);
        bytes
    }
}
