//! What a write came to: links and shadows for what was done, the silo's answer taken in as its news.

use std::collections::BTreeMap;

use serde_json::Value;
use throughline_domain::sync::turns::{digest, taken};
use throughline_domain::sync::{Worth, same_value, worth};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind, OpKind, Outcome, Written};
use throughline_schemas::manifest::Entity;
use throughline_schemas::sync::{Link, SyncDirection, Turn};
use throughline_store::tables::{Deliveries, Delivery, DeliveryWork, Links, LinksByCanonical, Tx};

use super::Dispatcher;
use super::effects::settle_row;
use super::write::Planned;
use crate::HubError;
use crate::error::Result;
use crate::ingest::{
    ConnectionContext, IngestBatch, People, Trust, canonical_bytes, mark_enquiries, normalisers_of, withdraw, write_link, write_state,
};
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
        let news = match &done.record {
            Some(data @ Value::Object(_)) if direction(context, entity) != SyncDirection::Out => Some(data.clone()),
            _ => None,
        };
        // Compared with what was just sent: what the silo made of it, and what others changed there meanwhile, is news.
        let (entity_name, key, version) = (entity.name.clone(), done.key.clone(), done.version.clone());
        let news = news.map(|data| Item { kind: ItemKind::Record, entity: entity_name, key, version, at_ms: None, data });
        let note = |tx: &mut Tx, news: Option<&Item>| {
            let mut people = People { tx, now, connection: Some(context.id) };
            let noted = note_written(&mut people, context, entity, &planned, &done)?;
            if let (Noted::Settled, Some(item)) = (noted, news) {
                self.task.hub.decide_item(people.tx, context, item, Trust::Fact)?;
            }
            Ok(())
        };
        match self.insist(|tx| note(tx, news.as_ref())).await {
            Err(HubError::TooLarge { .. } | HubError::Connector(_)) if news.is_some() => {}
            Err(HubError::TooLarge { detail }) => return self.give_up(&planned.waiting, not_remembered(&detail)).await,
            noted => return noted,
        }
        // The answer cannot be taken in: that it was written is noted all the same, and the answer is refused like any other news.
        match self.insist(|tx| note(tx, None)).await {
            Err(HubError::TooLarge { detail }) => return self.give_up(&planned.waiting, not_remembered(&detail)).await,
            noted => noted?,
        }
        self.task.hub.ingest(self.task.id, IngestBatch { items: news.into_iter().collect(), ..IngestBatch::default() }).await?;
        Ok(())
    }
}

fn not_remembered(detail: &str) -> ConnectorError {
    ConnectorError::new(ErrorClass::InvalidRecord, format!("written, but not to be remembered: {detail}"))
}

/// What came of noting a write.
enum Noted {
    /// The link knows of it.
    Settled,
    /// It is to be read back, or there is nothing to note it with.
    Open,
}

fn direction(context: &ConnectionContext, entity: &Entity) -> SyncDirection {
    context.sync.get(&entity.name).map(|sync| sync.direction).unwrap_or_default()
}

/// The shadow becomes what the silo now holds, unless the silo has said something newer meanwhile.
fn note_written(people: &mut People<'_>, context: &ConnectionContext, entity: &Entity, planned: &Planned, done: &Written) -> Result<Noted> {
    if !matches!(planned.waiting.delivery.work, DeliveryWork::Write { .. }) || people.tx.get::<Deliveries>(&planned.waiting.key)?.is_none()
    {
        return Ok(Noted::Open);
    }
    settle_row(people.tx, &planned.waiting)?;
    let Some(bytes) = canonical_bytes(&planned.canonical_id) else { return Ok(Noted::Open) };
    // The silo may have merged the record: the outcome's key is where it is now.
    let key = (context.id, entity.name.clone(), done.key.clone());
    let ours = (bytes, context.id, entity.name.clone());
    let (current, current_version) = people.tx.get::<Links>(&key)?.map_or((None, None), |row| (Some(row.value), Some(row.version)));
    if let Some(current) = &current
        && current.canonical_id != planned.canonical_id
    {
        // Another of our records is linked there already: that link stands, and nothing more is created for this one.
        if people.tx.get::<LinksByCanonical>(&ours)?.is_none() {
            people.tx.put::<LinksByCanonical>(&ours, &done.key)?;
        }
        return Ok(Noted::Open);
    }
    let is_new = current.is_none();
    if let Some(current) = &current
        && current_version != planned.link_version
    {
        // The silo said something meanwhile. Which of it came first only versions can tell; else the record is read back.
        match worth(done.version.as_deref(), current.version.as_deref()) {
            Worth::Fact => {}
            Worth::Overtaken => return Ok(Noted::Open),
            Worth::Hint => {
                read_back_later(people, planned)?;
                return Ok(Noted::Open);
            }
        }
    }
    let was_frozen = current.as_ref().map(|current| current.frozen.clone()).unwrap_or_default();
    let link = link_after(people, context, entity, planned, done, current);
    for field in was_frozen.keys().filter(|field| !link.frozen.contains_key(*field)) {
        withdraw(people, context.id, &entity.name, &link.key, field)?;
    }
    if people.tx.get::<LinksByCanonical>(&ours)?.is_none_or(|row| row.value == done.key) {
        write_link(people, &link, bytes)?;
    } else {
        people.tx.put::<Links>(&key, &link)?;
    }
    if let Some(leaf) = planned.profile(entity).filter(|_| is_new) {
        mark_enquiries(people, context, leaf)?;
    }
    Ok(Noted::Settled)
}

/// The delivery stays, to be read back before anything else is written.
fn read_back_later(people: &mut People<'_>, planned: &Planned) -> Result<()> {
    let waiting = &planned.waiting;
    let delivery = Delivery { in_doubt: true, not_before: people.now, attempts: 0, ..waiting.delivery.clone() };
    Ok(people.tx.put::<Deliveries>(&waiting.key, &delivery)?)
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
    let (mut turns, mut frozen) = before.as_ref().map(|link| (link.turns.clone(), link.frozen.clone())).unwrap_or_default();
    for (field, value) in sent_of(planned).filter(|_| before.is_some()) {
        let value = digest(normalisers_of(context, &entity.name, &field), &value);
        let history = taken(turns.get(&field).map_or(&[][..], Vec::as_slice), Turn { value, ours: true, at: people.now });
        // Only a value that was no part of a quarrel is written to a frozen field.
        frozen.remove(&field);
        turns.insert(field, history);
    }
    quarantined.extend(planned.waiting.delivery.left_out.clone());
    Link {
        connection_id: context.id,
        entity: entity.name.clone(),
        key: done.key.clone(),
        canonical_id: planned.canonical_id.clone(),
        // Not the one from before: the write has made another, and what was on its way meanwhile would pass for newer.
        version: done.version.clone(),
        shadow,
        quarantined,
        refused,
        turns,
        frozen,
        seen_at: people.now,
        deleted_at: (planned.op.kind == OpKind::Delete).then_some(people.now),
        moved_to: None,
        remove: false,
        restored_at: planned.waiting.delivery.restored_at.or(before.and_then(|link| link.restored_at)),
    }
}

/// What was sent, null for what was emptied.
fn sent_of(planned: &Planned) -> impl Iterator<Item = (String, Value)> {
    let set = planned.op.data.as_object().into_iter().flatten().map(|(field, value)| (field.clone(), value.clone()));
    set.chain(planned.op.clear.iter().map(|field| (field.clone(), Value::Null)))
}
