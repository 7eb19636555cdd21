//! Records of silos: whose they are, what of them is news, what becomes ours. The three-way merge itself is the domain's.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use throughline_domain::identity::Normalised;
use throughline_domain::sync::{FieldDecision, FieldOutcome, IngestRecord, VersionOrder, delta, merge, newer};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use throughline_schemas::manifest::{Canonical, Entity};
use throughline_schemas::sync::{EntitySync, Link, SyncDirection};
use throughline_schemas::{
    Assurance, Attributed, Change, ChangeKind, ConflictId, ConnectionId, ContextVariable, DecisionId, Enquiry, EnquiryId, EnquiryStatus,
    Evidence, IdentityType, Profile, ProfileId, ProfileState, Timestamp,
};
use throughline_store::tables::{
    ConflictItem, Conflicts, Deliveries, Delivery, DeliveryKey, DeliveryWork, Enquiries, EnquiriesByProfile, Leaves, Links,
    LinksByCanonical, OpenConflicts, Tx,
};

use super::context::texts;
use super::{ConnectionContext, ItemOutcome, People};
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;

type Fields = BTreeMap<String, Value>;

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
        Canon::Enquiry(enquiry) => enquiry_fields(people, context, enquiry)?,
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
    for (name, kind) in [("email", IdentityType::Email), ("phone", IdentityType::Phone)] {
        let identity = profile.identities.iter().find(|identity| identity.kind == kind);
        if let Some(identity) = identity
            && !fields.contains_key(name)
        {
            fields.insert(name.to_owned(), identity.value.clone().into());
        }
    }
    fields.insert("hub_id".to_owned(), profile.id.to_string().into());
    fields
}

fn enquiry_fields(people: &mut People<'_>, context: &ConnectionContext, enquiry: &Enquiry) -> Result<Fields> {
    let mut fields: Fields = enquiry.variables.iter().map(|(name, variable)| (name.clone(), variable.value.clone())).collect();
    fields.insert("hub_id".to_owned(), enquiry.id.to_string().into());
    fields.insert("reason".to_owned(), enquiry.reason.clone().into());
    fields.insert("status".to_owned(), serde_json::to_value(enquiry.status).unwrap_or_default());
    fields.insert("brand".to_owned(), enquiry.brand.clone().into());
    fields.insert("opened_at".to_owned(), enquiry.opened_at.to_string().into());
    fields.insert("owner".to_owned(), enquiry.owner.clone().map_or(Value::Null, Value::from));
    if let Some(key) = customer_key(people, context, enquiry.profile_id)? {
        fields.insert("customer".to_owned(), key.into());
    }
    Ok(fields)
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

impl Hub {
    pub(super) fn decide_record(&self, tx: &mut Tx, context: &ConnectionContext, item: &Item) -> Result<ItemOutcome> {
        let entity = entity_of(context, item)?;
        let theirs = fields_of(item)?;
        let link_key = (context.id, item.entity.clone(), item.key.clone());
        let link = tx.get::<Links>(&link_key)?.map(|row| row.value);
        if let Some(link) = &link
            && link.deleted_at.is_none()
            && newer(item.version.as_deref(), link.version.as_deref()) == VersionOrder::Older
        {
            return Ok(ItemOutcome::Duplicate);
        }
        if link.as_ref().is_some_and(|link| link.deleted_at.is_none() && link.version == item.version && link.shadow == theirs) {
            return Ok(ItemOutcome::Duplicate);
        }
        let now = self.now();
        let mut people = People { tx, now, connection: Some(context.id) };
        match entity.canonical {
            Canonical::Profile => self.take_profile(&mut people, context, &entity, item, link, theirs)?,
            Canonical::Enquiry => self.take_enquiry(&mut people, context, &entity, item, link, theirs)?,
            Canonical::Interaction => {
                let detail = format!("entity {} holds interactions, so its items must be of kind interaction", item.entity);
                return Err(ConnectorError::new(ErrorClass::InvalidRecord, detail).with_field("/kind").into());
            }
        }
        Ok(ItemOutcome::Accepted)
    }

    fn take_profile(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        entity: &Entity,
        item: &Item,
        link: Option<Link>,
        theirs: Fields,
    ) -> Result<()> {
        let identities = identities_of(context, item, &theirs);
        let known = link.as_ref().and_then(|link| link.canonical_id.parse().ok());
        let found = people.resolve(&identities, true, known, None)?;
        let (Some(leaf), Some(root)) = (found.leaf, found.root) else {
            return Err(ConnectorError::new(ErrorClass::InvalidRecord, "the record gives nothing by which a person could be known").into());
        };
        let profile = people.view(root)?.expect("the root was just found");
        let changed_at: BTreeMap<String, Timestamp> = profile.fields.iter().map(|(name, said)| (name.clone(), said.at)).collect();
        let ours = projection(people, context, entity, &Canon::Profile(profile), false)?;
        let decisions = three_way(context, entity, item, link.as_ref(), &theirs, &ours, &changed_at, people.now);
        let accepted = accepted(&decisions);
        if !accepted.is_empty() || found.created {
            let mut row = people.tx.get::<Leaves>(&leaf)?.expect("the leaf was just found");
            let at = item.at_ms.map_or(people.now, |at| Timestamp::from_millis(i64::try_from(at).unwrap_or(i64::MAX)).min(people.now));
            for (name, value) in &accepted {
                if value.is_null() || value.as_str() == Some("") {
                    row.value.fields.remove(name);
                } else {
                    let said = Attributed { value: value.clone(), source: Some(context.id), assurance: Assurance::Confirmed, at };
                    row.value.fields.insert(name.clone(), said);
                }
            }
            row.value.state = row.value.state.max(ProfileState::Identified);
            row.value.updated_at = people.now;
            people.tx.put::<Leaves>(&leaf, &row.value)?;
            let names: Vec<&String> = accepted.keys().collect();
            let change = Change { profile_id: Some(root), data: json!({ "fields": names }), ..people.change(ChangeKind::ProfileUpdated) };
            people.tx.log(&change)?;
        }
        self.settle(people, context, item, link, theirs, &leaf.to_string(), *leaf.as_bytes(), decisions)
    }

    fn take_enquiry(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        entity: &Entity,
        item: &Item,
        link: Option<Link>,
        theirs: Fields,
    ) -> Result<()> {
        let known: Option<EnquiryId> =
            link.as_ref().map(|link| link.canonical_id.as_str()).or_else(|| theirs.get("hub_id")?.as_str()).and_then(|id| id.parse().ok());
        let known = match known {
            Some(id) => people.tx.get::<Enquiries>(&id)?,
            None => None,
        };
        let mut enquiry = match known {
            Some(row) => row.value,
            None => self.enquiry_from_silo(people, context, item, &theirs)?,
        };
        let changed_at: BTreeMap<String, Timestamp> =
            enquiry.variables.iter().map(|(name, variable)| (name.clone(), variable.at)).collect();
        let ours = projection(people, context, entity, &Canon::Enquiry(Box::new(enquiry.clone())), false)?;
        let decisions = three_way(context, entity, item, link.as_ref(), &theirs, &ours, &changed_at, people.now);
        let before = enquiry.clone();
        for (name, value) in accepted(&decisions) {
            set_enquiry_field(&mut enquiry, &name, value, Some(context.id), people.now);
        }
        let id = enquiry.id;
        if enquiry != before {
            enquiry.updated_at = people.now;
            people.tx.put::<Enquiries>(&id, &enquiry)?;
            people.tx.put::<EnquiriesByProfile>(&(enquiry.profile_id, id), &enquiry.status)?;
            let profile_id = people.root_of(enquiry.profile_id)?.map(|(root, _)| root);
            let change = Change { enquiry_id: Some(id), profile_id, ..people.change(ChangeKind::EnquiryUpdated) };
            people.tx.log(&change)?;
        }
        self.settle(people, context, item, link, theirs, &id.to_string(), *id.as_bytes(), decisions)
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
            leaf = people.resolve(&identities, true, None, None)?.leaf;
        }
        let Some(leaf) = leaf else {
            let detail = "the record does not say whose it is: map `customer` (the silo's key of the person), `email` or `phone`";
            return Err(ConnectorError::new(ErrorClass::InvalidRecord, detail).with_field("customer").into());
        };
        let id = EnquiryId::from_bytes(fresh());
        let enquiry = Enquiry {
            id,
            profile_id: leaf,
            reason: String::new(),
            status: EnquiryStatus::Open,
            owner: None,
            brand: context.brand.clone(),
            variables: BTreeMap::new(),
            follows: None,
            opened_at: people.now,
            updated_at: people.now,
            resolved_at: None,
        };
        people.tx.put::<Enquiries>(&id, &enquiry)?;
        people.tx.put::<EnquiriesByProfile>(&(leaf, id), &enquiry.status)?;
        let profile_id = people.root_of(leaf)?.map(|(root, _)| root);
        let change = Change { enquiry_id: Some(id), profile_id, ..people.change(ChangeKind::EnquiryOpened) };
        people.tx.log(&change)?;
        Ok(enquiry)
    }

    /// Writes the link with its new shadow, raises conflicts, and asks for a write where ours is to stay.
    #[expect(clippy::too_many_arguments, reason = "one step of taking a record in, shared by its two kinds")]
    fn settle(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        item: &Item,
        link: Option<Link>,
        theirs: Fields,
        canonical_id: &str,
        canonical_bytes: [u8; 16],
        decisions: Vec<FieldDecision>,
    ) -> Result<()> {
        let mut shadow = link.as_ref().map(|link| link.shadow.clone()).unwrap_or_default();
        shadow.extend(theirs);
        let mut quarantined = link.map(|link| link.quarantined).unwrap_or_default();
        // A field that changed at the silo gets another chance.
        quarantined
            .retain(|field, _| decisions.iter().any(|decision| decision.field == *field && decision.kind == FieldOutcome::Untouched));
        let fresh_link = Link {
            connection_id: context.id,
            entity: item.entity.clone(),
            key: item.key.clone(),
            canonical_id: canonical_id.to_owned(),
            version: item.version.clone(),
            shadow,
            quarantined,
            seen_at: people.now,
            deleted_at: None,
        };
        write_link(people, &fresh_link, canonical_bytes)?;
        let mut kept_ours = false;
        for decision in &decisions {
            match &decision.kind {
                FieldOutcome::KeepOurs => kept_ours = true,
                FieldOutcome::Conflict { base, theirs, ours } => self.raise(people, &fresh_link, &decision.field, base, theirs, ours)?,
                FieldOutcome::Untouched | FieldOutcome::Agreed | FieldOutcome::AcceptTheirs => {}
            }
        }
        if kept_ours {
            mark_dirty(people, context.id, &item.entity, canonical_id)?;
        }
        let resolved: Vec<&FieldDecision> = decisions
            .iter()
            .filter(|decision| {
                matches!(decision.kind, FieldOutcome::KeepOurs | FieldOutcome::Conflict { .. }) || decision.why.starts_with("both")
            })
            .filter(|decision| decision.kind != FieldOutcome::Agreed)
            .collect();
        if !resolved.is_empty() {
            let evidence = resolved
                .iter()
                .map(|decision| Evidence { rule: format!("three-way {}", decision.field), detail: decision.why.to_owned() })
                .collect();
            let outcome = format!("{} and the hub both changed {} of {}", context.name, field_list(&resolved), item.key);
            let (profile, enquiry) = (canonical_id.parse().ok(), canonical_id.parse().ok());
            people.decide(DecisionId::from_bytes(fresh()), "sync", &outcome, evidence, Vec::new(), profile, enquiry, None)?;
        }
        Ok(())
    }

    fn raise(&self, people: &mut People<'_>, link: &Link, field: &str, base: &Value, theirs: &Value, ours: &Value) -> Result<()> {
        let open_key = (link.connection_id, link.entity.clone(), link.key.clone(), field.to_owned());
        let id = people.tx.get::<OpenConflicts>(&open_key)?.map_or_else(|| ConflictId::from_bytes(fresh()), |row| row.value);
        let conflict = ConflictItem {
            id,
            connection_id: link.connection_id,
            entity: link.entity.clone(),
            key: link.key.clone(),
            canonical_id: link.canonical_id.clone(),
            field: field.to_owned(),
            base: base.clone(),
            theirs: theirs.clone(),
            ours: ours.clone(),
            at: people.now,
            resolved_at: None,
        };
        people.tx.put::<Conflicts>(&id, &conflict)?;
        people.tx.put::<OpenConflicts>(&open_key, &id)?;
        let change = Change {
            profile_id: link.canonical_id.parse().ok(),
            enquiry_id: link.canonical_id.parse().ok(),
            data: json!({ "conflict": id, "field": field }),
            ..people.change(ChangeKind::ConflictRaised)
        };
        Ok(people.tx.log(&change)?)
    }

    /// The silo deleted a record: noted on the link; our record stays.
    pub(super) fn decide_deleted(&self, tx: &mut Tx, context: &ConnectionContext, item: &Item) -> Result<ItemOutcome> {
        let key = (context.id, item.entity.clone(), item.key.clone());
        match tx.get::<Links>(&key)? {
            Some(mut row) if row.value.deleted_at.is_none() => {
                row.value.deleted_at = Some(self.now());
                tx.put::<Links>(&key, &row.value)?;
                Ok(ItemOutcome::Accepted)
            }
            _ => Ok(ItemOutcome::Duplicate),
        }
    }

    /// The silo merged a record into another: its link goes on under the other key, unless that has one of its own.
    pub(super) fn decide_merged(&self, tx: &mut Tx, context: &ConnectionContext, item: &Item) -> Result<ItemOutcome> {
        let Some(into) = item.data.get("into").and_then(Value::as_str) else {
            return Err(ConnectorError::new(ErrorClass::InvalidRecord, "a merged item must name the record it was merged into")
                .with_field("/data/into")
                .into());
        };
        let key = (context.id, item.entity.clone(), item.key.clone());
        let Some(row) = tx.get::<Links>(&key)?.filter(|row| row.value.deleted_at.is_none()) else { return Ok(ItemOutcome::Duplicate) };
        let now = self.now();
        let target = (context.id, item.entity.clone(), into.to_owned());
        let exists = tx.get::<Links>(&target)?.is_some();
        let mut people = People { tx, now, connection: Some(context.id) };
        if !exists {
            let link = Link { key: into.to_owned(), version: None, seen_at: now, ..row.value.clone() };
            let bytes = canonical_bytes(&link.canonical_id).unwrap_or_default();
            write_link(&mut people, &link, bytes)?;
        }
        let gone = Link { deleted_at: Some(now), ..row.value };
        tx.put::<Links>(&key, &gone)?;
        Ok(ItemOutcome::Accepted)
    }
}

/// Writes a link and its way back.
pub(crate) fn write_link(people: &mut People<'_>, link: &Link, canonical: [u8; 16]) -> Result<()> {
    people.tx.put::<Links>(&(link.connection_id, link.entity.clone(), link.key.clone()), link)?;
    Ok(people.tx.put::<LinksByCanonical>(&(canonical, link.connection_id, link.entity.clone()), &link.key)?)
}

/// Asks for the silo's record to be brought up to ours.
pub(crate) fn mark_dirty(people: &mut People<'_>, connection: ConnectionId, entity: &str, canonical_id: &str) -> Result<()> {
    let key = DeliveryKey::write(connection, entity, canonical_id);
    if people.tx.get::<Deliveries>(&key)?.is_none() {
        let work = DeliveryWork::Write { entity: entity.to_owned(), canonical_id: canonical_id.to_owned() };
        let delivery = Delivery { work, since: people.now, not_before: people.now, attempts: 0, in_doubt: false, last_error: None };
        people.tx.put::<Deliveries>(&key, &delivery)?;
    }
    Ok(())
}

/// Sixteen bytes of a profile's or an enquiry's id.
pub(crate) fn canonical_bytes(id: &str) -> Option<[u8; 16]> {
    id.parse::<ProfileId>().map(|id| *id.as_bytes()).or_else(|_| id.parse::<EnquiryId>().map(|id| *id.as_bytes())).ok()
}

/// What is left to write of a record; empty means nothing.
pub(crate) fn left_to_write(entity: &Entity, want: &Fields, link: Option<&Link>) -> throughline_domain::sync::Delta {
    let empty = BTreeMap::new();
    let none = BTreeMap::new();
    let shadow = link.map_or(&empty, |link| &link.shadow);
    let quarantined = link.map_or(&none, |link| &link.quarantined);
    delta(want, shadow, |field| entity.fields.get(field).is_some_and(|field| field.writable), quarantined, &normalisers(entity))
}

fn normalisers(entity: &Entity) -> BTreeMap<String, Vec<String>> {
    entity.fields.iter().map(|(name, field)| (name.clone(), field.normalisers.clone())).collect()
}

#[expect(clippy::too_many_arguments, reason = "gathers what the pure merge compares")]
fn three_way(
    context: &ConnectionContext,
    entity: &Entity,
    item: &Item,
    link: Option<&Link>,
    theirs: &Fields,
    ours: &Fields,
    ours_changed_at: &BTreeMap<String, Timestamp>,
    now: Timestamp,
) -> Vec<FieldDecision> {
    let default = EntitySync::default();
    let sync = context.sync.get(&item.entity).unwrap_or(&default);
    let empty = Fields::new();
    merge(&IngestRecord {
        theirs,
        shadow: link.map_or(&empty, |link| &link.shadow),
        ours,
        ours_changed_at,
        theirs_changed_at: item.at_ms.map(|at| Timestamp::from_millis(i64::try_from(at).unwrap_or(i64::MAX))),
        received_at: now,
        policies: &sync.fields,
        normalisers: &normalisers(entity),
        direction: sync.direction,
    })
}

fn accepted(decisions: &[FieldDecision]) -> Fields {
    let taken = decisions.iter().filter(|decision| decision.kind == FieldOutcome::AcceptTheirs);
    taken.map(|decision| (decision.field.clone(), decision.theirs.clone())).collect()
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

fn entity_of(context: &ConnectionContext, item: &Item) -> Result<Entity> {
    context.entities.get(&item.entity).cloned().ok_or_else(|| {
        let known: Vec<&str> = context.entities.keys().map(String::as_str).collect();
        let detail = format!("the connection has no entity {:?}; it has: {}", item.entity, known.join(", "));
        ConnectorError::new(ErrorClass::InvalidRecord, detail).with_field("/entity").into()
    })
}

fn fields_of(item: &Item) -> Result<Fields> {
    match &item.data {
        Value::Object(fields) => Ok(fields.iter().map(|(name, value)| (name.clone(), value.clone())).collect()),
        other => {
            let detail = format!("a record's data must be an object of fields, not {other:.40}");
            Err(ConnectorError::new(ErrorClass::InvalidRecord, detail).with_field("/data").into())
        }
    }
}

/// Every identity that a silo's record asserts, the record's own included.
fn identities_of(context: &ConnectionContext, item: &Item, theirs: &Fields) -> Vec<(Normalised, Assurance)> {
    let mut identities = Vec::new();
    for (field, kind) in [("email", IdentityType::Email), ("phone", IdentityType::Phone)] {
        for raw in texts(theirs.get(field)) {
            identities.extend(context.normalise(kind, raw).map(|identity| (identity, Assurance::Confirmed)));
        }
    }
    let key = context.record_identity(&item.entity, &item.key);
    identities.push((Normalised { key, raw: item.key.clone(), sharing: throughline_schemas::Sharing::Exclusive }, Assurance::Confirmed));
    identities
}

fn field_list(decisions: &[&FieldDecision]) -> String {
    decisions.iter().map(|decision| decision.field.as_str()).collect::<Vec<_>>().join(", ")
}
