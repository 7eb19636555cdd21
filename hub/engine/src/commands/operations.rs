//! What needs a person's eye: dead letters, decisions, conflicts, the audit trail.

use serde_json::Value;
use throughline_schemas::interaction::DeliveryState;
use throughline_schemas::{
    Assurance, Attributed, Change, ChangeKind, ConflictId, DeadLetterId, Decision, DecisionId, EnquiryId, InteractionId, ProfileId,
};
use throughline_store::tables::{
    AuditEntry, AuditLog, ConflictItem, Conflicts, DeadLetter, DeadLetters, DecisionIndex, Decisions, Deliveries, Delivery, DeliveryKey,
    DeliveryWork, Interactions, Leaves, Links, LinksByCanonical, OpenConflicts, read,
};

use super::{page, page_of};
use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::hub::{Hub, PageOf, Paging};
use crate::ingest::{IngestBatch, mark_dirty};
use crate::views::ConflictChoice;

/// Something done through the API, to be kept.
#[derive(Debug, Clone, PartialEq)]
pub struct NewAuditEntry {
    /// Who.
    pub actor: String,
    /// What.
    pub action: String,
    /// On what.
    pub target: String,
    /// More; never a secret.
    pub detail: Value,
}

impl Hub {
    /// What was given up, oldest first.
    pub fn dead_letters(&self, paging: Paging) -> Result<PageOf<DeadLetter>> {
        page_of(page::<DeadLetters>(&self.inner.store, &[], &paging)?, |_, letter, _| Ok(Some(letter)))
    }

    /// Tries something that was given up again.
    pub async fn replay_dead_letter(&self, id: DeadLetterId) -> Result<()> {
        let row = read::<DeadLetters>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("dead letter", id))?;
        let letter = row.value;
        if let Some(mut item) = letter.item.clone() {
            // Its names were cut to be kept at all: what is left names something else.
            if let Some(field @ ("/key" | "/entity" | "/version")) = letter.error.field.as_deref() {
                return Err(HubError::conflict(format!("the item's {} cannot be used; only the connector can mend that", &field[1..])));
            }
            if let Some(reference) = as_file(&item.data) {
                let size = self.blob_size(&reference)?;
                let bytes = self.blob_read(&reference, 0, usize::try_from(size).unwrap_or(usize::MAX))?;
                item.data = serde_json::from_slice(&bytes).map_err(|error| HubError::Internal(error.to_string()))?;
            }
            let accepted = self.ingest(letter.connection_id, IngestBatch { items: vec![item], ..IngestBatch::default() }).await?;
            // What was refused again has a letter of its own now.
            debug_assert!(accepted.accepted + accepted.duplicates + accepted.rejected == 1);
        }
        self.transact(|tx| {
            if tx.get::<DeadLetters>(&id)?.is_none() {
                return Ok(());
            }
            if let Some(delivery) = letter.delivery.clone() {
                self.requeue(tx, &letter, delivery)?;
            }
            tx.delete::<DeadLetters>(&id);
            Ok(())
        })
        .await?;
        self.wake_dispatcher(letter.connection_id);
        Ok(())
    }

    fn requeue(&self, tx: &mut throughline_store::tables::Tx, letter: &DeadLetter, delivery: Delivery) -> Result<()> {
        let now = self.now();
        let connection = letter.connection_id;
        let key = match &delivery.work {
            DeliveryWork::Write { entity, canonical_id } => {
                tx.delete::<Deliveries>(&DeliveryKey::doubt(connection, entity, canonical_id));
                lift_quarantine(tx, connection, entity, canonical_id, letter.error.field.as_deref())?;
                DeliveryKey::write(connection, entity, canonical_id)
            }
            DeliveryWork::Send { interaction, .. } => {
                if let Some(mut row) = tx.get::<Interactions>(interaction)? {
                    row.value.delivery = Some(DeliveryState::Queued);
                    tx.put::<Interactions>(interaction, &row.value)?;
                }
                DeliveryKey::send(connection, *interaction)
            }
            // Its handoff is over; a call that nobody expects any more is not placed.
            DeliveryWork::Act { handoff, .. } => {
                return Err(HubError::conflict(format!("{handoff} is over: offer the enquiry again instead")));
            }
        };
        let fresh = Delivery::new(delivery.work, now);
        tx.put::<Deliveries>(&key, &fresh)?;
        let data = serde_json::json!({ "replayed": letter.id });
        Ok(tx.log(&Change { data, ..Change::new(ChangeKind::ConnectionChanged, now) })?)
    }

    /// One decision.
    pub fn decision(&self, id: DecisionId) -> Result<Decision> {
        Ok(read::<Decisions>(&self.inner.store, &id)?.ok_or_else(|| HubError::not_found("decision", id))?.value)
    }

    /// The decisions about a profile, an enquiry or an interaction, newest first.
    pub fn decisions(&self, about: &str, paging: Paging) -> Result<PageOf<Decision>> {
        let bytes = about
            .parse::<EnquiryId>()
            .map(|id| *id.as_bytes())
            .or_else(|_| about.parse::<ProfileId>().map(|id| *id.as_bytes()))
            .or_else(|_| about.parse::<InteractionId>().map(|id| *id.as_bytes()))
            .map_err(|_| HubError::invalid("/about", format!("{about:?} is no pro_, enq_ or int_ id")))?;
        page_of(page::<DecisionIndex>(&self.inner.store, &bytes, &paging)?, |key, _, _| {
            DecisionIndex::decision(key).map(|id| self.decision(id)).transpose()
        })
    }

    /// Conflicts that are open, oldest first.
    pub fn conflicts(&self, paging: Paging) -> Result<PageOf<ConflictItem>> {
        page_of(page::<Conflicts>(&self.inner.store, &[], &paging)?, |_, conflict, _| {
            Ok(Some(conflict).filter(|conflict| conflict.resolved_at.is_none()))
        })
    }

    /// Settles a conflict: the chosen value becomes ours and is written wherever it differs.
    pub async fn resolve_conflict(&self, id: ConflictId, choice: ConflictChoice) -> Result<()> {
        self.transact(|tx| {
            let mut conflict = tx.get::<Conflicts>(&id)?.ok_or_else(|| HubError::not_found("conflict", id))?.value;
            if conflict.resolved_at.is_some() {
                return Err(HubError::conflict("this conflict is resolved already"));
            }
            let value = match &choice {
                ConflictChoice::Theirs => conflict.theirs.clone(),
                ConflictChoice::Ours => conflict.ours.clone(),
                ConflictChoice::Value(value) => value.clone(),
            };
            let mut people = self.people(tx);
            if let Ok(profile) = conflict.canonical_id.parse::<ProfileId>()
                && let Some(mut row) = people.tx.get::<Leaves>(&profile)?
            {
                let said = Attributed { value, source: None, assurance: Assurance::Confirmed, at: people.now };
                row.value.fields.insert(conflict.field.clone(), said);
                row.value.updated_at = people.now;
                people.tx.put::<Leaves>(&profile, &row.value)?;
                let data = serde_json::json!({ "fields": [conflict.field] });
                let change = Change { profile_id: Some(profile), data, ..people.change(ChangeKind::ProfileUpdated) };
                people.tx.log(&change)?;
            } else if let Ok(enquiry) = conflict.canonical_id.parse::<EnquiryId>() {
                self.settle_enquiry_field(&mut people, enquiry, &conflict.field, value)?;
            }
            thaw(people.tx, &conflict)?;
            mark_dirty(&mut people, conflict.connection_id, &conflict.entity, &conflict.canonical_id)?;
            conflict.resolved_at = Some(people.now);
            tx.put::<Conflicts>(&id, &conflict)?;
            tx.delete::<OpenConflicts>(&(conflict.connection_id, conflict.entity, conflict.key, conflict.field));
            Ok(conflict.connection_id)
        })
        .await
        .map(|connection| self.wake_dispatcher(connection))
    }

    fn settle_enquiry_field(&self, people: &mut crate::ingest::People<'_>, id: EnquiryId, field: &str, value: Value) -> Result<()> {
        use throughline_store::tables::{Enquiries, EnquiriesByProfile};
        let Some(mut row) = people.tx.get::<Enquiries>(&id)? else { return Ok(()) };
        let before = row.value.clone();
        crate::ingest::set_enquiry_field(&mut row.value, field, value, None, people.now);
        crate::handoff::set_by_hand(people, &before, &mut row.value)?;
        row.value.updated_at = people.now;
        row.value.note_origins(&before, None, people.now);
        people.tx.put::<Enquiries>(&id, &row.value)?;
        people.tx.put::<EnquiriesByProfile>(&(row.value.profile_id, id), &row.value.status)?;
        let profile_id = people.root_of(row.value.profile_id)?.map(|(root, _)| root);
        let data = serde_json::json!({ "fields": [field] });
        let change = Change { enquiry_id: Some(id), profile_id, data, ..people.change(ChangeKind::EnquiryUpdated) };
        Ok(people.tx.log(&change)?)
    }

    /// The audit trail, newest first.
    pub fn audit(&self, paging: Paging) -> Result<PageOf<AuditEntry>> {
        page_of(page::<AuditLog>(&self.inner.store, &[], &paging)?, |_, entry, _| Ok(Some(entry)))
    }

    /// Keeps what was done through the API.
    pub async fn record_audit(&self, entry: NewAuditEntry) -> Result<()> {
        let at = self.now();
        let entry = AuditEntry { actor: entry.actor, action: entry.action, target: entry.target, detail: entry.detail, at };
        self.transact(|tx| Ok(tx.put::<AuditLog>(&(at, fresh()), &entry)?)).await
    }

    /// Whether a link exists for one of our records: what an operator asks when a silo lacks something.
    pub fn link(&self, connection: throughline_schemas::ConnectionId, entity: &str, key: &str) -> Result<throughline_schemas::sync::Link> {
        let row = read::<Links>(&self.inner.store, &(connection, entity.to_owned(), key.to_owned()))?;
        Ok(row.ok_or_else(|| HubError::not_found("link", key))?.value)
    }
}

/// A person has decided: the field is exchanged again, and what went before is forgotten.
fn thaw(tx: &mut throughline_store::tables::Tx, conflict: &ConflictItem) -> Result<()> {
    let key = (conflict.connection_id, conflict.entity.clone(), conflict.key.clone());
    let Some(mut row) = tx.get::<Links>(&key)? else { return Ok(()) };
    row.value.turns.remove(&conflict.field);
    if row.value.frozen.remove(&conflict.field).is_some() {
        tx.put::<Links>(&key, &row.value)?;
    }
    Ok(())
}

/// The file that a refused item's data was put into, if it was.
fn as_file(data: &Value) -> Option<String> {
    let only = data.as_object().filter(|fields| fields.len() == 1)?.get("blob")?.as_str()?;
    only.starts_with("sha256:").then(|| only.to_owned())
}

/// A field that was left out gets another chance.
fn lift_quarantine(
    tx: &mut throughline_store::tables::Tx,
    connection: throughline_schemas::ConnectionId,
    entity: &str,
    canonical_id: &str,
    field: Option<&str>,
) -> Result<()> {
    let (Some(bytes), Some(field)) = (crate::ingest::canonical_bytes(canonical_id), field) else { return Ok(()) };
    let Some(key) = tx.get::<LinksByCanonical>(&(bytes, connection, entity.to_owned()))? else { return Ok(()) };
    let key = (connection, entity.to_owned(), key.value);
    let Some(mut row) = tx.get::<Links>(&key)? else { return Ok(()) };
    let field = field.split('/').next_back().unwrap_or(field);
    if row.value.quarantined.remove(field).is_some() {
        row.value.refused.remove(field);
        tx.put::<Links>(&key, &row.value)?;
    }
    Ok(())
}
