//! What taking a record in would do, found by doing it in a unit of work that need not be committed.

use std::collections::BTreeMap;

use serde_json::{Value, json};
use throughline_domain::sync::plan::changes;
use throughline_schemas::connector::{ErrorClass, Item, ItemKind};
use throughline_schemas::plan::{PlanAction, PlanChange, PlanEffect};
use throughline_schemas::sync::Link;
use throughline_schemas::{Enquiry, EnquiryId, ProfileId};
use throughline_store::tables::{Enquiries, Leaves, Links, OpenConflicts, Tx, read};

use crate::error::Result;
use crate::hub::Hub;
use crate::ingest::{ConnectionContext, ItemOutcome, Trust};

/// The version of a record's link, if it has one and the record is there.
pub(super) fn live_link(tx: &mut Tx, context: &ConnectionContext, item: &Item) -> Result<Option<(u64, Link)>> {
    let key = (context.id, item.entity.clone(), item.key.clone());
    Ok(tx.get::<Links>(&key)?.filter(|row| row.value.deleted_at.is_none()).map(|row| (row.version, row.value)))
}

impl Hub {
    /// Takes an item in within `tx`, and says what that does.
    pub(super) fn foresee(&self, tx: &mut Tx, context: &ConnectionContext, item: &Item) -> Result<PlanEffect> {
        let before = live_link(tx, context, item)?.map(|(_, link)| link);
        let known = before.as_ref().map(|link| link.canonical_id.clone());
        let effect = |action| PlanEffect { action, canonical_id: known.clone(), changes: Vec::new(), detail: None };
        if matches!(self.decide_item(tx, context, item, Trust::Fact)?, ItemOutcome::Duplicate) {
            return Ok(effect(PlanAction::Skip));
        }
        match item.kind {
            ItemKind::Interaction => return Ok(effect(PlanAction::Create)),
            ItemKind::Deleted => return Ok(effect(PlanAction::Delete)),
            ItemKind::Merged => return Ok(effect(PlanAction::Update)),
            ItemKind::Record => {}
        }
        let Some((_, link)) = live_link(tx, context, item)? else { return Ok(effect(PlanAction::Skip)) };
        let (existed, changes) = self.differences(tx, &link.canonical_id)?;
        let disputed = self.newly_disputed(tx, &link)?;
        let action = match &before {
            _ if !disputed.is_empty() => PlanAction::Conflict,
            None if existed => PlanAction::Link,
            None => PlanAction::Create,
            Some(before) if changes.is_empty() && before.shadow == link.shadow => PlanAction::Skip,
            Some(_) => PlanAction::Update,
        };
        let detail = (!disputed.is_empty()).then(|| format!("both sides changed {}", disputed.join(", ")));
        // The id of a record that is only foreseen is nobody's.
        Ok(PlanEffect { action, canonical_id: existed.then_some(link.canonical_id), changes, detail })
    }

    /// Whether our record was there before, and what has changed of it in `tx`. Read after the rows that were decided on: whatever else
    /// has changed them meanwhile makes the commit fail.
    fn differences(&self, tx: &mut Tx, canonical_id: &str) -> Result<(bool, Vec<PlanChange>)> {
        let store = &self.inner.store;
        if let Ok(leaf) = canonical_id.parse::<ProfileId>() {
            let before = read::<Leaves>(store, &leaf)?.map(|row| row.value);
            let Some(after) = tx.get::<Leaves>(&leaf)?.map(|row| row.value) else { return Ok((before.is_some(), Vec::new())) };
            let held = before.as_ref().map(|leaf| leaf.fields.clone()).unwrap_or_default();
            let names: Vec<&String> = held.keys().chain(after.fields.keys()).collect();
            let of = |name: &str| held.get(name).map(|said| &said.value);
            return Ok((before.is_some(), changes(of, |name| after.fields.get(name).map(|said| &said.value), names)));
        }
        let Ok(id) = canonical_id.parse::<EnquiryId>() else { return Ok((false, Vec::new())) };
        let before = read::<Enquiries>(store, &id)?.map(|row| fields(&row.value));
        let after = tx.get::<Enquiries>(&id)?.map(|row| fields(&row.value)).unwrap_or_default();
        let held = before.clone().unwrap_or_default();
        let names: Vec<&String> = held.keys().chain(after.keys()).collect();
        Ok((before.is_some(), changes(|name| held.get(name), |name| after.get(name), names)))
    }

    /// Fields about which a person would be asked now, and was not before.
    fn newly_disputed(&self, tx: &mut Tx, link: &Link) -> Result<Vec<String>> {
        let mut disputed = Vec::new();
        for field in link.shadow.keys() {
            let key = (link.connection_id, link.entity.clone(), link.key.clone(), field.clone());
            if tx.get::<OpenConflicts>(&key)?.is_some() && read::<OpenConflicts>(&self.inner.store, &key)?.is_none() {
                disputed.push(field.clone());
            }
        }
        Ok(disputed)
    }
}

fn fields(enquiry: &Enquiry) -> BTreeMap<String, Value> {
    let own = [("reason", json!(enquiry.reason)), ("status", json!(enquiry.status)), ("owner", json!(enquiry.owner))];
    let said = enquiry.variables.iter().map(|(name, variable)| (name.clone(), variable.value.clone()));
    own.into_iter().map(|(name, value)| (name.to_owned(), value)).chain(said).collect()
}

/// Why an item cannot be taken in, if it is the item's fault.
pub(super) fn at_fault(error: &crate::HubError) -> Option<String> {
    match error {
        crate::HubError::Connector(error) if error.class == ErrorClass::InvalidRecord => Some(error.to_string()),
        crate::HubError::TooLarge { detail } => Some(detail.clone()),
        _ => None,
    }
}
