//! Which of our records a change makes a silo's copy differ from.

use std::collections::{BTreeMap, BTreeSet};

use serde_json::Value;
use throughline_domain::sync::Delta;
use throughline_schemas::manifest::{Canonical, Entity};
use throughline_schemas::sync::{FieldPolicy, Link};
use throughline_schemas::{Change, ChangeKind, EnquiryId, Profile, ProfileId};
use throughline_store::tables::{Deliveries, DeliveryKey, Enquiries, Leaves, Links, LinksByCanonical, OpenConflicts, Tx};

use super::Dispatcher;
use crate::error::Result;
use crate::ingest::{Canon, ConnectionContext, People, canonical_bytes, left_to_write, projection, sync_targets};

/// One record, ready to be compared with the silo's.
pub(super) struct Subject {
    /// Our record now.
    pub(super) canon: Canon,
    /// The silo's, if it has one.
    pub(super) link: Option<Link>,
    /// The version of the link's row.
    pub(super) link_version: Option<u64>,
}

impl Dispatcher {
    /// The (entity, canonical id) pairs for which something is to be written.
    pub(super) fn plan_changes<'c>(&self, changes: impl Iterator<Item = &'c Change>) -> Result<BTreeSet<(String, String)>> {
        let context = self.task.hub.connection_context(self.task.id)?;
        let (mut profiles, mut enquiries) = (BTreeSet::new(), BTreeSet::new());
        for change in changes.filter(|change| changes_records(change.kind)) {
            profiles.extend(change.profile_id);
            enquiries.extend(change.enquiry_id);
            // Both halves of a profile that was taken apart may differ from their silo's records now.
            let separated = change.data.get("separated").and_then(serde_json::Value::as_str);
            profiles.extend(separated.and_then(|id| id.parse::<ProfileId>().ok()));
        }
        // Only read: what is planned on may change at once, and is computed again when it is sent.
        let mut tx = Tx::new(&self.task.hub.inner.store);
        let mut people = People { tx: &mut tx, now: self.task.hub.now(), connection: None };
        let mut wanted = BTreeSet::new();
        for (entity, sync) in sync_targets(&context, Canonical::Profile) {
            for id in &profiles {
                wanted.extend(profile_targets(&mut people, &context, entity, sync.create_remote, *id)?);
            }
        }
        for (entity, sync) in sync_targets(&context, Canonical::Enquiry) {
            for id in &enquiries {
                wanted.extend(enquiry_target(&mut people, &context, entity, sync.create_remote, *id)?);
            }
        }
        Ok(wanted)
    }
}

/// Whether a change of this kind makes one of our records another than it was. That a delivery failed must not lead to the same one.
const fn changes_records(kind: ChangeKind) -> bool {
    use ChangeKind::{EnquiryOpened, EnquiryUpdated, ProfileCreated, ProfileMerged, ProfileUnmerged, ProfileUpdated};
    matches!(kind, ProfileCreated | ProfileUpdated | ProfileMerged | ProfileUnmerged | EnquiryOpened | EnquiryUpdated)
}

fn profile_targets(
    people: &mut People<'_>,
    context: &ConnectionContext,
    entity: &Entity,
    create: bool,
    id: ProfileId,
) -> Result<Vec<(String, String)>> {
    let Some((root, row)) = people.root_of(id)? else { return Ok(Vec::new()) };
    let mut targets = Vec::new();
    let mut linked = false;
    for member in std::iter::once(root).chain(row.value.members) {
        if people.tx.get::<LinksByCanonical>(&(*member.as_bytes(), context.id, entity.name.clone()))?.is_some() {
            linked = true;
            if differs(people, context, entity, &member.to_string())? {
                targets.push((entity.name.clone(), member.to_string()));
            }
        }
    }
    if !linked
        && create
        && entity.writes.create
        && !is_in_doubt(people, context, entity, &root.to_string())?
        && differs(people, context, entity, &root.to_string())?
    {
        targets.push((entity.name.clone(), root.to_string()));
    }
    Ok(targets)
}

fn enquiry_target(
    people: &mut People<'_>,
    context: &ConnectionContext,
    entity: &Entity,
    create: bool,
    id: EnquiryId,
) -> Result<Option<(String, String)>> {
    let linked = people.tx.get::<LinksByCanonical>(&(*id.as_bytes(), context.id, entity.name.clone()))?.is_some();
    let possible = linked || (create && entity.writes.create);
    if !possible || (!linked && is_in_doubt(people, context, entity, &id.to_string())?) {
        return Ok(None);
    }
    Ok(differs(people, context, entity, &id.to_string())?.then(|| (entity.name.clone(), id.to_string())))
}

fn differs(people: &mut People<'_>, context: &ConnectionContext, entity: &Entity, canonical_id: &str) -> Result<bool> {
    let Some(subject) = subject(people, context, entity, canonical_id)? else { return Ok(false) };
    if subject.link.as_ref().is_some_and(|link| link.remove) {
        return Ok(true);
    }
    let want = projection(people, context, entity, &subject.canon, subject.link.is_none())?;
    Ok(!left_of(people, context, entity, &want, subject.link.as_ref())?.is_empty())
}

/// What is left to write of a record now; a field about which a person must decide waits for that.
pub(super) fn left_of(
    people: &mut People<'_>,
    context: &ConnectionContext,
    entity: &Entity,
    want: &BTreeMap<String, Value>,
    link: Option<&Link>,
) -> Result<Delta> {
    let mut left = left_to_write(entity, want, link);
    let (Some(link), Some(sync)) = (link, context.sync.get(&entity.name)) else { return Ok(left) };
    for (field, _) in sync.fields.iter().filter(|(_, policy)| **policy == FieldPolicy::Manual) {
        let key = (context.id, entity.name.clone(), link.key.clone(), field.clone());
        if people.tx.get::<OpenConflicts>(&key)?.is_some() {
            left.set.remove(field);
            left.clear.retain(|cleared| cleared != field);
        }
    }
    Ok(left)
}

/// Whether a person has to say first whether the silo has this record.
pub(super) fn is_in_doubt(people: &mut People<'_>, context: &ConnectionContext, entity: &Entity, canonical_id: &str) -> Result<bool> {
    Ok(people.tx.get::<Deliveries>(&DeliveryKey::doubt(context.id, &entity.name, canonical_id))?.is_some())
}

/// Whether the silo has a record of this person, of whichever of the profiles that were merged.
pub(super) fn is_linked(people: &mut People<'_>, context: &ConnectionContext, entity: &Entity, profile: &Profile) -> Result<bool> {
    for member in std::iter::once(&profile.id).chain(&profile.members) {
        if people.tx.get::<LinksByCanonical>(&(*member.as_bytes(), context.id, entity.name.clone()))?.is_some() {
            return Ok(true);
        }
    }
    Ok(false)
}

/// Reads one of our records and the silo's copy of it; none if ours is gone or the silo deleted its copy.
pub(super) fn subject(
    people: &mut People<'_>,
    context: &ConnectionContext,
    entity: &Entity,
    canonical_id: &str,
) -> Result<Option<Subject>> {
    let Some(bytes) = canonical_bytes(canonical_id) else { return Ok(None) };
    let canon = match entity.canonical {
        Canonical::Profile => {
            let leaf = ProfileId::from_bytes(bytes);
            if people.tx.get::<Leaves>(&leaf)?.is_none() {
                return Ok(None);
            }
            let Some((root, _)) = people.root_of(leaf)? else { return Ok(None) };
            match people.view(root)? {
                Some(profile) => Canon::Profile(profile),
                None => return Ok(None),
            }
        }
        Canonical::Enquiry => match people.tx.get::<Enquiries>(&EnquiryId::from_bytes(bytes))? {
            Some(row) => Canon::Enquiry(Box::new(row.value)),
            None => return Ok(None),
        },
        Canonical::Interaction => return Ok(None),
    };
    let key = people.tx.get::<LinksByCanonical>(&(bytes, context.id, entity.name.clone()))?;
    let row = match key {
        Some(key) => people.tx.get::<Links>(&(context.id, entity.name.clone(), key.value))?,
        None => None,
    };
    let (link, link_version) = row.map_or((None, None), |row| (Some(row.value), Some(row.version)));
    if link.as_ref().is_some_and(|link| link.deleted_at.is_some()) {
        return Ok(None);
    }
    Ok(Some(Subject { canon, link, link_version }))
}
