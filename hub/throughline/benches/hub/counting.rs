//! An engine that remembers every batch the hub commits, and how long the engine took over everything.

use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use throughline_store::engine::{EngineError, EnginePage, KvEngine, SledEngine, WriteBatch};
use throughline_store::port::KeyRange;

/// sled, watched.
pub(crate) struct CountingEngine {
    sled: SledEngine,
    seen: Arc<Seen>,
}

/// What was seen of it.
#[derive(Debug, Default)]
pub(crate) struct Seen {
    batches: Mutex<Vec<WriteBatch>>,
    apply: AtomicU64,
    sync: AtomicU64,
    read: AtomicU64,
    reads: AtomicU64,
}

/// Time spent in the engine: the first two by the one writer, the last by everybody who decides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct Spent {
    pub(crate) apply: Duration,
    pub(crate) sync: Duration,
    pub(crate) read: Duration,
    /// Gets and scans.
    pub(crate) reads: u64,
}

impl CountingEngine {
    pub(crate) fn new(sled: SledEngine, seen: Arc<Seen>) -> Self {
        Self { sled, seen }
    }

    fn reading<T>(&self, read: impl FnOnce(&SledEngine) -> T) -> T {
        self.seen.reads.fetch_add(1, Ordering::Relaxed);
        timed(&self.seen.read, || read(&self.sled))
    }
}

impl Seen {
    /// What was spent until now does not count.
    pub(crate) fn forget_times(&self) {
        for counter in [&self.apply, &self.sync, &self.read, &self.reads] {
            counter.store(0, Ordering::Relaxed);
        }
    }

    /// The batches since this was asked last, in order, and the time since then.
    pub(crate) fn take(&self) -> (Vec<WriteBatch>, Spent) {
        let batches = std::mem::take(&mut *self.batches.lock().unwrap_or_else(PoisonError::into_inner));
        let taken = |counter: &AtomicU64| Duration::from_nanos(counter.swap(0, Ordering::Relaxed));
        let reads = self.reads.swap(0, Ordering::Relaxed);
        (batches, Spent { apply: taken(&self.apply), sync: taken(&self.sync), read: taken(&self.read), reads })
    }
}

impl Spent {
    pub(crate) fn plus(self, other: Self) -> Self {
        Self {
            apply: self.apply + other.apply,
            sync: self.sync + other.sync,
            read: self.read + other.read,
            reads: self.reads + other.reads,
        }
    }
}

fn timed<T>(counter: &AtomicU64, work: impl FnOnce() -> T) -> T {
    let began = Instant::now();
    let done = work();
    counter.fetch_add(u64::try_from(began.elapsed().as_nanos()).unwrap_or(u64::MAX), Ordering::Relaxed);
    done
}

impl KvEngine for CountingEngine {
    fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.reading(|sled| sled.get(keys))
    }

    fn scan(&self, range: &KeyRange, reverse: bool, limit: usize) -> Result<EnginePage, EngineError> {
        self.reading(|sled| sled.scan(range, reverse, limit))
    }

    fn apply(&self, batch: WriteBatch) -> Result<(), EngineError> {
        self.seen.batches.lock().unwrap_or_else(PoisonError::into_inner).push(batch.clone());
        timed(&self.seen.apply, || self.sled.apply(batch))
    }

    fn sync(&self) -> Result<(), EngineError> {
        timed(&self.seen.sync, || self.sled.sync())
    }

    fn size_on_disk(&self) -> Result<u64, EngineError> {
        self.sled.size_on_disk()
    }

    fn syncs(&self) -> u64 {
        self.sled.syncs()
    }

    fn close(&self) {
        self.sled.close();
    }
}
