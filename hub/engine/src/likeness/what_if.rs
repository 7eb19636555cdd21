//! What other thresholds would have made of all that is known: who would be merged by likeness, and who would not have been.
//!
//! Everything is resolved again in memory, from the profiles as they were before any merge by likeness; nothing is written. What
//! identifiers and people said stays: it is no matter of thresholds.

use std::collections::{BTreeMap, BTreeSet, HashMap};
use std::sync::Arc;

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};
use throughline_domain::identity::IdentityPolicy;
use throughline_domain::identity::resolve::{Resolver, Settings};
use throughline_schemas::ProfileId;
use throughline_store::Store;
use throughline_store::tables::{Decisions, Leaf, Merges, read};

use super::records::{profile_of, records_of};
use super::reviews::SUBJECT;
use super::{every_leaf, model_for};
use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;

/// Pairs of each kind that an answer lists.
const LISTED: usize = 200;
/// How many merges, one on the other, are followed.
const MAX_DEPTH: usize = 64;

/// Thresholds to try out, in bits.
#[derive(Debug, Clone, Copy, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct IdentityWhatIf {
    /// The least evidence for a merge.
    pub merge_bits: f32,
    /// The least evidence for a suggestion.
    pub suggest_bits: f32,
}

/// Profiles that these thresholds would treat otherwise than they are now.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct WhatIfPair {
    /// The profiles.
    pub profiles: Vec<ProfileId>,
}

/// What thresholds would change.
#[derive(Debug, Clone, Serialize, Deserialize, JsonSchema)]
pub struct IdentityWhatIfAnswer {
    /// Profiles there are, merged ones counted once.
    pub profiles: usize,
    /// The model that weighed them.
    pub model: String,
    /// How many groups of profiles would be merged.
    pub merges: usize,
    /// The first of them.
    pub would_merge: Vec<WhatIfPair>,
    /// How many profiles would be taken apart.
    pub splits: usize,
    /// The first of them, each with what it would be taken apart into.
    pub would_split: Vec<WhatIfPair>,
    /// How many pairs would be suggested to a person.
    pub suggestions: usize,
}

impl Hub {
    /// Tries thresholds out on all profiles there are. Changes nothing.
    pub async fn identity_what_if(&self, asked: IdentityWhatIf) -> Result<IdentityWhatIfAnswer> {
        let policy = IdentityPolicy { merge_bits: asked.merge_bits, suggest_bits: asked.suggest_bits, ..IdentityPolicy::default() };
        policy.check().map_err(|error| HubError::invalid(error.pointer, error.detail.clone()))?;
        let store = self.inner.store.clone();
        self.apart(move || try_out(&store, &policy)).await
    }
}

fn try_out(store: &Store, policy: &IdentityPolicy) -> Result<IdentityWhatIfAnswer> {
    let leaves = every_leaf(store)?;
    let mut groups: HashMap<ProfileId, ProfileId> = HashMap::new();
    for (id, _) in &leaves {
        groups.insert(*id, group_of(store, *id)?);
    }
    let records: Vec<_> = leaves.iter().flat_map(|(id, leaf)| records_of(*id, leaf, groups[id])).collect();
    let model = Arc::new(model_for(&records));
    let settings = Settings { merge: policy.merge_millibits(), suggest: policy.suggest_millibits(), ..Settings::default() };
    let mut resolver = Resolver::new(Arc::clone(&model), settings);
    resolver.load(&records);
    for (id, leaf) in &leaves {
        for other in &leaf.cannot_link {
            let group = |id: &ProfileId| groups.get(id).unwrap_or(id).to_string();
            if group(id) != group(other) {
                resolver.keep_apart(&group(id), &group(other));
            }
        }
    }
    Ok(compare(&leaves, &groups, &resolver, model.version.clone(), policy))
}

fn compare(
    leaves: &[(ProfileId, Leaf)],
    groups: &HashMap<ProfileId, ProfileId>,
    resolver: &Resolver,
    model: String,
    policy: &IdentityPolicy,
) -> IdentityWhatIfAnswer {
    let root = |id: ProfileId, leaf: &Leaf| leaf.merged_into.unwrap_or(id);
    let roots: HashMap<ProfileId, ProfileId> = leaves.iter().map(|(id, leaf)| (*id, root(*id, leaf))).collect();
    let mut roots_of_person: BTreeMap<&str, BTreeSet<ProfileId>> = BTreeMap::new();
    let mut parts_of_root: BTreeMap<ProfileId, BTreeMap<&str, ProfileId>> = BTreeMap::new();
    for (record, person) in resolver.persons() {
        let Some(leaf) = profile_of(record) else { continue };
        roots_of_person.entry(person).or_default().insert(roots[&leaf]);
        parts_of_root.entry(roots[&leaf]).or_default().entry(person).or_insert(groups[&leaf]);
    }
    let listed = |profiles: Vec<ProfileId>| WhatIfPair { profiles };
    let merges: Vec<_> = roots_of_person.into_values().filter(|roots| roots.len() > 1).collect();
    let splits: Vec<_> = parts_of_root.into_values().filter(|parts| parts.len() > 1).collect();
    IdentityWhatIfAnswer {
        profiles: leaves.iter().filter(|(_, leaf)| leaf.merged_into.is_none()).count(),
        model,
        merges: merges.len(),
        would_merge: merges.into_iter().take(LISTED).map(|roots| listed(roots.into_iter().collect())).collect(),
        splits: splits.len(),
        would_split: splits.into_iter().take(LISTED).map(|parts| listed(parts.into_values().collect())).collect(),
        suggestions: suggestions(resolver, groups, policy),
    }
}

fn suggestions(resolver: &Resolver, groups: &HashMap<ProfileId, ProfileId>, policy: &IdentityPolicy) -> usize {
    let group = |record: &str| profile_of(record).and_then(|leaf| groups.get(&leaf).copied());
    let pairs: BTreeSet<_> = resolver
        .doubtful(policy.suggest_millibits())
        .into_iter()
        .filter_map(|(one, other, _)| Some((group(one)?, group(other)?)))
        .map(|(one, other)| (one.min(other), one.max(other)))
        .collect();
    pairs.len()
}

/// Whose a leaf is by identifiers and by hand: its merges are followed as long as likeness took none of them.
fn group_of(store: &Store, leaf: ProfileId) -> Result<ProfileId> {
    let mut id = leaf;
    for _ in 0..MAX_DEPTH {
        let Some(merge) = read::<Merges>(store, &id)?.filter(|row| row.value.undone_at.is_none()) else { return Ok(id) };
        let decision = read::<Decisions>(store, &merge.value.decision_id)?;
        if decision.is_some_and(|decision| decision.value.subject == SUBJECT) {
            return Ok(id);
        }
        id = merge.value.survivor;
    }
    Ok(id)
}
