//! Writes records to the silo: plan, journal, send.

use std::collections::VecDeque;

use serde_json::Value;
use throughline_schemas::connector::{ErrorClass, Op, OpKind, Outcome};
use throughline_schemas::manifest::{Canonical, Entity};
use throughline_schemas::sync::{Link, SyncDirection};
use throughline_schemas::{ProfileId, connector::ConnectorError};
use throughline_store::tables::{Deliveries, Delivery, DeliveryWork, TableError, Tx};

use super::doubt::Looked;

use super::plan::{is_in_doubt, is_linked, left_of, subject};
use super::{Dispatcher, Waiting};
use crate::error::Result;
use crate::ingest::{Canon, ConnectionContext, People, projection};

/// One write that is ready to go.
pub(super) struct Planned {
    pub(super) waiting: Waiting,
    pub(super) canonical_id: String,
    pub(super) link: Option<Link>,
    /// The version of the link's row when this was planned.
    pub(super) link_version: Option<u64>,
    pub(super) op: Op,
}

/// What is to be done about a delivery.
enum Plan {
    Write(Box<(Option<Link>, Option<u64>, Op)>),
    Done,
    /// It may have been created already: the silo's records have to be read once more before anybody can tell.
    Look,
    /// It may have been created already, and the silo has no key of ours to find it by.
    InDoubt,
}

impl Dispatcher {
    /// Carries out the deliveries of one entity, as many in one call as the silo takes.
    pub(super) async fn write(&mut self, entity_name: &str, deliveries: Vec<Waiting>) -> Result<()> {
        let context = self.task.hub.connection_context(self.task.id)?;
        let Some(entity) = context.entities.get(entity_name).cloned() else {
            let error = ConnectorError::new(ErrorClass::Config, format!("the connection has no entity {entity_name:?} any more"));
            for waiting in deliveries {
                self.give_up(&waiting, error.clone()).await?;
            }
            return Ok(());
        };
        let deliveries = self.without_doubt(&context, &entity, deliveries).await?;
        let planned = self.plan_writes(&context, &entity, deliveries).await?;
        let batch = usize::try_from(entity.writes.batch.max(1)).unwrap_or(1);
        let mut planned = planned.into_iter().peekable();
        let mut calls = VecDeque::new();
        while planned.peek().is_some() {
            calls.push_back(planned.by_ref().take(batch).collect::<Vec<_>>());
        }
        while let Some(call) = calls.pop_front() {
            if self.must_rest() {
                break;
            }
            let alone = self.call(&context, &entity, call).await?;
            calls.extend(alone.into_iter().map(|planned| vec![planned]));
        }
        Ok(())
    }

    /// One call; gives back what is to be tried again one by one, because one of them may have spoilt it for the others.
    async fn call(&mut self, context: &ConnectionContext, entity: &Entity, mut call: Vec<Planned>) -> Result<Vec<Planned>> {
        self.journal(&mut call).await?;
        let ops: Vec<Op> = call.iter().map(|planned| planned.op.clone()).collect();
        match self.task.connector.write(&entity.name, ops).await {
            Ok(called) => {
                self.note_outcomes(&called.value);
                self.settle(context, entity, call, called.value, called.state).await?;
            }
            Err(error) => {
                let may_be_one_op = matches!(error.class, ErrorClass::Bug | ErrorClass::InvalidRecord | ErrorClass::Unsupported);
                if may_be_one_op && call.len() > 1 {
                    // A create that may have been carried out is not blindly repeated, not even alone.
                    let (alone, blind): (Vec<Planned>, Vec<Planned>) =
                        call.into_iter().partition(|planned| error.class != ErrorClass::Bug || !is_blind(entity, planned.link.as_ref()));
                    for planned in blind {
                        self.failed_write(entity, planned, error.clone()).await?;
                    }
                    return Ok(alone);
                }
                self.note_failure(&error);
                let outcomes = call.iter().map(|planned| Outcome { op_id: planned.op.id.clone(), result: Err(error.clone()) }).collect();
                self.settle(context, entity, call, outcomes, Vec::new()).await?;
            }
        }
        Ok(Vec::new())
    }

    async fn plan_writes(&self, context: &ConnectionContext, entity: &Entity, deliveries: Vec<Waiting>) -> Result<Vec<Planned>> {
        let mut planned = Vec::new();
        for waiting in deliveries {
            let DeliveryWork::Write { canonical_id, .. } = &waiting.delivery.work else { continue };
            let canonical_id = canonical_id.clone();
            match self.plan_write(context, entity, &canonical_id, &waiting.delivery)? {
                Plan::Done => self.forget(&waiting).await?,
                Plan::Look => self.look_for(&entity.name, &waiting).await?,
                Plan::InDoubt => self.give_up_in_doubt(&waiting, Self::broken_off()).await?,
                Plan::Write(write) => {
                    let (link, link_version, op) = *write;
                    planned.push(Planned { waiting, canonical_id, link, link_version, op });
                }
            }
        }
        Ok(planned)
    }

    fn plan_write(&self, context: &ConnectionContext, entity: &Entity, canonical_id: &str, delivery: &Delivery) -> Result<Plan> {
        // Only read: nothing is committed with it.
        let mut tx = Tx::new(&self.task.hub.inner.store);
        let mut people = People { tx: &mut tx, now: self.task.hub.now(), connection: None };
        let Some(subject) = subject(&mut people, context, entity, canonical_id)? else { return Ok(Plan::Done) };
        if !may_write(context, entity, subject.link.as_ref()) {
            return Ok(Plan::Done);
        }
        let rules = self.task.hub.inner.options.protections;
        if let Some(link) = subject.link.as_ref().filter(|link| link.remove) {
            let mut op = removal(entity, canonical_id, link);
            op.expect_version.take_if(|_| !rules.conditions);
            return Ok(Plan::Write(Box::new((subject.link, subject.link_version, op))));
        }
        if subject.link.is_none()
            && let Canon::Profile(profile) = &subject.canon
            && is_linked(&mut people, context, entity, profile)?
        {
            // Meanwhile the silo turned out to know this person.
            return Ok(Plan::Done);
        }
        if subject.link.is_none() && is_in_doubt(&mut people, context, entity, canonical_id)? {
            return Ok(Plan::Done);
        }
        let want = projection(&mut people, context, entity, &subject.canon, subject.link.is_none())?;
        let mut left = left_of(&mut people, context, entity, &want, subject.link.as_ref())?;
        if subject.link.is_none() {
            left.set.retain(|field, _| !delivery.left_out.contains_key(field));
        }
        if left.is_empty() {
            return Ok(Plan::Done);
        }
        if delivery.in_doubt && is_blind(entity, subject.link.as_ref()) && rules.creates_looked_for {
            match self.has_looked_since(entity, delivery) {
                Looked::Never => return Ok(Plan::InDoubt),
                Looked::Before => return Ok(Plan::Look),
                // It was read again since, and it is not there: it was not made.
                Looked::Since => {}
            }
        }
        let mut op = op(entity, canonical_id, subject.link.as_ref(), left);
        if !rules.conditions {
            op.expect_version = None;
        }
        Ok(Plan::Write(Box::new((subject.link, subject.link_version, op))))
    }

    /// What is about to be sent is noted first: after a crash it is looked for before anything is sent again, and when the silo tells of
    /// it before it answers, it is known for ours.
    async fn journal(&self, call: &mut [Planned]) -> Result<()> {
        if !self.task.hub.inner.options.protections.intents {
            return Ok(());
        }
        let now = self.task.hub.now();
        for planned in call.iter_mut() {
            let cleared = planned.op.clear.iter().map(|field| (field.clone(), Value::Null));
            let set = planned.op.data.as_object().into_iter().flatten().map(|(field, value)| (field.clone(), value.clone()));
            let (doubt_since, sent) = (Some(now), set.chain(cleared).collect());
            planned.waiting.delivery = Delivery { in_doubt: true, doubt_since, sent, ..planned.waiting.delivery.clone() };
        }
        loop {
            match self.note_intents(call).await {
                Err(TableError::Conflict) => {}
                done => return Ok(done?),
            }
        }
    }

    async fn note_intents(&self, call: &mut [Planned]) -> std::result::Result<(), TableError> {
        let mut tx = Tx::new(&self.task.hub.inner.store);
        let mut asked_again = Vec::with_capacity(call.len());
        for planned in call.iter_mut() {
            let waiting = &mut planned.waiting;
            let row = tx.get::<Deliveries>(&waiting.key)?;
            asked_again.push(row.is_none_or(|row| row.version != waiting.version));
            if let Err(TableError::TooLarge { .. }) = tx.put::<Deliveries>(&waiting.key, &waiting.delivery) {
                // Too long to be noted word for word; that it is under way can be noted all the same.
                waiting.delivery.sent.clear();
                tx.put::<Deliveries>(&waiting.key, &waiting.delivery)?;
            }
        }
        let version = tx.commit().await?.sequence;
        for (planned, asked_again) in call.iter_mut().zip(asked_again) {
            // What was asked for after this was planned is still to be done when this is done: no row has that version.
            planned.waiting.version = if asked_again { 0 } else { version };
        }
        Ok(())
    }
}

/// Whether a create, repeated, would make a second record.
pub(super) fn is_blind(entity: &Entity, link: Option<&Link>) -> bool {
    link.is_none() && entity.writes.upsert_key.is_none()
}

/// Whether the connection is to write this at all, and its plugin can.
fn may_write(context: &ConnectionContext, entity: &Entity, link: Option<&Link>) -> bool {
    let Some(sync) = context.sync.get(&entity.name).filter(|sync| sync.direction != SyncDirection::In) else { return false };
    if link.is_some_and(|link| link.remove) {
        entity.writes.delete
    } else if link.is_some() {
        entity.writes.update
    } else {
        entity.writes.create && sync.create_remote
    }
}

/// Deletes the silo's record; refused if it has changed since we last knew it, where the silo can tell.
fn removal(entity: &Entity, canonical_id: &str, link: &Link) -> Op {
    Op {
        id: canonical_id.to_owned(),
        idempotency_key: format!("{canonical_id}/{}/delete", link.version.as_deref().unwrap_or("-")),
        kind: OpKind::Delete,
        key: Some(link.key.clone()),
        expect_version: link.version.clone().filter(|_| entity.writes.concurrency.is_some()),
        data: Value::Object(Default::default()),
        clear: Vec::new(),
    }
}

fn op(entity: &Entity, canonical_id: &str, link: Option<&Link>, left: throughline_domain::sync::Delta) -> Op {
    let kind = match link {
        Some(_) => OpKind::Update,
        None if entity.writes.upsert_key.is_some() => OpKind::Upsert,
        None => OpKind::Create,
    };
    let conditional = entity.writes.concurrency.is_some();
    let data = Value::Object(left.set.into_iter().collect());
    let clear = if link.is_some() { left.clear } else { Vec::new() };
    Op {
        id: canonical_id.to_owned(),
        idempotency_key: idempotency_key(canonical_id, link, &data, &clear),
        kind,
        key: link.map(|link| link.key.clone()),
        expect_version: link.filter(|_| conditional).and_then(|link| link.version.clone()),
        data,
        clear,
    }
}

/// The same for the same write, whenever it is repeated; another for another write, even of a record without versions. A create is the
/// same create whatever it says.
fn idempotency_key(canonical_id: &str, link: Option<&Link>, data: &Value, clear: &[String]) -> String {
    use sha2::{Digest, Sha256};
    let Some(link) = link else { return format!("{canonical_id}/new") };
    let digest = Sha256::digest(format!("{data}\0{}", clear.join("\0")));
    let short: String = digest.iter().take(8).map(|byte| format!("{byte:02x}")).collect();
    format!("{canonical_id}/{}/{short}", link.version.as_deref().unwrap_or("-"))
}

impl Planned {
    /// The profile this is about, if it is one.
    pub(super) fn profile(&self, entity: &Entity) -> Option<ProfileId> {
        self.canonical_id.parse().ok().filter(|_| entity.canonical == Canonical::Profile)
    }
}
