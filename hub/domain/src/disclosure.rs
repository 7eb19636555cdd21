//! Who may read what: the classification of a value times how sure it is who reads. The one place that decides it.
//!
//! Look-ups, contexts, briefings, what is written to silos: whatever leaves the hub comes through here. Continuity evidence does not
//! count: a token proves possession of the token, not who holds it. Secrets are read by nobody; they are there to be compared by
//! those who put them in.

use std::collections::BTreeMap;

use serde_json::Value;
use throughline_schemas::{Assurance, Classification, ContextVariable, Enquiry, Profile, Timestamp};

/// Who reads.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Audience {
    /// Whoever is on the customer's side of a channel, or a bot or IVR that speaks to them: as sure as it is who that is.
    Caller(Assurance),
    /// Our own people, and programs with a key that may read.
    Staff,
    /// A system that an admin connected, for the fields that were mapped.
    Connector,
}

impl Audience {
    /// Whether a value of this classification may be read.
    #[must_use]
    pub fn may_read(self, classification: Classification) -> bool {
        match (classification, self) {
            (Classification::Secret, _) => false,
            (Classification::Public, _) | (_, Self::Staff | Self::Connector) => true,
            (Classification::Internal, Self::Caller(assurance)) => assurance >= Assurance::Asserted,
            (Classification::Pii, Self::Caller(assurance)) => assurance >= Assurance::Proven,
        }
    }
}

/// What is left of something once what may not be read is taken out.
#[derive(Debug, Clone, PartialEq)]
pub struct Disclosed<T> {
    /// What may be read.
    pub value: T,
    /// How many values were taken out.
    pub withheld: u32,
}

/// A profile's field: everything said of a person is personal, but for the language to be spoken.
#[must_use]
pub fn of_profile_field(name: &str) -> Classification {
    if name == "language" { Classification::Public } else { Classification::Pii }
}

/// What an enquiry is about is personal: people write their troubles into subjects.
pub const OF_REASON: Classification = Classification::Pii;

/// The fields of a profile that may be read.
#[must_use]
pub fn profile_fields(profile: &Profile, audience: Audience) -> Disclosed<BTreeMap<String, Value>> {
    let readable = |name: &str| audience.may_read(of_profile_field(name));
    let value: BTreeMap<String, Value> =
        profile.fields.iter().filter(|(name, _)| readable(name)).map(|(name, said)| (name.clone(), said.value.clone())).collect();
    Disclosed { withheld: count(profile.fields.len() - value.len()), value }
}

/// The name of a person, if it may be read.
#[must_use]
pub fn name(profile: &Profile, audience: Audience) -> Option<String> {
    profile.display_name().filter(|_| audience.may_read(of_profile_field("display_name")))
}

/// The context variables that hold and may be read.
#[must_use]
pub fn variables(enquiry: &Enquiry, audience: Audience, now: Timestamp) -> Disclosed<BTreeMap<String, Value>> {
    let holding = || enquiry.variables.iter().filter(|(_, variable)| variable.expires_at.is_none_or(|expires| now < expires));
    let value: BTreeMap<String, Value> = holding()
        .filter(|(_, variable)| audience.may_read(variable.classification))
        .map(|(name, variable)| (name.clone(), variable.value.clone()))
        .collect();
    Disclosed { withheld: count(holding().count() - value.len()), value }
}

/// What an enquiry is about, if it may be read.
#[must_use]
pub fn reason(enquiry: &Enquiry, audience: Audience) -> Disclosed<Option<String>> {
    let value = audience.may_read(OF_REASON).then(|| enquiry.reason.clone());
    Disclosed { withheld: u32::from(value.is_none()), value }
}

/// An enquiry as our own people see it: names of secrets stay, their values go.
#[must_use]
pub fn for_staff(mut enquiry: Enquiry) -> Enquiry {
    for variable in enquiry.variables.values_mut() {
        blank(variable);
    }
    enquiry
}

/// A context variable as our own people see it.
pub fn blank(variable: &mut ContextVariable) {
    if !Audience::Staff.may_read(variable.classification) {
        variable.value = Value::Null;
    }
}

fn count(number: usize) -> u32 {
    u32::try_from(number).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_told_depends_on_classification_and_assurance() {
        use Assurance::{Asserted, Claimed, Confirmed, Proven};
        use Classification::{Internal, Pii, Public, Secret};
        let table = [
            (Public, [true, true, true, true]),
            (Internal, [false, true, true, true]),
            (Pii, [false, false, true, true]),
            (Secret, [false, false, false, false]),
        ];
        for (classification, wanted) in table {
            for (assurance, wanted) in [Claimed, Asserted, Proven, Confirmed].into_iter().zip(wanted) {
                assert_eq!(Audience::Caller(assurance).may_read(classification), wanted, "{classification:?} {assurance:?}");
            }
            for ours in [Audience::Staff, Audience::Connector] {
                assert_eq!(ours.may_read(classification), classification != Secret);
            }
        }
    }
}
