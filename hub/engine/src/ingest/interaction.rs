//! Things that happened: new ones, and newer versions of known ones.

use throughline_domain::continuity::sender::{SenderFacts, assurance};
use throughline_domain::identity::Normalised;
use throughline_domain::sync::{VersionOrder, newer};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use throughline_schemas::interaction::CallPhase;
use throughline_schemas::{
    Assurance, CallFacts, Change, ChangeKind, Content, ConversationId, Direction, EnquiryId, Interaction, InteractionFact, InteractionId,
};
use throughline_store::tables::{
    ConversationTimeline, Enquiries, EnquiryTimeline, Inbox, InboxEntry, Interactions, MessageIdRow, MessageIds, Present, Timeline,
    TimelineKey, Tx,
};

use super::people::Found;
use super::place::{Arrival, Placed};
use super::{ConnectionContext, ItemOutcome, People};
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;

/// How many ids of a message are indexed for later ones to find it by.
const INDEXED_REFERENCES: usize = 20;
/// How many agents one entry of the log names.
const RINGING_AT_ONCE: usize = 50;

impl Hub {
    pub(super) fn decide_interaction(&self, tx: &mut Tx, context: &ConnectionContext, item: &Item) -> Result<ItemOutcome> {
        let key = (context.id, item.entity.clone(), item.key.clone());
        let known = tx.get::<Inbox>(&key)?;
        if let Some(known) = &known
            && newer(item.version.as_deref(), known.value.version.as_deref()) != VersionOrder::Newer
        {
            return Ok(ItemOutcome::Duplicate);
        }
        let mut fact = parse(item)?;
        if known.is_none()
            && let Some(sent) = self.sent_by_us(tx, context, &fact)?
        {
            // The silo shows what we sent through it.
            tx.put::<Inbox>(&key, &InboxEntry { interaction: sent, version: item.version.clone() })?;
            return Ok(ItemOutcome::Duplicate);
        }
        let id = known.map_or_else(|| InteractionId::from_bytes(fresh()), |known| known.value.interaction);
        let entry = InboxEntry { interaction: id, version: item.version.clone() };
        let before = tx.get::<Interactions>(&id)?.map(|row| row.value);
        let now = self.now();
        let mut people = People { tx, now, connection: Some(context.id) };
        if before.is_none() {
            fact.automated = self.automated(&mut people, context, &fact)?;
        }
        match before {
            Some(before) => self.accept_newer(&mut people, context, item, before, fact)?,
            None => self.accept_new(&mut people, context, item, id, fact)?,
        }
        tx.put::<Inbox>(&key, &entry)?;
        Ok(ItemOutcome::Accepted)
    }

    /// The message of ours that this is, by the id we gave it: it holds our own id of the interaction.
    fn sent_by_us(&self, tx: &mut Tx, context: &ConnectionContext, fact: &InteractionFact) -> Result<Option<InteractionId>> {
        if fact.direction != Direction::Outbound {
            return Ok(None);
        }
        let own = fact.thread.message_id.as_deref().and_then(|id| id.split_once('@')).and_then(|(local, _)| local.parse().ok());
        let Some(id) = own else { return Ok(None) };
        let row = tx.get::<Interactions>(&id)?;
        Ok(row.filter(|row| row.value.connection_id == context.id && row.value.fact.direction == Direction::Outbound).map(|_| id))
    }

    fn accept_new(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        item: &Item,
        id: InteractionId,
        fact: InteractionFact,
    ) -> Result<()> {
        let (person, keys) = self.customer(people, context, &fact, id)?;
        let tokens = &fact.thread.tokens;
        let arrival = Arrival { id, fact: &fact, person: &person, keys, assurance: assurance_of(&fact), conversation: None, tokens };
        let placed = self.place(people, context, &arrival)?;
        self.index(people, &fact, placed.conversation)?;
        let interaction = Interaction {
            id,
            connection_id: context.id,
            external_id: item.key.clone(),
            version: item.version.clone(),
            conversation_id: placed.conversation,
            profile_id: person.leaf,
            enquiry_id: placed.enquiry,
            accepted_at: people.now,
            delivery: None,
            fact,
        };
        self.write_interaction(people, &interaction)?;
        self.log_interaction(people, ChangeKind::InteractionAccepted, &interaction, &person, Some(&placed))?;
        log_ringing(people, None, &interaction, &person)?;
        self.handoffs_met(people, &interaction)
    }

    /// A newer version of a known interaction: a call that was ringing and is now answered.
    fn accept_newer(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        item: &Item,
        before: Interaction,
        fact: InteractionFact,
    ) -> Result<()> {
        let mut interaction = Interaction { version: item.version.clone(), fact, ..before.clone() };
        // A message that was once taken for a machine's stays one.
        interaction.fact.automated = interaction.fact.automated.or_else(|| before.fact.automated.clone());
        // The place on the timeline is part of its key: it stays where it was first put.
        interaction.fact.occurred_at = before.fact.occurred_at;
        let mut person = Found { leaf: before.profile_id, ..Found::nobody() };
        if let Some(leaf) = before.profile_id {
            person.root = people.root_of(leaf)?.map(|(root, _)| root);
        }
        let late = if before.profile_id.is_none() { self.customer_known_late(people, context, &before, &interaction)? } else { None };
        if let Some((found, keys)) = late {
            // Who it was became known only later.
            let fact = &interaction.fact;
            let conversation = Some(interaction.conversation_id);
            let tokens = &fact.thread.tokens;
            let arrival = Arrival { id: interaction.id, fact, person: &found, keys, assurance: assurance_of(fact), conversation, tokens };
            let placed = self.place(people, context, &arrival)?;
            interaction.profile_id = found.leaf;
            // What a person put somewhere meanwhile stays there.
            interaction.enquiry_id = before.enquiry_id.or(placed.enquiry);
            person = found;
        } else {
            let came_later = |token: &&String| !before.fact.thread.tokens.contains(token);
            let tokens: Vec<String> = interaction.fact.thread.tokens.iter().filter(came_later).cloned().collect();
            if !tokens.is_empty()
                && let Some(placed) = self.redeem_late(people, context, &interaction, &tokens)?
            {
                interaction.enquiry_id = placed.enquiry;
            }
        }
        if interaction.fact.variables != before.fact.variables
            && let Some(enquiry) = interaction.enquiry_id
        {
            self.add_variables_later(people, context, enquiry, &interaction, &person)?;
        }
        self.write_interaction(people, &interaction)?;
        self.log_interaction(people, ChangeKind::InteractionUpdated, &interaction, &person, None)?;
        log_ringing(people, Some(&before), &interaction, &person)?;
        self.handoffs_met(people, &interaction)
    }

    /// Finds the customer of an interaction that had none so far, if this version shows another than the last did.
    fn customer_known_late(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        before: &Interaction,
        interaction: &Interaction,
    ) -> Result<Option<(Found, Vec<throughline_domain::identity::IdentityKey>)>> {
        let address = |fact: &InteractionFact| fact.customer().and_then(|customer| customer.address.clone());
        if address(&interaction.fact).is_none() || address(&interaction.fact) == address(&before.fact) {
            return Ok(None);
        }
        let (found, keys) = self.customer(people, context, &interaction.fact, interaction.id)?;
        Ok(found.leaf.is_some().then_some((found, keys)))
    }

    fn add_variables_later(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        id: EnquiryId,
        interaction: &Interaction,
        person: &Found,
    ) -> Result<()> {
        let Some(mut row) = people.tx.get::<Enquiries>(&id)? else { return Ok(()) };
        let before = row.value.variables.clone();
        let fact = &interaction.fact;
        let conversation = Some(interaction.conversation_id);
        let arrival =
            Arrival { id: interaction.id, fact, person, keys: Vec::new(), assurance: assurance_of(fact), conversation, tokens: &[] };
        super::place::add_variables(&mut row.value, context, &arrival, people.now);
        if row.value.variables == before {
            return Ok(());
        }
        people.tx.put::<Enquiries>(&id, &row.value)?;
        let change = Change {
            enquiry_id: Some(id),
            profile_id: person.root,
            interaction_id: Some(interaction.id),
            ..people.change(ChangeKind::EnquiryUpdated)
        };
        Ok(people.tx.log(&change)?)
    }

    /// Finds or makes the person on the customer's side.
    pub(super) fn customer(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        fact: &InteractionFact,
        id: InteractionId,
    ) -> Result<(Found, Vec<throughline_domain::identity::IdentityKey>)> {
        let assurance = assurance_of(fact);
        let identity: Option<Normalised> = fact.customer().and_then(|customer| {
            let (kind, address) = (customer.identity_type?, customer.address.as_deref()?);
            context.normalise(kind, address)
        });
        // What comes from a machine, or what we say among ourselves, makes no new person.
        let identities: Vec<_> = identity.into_iter().map(|identity| (identity, assurance)).collect();
        let keys = identities.iter().map(|(identity, _)| identity.key.clone()).collect();
        if fact.direction == Direction::Internal {
            return Ok((Found::nobody(), keys));
        }
        let found = people.resolve_known(&identities, false, None, Some(id), fact.automated.is_none())?;
        if found.created
            && let (Some(leaf), Some(name)) = (found.leaf, fact.customer().and_then(|customer| customer.name.as_deref()))
        {
            people.suggest_name(leaf, name, context.id)?;
        }
        Ok((found, keys))
    }

    /// Every id by which later messages may refer to this one.
    fn index(&self, people: &mut People<'_>, fact: &InteractionFact, conversation: ConversationId) -> Result<()> {
        let ours = fact.direction == Direction::Outbound;
        if let Some(id) = &fact.thread.message_id {
            // An id that is known already is not taken over by a stranger's message that claims it.
            let known = people.tx.get::<MessageIds>(id)?;
            if known.is_none_or(|known| !known.value.seen) {
                people.tx.put::<MessageIds>(id, &MessageIdRow { conversation, ours, seen: true })?;
            }
        }
        for id in fact.thread.references.iter().rev().take(INDEXED_REFERENCES) {
            if people.tx.get::<MessageIds>(id)?.is_none() {
                people.tx.put::<MessageIds>(id, &MessageIdRow { conversation, ours: false, seen: false })?;
            }
        }
        Ok(())
    }

    /// Writes an interaction with its places on all timelines.
    pub(crate) fn write_interaction(&self, people: &mut People<'_>, interaction: &Interaction) -> Result<()> {
        let (at, id) = (interaction.fact.occurred_at, interaction.id);
        people.tx.put::<Interactions>(&id, interaction)?;
        if let Some(profile) = interaction.profile_id {
            people.tx.put::<Timeline>(&TimelineKey { subject: profile, at, interaction: id }, &Present {})?;
        }
        if let Some(enquiry) = interaction.enquiry_id {
            people.tx.put::<EnquiryTimeline>(&TimelineKey { subject: enquiry, at, interaction: id }, &Present {})?;
        }
        let conversation = interaction.conversation_id;
        Ok(people.tx.put::<ConversationTimeline>(&TimelineKey { subject: conversation, at, interaction: id }, &Present {})?)
    }

    fn log_interaction(
        &self,
        people: &mut People<'_>,
        kind: ChangeKind,
        interaction: &Interaction,
        person: &Found,
        placed: Option<&Placed>,
    ) -> Result<()> {
        let change = Change {
            profile_id: person.root,
            enquiry_id: interaction.enquiry_id,
            conversation_id: Some(interaction.conversation_id),
            interaction_id: Some(interaction.id),
            decision_id: placed.map(|placed| placed.decision),
            data: serde_json::json!({ "kind": interaction.fact.content.kind(), "channel": interaction.fact.channel }),
            ..people.change(kind)
        };
        Ok(people.tx.log(&change)?)
    }
}

/// The moment of the screen pop: somebody's phone rings that did not ring before.
fn log_ringing(people: &mut People<'_>, before: Option<&Interaction>, interaction: &Interaction, person: &Found) -> Result<()> {
    let Content::Call(call) = &interaction.fact.content else { return Ok(()) };
    let rang = before.map(|before| &before.fact.content);
    let new: Vec<&String> = call
        .ringing
        .iter()
        .filter(|agent| !matches!(rang, Some(Content::Call(CallFacts { ringing, .. })) if ringing.contains(agent)))
        .collect();
    if new.is_empty() || call.phase >= CallPhase::Ended {
        return Ok(());
    }
    // A queue that rings everybody at once: an entry of the log has to be short, and every agent is told.
    for agents in new.chunks(RINGING_AT_ONCE) {
        let change = Change {
            profile_id: person.root,
            enquiry_id: interaction.enquiry_id,
            conversation_id: Some(interaction.conversation_id),
            interaction_id: Some(interaction.id),
            data: serde_json::json!({ "agents": agents }),
            ..people.change(ChangeKind::CallRinging)
        };
        people.tx.log(&change)?;
    }
    Ok(())
}

/// A channel asserts who is speaking, unless it found out that it is somebody else; what a machine says is only claimed.
pub(super) fn assurance_of(fact: &InteractionFact) -> Assurance {
    let (by_channel, _) = assurance(fact, &SenderFacts::default());
    if fact.automated.is_some() { Assurance::Claimed } else { by_channel.min(Assurance::Asserted) }
}

fn parse(item: &Item) -> Result<InteractionFact> {
    let fact: InteractionFact = serde_json::from_value(item.data.clone()).map_err(|error| {
        ConnectorError::new(ErrorClass::InvalidRecord, format!("the item's data is no interaction: {error}")).with_field("/data")
    })?;
    Ok(fact)
}
