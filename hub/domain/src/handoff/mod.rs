//! Handoffs: who may pass an enquiry on, who owns it meanwhile, what follows on what, and what the receiver is told.
//!
//! The rules are a pure state machine over a handoff and the ownership of its enquiry, and they hold two things: at any time at most one
//! owner, and of those who race for an enquiry only the first gets on. The second rests on a fencing token (Kleppmann, "How to do
//! distributed locking", 2016): a number that grows with every passage, which each step must present and whose older values lose.
//! Knows no store, no clock and no channel. `docs/handoff.md` has the rules as a table.

mod briefing;
mod call;
mod machine;
#[cfg(test)]
mod tests;

pub use briefing::{BriefingFacts, briefing, fit};
pub use call::{call_goes_to, shown_by_moved_call};
pub use machine::{Offer, Ownership, Refusal, Step, Stepped, offer, overtake, step};

use throughline_schemas::{HandoffKind, Timestamp};

/// How long what may take, and who takes what nobody wants.
#[derive(Debug, Clone, PartialEq, Eq, serde::Serialize, serde::Deserialize)]
#[cfg_attr(feature = "schema", derive(schemars::JsonSchema))]
#[serde(deny_unknown_fields, default)]
pub struct HandoffPolicy {
    /// How long an offer holds, in seconds, unless it says so itself.
    pub offer_seconds: u32,
    /// How long an invitation to another channel holds, in seconds.
    pub invite_seconds: u32,
    /// How long after its time a callback may still be tried, in seconds: nobody wants to be called hours late.
    pub callback_seconds: u32,
    /// How long the receiver may take from accepting to completing, in seconds.
    pub complete_seconds: u32,
    /// The agent or queue that gets what has no owner. None: it goes back to who let it go, and what never had an owner waits.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fallback: Option<String>,
    /// How long an open enquiry may be without an owner before the fallback gets it, in seconds.
    pub unowned_seconds: u32,
}

impl Default for HandoffPolicy {
    fn default() -> Self {
        Self {
            offer_seconds: 120,
            invite_seconds: 24 * 3600,
            callback_seconds: 900,
            complete_seconds: 3600,
            fallback: None,
            unowned_seconds: 60,
        }
    }
}

/// The longest that anything of a policy may take: a year.
pub const LONGEST_SECONDS: u32 = 365 * 24 * 3600;

impl HandoffPolicy {
    /// What is wrong with it: the field, and what would be right.
    #[must_use]
    pub fn problem(&self) -> Option<(&'static str, String)> {
        let times = [
            ("/offer_seconds", self.offer_seconds),
            ("/invite_seconds", self.invite_seconds),
            ("/callback_seconds", self.callback_seconds),
            ("/complete_seconds", self.complete_seconds),
            ("/unowned_seconds", self.unowned_seconds),
        ];
        let wrong = times.into_iter().find(|(_, seconds)| *seconds == 0 || *seconds > LONGEST_SECONDS);
        if let Some((field, _)) = wrong {
            return Some((field, format!("a time of 1 to {LONGEST_SECONDS} seconds is needed")));
        }
        let bad_name = self.fallback.as_ref().is_some_and(|name| !is_name(name));
        bad_name.then(|| ("/fallback", format!("an agent's or queue's name of 1 to {LONGEST_NAME} bytes is needed, or none at all")))
    }

    /// The deadline of an offer made now.
    #[must_use]
    pub fn offered_until(&self, kind: HandoffKind, now: Timestamp) -> Timestamp {
        let seconds = match kind {
            HandoffKind::ChannelSwitch => self.invite_seconds,
            HandoffKind::Callback => self.callback_seconds,
            _ => self.offer_seconds,
        };
        now.plus_millis(i64::from(seconds) * 1000)
    }

    /// The deadline of what was accepted now.
    #[must_use]
    pub fn complete_until(&self, now: Timestamp) -> Timestamp {
        now.plus_millis(i64::from(self.complete_seconds) * 1000)
    }
}

/// The longest name of an agent, a queue or a bot, in bytes.
pub const LONGEST_NAME: usize = 200;

/// Whether a text can be an agent's or a queue's name.
#[must_use]
pub fn is_name(text: &str) -> bool {
    !text.trim().is_empty() && text.len() <= LONGEST_NAME && !text.chars().any(char::is_control)
}

/// Whether this kind passes the enquiry to another owner. Of these one at a time may be open for an enquiry; the others (an invitation,
/// a question, a call agreed on) stand beside them.
#[must_use]
pub const fn moves_owner(kind: HandoffKind) -> bool {
    matches!(kind, HandoffKind::Escalate | HandoffKind::TransferCold | HandoffKind::TransferWarm | HandoffKind::BotToHuman)
}

/// Whether the enquiry changes hands when it is accepted. A warm transfer changes hands when it is complete.
#[must_use]
pub const fn moves_at_accept(kind: HandoffKind) -> bool {
    matches!(kind, HandoffKind::Escalate | HandoffKind::TransferCold | HandoffKind::BotToHuman)
}
