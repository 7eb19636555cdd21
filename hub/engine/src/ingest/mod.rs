//! The way in: what a connector reports is deduplicated, decided and committed, and only then acknowledged.
//!
//! A batch becomes one atomic commit (or a few, when it is long): interactions, records, decisions, log entries, the plugin's state
//! and, in the last one, the cursor. So a cursor can never be ahead of what precedes it, and a crash between two commits only makes
//! the silo repeat what the inbox already knows.

mod context;
mod interaction;
mod people;
mod place;
mod record;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use throughline_domain::connector::StateChanges;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind};
use throughline_schemas::{ConnectionId, DeadLetterId};
use throughline_store::tables::{Cursors, DeadLetter, DeadLetters, PluginState, StoredCursor, TableError, Tx};

pub(crate) use context::ConnectionContext;
pub(crate) use people::{People, links_of_leaf};
pub(crate) use record::{Canon, canonical_bytes, left_to_write, mark_dirty, projection, set_enquiry_field, sync_targets, write_link};

use crate::clock::fresh;
use crate::error::Result;
use crate::hub::Hub;
use crate::metrics::Counter;
use crate::{HubError, lanes::LaneGuard};

/// Items decided in one commit: bounds how long lanes are held and how large a commit grows.
const CHUNK: usize = 64;
/// How often a commit is decided anew because somebody else changed what it rests on.
const RETRIES: usize = 16;

/// What a connector reports at once.
#[derive(Debug, Clone, Default)]
pub struct IngestBatch {
    /// The news, in the silo's order.
    pub items: Vec<Item>,
    /// The cursor's name and value, committed with the last item.
    pub cursor: Option<(String, Value)>,
    /// What the plugin set in its state, committed with the last item.
    pub state: StateChanges,
}

/// What became of a batch, once durable.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Accepted {
    /// Items that were news.
    pub accepted: u64,
    /// Items that had been accepted before.
    pub duplicates: u64,
    /// Items that went to the dead letters.
    pub rejected: u64,
}

/// What became of one item.
enum ItemOutcome {
    Accepted,
    Duplicate,
}

impl Hub {
    /// Takes a batch in. When this returns, everything in it is durable or is in the dead letters, with the cursor behind it.
    pub async fn ingest(&self, connection: ConnectionId, batch: IngestBatch) -> Result<Accepted> {
        let context = self.connection_context(connection)?;
        let mut total = Accepted::default();
        let mut chunks: VecDeque<&[Item]> = batch.items.chunks(CHUNK).collect();
        if chunks.is_empty() {
            chunks.push_back(&[]);
        }
        while let Some(chunk) = chunks.pop_front() {
            let (cursor, state) = if chunks.is_empty() { (batch.cursor.as_ref(), &batch.state[..]) } else { (None, &[][..]) };
            match self.commit_chunk(&context, chunk, cursor, state, &mut total).await {
                // Together they are more than one commit takes; nothing of them was applied.
                Err(HubError::TooLarge { .. }) if chunk.len() > 1 => {
                    let (first, second) = chunk.split_at(chunk.len() / 2);
                    chunks.push_front(second);
                    chunks.push_front(first);
                }
                done => done?,
            }
        }
        let counters = &self.inner.counters;
        counters.add(Counter::Accepted, connection, total.accepted);
        counters.add(Counter::Duplicates, connection, total.duplicates);
        counters.add(Counter::Rejected, connection, total.rejected);
        Ok(total)
    }

    async fn commit_chunk(
        &self,
        context: &Arc<ConnectionContext>,
        items: &[Item],
        cursor: Option<&(String, Value)>,
        state: &[(String, Option<Value>)],
        total: &mut Accepted,
    ) -> Result<()> {
        let _lanes: LaneGuard = self.inner.lanes.enter(items.iter().flat_map(|item| context.lanes_of(item))).await;
        // Items found undecidable are set aside one by one; the rest of the chunk is decided as if they were not there.
        let mut refused: Vec<Option<ConnectorError>> = vec![None; items.len()];
        let mut conflicts = 0;
        while conflicts < RETRIES {
            let mut tx = Tx::new(&self.inner.store);
            // None: one more item was refused, and the chunk is decided again without it.
            let Some(accepted) = self.decide_chunk(&mut tx, context, items, &mut refused)? else { continue };
            self.write_progress(&mut tx, context.id, cursor, state)?;
            let committed = if tx.is_empty() { Ok(()) } else { tx.commit().await.map(|_| ()) };
            match committed {
                Ok(()) => {
                    total.add(accepted);
                    return Ok(());
                }
                Err(TableError::Conflict) => conflicts += 1,
                Err(error) => return Err(error.into()),
            }
        }
        Err(HubError::Busy)
    }

    /// Decides a chunk; none if an item had to be refused, which is then noted in `refused`.
    fn decide_chunk(
        &self,
        tx: &mut Tx,
        context: &ConnectionContext,
        items: &[Item],
        refused: &mut [Option<ConnectorError>],
    ) -> Result<Option<Accepted>> {
        let mut accepted = Accepted::default();
        for (item, refusal) in items.iter().zip(refused) {
            if let Some(error) = refusal {
                self.refuse(tx, context.id, item, error.clone())?;
                accepted.rejected += 1;
                continue;
            }
            match self.decide_item(tx, context, item) {
                Ok(ItemOutcome::Accepted) => accepted.accepted += 1,
                Ok(ItemOutcome::Duplicate) => accepted.duplicates += 1,
                Err(HubError::Connector(error)) => {
                    *refusal = Some(error);
                    return Ok(None);
                }
                Err(HubError::TooLarge { detail }) => {
                    *refusal = Some(ConnectorError::new(ErrorClass::InvalidRecord, detail));
                    return Ok(None);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(Some(accepted))
    }

    fn decide_item(&self, tx: &mut Tx, context: &ConnectionContext, item: &Item) -> Result<ItemOutcome> {
        if item.key.is_empty() || item.key.len() > context::MAX_KEY {
            let detail = format!("an item's key must have 1 to {} bytes, this one has {}", context::MAX_KEY, item.key.len());
            return Err(ConnectorError::new(ErrorClass::InvalidRecord, detail).with_field("/key").into());
        }
        match item.kind {
            ItemKind::Interaction => self.decide_interaction(tx, context, item),
            ItemKind::Record => self.decide_record(tx, context, item),
            ItemKind::Deleted => self.decide_deleted(tx, context, item),
            ItemKind::Merged => self.decide_merged(tx, context, item),
        }
    }

    /// Keeps what cannot be taken in, so that it is not lost and can be tried again.
    fn refuse(&self, tx: &mut Tx, connection: ConnectionId, item: &Item, error: ConnectorError) -> Result<()> {
        tracing::warn!(%connection, entity = %item.entity, key = %item.key, %error, "item refused");
        let id = DeadLetterId::from_bytes(fresh());
        let mut kept = item.clone();
        let data = serde_json::to_vec(&item.data).unwrap_or_default();
        if data.len() > context::MAX_DEAD_LETTER_DATA {
            let mut writer = self.inner.blobs.writer(data.len() as u64).map_err(|error| HubError::Internal(error.to_string()))?;
            writer.write(&data).map_err(|error| HubError::Internal(error.to_string()))?;
            let reference = writer.finish().map_err(|error| HubError::Internal(error.to_string()))?;
            kept.data = serde_json::json!({ "blob": reference });
        }
        kept.key.truncate(floor_boundary(&kept.key, context::MAX_KEY));
        let letter = DeadLetter { id, connection_id: connection, delivery: None, item: Some(kept), error, at: self.now() };
        Ok(tx.put::<DeadLetters>(&id, &letter)?)
    }

    fn write_progress(
        &self,
        tx: &mut Tx,
        connection: ConnectionId,
        cursor: Option<&(String, Value)>,
        state: &[(String, Option<Value>)],
    ) -> Result<()> {
        if let Some((name, cursor)) = cursor {
            tx.put::<Cursors>(&(connection, name.clone()), &StoredCursor { cursor: cursor.clone(), at: self.now() })?;
        }
        for (key, value) in state {
            let row = (connection, key.clone());
            match value {
                Some(value) => tx.put::<PluginState>(&row, value)?,
                None => tx.delete::<PluginState>(&row),
            }
        }
        Ok(())
    }
}

impl Accepted {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
    }
}

fn floor_boundary(text: &str, limit: usize) -> usize {
    let mut end = text.len().min(limit);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    end
}
