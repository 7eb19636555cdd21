//! Whose is a new fact? Deterministic rules over normalised identities: an owner, links, merges, and why.
//!
//! A profile's leaf is for ever; identities link to leaves; a merge makes one root point to another and can be taken back. The
//! order in which candidates come in never matters: they are grouped by key and sorted before anything is decided.
//!
//! What counts, from strong to weak: an exclusive identity decides. One that may be shared (a landline) decides only as long as
//! nothing but a bare identifier stands behind it. A shared one (a switchboard, a role mailbox) never decides, it only finds.

mod interaction;
mod join;
mod record;
#[cfg(test)]
mod tests;
mod weigh;

use throughline_schemas::{Assurance, Evidence, LinkMethod, ProfileId, ProfileState, Timestamp};

use super::normalise::{IdentityKey, Normalised};

/// What the store knows of one identity of the new fact. An identity that is linked to several profiles (a shared one) stands in
/// as many candidates.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Candidate {
    /// The identity.
    pub identity: Normalised,
    /// How sure the new fact is of it.
    pub assurance: Assurance,
    /// Whose it is now, if it is known.
    pub linked_to: Option<LinkedTo>,
}

/// Where an identity or a silo's record is linked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LinkedTo {
    /// The profile it is linked to, as it was before any merge.
    pub leaf: ProfileId,
    /// The profile that shows it now.
    pub root: ProfileId,
    /// When the root was first known.
    pub root_created_at: Timestamp,
    /// How well the root is known.
    pub root_state: ProfileState,
}

/// Everything the decision goes by.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct IdentityFacts {
    /// The identities of the new fact; those that could not be normalised are left out.
    pub candidates: Vec<Candidate>,
    /// The fact is a silo's record, which asserts that all its identities are one person's.
    pub trusted_record: bool,
    /// Where this very record is linked already.
    pub linked_record: Option<LinkedTo>,
    /// The id to use if a profile must be made.
    pub fresh: ProfileId,
    /// Profiles (roots or leaves) that somebody said are two persons.
    pub cannot_link: Vec<(ProfileId, ProfileId)>,
}

/// Whose the new fact is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Owner {
    /// A known profile.
    Known {
        /// The profile that the fact is to be kept with.
        leaf: ProfileId,
        /// The profile that shows it, after the merges of this decision.
        root: ProfileId,
    },
    /// A profile that must be made, under this id.
    New(ProfileId),
    /// It cannot be told.
    Nobody,
}

/// Two profiles are one person.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Merge {
    /// The root that will point to the other.
    pub loser_root: ProfileId,
    /// The root that goes on: the oldest identified one.
    pub survivor_root: ProfileId,
    /// Why.
    pub because: String,
}

/// What is to be done with a new fact, and why.
#[derive(Debug, Clone, PartialEq)]
pub struct IdentityDecision {
    /// Whose it is.
    pub owner: Owner,
    /// Identities to link to the owner's leaf (or to the new profile). Only a shared or unknown one may be linked elsewhere too.
    pub link: Vec<(IdentityKey, LinkMethod)>,
    /// Profiles that turn out to be one.
    pub merges: Vec<Merge>,
    /// All that held, the decisive one first.
    pub evidence: Vec<Evidence>,
    /// What else was possible, ranked.
    pub alternatives: Vec<String>,
    /// The roots behind the alternatives, in the same order: when nobody was chosen, continuity considers the enquiries of them all.
    pub possible: Vec<ProfileId>,
    /// What was decided, in one sentence.
    pub outcome: String,
    /// Several profiles were possible and none was chosen.
    pub ambiguous: bool,
    /// Only an identity that several persons use told who it is: continuity's `sender_shared`.
    pub shared: bool,
}

/// Decides whose a new fact is. The same facts in any order give the same decision.
#[must_use]
pub fn decide(facts: &IdentityFacts) -> IdentityDecision {
    let weighed = weigh::weigh(&facts.candidates);
    if facts.trusted_record || facts.linked_record.is_some() {
        return record::decide(facts, &weighed);
    }
    interaction::decide(facts, &weighed)
}

impl IdentityDecision {
    fn new(owner: Owner, outcome: String) -> Self {
        Self {
            owner,
            link: Vec::new(),
            merges: Vec::new(),
            evidence: Vec::new(),
            alternatives: Vec::new(),
            possible: Vec::new(),
            outcome,
            ambiguous: false,
            shared: false,
        }
    }
}

fn evidence(rule: &str, detail: impl Into<String>) -> Evidence {
    Evidence { rule: rule.to_owned(), detail: detail.into() }
}
