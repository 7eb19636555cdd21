//! What continuity decides by: threads, tokens and enquiries, as the store has them.

use std::collections::BTreeSet;

use throughline_domain::continuity::sender::{assurance, doubt};
use throughline_domain::continuity::{ContinuityFacts, EnquiryFacts, ThreadMatch, ThreadRule, TokenMatch};
use throughline_domain::identity::IdentityKey;
use throughline_schemas::interaction::Authentication;
use throughline_schemas::{
    Content, Conversation, ConversationId, Direction, EnquiryId, EnquiryStatus, Evidence, Identity, InteractionFact, Participant,
    ParticipantRole, ProfileId,
};
use throughline_store::tables::{
    ConversationKeys, ConversationTimeline, Conversations, Enquiries, EnquiriesByProfile, Interactions, LatestEnquiries, Leaves,
    MessageIds, read, scan_rows,
};

use super::context::thread_key;
use super::place::Arrival;
use super::{ConnectionContext, People};
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;
use crate::loops::Policy;
use crate::tokens::{Checked, Presenting, Spend};

/// How many ids of a References header are looked up: the newest, and the one that began the thread.
const REFERENCES: usize = 20;
/// How many of a person's enquiries are looked through, and how many of those that ended are considered.
const ENQUIRIES: usize = 200;
const ENDED: usize = 5;
/// How many interactions of a conversation are looked through for who took part.
const LOOK_BACK: usize = 10;
/// How many of those who took part in one of them.
const PARTICIPANTS: usize = 30;

/// What the tokens that came with an interaction are.
#[derive(Default)]
pub(super) struct Tokens {
    matches: Vec<TokenMatch>,
    remarks: Vec<Evidence>,
    /// How a use of each is counted, should it lead to its enquiry.
    pub(super) spends: Vec<(EnquiryId, Spend)>,
}

impl Hub {
    pub(super) fn continuity_facts(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        arrival: &Arrival<'_>,
    ) -> Result<(ContinuityFacts, Vec<(EnquiryId, Spend)>)> {
        let fact = arrival.fact;
        let threads = self.threads(people, context, fact)?;
        let mut tokens = self.tokens(people, context, arrival)?;
        let mut named: BTreeSet<EnquiryId> = threads.iter().filter_map(|thread| thread.enquiry).collect();
        named.extend(tokens.matches.iter().map(|token| token.enquiry));
        if let Some(root) = arrival.person.root
            && !arrival.person.created
        {
            named.extend(self.enquiries_of(people, root)?);
        }
        for root in &arrival.person.possible {
            named.extend(self.enquiries_of(people, *root)?);
        }
        let mut enquiries = Vec::with_capacity(named.len());
        for id in named {
            enquiries.extend(self.enquiry_facts(people, arrival, id)?);
        }
        let sender = self.sender_facts(people, context, arrival)?;
        let (assurance, why) = assurance(fact, &sender);
        tokens.remarks.extend(why.map(|why| Evidence { rule: "assurance".to_owned(), detail: why.to_owned() }));
        let stale_ms = self.policies().applying(&context.brand, fact.channel, "").stale_ms;
        let facts = ContinuityFacts {
            sender: arrival.person.root,
            sender_shared: arrival.person.shared,
            assurance,
            doubt: doubt(fact.channel, &sender, people.now, stale_ms),
            sender_keys: arrival.keys.clone(),
            outbound: fact.direction != Direction::Inbound,
            automated: fact.automated.clone(),
            tokens: tokens.matches,
            threads,
            enquiries,
            brand: context.brand.clone(),
            channel: fact.channel,
            subject: match &fact.content {
                Content::Message(message) => message.subject.clone(),
                _ => None,
            },
            occurred_at: fact.occurred_at,
            now: people.now,
            fresh: EnquiryId::from_bytes(fresh()),
            starts_enquiry: fact.direction == Direction::Inbound && arrival.person.root.is_some() && fact.automated.is_none(),
            remarks: tokens.remarks,
        };
        Ok((facts, tokens.spends))
    }

    fn threads(&self, people: &mut People<'_>, context: &ConnectionContext, fact: &InteractionFact) -> Result<Vec<ThreadMatch>> {
        let mut found: Vec<(ThreadRule, ConversationId)> = Vec::new();
        // A message that others referred to before it came.
        if let Some(id) = &fact.thread.message_id
            && let Some(row) = people.tx.get::<MessageIds>(id)?.filter(|row| !row.value.seen)
        {
            found.push((ThreadRule::KnownReference, row.value.conversation));
        }
        if let Some(key) = &fact.conversation_key
            && let Some(row) = people.tx.get::<ConversationKeys>(&(context.id, thread_key(key)))?
        {
            found.push((ThreadRule::ThreadKey, row.value));
        }
        let references = &fact.thread.references;
        let newest = references.iter().rev().take(REFERENCES);
        for (position, id) in fact.thread.in_reply_to.iter().take(REFERENCES).chain(newest).chain(references.first()).enumerate() {
            if let Some(row) = people.tx.get::<MessageIds>(id)? {
                // Only In-Reply-To naming our own message is as good as a thread key; anything may stand in References.
                let answers_ours = row.value.ours && position < fact.thread.in_reply_to.len().min(REFERENCES);
                found.push((if answers_ours { ThreadRule::OurMessageId } else { ThreadRule::KnownReference }, row.value.conversation));
            }
        }
        found.sort_by_key(|(rule, _)| *rule);
        let mut threads = Vec::new();
        let mut seen = BTreeSet::new();
        for (rule, id) in found {
            if seen.insert(id)
                && let Some(row) = people.tx.get::<Conversations>(&id)?
            {
                threads.push(self.thread_match(people, rule, &row.value)?);
            }
        }
        Ok(threads)
    }

    fn thread_match(&self, people: &mut People<'_>, rule: ThreadRule, conversation: &Conversation) -> Result<ThreadMatch> {
        let mut participants = Vec::new();
        let mut addresses = Vec::new();
        if let Some(profile) = conversation.profile_id
            && let Some((root, row)) = people.root_of(profile)?
        {
            participants.push(root);
            addresses.extend(row.value.identities.iter().map(key_of));
            if root != profile
                && let Some(leaf) = people.tx.get::<Leaves>(&profile)?
            {
                addresses.extend(leaf.value.identities.iter().map(key_of));
            }
        }
        // Whoever was copied in by the customer or by us takes part as well; so does an address that nobody could be told by.
        addresses.extend(self.addresses_in(people, conversation.id)?);
        Ok(ThreadMatch {
            rule,
            conversation: conversation.id,
            enquiry: conversation.enquiry_id,
            participants,
            participant_addresses: addresses,
        })
    }

    /// The addresses on the customer's side in the last interactions of a conversation.
    fn addresses_in(&self, people: &People<'_>, id: ConversationId) -> Result<Vec<IdentityKey>> {
        let mut addresses = Vec::new();
        let places = scan_rows::<ConversationTimeline>(people.tx.store(), id.as_bytes(), None, LOOK_BACK)?;
        for interaction in places.rows.iter().filter_map(|(key, _)| ConversationTimeline::interaction(key)) {
            let Some(row) = read::<Interactions>(people.tx.store(), &interaction)? else { continue };
            let fact = row.value.fact;
            // Whom a machine, or somebody who is not who it says, copies in was invited by nobody.
            let invites = fact.automated.is_none() && !is_forged(&fact);
            let context = self.connection_context(row.value.connection_id)?;
            let on_their_side = |participant: &&Participant| match participant.role {
                ParticipantRole::Customer => true,
                ParticipantRole::ThirdParty => invites,
                ParticipantRole::Agent | ParticipantRole::Bot | ParticipantRole::Supervisor => false,
            };
            for participant in fact.participants.iter().filter(on_their_side).take(PARTICIPANTS) {
                let (Some(kind), Some(address)) = (participant.identity_type, participant.address.as_deref()) else { continue };
                addresses.extend(context.normalise(kind, address).map(|identity| identity.key));
            }
        }
        Ok(addresses)
    }

    fn tokens(&self, people: &mut People<'_>, context: &ConnectionContext, arrival: &Arrival<'_>) -> Result<Tokens> {
        let caller = arrival.keys.first().map(ToString::to_string);
        let by = Presenting { brand: Some(&context.brand), channel: Some(arrival.fact.channel), caller };
        let mut tokens = Tokens::default();
        for presented in arrival.tokens.iter().take(REFERENCES) {
            match self.check_token(people, presented, &by)? {
                Checked::Nothing => {}
                Checked::Remark(remark) => tokens.remarks.push(remark),
                Checked::Token(token) => {
                    let valid = token.why_not.is_none();
                    tokens.matches.push(TokenMatch { enquiry: token.enquiry, root: token.root, valid, why_not: token.why_not });
                    if valid {
                        tokens.spends.push((token.enquiry, token.spend));
                    }
                }
            }
        }
        Ok(tokens)
    }

    /// The enquiries of a person that matter, over all profiles merged into one: those that live, and the last that ended.
    fn enquiries_of(&self, people: &mut People<'_>, root: ProfileId) -> Result<Vec<EnquiryId>> {
        let mut leaves = vec![root];
        if let Some((_, row)) = people.root_of(root)? {
            leaves.extend(row.value.members);
        }
        let mut ids = Vec::new();
        for leaf in leaves {
            // Who opens one writes this row: two that found nothing open cannot both do so. It also shows what was opened in this very
            // unit of work, which a scan does not.
            ids.extend(people.tx.get::<LatestEnquiries>(&leaf)?.map(|row| row.value));
            let page = scan_rows::<EnquiriesByProfile>(people.tx.store(), leaf.as_bytes(), None, ENQUIRIES)?;
            let mut ended = 0;
            for (key, row) in page.rows {
                ended += usize::from(!row.value.is_live());
                ids.extend(EnquiriesByProfile::enquiry(&key).filter(|_| row.value.is_live() || ended <= ENDED));
            }
        }
        Ok(ids)
    }
}

fn key_of(identity: &Identity) -> IdentityKey {
    IdentityKey { kind: identity.kind, namespace: identity.namespace.clone(), value: identity.value.clone() }
}

/// Whether the channel found the sender not to be who it says.
fn is_forged(fact: &InteractionFact) -> bool {
    matches!(&fact.content, Content::Message(message) if message.authentication == Some(Authentication::Failed))
}

impl Hub {
    fn enquiry_facts(&self, people: &mut People<'_>, arrival: &Arrival<'_>, id: EnquiryId) -> Result<Option<EnquiryFacts>> {
        let Some(row) = people.tx.get::<Enquiries>(&id)? else { return Ok(None) };
        let enquiry = row.value;
        let Some((root, _)) = people.root_of(enquiry.profile_id)? else { return Ok(None) };
        let policy = Policy { brand: &enquiry.brand, channel: arrival.fact.channel, reason: &enquiry.reason };
        let may_open = matches!(enquiry.status, EnquiryStatus::Waiting | EnquiryStatus::Resolved);
        let may_reopen = !may_open || self.may_reopen(people, id, &arrival.counterparty(), &policy)?;
        let policy = policy.of(self);
        let open = crate::handoff::open_of(people, id)?;
        let expected = open.iter().any(|open| open.channel == Some(arrival.fact.channel) && open.deadline > people.now);
        Ok(Some(EnquiryFacts {
            id,
            root,
            status: enquiry.status,
            brand: enquiry.brand,
            opened_at: enquiry.opened_at,
            updated_at: enquiry.updated_at,
            resolved_at: enquiry.resolved_at,
            reason: enquiry.reason,
            policy,
            may_reopen,
            expected,
        }))
    }
}
