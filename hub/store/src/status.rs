//! Whether the store still takes commits, why not, and how much it has done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::options::FreeSpace;
use crate::port::{Sequence, StoreError};

/// Numbers about a store since it was opened.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Stats {
    /// Commits applied and acknowledged.
    pub commits: u64,
    /// Commits refused because a precondition did not hold.
    pub conflicts: u64,
    /// Commits sent again.
    pub duplicates: u64,
    /// Engine batches that carried them.
    pub batches: u64,
    /// Bytes of keys and values in those batches.
    pub bytes: u64,
    /// Times that data were made durable.
    pub syncs: u64,
    /// Commits waiting now.
    pub waiting: usize,
    /// Everything up to this sequence is durable.
    pub durable_head: Sequence,
    /// Bytes on disk, without blobs.
    pub disk_bytes: u64,
    /// Why no more commits are taken, if so, other than because the store was closed.
    pub failure: Option<String>,
}

/// Counters that the sequencer moves and anybody reads.
#[derive(Debug, Default)]
pub(crate) struct Counters {
    pub(crate) commits: AtomicU64,
    pub(crate) conflicts: AtomicU64,
    pub(crate) duplicates: AtomicU64,
    pub(crate) batches: AtomicU64,
    pub(crate) bytes: AtomicU64,
}

/// The least that must stay free, and how to find out.
pub(crate) struct Reserve {
    pub(crate) free_space: FreeSpace,
    pub(crate) bytes: u64,
}

impl Reserve {
    fn check(&self) -> Result<(), StoreError> {
        let available = (self.free_space)().map_err(|error| StoreError::Io(format!("cannot tell the free space: {error}")))?;
        if available < self.bytes { Err(StoreError::Full { available, reserve: self.bytes }) } else { Ok(()) }
    }
}

impl std::fmt::Debug for Reserve {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Reserve").field("bytes", &self.bytes).finish_non_exhaustive()
    }
}

/// Shared by the sequencer and the handles.
#[derive(Debug, Default)]
pub(crate) struct Status {
    /// None where nothing can run out: in memory.
    reserve: Option<Reserve>,
    pub(crate) counters: Counters,
    has_failed: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Status {
    /// Of a store that has not failed.
    pub(crate) fn with(reserve: Option<Reserve>) -> Self {
        Self { reserve, ..Self::default() }
    }

    /// The first failure is the one that is kept.
    pub(crate) fn fail(&self, detail: &str) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| detail.to_owned());
        self.has_failed.store(true, Ordering::Release);
    }

    /// Whether there is room for more, now.
    pub(crate) fn room(&self) -> Result<(), StoreError> {
        self.reserve.as_ref().map_or(Ok(()), Reserve::check)
    }

    pub(crate) fn has_failed(&self) -> bool {
        self.has_failed.load(Ordering::Acquire)
    }

    pub(crate) fn failure(&self) -> Option<String> {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).clone()
    }
}

pub(crate) fn count(counter: &AtomicU64, by: u64) {
    counter.fetch_add(by, Ordering::Relaxed);
}
