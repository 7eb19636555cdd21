//! The canonical context of one person.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Assurance, ConnectionId, Identity, ProfileId, Timestamp};

/// How well a profile is known.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ProfileState {
    /// Nothing but an identifier.
    #[default]
    Anonymous,
    /// A name or a record of a silo is known.
    Identified,
    /// An identity was proven.
    Verified,
    /// A person put it in order by hand.
    Curated,
}

/// A value with where it came from.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attributed {
    /// The value.
    pub value: Value,
    /// The connection that said so; none when it was set through the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ConnectionId>,
    /// How sure.
    #[serde(default)]
    pub assurance: Assurance,
    /// When it was said.
    pub at: Timestamp,
}

/// One person, as a computed view over facts. After a merge the survivor shows the fields of all its members.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Profile {
    /// Its id, for ever.
    pub id: ProfileId,
    /// How well it is known.
    pub state: ProfileState,
    /// Canonical fields: `display_name`, `given_name`, `family_name`, `language`, `company`, … and any mapped one.
    pub fields: BTreeMap<String, Attributed>,
    /// Identities linked now, those of members included.
    pub identities: Vec<Identity>,
    /// Profiles merged into this one.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub members: Vec<ProfileId>,
    /// Set when this profile was merged into another.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub merged_into: Option<ProfileId>,
    /// When it was first known.
    pub created_at: Timestamp,
    /// When it last changed.
    pub updated_at: Timestamp,
}

impl Profile {
    /// The text value of a field, if it has one.
    #[must_use]
    pub fn text(&self, field: &str) -> Option<&str> {
        self.fields.get(field).and_then(|attributed| attributed.value.as_str()).filter(|text| !text.is_empty())
    }

    /// What to call this person: display name, else given and family name.
    #[must_use]
    pub fn display_name(&self) -> Option<String> {
        if let Some(name) = self.text("display_name") {
            return Some(name.to_owned());
        }
        let parts: Vec<&str> = ["given_name", "family_name"].iter().filter_map(|field| self.text(field)).collect();
        (!parts.is_empty()).then(|| parts.join(" "))
    }
}
