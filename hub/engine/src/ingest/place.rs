//! Where an interaction goes: gathers threads, tokens and enquiries, asks the rule, writes conversation and enquiry.

use throughline_domain::continuity::subject::strip_marks;
use throughline_domain::continuity::{ContinuityDecision, Placement, decide};
use throughline_domain::identity::IdentityKey;
use throughline_schemas::{
    Assurance, Change, ChangeKind, Content, ContextVariable, Conversation, ConversationId, Decision, DecisionId, Direction, Enquiry,
    EnquiryId, EnquiryStatus, InteractionFact, InteractionId, VariableScope,
};
use throughline_store::tables::{ConversationKeys, Conversations, Enquiries, EnquiriesByProfile};

use super::context::thread_key;
use super::people::Found;
use super::{ConnectionContext, People};
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;
use crate::loops::Policy;
use crate::tokens::Spend;

/// How many enquiries are suggested.
const CANDIDATES: usize = 20;

/// Where an interaction went.
pub(super) struct Placed {
    pub(super) conversation: ConversationId,
    pub(super) enquiry: Option<EnquiryId>,
    pub(super) decision: DecisionId,
}

/// What is known of the interaction before it is placed.
pub(super) struct Arrival<'a> {
    pub(super) id: InteractionId,
    pub(super) fact: &'a InteractionFact,
    pub(super) person: &'a Found,
    pub(super) keys: Vec<IdentityKey>,
    pub(super) assurance: Assurance,
    /// The conversation it stands in already, if it was accepted before.
    pub(super) conversation: Option<ConversationId>,
    /// Tokens that came with it and have not been looked at yet.
    pub(super) tokens: &'a [String],
}

impl Hub {
    /// Decides and writes where an interaction goes.
    pub(super) fn place(&self, people: &mut People<'_>, context: &ConnectionContext, arrival: &Arrival<'_>) -> Result<Placed> {
        let (facts, spends) = self.continuity_facts(people, context, arrival)?;
        let decision = decide(&facts);
        let is_sure = facts.doubt.is_none();
        self.settle_in(people, context, arrival, decision, &spends, is_sure)
    }

    /// Writes where an interaction goes, as it was decided. `is_sure`: nothing speaks against the identity it showed.
    pub(super) fn settle_in(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        arrival: &Arrival<'_>,
        decision: ContinuityDecision,
        spends: &[(EnquiryId, Spend)],
        is_sure: bool,
    ) -> Result<Placed> {
        let led_to = led_to(&decision.placement);
        for (_, spend) in spends.iter().filter(|(enquiry, _)| led_to == Some(*enquiry)) {
            self.spend_token(people, spend)?;
        }
        let conversation = self.join_conversation(people, context, arrival, &decision)?;
        let enquiry = self.join_enquiry(people, context, arrival, &decision)?;
        self.note_conversation(people, arrival, conversation, enquiry, &decision)?;
        if is_sure && let (Some(leaf), Some(key)) = (arrival.person.leaf, arrival.keys.first()) {
            people.heard_of(leaf, key)?;
        }
        let verdict = decision.placement.verdict();
        // Agents find what was parked where it wanted to go.
        let about = match decision.placement {
            Placement::Park { enquiry } => Some(enquiry),
            _ => enquiry,
        };
        let decision = keep_decision(people, arrival, decision, verdict, about)?;
        Ok(Placed { conversation, enquiry, decision })
    }

    fn join_conversation(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        arrival: &Arrival<'_>,
        decision: &ContinuityDecision,
    ) -> Result<ConversationId> {
        if let Some(id) = arrival.conversation {
            return Ok(id);
        }
        // What is parked stands apart: an answer in that conversation would go to whoever sent this.
        let parked = matches!(decision.placement, Placement::Park { .. });
        if let Some(id) = decision.conversation.filter(|_| !parked) {
            return Ok(id);
        }
        let fact = arrival.fact;
        let id = ConversationId::from_bytes(fresh());
        // A parked message names a silo's thread that is another person's: it must not take that thread's place.
        let taken = match &fact.conversation_key {
            Some(key) => people.tx.get::<ConversationKeys>(&(context.id, thread_key(key)))?.is_some(),
            None => true,
        };
        let key = fact.conversation_key.clone().unwrap_or_else(|| id.to_string());
        let conversation = Conversation {
            id,
            connection_id: context.id,
            channel: fact.channel,
            key: key.clone(),
            profile_id: arrival.person.leaf,
            enquiry_id: None,
            endpoint: fact.endpoint.clone(),
            subject: subject(fact).map(str::to_owned),
            started_at: fact.occurred_at,
            updated_at: fact.occurred_at,
            proven: Vec::new(),
        };
        people.tx.put::<Conversations>(&id, &conversation)?;
        if !taken {
            people.tx.put::<ConversationKeys>(&(context.id, thread_key(&key)), &id)?;
        }
        let change =
            Change { conversation_id: Some(id), profile_id: arrival.person.root, ..people.change(ChangeKind::ConversationStarted) };
        people.tx.log(&change)?;
        Ok(id)
    }

    fn join_enquiry(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        arrival: &Arrival<'_>,
        decision: &ContinuityDecision,
    ) -> Result<Option<EnquiryId>> {
        match &decision.placement {
            Placement::Attach { enquiry, reopen } => self.go_on(people, context, arrival, *enquiry, *reopen).map(Some),
            Placement::Open { enquiry, follows } => self.open_enquiry(people, context, arrival, *enquiry, *follows).map(Some),
            Placement::Suggest { then_open: Some(enquiry), .. } => self.open_enquiry(people, context, arrival, *enquiry, None).map(Some),
            Placement::Park { .. } | Placement::Suggest { then_open: None, .. } | Placement::None => Ok(None),
        }
    }

    fn go_on(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        arrival: &Arrival<'_>,
        id: EnquiryId,
        reopen: Option<EnquiryStatus>,
    ) -> Result<EnquiryId> {
        let Some(mut row) = people.tx.get::<Enquiries>(&id)? else { return Ok(id) };
        let before = row.value.clone();
        let enquiry = &mut row.value;
        if let Some(status) = reopen {
            enquiry.status = status;
            enquiry.resolved_at = None;
            let policy = Policy { brand: &before.brand, channel: arrival.fact.channel, reason: &before.reason };
            self.spend_reopen(people, id, &arrival.counterparty(), &policy)?;
        }
        // A clock that is ahead must not make it look spoken of in the future.
        enquiry.updated_at = enquiry.updated_at.max(arrival.fact.occurred_at.min(people.now));
        add_variables(enquiry, context, arrival, people.now);
        enquiry.note_origins(&before, None, people.now);
        people.tx.put::<Enquiries>(&id, enquiry)?;
        if enquiry.status != before.status {
            people.tx.put::<EnquiriesByProfile>(&(enquiry.profile_id, id), &enquiry.status)?;
        }
        if enquiry.status != before.status || enquiry.variables != before.variables {
            let change = Change {
                enquiry_id: Some(id),
                profile_id: arrival.person.root,
                interaction_id: Some(arrival.id),
                data: serde_json::json!({ "fields": crate::commands::changed_fields(&before, enquiry) }),
                ..people.change(ChangeKind::EnquiryUpdated)
            };
            people.tx.log(&change)?;
        }
        Ok(id)
    }

    fn open_enquiry(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        arrival: &Arrival<'_>,
        id: EnquiryId,
        follows: Option<EnquiryId>,
    ) -> Result<EnquiryId> {
        let leaf = arrival.person.leaf.expect("the rule opens enquiries only for a known person");
        // When what it is about began: a mailbox of last week that is read today holds enquiries of last week.
        let began = arrival.fact.occurred_at.min(people.now);
        let mut enquiry = Enquiry { reason: reason(arrival.fact), follows, ..Enquiry::open(id, leaf, &context.brand, began) };
        add_variables(&mut enquiry, context, arrival, people.now);
        people.write_new_enquiry(&enquiry)?;
        let change = Change {
            enquiry_id: Some(id),
            profile_id: arrival.person.root,
            interaction_id: Some(arrival.id),
            ..people.change(ChangeKind::EnquiryOpened)
        };
        people.tx.log(&change)?;
        Ok(id)
    }

    fn note_conversation(
        &self,
        people: &mut People<'_>,
        arrival: &Arrival<'_>,
        id: ConversationId,
        enquiry: Option<EnquiryId>,
        decision: &ContinuityDecision,
    ) -> Result<()> {
        let Some(mut row) = people.tx.get::<Conversations>(&id)? else { return Ok(()) };
        let conversation = &mut row.value;
        conversation.updated_at = conversation.updated_at.max(arrival.fact.occurred_at);
        let parked = matches!(decision.placement, Placement::Park { .. });
        // A thread that goes on after its enquiry ended goes on in the one that follows, or each reply would open another.
        let opened = matches!(decision.placement, Placement::Open { .. });
        if (conversation.enquiry_id.is_none() && !parked) || opened {
            conversation.enquiry_id = enquiry;
        }
        if conversation.profile_id.is_none() && !parked {
            conversation.profile_id = arrival.person.leaf;
        }
        Ok(people.tx.put::<Conversations>(&id, conversation)?)
    }
}

impl Arrival<'_> {
    /// By what the sender is told apart from others.
    pub(super) fn counterparty(&self) -> String {
        self.keys.first().map(ToString::to_string).or_else(|| self.person.root.map(|root| root.to_string())).unwrap_or_default()
    }
}

/// Keeps what continuity decided about an interaction.
pub(super) fn keep_decision(
    people: &mut People<'_>,
    arrival: &Arrival<'_>,
    decision: ContinuityDecision,
    verdict: &str,
    about: Option<EnquiryId>,
) -> Result<DecisionId> {
    let candidates = match decision.placement {
        Placement::Suggest { candidates, .. } => candidates,
        _ => Vec::new(),
    };
    let id = DecisionId::from_bytes(fresh());
    people.keep(&Decision {
        id,
        subject: "continuity".to_owned(),
        outcome: decision.outcome,
        evidence: decision.evidence,
        alternatives: decision.alternatives,
        verdict: Some(verdict.to_owned()),
        candidates: candidates.into_iter().take(CANDIDATES).collect(),
        rules: throughline_domain::RULES.to_owned(),
        at: people.now,
        profile_id: arrival.person.root,
        enquiry_id: about,
        interaction_id: Some(arrival.id),
    })?;
    Ok(id)
}

/// The known enquiry that an interaction goes on with.
pub(super) fn led_to(placement: &Placement) -> Option<EnquiryId> {
    match placement {
        Placement::Attach { enquiry, .. } => Some(*enquiry),
        Placement::Open { follows, .. } => *follows,
        Placement::Park { .. } | Placement::Suggest { .. } | Placement::None => None,
    }
}

/// What the channel carried and what the patterns find in the text.
pub(super) fn add_variables(
    enquiry: &mut Enquiry,
    context: &ConnectionContext,
    arrival: &Arrival<'_>,
    now: throughline_schemas::Timestamp,
) {
    let fact = arrival.fact;
    let variable = |value, classification| ContextVariable {
        value,
        scope: VariableScope::Enquiry,
        classification,
        assurance: arrival.assurance,
        source: Some(context.id),
        at: now,
        expires_at: None,
    };
    for (name, value) in &fact.variables {
        let changed = enquiry.variables.get(name).is_none_or(|known| known.value != *value);
        if changed {
            enquiry.variables.insert(name.clone(), variable(value.clone(), Default::default()));
        }
    }
    let Content::Message(message) = &fact.content else { return };
    if fact.direction != Direction::Inbound {
        return;
    }
    for extractor in &context.extractors {
        let found = message.subject.as_deref().and_then(|subject| extractor.find(subject)).or_else(|| extractor.find(&message.text));
        let name = &extractor.rule().variable;
        if let Some(found) = found
            && enquiry.variables.get(name).is_none_or(|known| known.value != *found)
        {
            enquiry.variables.insert(name.clone(), variable(found.into(), extractor.rule().classification));
        }
    }
}

fn subject(fact: &InteractionFact) -> Option<&str> {
    match &fact.content {
        Content::Message(message) => message.subject.as_deref().filter(|subject| !subject.trim().is_empty()),
        _ => None,
    }
}

/// What an enquiry is about, as far as its first interaction tells.
fn reason(fact: &InteractionFact) -> String {
    const LONGEST: usize = 200;
    let text = match &fact.content {
        Content::Message(message) => {
            subject(fact).map(strip_marks).filter(|text| !text.is_empty()).unwrap_or(message.text.as_str()).trim().to_owned()
        }
        Content::Call(call) => match (&call.queue, &fact.endpoint) {
            (Some(queue), _) => format!("Call to {queue}"),
            (None, Some(endpoint)) => format!("Call to {endpoint}"),
            (None, None) => "Call".to_owned(),
        },
        Content::SelfService(_) => "Self-service".to_owned(),
        Content::Note { text } => text.clone(),
    };
    let line = text.lines().next().unwrap_or_default();
    line.chars().take(LONGEST).collect()
}
