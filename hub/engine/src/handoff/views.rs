//! What is asked of handoffs from outside, and how it is answered. A handoff itself is shown as it is.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_domain::handoff::HandoffPolicy;
use throughline_schemas::{Channel, ConnectionId, EnquiryId, HandoffKind, HandoffState, InteractionId, Receiver, Timestamp};

/// An enquiry to be handed on.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewHandoff {
    /// What is passed on, and how.
    pub kind: HandoffKind,
    /// Who hands it on: an agent's or a bot's name.
    pub by: String,
    /// Whom to; not for a channel switch.
    #[serde(default)]
    pub to: Option<Receiver>,
    /// Where the customer is to be met: for a channel switch, a callback, or an escalation to a call.
    #[serde(default)]
    pub meeting: Option<NewMeeting>,
    /// The call under way that goes along, an interaction of this enquiry: it is sent to the phone of who takes the enquiry. A cold
    /// transfer to an agent sends it at once, everything else when it is accepted.
    #[serde(default)]
    pub call: Option<InteractionId>,
    /// When the customer is to be called; only for a callback.
    #[serde(default)]
    pub at: Option<Timestamp>,
    /// What the customer is sent; only for a channel switch.
    #[serde(default)]
    pub invite: Option<NewInvite>,
    /// A word to the receiver.
    #[serde(default)]
    pub note: Option<String>,
    /// How long it holds; for a callback from its time on. The policy's time if absent.
    #[serde(default)]
    pub deadline_seconds: Option<u32>,
    /// The enquiry's fencing token as you know it: refused if somebody else got hold of the enquiry meanwhile.
    #[serde(default)]
    pub fencing_token: Option<u64>,
}

/// Where the customer is to be met.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewMeeting {
    /// Through which connection.
    pub connection_id: ConnectionId,
    /// The kind of channel; the connection's first if absent.
    #[serde(default)]
    pub channel: Option<Channel>,
    /// The customer's address; the one known if absent.
    #[serde(default)]
    pub address: Option<String>,
}

/// An invitation to another channel.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewInvite {
    /// What is written. `{link}` and `{token}` are replaced.
    pub text: String,
    /// The subject, where the channel has one.
    #[serde(default)]
    pub subject: Option<String>,
    /// Our address to send from; the connection's own if absent.
    #[serde(default)]
    pub from: Option<String>,
    /// The address of the page or chat to come to, in which `{token}` is replaced: `https://shop.example/chat?t={token}`.
    #[serde(default)]
    pub link: Option<String>,
}

/// A step of somebody who takes part in a handoff.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct HandoffAnswer {
    /// Who: an agent's name.
    pub by: String,
    /// The handoff's fencing token as you know it. An older one is refused: somebody was faster.
    pub fencing_token: u64,
    /// The briefing was read. Needed before a handoff is complete.
    #[serde(default)]
    pub acknowledge_briefing: bool,
    /// Why; only when declining.
    #[serde(default)]
    pub why: Option<String>,
}

/// Which handoffs.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct HandoffFilter {
    /// Of this enquiry, newest first.
    pub enquiry: Option<EnquiryId>,
    /// In this state.
    pub state: Option<HandoffState>,
    /// Offered to this agent or queue, or accepted by this agent.
    pub receiver: Option<String>,
}

/// A brand's policy.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize, JsonSchema)]
pub struct HandoffPolicyView {
    /// Which brand; `default` holds for all that have none of their own.
    pub brand: String,
    /// The policy.
    #[serde(flatten)]
    pub policy: HandoffPolicy,
}
