//! The way in: what a connector reports is deduplicated, decided and committed, and only then acknowledged.
//!
//! A batch becomes one atomic commit (or a few, when it is long): interactions, records, decisions, log entries, the plugin's state
//! and, in the last one, the cursor. So a cursor can never be ahead of what precedes it, and a crash between two commits only makes
//! the silo repeat what the inbox already knows.

mod context;
mod deletion;
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
mod read_back;
mod record;
mod refuse;

use std::collections::VecDeque;

use serde_json::Value;
use throughline_domain::connector::StateChanges;
use throughline_schemas::ConnectionId;
use throughline_schemas::connector::{ConnectorError, ErrorClass, Item, ItemKind};
use throughline_store::tables::{Cursors, PluginState, StoredCursor, TableError, Tx};

pub(crate) use context::ConnectionContext;
pub(crate) use enquiry_record::set_enquiry_field;
pub(crate) use links::{canonical_bytes, mark_dirty, mark_enquiries, normalisers_of, withdraw, write_link};
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
pub(crate) enum ItemOutcome {
    Accepted,
    Duplicate,
    /// It may have been overtaken: the record is to be read back. The link was at this version; none if there was no link.
    Hint(Option<u64>),
}

/// How far an item can be believed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Trust {
    /// It was on its way while the record may have changed.
    Hint,
    /// It was read after the link had this version: it is a fact for as long as the link has it still.
    ReadAt(Option<u64>),
    /// It is how the record is now.
    Fact,
}

/// What became of a chunk.
enum Decided {
    Accepted(Accepted),
    /// An item was refused: decide the others again without it.
    Again,
    /// These items are to be read back first, with the versions their links have now.
    Hints(Vec<(usize, Option<u64>)>),
}

/// An item on its way in.
struct Report {
    item: Item,
    trust: Trust,
    /// Why it cannot be taken in.
    refused: Option<ConnectorError>,
}

impl Report {
    fn hint(item: &Item) -> Self {
        Self { item: item.clone(), trust: Trust::Hint, refused: None }
    }
}

impl Hub {
    /// Takes a batch in. When this returns, everything in it is durable or is in the dead letters, with the cursor behind it.
    pub async fn ingest(&self, connection: ConnectionId, batch: IngestBatch) -> Result<Accepted> {
        let context = self.connection_context(connection)?;
        self.learn_skew(connection, &batch.items);
        let mut total = Accepted::default();
        let mut chunks: VecDeque<&[Item]> = batch.items.chunks(CHUNK).collect();
        if chunks.is_empty() {
            chunks.push_back(&[]);
        }
        while let Some(chunk) = chunks.pop_front() {
            let (cursor, state) = if chunks.is_empty() { (batch.cursor.as_ref(), &batch.state[..]) } else { (None, &[][..]) };
            let reports = chunk.iter().map(Report::hint).collect();
            match self.commit_chunk(&context, reports, cursor, state, &mut total).await {
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

    /// Takes in what a connector was asked for.
    async fn take_in(&self, context: &ConnectionContext, reports: Vec<Report>) -> Result<()> {
        let mut total = Accepted::default();
        self.commit_chunk(context, reports, None, &[], &mut total).await?;
        self.inner.counters.add(Counter::Accepted, context.id, total.accepted);
        self.inner.counters.add(Counter::Rejected, context.id, total.rejected);
        Ok(())
    }

    async fn commit_chunk(
        &self,
        context: &ConnectionContext,
        mut reports: Vec<Report>,
        cursor: Option<&(String, Value)>,
        state: &[(String, Option<Value>)],
        total: &mut Accepted,
    ) -> Result<()> {
        let mut conflicts = 0;
        let mut _in_turn = None;
        while conflicts < RETRIES {
            if conflicts == PATIENCE {
                // Several identities of one person at once: whoever loses too often waits its turn, so that somebody always wins.
                _in_turn = Some(self.inner.contended.lock().await);
            }
            let lanes: LaneGuard = self.inner.lanes.enter(reports.iter().flat_map(|report| context.lanes_of(&report.item))).await;
            let mut tx = Tx::new(&self.inner.store);
            let accepted = match self.decide_chunk(&mut tx, context, &mut reports)? {
                Decided::Accepted(accepted) => accepted,
                Decided::Again => continue,
                Decided::Hints(hints) => {
                    // No lane is held while a connector is called: a silo may call us back while it answers.
                    drop(lanes);
                    self.read_back(context, &mut reports, &hints).await?;
                    conflicts += 1;
                    continue;
                }
            };
            self.write_progress(&mut tx, context.id, cursor, state)?;
            let committed = if tx.is_empty() { Ok(()) } else { tx.commit().await.map(|_| ()) };
            drop(lanes);
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

    /// Decides a chunk. Items found undecidable are set aside one by one; the rest is decided as if they were not there.
    fn decide_chunk(&self, tx: &mut Tx, context: &ConnectionContext, reports: &mut [Report]) -> Result<Decided> {
        let mut accepted = Accepted::default();
        let mut hints = Vec::new();
        for (place, report) in reports.iter_mut().enumerate() {
            if let Some(error) = &report.refused {
                self.refuse(tx, context.id, &report.item, error.clone())?;
                accepted.rejected += 1;
                continue;
            }
            match self.decide_item(tx, context, &report.item, report.trust) {
                Ok(ItemOutcome::Accepted) => accepted.accepted += 1,
                Ok(ItemOutcome::Duplicate) => accepted.duplicates += 1,
                Ok(ItemOutcome::Hint(link)) => hints.push((place, link)),
                Err(HubError::Connector(error)) => {
                    report.refused = Some(error);
                    return Ok(Decided::Again);
                }
                Err(HubError::TooLarge { detail }) => {
                    report.refused = Some(ConnectorError::new(ErrorClass::InvalidRecord, detail));
                    return Ok(Decided::Again);
                }
                Err(error) => return Err(error),
            }
        }
        Ok(if hints.is_empty() { Decided::Accepted(accepted) } else { Decided::Hints(hints) })
    }

    pub(crate) fn decide_item(&self, tx: &mut Tx, context: &ConnectionContext, item: &Item, trust: Trust) -> Result<ItemOutcome> {
        refuse::check_names(item)?;
        match item.kind {
            ItemKind::Interaction => self.decide_interaction(tx, context, item),
            ItemKind::Record => self.decide_record(tx, context, item, trust),
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

impl Hub {
    /// What news just arrived, and when it is dated, says how far the silo's clock is off.
    fn learn_skew(&self, connection: ConnectionId, items: &[Item]) {
        let now = self.now();
        let dated: Vec<_> = items.iter().filter_map(record::dated).collect();
        if dated.is_empty() {
            return;
        }
        let mut skews = self.inner.skews.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        let skew = skews.entry(connection).or_default();
        dated.into_iter().for_each(|at| skew.learn(at, now));
    }

    /// A time by a silo's clock, by ours, as far as is known how far that is off.
    pub(crate) fn by_our_clock(&self, connection: ConnectionId, at: throughline_schemas::Timestamp) -> throughline_schemas::Timestamp {
        let skews = self.inner.skews.lock().unwrap_or_else(std::sync::PoisonError::into_inner);
        skews.get(&connection).map_or(at, |skew| skew.corrected(at))
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
