//! What a channel shows of a handoff without anybody asking: the customer came, the call was answered, the call failed.

use throughline_domain::handoff::{Step, shown_by_moved_call};
use throughline_schemas::interaction::CallPhase;
use throughline_schemas::{CallFacts, Channel, Content, Direction, Evidence, Handoff, HandoffKind, Interaction};
use throughline_store::tables::Handoffs;

use super::{name_of, open_of};
use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::People;

impl Hub {
    /// Looks whether an interaction is what an open handoff of its enquiry waits for.
    pub(crate) fn handoffs_met(&self, people: &mut People<'_>, interaction: &Interaction) -> Result<()> {
        let Some(enquiry) = interaction.enquiry_id else { return Ok(()) };
        let waiting = open_of(people, enquiry)?;
        for open in waiting.into_iter().filter(|open| open.channel == Some(interaction.fact.channel)) {
            let Some(row) = people.tx.get::<Handoffs>(&open.id)? else { continue };
            if let Some(step) = shown_by(interaction, &row.value) {
                let why = Evidence { rule: "seen on the channel".to_owned(), detail: interaction.id.to_string() };
                self.take_step(people, open.id, &step, None, why)?;
            }
        }
        Ok(())
    }
}

/// What an interaction means for a handoff whose enquiry and channel it has.
fn shown_by(interaction: &Interaction, handoff: &Handoff) -> Option<Step> {
    if handoff.call.is_some() {
        return match &interaction.fact.content {
            Content::Call(call) if handoff.call == Some(interaction.id) => shown_by_moved_call(call, handoff),
            _ => None,
        };
    }
    // A call that was under way already is not the one that was asked for.
    if interaction.accepted_at < handoff.at.unwrap_or(handoff.offered_at) {
        return None;
    }
    let fact = &interaction.fact;
    match (handoff.kind, &fact.content) {
        (HandoffKind::ChannelSwitch, _) if fact.direction == Direction::Inbound && fact.automated.is_none() => {
            Some(Step::Happened { by: None, what: format!("the customer came by {}", name_of::<Channel>(&fact.channel)) })
        }
        (HandoffKind::Escalate | HandoffKind::Callback, Content::Call(call)) => shown_by_call(call, fact.direction),
        _ => None,
    }
}

/// Answered means that both talk: on a call that we place, the agent's phone is picked up first and the customer's decides.
fn shown_by_call(call: &CallFacts, direction: Direction) -> Option<Step> {
    match (call.answered, call.agents.last()) {
        (true, Some(agent)) => Some(Step::Happened { by: Some(agent.clone()), what: format!("{agent} talked to the customer") }),
        // A call of the customer's that nobody took is not the one we place.
        _ if call.phase == CallPhase::Ended && direction == Direction::Outbound => {
            Some(Step::Fail { why: format!("the call came to nothing: {}", name_of(&call.outcome).replace('_', " ")) })
        }
        _ => None,
    }
}
