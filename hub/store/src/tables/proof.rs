//! One-time codes that were sent: only a keyed hash of each is kept.

use serde::{Deserialize, Serialize};
use throughline_schemas::{ConnectionId, ConversationId, IdentityType, ProofId, Timestamp};

use super::{Table, key};

/// How a proof stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProofStatus {
    /// The code was sent, and nobody has given it yet.
    Pending,
    /// It was given: the address is the speaker's.
    Approved,
    /// It has had its attempts, could not be sent, or a newer one took its place.
    Canceled,
}

/// A code that was sent.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StoredProof {
    /// The connection it was sent by.
    pub connection_id: ConnectionId,
    /// What kind of address.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// The address, normalised.
    pub value: String,
    /// The address as it was given.
    pub raw: String,
    /// Keyed hash over conversation, address and code, as hexadecimal.
    pub hash: String,
    /// Attempts that are left.
    pub attempts_left: u8,
    /// How it stands.
    pub status: ProofStatus,
    /// When it was sent.
    pub created_at: Timestamp,
    /// When it stops to hold.
    pub expires_at: Timestamp,
}

/// (conversation, newest proof first) -> the code that was sent.
pub struct Proofs;

impl Proofs {
    /// The proof that a key of this table names.
    #[must_use]
    pub fn proof(key: &[u8]) -> Option<ProofId> {
        let bytes: [u8; 16] = key.get(17..)?.try_into().ok()?;
        Some(ProofId::from_bytes(key::inverted(&bytes)))
    }
}

impl Table for Proofs {
    const PREFIX: u8 = 0x56;
    const NAME: &'static str = "proofs";
    type Key = (ConversationId, ProofId);
    type Value = StoredProof;
    fn suffix((conversation, proof): &Self::Key) -> Vec<u8> {
        let mut bytes = conversation.as_bytes().to_vec();
        bytes.extend(key::inverted(proof.as_bytes()));
        bytes
    }
}
