//! What became known later: a newer version of an interaction brings a token or shows who it was, a record or a proof says whose an
//! identity is.
//!
//! What stood nowhere may attach now. What was put somewhere already is never moved by this: that it may belong elsewhere is written
//! down as a decision, for a person to see.

use std::collections::BTreeSet;

use throughline_domain::continuity::{ContinuityDecision, Placement, decide};
use throughline_schemas::{Change, ChangeKind, Direction, EnquiryId, Interaction, InteractionId, ProfileId};
use throughline_store::tables::{DecisionIndex, Decisions, EnquiriesByProfile, Interactions, Timeline, read, scan_rows};

use super::interaction::assurance_of;
use super::place::{Arrival, Placed, keep_decision, led_to};
use super::{ConnectionContext, People};
use crate::error::Result;
use crate::hub::Hub;

/// How many interactions of a person, and decisions about an enquiry, are looked at again.
const RECONSIDERED: usize = 20;
/// How many of the profiles that were merged into one.
const LEAVES: usize = 8;
/// How old they may be, in milliseconds: seven days.
const RECONSIDERED_MS: i64 = 7 * 24 * 3600 * 1000;

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

    /// Looks again at what lately concerned a person of whom more is known now: what stood nowhere may attach, what stands somewhere for
    /// no better reason than who seemed to speak may be questioned.
    pub(crate) fn reconsider(&self, people: &mut People<'_>, root: ProfileId) -> Result<()> {
        for id in self.lately_about(people, root)? {
            let Some(row) = people.tx.get::<Interactions>(&id)? else { continue };
            let interaction = row.value;
            let is_old = people.now.since(interaction.accepted_at) > RECONSIDERED_MS;
            if is_old || interaction.fact.direction != Direction::Inbound || interaction.fact.automated.is_some() {
                continue;
            }
            self.reconsider_one(people, interaction)?;
        }
        Ok(())
    }

    /// The last interactions on a person's timeline, and those that wait beside the person's open enquiries for somebody to say.
    fn lately_about(&self, people: &mut People<'_>, root: ProfileId) -> Result<BTreeSet<InteractionId>> {
        let store = people.tx.store().clone();
        let Some((root, row)) = people.root_of(root)? else { return Ok(BTreeSet::new()) };
        let mut ids = BTreeSet::new();
        for leaf in std::iter::once(root).chain(row.value.members).take(LEAVES) {
            let page = scan_rows::<Timeline>(&store, leaf.as_bytes(), None, RECONSIDERED)?;
            ids.extend(page.rows.iter().filter_map(|(key, _)| Timeline::interaction(key)));
            let enquiries = scan_rows::<EnquiriesByProfile>(&store, leaf.as_bytes(), None, RECONSIDERED)?;
            let live = enquiries.rows.iter().filter(|(_, row)| row.value.is_live());
            for enquiry in live.filter_map(|(key, _)| EnquiriesByProfile::enquiry(key)) {
                let decisions = scan_rows::<DecisionIndex>(&store, enquiry.as_bytes(), None, RECONSIDERED)?;
                for decision in decisions.rows.iter().filter_map(|(key, _)| DecisionIndex::decision(key)) {
                    let Some(decision) = read::<Decisions>(&store, &decision)? else { continue };
                    let waits = matches!(decision.value.verdict.as_deref(), Some("suggest" | "park"));
                    ids.extend(decision.value.interaction_id.filter(|_| waits));
                }
            }
        }
        Ok(ids)
    }

    fn reconsider_one(&self, people: &mut People<'_>, mut interaction: Interaction) -> Result<()> {
        let context = self.connection_context(interaction.connection_id)?;
        let fact = interaction.fact.clone();
        let (person, keys) = self.customer(people, &context, &fact, interaction.id)?;
        let conversation = Some(interaction.conversation_id);
        let tokens = &fact.thread.tokens;
        let arrival =
            Arrival { id: interaction.id, fact: &fact, person: &person, keys, assurance: assurance_of(&fact), conversation, tokens };
        let (mut facts, spends) = self.continuity_facts(people, &context, &arrival)?;
        // As it was then, but for what is known of persons: what was opened since cannot have been meant.
        facts.enquiries.retain(|enquiry| enquiry.opened_at <= interaction.accepted_at || Some(enquiry.id) == interaction.enquiry_id);
        // Its own conversation stands where it stands because of this very interaction.
        facts.threads.retain(|thread| thread.conversation != interaction.conversation_id);
        let mut decision = decide(&facts);
        match (interaction.enquiry_id, led_to(&decision.placement)) {
            (None, Some(_)) if matches!(decision.placement, Placement::Attach { .. }) => {
                decision.outcome = format!("more is known now: {}", decision.outcome);
                let placed = self.settle_in(people, &context, &arrival, decision, &spends, true)?;
                interaction.enquiry_id = placed.enquiry;
                interaction.profile_id = interaction.profile_id.or(person.leaf);
                self.write_interaction(people, &interaction)?;
                let change = Change {
                    profile_id: person.root,
                    enquiry_id: placed.enquiry,
                    conversation_id: conversation,
                    interaction_id: Some(interaction.id),
                    decision_id: Some(placed.decision),
                    ..people.change(ChangeKind::InteractionUpdated)
                };
                Ok(people.tx.log(&change)?)
            }
            (Some(current), named) if named != Some(current) && self.is_weak(people, interaction.id)? => {
                self.question(people, &arrival, current, decision)
            }
            _ => Ok(()),
        }
    }

    /// Whether it stands where it stands for no better reason than who seemed to speak (C2), and nobody was asked about it yet.
    fn is_weak(&self, people: &People<'_>, id: InteractionId) -> Result<bool> {
        let store = people.tx.store();
        let page = scan_rows::<DecisionIndex>(store, id.as_bytes(), None, RECONSIDERED)?;
        for decision in page.rows.iter().filter_map(|(key, _)| DecisionIndex::decision(key)) {
            let Some(row) = read::<Decisions>(store, &decision)?.filter(|row| row.value.subject == "continuity") else { continue };
            let by_person = row.value.evidence.first().is_some_and(|first| first.rule.starts_with("C2"));
            return Ok(row.value.verdict.as_deref() == Some("attach") && by_person);
        }
        Ok(false)
    }

    /// Writes down what newer facts say of where an interaction stands; it stays there.
    fn question(&self, people: &mut People<'_>, arrival: &Arrival<'_>, current: EnquiryId, decision: ContinuityDecision) -> Result<()> {
        let mut candidates: Vec<EnquiryId> = match &decision.placement {
            Placement::Park { enquiry } => vec![*enquiry],
            Placement::Suggest { candidates, .. } => candidates.clone(),
            placement => led_to(placement).into_iter().collect(),
        };
        // That it is only suggested now speaks against where it stands, even if nothing else is suggested.
        let stays = led_to(&decision.placement) == Some(current);
        candidates.retain(|candidate| *candidate != current);
        // A token that does not hold, or a wrong code, speaks for nothing.
        let by_token = decision.evidence.first().is_some_and(|first| first.rule.starts_with("C5"));
        let is_questioned = !stays && (arrival.tokens.is_empty() || by_token);
        let (verdict, outcome) = if is_questioned {
            (
                "question",
                format!("it stays in {current}, but what came later speaks for another place or another person: a person must say"),
            )
        } else {
            candidates.clear();
            ("attach", format!("it stays in {current}"))
        };
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
