//! Profiles before any merge ("leaves"): one row each, for ever.
//!
//! A merge does not move facts: it makes one leaf's root point at another, so that undoing it is undoing one edge.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use throughline_schemas::{Attributed, Identity, ProfileId, ProfileState, Timestamp};

use super::Table;

/// What is known of one profile by itself.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Leaf {
    /// How well it is known.
    pub state: ProfileState,
    /// Its own fields.
    pub fields: BTreeMap<String, Attributed>,
    /// Identities linked to it now.
    pub identities: Vec<Identity>,
    /// The root it was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<ProfileId>,
    /// If it is a root: every leaf below it, in the order of merging.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<ProfileId>,
    /// Profiles it must not be merged with, because a person separated them.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub cannot_link: Vec<ProfileId>,
    /// When it was first known.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// Profile id -> leaf.
pub struct Leaves;

impl Table for Leaves {
    const PREFIX: u8 = 0x10;
    const NAME: &'static str = "leaves";
    type Key = ProfileId;
    type Value = Leaf;
    fn suffix(key: &ProfileId) -> Vec<u8> {
        key.as_bytes().to_vec()
    }
}
