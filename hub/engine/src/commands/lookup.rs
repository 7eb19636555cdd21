//! The look-up of IVRs and screen pops: who is this, and what is it about? From the hub's own store, whatever the silos do.

use std::collections::BTreeMap;

use throughline_domain::identity::{NormaliseError, normalise};
use throughline_schemas::{Assurance, Classification, Enquiry, IdentityType, Profile};

use crate::HubError;
use crate::error::Result;
use crate::hub::Hub;
use crate::tokens::{Checked, Presenting};
use crate::views::{LookupAnswer, LookupEnquiry, LookupProfile, LookupQuery, LookupToken};

/// How many live enquiries are answered.
const ENQUIRIES: usize = 5;

impl Hub {
    /// Answers what is known of an identifier, cut to what the assurance allows.
    pub fn lookup(&self, query: &LookupQuery) -> Result<LookupAnswer> {
        // A caller who withholds the number is nobody known; that is an answer, not an error.
        let Some(identity) = identity_of(query)? else { return Ok(unknown(false)) };
        match self.roots_of(&identity)?.as_slice() {
            [] => Ok(unknown(false)),
            [root] => self.answer(*root, query.assurance),
            _ => Ok(unknown(true)),
        }
    }

    /// As [`Hub::lookup`], with the token that came along, or with the token alone. Counts a wrong code, but no use.
    pub async fn lookup_with_token(&self, query: &LookupQuery, token: &str) -> Result<LookupAnswer> {
        let named = [&query.phone, &query.email, &query.handle, &query.external].iter().any(|identifier| identifier.is_some());
        let mut answer = if named { self.lookup(query)? } else { unknown(false) };
        let (caller, roots) = if named { self.caller(query)? } else { (None, Vec::new()) };
        let by = Presenting { brand: query.brand.as_deref(), channel: None, caller };
        let checked = self.transact(|tx| self.check_token(&mut self.people(tx), token, &by)).await?;
        let mut said = LookupToken { valid: false, why_not: None, participant: false, enquiry: None };
        match checked {
            Checked::Nothing => said.why_not = Some("this is no token of this hub".to_owned()),
            Checked::Remark(remark) => said.why_not = Some(remark.detail),
            Checked::Token(token) => {
                said.valid = token.why_not.is_none();
                said.why_not = token.why_not;
                // One person alone is known by it, and it is the one whose enquiry this is.
                said.participant = said.valid && roots.len() == 1 && roots.first().copied() == token.root;
                if said.valid {
                    let assurance = if said.participant { query.assurance } else { Assurance::Claimed };
                    let enquiry = self.enquiry(token.enquiry)?.value;
                    said.enquiry = Some(show_enquiry(enquiry, assurance, self.now(), &mut answer.withheld));
                }
            }
        }
        answer.token = Some(said);
        Ok(answer)
    }

    /// By what callers are told apart, and who it may be.
    fn caller(&self, query: &LookupQuery) -> Result<(Option<String>, Vec<throughline_schemas::ProfileId>)> {
        let Some(identity) = identity_of(query)? else { return Ok((None, Vec::new())) };
        Ok((Some(identity.key.to_string()), self.roots_of(&identity)?))
    }

    fn answer(&self, root: throughline_schemas::ProfileId, assurance: Assurance) -> Result<LookupAnswer> {
        let profile = self.profile(root)?.value;
        let live = self.live_enquiries(&profile, ENQUIRIES)?;
        let now = self.now();
        let mut withheld = 0;
        let enquiries = live.into_iter().map(|enquiry| show_enquiry(enquiry, assurance, now, &mut withheld)).collect();
        let profile = Some(show_profile(&profile, assurance, &mut withheld));
        Ok(LookupAnswer { known: true, ambiguous: false, profile, enquiries, withheld, token: None })
    }
}

/// What may be told to whom: the one place that decides it for look-ups.
///
/// Personal data needs a proven speaker; internal values are for our own systems, which an IVR that only asserts a caller id is;
/// secrets are never told.
fn allowed(classification: Classification, assurance: Assurance) -> bool {
    match classification {
        Classification::Public => true,
        Classification::Internal => assurance >= Assurance::Asserted,
        Classification::Pii => assurance >= Assurance::Proven,
        Classification::Secret => false,
    }
}

fn show_profile(profile: &Profile, assurance: Assurance, withheld: &mut u32) -> LookupProfile {
    let personal = allowed(Classification::Pii, assurance);
    let mut fields = BTreeMap::new();
    for (name, said) in &profile.fields {
        if personal {
            fields.insert(name.clone(), said.value.clone());
        } else if name != "language" {
            *withheld += 1;
        }
    }
    LookupProfile {
        id: profile.id,
        state: profile.state,
        display_name: profile.display_name().filter(|_| personal),
        language: profile.text("language").map(str::to_owned),
        fields,
    }
}

fn show_enquiry(enquiry: Enquiry, assurance: Assurance, now: throughline_schemas::Timestamp, withheld: &mut u32) -> LookupEnquiry {
    let mut variables = BTreeMap::new();
    for (name, variable) in enquiry.variables {
        if variable.expires_at.is_some_and(|expires| now >= expires) {
            continue;
        }
        if allowed(variable.classification, assurance) {
            variables.insert(name, variable.value);
        } else {
            *withheld += 1;
        }
    }
    let reason = Some(enquiry.reason).filter(|_| allowed(Classification::Pii, assurance));
    *withheld += u32::from(reason.is_none());
    LookupEnquiry { id: enquiry.id, reason, status: enquiry.status, variables }
}

/// The identifier that was given; none if it was withheld.
fn identity_of(query: &LookupQuery) -> Result<Option<throughline_domain::identity::Normalised>> {
    let (kind, text) = only_one(query)?;
    let (namespace, value) = match kind {
        IdentityType::Phone | IdentityType::Email => ("", text),
        IdentityType::Handle | IdentityType::External => {
            text.rsplit_once(':').ok_or_else(|| HubError::invalid(format!("/{}", kind.as_str()), "write namespace:value"))?
        }
    };
    match normalise(kind, namespace, value, query.region.as_deref()) {
        Ok(identity) => Ok(Some(identity)),
        Err(NormaliseError::Withheld | NormaliseError::Blocked) => Ok(None),
        Err(error) => Err(HubError::invalid(format!("/{}", kind.as_str()), error.to_string())),
    }
}

fn unknown(ambiguous: bool) -> LookupAnswer {
    LookupAnswer { known: false, ambiguous, profile: None, enquiries: Vec::new(), withheld: 0, token: None }
}

fn only_one(query: &LookupQuery) -> Result<(IdentityType, &str)> {
    let given = [
        (IdentityType::Phone, &query.phone),
        (IdentityType::Email, &query.email),
        (IdentityType::Handle, &query.handle),
        (IdentityType::External, &query.external),
    ];
    let mut given = given.into_iter().filter_map(|(kind, value)| Some((kind, value.as_deref()?)));
    match (given.next(), given.next()) {
        (Some(one), None) => Ok(one),
        _ => Err(HubError::invalid("/", "name exactly one of phone, email, handle, external")),
    }
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
                assert_eq!(allowed(classification, assurance), wanted, "{classification:?} {assurance:?}");
            }
        }
    }
}
