//! How a store is opened, and what it can take.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::Arc;

use crate::port::Limits;

/// Tells the time in milliseconds since the Unix epoch; used to forget named commits, for nothing else.
pub type Clock = Arc<dyn Fn() -> u64 + Send + Sync>;

/// Tells how many bytes are free where the store lives.
pub type FreeSpace = Arc<dyn Fn() -> io::Result<u64> + Send + Sync>;

/// Longest key of a table in bytes. An inner node of the engine's tree holds up to 257 keys and must stay below 128 KiB like any other:
/// 512 would be too long.
pub(crate) const KEY_LIMIT: usize = 384;
/// Largest value in bytes: 4 KiB, and some slack for an envelope around 4 KiB. With the key and the version it stays well below the
/// 7 KiB from which on the engine would keep values in files of their own, which it never synchronises.
pub(crate) const VALUE_LIMIT: usize = 4096 + 64;
/// Largest commit in bytes, as much as one engine batch.
pub(crate) const COMMIT_LIMIT: usize = 1024 * 1024;
/// Longest name of a commit in bytes.
pub(crate) const IDEMPOTENCY_LIMIT: usize = 256;

/// What every store of this crate can take.
pub(crate) const LIMITS: Limits = Limits { key: KEY_LIMIT, value: VALUE_LIMIT, commit: COMMIT_LIMIT };

/// How a store is opened.
#[derive(Clone)]
pub struct Options {
    /// The time.
    pub now_ms: Clock,
    /// Upper bound of the engine's page cache in bytes; about the size of the live set is best.
    pub cache_bytes: u64,
    /// Bytes that must stay free on the file system; with less, commits are refused until there is room again.
    pub reserve_bytes: u64,
    /// How the free bytes are found out, if not by asking the file system.
    pub free_space: Option<FreeSpace>,
    /// How many commits may wait before callers are told [`Busy`](crate::port::StoreError::Busy).
    pub queue_commits: usize,
    /// How many bytes of commits may wait.
    pub queue_bytes: usize,
    /// The side file is synchronised each time this many sequences have passed.
    pub mark_every: u64,
}

impl Options {
    /// The defaults, with a clock.
    #[must_use]
    pub fn new(now_ms: impl Fn() -> u64 + Send + Sync + 'static) -> Self {
        Self {
            now_ms: Arc::new(now_ms),
            cache_bytes: 256 * 1024 * 1024,
            reserve_bytes: 64 * 1024 * 1024,
            free_space: None,
            queue_commits: 8192,
            queue_bytes: 64 * 1024 * 1024,
            mark_every: 1000,
        }
    }
}

impl fmt::Debug for Options {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Options")
            .field("cache_bytes", &self.cache_bytes)
            .field("reserve_bytes", &self.reserve_bytes)
            .field("queue_commits", &self.queue_commits)
            .field("queue_bytes", &self.queue_bytes)
            .field("mark_every", &self.mark_every)
            .finish_non_exhaustive()
    }
}

/// Asks the file system that holds `dir`.
pub(crate) fn free_space_of(dir: &Path) -> FreeSpace {
    let dir = dir.to_owned();
    Arc::new(move || {
        let found = rustix::fs::statvfs(&dir)?;
        Ok(found.f_bavail.saturating_mul(found.f_frsize))
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::engine::sled_engine::MAX_ENTRY;
    use crate::layout::VERSION_BYTES;

    /// Keys of the idempotency tables are the only ones of the store's own with variable length.
    const LONGEST_OWN_KEY: usize = 1 + 8 + IDEMPOTENCY_LIMIT;
    const _: () = assert!(LONGEST_OWN_KEY <= KEY_LIMIT);
    const _: () = assert!(KEY_LIMIT + VERSION_BYTES + VALUE_LIMIT <= MAX_ENTRY);
    /// 257 keys with what the engine adds to each (a length and a page number), the node's bounds, and a fifth to spare.
    const _: () = assert!((257 * (KEY_LIMIT + 12) + 2 * KEY_LIMIT) * 6 / 5 <= 128 * 1024 - 64);

    #[test]
    fn the_file_system_says_how_much_is_free() {
        let dir = tempfile::tempdir().unwrap();
        assert!(free_space_of(dir.path())().unwrap() > 0);
        assert!(free_space_of(&dir.path().join("absent"))().is_err());
    }
}
