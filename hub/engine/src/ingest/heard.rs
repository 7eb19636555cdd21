//! What is known of a sender before its message is placed, whether a machine sent it, and that it was heard of.
//!
//! Gathers for `throughline_domain::continuity::{sender, automated}`; decides nothing itself.

use throughline_domain::continuity::automated::{REPEATED_WITHIN_MS, SHORTEST_REPEATED, Signs, classify};
use throughline_domain::continuity::sender::SenderFacts;
use throughline_domain::identity::IdentityKey;
use throughline_schemas::{Assurance, Channel, Content, Direction, IdentityType, InteractionFact, MessageFacts, Profile, ProfileId};
use throughline_store::tables::{
    ConversationKeys, Conversations, Endpoint, Endpoints, Identities, Interactions, Leaves, MessageIds, Timeline, read, scan_rows,
};

use super::context::thread_key;
use super::place::Arrival;
use super::{ConnectionContext, People};
use crate::error::Result;
use crate::hub::Hub;
use crate::tokens::digest16;

/// An identity is noted to have been heard of once in this time, in milliseconds: writing it with every message would be in the way.
const HEARD_AGAIN_MS: i64 = 24 * 3600 * 1000;
/// How many of a sender's last interactions are looked through for the same text.
const LOOK_BACK: usize = 5;

impl Hub {
    /// Why this is taken for a machine's message, if it is; and notes the addresses that are ours.
    pub(super) fn automated(&self, people: &mut People<'_>, context: &ConnectionContext, fact: &InteractionFact) -> Result<Option<String>> {
        note_endpoint(people, context, fact)?;
        let (Content::Message(message), Direction::Inbound) = (&fact.content, fact.direction) else { return Ok(fact.automated.clone()) };
        if fact.automated.is_some() {
            return Ok(fact.automated.clone());
        }
        let sender = fact.customer().and_then(|customer| context.normalise(customer.identity_type?, customer.address.as_deref()?));
        let sender = sender.map(|identity| identity.key);
        let from_own_endpoint = match &sender {
            Some(key) if key.kind == IdentityType::Email => people.tx.get::<Endpoints>(&endpoint_key(key))?.is_some(),
            _ => false,
        };
        let own_message_id = own_message_id(people, fact, sender.as_ref())?;
        let repeated = match &sender {
            Some(key) => self.said_lately(people, key, fact, message)?,
            None => false,
        };
        let subject = message.subject.as_deref();
        Ok(classify(&Signs { reported: None, headers: &message.headers, subject, from_own_endpoint, own_message_id, repeated }))
    }

    fn said_lately(&self, people: &mut People<'_>, key: &IdentityKey, fact: &InteractionFact, message: &MessageFacts) -> Result<bool> {
        if message.text.chars().count() < SHORTEST_REPEATED {
            return Ok(false);
        }
        for root in people.roots_holding(key)?.into_iter().take(2) {
            let page = scan_rows::<Timeline>(people.tx.store(), root.as_bytes(), None, LOOK_BACK)?;
            for id in page.rows.iter().filter_map(|(key, _)| Timeline::interaction(key)) {
                let Some(row) = read::<Interactions>(people.tx.store(), &id)? else { continue };
                let earlier = row.value.fact;
                if fact.occurred_at.since(earlier.occurred_at).abs() > REPEATED_WITHIN_MS {
                    break;
                }
                let says_the_same =
                    matches!(&earlier.content, Content::Message(said) if said.text == message.text && said.subject == message.subject);
                if says_the_same && earlier.direction == Direction::Inbound {
                    return Ok(true);
                }
            }
        }
        Ok(false)
    }

    /// What is known of the identity that the sender shows.
    pub(super) fn sender_facts(&self, people: &mut People<'_>, context: &ConnectionContext, arrival: &Arrival<'_>) -> Result<SenderFacts> {
        let proven_here = self.is_proven(people, context, arrival)?;
        let shown_name = arrival.fact.customer().and_then(|customer| customer.name.clone());
        let (Some(root), Some(key)) = (arrival.person.root.filter(|_| !arrival.person.created), arrival.keys.first()) else {
            return Ok(SenderFacts { shown_name, proven_here, ..SenderFacts::default() });
        };
        let Some(profile) = people.view(root)? else { return Ok(SenderFacts { shown_name, ..SenderFacts::default() }) };
        let known =
            profile.identities.iter().find(|known| known.kind == key.kind && known.namespace == key.namespace && known.value == key.value);
        Ok(SenderFacts {
            known: known.map_or(Assurance::Claimed, |known| known.assurance),
            last_seen: known.map(|known| known.last_seen),
            known_name: name_of_record(&profile),
            shown_name,
            proven_here,
        })
    }

    /// Whether who speaks in the silo's own thread was proven lately.
    fn is_proven(&self, people: &mut People<'_>, context: &ConnectionContext, arrival: &Arrival<'_>) -> Result<bool> {
        let thread = arrival.fact.conversation_key.as_ref().map(|key| (context.id, thread_key(key)));
        let id = match (arrival.conversation, thread) {
            (Some(id), _) => Some(id),
            (None, Some(thread)) => people.tx.get::<ConversationKeys>(&thread)?.map(|row| row.value),
            (None, None) => None,
        };
        let Some(row) = id.map(|id| people.tx.get::<Conversations>(&id)).transpose()?.flatten() else { return Ok(false) };
        let conversation = row.value;
        // The same session, and the same identity in it as when it was proven: somebody else's message proves nothing.
        let same_person = conversation.profile_id.is_some_and(|leaf| Some(leaf) == arrival.person.leaf);
        let same_root = match (conversation.profile_id, arrival.person.root) {
            (Some(leaf), Some(root)) => people.root_of(leaf)?.is_some_and(|(own, _)| own == root),
            _ => false,
        };
        Ok((same_person || same_root) && conversation.proven.iter().any(|proven| people.now < proven.until))
    }
}

impl People<'_> {
    /// Notes that an identity was heard of, unless that was noted lately.
    pub(super) fn heard_of(&mut self, leaf: ProfileId, key: &IdentityKey) -> Result<()> {
        let Some(mut row) = self.tx.get::<Leaves>(&leaf)? else { return Ok(()) };
        let known = |kind, namespace: &str, value: &str| kind == key.kind && namespace == key.namespace && value == key.value;
        let found = row.value.identities.iter_mut().find(|identity| known(identity.kind, &identity.namespace, &identity.value));
        let Some(identity) = found.filter(|identity| self.now.since(identity.last_seen) > HEARD_AGAIN_MS) else { return Ok(()) };
        identity.last_seen = self.now;
        self.tx.put::<Leaves>(&leaf, &row.value)?;
        let row_key = (key.kind, key.namespace.clone(), key.value.clone());
        let Some(mut index) = self.tx.get::<Identities>(&row_key)? else { return Ok(()) };
        for link in index.value.links.iter_mut().filter(|link| link.profile_id == leaf && link.retracted_at.is_none()) {
            link.identity.last_seen = self.now;
        }
        Ok(self.tx.put::<Identities>(&row_key, &index.value)?)
    }
}

/// The name that somebody other than the channel vouches for.
pub(super) fn name_of_record(profile: &Profile) -> Option<String> {
    let said = |field: &str| {
        let attributed = profile.fields.get(field).filter(|said| said.assurance > Assurance::Claimed)?;
        attributed.value.as_str().map(str::trim).filter(|text| !text.is_empty()).map(str::to_owned)
    };
    said("display_name").or_else(|| Some(format!("{} {}", said("given_name")?, said("family_name")?)))
}

fn endpoint_key(key: &IdentityKey) -> [u8; 16] {
    digest16(&[key.to_string().as_bytes()])
}

fn note_endpoint(people: &mut People<'_>, context: &ConnectionContext, fact: &InteractionFact) -> Result<()> {
    let (Channel::Email, Some(endpoint)) = (fact.channel, &fact.endpoint) else { return Ok(()) };
    let Some(identity) = context.normalise(IdentityType::Email, endpoint) else { return Ok(()) };
    let key = endpoint_key(&identity.key);
    if people.tx.get::<Endpoints>(&key)?.is_none() {
        let row = Endpoint { connection_id: context.id, address: identity.key.value, first_seen: people.now };
        people.tx.put::<Endpoints>(&key, &row)?;
    }
    Ok(())
}

/// A mail of ours that came back: by its id, or because it claims our domain while its sender is elsewhere.
fn own_message_id(people: &mut People<'_>, fact: &InteractionFact, sender: Option<&IdentityKey>) -> Result<bool> {
    let Some(id) = &fact.thread.message_id else { return Ok(false) };
    if people.tx.get::<MessageIds>(id)?.is_some_and(|row| row.value.ours && row.value.seen) {
        return Ok(true);
    }
    let domain = |address: &str| address.rsplit_once('@').map(|(_, domain)| domain.to_ascii_lowercase());
    let own = fact.endpoint.as_deref().filter(|_| fact.channel == Channel::Email).and_then(domain);
    Ok(own.is_some() && domain(id) == own && sender.is_some_and(|sender| domain(&sender.value) != own))
}
