//! The look-up of IVRs and screen pops: who is this, and what is it about? From the hub's own store, whatever the silos do.

use std::collections::BTreeMap;

use throughline_domain::disclosure::{self, Audience};
use throughline_domain::identity::{NormaliseError, normalise};
use throughline_schemas::{Assurance, Classification, Enquiry, IdentityType, Profile, Timestamp};

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
        if let Some(id) = query.conversation {
            return self.lookup_conversation(id);
        }
        // A caller who withholds the number is nobody known; that is an answer, not an error.
        let Some(identity) = identity_of(query)? else { return Ok(unknown(false)) };
        match self.roots_of(&identity)?.as_slice() {
            [] => Ok(unknown(false)),
            [root] => self.answer(*root, query.assurance),
            _ => Ok(unknown(true)),
        }
    }

    /// What may be told in a conversation: the hub knows itself how sure it is of who speaks there.
    fn lookup_conversation(&self, id: throughline_schemas::ConversationId) -> Result<LookupAnswer> {
        let conversation = self.conversation(id)?.value;
        match conversation.profile_id.map(|leaf| self.root(leaf)).transpose()?.flatten() {
            Some(root) => self.answer(root, self.assurance_in(&conversation)),
            None => Ok(unknown(false)),
        }
    }

    /// As [`Hub::lookup`], with the token that came along, or with the token alone. Counts a wrong code, but no use.
    pub async fn lookup_with_token(&self, query: &LookupQuery, token: &str) -> Result<LookupAnswer> {
        let named = [&query.phone, &query.email, &query.handle, &query.external].iter().any(|identifier| identifier.is_some());
        let mut answer = if named || query.conversation.is_some() { self.lookup(query)? } else { unknown(false) };
        let (caller, roots, assurance) = match query.conversation {
            Some(id) => {
                let conversation = self.conversation(id)?.value;
                let root = conversation.profile_id.map(|leaf| self.root(leaf)).transpose()?.flatten();
                (Some(id.to_string()), root.into_iter().collect(), self.assurance_in(&conversation))
            }
            None if named => {
                let (caller, roots) = self.caller(query)?;
                (caller, roots, query.assurance)
            }
            None => (None, Vec::new(), Assurance::Claimed),
        };
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
                    let audience = Audience::Caller(if said.participant { assurance } else { Assurance::Claimed });
                    let enquiry = self.enquiry(token.enquiry)?.value;
                    said.enquiry = Some(show_enquiry(&enquiry, audience, self.now(), &mut answer.withheld));
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
        let (now, audience) = (self.now(), Audience::Caller(assurance));
        let mut withheld = 0;
        let enquiries = live.iter().map(|enquiry| show_enquiry(enquiry, audience, now, &mut withheld)).collect();
        let profile = Some(show_profile(&profile, audience, &mut withheld));
        Ok(LookupAnswer { known: true, ambiguous: false, profile, enquiries, withheld, token: None })
    }
}

fn show_profile(profile: &Profile, audience: Audience, withheld: &mut u32) -> LookupProfile {
    let fields = disclosure::profile_fields(profile, audience);
    *withheld += fields.withheld;
    let language =
        audience.may_read(disclosure::of_profile_field("language")).then(|| profile.text("language").map(str::to_owned)).flatten();
    // The language has a place of its own; it is among the fields only where all of them are.
    let fields = if audience.may_read(Classification::Pii) { fields.value } else { BTreeMap::new() };
    LookupProfile { id: profile.id, state: profile.state, display_name: disclosure::name(profile, audience), language, fields }
}

fn show_enquiry(enquiry: &Enquiry, audience: Audience, now: Timestamp, withheld: &mut u32) -> LookupEnquiry {
    let (variables, reason) = (disclosure::variables(enquiry, audience, now), disclosure::reason(enquiry, audience));
    *withheld += variables.withheld + reason.withheld;
    LookupEnquiry { id: enquiry.id, reason: reason.value, status: enquiry.status, variables: variables.value }
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
