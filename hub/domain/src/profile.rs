//! A profile as it is shown: the fold of its leaf and of those merged into it. Knows no store and no links, only leaves.

mod name;

use std::collections::BTreeMap;

pub use name::split_name;
use throughline_schemas::{Assurance, Attributed, Identity, IdentityType, Profile, ProfileId, ProfileState, Sharing, Timestamp};

/// What is kept with one leaf: what was said of a person before any merge.
#[derive(Debug, Clone, PartialEq)]
pub struct LeafFacts {
    /// Its id.
    pub id: ProfileId,
    /// When it was first known.
    pub created_at: Timestamp,
    /// How well it is known.
    pub state: ProfileState,
    /// What was said of it.
    pub fields: BTreeMap<String, Attributed>,
    /// Identities linked to it.
    pub identities: Vec<Identity>,
    /// When it last changed.
    pub updated_at: Timestamp,
}

/// The profile that a root and the members merged into it show together; the order of members does not matter.
///
/// For each field the newest value wins; of equally old ones the better assured, then that of the greater source. A newest value of
/// null stays: it says that the field was emptied.
#[must_use]
pub fn view(root: &LeafFacts, members: &[LeafFacts], merged_into: Option<ProfileId>) -> Profile {
    let others = || members.iter().filter(|member| member.id != root.id);
    let all = || std::iter::once(root).chain(others());
    let mut member_ids: Vec<ProfileId> = others().map(|member| member.id).collect();
    member_ids.sort_unstable();
    member_ids.dedup();
    Profile {
        id: root.id,
        state: all().map(|leaf| leaf.state).max().unwrap_or_default(),
        fields: fields(all()),
        identities: identities(all()),
        members: member_ids,
        merged_into,
        created_at: all().map(|leaf| leaf.created_at).min().unwrap_or_default(),
        updated_at: all().map(|leaf| leaf.updated_at).max().unwrap_or_default(),
    }
}

fn fields<'a>(leaves: impl Iterator<Item = &'a LeafFacts>) -> BTreeMap<String, Attributed> {
    let mut winners: BTreeMap<String, Attributed> = BTreeMap::new();
    for (field, attributed) in leaves.flat_map(|leaf| &leaf.fields) {
        match winners.get(field) {
            Some(winner) if precedence(winner) >= precedence(attributed) => {}
            _ => {
                winners.insert(field.clone(), attributed.clone());
            }
        }
    }
    winners
}

/// A total order: two values that are equal in it are the same value.
fn precedence(attributed: &Attributed) -> (Timestamp, Assurance, Option<throughline_schemas::ConnectionId>, String) {
    (attributed.at, attributed.assurance, attributed.source, attributed.value.to_string())
}

fn identities<'a>(leaves: impl Iterator<Item = &'a LeafFacts>) -> Vec<Identity> {
    let mut known: BTreeMap<(IdentityType, String, String), Identity> = BTreeMap::new();
    for identity in leaves.flat_map(|leaf| &leaf.identities) {
        known
            .entry((identity.kind, identity.namespace.clone(), identity.value.clone()))
            .and_modify(|merged| *merged = seen_together(merged, identity))
            .or_insert_with(|| identity.clone());
    }
    known.into_values().collect()
}

/// The same identity, linked twice: its whole time, its best assurance, its widest sharing, its latest raw form.
fn seen_together(one: &Identity, other: &Identity) -> Identity {
    let latest = std::cmp::max_by_key(one, other, |identity| (identity.last_seen, identity.raw.clone()));
    Identity {
        raw: latest.raw.clone(),
        sharing: wider(one.sharing, other.sharing),
        assurance: one.assurance.max(other.assurance),
        first_seen: one.first_seen.min(other.first_seen),
        last_seen: one.last_seen.max(other.last_seen),
        ..latest.clone()
    }
}

const fn wider(one: Sharing, other: Sharing) -> Sharing {
    match (one, other) {
        (Sharing::Shared, _) | (_, Sharing::Shared) => Sharing::Shared,
        (Sharing::Unknown, _) | (_, Sharing::Unknown) => Sharing::Unknown,
        (Sharing::Exclusive, Sharing::Exclusive) => Sharing::Exclusive,
    }
}

#[cfg(test)]
mod tests;
