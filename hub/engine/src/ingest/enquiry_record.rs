//! Enquiries that silos keep: cases, tickets, deals.

use std::collections::BTreeMap;

use serde_json::Value;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use throughline_schemas::manifest::{Canonical, Entity};
use throughline_schemas::sync::Link;
use throughline_schemas::{
    Assurance, Change, ChangeKind, ConnectionId, ContextVariable, Enquiry, EnquiryId, EnquiryStatus, IdentityType, ProfileId, Timestamp,
};
use throughline_store::tables::{Enquiries, EnquiriesByProfile, Links, LinksByCanonical};

use super::links::Ours;
use super::projection::{Canon, Fields, projection};
use super::record::{OurSide, accepted, identities_of, on_its_way};
use super::{ConnectionContext, People};
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;

impl Hub {
    pub(super) fn take_enquiry(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        entity: &Entity,
        item: &Item,
        link: Option<Link>,
        theirs: Fields,
    ) -> Result<()> {
        let known = match link.as_ref().and_then(|link| link.canonical_id.parse().ok()) {
            Some(id) => Some(id),
            None => self.enquiry_named(people, context, item, &theirs)?,
        };
        let known = match known {
            Some(id) => people.tx.get::<Enquiries>(&id)?,
            None => None,
        };
        let mut enquiry = match known {
            Some(row) => row.value,
            None => self.enquiry_from_silo(people, context, item, &theirs)?,
        };
        let (changed_at, from) = (times(&enquiry), self.sources(origins(&enquiry)));
        let ours = projection(people, context, entity, &Canon::Enquiry(Box::new(enquiry.clone())), false)?;
        let sent = on_its_way(people, context, &item.entity, &enquiry.id.to_string())?;
        let side = OurSide { fields: &ours, changed_at: &changed_at, from: &from, sent: &sent };
        let decisions = self.three_way(context, entity, item, link.as_ref(), &theirs, &side);
        let before = enquiry.clone();
        for (name, value) in accepted(&decisions) {
            set_enquiry_field(&mut enquiry, &name, value, Some(context.id), people.now);
        }
        let id = enquiry.id;
        enquiry.note_origins(&before, Some(context.id), self.said_at(context.id, item, people.now));
        if enquiry != before {
            enquiry.updated_at = people.now;
            crate::handoff::set_by_hand(people, &before, &mut enquiry)?;
            people.tx.put::<Enquiries>(&id, &enquiry)?;
            people.tx.put::<EnquiriesByProfile>(&(enquiry.profile_id, id), &enquiry.status)?;
            let profile_id = people.root_of(enquiry.profile_id)?.map(|(root, _)| root);
            let data = serde_json::json!({ "fields": crate::commands::changed_fields(&before, &enquiry) });
            let change = Change { enquiry_id: Some(id), profile_id, data, ..people.change(ChangeKind::EnquiryUpdated) };
            people.tx.log(&change)?;
        }
        self.settle(people, context, item, link, theirs, &Ours { id: id.to_string(), bytes: *id.as_bytes() }, decisions)
    }

    /// The enquiry that a record we made, or wrote to, says it is; a copy of such a record is another.
    fn enquiry_named(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        item: &Item,
        theirs: &Fields,
    ) -> Result<Option<EnquiryId>> {
        let Some(id) = theirs.get("hub_id").and_then(Value::as_str).and_then(|id| id.parse::<EnquiryId>().ok()) else { return Ok(None) };
        let taken = people.tx.get::<LinksByCanonical>(&(*id.as_bytes(), context.id, item.entity.clone()))?;
        Ok(taken.is_none_or(|row| row.value == item.key).then_some(id))
    }

    /// An enquiry that began in a silo: taken if it says whose it is.
    fn enquiry_from_silo(&self, people: &mut People<'_>, context: &ConnectionContext, item: &Item, theirs: &Fields) -> Result<Enquiry> {
        let mut leaf = None;
        if let Some(key) = theirs.get("customer").and_then(Value::as_str) {
            for entity in context.entities.values().filter(|entity| entity.canonical == Canonical::Profile) {
                let row = people.tx.get::<Links>(&(context.id, entity.name.clone(), key.to_owned()))?;
                leaf = leaf.or_else(|| row?.value.canonical_id.parse::<ProfileId>().ok());
            }
        }
        if leaf.is_none() {
            let identities: Vec<_> = identities_of(context, item, theirs)
                .into_iter()
                .filter(|(identity, _)| identity.key.kind != IdentityType::External)
                .collect();
            // Without any there is nobody to find, and nobody to make.
            if !identities.is_empty() {
                leaf = people.resolve(&identities, true, None, None)?.leaf;
            }
        }
        let Some(leaf) = leaf else {
            let detail = "the record does not say whose it is: map `customer` (the silo's key of the person), `email` or `phone`";
            return Err(ConnectorError::new(ErrorClass::InvalidRecord, detail).with_field("customer").into());
        };
        let id = EnquiryId::from_bytes(fresh());
        let enquiry = Enquiry::open(id, leaf, &context.brand, people.now);
        let profile_id = people.write_new_enquiry(&enquiry)?;
        let change = Change { enquiry_id: Some(id), profile_id, ..people.change(ChangeKind::EnquiryOpened) };
        people.tx.log(&change)?;
        Ok(enquiry)
    }
}

/// When each of its fields was last set; what is as it began was set by nobody, and gives way.
fn times(enquiry: &Enquiry) -> BTreeMap<String, Timestamp> {
    let own = enquiry.set_by.iter().map(|(field, origin)| (field.clone(), origin.at));
    own.chain(enquiry.variables.iter().map(|(name, variable)| (name.clone(), variable.at))).collect()
}

/// The connection that said each of its fields.
fn origins(enquiry: &Enquiry) -> impl Iterator<Item = (&String, Option<ConnectionId>)> {
    let own = enquiry.set_by.iter().map(|(field, origin)| (field, origin.source));
    own.chain(enquiry.variables.iter().map(|(name, variable)| (name, variable.source)))
}

/// Sets one field of an enquiry as a silo or a person says it.
pub(crate) fn set_enquiry_field(enquiry: &mut Enquiry, name: &str, value: Value, source: Option<ConnectionId>, now: Timestamp) {
    match name {
        "reason" => enquiry.reason = value.as_str().unwrap_or_default().to_owned(),
        "owner" => enquiry.owner = value.as_str().filter(|owner| !owner.is_empty()).map(str::to_owned),
        "status" => {
            if let Ok(status) = serde_json::from_value::<EnquiryStatus>(value) {
                enquiry.status = status;
                enquiry.resolved_at = (!status.is_live()).then_some(now);
            }
        }
        // These say what the record is; they are never taken from a silo.
        "hub_id" | "customer" | "brand" | "opened_at" | "email" | "phone" => {}
        _ if value.is_null() || value.as_str() == Some("") => {
            enquiry.variables.remove(name);
        }
        _ => {
            let variable = ContextVariable {
                value,
                scope: Default::default(),
                classification: Default::default(),
                assurance: Assurance::Confirmed,
                source,
                at: now,
                expires_at: None,
            };
            enquiry.variables.insert(name.to_owned(), variable);
        }
    }
}
