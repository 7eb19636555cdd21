//! Candidates made ready for a decision: one entry for each key, strongest first; and roots put in order of survival.

use std::collections::BTreeMap;

use throughline_schemas::{Assurance, ProfileId, ProfileState, Sharing};

use super::{Candidate, IdentityFacts, LinkedTo};
use crate::identity::normalise::IdentityKey;

/// How far an identity may decide.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Strength {
    /// Decides.
    Strong,
    /// May be shared, and a person with a name stands behind it: finds, but does not decide.
    Unsure,
    /// Used by several: finds, but does not decide.
    Shared,
}

/// One identity with all that is known of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Weighed {
    pub(super) key: IdentityKey,
    pub(super) assurance: Assurance,
    pub(super) strength: Strength,
    /// Sharing says that one person alone uses it.
    pub(super) exclusive: bool,
    /// Where it is linked, in the order of survival.
    pub(super) links: Vec<LinkedTo>,
}

impl Weighed {
    pub(super) fn is_linked_to_root(&self, root: ProfileId) -> bool {
        self.links.iter().any(|link| link.root == root)
    }
}

/// One entry for each key, strongest and best assured first.
pub(super) fn weigh(candidates: &[Candidate]) -> Vec<Weighed> {
    let mut by_key: BTreeMap<&IdentityKey, Vec<&Candidate>> = BTreeMap::new();
    for candidate in candidates {
        by_key.entry(&candidate.identity.key).or_default().push(candidate);
    }
    let mut weighed: Vec<Weighed> = by_key.into_iter().map(|(key, group)| weigh_key(key, &group)).collect();
    weighed.sort_by(|a, b| rank(a).cmp(&rank(b)).then_with(|| a.key.cmp(&b.key)));
    weighed
}

fn rank(weighed: &Weighed) -> (Strength, std::cmp::Reverse<Assurance>, u8) {
    use throughline_schemas::IdentityType::{Email, External, Handle, Phone};
    // A silo's own id names a record, a mailbox is rarely passed on, a number is handed to the next customer after a while.
    let kind = match weighed.key.kind {
        External => 0,
        Email => 1,
        Phone => 2,
        Handle => 3,
    };
    (weighed.strength, std::cmp::Reverse(weighed.assurance), kind)
}

fn weigh_key(key: &IdentityKey, group: &[&Candidate]) -> Weighed {
    let sharings = || group.iter().map(|candidate| candidate.identity.sharing);
    let mut links: Vec<LinkedTo> = group.iter().filter_map(|candidate| candidate.linked_to).collect();
    links.sort_by_key(|link| (survival(link), link.leaf));
    links.dedup_by_key(|link| link.leaf);
    let only_bare_identifiers = links.iter().all(|link| link.root_state < ProfileState::Identified);
    let strength = if sharings().any(|sharing| sharing == Sharing::Shared) {
        Strength::Shared
    } else if sharings().any(|sharing| sharing == Sharing::Unknown) && !only_bare_identifiers {
        Strength::Unsure
    } else {
        Strength::Strong
    };
    let assurance = group.iter().map(|candidate| candidate.assurance).max().unwrap_or_default();
    Weighed { key: key.clone(), assurance, strength, exclusive: sharings().all(|sharing| sharing == Sharing::Exclusive), links }
}

/// The order in which roots survive a merge: identified before unknown, then the oldest, then the smallest id.
pub(super) fn survival(link: &LinkedTo) -> (bool, throughline_schemas::Timestamp, ProfileId) {
    (link.root_state < ProfileState::Identified, link.root_created_at, link.root)
}

/// The links of these identities, one for each root, in the order of survival.
pub(super) fn roots<'a>(weighed: impl IntoIterator<Item = &'a Weighed>) -> Vec<LinkedTo> {
    let mut links: Vec<LinkedTo> = weighed.into_iter().flat_map(|identity| identity.links.iter().copied()).collect();
    links.sort_by_key(|link| (survival(link), link.leaf));
    links.dedup_by_key(|link| link.root);
    links
}

/// Whether somebody said that these roots, or leaves of theirs that take part here, are two persons.
pub(super) fn are_kept_apart(facts: &IdentityFacts, weighed: &[Weighed], one: ProfileId, other: ProfileId) -> bool {
    let belongs = |id: ProfileId, root: ProfileId| id == root || links(facts, weighed).any(|link| link.root == root && link.leaf == id);
    facts.cannot_link.iter().any(|&(a, b)| belongs(a, one) && belongs(b, other) || belongs(a, other) && belongs(b, one))
}

fn links<'a>(facts: &'a IdentityFacts, weighed: &'a [Weighed]) -> impl Iterator<Item = LinkedTo> + 'a {
    weighed.iter().flat_map(|identity| identity.links.iter().copied()).chain(facts.linked_record)
}
