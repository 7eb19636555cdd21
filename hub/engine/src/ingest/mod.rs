//! The way in: what a connector reports is deduplicated, decided and committed, and only then acknowledged.
//!
//! A batch becomes one atomic commit (or a few, when it is long): interactions, records, decisions, log entries, the plugin's state
//! and, in the last one, the cursor. So a cursor can never be ahead of what precedes it, and a crash between two commits only makes
//! the silo repeat what the inbox already knows.

mod context;
mod enquiry_record;
mod facts;
mod heard;
mod interaction;
mod late;
mod links;
mod merges;
mod parting;
mod people;
mod place;
mod projection;
mod record;
mod refuse;

use std::collections::VecDeque;
use std::sync::Arc;

use serde_json::Value;
use throughline_domain::connector::StateChanges;
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind};
use throughline_store::tables::{Cursors, PluginState, StoredCursor, TableError, Tx};

pub(crate) use context::ConnectionContext;
pub(crate) use enquiry_record::set_enquiry_field;
pub(crate) use links::{canonical_bytes, mark_dirty, mark_enquiries, write_link};
pub(crate) use parting::move_interaction;
pub(crate) use people::{People, links_of_leaf};
pub(crate) use projection::{Canon, left_to_write, projection, sync_targets};
pub(crate) use refuse::bounded;

use crate::error::Result;
use crate::hub::Hub;
use crate::metrics::Counter;
use crate::{HubError, lanes::LaneGuard};

/// Items decided in one commit: bounds how long lanes are held and how large a commit grows.
const CHUNK: usize = 64;
/// How often a commit is decided anew because somebody else changed what it rests on.
const RETRIES: usize = 64;
/// After so many, those who still collide go one after the other.
const PATIENCE: usize = 4;

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
                // One alone is too large to ever be taken in, which must not hold up what comes behind it.
                Err(HubError::TooLarge { detail }) if !chunk.is_empty() => {
                    self.refuse_alone(context.id, &chunk[0], detail).await?;
                    total.rejected += 1;
                    if chunks.is_empty() {
                        chunks.push_back(&[]);
                    }
                }
                done => done?,
            }
        }
        if total.accepted > 0 && batch.items.iter().any(|item| item.kind != ItemKind::Interaction) {
            self.wake_dispatcher(connection);
        }
        if total.accepted > 0 {
            self.inner.likeness.changed.notify_one();
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
        let mut _in_turn = None;
        while conflicts < RETRIES {
            if conflicts == PATIENCE {
                // Several identities of one person at once: whoever loses too often waits its turn, so that somebody always wins.
                _in_turn = Some(self.inner.contended.lock().await);
            }
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
        refuse::check_names(item)?;
        match item.kind {
            ItemKind::Interaction => self.decide_interaction(tx, context, item),
            ItemKind::Record => self.decide_record(tx, context, item),
            ItemKind::Deleted => self.decide_deleted(tx, context, item),
            ItemKind::Merged => self.decide_merged(tx, context, item),
        }
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
        write_state(tx, connection, state)
    }
}

/// Sets and removes keys of a plugin's own state.
pub(crate) fn write_state(tx: &mut Tx, connection: ConnectionId, state: &[(String, Option<Value>)]) -> Result<()> {
    for (key, value) in state {
        let row = (connection, key.clone());
        match value {
            Some(value) => tx.put::<PluginState>(&row, value)?,
            None => tx.delete::<PluginState>(&row),
        }
    }
    Ok(())
}

/// Names for a log entry, which has to be short: enough of them to see what changed.
pub(crate) fn some_names<'n>(names: impl Iterator<Item = &'n String>) -> Vec<String> {
    const MOST: usize = 30;
    const LONGEST: usize = 60;
    names.take(MOST).map(|name| name.chars().take(LONGEST).collect()).collect()
}

impl Accepted {
    fn add(&mut self, other: Self) {
        self.accepted += other.accepted;
        self.duplicates += other.duplicates;
        self.rejected += other.rejected;
    }
}
