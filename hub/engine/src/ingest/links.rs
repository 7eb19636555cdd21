//! Links between the silos' records and ours: their shadows, the conflicts about them, what became of the silo's record.

use serde_json::{Value, json};
use throughline_domain::identity::Normalised;
use throughline_domain::sync::turns::{digest, taken};
use throughline_domain::sync::{FieldDecision, FieldOutcome};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item};
use throughline_schemas::manifest::Canonical;
use throughline_schemas::sync::{Link, SyncDirection, Turn};
use throughline_schemas::{Assurance, Change, ChangeKind, ConflictId, ConnectionId, DecisionId, EnquiryId, Evidence, ProfileId};
use throughline_store::tables::{
    ConflictItem, Conflicts, Deliveries, Delivery, DeliveryKey, DeliveryWork, EnquiriesByProfile, Links, LinksByCanonical, OpenConflicts,
    Tx, scan_rows,
};

use super::projection::{Fields, sync_targets};
use super::{ConnectionContext, ItemOutcome, People};
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;

/// How many of a person's enquiries are written again when a silo gets to know the person.
const ENQUIRIES: usize = 50;

/// One of our records, as a link names it.
pub(super) struct Ours {
    pub(super) id: String,
    pub(super) bytes: [u8; 16],
}

impl Hub {
    /// Writes the link with its new shadow, raises conflicts, and asks for a write where ours is to stay.
    #[expect(clippy::too_many_arguments, reason = "one step of taking a record in, shared by its two kinds")]
    pub(super) fn settle(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        item: &Item,
        link: Option<Link>,
        theirs: Fields,
        ours: &Ours,
        decisions: Vec<FieldDecision>,
    ) -> Result<()> {
        let mut shadow = link.as_ref().map(|link| link.shadow.clone()).unwrap_or_default();
        shadow.extend(theirs);
        let before = link.clone();
        let (mut quarantined, refused) = link.map(|link| (link.quarantined, link.refused)).unwrap_or_default();
        // A field that changed at the silo gets another chance; one that was not reported does not.
        let changed = |kind: &FieldOutcome| !matches!(kind, FieldOutcome::Untouched | FieldOutcome::Echo);
        quarantined.retain(|field, _| !decisions.iter().any(|decision| decision.field == *field && changed(&decision.kind)));
        let (mut turns, mut frozen) = before.as_ref().map(|link| (link.turns.clone(), link.frozen.clone())).unwrap_or_default();
        for decision in decisions.iter().filter(|decision| changed(&decision.kind)) {
            let value = digest(normalisers_of(context, &item.entity, &decision.field), &decision.theirs);
            let turn = Turn { value, ours: false, at: people.now };
            let taken = taken(turns.get(&decision.field).map_or(&[][..], Vec::as_slice), turn);
            turns.insert(decision.field.clone(), taken);
            match &decision.kind {
                FieldOutcome::Frozen { .. } => drop(frozen.entry(decision.field.clone()).or_insert(people.now)),
                _ if frozen.remove(&decision.field).is_some() => withdraw(people, context.id, &item.entity, &item.key, &decision.field)?,
                _ => {}
            }
        }
        let fresh_link = Link {
            connection_id: context.id,
            entity: item.entity.clone(),
            key: item.key.clone(),
            canonical_id: ours.id.clone(),
            version: item.version.clone(),
            shadow,
            quarantined,
            refused,
            turns,
            frozen,
            seen_at: people.now,
            deleted_at: None,
            moved_to: None,
            remove: before.as_ref().is_some_and(|link| link.remove),
            restored_at: before.as_ref().and_then(|link| link.restored_at),
        };
        write_link(people, &fresh_link, ours.bytes)?;
        if before.as_ref().is_some_and(|link| link.deleted_at.is_some()) {
            self.take_out_again(people, context, &ours.id)?;
        }
        let mut kept_ours = false;
        for decision in &decisions {
            match &decision.kind {
                FieldOutcome::KeepOurs | FieldOutcome::Merged(_) => kept_ours = true,
                FieldOutcome::Conflict { base, theirs, ours } | FieldOutcome::Frozen { base, theirs, ours } => {
                    self.raise(people, &fresh_link, &decision.field, base, theirs, ours)?
                }
                FieldOutcome::Untouched | FieldOutcome::Echo | FieldOutcome::Agreed | FieldOutcome::AcceptTheirs => {}
            }
        }
        if kept_ours && context.sync.get(&item.entity).is_some_and(|sync| sync.direction != SyncDirection::In) {
            mark_dirty(people, context.id, &item.entity, &ours.id)?;
        }
        self.record_resolved(people, context, item, &ours.id, &decisions)
    }

    /// Says who won where both sides had changed something.
    fn record_resolved(
        &self,
        people: &mut People<'_>,
        context: &ConnectionContext,
        item: &Item,
        canonical_id: &str,
        decisions: &[FieldDecision],
    ) -> Result<()> {
        let resolved: Vec<&FieldDecision> = decisions
            .iter()
            .filter(|decision| {
                matches!(decision.kind, FieldOutcome::KeepOurs | FieldOutcome::Conflict { .. } | FieldOutcome::Frozen { .. })
                    || decision.why.starts_with("both")
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
        let known = match people.tx.get::<OpenConflicts>(&open_key)? {
            Some(row) => people.tx.get::<Conflicts>(&row.value)?.map(|row| row.value),
            None => None,
        };
        if let Some(known) = known {
            // The silo changed it again before anybody decided: the same question, about its new value.
            let again = ConflictItem { theirs: theirs.clone(), ours: ours.clone(), ..known };
            return Ok(people.tx.put::<Conflicts>(&again.id.clone(), &again)?);
        }
        let id = ConflictId::from_bytes(fresh());
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
            data: json!({ "conflict": id, "field": field.chars().take(200).collect::<String>() }),
            ..people.change(ChangeKind::ConflictRaised)
        };
        Ok(people.tx.log(&change)?)
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
        let known = tx.get::<Links>(&target)?.map(|row| row.value);
        let mut people = People { tx, now, connection: Some(context.id) };
        if let Some(known) = &known {
            join_merged(&mut people, context, item, known, &row.value)?;
        } else {
            let link = Link { key: into.to_owned(), version: None, seen_at: now, ..row.value.clone() };
            let bytes = canonical_bytes(&link.canonical_id).unwrap_or_default();
            write_link(&mut people, &link, bytes)?;
        }
        let gone = Link { deleted_at: Some(now), moved_to: Some(into.to_owned()), ..row.value };
        tx.put::<Links>(&key, &gone)?;
        Ok(ItemOutcome::Accepted)
    }
}

/// Writes a link and its way back.
pub(crate) fn write_link(people: &mut People<'_>, link: &Link, canonical: [u8; 16]) -> Result<()> {
    people.tx.put::<Links>(&(link.connection_id, link.entity.clone(), link.key.clone()), link)?;
    Ok(people.tx.put::<LinksByCanonical>(&(canonical, link.connection_id, link.entity.clone()), &link.key)?)
}

/// Whom a silo takes for one person is one person here too, unless somebody said otherwise.
fn join_merged(people: &mut People<'_>, context: &ConnectionContext, item: &Item, known: &Link, gone: &Link) -> Result<()> {
    let is_person = context.entities.get(&item.entity).is_some_and(|entity| entity.canonical == Canonical::Profile);
    let Some(leaf) = known.canonical_id.parse::<ProfileId>().ok().filter(|_| is_person && known.canonical_id != gone.canonical_id) else {
        return Ok(());
    };
    let both: Vec<(Normalised, Assurance)> = [&known.key, &gone.key]
        .map(|key| (super::record::record_itself(context, &item.entity, key), Assurance::Confirmed))
        .into_iter()
        .collect();
    people.resolve(&both, true, Some(leaf), None)?;
    Ok(())
}

/// Asks for the silo's record to be brought up to ours.
///
/// A delivery that waits already is written anew all the same: if it is being carried out right now, its new version says that there
/// is more to do.
pub(crate) fn mark_dirty(people: &mut People<'_>, connection: ConnectionId, entity: &str, canonical_id: &str) -> Result<()> {
    let key = DeliveryKey::write(connection, entity, canonical_id);
    let delivery = match people.tx.get::<Deliveries>(&key)? {
        Some(row) => row.value,
        None => {
            let work = DeliveryWork::Write { entity: entity.to_owned(), canonical_id: canonical_id.to_owned() };
            Delivery::new(work, people.now)
        }
    };
    Ok(people.tx.put::<Deliveries>(&key, &delivery)?)
}

/// A silo knows this person now: enquiries that it was told of without a customer, or that waited for one, are looked at again.
pub(crate) fn mark_enquiries(people: &mut People<'_>, context: &ConnectionContext, leaf: ProfileId) -> Result<()> {
    let entities: Vec<String> = sync_targets(context, Canonical::Enquiry)
        .filter(|(entity, _)| entity.fields.contains_key("customer"))
        .map(|(entity, _)| entity.name.clone())
        .collect();
    if entities.is_empty() {
        return Ok(());
    }
    let Some((root, row)) = people.root_of(leaf)? else { return Ok(()) };
    for member in std::iter::once(root).chain(row.value.members) {
        let page = scan_rows::<EnquiriesByProfile>(people.tx.store(), member.as_bytes(), None, ENQUIRIES)?;
        for id in page.rows.iter().filter_map(|(key, _)| EnquiriesByProfile::enquiry(key)) {
            for entity in &entities {
                if people.tx.get::<LinksByCanonical>(&(*id.as_bytes(), context.id, entity.clone()))?.is_some() {
                    mark_dirty(people, context.id, entity, &id.to_string())?;
                }
            }
        }
    }
    Ok(())
}

/// Sixteen bytes of a profile's or an enquiry's id.
pub(crate) fn canonical_bytes(id: &str) -> Option<[u8; 16]> {
    id.parse::<ProfileId>().map(|id| *id.as_bytes()).or_else(|_| id.parse::<EnquiryId>().map(|id| *id.as_bytes())).ok()
}

/// The values that a person was asked about are none of those in question any more: the question is withdrawn.
pub(crate) fn withdraw(people: &mut People<'_>, connection: ConnectionId, entity: &str, key: &str, field: &str) -> Result<()> {
    let open = (connection, entity.to_owned(), key.to_owned(), field.to_owned());
    let Some(id) = people.tx.get::<OpenConflicts>(&open)?.map(|row| row.value) else { return Ok(()) };
    people.tx.delete::<OpenConflicts>(&open);
    if let Some(mut row) = people.tx.get::<Conflicts>(&id)? {
        row.value.resolved_at = Some(people.now);
        people.tx.put::<Conflicts>(&id, &row.value)?;
    }
    Ok(())
}

/// What a connection's silo does to a field's values.
pub(crate) fn normalisers_of<'c>(context: &'c ConnectionContext, entity: &str, field: &str) -> &'c [String] {
    context.entities.get(entity).and_then(|entity| entity.fields.get(field)).map_or(&[], |field| &field.normalisers)
}

fn field_list(decisions: &[&FieldDecision]) -> String {
    decisions.iter().map(|decision| decision.field.as_str()).collect::<Vec<_>>().join(", ")
}
