//! Whether the store still takes commits, why not, and how much it has done.

use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use crate::port::Sequence;

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

/// Shared by the sequencer and the handles.
#[derive(Debug, Default)]
pub(crate) struct Status {
    pub(crate) counters: Counters,
    has_failed: AtomicBool,
    failure: Mutex<Option<String>>,
}

impl Status {
    /// The first failure is the one that is kept.
    pub(crate) fn fail(&self, detail: &str) {
        self.failure.lock().unwrap_or_else(PoisonError::into_inner).get_or_insert_with(|| detail.to_owned());
        self.has_failed.store(true, Ordering::Release);
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
