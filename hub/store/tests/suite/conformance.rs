//! One suite for every engine: what a caller of the port may rely on.

use std::future::Future;
use std::pin::pin;
use std::task::{Context, Poll, Waker};

use throughline_store::port::{Commit, Committed, Expected, KeyRange, Receipt, StoreError};
use throughline_store::{CommitFuture, Store};

use crate::support::{Also, Bench, Time, applied, delete, eventually, found, key, log, on_every_engine, put, value, whole_log};

on_every_engine! {
    a_commit_is_readable_with_its_version,
    a_precondition_that_does_not_hold_applies_nothing,
    preconditions_see_the_commits_before_them_in_the_batch,
    deletes_come_before_puts_and_the_last_put_counts,
    a_named_commit_is_applied_once,
    a_name_is_forgotten_when_its_time_is_over,
    a_refused_commit_may_use_its_name_again,
    the_log_is_in_the_order_of_commits_and_pages,
    sequences_rise_over_reopening,
    a_receipt_names_the_log_entries,
    scans_go_both_ways_with_limits,
    scans_see_their_range_and_nothing_else,
    what_is_too_large_is_refused,
    the_largest_of_everything_fits,
    keys_outside_the_tables_are_refused,
    everything_is_there_after_reopening,
    a_watch_wakes_and_ends,
    trimming_takes_the_log_from_its_front,
    a_closed_store_says_so,
    writers_at_once_lose_nothing,
    a_dropped_future_is_committed_all_the_same,
    stats_count,
    the_name_of_a_store_stays,
}

fn a_commit_is_readable_with_its_version(bench: &Bench) {
    let store = bench.open();
    let receipt = applied(&store, put("a", "1").and(put("b", "")));
    let a = found(&store, "a").unwrap();
    assert_eq!((a.version, a.value.as_slice()), (receipt.sequence, &b"1"[..]));
    let three = store.get(&[key("b"), key("nothing"), key("a")]).unwrap();
    assert_eq!(three.iter().map(|found| found.as_ref().map(|found| found.value.len())).collect::<Vec<_>>(), [Some(0), None, Some(1)]);
}

fn a_precondition_that_does_not_hold_applies_nothing(bench: &Bench) {
    let store = bench.open();
    let first = applied(&store, put("a", "1").expecting("a", Expected::Absent)).sequence;
    let check = |name: &str, expected: Expected, actual: Option<u64>| {
        let result = store.commit_blocking(put("c", "x").and(log(&["x"])).expecting(name, expected)).unwrap();
        assert_eq!(result, Committed::Conflict { key: key(name), actual });
        assert_eq!((value(&store, "c"), whole_log(&store), store.durable_head()), (None, vec![], first));
    };
    check("a", Expected::Absent, Some(first));
    check("a", Expected::At(first + 1), Some(first));
    check("b", Expected::At(first), None);
    let second = applied(&store, put("a", "2").expecting("a", Expected::At(first)).expecting("b", Expected::Absent));
    assert_eq!(found(&store, "a").unwrap().version, second.sequence);
    applied(&store, delete("a").expecting("a", Expected::At(second.sequence)));
    applied(&store, put("a", "3").expecting("a", Expected::Absent));
}

fn preconditions_see_the_commits_before_them_in_the_batch(bench: &Bench) {
    let store = bench.open();
    // Whether or not they meet in one batch, exactly one of all that expect the same must win, and the next one builds on it.
    for round in 0..20 {
        let name = format!("slot{round}");
        let claims: Vec<CommitFuture> =
            (0..50).map(|claim| store.commit(put(&name, &claim.to_string()).expecting(&name, Expected::Absent))).collect();
        let results: Vec<Committed> = claims.into_iter().map(|claim| claim.wait().unwrap()).collect();
        let winners: Vec<usize> = (0..50).filter(|index| matches!(results[*index], Committed::Applied(_))).collect();
        assert_eq!(winners, [0], "the first in the queue wins");
        let version = found(&store, &name).unwrap().version;
        assert!(results[1..].iter().all(|result| *result == Committed::Conflict { key: key(&name), actual: Some(version) }));
        assert_eq!(value(&store, &name).as_deref(), Some("0"));
    }
}

fn deletes_come_before_puts_and_the_last_put_counts(bench: &Bench) {
    let store = bench.open();
    applied(&store, put("a", "0"));
    applied(&store, put("a", "1").and(put("a", "2")).and(delete("a")));
    assert_eq!(value(&store, "a").as_deref(), Some("2"));
    applied(&store, delete("a").and(delete("absent")));
    assert_eq!(value(&store, "a"), None);
}

fn a_named_commit_is_applied_once(bench: &Bench) {
    let store = bench.open();
    let commit = || put("a", "1").and(log(&["x", "y"])).named("once", 100);
    let receipt = applied(&store, commit());
    assert_eq!(store.commit_blocking(commit()).unwrap(), Committed::Duplicate(receipt));
    // The name decides, before preconditions and whatever the commit holds.
    let other = put("a", "2").expecting("a", Expected::Absent).named("once", 100);
    assert_eq!(store.commit_blocking(other).unwrap(), Committed::Duplicate(receipt));
    let pair = [store.commit(put("b", "1").named("twice", 100)), store.commit(put("b", "2").named("twice", 100))];
    let [first, second] = pair.map(|pending| pending.wait().unwrap());
    let Committed::Applied(receipt) = first else { panic!("{first:?}") };
    assert_eq!(second, Committed::Duplicate(receipt));
    assert_eq!((value(&store, "a").as_deref(), value(&store, "b").as_deref(), whole_log(&store).len()), (Some("1"), Some("1"), 2));
    store.close().unwrap();
    let store = bench.open();
    assert!(matches!(store.commit_blocking(commit()).unwrap(), Committed::Duplicate(_)));
}

fn a_name_is_forgotten_when_its_time_is_over(bench: &Bench) {
    let time = Time::default();
    let store = bench.open_at(&time);
    let first = applied(&store, put("a", "1").named("id", 100));
    time.set(99);
    assert_eq!(store.commit_blocking(put("a", "2").named("id", 500)).unwrap(), Committed::Duplicate(first));
    time.set(100);
    let second = applied(&store, put("a", "3").named("id", 200));
    assert_eq!(store.commit_blocking(put("a", "4").named("id", 300)).unwrap(), Committed::Duplicate(second));
    // A name's first expiry, long past, must not take away the second.
    time.set(150);
    applied(&store, put("b", "1"));
    assert_eq!(store.commit_blocking(put("a", "5").named("id", 300)).unwrap(), Committed::Duplicate(second));
    for index in 0..1000 {
        applied(&store, put("c", "1").named(&format!("n{index}"), 160));
    }
    time.set(1000);
    for _ in 0..10 {
        applied(&store, put("d", "1"));
    }
    applied(&store, put("a", "6").named("id", 2000));
    applied(&store, put("a", "7").named("n999", 2000));
    assert_eq!(value(&store, "a").as_deref(), Some("7"));
}

fn a_refused_commit_may_use_its_name_again(bench: &Bench) {
    let store = bench.open();
    let commit = || put("a", "1").expecting("gate", Expected::At(1)).named("id", 100);
    assert!(matches!(store.commit_blocking(commit()).unwrap(), Committed::Conflict { .. }));
    assert_eq!(applied(&store, put("gate", "open")).sequence, 1);
    applied(&store, commit());
    assert!(matches!(store.commit_blocking(commit()).unwrap(), Committed::Duplicate(_)));
}

fn the_log_is_in_the_order_of_commits_and_pages(bench: &Bench) {
    let store = bench.open();
    let pending: Vec<CommitFuture> = (0..100).map(|index| store.commit(log(&[&format!("{index}a"), &format!("{index}b")]))).collect();
    let receipts: Vec<Committed> = pending.into_iter().map(|pending| pending.wait().unwrap()).collect();
    let expected: Vec<String> = (0..100).flat_map(|index| [format!("{index}a"), format!("{index}b")]).collect();
    let log = whole_log(&store);
    assert_eq!(log.iter().map(|(_, text)| text.clone()).collect::<Vec<_>>(), expected);
    assert!(log.windows(2).all(|pair| pair[0].0 < pair[1].0));
    let Committed::Applied(tenth) = receipts[10] else { panic!() };
    let page = store.read_log(tenth.first_log - 1, 3).unwrap();
    let texts: Vec<&[u8]> = page.iter().map(|entry| entry.value.as_slice()).collect();
    assert_eq!(texts, [&b"10a"[..], b"10b", b"11a"]);
    assert_eq!(store.read_log(store.durable_head(), 10).unwrap(), []);
    assert_eq!(store.read_log(u64::MAX, 10).unwrap(), []);
    assert_eq!(store.read_log(0, 0).unwrap(), []);
}

fn sequences_rise_over_reopening(bench: &Bench) {
    let mut last = 0;
    for _ in 0..5 {
        let store = bench.open();
        assert_eq!(store.durable_head(), last);
        for commit in [log(&["a", "b", "c"]), put("k", "v"), Commit::default(), delete("k")] {
            let receipt = applied(&store, commit);
            assert!(receipt.sequence > last && store.durable_head() >= receipt.sequence);
            last = store.durable_head();
        }
        store.close().unwrap();
    }
}

fn a_receipt_names_the_log_entries(bench: &Bench) {
    let store = bench.open();
    let silent = applied(&store, put("a", "1"));
    assert_eq!(silent, Receipt { sequence: 1, first_log: 0 });
    let loud = applied(&store, put("a", "2").and(log(&["x", "y", "z"])));
    assert_eq!(loud, Receipt { sequence: 2, first_log: 2 });
    let silent = applied(&store, put("a", "3"));
    assert_eq!(silent, Receipt { sequence: 5, first_log: 4 });
    let log: Vec<u64> = whole_log(&store).into_iter().map(|(sequence, _)| sequence).collect();
    assert_eq!((log, store.durable_head()), (vec![2, 3, 4], 5));
}

fn scan(store: &Store, start: &str, end: &str, reverse: bool, limit: usize) -> (String, bool) {
    let page = store.scan(&KeyRange { start: key(start), end: key(end) }, reverse, limit).unwrap();
    (page.entries.iter().map(|(key, _)| char::from(key[1])).collect(), page.more)
}

fn scans_go_both_ways_with_limits(bench: &Bench) {
    let store = bench.open();
    applied(&store, "cafebd".chars().fold(Commit::default(), |commit, name| commit.and(put(&name.to_string(), "v"))));
    let check = |start, end, reverse, limit, expected: &str, more| {
        assert_eq!(scan(&store, start, end, reverse, limit), (expected.to_owned(), more), "{start}..{end} {reverse} {limit}");
    };
    check("a", "z", false, 10, "abcdef", false);
    check("a", "z", true, 10, "fedcba", false);
    check("a", "z", false, 6, "abcdef", false);
    check("a", "z", false, 5, "abcde", true);
    check("a", "z", true, 2, "fe", true);
    check("b", "e", false, 10, "bcd", false);
    check("b", "e", true, 10, "dcb", false);
    check("a", "z", false, 0, "", true);
    check("x", "z", false, 0, "", false);
    check("c", "c", false, 10, "", false);
    check("e", "b", false, 10, "", false);
    check("e", "b", true, 10, "", false);
}

fn scans_see_their_range_and_nothing_else(bench: &Bench) {
    let store = bench.open();
    let at = |prefix: u8, rest: &[u8]| ([&[prefix], rest].concat(), b"v".to_vec());
    let all =
        vec![at(0x0f, b""), at(0x0f, b"\xff\xff"), at(0x10, b""), at(0x10, b"\0"), at(0x10, b"\xff"), at(0x11, b"a"), at(0x7f, b"\xff")];
    applied(&store, Commit { put: all.clone(), log: vec![b"x".to_vec()], ..Commit::default() }.named("id", 9));
    let keys = |prefix: &[u8], reverse| {
        let page = store.scan(&KeyRange::prefix(prefix), reverse, 100).unwrap();
        page.entries.into_iter().map(|(key, _)| key).collect::<Vec<_>>()
    };
    assert_eq!(keys(&[0x10], false), [all[2].0.clone(), all[3].0.clone(), all[4].0.clone()]);
    assert_eq!(keys(&[0x10], true), [all[4].0.clone(), all[3].0.clone(), all[2].0.clone()]);
    assert_eq!(keys(&[0x10, 0xff], false), [all[4].0.clone()]);
    assert_eq!(keys(&[0x7f], true), [all[6].0.clone()]);
    let everything = store.scan(&KeyRange { start: vec![0x0f], end: vec![0x80] }, false, 100).unwrap();
    assert_eq!(everything.entries.len(), all.len(), "the store's own keys stay hidden");
}

fn what_is_too_large_is_refused(bench: &Bench) {
    let store = bench.open();
    let limits = store.limits();
    let check = |commit: Commit, what: &str| match store.commit_blocking(commit) {
        Err(StoreError::TooLarge { what: said, size, limit }) => assert!(said == what && size > limit, "{said} {size} {limit}"),
        other => panic!("{other:?}"),
    };
    let long = "x".repeat(limits.key);
    check(put(&long, ""), "a key");
    check(delete(&long), "a key");
    check(Commit::default().expecting(&long, Expected::Absent), "a key");
    check(put("a", &"x".repeat(limits.value + 1)), "a value");
    check(log(&[&"x".repeat(limits.value + 1)]), "a log entry");
    check(Commit::default().named(&"x".repeat(257), 1), "an idempotency id");
    let many = Commit { log: vec![vec![0; limits.value]; limits.commit / limits.value], ..Commit::default() };
    check(many, "a commit");
    check(Commit { log: vec![Vec::new(); limits.commit], ..Commit::default() }, "a commit");
    assert_eq!((store.durable_head(), value(&store, "a")), (0, None));
}

fn the_largest_of_everything_fits(bench: &Bench) {
    let store = bench.open();
    let limits = store.limits();
    let long = |index: usize| format!("{index:0width$}", width = limits.key - 1);
    let full = "x".repeat(limits.value);
    let count = limits.commit / (limits.key + limits.value + 8);
    let commit = (0..count).fold(Commit::default(), |commit, index| commit.and(put(&long(index), &full)));
    applied(&store, commit);
    applied(&store, log(&[&full]).named(&"i".repeat(256), 100));
    store.close().unwrap();
    let store = bench.open();
    for index in 0..count {
        assert_eq!(value(&store, &long(index)).as_ref(), Some(&full));
    }
    assert_eq!(whole_log(&store)[0].1, full);
}

fn keys_outside_the_tables_are_refused(bench: &Bench) {
    let store = bench.open();
    for key in [vec![], vec![0x00, b'h'], vec![0x01; 9], vec![0x02], vec![0x03], vec![0x0e], vec![0x80], vec![0xff]] {
        let refused = Err(StoreError::ReservedKey(key.clone()));
        assert_eq!(store.commit_blocking(Commit { put: vec![(key.clone(), vec![])], ..Commit::default() }), refused);
        assert_eq!(store.commit_blocking(Commit { delete: vec![key.clone()], ..Commit::default() }), refused);
        assert_eq!(store.commit_blocking(Commit { expect: vec![(key.clone(), Expected::Absent)], ..Commit::default() }), refused);
        assert_eq!(store.get(std::slice::from_ref(&key)), Err(StoreError::ReservedKey(key.clone())));
    }
    for (start, end) in [(vec![], vec![0x20]), (vec![0x01], vec![0x20]), (vec![0x10], vec![0x80, 0]), (vec![0x10], vec![0xff])] {
        assert_eq!(store.scan(&KeyRange { start: start.clone(), end }, false, 1), Err(StoreError::ReservedKey(start)));
    }
}

fn everything_is_there_after_reopening(bench: &Bench) {
    let store = bench.open();
    for index in 0..300 {
        applied(&store, put(&format!("k{}", index % 70), &index.to_string()).and(log(&[&index.to_string()])));
    }
    applied(&store, delete("k3"));
    let range = KeyRange::prefix(&[0x10]);
    let before = (store.scan(&range, false, 1000).unwrap(), whole_log(&store), store.durable_head());
    store.close().unwrap();
    let store = bench.open();
    assert_eq!((store.scan(&range, false, 1000).unwrap(), whole_log(&store), store.durable_head()), before);
    assert_eq!(before.0.entries.len(), 69);
}

fn a_watch_wakes_and_ends(bench: &Bench) {
    let store = bench.open();
    let mut watch = store.watch();
    let poll = |watch: &mut throughline_store::Watch| pin!(watch.changed()).poll(&mut Context::from_waker(Waker::noop()));
    assert_eq!(poll(&mut watch), Poll::Pending);
    let receipt = applied(&store, log(&["a"]));
    assert_eq!(poll(&mut watch), Poll::Ready(Ok(receipt.sequence)));
    assert_eq!(poll(&mut watch), Poll::Pending);
    store.commit_blocking(put("a", "1").expecting("a", Expected::At(99))).unwrap();
    assert_eq!(poll(&mut watch), Poll::Pending, "a conflict moves nothing");
    store.close().unwrap();
    assert_eq!(poll(&mut watch), Poll::Ready(Err(StoreError::Closed)));
}

fn trimming_takes_the_log_from_its_front(bench: &Bench) {
    let store = bench.open();
    let pending: Vec<CommitFuture> = (0..3000).map(|index| store.commit(log(&[&index.to_string()]))).collect();
    pending.into_iter().for_each(|pending| assert!(pending.wait().is_ok()));
    assert_eq!(store.log_start(), Ok(0));
    assert_eq!(store.trim_log(2501), Ok(2500));
    assert_eq!((whole_log(&store)[0].clone(), whole_log(&store).len()), ((2501, "2500".to_owned()), 500));
    assert_eq!(store.log_start(), Ok(2501));
    assert_eq!(store.trim_log(100), Ok(0));
    assert_eq!(store.log_start(), Ok(2501), "it never goes back");
    // Never beyond the head: what is logged next is not trimmed by a request made before.
    assert_eq!(store.trim_log(u64::MAX), Ok(500));
    let next = applied(&store, log(&["next"]));
    assert_eq!(whole_log(&store), [(next.sequence, "next".to_owned())]);
    store.close().unwrap();
    let store = bench.open();
    assert_eq!((store.log_start(), whole_log(&store).len()), (Ok(3001), 1));
}

fn a_closed_store_says_so(bench: &Bench) {
    let store = bench.open();
    let pending: Vec<CommitFuture> = (0..200).map(|index| store.commit(put(&index.to_string(), "v"))).collect();
    let clone = store.clone();
    store.close().unwrap();
    assert!(pending.into_iter().all(|pending| matches!(pending.wait(), Ok(Committed::Applied(_)))), "what waited was finished");
    assert_eq!(clone.commit_blocking(put("a", "1")), Err(StoreError::Closed));
    assert_eq!(clone.get(&[key("1")]), Err(StoreError::Closed));
    assert_eq!(clone.close(), Ok(()), "closing twice is no error");
    let again = bench.open();
    assert_eq!(value(&again, "199").as_deref(), Some("v"));
}

fn writers_at_once_lose_nothing(bench: &Bench) {
    const WRITERS: usize = 8;
    const EACH: usize = 60;
    let store = bench.open();
    std::thread::scope(|scope| {
        for writer in 0..WRITERS {
            let store = store.clone();
            scope.spawn(move || {
                for index in 0..EACH {
                    increment(&store, "counter", &format!("{writer}.{index}"));
                }
            });
        }
    });
    assert_eq!(value(&store, "counter"), Some((WRITERS * EACH).to_string()));
    let mut log: Vec<String> = whole_log(&store).into_iter().map(|(_, text)| text).collect();
    log.sort();
    log.dedup();
    assert_eq!(log.len(), WRITERS * EACH);
}

/// Adds one to a counter that others count on too, by reading and trying again.
fn increment(store: &Store, name: &str, entry: &str) {
    loop {
        let before = found(store, name);
        let count: usize = before.as_ref().map_or(0, |found| std::str::from_utf8(&found.value).unwrap().parse().unwrap());
        let expected = before.map_or(Expected::Absent, |found| Expected::At(found.version));
        let commit = put(name, &(count + 1).to_string()).and(log(&[entry])).expecting(name, expected);
        match store.commit_blocking(commit).unwrap() {
            Committed::Applied(_) => return,
            Committed::Conflict { .. } => {}
            Committed::Duplicate(_) => panic!("it has no name"),
        }
    }
}

fn a_dropped_future_is_committed_all_the_same(bench: &Bench) {
    let store = bench.open();
    drop(store.commit(put("a", "1")));
    eventually("the commit is there", || value(&store, "a").is_some());
}

fn stats_count(bench: &Bench) {
    let store = bench.open();
    applied(&store, put("a", "1").named("id", 10));
    store.commit_blocking(put("a", "2").named("id", 10)).unwrap();
    store.commit_blocking(put("a", "2").expecting("a", Expected::Absent)).unwrap();
    let stats = store.stats().unwrap();
    assert_eq!((stats.commits, stats.duplicates, stats.conflicts, stats.batches), (1, 1, 1, 1));
    assert_eq!((stats.durable_head, stats.waiting, stats.failure), (1, 0, None));
    assert!(stats.bytes > 0 && stats.syncs > 0);
    assert_eq!(stats.disk_bytes > 0, matches!(bench, Bench::Sled(_)));
}

fn the_name_of_a_store_stays(bench: &Bench) {
    let store = bench.open();
    let id = store.id();
    store.close().unwrap();
    assert_eq!(bench.open().id(), id);
    assert_ne!(Bench::memory().open().id(), id);
}
