//! What we would send of a record, and what of it is left to send.

use std::collections::BTreeMap;

use serde_json::Value;
use throughline_domain::disclosure::{self, Audience};
use throughline_domain::sync::turns::{digest, is_of};
use throughline_domain::sync::{Delta, delta, same_value};
use throughline_schemas::manifest::{Canonical, Entity};
use throughline_schemas::sync::{EntitySync, Link, SyncDirection};
use throughline_schemas::{Assurance, Enquiry, IdentityType, Profile, ProfileId};
use throughline_store::tables::LinksByCanonical;

use super::{ConnectionContext, People};
use crate::error::Result;

/// Field names with values.
pub(crate) type Fields = BTreeMap<String, Value>;

/// One of our records, as far as synchronisation cares.
pub(crate) enum Canon {
    Profile(Profile),
    Enquiry(Box<Enquiry>),
}

/// Which entities of a connection are written, with what they are.
pub(crate) fn sync_targets(context: &ConnectionContext, canonical: Canonical) -> impl Iterator<Item = (&Entity, &EntitySync)> {
    context.sync.iter().filter_map(move |(name, sync)| {
        let entity = context.entities.get(name)?;
        (entity.canonical == canonical && sync.direction != SyncDirection::In).then_some((entity, sync))
    })
}

/// What we would send of a record now: only fields that the silo has and that we know.
///
/// What a channel merely claimed (a display name in a From header) is not held against a system of record; it is sent only where
/// there is nothing yet (`first`).
pub(crate) fn projection(
    people: &mut People<'_>,
    context: &ConnectionContext,
    entity: &Entity,
    canon: &Canon,
    first: bool,
) -> Result<Fields> {
    let mut fields = match canon {
        Canon::Profile(profile) => profile_fields(entity, profile, first),
        Canon::Enquiry(enquiry) => enquiry_fields(people, context, entity, enquiry, first)?,
    };
    fields.retain(|name, _| entity.fields.contains_key(name));
    Ok(fields)
}

fn profile_fields(entity: &Entity, profile: &Profile, first: bool) -> Fields {
    let mut fields: Fields = profile
        .fields
        .iter()
        .filter(|(_, said)| first || said.assurance > Assurance::Claimed)
        .map(|(name, said)| (name.clone(), said.value.clone()))
        .collect();
    if !fields.contains_key("display_name")
        && entity.fields.contains_key("display_name")
        && (fields.contains_key("given_name") || fields.contains_key("family_name"))
    {
        let parts: Vec<&str> = ["given_name", "family_name"].iter().filter_map(|name| fields.get(*name)?.as_str()).collect();
        fields.insert("display_name".to_owned(), parts.join(" ").into());
    }
    add_addresses(profile, &mut fields);
    fields.insert("hub_id".to_owned(), profile.id.to_string().into());
    fields
}

fn enquiry_fields(people: &mut People<'_>, context: &ConnectionContext, entity: &Entity, enquiry: &Enquiry, first: bool) -> Result<Fields> {
    let mut fields: Fields = disclosure::variables(enquiry, Audience::Connector, people.now).value;
    fields.insert("hub_id".to_owned(), enquiry.id.to_string().into());
    fields.insert("reason".to_owned(), enquiry.reason.clone().into());
    fields.insert("status".to_owned(), serde_json::to_value(enquiry.status).unwrap_or_default());
    fields.insert("brand".to_owned(), enquiry.brand.clone().into());
    fields.insert("opened_at".to_owned(), enquiry.opened_at.to_string().into());
    fields.insert("owner".to_owned(), enquiry.owner.clone().map_or(Value::Null, Value::from));
    if let Some(key) = customer_key(people, context, enquiry.profile_id)? {
        fields.insert("customer".to_owned(), key.into());
    }
    if first {
        name_the_customer(people, entity, enquiry, &mut fields)?;
    }
    Ok(fields)
}

/// A silo that keeps no records of persons is told with the new record whose it is. Later it is the silo that says whom it answers.
fn name_the_customer(people: &mut People<'_>, entity: &Entity, enquiry: &Enquiry, fields: &mut Fields) -> Result<()> {
    if !ADDRESSES.iter().any(|(name, _)| entity.fields.contains_key(*name)) {
        return Ok(());
    }
    let Some((root, _)) = people.root_of(enquiry.profile_id)? else { return Ok(()) };
    if let Some(profile) = people.view(root)? {
        add_addresses(&profile, fields);
    }
    Ok(())
}

/// The fields that say how a person is reached, with the identities that they hold.
const ADDRESSES: [(&str, IdentityType); 2] = [("email", IdentityType::Email), ("phone", IdentityType::Phone)];

/// Where the record names no address, the first one known.
fn add_addresses(profile: &Profile, fields: &mut Fields) {
    for (name, kind) in ADDRESSES {
        let identity = profile.identities.iter().find(|identity| identity.kind == kind);
        if let Some(identity) = identity
            && !fields.contains_key(name)
        {
            fields.insert(name.to_owned(), identity.value.clone().into());
        }
    }
}

/// The silo's key of the person, if the silo knows that person.
fn customer_key(people: &mut People<'_>, context: &ConnectionContext, leaf: ProfileId) -> Result<Option<String>> {
    let Some((root, row)) = people.root_of(leaf)? else { return Ok(None) };
    for member in std::iter::once(root).chain(row.value.members) {
        for entity in context.entities.values().filter(|entity| entity.canonical == Canonical::Profile) {
            if let Some(row) = people.tx.get::<LinksByCanonical>(&(*member.as_bytes(), context.id, entity.name.clone()))? {
                return Ok(Some(row.value));
            }
        }
    }
    Ok(None)
}

/// What is left to write of a record; empty means nothing.
pub(crate) fn left_to_write(entity: &Entity, want: &Fields, link: Option<&Link>) -> Delta {
    let empty = BTreeMap::new();
    let shadow = link.map_or(&empty, |link| &link.shadow);
    let mut quarantined = link.map(|link| link.quarantined.clone()).unwrap_or_default();
    // Only the value that was refused is held back: one that was put right meanwhile goes out.
    quarantined.retain(|field, _| {
        let refused = link.and_then(|link| link.refused.get(field));
        refused.is_none_or(|refused| same_value(&[], refused, want.get(field).unwrap_or(&Value::Null)))
    });
    let writable =
        |field: &str| entity.fields.get(field).is_some_and(|known| known.writable && !is_frozen(field, &known.normalisers, want, link));
    delta(want, shadow, writable, &quarantined, &normalisers(entity))
}

/// A frozen field takes a value that was no part of the quarrel.
fn is_frozen(field: &str, normalisers: &[String], want: &Fields, link: Option<&Link>) -> bool {
    let Some(link) = link.filter(|link| link.frozen.contains_key(field)) else { return false };
    let value = digest(normalisers, want.get(field).unwrap_or(&Value::Null));
    link.turns.get(field).is_some_and(|turns| is_of(turns, &value))
}

pub(super) fn normalisers(entity: &Entity) -> BTreeMap<String, Vec<String>> {
    entity.fields.iter().map(|(name, field)| (name.clone(), field.normalisers.clone())).collect()
}
