//! Decides what a group of commits makes of the store, before anything is written: preconditions, names, sequences, log.
//!
//! Reads the engine, writes only the batch it builds. Every commit sees those before it in the group through that batch.

use crate::engine::{KvEngine, WriteBatch, get_one};
use crate::layout::{self, Remembered};
use crate::port::{Commit, Committed, Expected, Idempotency, Key, Receipt, Sequence, StoreError};

/// Named commits forgotten in one batch at most, so that a pile of them delays nobody.
const FORGET_AT_ONCE: usize = 256;
/// Log entries trimmed in one batch at most.
const TRIM_AT_ONCE: usize = 1024;

/// How far a request to trim the log came.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Trimmed {
    /// Entries removed.
    pub(crate) removed: u64,
    /// Whether nothing is left to remove.
    pub(crate) done: bool,
}

/// A batch in the making.
pub(crate) struct Plan<'a> {
    engine: &'a dyn KvEngine,
    now_ms: u64,
    durable: Sequence,
    head: Sequence,
    batch: WriteBatch,
}

impl<'a> Plan<'a> {
    /// Begins after `head`, which is durable.
    pub(crate) fn new(engine: &'a dyn KvEngine, head: Sequence, now_ms: u64) -> Self {
        Self { engine, now_ms, durable: head, head, batch: WriteBatch::default() }
    }

    /// The batch and the sequence it ends with.
    pub(crate) fn finish(mut self) -> (WriteBatch, Sequence) {
        if self.head > self.durable {
            self.batch.put(layout::HEAD.to_vec(), self.head.to_be_bytes().to_vec());
        }
        (self.batch, self.head)
    }

    /// Adds a commit. An error or a conflict adds nothing.
    pub(crate) fn commit(&mut self, commit: Commit) -> Result<Committed, StoreError> {
        let remembered = match &commit.idempotency {
            Some(named) => self.remembered(&named.id)?,
            None => None,
        };
        if let Some(found) = remembered.filter(|found| found.expires_at_ms > self.now_ms) {
            return Ok(Committed::Duplicate(found.receipt));
        }
        for (key, expected) in &commit.expect {
            let actual = self.version(key)?;
            if !holds(*expected, actual) {
                return Ok(Committed::Conflict { key: key.clone(), actual });
            }
        }
        let receipt = self.allot(commit.log.len());
        if let Some(named) = &commit.idempotency {
            self.remember(named, remembered, receipt);
        }
        self.write(commit, receipt);
        Ok(Committed::Applied(receipt))
    }

    /// Forgets named commits whose time is over. True if there may be more.
    pub(crate) fn forget_expired(&mut self) -> Result<bool, StoreError> {
        let page = self.engine.scan(&layout::expired_range(self.now_ms), false, FORGET_AT_ONCE)?;
        for (key, _) in page.entries {
            let named = layout::expiry_of(&key)?;
            // A name used again after its time has a later expiry of its own.
            let ours = self.remembered(&named.id)?.is_some_and(|found| found.expires_at_ms == named.expires_at_ms);
            if ours {
                self.batch.delete(layout::idempotency_key(&named.id));
            }
            self.batch.delete(key);
        }
        Ok(page.more)
    }

    /// Removes log entries before `before`, never one that is not durable yet.
    pub(crate) fn trim(&mut self, before: Sequence) -> Result<Trimmed, StoreError> {
        let end = before.min(self.durable.saturating_add(1));
        let start = self.log_start()?;
        if end <= start {
            return Ok(Trimmed { removed: 0, done: true });
        }
        let page = self.engine.scan(&layout::log_range(start, end), false, TRIM_AT_ONCE)?;
        let mut next = end;
        if page.more {
            let last = page.entries.last().map_or(start, |(key, _)| layout::log_sequence(key).unwrap_or(start));
            next = last.saturating_add(1);
        }
        let removed = page.entries.len() as u64;
        page.entries.into_iter().for_each(|(key, _)| self.batch.delete(key));
        self.batch.put(layout::LOG_START.to_vec(), next.to_be_bytes().to_vec());
        Ok(Trimmed { removed, done: !page.more })
    }

    fn log_start(&self) -> Result<Sequence, StoreError> {
        self.value(layout::LOG_START)?.map_or(Ok(0), |bytes| layout::number_in(&bytes, "the start of the log"))
    }

    fn allot(&mut self, entries: usize) -> Receipt {
        let before = self.head;
        let sequence = before + 1;
        // A commit without log entries takes a number too: it is the version of what it wrote.
        self.head += (entries as u64).max(1);
        Receipt { sequence, first_log: if entries == 0 { before } else { sequence } }
    }

    fn remember(&mut self, named: &Idempotency, before: Option<Remembered>, receipt: Receipt) {
        if let Some(expired) = before {
            self.batch.delete(layout::expiry_key(&Idempotency { id: named.id.clone(), expires_at_ms: expired.expires_at_ms }));
        }
        let remembered = Remembered { receipt, expires_at_ms: named.expires_at_ms };
        self.batch.put(layout::idempotency_key(&named.id), remembered.to_bytes());
        self.batch.put(layout::expiry_key(named), Vec::new());
    }

    fn write(&mut self, commit: Commit, receipt: Receipt) {
        for key in commit.delete {
            self.batch.delete(key);
        }
        for (key, value) in commit.put {
            self.batch.put(key, layout::stored(receipt.sequence, &value));
        }
        for (sequence, value) in (receipt.first_log..).zip(commit.log) {
            self.batch.put(layout::log_key(sequence), value);
        }
    }

    fn remembered(&self, id: &[u8]) -> Result<Option<Remembered>, StoreError> {
        self.value(&layout::idempotency_key(id))?.map(|bytes| Remembered::from_bytes(&bytes)).transpose()
    }

    fn version(&self, key: &Key) -> Result<Option<Sequence>, StoreError> {
        self.value(key)?.map(|bytes| layout::version_of(&bytes)).transpose()
    }

    fn value(&self, key: &[u8]) -> Result<Option<Vec<u8>>, StoreError> {
        match self.batch.get(key) {
            Some(planned) => Ok(planned.map(<[u8]>::to_vec)),
            None => Ok(get_one(self.engine, key)?),
        }
    }
}

fn holds(expected: Expected, actual: Option<Sequence>) -> bool {
    match expected {
        Expected::Absent => actual.is_none(),
        Expected::At(version) => actual == Some(version),
    }
}
