//! Two profiles that were one for a while: what was said meanwhile goes back to whose it is.
//!
//! Facts were kept with their leaf all along; but while the two were shown as one, what one said may have been attached to the
//! other's enquiry. After they are separated it must not stay there: it would be read by the wrong person.

use std::collections::{BTreeMap, BTreeSet};

use throughline_schemas::{
    Change, ChangeKind, Conversation, ConversationId, DecisionId, Enquiry, EnquiryId, EnquiryStatus, Interaction, InteractionId, ProfileId,
    Timestamp,
};
use throughline_store::tables::{
    Conversations, Enquiries, EnquiriesByProfile, EnquiryTimeline, Interactions, Leaves, Present, Timeline, TimelineKey, Tx, scan_rows,
};

use super::People;
use crate::clock::fresh;
use crate::error::Result;

/// Interactions read at a time.
const AT_ONCE: usize = 200;
/// What an enquiry is about, where its conversation has no subject.
const NO_REASON: &str = "Separated from another customer's enquiry";

impl People<'_> {
    /// Takes what one of two separated roots said since `since` out of the other's enquiries. Doing it again changes nothing.
    pub(crate) fn part_enquiries(&mut self, one: ProfileId, other: ProfileId, since: Timestamp, decision: DecisionId) -> Result<()> {
        let sides = [self.side(one)?, self.side(other)?];
        for (own, foreign) in [(&sides[0], &sides[1]), (&sides[1], &sides[0])] {
            for leaf in own {
                let strays = self.strays(*leaf, foreign, since)?;
                self.bring_home(*leaf, own, strays, decision)?;
            }
        }
        Ok(())
    }

    /// A root and the leaves below it.
    fn side(&mut self, root: ProfileId) -> Result<BTreeSet<ProfileId>> {
        let members = self.tx.get::<Leaves>(&root)?.map(|row| row.value.members).unwrap_or_default();
        Ok(std::iter::once(root).chain(members).collect())
    }

    /// What a leaf said that stands in an enquiry of these others, by the conversation and the enquiry it stands in.
    fn strays(
        &mut self,
        leaf: ProfileId,
        foreign: &BTreeSet<ProfileId>,
        since: Timestamp,
    ) -> Result<BTreeMap<(ConversationId, EnquiryId), Vec<Interaction>>> {
        let mut strays: BTreeMap<_, Vec<Interaction>> = BTreeMap::new();
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = scan_rows::<Timeline>(self.tx.store(), leaf.as_bytes(), after.as_deref(), AT_ONCE)?;
            let mut recent = false;
            for id in page.rows.iter().filter_map(|(key, _)| Timeline::interaction(key)) {
                let Some(row) = self.tx.get::<Interactions>(&id)? else { continue };
                recent |= row.value.accepted_at >= since;
                let Some(enquiry) = row.value.enquiry_id else { continue };
                let owner = self.tx.get::<Enquiries>(&enquiry)?.map(|row| row.value.profile_id);
                if owner.is_some_and(|owner| foreign.contains(&owner)) {
                    strays.entry((row.value.conversation_id, enquiry)).or_default().push(row.value);
                }
            }
            match page.next {
                // Newest first: what came before the merge can stand in no enquiry of the other.
                Some(next) if recent => after = Some(next),
                _ => return Ok(strays),
            }
        }
    }

    fn bring_home(
        &mut self,
        leaf: ProfileId,
        own: &BTreeSet<ProfileId>,
        strays: BTreeMap<(ConversationId, EnquiryId), Vec<Interaction>>,
        decision: DecisionId,
    ) -> Result<()> {
        for ((conversation, from), said) in strays {
            let Some(left) = self.tx.get::<Enquiries>(&from)?.map(|row| row.value) else { continue };
            let mut row = self.tx.get::<Conversations>(&conversation)?;
            let is_own = row.as_ref().and_then(|row| row.value.profile_id).is_some_and(|whose| own.contains(&whose));
            let home = self.home(leaf, own, &left, row.as_ref().map(|row| &row.value), &said, decision)?;
            for interaction in &said {
                move_interaction(self.tx, interaction.id, Some(home))?;
            }
            if let Some(row) = row.as_mut().filter(|row| is_own && row.value.enquiry_id == Some(from)) {
                row.value.enquiry_id = Some(home);
                self.tx.put::<Conversations>(&conversation, &row.value)?;
                self.follow_answers(conversation, from, home)?;
            }
            let change = Change {
                conversation_id: Some(conversation),
                enquiry_id: Some(home),
                profile_id: Some(leaf),
                decision_id: Some(decision),
                data: serde_json::json!({ "from": from }),
                ..self.change(ChangeKind::ConversationMoved)
            };
            self.tx.log(&change)?;
        }
        Ok(())
    }

    /// What we answered in a conversation goes where the conversation goes.
    fn follow_answers(&mut self, conversation: ConversationId, from: EnquiryId, home: EnquiryId) -> Result<()> {
        use throughline_store::tables::ConversationTimeline;
        let mut after: Option<Vec<u8>> = None;
        loop {
            let page = scan_rows::<ConversationTimeline>(self.tx.store(), conversation.as_bytes(), after.as_deref(), AT_ONCE)?;
            for id in page.rows.iter().filter_map(|(key, _)| ConversationTimeline::interaction(key)) {
                if self.tx.get::<Interactions>(&id)?.is_some_and(|row| row.value.enquiry_id == Some(from)) {
                    move_interaction(self.tx, id, Some(home))?;
                }
            }
            match page.next {
                Some(next) => after = Some(next),
                None => return Ok(()),
            }
        }
    }

    /// The enquiry that it would have been: the only live one of its own side and brand, or a new one.
    fn home(
        &mut self,
        leaf: ProfileId,
        own: &BTreeSet<ProfileId>,
        left: &Enquiry,
        conversation: Option<&Conversation>,
        said: &[Interaction],
        decision: DecisionId,
    ) -> Result<EnquiryId> {
        let mut live = Vec::new();
        for member in own {
            let rows = scan_rows::<EnquiriesByProfile>(self.tx.store(), member.as_bytes(), None, AT_ONCE)?.rows;
            for id in rows.iter().filter_map(|(key, _)| EnquiriesByProfile::enquiry(key)) {
                let open = |enquiry: &Enquiry| matches!(enquiry.status, EnquiryStatus::Open | EnquiryStatus::Waiting);
                live.extend(
                    self.tx.get::<Enquiries>(&id)?.map(|row| row.value).filter(|enquiry| open(enquiry) && enquiry.brand == left.brand),
                );
            }
        }
        if let [only] = live.as_slice() {
            return Ok(only.id);
        }
        let began = said.iter().map(|interaction| interaction.fact.occurred_at).min().unwrap_or(self.now);
        let reason = conversation.and_then(|conversation| conversation.subject.clone()).unwrap_or_else(|| NO_REASON.to_owned());
        let opened = Enquiry::open(EnquiryId::from_bytes(fresh()), leaf, &left.brand, began);
        let enquiry = Enquiry { reason, updated_at: self.now, ..opened };
        let root = self.write_new_enquiry(&enquiry)?;
        let change = Change {
            enquiry_id: Some(enquiry.id),
            profile_id: root,
            decision_id: Some(decision),
            ..self.change(ChangeKind::EnquiryOpened)
        };
        self.tx.log(&change)?;
        Ok(enquiry.id)
    }
}

/// Moves an interaction to another enquiry, or out of any.
pub(crate) fn move_interaction(tx: &mut Tx, id: InteractionId, enquiry: Option<EnquiryId>) -> Result<()> {
    let Some(mut row) = tx.get::<Interactions>(&id)?.filter(|row| row.value.enquiry_id != enquiry) else { return Ok(()) };
    let at = row.value.fact.occurred_at;
    if let Some(from) = row.value.enquiry_id {
        tx.delete::<EnquiryTimeline>(&TimelineKey { subject: from, at, interaction: id });
    }
    if let Some(to) = enquiry {
        tx.put::<EnquiryTimeline>(&TimelineKey { subject: to, at, interaction: id }, &Present {})?;
    }
    row.value.enquiry_id = enquiry;
    Ok(tx.put::<Interactions>(&id, &row.value)?)
}
