//! What the hub says of itself: the ordered change log, and the reasons for what it decided.

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ConnectionId, ConversationId, DecisionId, EnquiryId, FlowId, InteractionId, ProfileId, RunId, Timestamp};

/// What kind of change. Outside the hub the CloudEvents `type` is `io.throughline.` + this.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[allow(missing_docs, reason = "the names say it")]
pub enum ChangeKind {
    #[serde(rename = "profile.created")]
    ProfileCreated,
    #[serde(rename = "profile.updated")]
    ProfileUpdated,
    #[serde(rename = "profile.merged")]
    ProfileMerged,
    #[serde(rename = "profile.unmerged")]
    ProfileUnmerged,
    #[serde(rename = "enquiry.opened")]
    EnquiryOpened,
    #[serde(rename = "enquiry.updated")]
    EnquiryUpdated,
    #[serde(rename = "conversation.started")]
    ConversationStarted,
    #[serde(rename = "conversation.moved")]
    ConversationMoved,
    /// Who speaks in it was proven.
    #[serde(rename = "conversation.proven")]
    ConversationProven,
    #[serde(rename = "interaction.accepted")]
    InteractionAccepted,
    #[serde(rename = "interaction.updated")]
    InteractionUpdated,
    /// An agent's phone rings: whoever shows that agent a screen should show this customer now.
    #[serde(rename = "call.ringing")]
    CallRinging,
    #[serde(rename = "connection.changed")]
    ConnectionChanged,
    #[serde(rename = "delivery.failed")]
    DeliveryFailed,
    #[serde(rename = "conflict.raised")]
    ConflictRaised,
    #[serde(rename = "policy.changed")]
    PolicyChanged,
    /// The hub no longer sends to a webhook: it failed for days, or answered that it is gone.
    #[serde(rename = "webhook.disabled")]
    WebhookDisabled,
    /// A flow says something; `data.type` and `data.data` are its own.
    #[serde(rename = "flow.emitted")]
    FlowEmitted,
    /// A run of a flow has failed.
    #[serde(rename = "flow.failed")]
    FlowFailed,
    #[serde(rename = "handoff.offered")]
    HandoffOffered,
    #[serde(rename = "handoff.accepted")]
    HandoffAccepted,
    #[serde(rename = "handoff.declined")]
    HandoffDeclined,
    #[serde(rename = "handoff.expired")]
    HandoffExpired,
    #[serde(rename = "handoff.completed")]
    HandoffCompleted,
    #[serde(rename = "handoff.failed")]
    HandoffFailed,
}

impl ChangeKind {
    /// Every kind there is.
    pub const ALL: &'static [Self] = &[
        Self::ProfileCreated,
        Self::ProfileUpdated,
        Self::ProfileMerged,
        Self::ProfileUnmerged,
        Self::EnquiryOpened,
        Self::EnquiryUpdated,
        Self::ConversationStarted,
        Self::ConversationMoved,
        Self::ConversationProven,
        Self::InteractionAccepted,
        Self::InteractionUpdated,
        Self::CallRinging,
        Self::ConnectionChanged,
        Self::DeliveryFailed,
        Self::ConflictRaised,
        Self::PolicyChanged,
        Self::WebhookDisabled,
        Self::FlowEmitted,
        Self::FlowFailed,
        Self::HandoffOffered,
        Self::HandoffAccepted,
        Self::HandoffDeclined,
        Self::HandoffExpired,
        Self::HandoffCompleted,
        Self::HandoffFailed,
    ];

    /// As in JSON: `profile.created` and so on.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::ProfileCreated => "profile.created",
            Self::ProfileUpdated => "profile.updated",
            Self::ProfileMerged => "profile.merged",
            Self::ProfileUnmerged => "profile.unmerged",
            Self::EnquiryOpened => "enquiry.opened",
            Self::EnquiryUpdated => "enquiry.updated",
            Self::ConversationStarted => "conversation.started",
            Self::ConversationMoved => "conversation.moved",
            Self::ConversationProven => "conversation.proven",
            Self::InteractionAccepted => "interaction.accepted",
            Self::InteractionUpdated => "interaction.updated",
            Self::CallRinging => "call.ringing",
            Self::ConnectionChanged => "connection.changed",
            Self::DeliveryFailed => "delivery.failed",
            Self::ConflictRaised => "conflict.raised",
            Self::PolicyChanged => "policy.changed",
            Self::WebhookDisabled => "webhook.disabled",
            Self::FlowEmitted => "flow.emitted",
            Self::FlowFailed => "flow.failed",
            Self::HandoffOffered => "handoff.offered",
            Self::HandoffAccepted => "handoff.accepted",
            Self::HandoffDeclined => "handoff.declined",
            Self::HandoffExpired => "handoff.expired",
            Self::HandoffCompleted => "handoff.completed",
            Self::HandoffFailed => "handoff.failed",
        }
    }
}

/// The run of a flow that made a change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Cause {
    /// The flow.
    pub flow_id: FlowId,
    /// Its run.
    pub run_id: RunId,
    /// How many flows caused each other up to here, this one included.
    pub depth: u8,
}

/// Where a change comes from, if it is no news of today.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum ChangeOrigin {
    /// What a silo held already was taken in by an approved plan: flows and webhooks are not told unless they ask for it.
    Backfill,
}

/// An entry of the ordered change log. Its place in the order is the log's, not its own.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Change {
    /// What changed.
    pub kind: ChangeKind,
    /// When the hub decided it.
    pub at: Timestamp,
    /// The connection whose news caused it, if one did: dispatch does not echo to it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub caused_by: Option<ConnectionId>,
    /// The run of a flow that made it, if one did.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub cause: Option<Cause>,
    /// Where it comes from, if it is no news of today.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub origin: Option<ChangeOrigin>,
    /// Whom it concerns (before any merge).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<ProfileId>,
    /// Which enquiry it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enquiry_id: Option<EnquiryId>,
    /// Which conversation it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_id: Option<ConversationId>,
    /// Which interaction it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interaction_id: Option<InteractionId>,
    /// Why.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub decision_id: Option<DecisionId>,
    /// Anything small that belongs to it (names of changed fields, the ringing agents).
    #[serde(default, skip_serializing_if = "Value::is_null")]
    pub data: Value,
}

impl Change {
    /// A change of this kind at this time, concerning nothing yet.
    #[must_use]
    pub const fn new(kind: ChangeKind, at: Timestamp) -> Self {
        Self {
            kind,
            at,
            caused_by: None,
            cause: None,
            origin: None,
            profile_id: None,
            enquiry_id: None,
            conversation_id: None,
            interaction_id: None,
            decision_id: None,
            data: Value::Null,
        }
    }
}

/// One thing that spoke for or against.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Evidence {
    /// The rule, for instance `C4 thread key` or `exclusive identity`.
    pub rule: String,
    /// What it rests on.
    pub detail: String,
}

/// Why something was linked, attached, merged, sent or refused. Every automatic decision has one.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Decision {
    /// Its id.
    pub id: DecisionId,
    /// What was decided about: `identity`, `continuity`, `merge`, `sync`, `handoff`.
    pub subject: String,
    /// What was decided, in one sentence.
    pub outcome: String,
    /// All that held, the decisive one first.
    pub evidence: Vec<Evidence>,
    /// What else was possible, ranked.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub alternatives: Vec<String>,
    /// What continuity came to in one word: `attach`, `open`, `park`, `suggest`, `none`, or `question` where something that came later
    /// speaks for another place.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub verdict: Option<String>,
    /// The enquiries that it may belong to, best first, where a person has to say.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub candidates: Vec<EnquiryId>,
    /// The version of the rules.
    pub rules: String,
    /// When.
    pub at: Timestamp,
    /// Whom it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<ProfileId>,
    /// Which enquiry it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enquiry_id: Option<EnquiryId>,
    /// Which interaction it concerns.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub interaction_id: Option<InteractionId>,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_is_listed_and_named_as_in_json() {
        for kind in ChangeKind::ALL {
            assert_eq!(serde_json::to_value(kind).unwrap(), kind.as_str());
        }
        // The enum's discriminants count from 0: the last of the list is the last of the enum, and none is left out.
        let listed: Vec<usize> = ChangeKind::ALL.iter().map(|kind| *kind as usize).collect();
        assert_eq!(listed, (0..listed.len()).collect::<Vec<_>>());
    }
}
