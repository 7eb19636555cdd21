//! Conversations: shown, answered, moved to another enquiry.

use throughline_schemas::connector::OutboundMessage;
use throughline_schemas::interaction::DeliveryState;
use throughline_schemas::{
    Change, ChangeKind, Content, Conversation, ConversationId, DecisionId, Direction, EnquiryId, Evidence, HandoffKind, Interaction,
    InteractionFact, InteractionId, MessageFacts, Participant, ParticipantRole, ThreadEvidence,
};
use throughline_store::tables::{
    Answers, Connections, ConversationTimeline, Conversations, Deliveries, Delivery, DeliveryKey, DeliveryWork, Enquiries, Interactions,
    MessageIdRow, MessageIds, OpenHandoffs, Tx, read, scan_rows,
};

use super::{page, page_of};
use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::{Hub, PageOf, Paging, Stored};
use crate::ingest::move_interaction;
use crate::views::NewMessage;

/// How far back a reply looks for the message it answers.
const LOOK_BACK: usize = 20;
/// How long the token in a reply's return address holds, in milliseconds: thirty days.
const REPLY_TOKEN_MS: i64 = 30 * 24 * 3600 * 1000;
/// The longest message as it is kept, in bytes; a dead letter with it and the reason has to fit as well.
const LONGEST_DELIVERY: usize = 56 * 1024;
/// Ids of a References header: the first, which began the thread, and the last ones.
const REFERENCES: usize = 30;
/// How many interactions are moved in one commit.
const MOVED_AT_ONCE: usize = 50;
/// The longest text that is sent, in bytes.
pub(super) const LONGEST_TEXT: usize = 40 * 1024;

impl Hub {
    /// One conversation.
    pub fn conversation(&self, id: ConversationId) -> Result<Stored<Conversation>> {
        let row = read::<Conversations>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("conversation", id))?;
        Ok(Stored { value: row.value, version: row.version })
    }

    /// One thing that happened.
    pub fn interaction(&self, id: InteractionId) -> Result<Interaction> {
        Ok(read::<Interactions>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("interaction", id))?.value)
    }

    /// What was said in a conversation, newest first.
    pub fn conversation_interactions(&self, id: ConversationId, paging: Paging) -> Result<PageOf<Interaction>> {
        self.conversation(id)?;
        self.said_in(id, paging)
    }

    /// The last of it; nothing in one that is just being begun.
    fn said_last(&self, id: ConversationId) -> Result<Vec<Interaction>> {
        Ok(self.said_in(id, Paging { cursor: None, limit: LOOK_BACK })?.items)
    }

    fn said_in(&self, id: ConversationId, paging: Paging) -> Result<PageOf<Interaction>> {
        page_of(page::<ConversationTimeline>(&self.inner.store, id.as_bytes(), &paging)?, |key, _, _| {
            let Some(id) = ConversationTimeline::interaction(key) else { return Ok(None) };
            Ok(read::<Interactions>(&self.inner.store, &id)?.map(|row| row.value))
        })
    }

    /// Sends a message in a conversation: durable when this returns, then dispatched. The interaction says how it goes.
    pub async fn send_message(&self, id: ConversationId, new: NewMessage) -> Result<Interaction> {
        let conversation = self.conversation(id)?.value;
        self.check_message(&conversation, &new)?;
        let interaction = self.transact(|tx| self.queue_message(tx, &conversation, &new)).await?;
        self.wake_dispatcher(conversation.connection_id);
        Ok(interaction)
    }

    /// One interaction, if it is there.
    pub(crate) fn interaction_by_id(&self, id: InteractionId) -> Result<Option<Interaction>> {
        Ok(read::<Interactions>(&self.inner.store, &id)?.map(|row| row.value))
    }

    /// Whether a message can be sent in a conversation.
    pub(crate) fn check_message(&self, conversation: &Conversation, new: &NewMessage) -> Result<()> {
        if new.text.trim().is_empty() || new.text.len() > LONGEST_TEXT {
            return Err(HubError::invalid("/text", format!("a text of 1 to {LONGEST_TEXT} bytes is needed")));
        }
        if self.open_now(conversation.connection_id).is_some_and(|connector| !connector.plugin().exports("channel")) {
            return Err(HubError::conflict(format!("connection {} cannot send messages", conversation.connection_id)));
        }
        check_recipients(new)
    }

    pub(crate) fn queue_message(&self, tx: &mut Tx, conversation: &Conversation, new: &NewMessage) -> Result<Interaction> {
        let now = self.now();
        let connection = conversation.connection_id;
        if tx.get::<Connections>(&connection)?.is_none() {
            return Err(HubError::conflict(format!("connection {connection}, through which this conversation went, was deleted")));
        }
        let id = InteractionId::from_bytes(fresh());
        self.may_answer(tx, conversation, new, id)?;
        let message = self.outbound(conversation, new, id)?;
        if new.automatic {
            self.spend_automatic(tx, conversation, &message)?;
        }
        let fact = fact_of(conversation, &message, now);
        let interaction = Interaction {
            id,
            connection_id: conversation.connection_id,
            external_id: message.message_id.clone().unwrap_or_default(),
            version: None,
            conversation_id: conversation.id,
            profile_id: conversation.profile_id,
            enquiry_id: conversation.enquiry_id,
            accepted_at: now,
            delivery: Some(DeliveryState::Queued),
            fact,
        };
        if let Some(message_id) = &message.message_id {
            tx.put::<MessageIds>(message_id, &MessageIdRow { conversation: conversation.id, ours: true, seen: true })?;
        }
        let mut people = self.people(tx);
        self.write_interaction(&mut people, &interaction)?;
        let work = DeliveryWork::Send { interaction: id, message: Box::new(message) };
        let delivery = Delivery::new(work, now);
        if serde_json::to_vec(&delivery).map_or(usize::MAX, |bytes| bytes.len()) > LONGEST_DELIVERY {
            return Err(HubError::invalid("/text", "the message is too long to be kept"));
        }
        tx.put::<Deliveries>(&DeliveryKey::send(conversation.connection_id, id), &delivery)?;
        let change = Change {
            profile_id: conversation.profile_id,
            enquiry_id: conversation.enquiry_id,
            conversation_id: Some(conversation.id),
            interaction_id: Some(id),
            data: serde_json::json!({ "kind": "message", "channel": conversation.channel, "delivery": "queued" }),
            ..Change::new(ChangeKind::InteractionAccepted, now)
        };
        tx.log(&change)?;
        Ok(interaction)
    }

    /// Refuses whoever lost the enquiry meanwhile, a bot that has handed it over, and a second answer to the same thing said. The rows that
    /// say so are preconditions of the commit: of two who race only one gets through.
    fn may_answer(&self, tx: &mut Tx, conversation: &Conversation, new: &NewMessage, id: InteractionId) -> Result<()> {
        if let Some(answered) = new.answers {
            let said = tx.get::<Interactions>(&answered)?.filter(|row| row.value.conversation_id == conversation.id);
            if said.is_none_or(|row| row.value.fact.direction != Direction::Inbound) {
                return Err(HubError::invalid("/answers", format!("{answered} is nothing that the customer said in this conversation")));
            }
            if let Some(before) = tx.get::<Answers>(&answered)? {
                return Err(HubError::conflict(format!("{answered} was answered by {} already", before.value)));
            }
            tx.put::<Answers>(&answered, &id)?;
        }
        let guarded = new.fencing_token.is_some() || new.automatic;
        let Some(enquiry) = conversation.enquiry_id.filter(|_| guarded) else { return Ok(()) };
        let current = tx.get::<Enquiries>(&enquiry)?.map_or(0, |row| row.value.fencing_token);
        if let Some(presented) = new.fencing_token.filter(|presented| *presented != current) {
            let detail = format!("the fencing token {presented} of {enquiry} is not the current one any more; read the enquiry again");
            return Err(HubError::Fenced { detail });
        }
        let open = tx.get::<OpenHandoffs>(&enquiry)?.map(|row| row.value).unwrap_or_default();
        if new.automatic && open.iter().any(|open| open.kind == HandoffKind::BotToHuman && open.deadline > self.now()) {
            return Err(HubError::Fenced { detail: format!("{enquiry} is being handed to a person: nothing automatic answers there") });
        }
        Ok(())
    }

    fn outbound(&self, conversation: &Conversation, new: &NewMessage, id: InteractionId) -> Result<OutboundMessage> {
        let earlier = self.said_last(conversation.id)?;
        let last_inbound = earlier.iter().find(|interaction| interaction.fact.direction == Direction::Inbound);
        let to = match &new.to {
            Some(to) if !to.is_empty() => to.clone(),
            _ => {
                let address = last_inbound
                    .or(earlier.first())
                    .and_then(|interaction| interaction.fact.customer())
                    .and_then(|customer| customer.address.clone());
                vec![address.ok_or_else(|| HubError::invalid("/to", "the conversation does not say whom to write to; name an address"))?]
            }
        };
        let in_reply_to = last_inbound.and_then(|interaction| interaction.fact.thread.message_id.clone());
        let mut references = last_inbound.map(|interaction| interaction.fact.thread.references.clone()).unwrap_or_default();
        references.extend(in_reply_to.clone());
        if references.len() > REFERENCES {
            references.drain(1..references.len() - REFERENCES + 1);
        }
        let subject = new.subject.clone().or_else(|| conversation.subject.clone().map(|subject| reply_subject(&subject)));
        let domain = conversation.endpoint.as_deref().and_then(|endpoint| endpoint.split_once('@')).map(|(_, domain)| domain.to_owned());
        // Bound to the brand of the connection that the answer will come in by.
        let brand = &self.connection_context(conversation.connection_id)?.brand;
        let until = self.now().plus_millis(REPLY_TOKEN_MS);
        let token = conversation.enquiry_id.map(|enquiry| self.token_for(enquiry, brand, conversation.channel, until));
        Ok(OutboundMessage {
            to,
            // Found out when it is sent, so that a name put right meanwhile is used.
            to_name: None,
            from: conversation.endpoint.clone(),
            from_name: None,
            subject,
            text: new.text.clone(),
            // The hub's own id under the brand's domain: an answer to it is known for sure.
            message_id: domain.map(|domain| format!("{id}@{domain}")),
            in_reply_to,
            references,
            token,
            conversation_key: Some(conversation.key.clone()),
            automatic: new.automatic,
            sent_at: Some(self.now()),
        })
    }

    /// Moves a conversation, with what was said in it, to another enquiry, or out of any.
    pub async fn attach_conversation(&self, id: ConversationId, enquiry: Option<EnquiryId>, by: &str) -> Result<Stored<Conversation>> {
        self.conversation(id)?;
        self.transact(|tx| {
            let mut row = tx.get::<Conversations>(&id)?.ok_or_else(|| HubError::not_found("conversation", id))?;
            if let Some(enquiry) = enquiry {
                tx.get::<Enquiries>(&enquiry)?.ok_or_else(|| HubError::invalid("/enquiry_id", format!("there is no enquiry {enquiry}")))?;
            }
            let from = row.value.enquiry_id;
            row.value.enquiry_id = enquiry;
            tx.put::<Conversations>(&id, &row.value)?;
            let now = self.now();
            let decision = DecisionId::from_bytes(fresh());
            let name = |enquiry: Option<EnquiryId>| enquiry.map_or_else(|| "no enquiry".to_owned(), |id| id.to_string());
            let outcome = format!("{id} was moved from {} to {}", name(from), name(enquiry));
            let evidence = vec![Evidence { rule: "by hand".to_owned(), detail: by.to_owned() }];
            self.people(tx).decide(decision, "continuity", &outcome, evidence, Vec::new(), row.value.profile_id, enquiry.or(from), None)?;
            let change = Change {
                conversation_id: Some(id),
                enquiry_id: enquiry,
                profile_id: row.value.profile_id,
                decision_id: Some(decision),
                data: serde_json::json!({ "from": from }),
                ..Change::new(ChangeKind::ConversationMoved, now)
            };
            Ok(tx.log(&change)?)
        })
        .await?;
        self.move_interactions(id, enquiry).await?;
        self.conversation(id)
    }

    /// Moves what was said, a piece at a time; what comes meanwhile goes to the new enquiry by itself. Doing it again goes on.
    async fn move_interactions(&self, id: ConversationId, enquiry: Option<EnquiryId>) -> Result<()> {
        let mut after = None;
        loop {
            let page = scan_rows::<ConversationTimeline>(&self.inner.store, id.as_bytes(), after.as_deref(), MOVED_AT_ONCE)?;
            let interactions: Vec<InteractionId> = page.rows.iter().filter_map(|(key, _)| ConversationTimeline::interaction(key)).collect();
            self.transact(|tx| interactions.iter().try_for_each(|interaction| move_interaction(tx, *interaction, enquiry))).await?;
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// The name to show for whom a message goes to: the profile's, if that address is known to be its own.
    pub(crate) fn name_of_recipient(&self, interaction: InteractionId, message: &OutboundMessage) -> Result<Option<String>> {
        let Some(row) = read::<Interactions>(&self.inner.store, &interaction)? else { return Ok(None) };
        let (interaction, Some(address)) = (row.value, message.to.first()) else { return Ok(None) };
        let conversation = self.conversation(interaction.conversation_id)?.value;
        let root = conversation.profile_id.map(|leaf| self.root(leaf)).transpose()?.flatten();
        let Some(root) = root else { return Ok(None) };
        let profile = self.profile(root)?.value;
        let context = self.connection_context(conversation.connection_id)?;
        let Some(identity) = context.normalise(identity_type(conversation.channel), address) else { return Ok(None) };
        let key = identity.key;
        let own = profile.identities.iter().any(|own| own.kind == key.kind && own.namespace == key.namespace && own.value == key.value);
        Ok(profile.display_name().filter(|_| own))
    }
}

pub(super) fn check_recipients(new: &NewMessage) -> Result<()> {
    const MOST: usize = 50;
    const LONGEST: usize = 320;
    let to = new.to.as_deref().unwrap_or_default();
    if to.len() > MOST || to.iter().any(|to| to.trim().is_empty() || to.len() > LONGEST) {
        return Err(HubError::invalid("/to", format!("name at most {MOST} addresses of 1 to {LONGEST} bytes")));
    }
    Ok(())
}

fn fact_of(conversation: &Conversation, message: &OutboundMessage, now: throughline_schemas::Timestamp) -> InteractionFact {
    let recipients = message.to.iter().map(|address| Participant {
        role: ParticipantRole::Customer,
        identity_type: Some(identity_type(conversation.channel)),
        address: Some(address.clone()),
        name: None,
        sender: false,
    });
    InteractionFact {
        channel: conversation.channel,
        direction: Direction::Outbound,
        endpoint: conversation.endpoint.clone(),
        conversation_key: Some(conversation.key.clone()),
        occurred_at: now,
        ended_at: None,
        participants: recipients.collect(),
        thread: ThreadEvidence {
            message_id: message.message_id.clone(),
            in_reply_to: message.in_reply_to.clone().into_iter().collect(),
            references: message.references.clone(),
            tokens: Vec::new(),
        },
        automated: message.automatic.then(|| "sent by a rule".to_owned()),
        variables: std::collections::BTreeMap::new(),
        content: Content::Message(MessageFacts { subject: message.subject.clone(), text: message.text.clone(), ..MessageFacts::default() }),
    }
}

/// What kind of identifier customers have on a channel.
pub(super) const fn identity_type(channel: throughline_schemas::Channel) -> throughline_schemas::IdentityType {
    use throughline_schemas::{Channel, IdentityType};
    match channel {
        Channel::Email => IdentityType::Email,
        Channel::Phone | Channel::Sms => IdentityType::Phone,
        Channel::Chat | Channel::Social | Channel::Web | Channel::Other => IdentityType::Handle,
    }
}

fn reply_subject(subject: &str) -> String {
    if subject.get(..3).is_some_and(|start| start.eq_ignore_ascii_case("re:")) { subject.to_owned() } else { format!("Re: {subject}") }
}
