//! Stores of every engine that can be closed and opened again, and short ways to write commits down.

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};

use throughline_store::port::{Commit, Committed, Expected, Idempotency, Key, Receipt, Sequence, StoreError, Versioned};
use throughline_store::{MemoryDisk, Options, Store};

/// An engine under test and where it keeps its data.
pub(crate) enum Bench {
    Sled(tempfile::TempDir),
    Memory(MemoryDisk),
    Inline(MemoryDisk),
}

impl Bench {
    pub(crate) fn sled() -> Self {
        Self::Sled(tempfile::tempdir().unwrap())
    }

    pub(crate) fn memory() -> Self {
        Self::Memory(MemoryDisk::default())
    }

    pub(crate) fn inline() -> Self {
        Self::Inline(MemoryDisk::default())
    }

    pub(crate) fn open(&self) -> Store {
        self.open_at(&Time::default())
    }

    pub(crate) fn open_at(&self, time: &Time) -> Store {
        match self {
            Self::Sled(dir) => Store::open_sled(dir.path(), time.options()).unwrap(),
            Self::Memory(disk) => Store::on_memory_disk(disk, time.options()).unwrap(),
            Self::Inline(disk) => Store::inline_on_memory_disk(disk, time.options()).unwrap(),
        }
    }
}

/// Runs a test with a fresh bench of every engine.
macro_rules! on_every_engine {
    ($($name:ident),* $(,)?) => {
        mod sled {
            $(#[test] fn $name() { super::$name(&crate::support::Bench::sled()); })*
        }
        mod memory {
            $(#[test] fn $name() { super::$name(&crate::support::Bench::memory()); })*
        }
        mod inline {
            $(#[test] fn $name() { super::$name(&crate::support::Bench::inline()); })*
        }
    };
}
pub(crate) use on_every_engine;

/// A clock that the test moves.
#[derive(Clone, Default)]
pub(crate) struct Time(Arc<AtomicU64>);

impl Time {
    pub(crate) fn set(&self, now_ms: u64) {
        self.0.store(now_ms, Ordering::SeqCst);
    }

    pub(crate) fn options(&self) -> Options {
        let now = Arc::clone(&self.0);
        let mut options = Options::new(move || now.load(Ordering::SeqCst));
        options.cache_bytes = 16 * 1024 * 1024;
        options.reserve_bytes = 0;
        options
    }
}

pub(crate) fn open(dir: &Path) -> Result<Store, StoreError> {
    Store::open_sled(dir, Time::default().options())
}

/// A key of a table.
pub(crate) fn key(name: &str) -> Key {
    [&[0x10], name.as_bytes()].concat()
}

pub(crate) fn put(name: &str, value: &str) -> Commit {
    Commit { put: vec![(key(name), value.into())], ..Commit::default() }
}

pub(crate) fn delete(name: &str) -> Commit {
    Commit { delete: vec![key(name)], ..Commit::default() }
}

pub(crate) fn log(entries: &[&str]) -> Commit {
    Commit { log: entries.iter().map(|entry| entry.as_bytes().to_vec()).collect(), ..Commit::default() }
}

pub(crate) trait Also {
    fn expecting(self, name: &str, expected: Expected) -> Self;
    fn named(self, id: &str, expires_at_ms: u64) -> Self;
    fn and(self, other: Commit) -> Self;
}

impl Also for Commit {
    fn expecting(mut self, name: &str, expected: Expected) -> Self {
        self.expect.push((key(name), expected));
        self
    }

    fn named(mut self, id: &str, expires_at_ms: u64) -> Self {
        self.idempotency = Some(Idempotency { id: id.into(), expires_at_ms });
        self
    }

    fn and(mut self, other: Commit) -> Self {
        self.put.extend(other.put);
        self.delete.extend(other.delete);
        self.log.extend(other.log);
        self
    }
}

pub(crate) fn applied(store: &Store, commit: Commit) -> Receipt {
    match store.commit_blocking(commit) {
        Ok(Committed::Applied(receipt)) => receipt,
        other => panic!("not applied: {other:?}"),
    }
}

pub(crate) fn value(store: &Store, name: &str) -> Option<String> {
    found(store, name).map(|found| String::from_utf8(found.value).unwrap())
}

pub(crate) fn found(store: &Store, name: &str) -> Option<Versioned> {
    store.get(&[key(name)]).unwrap().pop().unwrap()
}

/// The whole log as text.
pub(crate) fn whole_log(store: &Store) -> Vec<(Sequence, String)> {
    let entries = store.read_log(0, usize::MAX).unwrap();
    entries.into_iter().map(|entry| (entry.sequence, String::from_utf8(entry.value).unwrap())).collect()
}

/// Waits until a condition holds, and fails the test if it does not within ten seconds.
pub(crate) fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let deadline = Instant::now() + Duration::from_secs(10);
    while !condition() {
        assert!(Instant::now() < deadline, "did not happen within ten seconds: {what}");
        std::thread::sleep(Duration::from_millis(1));
    }
}
