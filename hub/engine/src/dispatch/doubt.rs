//! Writes whose outcome nobody knows: the answer was lost, the plugin broke, the power failed. What they were about is read back and
//! compared before anything is written again; a record that may have been made is looked for before it is made.

use throughline_domain::sync::retry::{Verdict, backoff_ms, verdict};
use throughline_schemas::Timestamp;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Found};
use throughline_schemas::manifest::Entity;
use throughline_store::tables::{Deliveries, Delivery, DeliveryWork, Tx};

use super::plan::subject;
use super::{Dispatcher, Waiting};
use crate::error::Result;
use crate::ingest::{ConnectionContext, People};

/// A request that got no answer may still take effect for so long, in milliseconds.
const LATE_EFFECT_MS: i64 = 60_000;
/// After asking for the silo's records to be read, it is looked again whether they were, in milliseconds.
const LOOK_AGAIN_MS: u64 = 5_000;

/// Whether the silo's records were read to the end since a create became doubtful.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Looked {
    /// They were.
    Since,
    /// Not yet.
    Before,
    /// They cannot be read.
    Never,
}

impl Dispatcher {
    /// Reads back the records of those updates whose outcome is not known; gives what can be planned now.
    pub(super) async fn without_doubt(
        &mut self,
        context: &ConnectionContext,
        entity: &Entity,
        deliveries: Vec<Waiting>,
    ) -> Result<Vec<Waiting>> {
        let (mut clear, mut doubtful) = (Vec::new(), Vec::new());
        for waiting in deliveries {
            match self.doubtful_key(context, entity, &waiting.delivery)? {
                Some(key) => doubtful.push((key, waiting)),
                None => clear.push(waiting),
            }
        }
        if doubtful.is_empty() || self.must_rest() {
            return Ok(clear);
        }
        let keys: Vec<String> = doubtful.iter().map(|(key, _)| key.clone()).collect();
        match self.task.hub.look_at(context, self.task.connector.as_ref(), &entity.name, &keys).await {
            Ok(found) => {
                for ((_, waiting), found) in doubtful.into_iter().zip(found) {
                    match found {
                        Found::Record(_) | Found::MovedTo(_) => clear.extend(self.clear_of_doubt(waiting).await?),
                        Found::Gone => self.forget(&waiting).await?,
                    }
                }
            }
            // What cannot be asked for is written again: an update done twice is an update.
            Err(error) if error.class == ErrorClass::Unsupported => {
                for (_, waiting) in doubtful {
                    clear.extend(self.clear_of_doubt(waiting).await?);
                }
            }
            Err(error) => {
                self.note_failure(&error);
                for (_, waiting) in doubtful {
                    self.not_read_back(waiting, error.clone()).await?;
                }
            }
        }
        Ok(clear)
    }

    /// The silo's key of the record, if what was last written to it is in doubt, or if its version is not known but needed.
    fn doubtful_key(&self, context: &ConnectionContext, entity: &Entity, delivery: &Delivery) -> Result<Option<String>> {
        let DeliveryWork::Write { canonical_id, .. } = &delivery.work else { return Ok(None) };
        let rules = self.task.hub.inner.options.protections;
        // Only read: nothing is committed with it.
        let mut tx = Tx::new(&self.task.hub.inner.store);
        let mut people = People { tx: &mut tx, now: self.task.hub.now(), connection: None };
        let link = subject(&mut people, context, entity, canonical_id)?.and_then(|subject| subject.link);
        let needs_version = |version: &Option<String>| entity.writes.concurrency.is_some() && version.is_none();
        let doubtful =
            |version: &Option<String>| (delivery.in_doubt && rules.read_back_outcomes) || (rules.conditions && needs_version(version));
        Ok(link.filter(|link| doubtful(&link.version)).map(|link| link.key))
    }

    /// Whether it took effect is known: what is left to write is found by comparing. None if the delivery is not there any more.
    pub(super) async fn clear_of_doubt(&self, waiting: Waiting) -> Result<Option<Waiting>> {
        let known = Delivery { in_doubt: false, doubt_since: None, sent: Default::default(), ..waiting.delivery.clone() };
        let mut tx = Tx::new(&self.task.hub.inner.store);
        if tx.get::<Deliveries>(&waiting.key)?.is_none() {
            return Ok(None);
        }
        tx.put::<Deliveries>(&waiting.key, &known)?;
        let sequence = tx.commit().await?.sequence;
        // No row has version 0: what was asked for meanwhile is still to be done.
        let version = if waiting.version == 0 { 0 } else { sequence };
        Ok(Some(Waiting { delivery: known, version, ..waiting }))
    }

    /// It could not even be asked: later again, for as long as it is worth it.
    async fn not_read_back(&mut self, waiting: Waiting, error: ConnectorError) -> Result<()> {
        let policy = self.task.hub.inner.options.retry;
        let attempt = waiting.delivery.attempts + 1;
        let age = u64::try_from(self.task.hub.now().since(waiting.delivery.since)).unwrap_or(0);
        match verdict(&error, attempt, age, self.jitter(), &policy) {
            Verdict::PauseBudget { delay_ms } => {
                self.pause(delay_ms);
                self.retry(&waiting, waiting.delivery.attempts, delay_ms, true, Some(error)).await
            }
            Verdict::PauseConnection { reason } => {
                self.retry(&waiting, attempt, 0, true, Some(error)).await?;
                self.pause_connection(reason);
                Ok(())
            }
            Verdict::DeadLetter => self.give_up(&waiting, error).await,
            _ => {
                let delay = backoff_ms(attempt, self.jitter(), &policy);
                self.retry(&waiting, attempt, delay, true, Some(error)).await
            }
        }
    }

    /// Whether the silo's records were read since a create became doubtful, and late enough for it to have taken effect.
    pub(super) fn has_looked_since(&self, entity: &Entity, delivery: &Delivery) -> Looked {
        if !self.task.walks.reads(&entity.name) {
            return Looked::Never;
        }
        let since =
            delivery.doubt_since.unwrap_or(delivery.since).plus_millis(LATE_EFFECT_MS + i64::try_from(entity.read_lag_ms).unwrap_or(0));
        match self.task.walks.last_clean(&entity.name) {
            Some(began) if began >= since => Looked::Since,
            _ => Looked::Before,
        }
    }

    /// Has the silo's records read, and comes back to it.
    pub(super) async fn look_for(&self, entity: &str, waiting: &Waiting) -> Result<()> {
        let now = self.task.hub.now();
        let settled = waiting.delivery.doubt_since.unwrap_or(now).plus_millis(LATE_EFFECT_MS);
        let delay = match u64::try_from(settled.since(now)) {
            Ok(not_yet @ 1..) => not_yet,
            _ => {
                self.task.walks.wish(entity);
                LOOK_AGAIN_MS
            }
        };
        self.retry(waiting, waiting.delivery.attempts, delay, true, None).await
    }
}

/// When each entity was last read to its end, and who wishes it to be read now.
#[derive(Debug, Default)]
pub(crate) struct Walks {
    entities: std::collections::BTreeMap<String, (std::sync::Mutex<Option<Timestamp>>, tokio::sync::Notify)>,
}

impl Walks {
    /// Of the entities that are read.
    pub(crate) fn of(entities: impl Iterator<Item = String>) -> Self {
        Self { entities: entities.map(|entity| (entity, Default::default())).collect() }
    }

    fn reads(&self, entity: &str) -> bool {
        self.entities.contains_key(entity)
    }

    fn last_clean(&self, entity: &str) -> Option<Timestamp> {
        self.entities.get(entity).and_then(|(began, _)| *began.lock().unwrap_or_else(std::sync::PoisonError::into_inner))
    }

    fn wish(&self, entity: &str) {
        if let Some((_, wished)) = self.entities.get(entity) {
            wished.notify_one();
        }
    }

    /// A walk that began then came to its end.
    pub(crate) fn walked(&self, entity: &str, began: Timestamp) {
        if let Some((last, _)) = self.entities.get(entity) {
            *last.lock().unwrap_or_else(std::sync::PoisonError::into_inner) = Some(began);
        }
    }

    /// Resolves when somebody wishes the entity to be read.
    pub(crate) async fn wished(&self, entity: &str) {
        match self.entities.get(entity) {
            Some((_, wished)) => wished.notified().await,
            None => std::future::pending().await,
        }
    }
}
