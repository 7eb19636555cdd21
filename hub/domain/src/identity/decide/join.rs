//! Identities that are one person's: which roots they join, which of them survives, what is linked.

use throughline_schemas::{Evidence, LinkMethod, ProfileId};

use super::weigh::{self, Weighed};
use super::{IdentityDecision, IdentityFacts, LinkedTo, Merge, Owner, evidence};
use crate::identity::normalise::IdentityKey;

/// What is to be joined.
pub(super) struct Join<'a> {
    pub(super) facts: &'a IdentityFacts,
    pub(super) weighed: &'a [Weighed],
    /// Identities that are one person's and may merge the roots they are linked to.
    pub(super) joining: Vec<&'a Weighed>,
    /// Identities to link to the owner if they are not linked yet.
    pub(super) linkable: Vec<&'a Weighed>,
    /// The rule that says so, for the evidence.
    pub(super) rule: &'static str,
}

impl Join<'_> {
    /// Decides: the owner is where the record is linked, else where the strongest identity is linked, else a new profile.
    pub(super) fn decide(&self) -> IdentityDecision {
        let leading = || self.joining.iter().find_map(|identity| identity.links.first().copied());
        match self.facts.linked_record.or_else(leading) {
            Some(first) => self.known(first),
            None => self.new_profile(),
        }
    }

    fn known(&self, first: LinkedTo) -> IdentityDecision {
        let (accepted, refused) = self.cluster(first);
        let survivor = accepted.iter().min_by_key(|link| weigh::survival(link)).map_or(first.root, |link| link.root);
        let merges = self.merges(&accepted, survivor);
        let outcome = match merges.len() {
            0 => format!("it is {survivor}'s"),
            1 => format!("it is {survivor}'s, into which another profile is merged"),
            more => format!("it is {survivor}'s, into which {more} other profiles are merged"),
        };
        let mut decision = IdentityDecision::new(Owner::Known { leaf: first.leaf, root: survivor }, outcome);
        decision.link = self.links(&accepted, LinkMethod::Deterministic);
        decision.evidence = self.evidence(&accepted, &refused);
        note_alternatives(&mut decision, self.weighed, &accepted);
        decision.merges = merges;
        decision
    }

    fn new_profile(&self) -> IdentityDecision {
        let fresh = self.facts.fresh;
        let mut decision = IdentityDecision::new(Owner::New(fresh), format!("nobody known has these identities: it is the new {fresh}'s"));
        decision.link = self.links(&[], LinkMethod::Origin);
        decision.evidence = self.linkable.iter().map(|identity| evidence("unknown identity", identity.key.to_string())).collect();
        if decision.evidence.is_empty() {
            decision.evidence.push(evidence("no identity", "the record carries none that can be compared"));
        }
        note_alternatives(&mut decision, self.weighed, &[]);
        decision
    }

    /// Roots that are joined with `first`, itself included, and roots that must stay apart from one of them.
    fn cluster(&self, first: LinkedTo) -> (Vec<LinkedTo>, Vec<LinkedTo>) {
        let mut accepted = vec![first];
        let mut refused = Vec::new();
        for root in weigh::roots(self.joining.iter().copied()).into_iter().filter(|link| link.root != first.root) {
            if accepted.iter().any(|member| weigh::are_kept_apart(self.facts, self.weighed, member.root, root.root)) {
                refused.push(root);
            } else {
                accepted.push(root);
            }
        }
        (accepted, refused)
    }

    fn merges(&self, accepted: &[LinkedTo], survivor: ProfileId) -> Vec<Merge> {
        let keys: Vec<String> =
            self.joining.iter().filter(|identity| !identity.links.is_empty()).map(|identity| identity.key.to_string()).collect();
        let because = format!("{} joins {}", self.rule, keys.join(" and "));
        let mut losers: Vec<ProfileId> = accepted.iter().map(|link| link.root).filter(|root| *root != survivor).collect();
        losers.sort_unstable();
        losers.into_iter().map(|loser_root| Merge { loser_root, survivor_root: survivor, because: because.clone() }).collect()
    }

    /// What is nobody's yet, and what several may have and the owner has not.
    fn links(&self, accepted: &[LinkedTo], method: LinkMethod) -> Vec<(IdentityKey, LinkMethod)> {
        let is_owned = |identity: &Weighed| accepted.iter().any(|link| identity.is_linked_to_root(link.root));
        self.linkable
            .iter()
            .filter(|identity| identity.links.is_empty() || !identity.exclusive && !is_owned(identity))
            .map(|identity| (identity.key.clone(), method))
            .collect()
    }

    fn evidence(&self, accepted: &[LinkedTo], refused: &[LinkedTo]) -> Vec<Evidence> {
        let mut all = Vec::new();
        if let Some(link) = self.facts.linked_record {
            all.push(evidence("record link", format!("this record is linked to {}", link.leaf)));
        }
        for identity in &self.joining {
            for link in identity.links.iter().filter(|link| accepted.iter().any(|member| member.root == link.root)) {
                all.push(evidence(self.rule, format!("{} is linked to {}", identity.key, link.leaf)));
            }
        }
        for root in refused {
            all.push(evidence("cannot-link", format!("{} was said to be another person", root.root)));
        }
        all
    }
}

/// Writes down the profiles that some identity points to and that were not chosen, strongest identity first.
pub(super) fn note_alternatives(decision: &mut IdentityDecision, weighed: &[Weighed], chosen: &[LinkedTo]) {
    for identity in weighed {
        for link in &identity.links {
            let is_chosen = chosen.iter().any(|other| other.root == link.root);
            if !is_chosen && !decision.possible.contains(&link.root) {
                decision.possible.push(link.root);
                decision.alternatives.push(format!("{} through {}", link.root, identity.key));
            }
        }
    }
}
