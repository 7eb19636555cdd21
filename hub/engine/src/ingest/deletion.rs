//! A silo deleted a record: what the connection's policy makes of it.

use serde_json::{Value, json};
use throughline_domain::sync::deletion::{Consequence, consequence};
use throughline_schemas::connector::Item;
use throughline_schemas::sync::{Link, SyncDirection};
use throughline_schemas::{
    Assurance, Attributed, Change, ChangeKind, ConnectionId, DecisionId, EnquiryId, EnquiryStatus, Evidence, ProfileId,
};
use throughline_store::tables::{Deliveries, DeliveryKey, Enquiries, EnquiriesByProfile, Leaves, Links, LinksByCanonical, Tx};

use super::{ConnectionContext, ItemOutcome, People, canonical_bytes, mark_dirty, set_enquiry_field, withdraw};
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;

/// The field that says that a person's record was put aside.
const ARCHIVED: &str = "archived";

impl Hub {
    /// The silo deleted a record.
    pub(super) fn decide_deleted(&self, tx: &mut Tx, context: &ConnectionContext, item: &Item) -> Result<ItemOutcome> {
        let key = (context.id, item.entity.clone(), item.key.clone());
        let Some(row) = tx.get::<Links>(&key)?.filter(|row| row.value.deleted_at.is_none()) else { return Ok(ItemOutcome::Duplicate) };
        let mut people = People { tx, now: self.now(), connection: Some(context.id) };
        let link = Link { deleted_at: Some(people.now), remove: false, ..row.value.clone() };
        people.tx.put::<Links>(&key, &link)?;
        // What a person was asked about is not there any more.
        for field in link.shadow.keys() {
            withdraw(&mut people, context.id, &link.entity, &link.key, field)?;
        }
        let policy = context.sync.get(&item.entity).map(|sync| sync.on_delete).unwrap_or_default();
        // What we asked for leads to nothing more.
        let consequence = if row.value.remove { Consequence::Note } else { consequence(policy, link.restored_at, people.now) };
        let done = match consequence {
            Consequence::Note => return Ok(ItemOutcome::Accepted),
            Consequence::LeaveDeleted => "it was made anew within a day and deleted again, and is left so",
            Consequence::Unlink => {
                people.tx.delete::<Links>(&key);
                forget_way_back(&mut people, &link)?;
                "the link is forgotten"
            }
            Consequence::Archive => {
                put_aside(&mut people, context.id, &link.canonical_id)?;
                "our record is put aside"
            }
            Consequence::Remove => {
                self.remove_elsewhere(&mut people, context.id, &link.canonical_id)?;
                put_aside(&mut people, context.id, &link.canonical_id)?;
                "our record is put aside, and the other silos are to delete theirs"
            }
            Consequence::Recreate => {
                forget_way_back(&mut people, &link)?;
                make_anew(&mut people, context.id, &link)?;
                "the silo gets our record again"
            }
        };
        let evidence =
            vec![Evidence { rule: format!("on_delete {}", json!(policy).as_str().unwrap_or_default()), detail: done.to_owned() }];
        let outcome = format!("{} deleted {} {}: {done}", context.name, link.entity, link.key);
        let (profile, enquiry) = (link.canonical_id.parse().ok(), link.canonical_id.parse().ok());
        people.decide(DecisionId::from_bytes(fresh()), "sync", &outcome, evidence, Vec::new(), profile, enquiry, None)?;
        Ok(ItemOutcome::Accepted)
    }

    /// Has every other silo that is written to delete its record of the same person or enquiry.
    fn remove_elsewhere(&self, people: &mut People<'_>, from: ConnectionId, canonical_id: &str) -> Result<()> {
        let mut ours = vec![canonical_id.to_owned()];
        if let Ok(leaf) = canonical_id.parse::<ProfileId>()
            && let Some((root, row)) = people.root_of(leaf)?
        {
            ours = std::iter::once(root).chain(row.value.members).map(|id| id.to_string()).collect();
        }
        for (id, _) in self.all_connections()? {
            if id == from {
                continue;
            }
            let context = self.connection_context(id)?;
            let writes = |name: &str| context.sync.get(name).is_some_and(|sync| sync.direction != SyncDirection::In);
            for entity in context.entities.values().filter(|entity| entity.writes.delete && writes(&entity.name)) {
                for ours in &ours {
                    remove_at(people, id, &entity.name, ours)?;
                }
            }
        }
        Ok(())
    }

    /// The silo shows a record again that it had deleted: what was put aside because of that is taken out again.
    pub(super) fn take_out_again(&self, people: &mut People<'_>, context: &ConnectionContext, canonical_id: &str) -> Result<()> {
        let Ok(leaf) = canonical_id.parse::<ProfileId>() else { return Ok(()) };
        let Some(mut row) = people.tx.get::<Leaves>(&leaf)? else { return Ok(()) };
        if row.value.fields.get(ARCHIVED).is_none_or(|said| said.source != Some(context.id)) {
            return Ok(());
        }
        row.value.fields.remove(ARCHIVED);
        row.value.updated_at = people.now;
        people.tx.put::<Leaves>(&leaf, &row.value)?;
        log_profile(people, leaf)
    }
}

fn remove_at(people: &mut People<'_>, connection: ConnectionId, entity: &str, canonical_id: &str) -> Result<()> {
    let Some(bytes) = canonical_bytes(canonical_id) else { return Ok(()) };
    let Some(key) = people.tx.get::<LinksByCanonical>(&(bytes, connection, entity.to_owned()))? else { return Ok(()) };
    let key = (connection, entity.to_owned(), key.value);
    let Some(row) = people.tx.get::<Links>(&key)?.filter(|row| row.value.deleted_at.is_none()) else { return Ok(()) };
    people.tx.put::<Links>(&key, &Link { remove: true, ..row.value })?;
    mark_dirty(people, connection, entity, canonical_id)
}

/// Our record is not found by way of this link any more.
fn forget_way_back(people: &mut People<'_>, link: &Link) -> Result<()> {
    let Some(bytes) = canonical_bytes(&link.canonical_id) else { return Ok(()) };
    let key = (bytes, link.connection_id, link.entity.clone());
    if people.tx.get::<LinksByCanonical>(&key)?.is_some_and(|row| row.value == link.key) {
        people.tx.delete::<LinksByCanonical>(&key);
    }
    Ok(())
}

fn make_anew(people: &mut People<'_>, connection: ConnectionId, link: &Link) -> Result<()> {
    mark_dirty(people, connection, &link.entity, &link.canonical_id)?;
    let key = DeliveryKey::write(connection, &link.entity, &link.canonical_id);
    if let Some(mut row) = people.tx.get::<Deliveries>(&key)? {
        row.value.restored_at = Some(people.now);
        people.tx.put::<Deliveries>(&key, &row.value)?;
    }
    Ok(())
}

/// A person's record says that it was put aside; an enquiry is closed. Nothing is lost.
fn put_aside(people: &mut People<'_>, connection: ConnectionId, canonical_id: &str) -> Result<()> {
    if let Ok(leaf) = canonical_id.parse::<ProfileId>()
        && let Some(mut row) = people.tx.get::<Leaves>(&leaf)?
    {
        let said = Attributed { value: Value::Bool(true), source: Some(connection), assurance: Assurance::Confirmed, at: people.now };
        row.value.fields.insert(ARCHIVED.to_owned(), said);
        row.value.updated_at = people.now;
        people.tx.put::<Leaves>(&leaf, &row.value)?;
        return log_profile(people, leaf);
    }
    let Ok(id) = canonical_id.parse::<EnquiryId>() else { return Ok(()) };
    let Some(mut row) = people.tx.get::<Enquiries>(&id)?.filter(|row| row.value.status != EnquiryStatus::Closed) else { return Ok(()) };
    let before = row.value.clone();
    set_enquiry_field(&mut row.value, "status", json!(EnquiryStatus::Closed), Some(connection), people.now);
    crate::handoff::set_by_hand(people, &before, &mut row.value)?;
    row.value.updated_at = people.now;
    row.value.note_origins(&before, Some(connection), people.now);
    people.tx.put::<Enquiries>(&id, &row.value)?;
    people.tx.put::<EnquiriesByProfile>(&(row.value.profile_id, id), &row.value.status)?;
    let profile_id = people.root_of(row.value.profile_id)?.map(|(root, _)| root);
    let data = json!({ "fields": ["status"] });
    let change = Change { enquiry_id: Some(id), profile_id, data, ..people.change(ChangeKind::EnquiryUpdated) };
    Ok(people.tx.log(&change)?)
}

fn log_profile(people: &mut People<'_>, leaf: ProfileId) -> Result<()> {
    let profile_id = people.root_of(leaf)?.map(|(root, _)| root);
    let change = Change { profile_id, data: json!({ "fields": [ARCHIVED] }), ..people.change(ChangeKind::ProfileUpdated) };
    Ok(people.tx.log(&change)?)
}
