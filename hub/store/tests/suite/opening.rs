//! Opening: a second process, a full disk, a program that is too old.

use std::future::Future;
use std::path::Path;
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use throughline_store::engine::{KvEngine, SledEngine, SledOptions, WriteBatch};
use throughline_store::port::StoreError;
use throughline_store::{Options, Store};

use crate::support::{Also, Time, applied, log, open, put, value, whole_log};

const CHILD: &str = "THROUGHLINE_SECOND_CHILD";

#[test]
fn a_second_process_is_refused_and_harms_nothing() {
    if let Some(dir) = std::env::var_os(CHILD) {
        let error = open(Path::new(&dir)).err().expect("it is open elsewhere");
        assert_eq!(error, StoreError::Locked(dir.to_string_lossy().into_owned()));
        return;
    }
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    applied(&store, put("a", "1"));
    let second = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "opening::a_second_process_is_refused_and_harms_nothing"])
        .env(CHILD, dir.path())
        .stdout(Stdio::piped())
        .output()
        .unwrap();
    assert!(second.status.success(), "{}", String::from_utf8_lossy(&second.stdout));
    assert!(String::from_utf8_lossy(&second.stdout).contains("1 passed"), "the other process ran the test");
    applied(&store, put("b", "1"));
    assert!(matches!(open(dir.path()), Err(StoreError::Locked(_))), "not in this process either");
    store.close().unwrap();
    assert_eq!(value(&open(dir.path()).unwrap(), "b").as_deref(), Some("1"));
}

#[test]
fn a_full_disk_refuses_commits_and_recovers_by_itself() {
    let dir = tempfile::tempdir().unwrap();
    let available = Arc::new(AtomicU64::new(1000));
    let probe = Arc::clone(&available);
    let options =
        Options { reserve_bytes: 500, free_space: Some(Arc::new(move || Ok(probe.load(Ordering::SeqCst)))), ..Time::default().options() };
    let store = Store::open_sled(dir.path(), options).unwrap();
    applied(&store, put("a", "1").and(log(&["one"])));
    available.store(499, Ordering::SeqCst);
    let full = StoreError::Full { available: 499, reserve: 500 };
    for _ in 0..3 {
        assert_eq!(store.commit_blocking(put("a", "2").and(log(&["two"]))), Err(full.clone()));
    }
    assert_eq!(store.trim_log(10), Err(full));
    assert_eq!((value(&store, "a").as_deref(), whole_log(&store).len(), store.failure()), (Some("1"), 1, None), "reads go on");
    available.store(500, Ordering::SeqCst);
    applied(&store, put("a", "3"));
    store.close().unwrap();
    assert_eq!(value(&open(dir.path()).unwrap(), "a").as_deref(), Some("3"));
}

#[test]
fn a_real_file_system_is_asked_how_full_it_is() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { reserve_bytes: u64::MAX, ..Time::default().options() };
    let store = Store::open_sled(dir.path(), options).unwrap();
    assert!(matches!(store.commit_blocking(put("a", "1")), Err(StoreError::Full { reserve: u64::MAX, .. })));
}

#[test]
fn a_probe_that_fails_refuses_commits_and_applies_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let options = Options { free_space: Some(Arc::new(|| Err(std::io::Error::other("no such mount")))), ..Time::default().options() };
    let store = Store::open_sled(dir.path(), options).unwrap();
    assert!(matches!(store.commit_blocking(put("a", "1")), Err(StoreError::Io(detail)) if detail.contains("no such mount")));
    assert_eq!(value(&store, "a"), None);
}

#[test]
fn too_much_waiting_is_busy_and_applies_nothing() {
    let dir = tempfile::tempdir().unwrap();
    let (entered, gate) = (Arc::new(AtomicU64::new(0)), Arc::new(std::sync::Barrier::new(2)));
    let probe = {
        let (entered, gate) = (Arc::clone(&entered), Arc::clone(&gate));
        move || {
            if entered.fetch_add(1, Ordering::SeqCst) == 0 {
                gate.wait();
            }
            Ok(u64::MAX)
        }
    };
    let options = Options { queue_commits: 2, free_space: Some(Arc::new(probe)), ..Time::default().options() };
    let store = Store::open_sled(dir.path(), options).unwrap();
    // The first is held up in the probe, two wait, the fourth is refused.
    let held = store.commit(put("a", "1"));
    crate::support::eventually("the first is being worked on", || entered.load(Ordering::SeqCst) == 1);
    let waiting = [store.commit(put("b", "1")), store.commit(put("c", "1"))];
    assert_eq!(store.commit_blocking(put("d", "1")), Err(StoreError::Busy));
    gate.wait();
    assert!(held.wait().is_ok() && waiting.into_iter().all(|pending| pending.wait().is_ok()));
    assert_eq!(value(&store, "d"), None);
    applied(&store, put("d", "1"));
}

#[test]
fn a_store_of_a_newer_program_is_refused() {
    let dir = tempfile::tempdir().unwrap();
    open(dir.path()).unwrap().close().unwrap();
    let engine = SledEngine::open(&dir.path().join("sled"), SledOptions { cache_bytes: 1024 * 1024 }).unwrap();
    let mut batch = WriteBatch::default();
    batch.put(vec![0x00, b'f'], 2_u32.to_be_bytes().to_vec());
    engine.apply(batch).unwrap();
    engine.sync().unwrap();
    engine.close();
    assert_eq!(open(dir.path()).err(), Some(StoreError::Newer { found: 2, known: 1 }));
}

#[test]
fn a_store_whose_making_was_interrupted_is_opened() {
    let dir = tempfile::tempdir().unwrap();
    let engine = SledEngine::open(&dir.path().join("sled"), SledOptions { cache_bytes: 1024 * 1024 }).unwrap();
    engine.close();
    let id = open(dir.path()).unwrap().id();
    // Made, but without the mark that is made next.
    std::fs::remove_file(dir.path().join("store.mark")).unwrap();
    let store = open(dir.path()).unwrap();
    assert_eq!(store.id(), id);
    applied(&store, put("a", "1"));
    store.close().unwrap();
    assert_eq!(value(&open(dir.path()).unwrap(), "a").as_deref(), Some("1"));
}

#[test]
fn a_folder_that_cannot_be_made_is_said() {
    let dir = tempfile::tempdir().unwrap();
    std::fs::write(dir.path().join("file"), "x").unwrap();
    assert!(matches!(open(&dir.path().join("file/data")), Err(StoreError::Io(detail)) if detail.contains("file/data")));
}

#[test]
fn dropping_the_last_handle_closes_the_store() {
    let dir = tempfile::tempdir().unwrap();
    let store = open(dir.path()).unwrap();
    let (clone, mut watch) = (store.clone(), store.watch());
    applied(&store, put("a", "1"));
    drop((store, clone));
    let again = open(dir.path()).unwrap();
    assert_eq!(value(&again, "a").as_deref(), Some("1"));
    let changed = std::pin::pin!(watch.changed());
    let seen = changed.poll(&mut std::task::Context::from_waker(std::task::Waker::noop()));
    assert_eq!(seen, std::task::Poll::Ready(Ok(1)), "a watch keeps no store open and still tells what it saw");
}
