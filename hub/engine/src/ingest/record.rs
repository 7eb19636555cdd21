//! Records of silos: whose they are, what of them is news, what becomes ours. The three-way merge itself is the domain's.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use throughline_domain::continuity::sender::are_different_people;
use throughline_domain::identity::Normalised;
use throughline_domain::sync::{FieldDecision, FieldOutcome, IngestRecord, Worth, merge, worth};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use throughline_schemas::manifest::{Canonical, Entity};
use throughline_schemas::sync::{EntitySync, Link};
use throughline_schemas::{
    Assurance, Attributed, Change, ChangeKind, ConnectionId, IdentityType, ProfileId, ProfileState, Sharing, Timestamp,
};
use throughline_store::tables::{Deliveries, DeliveryKey, Leaves, Links, LinksByCanonical, Tx};

use super::context::texts;
use super::heard::name_of_record;
use super::links::Ours;
use super::projection::{Canon, Fields, normalisers, projection};
use super::{ConnectionContext, ItemOutcome, People, Trust, some_names};
use crate::error::Result;
use crate::hub::Hub;

/// Identities taken from one record; more than that is no person.
const MAX_IDENTITIES: usize = 50;
/// Persons who share an identity with a record and are looked at again for its sake.
const CONCERNED: usize = 4;

impl Hub {
    pub(super) fn decide_record(&self, tx: &mut Tx, context: &ConnectionContext, item: &Item, trust: Trust) -> Result<ItemOutcome> {
        let entity = entity_of(context, item)?;
        let theirs = fields_of(item)?;
        let link_key = (context.id, item.entity.clone(), item.key.clone());
        let (link, link_version) = match tx.get::<Links>(&link_key)? {
            Some(row) => (Some(row.value), Some(row.version)),
            None => (None, None),
        };
        let rules = self.inner.options.protections;
        if let Some(link) = link.as_ref().filter(|link| link.deleted_at.is_none()) {
            let worth = worth(item.version.as_deref(), link.version.as_deref());
            // The shadow may know more fields than this report names.
            let nothing_new = theirs.iter().all(|(name, value)| link.shadow.get(name) == Some(value));
            if worth == Worth::Overtaken || (worth == Worth::Hint && nothing_new && link.version == item.version) {
                return Ok(ItemOutcome::Duplicate);
            }
            let is_fact = match trust {
                Trust::Fact => true,
                Trust::ReadAt(version) => version == link_version,
                Trust::Hint => worth == Worth::Fact || !rules.read_back_hints,
            };
            if !is_fact {
                return Ok(ItemOutcome::Hint(link_version));
            }
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
        let mut identities = identities_of(context, item, &theirs);
        let known = match &link {
            Some(link) => link.canonical_id.parse().ok(),
            None => self.profile_named(people, context, item, &theirs)?,
        };
        let own = known.map(|leaf| people.root_of(leaf)).transpose()?.flatten().map(|(root, _)| root);
        doubt_shared(people, own, &theirs, &mut identities)?;
        let found = people.resolve(&identities, true, known, None)?;
        let (Some(leaf), Some(root)) = (found.leaf, found.root) else {
            return Err(ConnectorError::new(ErrorClass::InvalidRecord, "the record gives nothing by which a person could be known").into());
        };
        let profile = people.view(root)?.expect("the root was just found");
        let changed_at: BTreeMap<String, Timestamp> = profile.fields.iter().map(|(name, said)| (name.clone(), said.at)).collect();
        let from = self.sources(profile.fields.iter().map(|(field, said)| (field, said.source)));
        let ours = projection(people, context, entity, &Canon::Profile(profile), false)?;
        let sent = on_its_way(people, context, &item.entity, &leaf.to_string())?;
        let side = OurSide { fields: &ours, changed_at: &changed_at, from: &from, sent: &sent };
        let decisions = self.three_way(context, entity, item, link.as_ref(), &theirs, &side);
        let mut accepted = accepted(&decisions);
        // Says what the record is; never taken from a silo.
        accepted.remove("hub_id");
        if !accepted.is_empty() || found.created {
            self.accept_fields(people, context, item, leaf, accepted, &changed_at)?;
        }
        let is_new = link.is_none();
        let says_otherwise = |field: &&str| link.as_ref().is_none_or(|link| link.shadow.get(*field) != theirs.get(*field));
        let shows_more = ["email", "phone"].iter().any(|field| theirs.contains_key(*field) && says_otherwise(field));
        let ours = Ours { id: leaf.to_string(), bytes: *leaf.as_bytes() };
        self.settle(people, context, item, link, theirs, &ours, decisions)?;
        if shows_more {
            let mut concerned: Vec<ProfileId> = if found.created { Vec::new() } else { vec![root] };
            for (identity, _) in &identities {
                let others = people.roots_holding(&identity.key)?;
                // What many share says nothing new of any of them.
                if others.len() <= CONCERNED {
                    concerned.extend(others.into_iter().filter(|other| *other != root));
                }
            }
            concerned.sort_unstable();
            concerned.dedup();
            for concerned in concerned.into_iter().take(CONCERNED) {
                self.reconsider(people, concerned)?;
            }
        }
        if is_new { super::links::mark_enquiries(people, context, leaf) } else { Ok(()) }
    }

    /// The profile that a record we made, or wrote to, says it is; a copy of such a record is another's.
    fn profile_named(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        item: &Item,
        theirs: &Fields,
    ) -> Result<Option<ProfileId>> {
        let Some(id) = theirs.get("hub_id").and_then(Value::as_str).and_then(|id| id.parse::<ProfileId>().ok()) else { return Ok(None) };
        if people.tx.get::<Leaves>(&id)?.is_none() {
            return Ok(None);
        }
        let taken = people.tx.get::<LinksByCanonical>(&(*id.as_bytes(), context.id, item.entity.clone()))?;
        Ok(taken.is_none_or(|row| row.value == item.key).then_some(id))
    }

    fn accept_fields(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        item: &Item,
        leaf: ProfileId,
        accepted: Fields,
        changed_at: &BTreeMap<String, Timestamp>,
    ) -> Result<()> {
        let Some((root, root_row)) = people.root_of(leaf)? else { return Ok(()) };
        let alone = root == leaf && root_row.value.members.is_empty();
        let mut row = people.tx.get::<Leaves>(&leaf)?.expect("the leaf was just found");
        let said_at = self.said_at(context.id, item, people.now);
        let names = some_names(accepted.keys());
        for (name, value) in accepted {
            // What was accepted is what is shown from now on, also if the silo's clock is behind or another member said otherwise later.
            let at = changed_at.get(&name).map_or(said_at, |shown| said_at.max(shown.plus_millis(1)));
            let empty = value.is_null() || value.as_str() == Some("");
            if empty && alone {
                row.value.fields.remove(&name);
                continue;
            }
            // A newest value of nothing says that it was emptied, whatever the other members say.
            let value = if empty { Value::Null } else { value };
            row.value.fields.insert(name, Attributed { value, source: Some(context.id), assurance: Assurance::Confirmed, at });
        }
        row.value.state = row.value.state.max(ProfileState::Identified);
        row.value.updated_at = people.now;
        people.tx.put::<Leaves>(&leaf, &row.value)?;
        let change = Change { profile_id: Some(root), data: json!({ "fields": names }), ..people.change(ChangeKind::ProfileUpdated) };
        Ok(people.tx.log(&change)?)
    }
}

/// Our side of a record, as it is compared with the silo's.
pub(super) struct OurSide<'a> {
    /// What we would send now.
    pub(super) fields: &'a Fields,
    /// When each was last changed.
    pub(super) changed_at: &'a BTreeMap<String, Timestamp>,
    /// The connection that said it.
    pub(super) from: &'a BTreeMap<String, String>,
    /// What is on its way to the silo.
    pub(super) sent: &'a Fields,
}

impl Hub {
    pub(super) fn three_way(
        &self,
        context: &ConnectionContext,
        entity: &Entity,
        item: &Item,
        link: Option<&Link>,
        theirs: &Fields,
        ours: &OurSide<'_>,
    ) -> Vec<FieldDecision> {
        let default = EntitySync::default();
        let sync = context.sync.get(&item.entity).unwrap_or(&default);
        let (empty, no_turns, not_frozen) = (Fields::new(), BTreeMap::new(), BTreeMap::new());
        merge(&IngestRecord {
            theirs,
            shadow: link.map_or(&empty, |link| &link.shadow),
            ours: ours.fields,
            sent: ours.sent,
            ours_from: ours.from,
            from: &context.name,
            turns: link.map_or(&no_turns, |link| &link.turns),
            frozen: link.map_or(&not_frozen, |link| &link.frozen),
            protections: self.inner.options.protections,
            ours_changed_at: ours.changed_at,
            theirs_changed_at: dated(item).map(|at| self.by_our_clock(context.id, at)),
            received_at: self.now(),
            policies: &sync.fields,
            normalisers: &normalisers(entity),
            direction: sync.direction,
        })
    }

    /// When the silo says that the record last changed, by our clock, but not later than we heard of it.
    pub(super) fn said_at(&self, connection: ConnectionId, item: &Item, now: Timestamp) -> Timestamp {
        dated(item).map_or(now, |at| self.by_our_clock(connection, at).min(now))
    }

    /// The names of the connections that fields came from.
    pub(super) fn sources<'f>(&self, fields: impl Iterator<Item = (&'f String, Option<ConnectionId>)>) -> BTreeMap<String, String> {
        let name = |id| self.connection_context(id).map(|context| context.name.clone()).ok();
        fields.filter_map(|(field, source)| Some((field.clone(), name(source?)?))).collect()
    }
}

/// What is on its way to the silo and not acknowledged yet.
pub(super) fn on_its_way(people: &mut People<'_>, context: &ConnectionContext, entity: &str, canonical_id: &str) -> Result<Fields> {
    let row = people.tx.get::<Deliveries>(&DeliveryKey::write(context.id, entity, canonical_id))?;
    Ok(row.map(|row| row.value.sent).unwrap_or_default())
}

/// What becomes ours: the silo's values, and those of both sides together.
pub(super) fn accepted(decisions: &[FieldDecision]) -> Fields {
    let taken = decisions.iter().filter_map(|decision| match &decision.kind {
        FieldOutcome::AcceptTheirs => Some((decision.field.clone(), decision.theirs.clone())),
        FieldOutcome::Merged(value) => Some((decision.field.clone(), value.clone())),
        _ => None,
    });
    taken.collect()
}

/// When the silo says that it happened.
pub(super) fn dated(item: &Item) -> Option<Timestamp> {
    item.at_ms.map(|at| Timestamp::from_millis(i64::try_from(at).unwrap_or(i64::MAX)))
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
pub(super) fn identities_of(context: &ConnectionContext, item: &Item, theirs: &Fields) -> Vec<(Normalised, Assurance)> {
    let mut identities = Vec::new();
    for (field, kind) in [("email", IdentityType::Email), ("phone", IdentityType::Phone)] {
        for raw in texts(theirs.get(field)) {
            identities.extend(context.normalise(kind, raw).map(|identity| (identity, Assurance::Confirmed)));
        }
    }
    identities.truncate(MAX_IDENTITIES);
    identities.push((record_itself(context, &item.entity, &item.key), Assurance::Confirmed));
    identities
}

/// An address or number that stands in the record of somebody of quite another name is not one person's alone: a household shares it, or
/// it was passed on. It still finds both, and decides for neither.
fn doubt_shared(
    people: &mut People<'_>,
    own: Option<ProfileId>,
    theirs: &Fields,
    identities: &mut [(Normalised, Assurance)],
) -> Result<()> {
    let said = |field: &str| theirs.get(field).and_then(Value::as_str).map(str::trim).filter(|text| !text.is_empty());
    let parts = || Some(format!("{} {}", said("given_name")?, said("family_name")?));
    let Some(name) = said("display_name").map(str::to_owned).or_else(parts) else { return Ok(()) };
    for (identity, _) in identities.iter_mut().filter(|(identity, _)| identity.sharing == Sharing::Exclusive) {
        if !matches!(identity.key.kind, IdentityType::Email | IdentityType::Phone) {
            continue;
        }
        for root in people.roots_holding(&identity.key)?.into_iter().filter(|root| Some(*root) != own).take(CONCERNED) {
            let other = people.view(root)?.as_ref().and_then(name_of_record);
            if other.is_some_and(|other| are_different_people(&name, &other)) {
                identity.sharing = Sharing::Unknown;
            }
        }
    }
    Ok(())
}

/// The identity that a silo's record is.
pub(super) fn record_itself(context: &ConnectionContext, entity: &str, key: &str) -> Normalised {
    Normalised { key: context.record_identity(entity, key), raw: key.to_owned(), sharing: Sharing::Exclusive }
}
