//! What a write came to: links and shadows for what was done, the silo's answer taken in as its news.

use std::collections::BTreeMap;

use serde_json::Value;
use throughline_domain::sync::{VersionOrder, newer, same_value};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind, Outcome, Written};
use throughline_schemas::manifest::Entity;
use throughline_schemas::sync::{Link, SyncDirection};
use throughline_store::tables::{Deliveries, DeliveryWork, Links, LinksByCanonical};

use super::Dispatcher;
use super::effects::settle_row;
use super::write::Planned;
use crate::HubError;
use crate::error::Result;
use crate::ingest::{ConnectionContext, IngestBatch, People, canonical_bytes, mark_enquiries, write_link, write_state};
use crate::metrics::Counter;

impl Dispatcher {
    pub(super) async fn settle(
        &mut self,
        context: &ConnectionContext,
        entity: &Entity,
        call: Vec<Planned>,
        outcomes: Vec<Outcome>,
        state: Vec<(String, Option<Value>)>,
    ) -> Result<()> {
        let mut results: BTreeMap<String, std::result::Result<Written, ConnectorError>> =
            outcomes.into_iter().map(|outcome| (outcome.op_id, outcome.result)).collect();
        if !state.is_empty() {
            self.insist(|tx| write_state(tx, context.id, &state)).await?;
        }
        let (mut failed, mut count) = (Vec::new(), 0);
        for planned in call {
            let missing = || Err(ConnectorError::new(ErrorClass::Bug, "the plugin gave no outcome for this op"));
            match results.remove(&planned.op.id).unwrap_or_else(missing) {
                Ok(done) => {
                    count += 1;
                    self.written(context, entity, planned, done).await?;
                }
                Err(error) => failed.push((planned, error)),
            }
        }
        if count > 0 {
            self.task.hub.inner.counters.add(Counter::Written, self.task.id, count);
            self.note_success();
        }
        for (planned, error) in failed {
            self.failed_write(entity, planned, error).await?;
        }
        Ok(())
    }

    async fn written(&self, context: &ConnectionContext, entity: &Entity, planned: Planned, done: Written) -> Result<()> {
        let now = self.task.hub.now();
        let noted = self
            .insist(|tx| {
                let mut people = People { tx, now, connection: Some(context.id) };
                note_written(&mut people, context, entity, &planned, &done)
            })
            .await;
        match noted {
            Err(HubError::TooLarge { detail }) => {
                let error = ConnectorError::new(ErrorClass::InvalidRecord, format!("written, but not to be remembered: {detail}"));
                return self.give_up(&planned.waiting, error).await;
            }
            noted => noted?,
        }
        let news = match done.record {
            Some(data @ Value::Object(_)) if direction(context, entity) != SyncDirection::Out => data,
            _ => return Ok(()),
        };
        // Compared with what was just sent: what the silo made of it, and what others changed there meanwhile, is news.
        let item =
            Item { kind: ItemKind::Record, entity: entity.name.clone(), key: done.key, version: done.version, at_ms: None, data: news };
        self.task.hub.ingest(self.task.id, IngestBatch { items: vec![item], ..IngestBatch::default() }).await?;
        Ok(())
    }
}

fn direction(context: &ConnectionContext, entity: &Entity) -> SyncDirection {
    context.sync.get(&entity.name).map(|sync| sync.direction).unwrap_or_default()
}

/// The shadow becomes what the silo now holds, unless the silo has said something newer meanwhile.
fn note_written(people: &mut People<'_>, context: &ConnectionContext, entity: &Entity, planned: &Planned, done: &Written) -> Result<()> {
    if !matches!(planned.waiting.delivery.work, DeliveryWork::Write { .. }) || people.tx.get::<Deliveries>(&planned.waiting.key)?.is_none()
    {
        return Ok(());
    }
    settle_row(people.tx, &planned.waiting)?;
    let Some(bytes) = canonical_bytes(&planned.canonical_id) else { return Ok(()) };
    // The silo may have merged the record: the outcome's key is where it is now.
    let key = (context.id, entity.name.clone(), done.key.clone());
    let ours = (bytes, context.id, entity.name.clone());
    let current = people.tx.get::<Links>(&key)?.map(|row| row.value);
    if let Some(current) = &current
        && current.canonical_id != planned.canonical_id
    {
        // Another of our records is linked there already: that link stands, and nothing more is created for this one.
        if people.tx.get::<LinksByCanonical>(&ours)?.is_none() {
            people.tx.put::<LinksByCanonical>(&ours, &done.key)?;
        }
        return Ok(());
    }
    let is_new = current.is_none();
    let overtaken =
        current.as_ref().is_some_and(|current| newer(done.version.as_deref(), current.version.as_deref()) == VersionOrder::Older);
    if overtaken {
        return Ok(());
    }
    let link = link_after(people, context, entity, planned, done, current);
    if people.tx.get::<LinksByCanonical>(&ours)?.is_none_or(|row| row.value == done.key) {
        write_link(people, &link, bytes)?;
    } else {
        people.tx.put::<Links>(&key, &link)?;
    }
    match planned.profile(entity) {
        Some(leaf) if is_new => mark_enquiries(people, context, leaf),
        _ => Ok(()),
    }
}

fn link_after(
    people: &People<'_>,
    context: &ConnectionContext,
    entity: &Entity,
    planned: &Planned,
    done: &Written,
    current: Option<Link>,
) -> Link {
    let before = current.or_else(|| planned.link.clone());
    let mut shadow = before.as_ref().map(|link| link.shadow.clone()).unwrap_or_default();
    let record = done.record.as_ref().and_then(Value::as_object);
    if let Value::Object(sent) = &planned.op.data {
        for (name, value) in sent {
            let stored = record.and_then(|record| record.get(name));
            let normalisers = entity.fields.get(name).map_or(&[][..], |field| &field.normalisers);
            // In the silo's own form, where that is only another way to write what was sent.
            let same = stored.filter(|stored| same_value(normalisers, stored, value));
            shadow.insert(name.clone(), same.unwrap_or(value).clone());
        }
    }
    for name in &planned.op.clear {
        shadow.insert(name.clone(), Value::Null);
    }
    if direction(context, entity) == SyncDirection::Out {
        // Nothing of the silo's is taken: what it holds is only remembered.
        shadow.extend(record.into_iter().flatten().map(|(name, value)| (name.clone(), value.clone())));
    }
    let (mut quarantined, refused) = before.as_ref().map(|link| (link.quarantined.clone(), link.refused.clone())).unwrap_or_default();
    quarantined.extend(planned.waiting.delivery.left_out.clone());
    Link {
        connection_id: context.id,
        entity: entity.name.clone(),
        key: done.key.clone(),
        canonical_id: planned.canonical_id.clone(),
        version: done.version.clone().or_else(|| before.as_ref().and_then(|link| link.version.clone())),
        shadow,
        quarantined,
        refused,
        seen_at: people.now,
        deleted_at: None,
    }
}
