//! Writes records to the silo: plan, journal, send, note the outcome.

use std::collections::BTreeMap;

use serde_json::Value;
use throughline_domain::sync::retry::{Verdict, verdict};
use throughline_domain::sync::{VersionOrder, newer};
use throughline_schemas::connector::{ConnectorError, ErrorClass, Found, Op, OpKind, Outcome, Written};
use throughline_schemas::manifest::Entity;
use throughline_schemas::sync::Link;
use throughline_schemas::{Change, ChangeKind, DeadLetterId};
use throughline_store::tables::{DeadLetter, DeadLetters, Deliveries, Delivery, DeliveryKey, DeliveryWork, Links, LinksByCanonical, Tx};

use super::Dispatcher;
use super::plan::subject;
use crate::clock::fresh;
use crate::error::Result;
use crate::ingest::{ConnectionContext, IngestBatch, People, canonical_bytes, left_to_write, projection, write_link};
use crate::metrics::Counter;

/// One write that is ready to go.
struct Planned {
    key: DeliveryKey,
    delivery: Delivery,
    canonical_id: String,
    link: Option<Link>,
    op: Op,
}

impl Dispatcher {
    /// Carries out the deliveries of one entity, as many in one call as the silo takes.
    pub(super) async fn write(&mut self, entity_name: &str, deliveries: Vec<(DeliveryKey, Delivery)>) -> Result<()> {
        let context = self.task.hub.connection_context(self.task.id)?;
        let Some(entity) = context.entities.get(entity_name).cloned() else {
            let error = ConnectorError::new(ErrorClass::Config, format!("the connection has no entity {entity_name:?} any more"));
            for (key, delivery) in deliveries {
                self.give_up(key, delivery, error.clone()).await?;
            }
            return Ok(());
        };
        let (planned, done) = self.plan_writes(&context, &entity, deliveries)?;
        self.journal(&planned, done).await?;
        let batch = usize::try_from(entity.writes.batch.max(1)).unwrap_or(1);
        let mut planned = planned.into_iter().peekable();
        while planned.peek().is_some() {
            let chunk: Vec<Planned> = planned.by_ref().take(batch).collect();
            let ops = chunk.iter().map(|planned| planned.op.clone()).collect();
            match self.task.connector.write(entity_name, ops).await {
                Ok(called) => self.settle(&context, &entity, chunk, called.value, called.state).await?,
                Err(error) => {
                    // The call as a whole failed: so did every op in it, in the same way.
                    self.note_failure(&error);
                    let outcomes =
                        chunk.iter().map(|planned| Outcome { op_id: planned.op.id.clone(), result: Err(error.clone()) }).collect();
                    self.settle(&context, &entity, chunk, outcomes, Vec::new()).await?;
                }
            }
            if self.task.hub.now() < self.budget_paused_until {
                break;
            }
        }
        Ok(())
    }

    fn plan_writes(
        &self,
        context: &ConnectionContext,
        entity: &Entity,
        deliveries: Vec<(DeliveryKey, Delivery)>,
    ) -> Result<(Vec<Planned>, Vec<DeliveryKey>)> {
        let mut tx = Tx::new(&self.task.hub.inner.store);
        let mut people = People { tx: &mut tx, now: self.task.hub.now(), connection: None };
        let (mut planned, mut done) = (Vec::new(), Vec::new());
        for (key, delivery) in deliveries {
            let DeliveryWork::Write { canonical_id, .. } = &delivery.work else { continue };
            let canonical_id = canonical_id.clone();
            let Some(subject) = subject(&mut people, context, entity, &canonical_id)? else {
                done.push(key);
                continue;
            };
            let want = projection(&mut people, context, entity, &subject.canon, subject.link.is_none())?;
            let delta = left_to_write(entity, &want, subject.link.as_ref());
            if delta.is_empty() {
                done.push(key);
                continue;
            }
            let op = op(entity, &canonical_id, subject.link.as_ref(), delta);
            planned.push(Planned { key, delivery, canonical_id, link: subject.link, op });
        }
        Ok((planned, done))
    }

    /// What is done is removed, what may create something is marked as under way: after a crash it is not created blindly again.
    async fn journal(&self, planned: &[Planned], done: Vec<DeliveryKey>) -> Result<()> {
        let mut tx = Tx::new(&self.task.hub.inner.store);
        for key in done {
            tx.delete::<Deliveries>(&key);
        }
        for planned in planned.iter().filter(|planned| planned.link.is_none() && !planned.delivery.in_doubt) {
            tx.put::<Deliveries>(&planned.key, &Delivery { in_doubt: true, ..planned.delivery.clone() })?;
        }
        if !tx.is_empty() {
            tx.commit().await?;
        }
        Ok(())
    }

    async fn settle(
        &mut self,
        context: &ConnectionContext,
        entity: &Entity,
        chunk: Vec<Planned>,
        outcomes: Vec<Outcome>,
        state: Vec<(String, Option<Value>)>,
    ) -> Result<()> {
        let mut results: BTreeMap<String, std::result::Result<Written, ConnectorError>> =
            outcomes.into_iter().map(|outcome| (outcome.op_id, outcome.result)).collect();
        let mut failed = Vec::new();
        let mut written = Vec::new();
        for planned in chunk {
            let missing = || Err(ConnectorError::new(ErrorClass::Bug, "the plugin gave no outcome for this op"));
            match results.remove(&planned.op.id).unwrap_or_else(missing) {
                Ok(done) => written.push((planned, done)),
                Err(error) => failed.push((planned, error)),
            }
        }
        if !written.is_empty() || !state.is_empty() {
            self.commit_written(context, &written, state).await?;
            self.task.hub.inner.counters.add(Counter::Written, self.task.id, written.len() as u64);
            self.task.health.worked(self.task.hub.now());
        }
        for (planned, error) in failed {
            self.failed_write(entity, planned, error).await?;
        }
        Ok(())
    }

    async fn commit_written(
        &self,
        context: &ConnectionContext,
        written: &[(Planned, Written)],
        state: Vec<(String, Option<Value>)>,
    ) -> Result<()> {
        // Taking the silo's news in may touch the same links meanwhile; then this is decided again on what is there.
        for _ in 0..16 {
            let mut tx = Tx::new(&self.task.hub.inner.store);
            let mut people = People { tx: &mut tx, now: self.task.hub.now(), connection: Some(context.id) };
            for (planned, done) in written {
                note_written(&mut people, context, planned, done)?;
            }
            for (key, value) in &state {
                let row = (context.id, key.clone());
                match value {
                    Some(value) => tx.put::<throughline_store::tables::PluginState>(&row, value)?,
                    None => tx.delete::<throughline_store::tables::PluginState>(&row),
                }
            }
            match tx.commit().await {
                Ok(_) => return Ok(()),
                Err(throughline_store::tables::TableError::Conflict) => {}
                Err(error) => return Err(error.into()),
            }
        }
        Err(crate::HubError::Busy)
    }

    async fn failed_write(&mut self, entity: &Entity, planned: Planned, error: ConnectorError) -> Result<()> {
        self.task.hub.inner.counters.add(Counter::DeliveryFailures, self.task.id, 1);
        let attempt = planned.delivery.attempts + 1;
        let age = u64::try_from(self.task.hub.now().since(planned.delivery.since)).unwrap_or(0);
        let verdict = verdict(&error, attempt, age, self.jitter(), &self.task.hub.inner.options.retry);
        tracing::warn!(connection = %self.task.id, delivery = %planned.key.name, %error, ?verdict, "write failed");
        match verdict {
            Verdict::RetryAt { delay_ms } => {
                let counted = if error.class == ErrorClass::Cancelled { planned.delivery.attempts } else { attempt };
                self.retry(planned.key, planned.delivery, counted, delay_ms, error).await
            }
            Verdict::PauseBudget { delay_ms } => {
                self.budget_paused_until = self.task.hub.now().plus_millis(i64::try_from(delay_ms).unwrap_or(i64::MAX));
                let attempts = planned.delivery.attempts;
                self.retry(planned.key, planned.delivery, attempts, delay_ms, error).await
            }
            Verdict::ReadBack | Verdict::Reread => self.look_again(entity, planned, attempt, error).await,
            Verdict::DeadLetter => self.give_up(planned.key, planned.delivery, error).await,
            Verdict::PauseConnection { reason } => {
                let delay = 60_000;
                self.retry(planned.key, planned.delivery, attempt, delay, error).await?;
                self.task.hub.pause_because(self.task.id, reason);
                Ok(())
            }
            Verdict::Drop => self.drop_gone(planned).await,
            Verdict::QuarantineField { field } => self.quarantine(planned, &field, error).await,
        }
    }

    /// The outcome is not known, or somebody was faster: read the record back, take it in, compare again.
    async fn look_again(&mut self, entity: &Entity, planned: Planned, attempt: u32, error: ConnectorError) -> Result<()> {
        let backoff = throughline_domain::sync::retry::backoff_ms(attempt, self.jitter(), &self.task.hub.inner.options.retry);
        let Some(link) = &planned.link else {
            // A create: harmless to repeat where the silo knows our key, else only a person can tell.
            if entity.writes.upsert_key.is_some() {
                return self.retry(planned.key, planned.delivery, attempt, backoff, error).await;
            }
            return self.give_up(planned.key, planned.delivery, error).await;
        };
        match self.task.connector.get(&entity.name, std::slice::from_ref(&link.key)).await {
            Ok(found) => match found.into_iter().next() {
                Some(Found::Record(item)) => {
                    self.task.hub.ingest(self.task.id, IngestBatch { items: vec![item], ..IngestBatch::default() }).await?;
                    self.retry(planned.key, planned.delivery, attempt, 0, error).await
                }
                Some(Found::Gone | Found::MovedTo(_)) => self.drop_gone(planned).await,
                None => self.retry(planned.key, planned.delivery, attempt, backoff, error).await,
            },
            Err(again) => self.retry(planned.key, planned.delivery, attempt, backoff, again).await,
        }
    }

    pub(super) async fn retry(
        &self,
        key: DeliveryKey,
        delivery: Delivery,
        attempts: u32,
        delay_ms: u64,
        error: ConnectorError,
    ) -> Result<()> {
        let not_before = self.task.hub.now().plus_millis(i64::try_from(delay_ms).unwrap_or(i64::MAX));
        let mut tx = Tx::new(&self.task.hub.inner.store);
        // Whether it is in doubt stays as the journal says.
        let in_doubt = tx.get::<Deliveries>(&key)?.is_some_and(|row| row.value.in_doubt);
        tx.put::<Deliveries>(&key, &Delivery { attempts, not_before, in_doubt, last_error: Some(error), ..delivery })?;
        tx.commit().await?;
        Ok(())
    }

    pub(super) async fn give_up(&self, key: DeliveryKey, delivery: Delivery, error: ConnectorError) -> Result<()> {
        let mut tx = Tx::new(&self.task.hub.inner.store);
        let id = DeadLetterId::from_bytes(fresh());
        let at = self.task.hub.now();
        let letter = DeadLetter { id, connection_id: self.task.id, delivery: Some(delivery), item: None, error, at };
        tx.put::<DeadLetters>(&id, &letter)?;
        tx.delete::<Deliveries>(&key);
        let data = serde_json::json!({ "dead_letter": id, "connection": self.task.id });
        tx.log(&Change { data, ..Change::new(ChangeKind::DeliveryFailed, at) })?;
        tx.commit().await?;
        Ok(())
    }

    async fn drop_gone(&self, planned: Planned) -> Result<()> {
        let mut tx = Tx::new(&self.task.hub.inner.store);
        if let Some(link) = &planned.link {
            let key = (link.connection_id, link.entity.clone(), link.key.clone());
            if let Some(mut row) = tx.get::<Links>(&key)? {
                row.value.deleted_at = Some(self.task.hub.now());
                tx.put::<Links>(&key, &row.value)?;
            }
        }
        tx.delete::<Deliveries>(&planned.key);
        tx.commit().await?;
        Ok(())
    }

    /// The silo refuses one field: leave it out, send the rest, let a person see it.
    async fn quarantine(&self, planned: Planned, field: &str, error: ConnectorError) -> Result<()> {
        let field = field.split('/').next_back().unwrap_or(field);
        let sent = planned.op.data.get(field).is_some() || planned.op.clear.iter().any(|cleared| cleared == field);
        let Some(link) = planned.link.as_ref().filter(|_| sent) else {
            return self.give_up(planned.key, planned.delivery, error).await;
        };
        let mut tx = Tx::new(&self.task.hub.inner.store);
        let key = (link.connection_id, link.entity.clone(), link.key.clone());
        if let Some(mut row) = tx.get::<Links>(&key)? {
            row.value.quarantined.insert(field.to_owned(), error.message.clone());
            tx.put::<Links>(&key, &row.value)?;
        }
        let id = DeadLetterId::from_bytes(fresh());
        let at = self.task.hub.now();
        let letter = DeadLetter { id, connection_id: self.task.id, delivery: Some(planned.delivery.clone()), item: None, error, at };
        tx.put::<DeadLetters>(&id, &letter)?;
        tx.put::<Deliveries>(&planned.key, &Delivery { not_before: at, ..planned.delivery })?;
        tx.commit().await?;
        Ok(())
    }
}

fn op(entity: &Entity, canonical_id: &str, link: Option<&Link>, delta: throughline_domain::sync::Delta) -> Op {
    let upsert = entity.writes.upsert_key.is_some();
    let kind = match link {
        Some(_) => OpKind::Update,
        None if upsert => OpKind::Upsert,
        None => OpKind::Create,
    };
    let conditional = entity.writes.concurrency.is_some();
    Op {
        id: canonical_id.to_owned(),
        idempotency_key: format!("{canonical_id}/{}", link.and_then(|link| link.version.as_deref()).unwrap_or("new")),
        kind,
        key: link.map(|link| link.key.clone()),
        expect_version: link.filter(|_| conditional).and_then(|link| link.version.clone()),
        data: Value::Object(delta.set.into_iter().collect()),
        clear: if link.is_some() { delta.clear } else { Vec::new() },
    }
}

/// The shadow becomes what the silo now holds, unless the silo has said something newer meanwhile.
fn note_written(people: &mut People<'_>, context: &ConnectionContext, planned: &Planned, done: &Written) -> Result<()> {
    people.tx.delete::<Deliveries>(&planned.key);
    let DeliveryWork::Write { entity, canonical_id } = &planned.delivery.work else { return Ok(()) };
    let Some(bytes) = canonical_bytes(canonical_id) else { return Ok(()) };
    // The silo may have merged the record: the outcome's key is where it is now.
    let key = (context.id, entity.clone(), done.key.clone());
    let current = people.tx.get::<Links>(&key)?.map(|row| row.value);
    if let Some(current) = &current
        && current.canonical_id != planned.canonical_id
    {
        // Another of our records is linked there already: that link stands.
        return Ok(());
    }
    let overtaken =
        current.as_ref().is_some_and(|current| newer(done.version.as_deref(), current.version.as_deref()) == VersionOrder::Older);
    if overtaken {
        return Ok(());
    }
    let before = current.or_else(|| planned.link.clone());
    let mut shadow = before.as_ref().map(|link| link.shadow.clone()).unwrap_or_default();
    match &done.record {
        Some(Value::Object(record)) => shadow.extend(record.iter().map(|(name, value)| (name.clone(), value.clone()))),
        _ => {
            if let Value::Object(sent) = &planned.op.data {
                shadow.extend(sent.iter().map(|(name, value)| (name.clone(), value.clone())));
            }
            for name in &planned.op.clear {
                shadow.insert(name.clone(), Value::Null);
            }
        }
    }
    let link = Link {
        connection_id: context.id,
        entity: entity.clone(),
        key: done.key.clone(),
        canonical_id: canonical_id.clone(),
        version: done.version.clone().or_else(|| before.as_ref().and_then(|link| link.version.clone())),
        shadow,
        quarantined: before.map(|link| link.quarantined).unwrap_or_default(),
        seen_at: people.now,
        deleted_at: None,
    };
    if people.tx.get::<LinksByCanonical>(&(bytes, context.id, entity.clone()))?.is_none_or(|row| row.value == done.key) {
        write_link(people, &link, bytes)?;
    } else {
        people.tx.put::<Links>(&key, &link)?;
    }
    Ok(())
}
