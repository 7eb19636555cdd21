//! sled 0.34.7, used in the one way that keeps what it acknowledged. The only file that knows sled.
//!
//! - `flush` alone is not durable on Linux: [`KvEngine::sync`] is `flush` and then `fdatasync` on a handle of our own. ADR 0001.
//! - Never `flush_async` (it locks up), never subscribers (they keep memory), never a flush inside a transaction.
//! - A damaged file makes sled panic: every call into it is inside `catch_unwind`.
//! - A node must stay below 128 KiB, or sled moves it to a file of its own that it never synchronises. A leaf holds up to 17 entries:
//!   [`MAX_ENTRY`] keeps it there. An inner node holds up to 257 keys: the limit on keys keeps it there.
//! - One tree. Its background thread stays on, at sled's default interval: it cleans segments, and what was tested by cutting the power
//!   was tested so. Nothing here relies on it for durability.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::path::{Path, PathBuf};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::{Durability, EngineError, EnginePage, FileDurability, KvEngine, WriteBatch};
use crate::port::KeyRange;

/// Largest key and value, together, that sled keeps inside its log: a full leaf of 17 of them stays below 128 KiB.
pub const MAX_ENTRY: usize = 7 * 1024;

/// How sled is opened.
#[derive(Debug, Clone, Copy)]
pub struct SledOptions {
    /// Upper bound of sled's page cache in bytes.
    pub cache_bytes: u64,
}

/// sled with our own idea of durable.
pub struct SledEngine {
    /// None once closed. Reads share the lock; only closing takes it alone.
    db: RwLock<Option<sled::Db>>,
    durability: Box<dyn Durability>,
    syncs: AtomicU64,
}

impl SledEngine {
    /// Opens the database in `dir`, or makes a new one there.
    ///
    /// # Errors
    /// If it is damaged, in use, or the file system refuses.
    pub fn open(dir: &Path, options: SledOptions) -> Result<Self, EngineError> {
        Self::open_with(dir, options, |db| Ok(Box::new(FileDurability::open(db)?)))
    }

    /// As [`open`](Self::open), with a durability of the caller's for the database file it is handed.
    ///
    /// # Errors
    /// If it is damaged, in use, or the file system refuses.
    pub fn open_with(
        dir: &Path,
        options: SledOptions,
        durability: impl FnOnce(&Path) -> io::Result<Box<dyn Durability>>,
    ) -> Result<Self, EngineError> {
        std::fs::create_dir_all(dir).map_err(|error| io_error(dir, &error))?;
        let db = open_when_free(dir, options)?;
        let file = database_file(dir);
        let durability = durability(&file).map_err(|error| io_error(&file, &error))?;
        make_names_durable(dir).map_err(|error| io_error(dir, &error))?;
        Ok(Self { db: RwLock::new(Some(db)), durability, syncs: AtomicU64::new(0) })
    }

    /// Runs `task` on the open database; a panic inside sled becomes an error.
    fn with<T>(&self, task: impl FnOnce(&sled::Db) -> sled::Result<T>) -> Result<T, EngineError> {
        // A panic is caught below while the guard is held, so that the lock is never poisoned; if it were, reading on is right.
        let guard = self.db.read().unwrap_or_else(std::sync::PoisonError::into_inner);
        let db = guard.as_ref().ok_or(EngineError::Closed)?;
        caught(|| task(db))
    }
}

impl KvEngine for SledEngine {
    fn get(&self, keys: &[&[u8]]) -> Result<Vec<Option<Vec<u8>>>, EngineError> {
        self.with(|db| keys.iter().map(|key| Ok(db.get(key)?.map(|value| value.to_vec()))).collect())
    }

    fn scan(&self, range: &KeyRange, reverse: bool, limit: usize) -> Result<EnginePage, EngineError> {
        if range.start >= range.end {
            return Ok(EnginePage::default());
        }
        self.with(|db| {
            let found = db.range(range.start.as_slice()..range.end.as_slice());
            if reverse { page(found.rev(), limit) } else { page(found, limit) }
        })
    }

    fn apply(&self, batch: WriteBatch) -> Result<(), EngineError> {
        let mut writes = sled::Batch::default();
        for (key, value) in batch {
            debug_assert!(key.len() + value.as_ref().map_or(0, Vec::len) <= MAX_ENTRY, "the store checks sizes first");
            match value {
                Some(value) => writes.insert(key, value),
                None => writes.remove(key),
            }
        }
        self.with(|db| db.apply_batch(writes))
    }

    fn sync(&self) -> Result<(), EngineError> {
        self.with(|db| db.flush().map(|_| ()))?;
        // The guard tests in tests/durable.rs fail if this call goes, moves before the flush, or is not waited for.
        self.durability.make_durable().map_err(|error| EngineError::Io(format!("fdatasync: {error}")))?;
        self.syncs.fetch_add(1, Ordering::Relaxed);
        Ok(())
    }

    fn size_on_disk(&self) -> Result<u64, EngineError> {
        self.with(|db| db.size_on_disk())
    }

    fn syncs(&self) -> u64 {
        self.syncs.load(Ordering::Relaxed)
    }

    fn close(&self) {
        let db = self.db.write().unwrap_or_else(std::sync::PoisonError::into_inner).take();
        // sled writes out what it holds when dropped, and panics if it cannot; what was acknowledged is on the disk already.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(db)));
    }
}

impl Drop for SledEngine {
    fn drop(&mut self) {
        self.close();
    }
}

/// The file that sled keeps its log in.
#[must_use]
pub fn database_file(dir: &Path) -> PathBuf {
    dir.join("db")
}

fn page(found: impl Iterator<Item = sled::Result<(sled::IVec, sled::IVec)>>, limit: usize) -> sled::Result<EnginePage> {
    let mut page = EnginePage::default();
    for entry in found {
        let (key, value) = entry?;
        if page.entries.len() == limit {
            page.more = true;
            break;
        }
        page.entries.push((key.to_vec(), value.to_vec()));
    }
    Ok(page)
}

/// Opens sled. A database closed a moment ago may still be held by one of sled's worker threads: the caller's own lock says that no
/// other process has it, so a short wait is right.
fn open_when_free(dir: &Path, options: SledOptions) -> Result<sled::Db, EngineError> {
    const ATTEMPTS: u32 = 100;
    const PAUSE: Duration = Duration::from_millis(20);
    let config = sled::Config::new().path(dir).cache_capacity(options.cache_bytes);
    for _ in 0..ATTEMPTS {
        match caught(|| config.open()) {
            Err(EngineError::Io(detail)) if detail.contains("could not acquire lock") => std::thread::sleep(PAUSE),
            other => return other,
        }
    }
    Err(EngineError::Locked(dir.display().to_string()))
}

/// A file's bytes are of no use if a power cut takes its name: synchronises the folder and the one it is in.
fn make_names_durable(dir: &Path) -> io::Result<()> {
    for name in ["conf", "db"] {
        std::fs::File::open(dir.join(name))?.sync_all()?;
    }
    std::fs::File::open(dir)?.sync_all()?;
    match dir.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => std::fs::File::open(parent)?.sync_all(),
        _ => Ok(()),
    }
}

/// Runs a call into sled, which panics on some damage rather than say so.
fn caught<T>(task: impl FnOnce() -> sled::Result<T>) -> Result<T, EngineError> {
    match catch_unwind(AssertUnwindSafe(task)) {
        Ok(Ok(value)) => Ok(value),
        Ok(Err(error)) => Err(translated(&error)),
        Err(panic) => Err(EngineError::Corrupt(format!("sled gave up: {}", panic_text(panic.as_ref())))),
    }
}

fn translated(error: &sled::Error) -> EngineError {
    match error {
        sled::Error::Io(error) => EngineError::Io(error.to_string()),
        other => EngineError::Corrupt(other.to_string()),
    }
}

pub(crate) fn panic_text(panic: &(dyn std::any::Any + Send)) -> String {
    panic
        .downcast_ref::<&str>()
        .map(|text| (*text).to_owned())
        .or_else(|| panic.downcast_ref::<String>().cloned())
        .unwrap_or_else(|| "without a word".to_owned())
}

fn io_error(path: &Path, error: &io::Error) -> EngineError {
    EngineError::Io(format!("{}: {error}", path.display()))
}
