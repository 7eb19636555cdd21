//! Planned failures on a pretended disk: what was acknowledged survives the crash that follows, whatever failed before it.

use throughline_store::port::{Commit, Committed, Expected, Receipt, StoreError};
use throughline_store::{Fault, MemoryDisk, Store};

use crate::support::{Also, Time, applied, found, key, log, put, value, whole_log};

const COMMITS: u64 = 12;
/// Making a store takes two applies and two syncs; the fourth of each belongs to the second commit.
const SECOND_COMMIT: u64 = 4;

fn on(disk: &MemoryDisk) -> Store {
    Store::on_memory_disk(disk, Time::default().options()).unwrap()
}

/// Opens the disk after a crash; a fault that strikes meanwhile is one more crash.
fn reopened(disk: &MemoryDisk) -> Store {
    disk.crash();
    Store::on_memory_disk(disk, Time::default().options()).unwrap_or_else(|_| {
        disk.crash();
        on(disk)
    })
}

fn numbered(number: u64) -> Commit {
    put(&format!("k{number}"), "v").and(log(&[&number.to_string()])).named(&number.to_string(), 1000)
}

/// Commits one after the other; gives what came of each.
fn commits(store: &Store) -> Vec<Result<Committed, StoreError>> {
    (0..COMMITS).map(|number| store.commit_blocking(numbered(number))).collect()
}

fn logged(store: &Store) -> Vec<u64> {
    whole_log(store).into_iter().map(|(_, text)| text.parse().unwrap()).collect()
}

/// Lets a fault happen, cuts the power, opens again, sends everything again as a caller would.
fn check(fault: Fault) {
    let disk = MemoryDisk::with_faults(&[fault]);
    let Ok(store) = Store::on_memory_disk(&disk, Time::default().options()) else {
        // It struck while the store was made: nothing was acknowledged, and the next attempt succeeds.
        assert_eq!(logged(&reopened(&disk)), [] as [u64; 0], "{fault:?}");
        return;
    };
    let results = commits(&store);
    let acknowledged = results.iter().filter(|result| result.is_ok()).count() as u64;
    let visible = logged(&store);
    assert_eq!(visible, (0..acknowledged).collect::<Vec<_>>(), "{fault:?}: the log shows what is acknowledged, no more");
    if acknowledged < COMMITS {
        assert!(matches!(results[acknowledged as usize], Err(StoreError::Unknown(_))), "{fault:?}");
        assert!(results[acknowledged as usize + 1..].iter().all(|result| *result == Err(StoreError::Closed)), "{fault:?}");
        assert!(store.failure().is_some(), "{fault:?}");
    }
    drop(store);
    let store = reopened(&disk);
    let survived = logged(&store);
    assert!(survived.starts_with(&visible) && survived.len() as u64 <= acknowledged + 1, "{fault:?}: {survived:?}");
    for (number, result) in results.iter().enumerate() {
        let again = store.commit_blocking(numbered(number as u64)).unwrap();
        if let Ok(Committed::Applied(receipt)) = result {
            assert_eq!(again, Committed::Duplicate(*receipt), "{fault:?}: it was acknowledged before");
        }
    }
    assert_eq!(logged(&store), (0..COMMITS).collect::<Vec<_>>(), "{fault:?}: everything is there once, in order");
}

#[test]
fn no_failure_at_any_moment_loses_or_doubles_anything() {
    // One more than there are calls: the last of each does not happen.
    for nth in 1..=COMMITS + SECOND_COMMIT + 1 {
        for fault in [Fault::ApplyLost(nth), Fault::ApplyKept(nth), Fault::SyncLost(nth), Fault::SyncKept(nth)] {
            check(fault);
        }
    }
}

#[test]
fn an_unknown_commit_sent_again_is_applied_once_whether_or_not_it_survived() {
    for (fault, survives) in
        [(Fault::SyncLost(SECOND_COMMIT), false), (Fault::SyncKept(SECOND_COMMIT), true), (Fault::ApplyLost(SECOND_COMMIT), false)]
    {
        let disk = MemoryDisk::with_faults(&[fault]);
        let store = on(&disk);
        applied(&store, numbered(0));
        assert!(matches!(store.commit_blocking(numbered(1)), Err(StoreError::Unknown(_))));
        disk.crash();
        let store = on(&disk);
        assert_eq!(value(&store, "k1").is_some(), survives, "{fault:?}");
        let again = store.commit_blocking(numbered(1)).unwrap();
        match again {
            Committed::Duplicate(receipt) => assert!(survives && receipt == Receipt { sequence: 2, first_log: 2 }, "{fault:?}"),
            Committed::Applied(_) => assert!(!survives, "{fault:?}"),
            Committed::Conflict { .. } => panic!("{fault:?}: it has no preconditions"),
        }
        assert_eq!(logged(&store), [0, 1], "{fault:?}");
    }
}

#[test]
fn a_crash_under_a_running_store_takes_only_what_was_not_acknowledged() {
    let disk = MemoryDisk::default();
    let store = on(&disk);
    let pending: Vec<_> = (0..500).map(|number| store.commit(numbered(number))).collect();
    let mut pending = pending.into_iter();
    assert!(pending.by_ref().take(100).all(|pending| pending.wait().is_ok()));
    disk.crash();
    let later: Vec<bool> = pending.map(|pending| pending.wait().is_ok()).collect();
    let acknowledged = 100 + later.iter().filter(|ok| **ok).count();
    assert!(later.is_sorted_by(|earlier, later| earlier >= later), "after the first that failed none succeeds");
    let survived = logged(&on(&disk));
    assert!(survived.len() >= acknowledged);
    assert_eq!(survived, (0..survived.len() as u64).collect::<Vec<_>>());
}

#[test]
fn everybody_in_a_failed_batch_hears_that_it_is_unknown() {
    let disk = MemoryDisk::with_faults(&[Fault::SyncLost(SECOND_COMMIT - 1)]);
    let store = on(&disk);
    let pending: Vec<_> = (0..300).map(|number| store.commit(numbered(number))).collect();
    let results: Vec<_> = pending.into_iter().map(|pending| pending.wait()).collect();
    let unknown = results.iter().take_while(|result| matches!(result, Err(StoreError::Unknown(_)))).count();
    assert!(unknown > 0);
    assert!(results[unknown..].iter().all(|result| *result == Err(StoreError::Closed)), "those after it were not tried");
    disk.crash();
    assert_eq!(logged(&on(&disk)), [] as [u64; 0]);
}

#[test]
fn a_version_that_was_read_and_lost_never_means_something_else() {
    let disk = MemoryDisk::with_faults(&[Fault::SyncLost(SECOND_COMMIT)]);
    let store = on(&disk);
    applied(&store, put("a", "1"));
    assert!(store.commit_blocking(put("a", "lost")).is_err());
    let lost = found(&store, "a").unwrap();
    assert_eq!(lost.value, b"lost", "it can be read, since it was applied");
    disk.crash();
    let store = on(&disk);
    assert_eq!(value(&store, "a").as_deref(), Some("1"));
    let next = applied(&store, put("a", "2"));
    assert!(next.sequence > lost.version);
    let stale = store.commit_blocking(put("a", "3").expecting("a", Expected::At(lost.version))).unwrap();
    assert_eq!(stale, Committed::Conflict { key: key("a"), actual: Some(next.sequence) });
}
