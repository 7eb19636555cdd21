//! What a customer wants, over however many channels and days.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{Assurance, ConnectionId, EnquiryId, ProfileId, Timestamp};

/// Where an enquiry stands.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum EnquiryStatus {
    /// We owe the next step.
    #[default]
    Open,
    /// The customer owes the next step.
    Waiting,
    /// Done; a message within the grace period opens it again.
    Resolved,
    /// Done for good; what comes later follows it.
    Closed,
}

impl EnquiryStatus {
    /// Open or waiting: new interactions may attach.
    #[must_use]
    pub const fn is_live(self) -> bool {
        matches!(self, Self::Open | Self::Waiting)
    }
}

/// Who may see a value.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Classification {
    /// Anyone.
    Public,
    /// Our own people and systems.
    #[default]
    Internal,
    /// Personal data: shown on a channel only to who is proven to be that person.
    Pii,
    /// Never shown.
    Secret,
}

/// How far a variable reaches.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum VariableScope {
    /// This enquiry.
    #[default]
    Enquiry,
    /// This person.
    Profile,
    /// This conversation.
    Conversation,
}

/// A typed fact that survives the change of channel: an order number, a chosen IVR branch, a language.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ContextVariable {
    /// The value.
    pub value: Value,
    /// How far it reaches.
    #[serde(default)]
    pub scope: VariableScope,
    /// Who may see it.
    #[serde(default)]
    pub classification: Classification,
    /// How sure.
    #[serde(default)]
    pub assurance: Assurance,
    /// The connection that said so; none when it was set through the API.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ConnectionId>,
    /// When it was set.
    pub at: Timestamp,
    /// When it stops to hold.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub expires_at: Option<Timestamp>,
}

/// Who last set one of an enquiry's own fields, and when.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct FieldOrigin {
    /// When: by the silo's clock if a silo said it, but never later than we heard of it.
    pub at: Timestamp,
    /// The connection that said so; none when the hub or somebody at its API did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<ConnectionId>,
}

/// What a customer wants.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Enquiry {
    /// Its id.
    pub id: EnquiryId,
    /// Whose it is, as it was before any merge.
    pub profile_id: ProfileId,
    /// What it is about, in a few words.
    pub reason: String,
    /// Where it stands.
    pub status: EnquiryStatus,
    /// Who owns it: an agent's or a queue's name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner: Option<String>,
    /// Grows whenever the owner changes or it is offered to somebody: who presents an older one has lost it meanwhile.
    #[serde(default, skip_serializing_if = "is_zero")]
    pub fencing_token: u64,
    /// Since when it has this owner, or none; absent while that never changed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub owner_since: Option<Timestamp>,
    /// The brand it belongs to.
    pub brand: String,
    /// What must survive the change of channel.
    pub variables: BTreeMap<String, ContextVariable>,
    /// The earlier enquiry it goes on from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub follows: Option<EnquiryId>,
    /// When it began.
    pub opened_at: Timestamp,
    /// When it last changed or was spoken of.
    pub updated_at: Timestamp,
    /// When it was resolved.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub resolved_at: Option<Timestamp>,
    /// Who last set `status`, `reason` and `owner`, and when; one that is not named is as it was when the enquiry began.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub set_by: BTreeMap<String, FieldOrigin>,
}

impl Enquiry {
    /// One that begins, without reason or owner.
    #[must_use]
    pub fn open(id: EnquiryId, profile_id: ProfileId, brand: &str, at: Timestamp) -> Self {
        Self {
            id,
            profile_id,
            reason: String::new(),
            status: EnquiryStatus::Open,
            owner: None,
            fencing_token: 1,
            owner_since: None,
            brand: brand.to_owned(),
            variables: BTreeMap::new(),
            follows: None,
            opened_at: at,
            updated_at: at,
            resolved_at: None,
            set_by: BTreeMap::new(),
        }
    }

    /// Notes who set those of its own fields that differ from before.
    pub fn note_origins(&mut self, before: &Self, source: Option<ConnectionId>, at: Timestamp) {
        let differs =
            [("status", self.status != before.status), ("reason", self.reason != before.reason), ("owner", self.owner != before.owner)];
        for (field, _) in differs.into_iter().filter(|(_, differs)| *differs) {
            // What was set last is what holds, also if a silo's clock is behind.
            let at = self.set_by.get(field).map_or(at, |origin| at.max(origin.at.plus_millis(1)));
            self.set_by.insert(field.to_owned(), FieldOrigin { at, source });
        }
    }
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde hands it over")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
