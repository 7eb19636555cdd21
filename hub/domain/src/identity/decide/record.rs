//! Rules for a silo's record: somebody keeps it, so all that it carries is one person's.

use throughline_schemas::Assurance;

use super::join::Join;
use super::weigh::{Strength, Weighed};
use super::{IdentityDecision, IdentityFacts};

pub(super) fn decide(facts: &IdentityFacts, weighed: &[Weighed]) -> IdentityDecision {
    let strong = || weighed.iter().filter(|identity| identity.strength == Strength::Strong);
    if facts.trusted_record {
        let rule = "trusted record";
        return Join { facts, weighed, joining: strong().collect(), linkable: weighed.iter().collect(), rule }.decide();
    }
    // A record that anybody may have filled in joins only what was proven.
    let proven: Vec<&Weighed> = strong().filter(|identity| identity.assurance >= Assurance::Proven).collect();
    Join { facts, weighed, joining: proven.clone(), linkable: proven, rule: "proven identities" }.decide()
}
