//! Who is this? Identifiers made comparable, and the rules by which they are linked to profiles.
//!
//! `normalise` turns what a silo says into a canonical key; `decide` turns what is known of the keys of one new fact into an owner,
//! links and merges. Neither knows the store: what is known comes in as facts.

pub mod decide;
mod email;
pub mod normalise;
mod phone;
mod policy;
pub mod resolve;
#[cfg(test)]
mod tests;

pub use decide::{Candidate, IdentityDecision, IdentityFacts, LinkedTo, Merge, Owner, decide};
pub use normalise::{IdentityKey, NormaliseError, Normalised, QueryError, normalise, parse_query};
pub use policy::{IdentityPolicy, PolicyError};

/// Whether a canonical mail address stands for a role or a machine and not for a person.
#[must_use]
pub fn is_role_mailbox(address: &str) -> bool {
    address.rsplit_once('@').is_some_and(|(local, _)| email::is_role(local))
}
