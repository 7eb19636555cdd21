//! The state of the whole store at one durable head, read while commits go on.
//!
//! The sequencer saves what a key held before it changes it, for keys that the reader has not passed yet. The reader takes pages of the
//! living store in key order and puts what was saved back in. Because saving happens before the change becomes visible, a page that
//! shows a change always finds what was there before. Memory grows only with what is changed ahead of the reader.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use crate::engine::{KvEngine, WriteBatch, get_one};
use crate::layout;
use crate::port::{Key, Sequence, StoreError};

/// How much may be changed ahead of a reader, in bytes, before it is too slow to go on.
const SAVED_LIMIT: usize = 256 * 1024 * 1024;

/// What the sequencer and one reader share.
pub(crate) struct Tap {
    state: Mutex<State>,
}

#[derive(Default)]
struct State {
    /// The last key the reader has dealt with.
    passed: Key,
    saved: BTreeMap<Key, Option<Vec<u8>>>,
    bytes: usize,
    failure: Option<StoreError>,
}

impl Tap {
    pub(crate) fn new() -> Self {
        Self { state: Mutex::default() }
    }

    /// Called by the sequencer before it applies a batch.
    pub(crate) fn save(&self, engine: &dyn KvEngine, batch: &WriteBatch) {
        let mut state = self.lock();
        if state.failure.is_some() {
            return;
        }
        if let Err(error) = state.save(engine, batch) {
            state.saved.clear();
            state.failure = Some(error);
        }
    }

    fn lock(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl State {
    fn save(&mut self, engine: &dyn KvEngine, batch: &WriteBatch) -> Result<(), StoreError> {
        for (key, _) in batch.iter().filter(|(key, _)| **key > self.passed) {
            let Entry::Vacant(entry) = self.saved.entry(key.clone()) else { continue };
            let before = get_one(engine, key)?;
            self.bytes += key.len() + before.as_ref().map_or(0, Vec::len);
            entry.insert(before);
        }
        if self.bytes > SAVED_LIMIT {
            return Err(StoreError::Busy);
        }
        Ok(())
    }

    /// The saved keys up to `last` (all, if none is given); they are dealt with now.
    fn pass(&mut self, last: Option<&Key>) -> BTreeMap<Key, Option<Vec<u8>>> {
        let Some(last) = last else { return std::mem::take(&mut self.saved) };
        self.passed.clone_from(last);
        let mut after = last.clone();
        after.push(0);
        let later = self.saved.split_off(&after);
        let passed = std::mem::replace(&mut self.saved, later);
        self.bytes = self.bytes.saturating_sub(passed.iter().map(|(key, value)| key.len() + value.as_ref().map_or(0, Vec::len)).sum());
        passed
    }
}

/// Reads the whole store, as it was at one durable head, in key order.
pub(crate) struct Snapshot {
    engine: Arc<dyn KvEngine>,
    tap: Arc<Tap>,
    head: Sequence,
    done: bool,
}

impl Snapshot {
    pub(crate) fn new(engine: Arc<dyn KvEngine>, tap: Arc<Tap>, head: Sequence) -> Self {
        Self { engine, tap, head, done: false }
    }

    /// Whose state this is.
    pub(crate) fn head(&self) -> Sequence {
        self.head
    }

    /// The next keys with their stored values; empty pages may come in between. None at the end.
    ///
    /// # Errors
    /// `Busy` if commits outran the reader by too much.
    pub(crate) fn next_page(&mut self, limit: usize) -> Result<Option<BTreeMap<Key, Vec<u8>>>, StoreError> {
        if self.done {
            return Ok(None);
        }
        let passed = self.tap.lock().passed.clone();
        let page = self.engine.scan(&layout::everything_after(&passed), false, limit.max(1))?;
        self.done = !page.more;
        let mut entries: BTreeMap<Key, Vec<u8>> = page.entries.into_iter().collect();
        let last = if self.done { None } else { entries.last_key_value().map(|(key, _)| key.clone()) };
        let mut state = self.tap.lock();
        if let Some(failure) = &state.failure {
            return Err(failure.clone());
        }
        for (key, before) in state.pass(last.as_ref()) {
            match before {
                Some(value) => entries.insert(key, value),
                None => entries.remove(&key),
            };
        }
        Ok(Some(entries))
    }
}
