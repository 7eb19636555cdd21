//! A unit of work over tables: reads are remembered as preconditions, writes and log entries go out as one commit.

use std::collections::BTreeMap;
use std::fmt;

use throughline_schemas::{Cause, Change, ChangeOrigin};

use super::cell::{self, Cells};
use super::{Table, key_range};
use crate::envelope::{self, EnvelopeError};
use crate::port::{Commit, Committed, Expected, Idempotency, Key, KeyRange, Receipt, Sequence, StoreError, Versioned};
use crate::store::Store;

/// A row with the commit that wrote it.
#[derive(Debug, Clone, PartialEq)]
pub struct Row<V> {
    /// The commit that wrote it: an ETag, a precondition.
    pub version: Sequence,
    /// What it holds.
    pub value: V,
}

/// Why a row could not be read or written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum TableError {
    /// The store could not.
    Store(StoreError),
    /// The row is not what this program writes.
    Row {
        /// The table.
        table: &'static str,
        /// What is wrong.
        detail: String,
    },
    /// The row is too long to keep.
    TooLarge {
        /// The table.
        table: &'static str,
        /// Its length in bytes.
        size: usize,
    },
    /// Somebody else changed what was read. Nothing was applied: read again, decide again.
    Conflict,
}

impl fmt::Display for TableError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Store(error) => error.fmt(f),
            Self::Row { table, detail } => write!(f, "a row of table {table} cannot be read: {detail}"),
            Self::TooLarge { table, size } => write!(f, "a row of table {table} would be {size} bytes long; {} are allowed", cell::MAX_ROW),
            Self::Conflict => f.write_str("what was read has changed meanwhile"),
        }
    }
}

impl std::error::Error for TableError {}

impl From<StoreError> for TableError {
    fn from(error: StoreError) -> Self {
        Self::Store(error)
    }
}

/// Reads one row outside any transaction.
pub fn read<T: Table>(store: &Store, key: &T::Key) -> Result<Option<Row<T::Value>>, TableError> {
    let bytes = T::key(key);
    let found = store.get(std::slice::from_ref(&bytes))?.into_iter().next().flatten();
    found.map(|found| decode::<T>(store, &bytes, found)).transpose()
}

/// Some rows of a range, with their keys' bytes.
#[derive(Debug, Clone)]
pub struct RowPage<V> {
    /// Key bytes and rows in order.
    pub rows: Vec<(Key, Row<V>)>,
    /// The key of the last row, to go on after, if there are more.
    pub next: Option<Key>,
}

/// Scans rows whose key begins with `prefix` (given without the table's byte), after the key `after` of an earlier page.
pub fn scan_rows<T: Table>(store: &Store, prefix: &[u8], after: Option<&[u8]>, limit: usize) -> Result<RowPage<T::Value>, TableError> {
    let mut range: KeyRange = key_range::<T>(prefix);
    if let Some(after) = after {
        // The smallest key behind `after`; a foreign cursor cannot leave the range.
        let mut start = after.to_vec();
        start.push(0);
        range.start = start.clamp(range.start.clone(), range.end.clone());
    }
    let page = store.scan(&range, false, limit)?;
    let next = page.more.then(|| page.entries.last().map(|(key, _)| key.clone())).flatten();
    let mut rows = Vec::with_capacity(page.entries.len());
    for (key, found) in page.entries {
        let row = decode::<T>(store, &key, found)?;
        rows.push((key, row));
    }
    Ok(RowPage { rows, next })
}

/// Whether a key, as an earlier page gave it, is one of this table under this prefix.
#[must_use]
pub fn is_of_range<T: Table>(prefix: &[u8], key: &[u8]) -> bool {
    key.first() == Some(&T::PREFIX) && key[1..].starts_with(prefix)
}

/// How many rows there are under a prefix, counted up to a limit; nothing is decoded.
pub fn count_rows<T: Table>(store: &Store, prefix: &[u8], limit: usize) -> Result<usize, TableError> {
    Ok(store.scan(&key_range::<T>(prefix), false, limit)?.entries.len())
}

/// Removes all rows under a prefix, so many a commit; answers how many there were. What is written meanwhile may stay.
pub async fn forget_rows<T: Table>(store: &Store, prefix: &[u8], at_once: usize) -> Result<u64, TableError> {
    let mut removed = 0;
    loop {
        let page = store.scan(&key_range::<T>(prefix), false, at_once)?;
        if page.entries.is_empty() {
            return Ok(removed);
        }
        let mut commit = Commit::default();
        removed += page.entries.len() as u64;
        for (key, found) in page.entries {
            commit.delete.extend((0..cell::pieces_of(&found.value)).map(|index| cell::continuation_key(&key, index)));
            commit.delete.push(key);
        }
        store.commit(commit).await?;
    }
}

/// Removes rows by the keys that a scan gave, with all their pieces, in one commit.
pub async fn forget_keys(store: &Store, keys: Vec<Key>) -> Result<(), TableError> {
    let mut commit = Commit::default();
    for (key, found) in keys.iter().zip(store.get(&keys)?) {
        let Some(found) = found else { continue };
        commit.delete.extend((0..cell::pieces_of(&found.value)).map(|index| cell::continuation_key(key, index)));
        commit.delete.push(key.clone());
    }
    store.commit(commit).await?;
    Ok(())
}

fn decode<T: Table>(store: &Store, key: &[u8], mut found: Versioned) -> Result<Row<T::Value>, TableError> {
    // Pieces of a long row are written with its head; a reader between two commits may meet both, so it reads again.
    for _ in 0..8 {
        let count = cell::pieces_of(&found.value);
        let keys: Vec<Key> = (0..count).map(|index| cell::continuation_key(key, index)).collect();
        let pieces: Vec<Option<Vec<u8>>> =
            if keys.is_empty() { Vec::new() } else { store.get(&keys)?.into_iter().map(|piece| piece.map(|piece| piece.value)).collect() };
        if let Some(bytes) = cell::join(&found.value, &pieces) {
            let value = envelope::decode::<T::Value>(T::VERSION, &bytes).map_err(|error| row_error::<T>(&error))?;
            return Ok(Row { version: found.version, value });
        }
        match store.get(&[key.to_vec()])?.into_iter().next().flatten() {
            Some(again) => found = again,
            None => break,
        }
    }
    Err(TableError::Row { table: T::NAME, detail: "its pieces do not belong together".to_owned() })
}

fn row_error<T: Table>(error: &EnvelopeError) -> TableError {
    TableError::Row { table: T::NAME, detail: error.to_string() }
}

enum Write {
    Put(Cells),
    Delete,
}

/// A unit of work. What it read must still hold when it commits; nothing is visible to others before.
pub struct Tx {
    store: Store,
    reads: BTreeMap<Key, Option<Versioned>>,
    writes: BTreeMap<Key, Write>,
    encoded: BTreeMap<Key, Vec<u8>>,
    log: Vec<Vec<u8>>,
    cause: Option<Cause>,
    origin: Option<ChangeOrigin>,
}

impl Tx {
    /// Begins.
    #[must_use]
    pub fn new(store: &Store) -> Self {
        Self {
            store: store.clone(),
            reads: BTreeMap::new(),
            writes: BTreeMap::new(),
            encoded: BTreeMap::new(),
            log: Vec::new(),
            cause: None,
            origin: None,
        }
    }

    /// Reads a row, its own writes included. The row (or its absence) becomes a precondition of the commit.
    pub fn get<T: Table>(&mut self, key: &T::Key) -> Result<Option<Row<T::Value>>, TableError> {
        let bytes = T::key(key);
        match self.writes.get(&bytes) {
            Some(Write::Delete) => return Ok(None),
            Some(Write::Put(_)) => {
                let row = self.encoded.get(&bytes).expect("every put keeps its encoded row");
                let value = envelope::decode::<T::Value>(T::VERSION, row).map_err(|error| row_error::<T>(&error))?;
                return Ok(Some(Row { version: self.reads.get(&bytes).and_then(Option::as_ref).map_or(0, |read| read.version), value }));
            }
            None => {}
        }
        if !self.reads.contains_key(&bytes) {
            let found = self.store.get(std::slice::from_ref(&bytes))?.into_iter().next().flatten();
            self.reads.insert(bytes.clone(), found);
        }
        let found = self.reads.get(&bytes).expect("just read").clone();
        found.map(|found| decode::<T>(&self.store, &bytes, found)).transpose()
    }

    /// The store this unit of work is on, for scans and reads that are to be no precondition.
    #[must_use]
    pub fn store(&self) -> &Store {
        &self.store
    }

    /// Writes a row.
    pub fn put<T: Table>(&mut self, key: &T::Key, value: &T::Value) -> Result<(), TableError> {
        let row = envelope::encode(T::VERSION, value).map_err(|error| row_error::<T>(&error))?;
        if row.len() > cell::MAX_ROW {
            return Err(TableError::TooLarge { table: T::NAME, size: row.len() });
        }
        let bytes = T::key(key);
        self.writes.insert(bytes.clone(), Write::Put(cell::split(&row)));
        self.encoded.insert(bytes, row);
        Ok(())
    }

    /// Removes a row.
    pub fn delete<T: Table>(&mut self, key: &T::Key) {
        let bytes = T::key(key);
        self.encoded.remove(&bytes);
        self.writes.insert(bytes, Write::Delete);
    }

    /// Every change that is logged from here on was made by this run of a flow.
    pub fn caused_by(&mut self, cause: Cause) {
        self.cause = Some(cause);
    }

    /// Every change that is logged from here on is no news of today.
    pub fn of_origin(&mut self, origin: ChangeOrigin) {
        self.origin = Some(origin);
    }

    /// Adds an entry to the change log.
    pub fn log(&mut self, change: &Change) -> Result<(), TableError> {
        let marked = (self.cause.is_some() || self.origin.is_some()).then(|| Change {
            cause: self.cause.or(change.cause),
            origin: self.origin.or(change.origin),
            ..change.clone()
        });
        let bytes = envelope::encode(1, marked.as_ref().unwrap_or(change))
            .map_err(|error| TableError::Row { table: "log", detail: error.to_string() })?;
        self.log.push(bytes);
        Ok(())
    }

    /// Whether there is anything to commit.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.writes.is_empty() && self.log.is_empty()
    }

    /// Commits; resolves when durable.
    pub async fn commit(self) -> Result<Receipt, TableError> {
        self.commit_named(None).await
    }

    /// Commits under a name: doing it again does nothing and gives the first receipt.
    pub async fn commit_named(self, idempotency: Option<Idempotency>) -> Result<Receipt, TableError> {
        let store = self.store.clone();
        let commit = self.into_commit(idempotency)?;
        match store.commit(commit).await? {
            Committed::Applied(receipt) | Committed::Duplicate(receipt) => Ok(receipt),
            Committed::Conflict { .. } => Err(TableError::Conflict),
        }
    }

    fn into_commit(self, idempotency: Option<Idempotency>) -> Result<Commit, TableError> {
        let mut commit = Commit { log: self.log, idempotency, ..Commit::default() };
        for (key, write) in self.writes {
            let before = match self.reads.get(&key) {
                Some(Some(read)) => cell::pieces_of(&read.value),
                Some(None) => 0,
                None => {
                    self.store.get(std::slice::from_ref(&key))?.into_iter().next().flatten().map_or(0, |old| cell::pieces_of(&old.value))
                }
            };
            let after = match &write {
                Write::Put(cells) => cells.pieces.len(),
                Write::Delete => 0,
            };
            commit.delete.extend((after..before).map(|index| cell::continuation_key(&key, index)));
            match write {
                Write::Put(cells) => {
                    for (index, piece) in cells.pieces.into_iter().enumerate() {
                        commit.put.push((cell::continuation_key(&key, index), piece));
                    }
                    commit.put.push((key, cells.head));
                }
                Write::Delete => commit.delete.push(key),
            }
        }
        commit.expect =
            self.reads.into_iter().map(|(key, read)| (key, read.map_or(Expected::Absent, |read| Expected::At(read.version)))).collect();
        Ok(commit)
    }
}
