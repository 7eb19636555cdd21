//! The port: what the hub needs of an ordered key-value store, and nothing more.
//!
//! Kept out on purpose: range predicates, multi-shard commits, time-to-live, secondary indexes, engine types. Point preconditions
//! only, so that any ordered store can sit behind it.

use std::fmt;

/// A key's bytes; made and read only by `tables`.
pub type Key = Vec<u8>;
/// The sequence number of a commit: rises strictly, may have gaps.
pub type Sequence = u64;

/// A stored value with the commit that wrote it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Versioned {
    /// The commit that wrote it.
    pub version: Sequence,
    /// The value, without the version.
    pub value: Vec<u8>,
}

/// What a key must be for a commit to apply.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expected {
    /// There must be no value.
    Absent,
    /// The value must have been written by this commit.
    At(Sequence),
}

/// All or nothing.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Commit {
    /// Preconditions.
    pub expect: Vec<(Key, Expected)>,
    /// Values to write.
    pub put: Vec<(Key, Vec<u8>)>,
    /// Keys to remove.
    pub delete: Vec<Key>,
    /// Entries for the change log, in order.
    pub log: Vec<Vec<u8>>,
    /// Names the commit, so that sending it again does nothing: an id, and until when (milliseconds since the Unix epoch) to remember it.
    pub idempotency: Option<Idempotency>,
}

/// A commit's name.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Idempotency {
    /// Its id.
    pub id: Vec<u8>,
    /// Until when it is remembered, in milliseconds since the Unix epoch.
    pub expires_at_ms: u64,
}

/// Proof of a durable commit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Receipt {
    /// Its sequence: the version of every value it wrote.
    pub sequence: Sequence,
    /// Sequence of its first log entry; the others follow it one by one. Equal to the head before it if it logged nothing.
    pub first_log: Sequence,
}

/// What came of a commit. Known only when durable.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Committed {
    /// Applied.
    Applied(Receipt),
    /// A commit of this name was applied before.
    Duplicate(Receipt),
    /// A precondition did not hold; nothing was applied.
    Conflict {
        /// The key.
        key: Key,
        /// What it was.
        actual: Option<Sequence>,
    },
}

/// A stretch of keys, from `start` (included) to `end` (excluded).
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct KeyRange {
    /// First key.
    pub start: Key,
    /// First key no more in it.
    pub end: Key,
}

impl KeyRange {
    /// All keys that begin with `prefix`.
    #[must_use]
    pub fn prefix(prefix: &[u8]) -> Self {
        let mut end = prefix.to_vec();
        while let Some(last) = end.pop() {
            if last < u8::MAX {
                end.push(last + 1);
                break;
            }
        }
        // A prefix of only 0xff bytes has no successor; no table uses one.
        if end.is_empty() {
            end = vec![u8::MAX; prefix.len() + 1];
        }
        Self { start: prefix.to_vec(), end }
    }
}

/// Some entries of a range.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct ScanPage {
    /// Keys and values in order.
    pub entries: Vec<(Key, Versioned)>,
    /// Whether the range held more than the limit.
    pub more: bool,
}

/// One entry of the change log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogEntry {
    /// Its place in the order.
    pub sequence: Sequence,
    /// What was logged.
    pub value: Vec<u8>,
}

/// What a store can take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Limits {
    /// Longest key in bytes.
    pub key: usize,
    /// Largest value in bytes.
    pub value: usize,
    /// Largest commit, keys and values together, in bytes.
    pub commit: usize,
}

/// Why the store could not do what it was asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum StoreError {
    /// Too much is waiting; nothing was applied. Try again.
    Busy,
    /// It may have been applied: send it again with the same idempotency id.
    Unknown(String),
    /// The disk is (nearly) full; nothing was applied, nothing acknowledged is lost.
    Full {
        /// Bytes left.
        available: u64,
        /// Bytes that must stay free.
        reserve: u64,
    },
    /// A key, value or commit beyond [`Limits`].
    TooLarge {
        /// What was too large.
        what: &'static str,
        /// Its size in bytes.
        size: usize,
        /// The limit in bytes.
        limit: usize,
    },
    /// A key outside the space of tables: a fault of the program, nothing was applied.
    ReservedKey(Key),
    /// What is on disk is not what was written.
    Corrupt(String),
    /// A newer version of the program wrote the store; this one would not understand it.
    Newer {
        /// The format found.
        found: u32,
        /// The newest format this program knows.
        known: u32,
    },
    /// The file system refused something; nothing was applied.
    Io(String),
    /// Another process has the store open.
    Locked(String),
    /// The store is shut down.
    Closed,
}

impl fmt::Display for StoreError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Busy => f.write_str("too many commits are waiting; try again"),
            Self::Unknown(detail) => write!(f, "the commit may or may not have been applied: {detail}"),
            Self::Full { available, reserve } => {
                write!(
                    f,
                    "disk full: {available} bytes are left and {reserve} must stay free; free some space, nothing acknowledged is lost"
                )
            }
            Self::TooLarge { what, size, limit } => write!(f, "{what} of {size} bytes is over the limit of {limit}"),
            Self::ReservedKey(key) => write!(f, "a key of {} bytes, first {:?}, is outside the space of tables", key.len(), key.first()),
            Self::Newer { found, known } => {
                write!(f, "the store has format {found} and this program knows up to {known}; run the newer program")
            }
            Self::Io(detail) => write!(f, "the file system refused: {detail}"),
            Self::Corrupt(detail) => write!(f, "the store is damaged: {detail}; restore the last backup"),
            Self::Locked(path) => write!(f, "another process has the store at {path} open"),
            Self::Closed => f.write_str("the store is shut down"),
        }
    }
}

impl std::error::Error for StoreError {}
