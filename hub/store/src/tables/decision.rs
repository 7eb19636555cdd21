//! Why things are as they are: decisions by id, and by what they are about.

use throughline_schemas::{Decision, DecisionId};

use super::{Present, Table, key};

/// Decision id -> decision.
pub struct Decisions;

impl Table for Decisions {
    const PREFIX: u8 = 0x1c;
    const NAME: &'static str = "decisions";
    type Key = DecisionId;
    type Value = Decision;
    fn suffix(key: &DecisionId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}

/// (sixteen bytes of a profile's, enquiry's or interaction's id, newest decision first) -> nothing.
pub struct DecisionIndex;

impl DecisionIndex {
    /// The decision that a key of this table names.
    #[must_use]
    pub fn decision(key: &[u8]) -> Option<DecisionId> {
        let bytes: [u8; 16] = key.get(17..)?.try_into().ok()?;
        Some(DecisionId::from_bytes(key::inverted(&bytes)))
    }
}

impl Table for DecisionIndex {
    const PREFIX: u8 = 0x1d;
    const NAME: &'static str = "decision_index";
    type Key = ([u8; 16], DecisionId);
    type Value = Present;
    fn suffix((subject, decision): &Self::Key) -> Vec<u8> {
        let mut bytes = subject.to_vec();
        bytes.extend(key::inverted(decision.as_bytes()));
        bytes
    }
}
