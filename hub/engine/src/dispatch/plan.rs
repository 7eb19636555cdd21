//! Which of our records a change makes a silo's copy differ from.

use std::collections::BTreeSet;

use throughline_schemas::manifest::{Canonical, Entity};
use throughline_schemas::sync::Link;
use throughline_schemas::{Change, EnquiryId, ProfileId};
use throughline_store::tables::{Enquiries, Leaves, Links, LinksByCanonical, Tx};

use super::Dispatcher;
use crate::error::Result;
use crate::ingest::{Canon, ConnectionContext, People, canonical_bytes, left_to_write, projection, sync_targets};

/// One record, ready to be compared with the silo's.
pub(super) struct Subject {
    /// Our record now.
    pub(super) canon: Canon,
    /// The silo's, if it has one.
    pub(super) link: Option<Link>,
}

impl Dispatcher {
    /// The (entity, canonical id) pairs for which something is to be written.
    pub(super) fn plan_changes<'c>(&self, changes: impl Iterator<Item = &'c Change>) -> Result<BTreeSet<(String, String)>> {
        let context = self.task.hub.connection_context(self.task.id)?;
        let (mut profiles, mut enquiries) = (BTreeSet::new(), BTreeSet::new());
        for change in changes {
            profiles.extend(change.profile_id);
            enquiries.extend(change.enquiry_id);
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
    if !linked && create && entity.writes.create && differs(people, context, entity, &root.to_string())? {
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
    if !possible {
        return Ok(None);
    }
    Ok(differs(people, context, entity, &id.to_string())?.then(|| (entity.name.clone(), id.to_string())))
}

fn differs(people: &mut People<'_>, context: &ConnectionContext, entity: &Entity, canonical_id: &str) -> Result<bool> {
    let Some(subject) = subject(people, context, entity, canonical_id)? else { return Ok(false) };
    let want = projection(people, context, entity, &subject.canon, subject.link.is_none())?;
    Ok(!left_to_write(entity, &want, subject.link.as_ref()).is_empty())
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
    let link = match key {
        Some(key) => people.tx.get::<Links>(&(context.id, entity.name.clone(), key.value))?.map(|row| row.value),
        None => None,
    };
    if link.as_ref().is_some_and(|link| link.deleted_at.is_some()) {
        return Ok(None);
    }
    Ok(Some(Subject { canon, link }))
}
