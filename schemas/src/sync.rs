//! How a connection's records and ours are kept the same: configuration, links and shadows.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ConnectionId, Timestamp};

/// Which way an entity is synchronised.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum SyncDirection {
    /// The silo's records come in; nothing is written.
    #[default]
    In,
    /// Ours go out; the silo's changes are not taken.
    Out,
    /// Both.
    Both,
}

/// Who wins when both sides changed a field.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum FieldPolicy {
    /// The later change, the silo's time clamped to the time of receipt.
    #[default]
    Newest,
    /// The silo always wins.
    Theirs,
    /// The hub always wins.
    Ours,
    /// A person decides: nothing is written until then.
    Manual,
    /// The connection that stands first in this list wins; one that is not named stands behind all others, the hub's own agents too.
    Priority(Vec<String>),
    /// The greater value wins: numbers as numbers, texts as texts.
    Max,
    /// The smaller value wins.
    Min,
    /// Lists grow together: what either side added stays, what either side removed goes.
    Union,
    /// Texts grow together: what either side added to the end is kept, the silo's first.
    Append,
}

/// What a record's deletion in the silo leads to.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeletePolicy {
    /// It is noted on the link. Our record stays as it is, and is not written to that silo again.
    #[default]
    Ignore,
    /// The link is forgotten: to us the silo is one that never had the record. With `create_remote`, our next change makes it anew.
    Unlink,
    /// Our record is put aside: a person's gets `archived`, an enquiry is closed. It is taken out again if the silo shows the record
    /// again.
    Archive,
    /// As `archive`, and the record is deleted in every other silo whose connection writes and can delete.
    Delete,
    /// The silo gets our record again, as a new one; once a day at most, so that two who disagree do not go on for ever.
    Restore,
}

impl DeletePolicy {
    /// Whether it is what holds if nothing is said.
    #[must_use]
    pub const fn is_ignore(&self) -> bool {
        matches!(self, Self::Ignore)
    }
}

/// How one entity of a connection is synchronised.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields)]
pub struct EntitySync {
    /// Which way.
    #[serde(default)]
    pub direction: SyncDirection,
    /// Whether a record of ours that the silo lacks is created there.
    #[serde(default)]
    pub create_remote: bool,
    /// Seconds between polls; webhooks and listeners need none, a poll catches what they lost.
    #[serde(default = "default_poll_seconds")]
    pub poll_seconds: u32,
    /// What a record's deletion in the silo leads to.
    #[serde(default, skip_serializing_if = "DeletePolicy::is_ignore")]
    pub on_delete: DeletePolicy,
    /// Policy for each canonical field; a field not named here goes by `newest`.
    #[serde(default)]
    pub fields: BTreeMap<String, FieldPolicy>,
}

const fn default_poll_seconds() -> u32 {
    60
}

/// A canonical record x a connection's record, with its shadow: the last value that the silo itself reported, per field.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Link {
    /// Which connection.
    pub connection_id: ConnectionId,
    /// Which of its entities.
    pub entity: String,
    /// The silo's id of the record.
    pub key: String,
    /// Our record: a profile's or an enquiry's id.
    pub canonical_id: String,
    /// The silo's version, the highest seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// Field by field what the silo last said it stores, in its own form.
    pub shadow: BTreeMap<String, Value>,
    /// Fields not written because the silo refuses their value.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub quarantined: BTreeMap<String, String>,
    /// The values that were refused: another value gets another chance.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub refused: BTreeMap<String, Value>,
    /// How each field went back and forth between the silo and us, the last turns only.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub turns: BTreeMap<String, Vec<Turn>>,
    /// Fields that went back and forth too often, since when: the values in question are neither taken nor written until a third one
    /// comes, or a person decides.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub frozen: BTreeMap<String, Timestamp>,
    /// When the silo's record was last seen or written.
    pub seen_at: Timestamp,
    /// Set when the silo deleted the record.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub deleted_at: Option<Timestamp>,
    /// The silo's record that this one was merged into.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub moved_to: Option<String>,
    /// The silo is to delete the record, because another did and the policy there says so.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub remove: bool,
    /// When the record was made anew because the silo had deleted one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub restored_at: Option<Timestamp>,
}

/// One change of a silo's field, by them or by us.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Turn {
    /// A digest of the value, as the silo stores it.
    pub value: String,
    /// Whether we wrote it.
    pub ours: bool,
    /// When.
    pub at: Timestamp,
}
