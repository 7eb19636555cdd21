//! The guard: nothing is acknowledged, and no reader of the log sees anything, before `fdatasync` has returned. See ADR 0001.
//!
//! Each of these fails if the call in `SledEngine::sync` goes, comes before the flush, or is not waited for; that the call is a real
//! `fdatasync` is tested beside it, in `engine/durability.rs`.

use std::future::Future;
use std::io;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::pin::Pin;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Condvar, Mutex};
use std::task::{Context, Poll, Waker};

use throughline_store::engine::sled_engine::database_file;
use throughline_store::engine::{Durability, FileDurability, KvEngine, SledEngine, SledOptions, WriteBatch};
use throughline_store::port::{Commit, StoreError};
use throughline_store::{CommitFuture, Store};

use crate::support::{Also, Time, applied, eventually, log, open, put, value, whole_log};

/// A durability that is held up until the test lets it go, and that does what the test says then.
#[derive(Clone, Default)]
struct Gate(Arc<(Mutex<GateState>, Condvar)>);

#[derive(Default)]
struct GateState {
    shut: bool,
    failing: bool,
    arrived: u64,
}

impl Gate {
    fn set(&self, change: impl FnOnce(&mut GateState)) {
        change(&mut self.0.0.lock().unwrap());
        self.0.1.notify_all();
    }

    fn arrived(&self) -> u64 {
        self.0.0.lock().unwrap().arrived
    }
}

/// A test that fails while the gate is shut must not leave the store waiting for it.
impl Drop for Gate {
    fn drop(&mut self) {
        self.set(|state| state.shut = false);
    }
}

impl Durability for Gate {
    fn make_durable(&self) -> io::Result<()> {
        let mut state = self.0.0.lock().unwrap();
        state.arrived += 1;
        while state.shut {
            state = self.0.1.wait(state).unwrap();
        }
        if state.failing { Err(io::Error::other("planned failure")) } else { Ok(()) }
    }
}

fn gated(dir: &Path) -> (Store, Gate) {
    let gate = Gate::default();
    let store = Store::open_sled_with(dir, Time::default().options(), Box::new(gate.clone())).unwrap();
    (store, gate)
}

fn poll(pending: &mut CommitFuture) -> Poll<Result<throughline_store::port::Committed, StoreError>> {
    Pin::new(pending).poll(&mut Context::from_waker(Waker::noop()))
}

#[test]
fn nothing_is_acknowledged_or_logged_before_fdatasync_has_returned() {
    let dir = tempfile::tempdir().unwrap();
    let (store, gate) = gated(dir.path());
    applied(&store, put("a", "before").and(log(&["before"])));
    let (head, arrived) = (store.durable_head(), gate.arrived());
    gate.set(|state| state.shut = true);
    let mut pending = store.commit(put("a", "after").and(log(&["after"])));
    eventually("the sequencer waits for the disk", || gate.arrived() == arrived + 1);
    // It is applied, and a read may see it; but it is not durable, so nobody is told and the log does not show it.
    assert_eq!(value(&store, "a").as_deref(), Some("after"));
    assert_eq!(poll(&mut pending), Poll::Pending);
    assert_eq!((store.durable_head(), whole_log(&store).len()), (head, 1));
    gate.set(|state| state.shut = false);
    assert!(pending.wait().is_ok());
    assert_eq!((store.durable_head(), whole_log(&store).len()), (head + 1, 2));
}

#[test]
fn a_failing_fdatasync_acknowledges_nothing_and_stops_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let (store, gate) = gated(dir.path());
    let receipt = applied(&store, put("a", "1").and(log(&["one"])));
    gate.set(|state| state.failing = true);
    assert!(matches!(store.commit_blocking(put("a", "2").and(log(&["two"]))), Err(StoreError::Unknown(_))));
    assert_eq!((store.durable_head(), whole_log(&store).len()), (receipt.sequence, 1));
    // The kernel may answer the next fdatasync with success though the pages are lost: no second try on this file.
    gate.set(|state| state.failing = false);
    let arrived = gate.arrived();
    assert_eq!(store.commit_blocking(put("a", "3")), Err(StoreError::Closed));
    assert_eq!(gate.arrived(), arrived);
    assert!(store.failure().unwrap().contains("planned failure"));
    assert!(value(&store, "a").is_some(), "reads go on");
    assert!(matches!(store.close(), Err(StoreError::Unknown(_))));
    let store = open(dir.path()).unwrap();
    applied(&store, put("a", "4"));
}

#[test]
fn every_acknowledged_batch_had_its_own_fdatasync() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    for _ in 0..20 {
        let before = store.stats().unwrap().syncs;
        applied(&store, put("a", "1"));
        assert!(store.stats().unwrap().syncs > before);
    }
}

#[test]
fn what_an_earlier_process_left_is_made_durable_before_anybody_reads_it() {
    let dir = tempfile::tempdir().unwrap();
    applied(&open(dir.path()).unwrap(), log(&["left"]));
    let (store, gate) = gated(dir.path());
    assert!(gate.arrived() >= 1 && whole_log(&store).len() == 1);
}

/// Sees how much of what was applied is in the file at the moment it is asked to make the file durable.
struct Witness {
    file: std::path::PathBuf,
    expected: &'static [u8],
    seen: Arc<AtomicU64>,
}

impl Durability for Witness {
    fn make_durable(&self) -> io::Result<()> {
        let bytes = std::fs::read(&self.file)?;
        if bytes.windows(self.expected.len()).any(|window| window == self.expected) {
            self.seen.fetch_add(1, Ordering::SeqCst);
        }
        Ok(())
    }
}

#[test]
fn the_flush_comes_before_the_fdatasync() {
    let dir = tempfile::tempdir().unwrap();
    let seen = Arc::new(AtomicU64::new(0));
    let witness = Witness { file: database_file(dir.path()), expected: b"a value that cannot be missed", seen: Arc::clone(&seen) };
    let options = SledOptions { cache_bytes: 1024 * 1024 };
    let engine = SledEngine::open_with(dir.path(), options, |_| Ok(Box::new(witness))).unwrap();
    engine.sync().unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 0);
    let mut batch = WriteBatch::default();
    batch.put(vec![0x10], b"a value that cannot be missed".to_vec());
    engine.apply(batch).unwrap();
    engine.sync().unwrap();
    assert_eq!(seen.load(Ordering::SeqCst), 1);
}

#[test]
fn the_handle_is_of_the_file_that_sled_writes() {
    let dir = tempfile::tempdir().unwrap();
    let options = SledOptions { cache_bytes: 1024 * 1024 };
    let mut handle = None;
    let engine = SledEngine::open_with(dir.path(), options, |path| {
        let durability = FileDurability::open(path)?;
        handle = Some(durability.file().metadata()?);
        Ok(Box::new(durability))
    })
    .unwrap();
    let (handle, file) = (handle.unwrap(), std::fs::metadata(dir.path().join("db")).unwrap());
    assert_eq!((handle.dev(), handle.ino()), (file.dev(), file.ino()));
    engine.sync().unwrap();
    assert_eq!(engine.syncs(), 1);
}

/// What sled moves to files of their own it never synchronises: the limits keep values, and the inner nodes that hold the keys, in the log.
#[test]
fn the_largest_keys_and_values_stay_in_the_file_that_is_synchronised() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let limits = store.limits();
    let value = vec![b'x'; limits.value];
    // Keys that differ at their end, keys that differ at their beginning, in and out of order; then holes, so that nodes merge.
    let tail = |number: u32| format!("\x10{number:0width$}", width = limits.key - 1).into_bytes();
    let front = |number: u32| format!("\x11{:08x}{}", number.wrapping_mul(0x9e37_79b1), "k".repeat(limits.key - 9)).into_bytes();
    for round in 0..40 {
        let numbers = || round * 100..(round + 1) * 100;
        let keys = numbers().map(tail).chain(numbers().map(|number| tail(number * 7919 % 20_011))).collect::<Vec<_>>();
        applied(&store, Commit { put: keys.into_iter().map(|key| (key, value.clone())).collect(), ..Commit::default() });
        applied(&store, Commit { put: numbers().map(|number| (front(number), value.clone())).collect(), ..Commit::default() });
    }
    for round in 0..40 {
        let numbers = (round * 100..(round + 1) * 100).filter(|number| number % 9 != 0);
        applied(&store, Commit { delete: numbers.clone().map(tail).chain(numbers.map(front)).collect(), ..Commit::default() });
    }
    assert_eq!(std::fs::read_dir(dir.path().join("sled/blobs")).unwrap().count(), 0);
}
