//! Which enquiry does an interaction belong to? The evidence ladder C0 to C5, the participant check, parking, re-opening.
//!
//! Two scores are kept apart: assurance (who is speaking) and continuity evidence (about which enquiry). Joining the wrong enquiry
//! shows a stranger somebody else's affairs, so what is not certain is only suggested. Knows no store: everything it goes by comes
//! in as facts.

pub mod automated;
pub mod budget;
mod by_person;
mod by_reference;
pub mod policy;
pub mod sender;
pub mod subject;
#[cfg(test)]
mod tests;
pub mod token;

use throughline_schemas::{Assurance, Channel, ConversationId, EnquiryId, EnquiryStatus, Evidence, ProfileId, Timestamp};

use crate::identity::IdentityKey;
pub use policy::{ContinuityPolicies, ContinuityPolicy};

/// What is known of an enquiry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct EnquiryFacts {
    /// Its id.
    pub id: EnquiryId,
    /// Whose it is, after all merges.
    pub root: ProfileId,
    /// Where it stands.
    pub status: EnquiryStatus,
    /// Its brand.
    pub brand: String,
    /// When it began.
    pub opened_at: Timestamp,
    /// When it last changed or was spoken of.
    pub updated_at: Timestamp,
    /// When it was resolved.
    pub resolved_at: Option<Timestamp>,
    /// What it is about.
    pub reason: String,
    /// How long what holds for it on the channel that the interaction came by.
    pub policy: ContinuityPolicy,
    /// Whether the sender may open it again: not once too often.
    pub may_reopen: bool,
    /// Its customer is expected on this channel: an open handoff leads there, and its deadline still runs.
    pub expected: bool,
}

/// By what a thread was found, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum ThreadRule {
    /// C4: the silo's own key of the thread names this conversation.
    ThreadKey,
    /// C4: it answers a message that we sent.
    OurMessageId,
    /// C3: it refers to a third party's message that we know of.
    KnownReference,
}

/// A conversation that the interaction may go on with.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ThreadMatch {
    /// By what it was found.
    pub rule: ThreadRule,
    /// The conversation.
    pub conversation: ConversationId,
    /// The enquiry it belongs to, if it belongs to one.
    pub enquiry: Option<EnquiryId>,
    /// Who took part so far, after all merges.
    pub participants: Vec<ProfileId>,
    /// The addresses of those on the customer's side who took part so far or were written to.
    pub participant_addresses: Vec<IdentityKey>,
}

/// A continuity token that came with the interaction.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct TokenMatch {
    /// The enquiry it points to.
    pub enquiry: EnquiryId,
    /// Whose that enquiry is, after all merges.
    pub root: Option<ProfileId>,
    /// Whether it holds.
    pub valid: bool,
    /// Why not, if it does not.
    pub why_not: Option<String>,
}

/// Everything the decision goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ContinuityFacts {
    /// The customer, after all merges; none if nobody could be told.
    pub sender: Option<ProfileId>,
    /// Only an identity that several persons share tells who the sender is.
    pub sender_shared: bool,
    /// How sure it is that the sender is who the identity says.
    pub assurance: Assurance,
    /// Why the identity may be another person's by now, if something speaks for that.
    pub doubt: Option<String>,
    /// The customer's identities in this interaction.
    pub sender_keys: Vec<IdentityKey>,
    /// Not from the customer: from us, or among ourselves.
    pub outbound: bool,
    /// Why it is taken for an automatic message, if it is.
    pub automated: Option<String>,
    /// Tokens that came with it.
    pub tokens: Vec<TokenMatch>,
    /// Conversations it may go on with.
    pub threads: Vec<ThreadMatch>,
    /// The enquiries of the sender, and those that tokens and threads name. If a shared identity points to several persons (no
    /// sender, `sender_shared`), those of all of them.
    pub enquiries: Vec<EnquiryFacts>,
    /// The brand that was addressed.
    pub brand: String,
    /// The channel.
    pub channel: Channel,
    /// What its subject says, if it has one.
    pub subject: Option<String>,
    /// When it happened.
    pub occurred_at: Timestamp,
    /// The time of the decision.
    pub now: Timestamp,
    /// The id to use if an enquiry must be opened.
    pub fresh: EnquiryId,
    /// Whether an enquiry may be opened for it: not for what we send, not among ourselves, not without a customer.
    pub starts_enquiry: bool,
    /// What else is to be written down: it decides nothing.
    pub remarks: Vec<Evidence>,
}

/// Where the interaction goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Placement {
    /// It belongs to this enquiry.
    Attach {
        /// Which.
        enquiry: EnquiryId,
        /// The status the enquiry gets by it, if it changes.
        reopen: Option<EnquiryStatus>,
    },
    /// It opens a new enquiry.
    Open {
        /// The new id.
        enquiry: EnquiryId,
        /// The earlier one it goes on from.
        follows: Option<EnquiryId>,
    },
    /// Its token or thread names this enquiry, but the sender is no participant: agents see it there, nothing is appended, the
    /// enquiry's customer hears nothing of it.
    Park {
        /// Which.
        enquiry: EnquiryId,
    },
    /// It may belong to one of these; a person decides.
    Suggest {
        /// Best first.
        candidates: Vec<EnquiryId>,
        /// Open this new enquiry meanwhile.
        then_open: Option<EnquiryId>,
    },
    /// It belongs to no enquiry.
    None,
}

/// Where an interaction goes, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct ContinuityDecision {
    /// Where it goes.
    pub placement: Placement,
    /// The conversation it joins; none if it begins one.
    pub conversation: Option<ConversationId>,
    /// All that held, the decisive one first.
    pub evidence: Vec<Evidence>,
    /// What else was possible, ranked.
    pub alternatives: Vec<String>,
    /// What was decided, in one sentence.
    pub outcome: String,
}

/// Decides where an interaction goes. The same facts in any order give the same decision.
#[must_use]
pub fn decide(facts: &ContinuityFacts) -> ContinuityDecision {
    let references = by_reference::references(facts);
    let mut placed = by_reference::sure(facts, &references)
        .or_else(|| by_reference::parked(&references))
        .or_else(|| by_reference::likely(facts, &references))
        .unwrap_or_else(|| by_person::place(facts));
    by_reference::record(&references, &mut placed);
    let conversation = by_reference::conversation(&references, placed.about);
    let Placed { placement, mut evidence, alternatives, outcome, .. } = placed;
    evidence.extend(facts.remarks.iter().cloned());
    ContinuityDecision { placement, conversation, evidence, alternatives, outcome }
}

/// What a rung of the ladder says.
struct Placed {
    placement: Placement,
    /// The known enquiry that decided, if one did.
    about: Option<EnquiryId>,
    evidence: Vec<Evidence>,
    alternatives: Vec<String>,
    outcome: String,
}

impl ContinuityFacts {
    fn enquiry(&self, id: EnquiryId) -> Option<&EnquiryFacts> {
        self.enquiries.iter().find(|enquiry| enquiry.id == id)
    }

    /// Who the sender is was at least asserted by the channel; whom we write to we have chosen ourselves.
    fn sender_is_asserted(&self) -> bool {
        self.outbound || self.assurance >= Assurance::Asserted
    }

    /// Nothing speaks against the one whom the identity names.
    fn sender_is_sure(&self) -> bool {
        self.sender.is_some() && !self.sender_shared && self.sender_is_asserted() && (self.outbound || self.doubt.is_none())
    }

    /// Automatic messages open nothing, nor does what we send.
    fn may_open(&self) -> bool {
        self.starts_enquiry && !self.outbound && self.automated.is_none()
    }
}

impl Placement {
    /// In one word, as decisions and the API have it.
    #[must_use]
    pub const fn verdict(&self) -> &'static str {
        match self {
            Self::Attach { .. } => "attach",
            Self::Open { .. } => "open",
            Self::Park { .. } => "park",
            Self::Suggest { .. } => "suggest",
            Self::None => "none",
        }
    }
}

impl EnquiryFacts {
    fn ended_at(&self) -> Timestamp {
        self.resolved_at.unwrap_or(self.updated_at)
    }
}

/// Goes on with this enquiry: attaches, re-opens within the grace period, or follows what is over.
fn go_on(facts: &ContinuityFacts, enquiry: &EnquiryFacts) -> (Placement, String) {
    let id = enquiry.id;
    let attach = |reopen| Placement::Attach { enquiry: id, reopen };
    if facts.outbound || facts.automated.is_some() {
        return (attach(None), format!("it belongs to {id}"));
    }
    let in_grace = facts.now.since(enquiry.ended_at()) <= enquiry.policy.grace_ms;
    match enquiry.status {
        // Two machines that answer each other look like people; an enquiry that bounces between states is left where it is.
        EnquiryStatus::Waiting | EnquiryStatus::Resolved if in_grace_or_waiting(enquiry, in_grace) && !enquiry.may_reopen => {
            (attach(None), format!("it belongs to {id}, which this sender opened again too often and stays as it is"))
        }
        EnquiryStatus::Open => (attach(None), format!("it belongs to {id}")),
        EnquiryStatus::Waiting => (attach(Some(EnquiryStatus::Open)), format!("it belongs to {id}, for which we waited")),
        EnquiryStatus::Resolved if in_grace => (attach(Some(EnquiryStatus::Open)), format!("it belongs to {id}, which opens again")),
        EnquiryStatus::Resolved | EnquiryStatus::Closed if facts.may_open() => {
            let fresh = facts.fresh;
            (Placement::Open { enquiry: fresh, follows: Some(id) }, format!("it opens {fresh}, which follows {id}: that one is over"))
        }
        EnquiryStatus::Resolved | EnquiryStatus::Closed => (attach(None), format!("it belongs to {id}, which stays as it is")),
    }
}

fn in_grace_or_waiting(enquiry: &EnquiryFacts, in_grace: bool) -> bool {
    enquiry.status == EnquiryStatus::Waiting || in_grace
}

fn evidence(rule: &str, detail: impl Into<String>) -> Evidence {
    Evidence { rule: rule.to_owned(), detail: detail.into() }
}
