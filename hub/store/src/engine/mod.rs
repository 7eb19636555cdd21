//! What the sequencer needs of a storage engine: ordered keys, atomic batches, and a call that returns when they are on the disk.
//!
//! Public for benchmarks that time the bare engine, and for tests; the hub never uses it. An engine knows keys and bytes only: no
//! versions, no log, no commits.

pub mod durability;
pub mod memory;
pub mod sled_engine;

use std::collections::HashMap;

use thiserror::Error;

use crate::port::{Key, KeyRange};

pub use durability::{Durability, FileDurability};
pub use memory::{Fault, MemoryDisk, MemoryEngine};
pub use sled_engine::{SledEngine, SledOptions};

/// Why an engine could not.
#[derive(Debug, Clone, PartialEq, Eq, Error)]
pub enum EngineError {
    /// What is on disk is not what was written.
    #[error("damaged: {0}")]
    Corrupt(String),
    /// The file system refused.
    #[error("{0}")]
    Io(String),
    /// Another process has it open.
    #[error("another process has {0} open")]
    Locked(String),
    /// It was closed.
    #[error("closed")]
    Closed,
}

/// Writes that become visible together and survive together.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct WriteBatch {
    writes: HashMap<Key, Option<Vec<u8>>>,
    bytes: usize,
}

impl WriteBatch {
    /// Writes a value. The last write to a key is the one that counts.
    pub fn put(&mut self, key: Key, value: Vec<u8>) {
        self.bytes += key.len() + value.len();
        self.writes.insert(key, Some(value));
    }

    /// Removes a key.
    pub fn delete(&mut self, key: Key) {
        self.bytes += key.len();
        self.writes.insert(key, None);
    }

    /// What the batch will make of a key: nothing known, removed, or a value.
    #[must_use]
    pub fn get(&self, key: &[u8]) -> Option<Option<&[u8]>> {
        self.writes.get(key).map(Option::as_deref)
    }

    /// Every key with its new value, or none if it is removed; in no order.
    pub fn iter(&self) -> impl Iterator<Item = (&Key, Option<&[u8]>)> {
        self.writes.iter().map(|(key, value)| (key, value.as_deref()))
    }

    /// Whether it does nothing.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty()
    }

    /// Bytes of keys and values handed to it.
    #[must_use]
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

impl IntoIterator for WriteBatch {
    type Item = (Key, Option<Vec<u8>>);
    type IntoIter = std::collections::hash_map::IntoIter<Key, Option<Vec<u8>>>;

    fn into_iter(self) -> Self::IntoIter {
        self.writes.into_iter()
    }
}

/// Keys and values in the order of the scan.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct EnginePage {
    /// What was found, at most the limit.
    pub entries: Vec<(Key, Vec<u8>)>,
    /// Whether there was more.
    pub more: bool,
}

/// An ordered key-value engine. Reads may run beside the one writer.
pub trait KvEngine: Send + Sync + 'static {
    /// The values of keys, in the order of the keys.
    ///
    /// # Errors
    /// If the engine cannot read.
    fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, EngineError>;

    /// At most `limit` entries of a range, from its start or, reversed, from its end. Not a snapshot.
    ///
    /// # Errors
    /// If the engine cannot read.
    fn scan(&self, range: &KeyRange, reverse: bool, limit: usize) -> Result<EnginePage, EngineError>;

    /// Makes a batch visible, all or nothing. It need not survive a crash before [`sync`](Self::sync) has returned.
    ///
    /// # Errors
    /// If it could not; then the batch may or may not be there.
    fn apply(&self, batch: WriteBatch) -> Result<(), EngineError>;

    /// Returns when everything applied so far is on stable storage: it survives a crash of the process, the system and the power.
    ///
    /// # Errors
    /// If it could not; then what was applied since the last success may or may not survive.
    fn sync(&self) -> Result<(), EngineError>;

    /// Bytes on disk; 0 for what has none.
    ///
    /// # Errors
    /// If it cannot be found out.
    fn size_on_disk(&self) -> Result<u64, EngineError>;

    /// How many times data were made durable since the engine was opened.
    fn syncs(&self) -> u64;

    /// Lets go of files and locks; every later call answers [`EngineError::Closed`].
    fn close(&self);
}

/// The value of one key.
pub(crate) fn get_one(engine: &dyn KvEngine, key: &[u8]) -> Result<Option<Vec<u8>>, EngineError> {
    Ok(engine.get(&[key])?.pop().flatten())
}
