//! What became known later: a newer version of an interaction brings a token, or shows who it was.
//!
//! What stood nowhere may attach now. What was put somewhere already is never moved by this: that it may belong elsewhere is written
//! down as a decision, for a person to see.

use throughline_domain::continuity::{ContinuityDecision, Placement, decide};
use throughline_schemas::{Change, ChangeKind, EnquiryId, Interaction};

use super::interaction::assurance_of;
use super::place::{Arrival, Placed, keep_decision, led_to};
use super::{ConnectionContext, People};
use crate::error::Result;
use crate::hub::Hub;

impl Hub {
    /// Looks at tokens that an earlier version of the interaction did not bring. Answers where it went, if it stood nowhere.
    pub(super) fn redeem_late(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        interaction: &Interaction,
        tokens: &[String],
    ) -> Result<Option<Placed>> {
        let fact = &interaction.fact;
        let (person, keys) = self.customer(people, context, fact, interaction.id)?;
        let conversation = Some(interaction.conversation_id);
        let arrival = Arrival { id: interaction.id, fact, person: &person, keys, assurance: assurance_of(fact), conversation, tokens };
        let Some(current) = interaction.enquiry_id else { return self.place(people, context, &arrival).map(Some) };
        let (facts, spends) = self.continuity_facts(people, context, &arrival)?;
        let decision = decide(&facts);
        if let Some(named) = led_to(&decision.placement).filter(|named| *named == current) {
            for (_, spend) in spends.iter().filter(|(enquiry, _)| *enquiry == named) {
                self.spend_token(people, spend)?;
            }
        }
        if !facts.tokens.is_empty() || !facts.remarks.is_empty() {
            self.question(people, &arrival, current, decision)?;
        }
        Ok(None)
    }

    /// Writes down what newer facts say of where an interaction stands; it stays there.
    fn question(&self, people: &mut People<'_>, arrival: &Arrival<'_>, current: EnquiryId, decision: ContinuityDecision) -> Result<()> {
        let by_token = decision.evidence.first().is_some_and(|first| first.rule.starts_with("C5"));
        let named = match decision.placement {
            Placement::Park { enquiry } => Some(enquiry),
            _ => led_to(&decision.placement),
        };
        let outcome = match named.filter(|named| by_token && *named != current) {
            Some(named) => format!("it stays in {current}, but what came later names {named}: a person must say"),
            None => format!("it stays in {current}"),
        };
        let verdict = if named.is_some_and(|named| by_token && named != current) { "question" } else { "attach" };
        let candidates = named.filter(|named| *named != current).into_iter().collect();
        let placement = Placement::Suggest { candidates, then_open: None };
        let id = keep_decision(people, arrival, ContinuityDecision { placement, outcome, ..decision }, verdict, Some(current))?;
        let change = Change {
            enquiry_id: Some(current),
            profile_id: arrival.person.root,
            interaction_id: Some(arrival.id),
            decision_id: Some(id),
            ..people.change(ChangeKind::InteractionUpdated)
        };
        Ok(people.tx.log(&change)?)
    }
}
