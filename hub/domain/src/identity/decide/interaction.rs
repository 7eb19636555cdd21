//! Rules for an interaction: the identities it shows are only as good as their assurance.

use throughline_schemas::{Assurance, Evidence, LinkMethod};

use super::join::{Join, note_alternatives};
use super::weigh::{self, Strength, Weighed};
use super::{IdentityDecision, IdentityFacts, LinkedTo, Owner, evidence};

pub(super) fn decide(facts: &IdentityFacts, weighed: &[Weighed]) -> IdentityDecision {
    let Some(deciding) = deciding(weighed) else {
        let mut decision = IdentityDecision::new(Owner::Nobody, "it shows no identity: it is nobody's".to_owned());
        decision.evidence = vec![evidence("no identity", "withheld, a placeholder, or none")];
        return decision;
    };
    if deciding[0].strength == Strength::Strong && deciding[0].assurance >= Assurance::Proven {
        return Join { facts, weighed, joining: deciding.clone(), linkable: deciding, rule: "proven identities" }.decide();
    }
    let decision = match weigh::roots(deciding.iter().copied()).as_slice() {
        [] => first_seen(facts, weighed, deciding[0]),
        [root] => known(weighed, &deciding, *root),
        roots => ambiguous(weighed, roots),
    };
    let shared = decision.ambiguous || deciding[0].strength == Strength::Shared;
    IdentityDecision { shared, ..decision }
}

/// The identities of the strongest kind there is, and among them the best assured: the others only suggest. Otherwise who proved
/// to be one person and merely claims to be another would be shown the other's affairs.
fn deciding(weighed: &[Weighed]) -> Option<Vec<&Weighed>> {
    let best = weighed.first()?;
    let as_good = |identity: &&Weighed| identity.strength == best.strength && tier(identity.assurance) == tier(best.assurance);
    Some(weighed.iter().filter(as_good).collect())
}

/// What an agent confirmed and what was proven in the session count alike.
fn tier(assurance: Assurance) -> Assurance {
    assurance.min(Assurance::Proven)
}

/// Only the strongest identity is linked: nothing says that the others are the same person's.
fn first_seen(facts: &IdentityFacts, weighed: &[Weighed], identity: &Weighed) -> IdentityDecision {
    let fresh = facts.fresh;
    let mut decision = IdentityDecision::new(Owner::New(fresh), format!("nobody known has this identity: it is the new {fresh}'s"));
    decision.link = vec![(identity.key.clone(), LinkMethod::Origin)];
    decision.evidence = vec![evidence("unknown identity", identity.key.to_string())];
    note_alternatives(&mut decision, weighed, &[]);
    decision
}

fn known(weighed: &[Weighed], deciding: &[&Weighed], root: LinkedTo) -> IdentityDecision {
    // The strongest identity says with which leaf the fact is kept, so that undoing a merge leaves it with the right one.
    let leaf = deciding.iter().find_map(|identity| identity.links.first()).map_or(root.leaf, |link| link.leaf);
    let mut decision = IdentityDecision::new(Owner::Known { leaf, root: root.root }, format!("it is {}'s", root.root));
    decision.evidence = reasons(deciding.iter().copied());
    note_alternatives(&mut decision, weighed, &[root]);
    decision
}

/// One piece of evidence for each link of these identities.
fn reasons<'a>(identities: impl IntoIterator<Item = &'a Weighed>) -> Vec<Evidence> {
    let links = identities.into_iter().flat_map(|identity| identity.links.iter().map(move |link| (identity, link)));
    links.map(|(identity, link)| evidence(rule(identity), format!("{} is linked to {}", identity.key, link.leaf))).collect()
}

fn rule(identity: &Weighed) -> &'static str {
    match identity.strength {
        Strength::Strong if identity.exclusive => "exclusive identity",
        Strength::Strong | Strength::Unsure => "identity that may be shared",
        Strength::Shared => "shared identity",
    }
}

fn ambiguous(weighed: &[Weighed], roots: &[LinkedTo]) -> IdentityDecision {
    let outcome = format!("its identities point to {} different profiles: a person must say whose it is", roots.len());
    let mut decision = IdentityDecision::new(Owner::Nobody, outcome);
    decision.evidence = reasons(weighed);
    note_alternatives(&mut decision, weighed, &[]);
    decision.ambiguous = true;
    decision
}
