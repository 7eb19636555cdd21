//! Merges put one profile under another and take that back; facts stay where they are.

use throughline_domain::identity::Merge;
use throughline_schemas::{Change, ChangeKind, DecisionId, MergeId, ProfileId, Timestamp};
use throughline_store::tables::{Leaf, Leaves, MergeRecord, Merges};

use super::People;
use crate::clock::fresh;
use crate::error::Result;

/// How many merges, one on the other, are followed back.
const MAX_MERGES: usize = 64;

impl People<'_> {
    /// Puts one root under another. Facts stay where they are, so that it can be undone.
    pub(crate) fn merge(&mut self, merge: &Merge, decision_id: DecisionId) -> Result<()> {
        // Two merges of one decision may name the same roots: look where they stand now.
        let Some((loser, mut loser_row)) = self.root_of(merge.loser_root)? else { return Ok(()) };
        let Some((survivor, mut survivor_row)) = self.root_of(merge.survivor_root)? else { return Ok(()) };
        if loser == survivor {
            return Ok(());
        }
        let members = std::mem::take(&mut loser_row.value.members);
        for member in &members {
            if let Some(mut row) = self.tx.get::<Leaves>(member)? {
                row.value.merged_into = Some(survivor);
                self.tx.put::<Leaves>(member, &row.value)?;
            }
        }
        loser_row.value.merged_into = Some(survivor);
        self.tx.put::<Leaves>(&loser, &loser_row.value)?;
        survivor_row.value.members.push(loser);
        survivor_row.value.members.extend(&members);
        self.tx.put::<Leaves>(&survivor, &survivor_row.value)?;
        let id = MergeId::from_bytes(fresh());
        let record = MergeRecord { id, survivor, loser, members, decision_id, at: self.now, undone_at: None };
        self.tx.put::<Merges>(&loser, &record)?;
        let change = Change {
            profile_id: Some(survivor),
            decision_id: Some(decision_id),
            data: serde_json::json!({ "merged": loser }),
            ..self.change(ChangeKind::ProfileMerged)
        };
        Ok(self.tx.log(&change)?)
    }

    /// Undoes the latest merge of a profile, and says when it was made; none if it is not merged. A person said so, so they are never merged again by rule.
    pub(crate) fn unmerge(&mut self, loser: ProfileId, decision_id: DecisionId) -> Result<Option<Timestamp>> {
        let Some(mut merge) = self.tx.get::<Merges>(&loser)?.filter(|row| row.value.undone_at.is_none()) else { return Ok(None) };
        let Some((survivor, mut survivor_row)) = self.root_of(loser)? else { return Ok(None) };
        // Of those that came with it, those that were separated meanwhile, or merged elsewhere since, do not go back with it.
        let mut back = Vec::new();
        for member in &merge.value.members {
            if survivor_row.value.members.contains(member) && self.came_with(*member, loser)? {
                back.push(*member);
            }
        }
        survivor_row.value.members.retain(|member| *member != loser && !back.contains(member));
        keep_apart(&mut survivor_row.value, loser);
        self.tx.put::<Leaves>(&survivor, &survivor_row.value)?;
        // What it was put under directly may have been put under another since; it is kept apart from both.
        if merge.value.survivor != survivor
            && let Some(mut row) = self.tx.get::<Leaves>(&merge.value.survivor)?
        {
            keep_apart(&mut row.value, loser);
            self.tx.put::<Leaves>(&merge.value.survivor, &row.value)?;
        }
        for member in &back {
            if let Some(mut row) = self.tx.get::<Leaves>(member)? {
                row.value.merged_into = Some(loser);
                self.tx.put::<Leaves>(member, &row.value)?;
            }
        }
        if let Some(mut row) = self.tx.get::<Leaves>(&loser)? {
            row.value.merged_into = None;
            row.value.members = back;
            keep_apart(&mut row.value, survivor);
            keep_apart(&mut row.value, merge.value.survivor);
            self.tx.put::<Leaves>(&loser, &row.value)?;
        }
        merge.value.undone_at = Some(self.now);
        self.tx.put::<Merges>(&loser, &merge.value)?;
        let change = Change {
            profile_id: Some(survivor),
            decision_id: Some(decision_id),
            data: serde_json::json!({ "separated": loser }),
            ..self.change(ChangeKind::ProfileUnmerged)
        };
        self.tx.log(&change)?;
        Ok(Some(merge.value.at))
    }

    /// Whether a member stands where it does because of a merge into `root`, directly or by way of others.
    fn came_with(&mut self, member: ProfileId, root: ProfileId) -> Result<bool> {
        let mut id = member;
        for _ in 0..MAX_MERGES {
            match self.tx.get::<Merges>(&id)?.filter(|row| row.value.undone_at.is_none()) {
                Some(row) if row.value.survivor == root => return Ok(true),
                Some(row) => id = row.value.survivor,
                None => return Ok(false),
            }
        }
        Ok(false)
    }
}

fn keep_apart(leaf: &mut Leaf, other: ProfileId) {
    if !leaf.cannot_link.contains(&other) {
        leaf.cannot_link.push(other);
    }
}
