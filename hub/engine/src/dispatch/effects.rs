//! What comes of a delivery, written down: tried again later, given up, dropped. What has happened at a silo is noted however busy
//! the store is, because a note that is lost is a message sent twice.

use std::time::Duration;

use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind};
use throughline_schemas::interaction::DeliveryState;
use throughline_schemas::{Change, ChangeKind, DeadLetterId, Timestamp};
use throughline_store::tables::{DeadLetter, DeadLetters, Deliveries, Delivery, DeliveryKey, DeliveryWork, Interactions, Links, Tx};

use super::write::Planned;
use super::{Dispatcher, Waiting};
use crate::HubError;
use crate::clock::fresh;
use crate::error::Result;
use crate::ingest::{IngestBatch, bounded};

/// The year 9000: what is not before this is a mark, not work.
pub(super) fn never() -> Timestamp {
    Timestamp::from_millis(221_845_392_000_000)
}

const FIRST_PAUSE: Duration = Duration::from_millis(10);
const LAST_PAUSE: Duration = Duration::from_secs(5);

impl Dispatcher {
    /// Does a unit of work, again for as long as the store only lacks room for it.
    pub(super) async fn insist<T>(&self, mut work: impl FnMut(&mut Tx) -> Result<T>) -> Result<T> {
        let mut pause = FIRST_PAUSE;
        loop {
            match self.task.hub.transact(&mut work).await {
                Err(HubError::Busy | HubError::Full { .. }) if pause < LAST_PAUSE || !self.task.is_stopped() => {
                    tokio::time::sleep(pause).await;
                    pause = (pause * 2).min(LAST_PAUSE);
                }
                done => return done,
            }
        }
    }

    /// Later again.
    pub(super) async fn retry(
        &self,
        waiting: &Waiting,
        attempts: u32,
        delay_ms: u64,
        in_doubt: bool,
        error: Option<ConnectorError>,
    ) -> Result<()> {
        let not_before = self.task.hub.now().plus_millis(i64::try_from(delay_ms).unwrap_or(i64::MAX));
        let mut delivery = Delivery { attempts, not_before, in_doubt, last_error: error.map(bounded), ..waiting.delivery.clone() };
        if !in_doubt {
            (delivery.doubt_since, delivery.sent) = (None, Default::default());
        }
        self.insist(|tx| match tx.get::<Deliveries>(&waiting.key)? {
            // Gone: the connection is being deleted.
            None => Ok(()),
            Some(_) => Ok(tx.put::<Deliveries>(&waiting.key, &delivery)?),
        })
        .await
    }

    /// Given up, for a person to see and replay.
    pub(super) async fn give_up(&self, waiting: &Waiting, error: ConnectorError) -> Result<()> {
        self.give_up_with(waiting, error, false).await
    }

    /// Given up because it may have been made already: no later change makes it, until a person replays it.
    pub(super) async fn give_up_in_doubt(&self, waiting: &Waiting, error: ConnectorError) -> Result<()> {
        self.give_up_with(waiting, error, true).await
    }

    async fn give_up_with(&self, waiting: &Waiting, error: ConnectorError, in_doubt: bool) -> Result<()> {
        let id = DeadLetterId::from_bytes(fresh());
        let error = bounded(error);
        let at = self.task.hub.now();
        self.insist(|tx| {
            tx.delete::<Deliveries>(&waiting.key);
            if let (true, DeliveryWork::Write { entity, canonical_id }) = (in_doubt, &waiting.delivery.work) {
                let marker = Delivery { not_before: never(), ..waiting.delivery.clone() };
                tx.put::<Deliveries>(&DeliveryKey::doubt(self.task.id, entity, canonical_id), &marker)?;
            }
            self.put_letter(tx, id, &waiting.delivery, &error, at)
        })
        .await
    }

    fn put_letter(&self, tx: &mut Tx, id: DeadLetterId, delivery: &Delivery, error: &ConnectorError, at: Timestamp) -> Result<()> {
        let connection_id = self.task.id;
        // What failed before is of no use to whoever reads the letter, and its room may be needed.
        let kept = Delivery { last_error: None, sent: Default::default(), ..delivery.clone() };
        let letter = DeadLetter { id, connection_id, delivery: Some(kept), item: None, error: error.clone(), at };
        tx.put::<DeadLetters>(&id, &letter)?;
        let data = serde_json::json!({ "dead_letter": id, "connection": connection_id });
        let mut change = Change { data, ..Change::new(ChangeKind::DeliveryFailed, at) };
        match &delivery.work {
            DeliveryWork::Send { interaction, .. } => {
                change.interaction_id = Some(*interaction);
                if let Some(mut row) = tx.get::<Interactions>(interaction)? {
                    row.value.delivery = Some(DeliveryState::Failed);
                    tx.put::<Interactions>(interaction, &row.value)?;
                    change.conversation_id = Some(row.value.conversation_id);
                    change.enquiry_id = row.value.enquiry_id;
                    change.profile_id = row.value.profile_id;
                }
            }
            DeliveryWork::Write { canonical_id, .. } => {
                change.profile_id = canonical_id.parse().ok();
                change.enquiry_id = canonical_id.parse().ok();
            }
            DeliveryWork::Act { handoff, .. } => change.enquiry_id = self.fail_handoff(tx, *handoff, error)?,
        }
        Ok(tx.log(&change)?)
    }

    /// The silo refuses one field: leave it out, send the rest, let a person see it.
    pub(super) async fn quarantine(&self, planned: Planned, field: &str, error: ConnectorError) -> Result<()> {
        let field = field.split('/').next_back().unwrap_or(field);
        let refused = planned.op.data.get(field).cloned();
        if refused.is_none() && !planned.op.clear.iter().any(|cleared| cleared == field) {
            return self.give_up(&planned.waiting, error).await;
        }
        let id = DeadLetterId::from_bytes(fresh());
        let error = bounded(error);
        let at = self.task.hub.now();
        let waiting = &planned.waiting;
        self.insist(|tx| {
            let mut delivery =
                Delivery { not_before: at, in_doubt: false, doubt_since: None, sent: Default::default(), ..waiting.delivery.clone() };
            match &planned.link {
                Some(link) => {
                    let key = (link.connection_id, link.entity.clone(), link.key.clone());
                    if let Some(mut row) = tx.get::<Links>(&key)? {
                        row.value.quarantined.insert(field.to_owned(), error.message.clone());
                        row.value.refused.insert(field.to_owned(), refused.clone().unwrap_or_default());
                        tx.put::<Links>(&key, &row.value)?;
                    }
                }
                // There is no link yet that could remember it.
                None => {
                    delivery.left_out.insert(field.to_owned(), error.message.clone());
                }
            }
            self.put_letter(tx, id, &delivery, &error, at)?;
            Ok(tx.put::<Deliveries>(&waiting.key, &delivery)?)
        })
        .await
    }

    /// The record is gone, or went elsewhere: the link follows it, or ends.
    pub(super) async fn follow(&self, planned: &Planned, moved_to: Option<String>) -> Result<()> {
        let Some(link) = &planned.link else { return self.forget(&planned.waiting).await };
        let (kind, data) = match &moved_to {
            Some(into) => (ItemKind::Merged, serde_json::json!({ "into": into })),
            None => (ItemKind::Deleted, serde_json::json!({})),
        };
        let item = Item { kind, entity: link.entity.clone(), key: link.key.clone(), version: None, at_ms: None, data };
        self.task.hub.ingest(self.task.id, IngestBatch { items: vec![item], ..IngestBatch::default() }).await?;
        match moved_to {
            Some(_) => self.retry(&planned.waiting, planned.waiting.delivery.attempts, 0, false, None).await,
            None => self.forget(&planned.waiting).await,
        }
    }

    /// There is nothing left to do, unless somebody left more to do meanwhile.
    pub(super) async fn forget(&self, waiting: &Waiting) -> Result<()> {
        self.insist(|tx| {
            settle_row(tx, waiting)?;
            Ok(())
        })
        .await
    }

    /// An error that stands for what was under way when the hub, or the plugin, broke off.
    pub(super) fn broken_off() -> ConnectorError {
        ConnectorError::new(ErrorClass::Ambiguous, "this was broken off while it was being sent: it may have taken effect")
    }
}

/// Removes a delivery that is done; one that was asked for again meanwhile stays, as if it were new.
pub(super) fn settle_row(tx: &mut Tx, waiting: &Waiting) -> Result<()> {
    let Some(row) = tx.get::<Deliveries>(&waiting.key)? else { return Ok(()) };
    if row.version == waiting.version {
        tx.delete::<Deliveries>(&waiting.key);
        return Ok(());
    }
    let again = Delivery { attempts: 0, in_doubt: false, doubt_since: None, sent: Default::default(), last_error: None, ..row.value };
    Ok(tx.put::<Deliveries>(&waiting.key, &again)?)
}
