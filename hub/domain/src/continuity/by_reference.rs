//! C5 to C3: what the interaction itself names, a token or a thread, and whether its sender may go on with that.

use throughline_schemas::{Assurance, ConversationId, EnquiryId, Evidence, IdentityType};

use super::{ContinuityFacts, EnquiryFacts, Placed, Placement, ThreadMatch, ThreadRule, TokenMatch, evidence, go_on};

/// Mail domains that everybody may have an address of: the same domain says nothing there.
const PUBLIC_DOMAINS: [&str; 24] = [
    "gmail.com",
    "outlook.com",
    "hotmail.com",
    "live.com",
    "msn.com",
    "yahoo.com",
    "ymail.com",
    "icloud.com",
    "me.com",
    "mac.com",
    "aol.com",
    "proton.me",
    "gmx.de",
    "gmx.net",
    "web.de",
    "t-online.de",
    "freenet.de",
    "orange.fr",
    "free.fr",
    "libero.it",
    "mail.ru",
    "yandex.ru",
    "qq.com",
    "163.com",
];

/// Which rung of the ladder, strongest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Rung {
    Token,
    ThreadKey,
    OurMessageId,
    PendingHandoff,
    KnownReference,
}

/// Something that the interaction names.
pub(super) struct Reference<'a> {
    rung: Rung,
    enquiry: Option<&'a EnquiryFacts>,
    conversation: Option<ConversationId>,
    /// Why it does not decide, if it does not.
    fails: Option<String>,
    /// It does not even hold, so that there is nothing to park.
    void: bool,
}

impl Rung {
    const fn name(self) -> &'static str {
        match self {
            Self::Token => "C5 continuity token",
            Self::ThreadKey => "C4 thread key",
            Self::OurMessageId => "C4 answer to our message",
            Self::PendingHandoff => "C4 pending handoff",
            Self::KnownReference => "C3 known reference",
        }
    }
}

/// All that the interaction names, strongest first, in an order that does not depend on how it came in.
pub(super) fn references(facts: &ContinuityFacts) -> Vec<Reference<'_>> {
    let tokens = facts.tokens.iter().map(|token| of_token(facts, token));
    let threads = facts.threads.iter().map(|thread| of_thread(facts, thread));
    let handoffs = facts.enquiries.iter().filter_map(|enquiry| of_handoff(facts, enquiry));
    let mut all: Vec<Reference<'_>> = tokens.chain(threads).chain(handoffs).collect();
    all.sort_by(|a, b| a.place().cmp(&b.place()));
    all
}

impl Reference<'_> {
    /// Where it stands among the others: strongest rung first, what decides before what does not.
    fn place(&self) -> (Rung, Option<&str>, Option<EnquiryId>, Option<ConversationId>) {
        (self.rung, self.fails.as_deref(), self.enquiry.map(|enquiry| enquiry.id), self.conversation)
    }

    /// Whether this is what `placed` rests on.
    fn decided(&self, placed: &Placed) -> bool {
        let is_parked = matches!(placed.placement, Placement::Park { .. });
        placed.about.is_some() && self.enquiry.map(|enquiry| enquiry.id) == placed.about && self.fails.is_some() == is_parked
    }
}

fn of_token<'a>(facts: &'a ContinuityFacts, token: &TokenMatch) -> Reference<'a> {
    let enquiry = facts.enquiry(token.enquiry);
    let supported = facts.threads.iter().any(|thread| thread.enquiry == Some(token.enquiry) && takes_part(facts, thread));
    let is_owner = facts.sender.is_some() && facts.sender == token.root.or(enquiry.map(|enquiry| enquiry.root));
    let void = !token.valid || enquiry.is_none();
    let fails = if !token.valid {
        Some(token.why_not.clone().unwrap_or_else(|| "the token does not hold".to_owned()))
    } else if enquiry.is_none() {
        Some(format!("{} is not there any more", token.enquiry))
    } else {
        participant_check(facts, is_owner || supported)
    };
    Reference { rung: Rung::Token, enquiry, conversation: None, fails, void }
}

fn of_thread<'a>(facts: &'a ContinuityFacts, thread: &ThreadMatch) -> Reference<'a> {
    let enquiry = thread.enquiry.and_then(|id| facts.enquiry(id));
    let takes_part = takes_part(facts, thread);
    let (rung, fails) = match thread.rule {
        // The silo keeps its own threads apart; where it knows nobody, there is nobody to take for another.
        ThreadRule::ThreadKey => {
            let nobody_known = thread.participants.is_empty() && thread.participant_addresses.is_empty();
            (Rung::ThreadKey, if nobody_known { None } else { participant_check(facts, takes_part) })
        }
        ThreadRule::OurMessageId => (Rung::OurMessageId, participant_check(facts, takes_part)),
        ThreadRule::KnownReference => (Rung::KnownReference, participant_check(facts, takes_part || is_of_verified_domain(facts, thread))),
    };
    Reference { rung, enquiry, conversation: Some(thread.conversation), fails, void: enquiry.is_none() }
}

/// The customer was asked to come, or is being called, on this very channel. Whoever is not surely that customer is not meant; there is
/// nothing that they hold, so nothing is parked for it.
fn of_handoff<'a>(facts: &ContinuityFacts, enquiry: &'a EnquiryFacts) -> Option<Reference<'a>> {
    let meant = enquiry.expected && !facts.sender_shared && facts.sender == Some(enquiry.root);
    let fails = participant_check(facts, meant);
    meant.then(|| Reference { rung: Rung::PendingHandoff, enquiry: Some(enquiry), conversation: None, void: fails.is_some(), fails })
}

const NOT_A_PARTICIPANT: &str = "the sender is no participant";

fn participant_check(facts: &ContinuityFacts, takes_part: bool) -> Option<String> {
    if facts.outbound {
        return None;
    }
    if !takes_part {
        return Some(NOT_A_PARTICIPANT.to_owned());
    }
    (!facts.sender_is_asserted()).then(|| "the sender only claims to be a participant".to_owned())
}

/// A shared identity that took part itself goes on; it does not go on for the person it was once linked to.
fn takes_part(facts: &ContinuityFacts, thread: &ThreadMatch) -> bool {
    let by_address = facts.sender_keys.iter().any(|key| thread.participant_addresses.contains(key));
    let by_profile = !facts.sender_shared && facts.sender.is_some_and(|sender| thread.participants.contains(&sender));
    by_address || by_profile
}

fn is_of_verified_domain(facts: &ContinuityFacts, thread: &ThreadMatch) -> bool {
    let domains = |keys: &'_ [crate::identity::IdentityKey]| -> Vec<String> {
        keys.iter().filter(|key| key.kind == IdentityType::Email).filter_map(|key| domain(&key.value)).collect()
    };
    let theirs = domains(&thread.participant_addresses);
    facts.assurance >= Assurance::Proven && domains(&facts.sender_keys).iter().any(|domain| theirs.contains(domain))
}

fn domain(address: &str) -> Option<String> {
    let (_, domain) = address.rsplit_once('@')?;
    (!PUBLIC_DOMAINS.contains(&domain)).then(|| domain.to_owned())
}

/// C5 and C4, where the participant check passes.
pub(super) fn sure(facts: &ContinuityFacts, references: &[Reference<'_>]) -> Option<Placed> {
    [Rung::Token, Rung::ThreadKey, Rung::OurMessageId, Rung::PendingHandoff].into_iter().find_map(|rung| on_rung(facts, references, rung))
}

/// C3, where the sender takes part or is of the same verified domain.
pub(super) fn likely(facts: &ContinuityFacts, references: &[Reference<'_>]) -> Option<Placed> {
    on_rung(facts, references, Rung::KnownReference)
}

fn on_rung(facts: &ContinuityFacts, references: &[Reference<'_>], rung: Rung) -> Option<Placed> {
    let mut enquiries: Vec<&EnquiryFacts> = references
        .iter()
        .filter(|reference| reference.rung == rung && reference.fails.is_none())
        .filter_map(|reference| reference.enquiry)
        .collect();
    enquiries.dedup_by_key(|enquiry| enquiry.id);
    match enquiries.as_slice() {
        [] => None,
        [enquiry] => {
            let (placement, outcome) = go_on(facts, enquiry);
            Some(Placed { placement, about: Some(enquiry.id), evidence: Vec::new(), alternatives: Vec::new(), outcome })
        }
        several => Some(fused(rung, several)),
    }
}

/// Two threads in one message are not one enquiry: a person looks.
fn fused(rung: Rung, enquiries: &[&EnquiryFacts]) -> Placed {
    let mut ranked = enquiries.to_vec();
    ranked.sort_by_key(|enquiry| (!enquiry.status.is_live(), std::cmp::Reverse(enquiry.updated_at), enquiry.id));
    let candidates: Vec<EnquiryId> = ranked.iter().map(|enquiry| enquiry.id).collect();
    Placed {
        outcome: format!("it names {} enquiries at once ({}): a person must say to which it belongs", candidates.len(), rung.name()),
        alternatives: ranked.iter().map(|enquiry| format!("{} ({})", enquiry.id, enquiry.reason)).collect(),
        placement: Placement::Suggest { candidates, then_open: None },
        about: None,
        evidence: Vec::new(),
    }
}

/// A token or thread key that holds, in the hands of somebody who is no participant.
pub(super) fn parked(references: &[Reference<'_>]) -> Option<Placed> {
    let reference =
        references.iter().find(|reference| reference.rung < Rung::KnownReference && !reference.void && reference.fails.is_some())?;
    let enquiry = reference.enquiry?.id;
    let outcome = format!("it names {enquiry}, but its sender is no participant: it is parked there and not appended");
    Some(Placed { placement: Placement::Park { enquiry }, about: Some(enquiry), evidence: Vec::new(), alternatives: Vec::new(), outcome })
}

/// Writes all references down: those that decided first, those to other enquiries also as alternatives.
pub(super) fn record(references: &[Reference<'_>], placed: &mut Placed) {
    let (decisive, others): (Vec<&Reference<'_>>, Vec<&Reference<'_>>) = references.iter().partition(|it| it.decided(placed));
    let mut evidence: Vec<Evidence> = decisive.iter().map(|reference| reference.evidence()).collect();
    evidence.append(&mut placed.evidence);
    evidence.extend(others.iter().map(|reference| reference.evidence()));
    placed.evidence = evidence;
    for reference in others.iter().filter(|reference| !reference.void) {
        let Some(id) = reference.enquiry.map(|enquiry| enquiry.id).filter(|id| Some(*id) != placed.about) else { continue };
        let why_not = reference.fails.as_deref().map(|why| format!(", but {why}")).unwrap_or_default();
        placed.alternatives.push(format!("{id} ({}{why_not})", reference.rung.name()));
    }
}

impl Reference<'_> {
    fn evidence(&self) -> Evidence {
        let named = self.enquiry.map_or_else(|| "no enquiry".to_owned(), |enquiry| enquiry.id.to_string());
        let detail = match &self.fails {
            None => format!("names {named}"),
            Some(why) => format!("names {named}, but {why}"),
        };
        evidence(self.rung.name(), detail)
    }
}

/// The conversation to join: the silo's own always, another only if its sender may and it is about the same enquiry.
pub(super) fn conversation(references: &[Reference<'_>], about: Option<EnquiryId>) -> Option<ConversationId> {
    let own = references.iter().find(|reference| reference.rung == Rung::ThreadKey);
    let same = |reference: &&Reference<'_>| {
        reference.conversation.is_some() && reference.fails.is_none() && reference.enquiry.is_none_or(|enquiry| Some(enquiry.id) == about)
    };
    own.or_else(|| references.iter().find(same)).and_then(|reference| reference.conversation)
}
