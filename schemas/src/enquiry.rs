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
}

#[expect(clippy::trivially_copy_pass_by_ref, reason = "as serde hands it over")]
const fn is_zero(number: &u64) -> bool {
    *number == 0
}
