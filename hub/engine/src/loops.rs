//! Budgets against loops: automatic messages, and the opening again of what was over, for each counterparty.
//!
//! Two machines that answer each other cost money and bury people in mail. What is an automatic message is bounded before it is
//! queued; whoever opens the same enquiry again and again stops doing so.

use throughline_schemas::connector::OutboundMessage;
use throughline_schemas::{Channel, Conversation, Direction, EnquiryId, InteractionId};
use throughline_store::tables::{BudgetRow, Budgets, ConversationTimeline, Enquiries, Interactions, Tx, scan_rows};

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::People;
use crate::tokens::digest16;

/// How far back the last message of the customer is looked for.
const LOOK_BACK: usize = 20;

impl Hub {
    /// Whether a rule may send this; counts it if it may.
    pub(crate) fn spend_automatic(&self, tx: &mut Tx, conversation: &Conversation, message: &OutboundMessage) -> Result<()> {
        if self.answers_a_machine(tx, conversation)? {
            return Err(HubError::conflict("the last message came from a machine; machines are not answered by a rule, only by a person"));
        }
        let enquiry = conversation.enquiry_id.map(|id| tx.get::<Enquiries>(&id)).transpose()?.flatten();
        let (brand, reason) = match &enquiry {
            Some(row) => (row.value.brand.clone(), row.value.reason.as_str()),
            None => (self.connection_context(conversation.connection_id)?.brand.clone(), ""),
        };
        let budget = self.policies().applying(&brand, conversation.channel, reason).automatic;
        let to = message.to.first().map(|to| to.to_lowercase()).unwrap_or_default();
        let key = digest16(&[b"automatic", conversation.id.as_bytes(), to.as_bytes()]);
        let mut people = self.people(tx);
        let full_at = people.tx.get::<Budgets>(&key)?.map(|row| row.value.full_at);
        if !budget.allows(full_at, people.now) {
            return Err(HubError::conflict(
                "too many automatic messages went to this address in this conversation; wait, or let a person write",
            ));
        }
        people.tx.put::<Budgets>(&key, &BudgetRow { full_at: budget.spend(full_at, people.now), last: None })?;
        self.sweep_budgets(&mut people)
    }

    fn answers_a_machine(&self, tx: &mut Tx, conversation: &Conversation) -> Result<bool> {
        let page = scan_rows::<ConversationTimeline>(tx.store(), conversation.id.as_bytes(), None, LOOK_BACK)?;
        let interactions: Vec<InteractionId> = page.rows.iter().filter_map(|(key, _)| ConversationTimeline::interaction(key)).collect();
        for id in interactions {
            let Some(row) = tx.get::<Interactions>(&id)? else { continue };
            if row.value.fact.direction == Direction::Inbound {
                return Ok(row.value.fact.automated.is_some());
            }
        }
        Ok(false)
    }

    /// Whether this counterparty may open this enquiry once more.
    pub(crate) fn may_reopen(&self, people: &mut People<'_>, enquiry: EnquiryId, counterparty: &str, policy: &Policy<'_>) -> Result<bool> {
        let full_at = people.tx.get::<Budgets>(&reopen_key(enquiry, counterparty))?.map(|row| row.value.full_at);
        Ok(policy.of(self).reopens.allows(full_at, people.now))
    }

    /// Counts that it did.
    pub(crate) fn spend_reopen(&self, people: &mut People<'_>, enquiry: EnquiryId, counterparty: &str, policy: &Policy<'_>) -> Result<()> {
        let key = reopen_key(enquiry, counterparty);
        let full_at = people.tx.get::<Budgets>(&key)?.map(|row| row.value.full_at);
        let full_at = policy.of(self).reopens.spend(full_at, people.now);
        people.tx.put::<Budgets>(&key, &BudgetRow { full_at, last: None })?;
        self.sweep_budgets(people)
    }
}

/// Which policy applies.
pub(crate) struct Policy<'a> {
    pub(crate) brand: &'a str,
    pub(crate) channel: Channel,
    pub(crate) reason: &'a str,
}

impl Policy<'_> {
    pub(crate) fn of(&self, hub: &Hub) -> throughline_domain::continuity::ContinuityPolicy {
        hub.policies().applying(self.brand, self.channel, self.reason)
    }
}

fn reopen_key(enquiry: EnquiryId, counterparty: &str) -> [u8; 16] {
    digest16(&[b"reopen", enquiry.as_bytes(), counterparty.as_bytes()])
}
