//! Handoffs: the passage of an enquiry to another owner or channel, and the briefing that goes with it.
//!
//! What may follow on what, and who owns the enquiry meanwhile, is decided in the hub's `domain/handoff`; these are only its words.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use crate::interaction::{Attachment, Channel, Direction, ParticipantRole};
use crate::{ConnectionId, EnquiryId, EnquiryStatus, HandoffId, InteractionId, Timestamp};

/// What is passed on, and how.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HandoffKind {
    /// The customer is invited to another channel; the owner stays.
    ChannelSwitch,
    /// To somebody who can do more, or to a call. The owner stays until it is accepted.
    Escalate,
    /// Let go at once: nobody owns it until it is accepted.
    TransferCold,
    /// The owner stays until the receiver has been told and it is complete.
    TransferWarm,
    /// Somebody is asked; the owner never changes.
    Consult,
    /// From a bot to a person. The bot keeps it until a person accepts, but answers no more.
    BotToHuman,
    /// The customer is called at an agreed time; the owner stays.
    Callback,
}

/// Where a handoff stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum HandoffState {
    /// Waits for its receiver until the deadline.
    Offered,
    /// The receiver took it; it is not complete yet.
    Accepted,
    /// The receiver said no, or whoever offered it took it back.
    Declined,
    /// Nobody took it in time.
    Expired,
    /// Done.
    Completed,
    /// It came to nothing: the call failed, the enquiry ended, somebody assigned it by hand.
    Failed,
}

impl HandoffState {
    /// Something may still happen to it.
    #[must_use]
    pub const fn is_open(self) -> bool {
        matches!(self, Self::Offered | Self::Accepted)
    }
}

/// Whom an enquiry is offered to.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(rename_all = "snake_case")]
pub enum Receiver {
    /// One agent; nobody else may accept.
    Agent(String),
    /// A queue; the first of its agents to accept has it.
    Queue(String),
}

impl Receiver {
    /// The agent's or the queue's name.
    #[must_use]
    pub fn name(&self) -> &str {
        match self {
            Self::Agent(name) | Self::Queue(name) => name,
        }
    }
}

/// Where the customer is met: a channel, through which connection, at which address.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Meeting {
    /// The kind of channel.
    pub channel: Channel,
    /// Through which connection the customer is called or written to.
    pub connection_id: ConnectionId,
    /// The customer's address there.
    pub address: String,
}

/// One exchange, as a briefing shows it.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Exchange {
    /// Which interaction.
    pub interaction_id: InteractionId,
    /// When.
    pub at: Timestamp,
    /// On which kind of channel.
    pub channel: Channel,
    /// Which way.
    pub direction: Direction,
    /// Who spoke, as far as it is known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub by: Option<ParticipantRole>,
    /// What was said or happened; the beginning, when it is long.
    pub text: String,
}

/// What whoever goes on needs to know, so that nothing is asked twice.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Briefing {
    /// The enquiry.
    pub enquiry_id: EnquiryId,
    /// What it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub reason: Option<String>,
    /// Where it stands.
    pub status: EnquiryStatus,
    /// Since when it is open: the customer's waiting time goes on over every switch.
    pub opened_at: Timestamp,
    /// A word of whoever hands it on.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// What to call the customer.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub customer: Option<String>,
    /// Context variables.
    pub variables: BTreeMap<String, Value>,
    /// The last exchanges over all channels, oldest first.
    pub last_exchanges: Vec<Exchange>,
    /// What was tried so far, oldest first.
    pub tried: Vec<String>,
    /// Files that came with what was said, newest first.
    pub attachments: Vec<Attachment>,
    /// How many values were kept back because the receiver may not see them.
    pub withheld: u32,
}

/// The passage of an enquiry to another owner or channel.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
pub struct Handoff {
    /// Its id.
    pub id: HandoffId,
    /// Which enquiry.
    pub enquiry_id: EnquiryId,
    /// What is passed on, and how.
    pub kind: HandoffKind,
    /// Where it stands.
    pub state: HandoffState,
    /// Who offered it.
    pub offered_by: String,
    /// Who owned the enquiry when it was offered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Whom it is offered to; none where only the customer changes the channel.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<Receiver>,
    /// Where the customer is to be met, where that changes.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub meeting: Option<Meeting>,
    /// The call under way that goes along: it is sent to the phone of who takes the enquiry.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub call: Option<InteractionId>,
    /// When the customer is to be called.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub at: Option<Timestamp>,
    /// To be accepted before this; once accepted, to be completed before this.
    pub deadline: Timestamp,
    /// What the next step must present. Whoever holds an older one has lost the race. Never falls for one enquiry.
    pub fencing_token: u64,
    /// What the receiver needs to know.
    pub briefing: Briefing,
    /// Who accepted it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_by: Option<String>,
    /// When the receiver acknowledged the briefing.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub acknowledged_at: Option<Timestamp>,
    /// What came of it, in a few words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub outcome: Option<String>,
    /// When it was offered.
    pub offered_at: Timestamp,
    /// When it was accepted.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub accepted_at: Option<Timestamp>,
    /// When it was over.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub ended_at: Option<Timestamp>,
}
