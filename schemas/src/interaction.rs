//! Things that happened: messages, calls, self-service sessions, notes; and the conversations they belong to.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::{ConnectionId, ConversationId, EnquiryId, IdentityType, InteractionId, ProfileId, Timestamp};

/// The kind of channel.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum Channel {
    Email,
    Phone,
    Sms,
    Chat,
    Social,
    Web,
    Other,
}

/// Which way it went, seen from the business.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Direction {
    /// From the customer to us.
    Inbound,
    /// From us to the customer.
    Outbound,
    /// Among ourselves.
    Internal,
}

/// In which role somebody took part.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum ParticipantRole {
    Customer,
    Agent,
    Bot,
    Supervisor,
    ThirdParty,
}

/// Somebody who took part. The sender need not be the customer.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Participant {
    /// In which role.
    pub role: ParticipantRole,
    /// What kind of identifier `address` is; none for agents known by a name of the silo's.
    #[serde(default, rename = "type", skip_serializing_if = "Option::is_none")]
    pub identity_type: Option<IdentityType>,
    /// The identifier as the silo gives it; none when it is withheld.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub address: Option<String>,
    /// The name the channel showed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Whether this one sent the message or placed the call.
    #[serde(default)]
    pub sender: bool,
}

/// What ties a message to earlier ones.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ThreadEvidence {
    /// Its own id, without brackets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub message_id: Option<String>,
    /// What it answers.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub in_reply_to: Vec<String>,
    /// The thread so far, oldest first.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub references: Vec<String>,
    /// Continuity tokens found (plus-address, deep link, IVR digits), as they were presented.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub tokens: Vec<String>,
}

/// A file that came with a message; its content is in the hub's content-addressed files.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Attachment {
    /// Its file name.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// Its media type.
    pub media_type: String,
    /// Its size in bytes.
    pub size: u64,
    /// `sha256:<hex>`.
    pub reference: String,
}

/// What the mail server, or whoever else took a message in, found of its sender (SPF, DKIM and DMARC: RFC 7489).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Authentication {
    /// The sender's domain vouches for it.
    Passed,
    /// The sender's domain says that it is not from there.
    Failed,
}

/// What a carrier attests of a caller id (STIR/SHAKEN: RFC 8588).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Attestation {
    /// A: it knows the customer, and that the number is the customer's.
    Full,
    /// B: it knows the customer, not whose the number is.
    Partial,
    /// C: it only passes the call on.
    Gateway,
    /// The signature does not hold.
    Failed,
}

/// A message.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct MessageFacts {
    /// The subject, where the channel has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// The text; when it is long, its beginning.
    pub text: String,
    /// The whole text, when `text` is only its beginning.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_reference: Option<String>,
    /// The HTML form, if there was one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub html_reference: Option<String>,
    /// Files.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub attachments: Vec<Attachment>,
    /// Whether the sender is who it says, as far as the channel knows.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub authentication: Option<Authentication>,
    /// Header fields by which machines are known (`auto-submitted`, `precedence`, `list-id`, `return-path`, …), by lower-case name, from
    /// connectors that do not judge them.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub headers: BTreeMap<String, String>,
}

/// How a call came out.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CallOutcome {
    /// A human answered.
    Answered,
    /// The caller gave up before a human answered.
    Abandoned,
    /// The caller left a message.
    Voicemail,
    /// The IVR served the caller.
    SelfService,
    /// The other side was busy.
    Busy,
    /// Nobody picked up.
    NoAnswer,
    /// The other side declined.
    Declined,
    /// The call could not be set up.
    Failed,
    /// We lost sight of it, or it is still going on.
    #[default]
    Unknown,
}

/// How an agent passed a call on.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Transfer {
    /// Passed on unannounced.
    Blind,
    /// Passed on after a word with the next one.
    Attended,
}

/// Who ended a call.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
#[allow(missing_docs, reason = "the names say it")]
pub enum EndedBy {
    Customer,
    Agent,
    System,
}

/// Where a call is now.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum CallPhase {
    /// It reached the PBX.
    #[default]
    Offered,
    /// It waits in a queue.
    Queued,
    /// At least one agent's phone rings: the moment of the screen pop.
    Ringing,
    /// Customer and agent talk.
    Talking,
    /// It is over.
    Ended,
}

/// A call.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct CallFacts {
    /// Where it is now.
    pub phase: CallPhase,
    /// Agents whose phone rings now.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub ringing: Vec<String>,
    /// Agents who talked, in order; one who had it again stands again.
    #[serde(default)]
    pub agents: Vec<String>,
    /// The queue it waited in last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub queue: Option<String>,
    /// Time in the queue before an answer or the end, in milliseconds.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub wait_ms: Option<u64>,
    /// Whether a human answered.
    #[serde(default)]
    pub answered: bool,
    /// How it came out.
    #[serde(default)]
    pub outcome: CallOutcome,
    /// What the customer keyed, one entry for each input.
    #[serde(default)]
    pub digits: Vec<String>,
    /// How it was passed on.
    #[serde(default)]
    pub transfers: Vec<Transfer>,
    /// How often the customer was put on hold.
    #[serde(default)]
    pub holds: u32,
    /// Who ended it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_by: Option<EndedBy>,
    /// Names of recordings in the PBX.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub recordings: Vec<String>,
    /// What the carrier attests of the caller id.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub attestation: Option<Attestation>,
}

/// A self-service session: an IVR without an agent, a knowledge-base visit.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct SelfServiceFacts {
    /// The steps taken.
    pub steps: Vec<String>,
}

/// What happened, by kind.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case", tag = "kind")]
pub enum Content {
    /// A message.
    Message(MessageFacts),
    /// A call.
    Call(CallFacts),
    /// A self-service session.
    SelfService(SelfServiceFacts),
    /// A note among ourselves.
    Note {
        /// The text.
        text: String,
    },
}

impl Content {
    /// `message`, `call`, `self_service` or `note`.
    #[must_use]
    pub const fn kind(&self) -> &'static str {
        match self {
            Self::Message(_) => "message",
            Self::Call(_) => "call",
            Self::SelfService(_) => "self_service",
            Self::Note { .. } => "note",
        }
    }
}

/// What a connector says about one thing that happened: the `data` of an item of kind `interaction`.
///
/// The same key with a higher version replaces what was said before (a call that rings, is answered, ends).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct InteractionFact {
    /// The kind of channel.
    pub channel: Channel,
    /// Which way it went.
    pub direction: Direction,
    /// The address on our side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The silo's own key of the thread, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub conversation_key: Option<String>,
    /// When it happened or began.
    pub occurred_at: Timestamp,
    /// When it ended, for what lasts.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
    /// Who took part.
    pub participants: Vec<Participant>,
    /// What ties it to earlier ones.
    #[serde(default)]
    pub thread: ThreadEvidence,
    /// Why it is taken for an automatic message, if it is (`auto-submitted`, `list`, `delivery-status`, …).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub automated: Option<String>,
    /// Context variables the channel carried.
    #[serde(default, skip_serializing_if = "BTreeMap::is_empty")]
    pub variables: BTreeMap<String, Value>,
    /// What happened.
    pub content: Content,
}

impl InteractionFact {
    /// The customer's side: the first participant in the customer's role.
    #[must_use]
    pub fn customer(&self) -> Option<&Participant> {
        self.participants.iter().find(|participant| participant.role == ParticipantRole::Customer)
    }
}

/// One immutable thing that happened, as the hub keeps it. Unique by (connection, external id).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Interaction {
    /// Its id.
    pub id: InteractionId,
    /// Where it came from or went through.
    pub connection_id: ConnectionId,
    /// The silo's key of it.
    pub external_id: String,
    /// The silo's version of it, the highest seen.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<String>,
    /// The thread it belongs to.
    pub conversation_id: ConversationId,
    /// Whose it is, as it was before any merge; none when nobody could be told.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<ProfileId>,
    /// What it is about; none while it is parked or only suggested.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enquiry_id: Option<EnquiryId>,
    /// When the hub accepted it.
    pub accepted_at: Timestamp,
    /// How sending it went, for what we send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivery: Option<DeliveryState>,
    /// What happened.
    #[serde(flatten)]
    pub fact: InteractionFact,
}

/// How the sending of an outbound message went.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum DeliveryState {
    /// Durably accepted, not yet sent.
    Queued,
    /// The silo took it.
    Sent,
    /// It was given up; see the dead letters.
    Failed,
}

/// One thread on one channel in one silo. Belongs to at most one enquiry at a time.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Conversation {
    /// Its id.
    pub id: ConversationId,
    /// Where it takes place.
    pub connection_id: ConnectionId,
    /// On which kind of channel.
    pub channel: Channel,
    /// The silo's key of the thread, or the hub's own.
    pub key: String,
    /// Whose it is, as it was before any merge.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub profile_id: Option<ProfileId>,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub enquiry_id: Option<EnquiryId>,
    /// The address on our side.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub endpoint: Option<String>,
    /// The subject, where it has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub subject: Option<String>,
    /// When it began.
    pub started_at: Timestamp,
    /// When something last happened in it.
    pub updated_at: Timestamp,
    /// Who the speaker was last proven to be.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub proven: Vec<ProvenIdentity>,
}

/// An identity that was proven to be the speaker's, in one conversation and for some time.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct ProvenIdentity {
    /// What kind.
    #[serde(rename = "type")]
    pub kind: IdentityType,
    /// Scope of handles and external ids; empty for phone and mail.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub namespace: String,
    /// The canonical form.
    pub value: String,
    /// Since when.
    pub at: Timestamp,
    /// Until when.
    pub until: Timestamp,
}
