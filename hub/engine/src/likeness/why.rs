//! Why a profile shows what it shows: which profiles it is made of, by which decisions, and who said each value.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_schemas::{Attributed, Decision, IdentityLink, ProfileId};
use throughline_store::tables::{Decisions, Leaves, Merges, Tx, read};

use crate::error::Result;
use crate::hub::{Hub, Paging};

/// Decisions that are shown.
const RECENT: usize = 50;

/// Why.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhyView {
    /// The profile.
    pub profile_id: ProfileId,
    /// The field that was asked for.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub field: Option<String>,
    /// What is shown of it: the newest value, of equally old ones the better assured.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub shown: Option<Attributed>,
    /// All that was said of it, with who said it, what is shown first.
    pub said: Vec<SaidView>,
    /// The profiles that this one is made of, with the decision that put them here.
    pub members: Vec<MemberView>,
    /// Identities it is recognised by, those taken back included; of the field's type, if one was asked for.
    pub links: Vec<IdentityLink>,
    /// Decisions about it, newest first: each with its evidence and alternatives.
    pub decisions: Vec<Decision>,
}

/// A value that was said.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct SaidView {
    /// The profile it is kept with, as it was before any merge.
    pub leaf: ProfileId,
    /// The field.
    pub field: String,
    /// The value, by whom, when, how well assured.
    pub said: Attributed,
}

/// A profile that was merged into this one.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct MemberView {
    /// It.
    pub profile_id: ProfileId,
    /// The decision that merged it, with its evidence.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub decision: Option<Decision>,
}

impl Hub {
    /// Why a profile, or one field of it, is as it is.
    pub fn why(&self, id: ProfileId, field: Option<&str>) -> Result<WhyView> {
        let profile = self.profile(id)?.value;
        let wanted = |name: &str| field.is_none_or(|field| field == name);
        let mut said = Vec::new();
        let mut members = Vec::new();
        let mut tx = Tx::new(&self.inner.store);
        for leaf in std::iter::once(id).chain(profile.members.iter().copied()) {
            if let Some(row) = tx.get::<Leaves>(&leaf)? {
                let of_leaf = row.value.fields.into_iter().filter(|(name, _)| wanted(name));
                said.extend(of_leaf.map(|(field, said)| SaidView { leaf, field, said }));
            }
            if leaf != id {
                members.push(MemberView { profile_id: leaf, decision: self.merge_decision(leaf)? });
            }
        }
        let shown = field.and_then(|field| profile.fields.get(field)).cloned();
        said.sort_by_key(|value| {
            (value.field.clone(), Some(&value.said) != profile.fields.get(&value.field), std::cmp::Reverse(value.said.at))
        });
        let links = self.identity_links(id)?.into_iter().filter(|link| wanted(link.identity.kind.as_str())).collect();
        let decisions = self.decisions(&id.to_string(), Paging { cursor: None, limit: RECENT })?.items;
        Ok(WhyView { profile_id: id, field: field.map(str::to_owned), shown, said, members, links, decisions })
    }

    fn merge_decision(&self, leaf: ProfileId) -> Result<Option<Decision>> {
        let Some(merge) = read::<Merges>(&self.inner.store, &leaf)?.filter(|row| row.value.undone_at.is_none()) else { return Ok(None) };
        Ok(read::<Decisions>(&self.inner.store, &merge.value.decision_id)?.map(|row| row.value))
    }
}
