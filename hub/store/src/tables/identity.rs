//! Which profile an identity belongs to: the index behind every look-up.

use serde::{Deserialize, Serialize};
use throughline_schemas::{IdentityLink, IdentityType};

use super::{Table, key};

/// An identity's links: those that hold (one, unless the identity is shared) and those taken back, oldest first.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct IdentityRow {
    /// The links.
    pub links: Vec<IdentityLink>,
}

impl IdentityRow {
    /// The links that hold.
    pub fn holding(&self) -> impl Iterator<Item = &IdentityLink> {
        self.links.iter().filter(|link| link.retracted_at.is_none())
    }
}

/// (type, namespace, canonical value) -> links.
pub struct Identities;

impl Table for Identities {
    const PREFIX: u8 = 0x11;
    const NAME: &'static str = "identities";
    type Key = (IdentityType, String, String);
    type Value = IdentityRow;
    fn suffix((kind, namespace, value): &Self::Key) -> Vec<u8> {
        let mut bytes = vec![match kind {
            IdentityType::Phone => 1,
            IdentityType::Email => 2,
            IdentityType::Handle => 3,
            IdentityType::External => 4,
        }];
        key::text(&mut bytes, namespace);
        key::text(&mut bytes, value);
        bytes
    }
}
