//! Random histories against a model that is plainly right: a map, a list and a table of names.

use std::collections::BTreeMap;

use proptest::collection::vec;
use proptest::prelude::*;

use throughline_store::port::{Commit, Committed, Expected, Idempotency, Key, KeyRange, Receipt, Sequence};

use crate::support::Bench;

#[derive(Debug, Clone)]
enum Step {
    Commits(Vec<Random>),
    Scan { start: u8, end: u8, reverse: bool, limit: usize },
    ReadLog { after: Sequence, limit: usize },
    Trim(Sequence),
    Reopen,
}

/// A commit whose preconditions are written without knowing versions.
#[derive(Debug, Clone)]
struct Random {
    expect: Vec<(u8, Expectation)>,
    put: Vec<(u8, Vec<u8>)>,
    delete: Vec<u8>,
    log: Vec<Vec<u8>>,
    name: Option<u8>,
}

#[derive(Debug, Clone)]
enum Expectation {
    Absent,
    Right,
    At(Sequence),
}

fn random() -> impl Strategy<Value = Random> {
    let bytes = || vec(any::<u8>(), 0..40);
    let expectation =
        prop_oneof![1 => Just(Expectation::Absent), 4 => Just(Expectation::Right), 1 => (0..40_u64).prop_map(Expectation::At)];
    (
        vec((0..24_u8, expectation), 0..2),
        vec((0..24_u8, bytes()), 0..4),
        vec(0..24_u8, 0..3),
        vec(bytes(), 0..3),
        proptest::option::weighted(0.3, 0..8_u8),
    )
        .prop_map(|(expect, put, delete, log, name)| Random { expect, put, delete, log, name })
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => vec(random(), 1..6).prop_map(Step::Commits),
        2 => (0..26_u8, 0..26_u8, any::<bool>(), 0..30_usize)
            .prop_map(|(start, end, reverse, limit)| Step::Scan { start, end, reverse, limit }),
        1 => (0..60_u64, 0..30_usize).prop_map(|(after, limit)| Step::ReadLog { after, limit }),
        1 => (0..60_u64).prop_map(Step::Trim),
        1 => Just(Step::Reopen),
    ]
}

fn key(number: u8) -> Key {
    // Keys of unequal length, some the beginning of others.
    let mut key = vec![0x20];
    key.extend(std::iter::repeat_n(number / 3, usize::from(number % 3) + 1));
    key
}

#[derive(Default)]
struct Model {
    head: Sequence,
    rows: BTreeMap<Key, (Sequence, Vec<u8>)>,
    log: BTreeMap<Sequence, Vec<u8>>,
    names: BTreeMap<u8, Receipt>,
}

impl Model {
    fn version(&self, key: &Key) -> Option<Sequence> {
        self.rows.get(key).map(|(version, _)| *version)
    }

    /// The commit as sent, with versions where the model knows them at this moment.
    fn written(&self, random: &Random) -> Commit {
        let expect = random.expect.iter().map(|(number, expectation)| {
            let expected = match expectation {
                Expectation::Absent => Expected::Absent,
                Expectation::Right => self.version(&key(*number)).map_or(Expected::Absent, Expected::At),
                Expectation::At(version) => Expected::At(*version),
            };
            (key(*number), expected)
        });
        Commit {
            expect: expect.collect(),
            put: random.put.iter().map(|(number, value)| (key(*number), value.clone())).collect(),
            delete: random.delete.iter().map(|number| key(*number)).collect(),
            log: random.log.clone(),
            idempotency: random.name.map(|name| Idempotency { id: vec![name], expires_at_ms: 1000 }),
        }
    }

    fn commit(&mut self, commit: &Commit, name: Option<u8>) -> Committed {
        if let Some(receipt) = name.and_then(|name| self.names.get(&name)) {
            return Committed::Duplicate(*receipt);
        }
        for (key, expected) in &commit.expect {
            let actual = self.version(key);
            let wanted = match expected {
                Expected::Absent => None,
                Expected::At(version) => Some(*version),
            };
            if actual != wanted {
                return Committed::Conflict { key: key.clone(), actual };
            }
        }
        let sequence = self.head + 1;
        let receipt = Receipt { sequence, first_log: if commit.log.is_empty() { self.head } else { sequence } };
        self.rows.retain(|key, _| !commit.delete.contains(key));
        self.rows.extend(commit.put.iter().map(|(key, value)| (key.clone(), (sequence, value.clone()))));
        self.log.extend((sequence..).zip(commit.log.iter().cloned()));
        self.head += commit.log.len().max(1) as u64;
        self.names.extend(name.map(|name| (name, receipt)));
        Committed::Applied(receipt)
    }

    fn scan(&self, range: &KeyRange, reverse: bool, limit: usize) -> (Vec<(Key, Sequence, Vec<u8>)>, bool) {
        let mut found: Vec<_> = self
            .rows
            .iter()
            .filter(|(key, _)| range.start <= **key && **key < range.end)
            .map(|(key, (version, value))| (key.clone(), *version, value.clone()))
            .collect();
        if reverse {
            found.reverse();
        }
        let more = found.len() > limit;
        found.truncate(limit);
        (found, more)
    }
}

fn check(bench: &Bench, steps: Vec<Step>) {
    let mut store = bench.open();
    let mut model = Model::default();
    for step in steps {
        match step {
            Step::Commits(randoms) => {
                // Sent without waiting, so that they share batches; the order of sending is the order of deciding.
                let commits: Vec<(Commit, Committed)> = randoms
                    .iter()
                    .map(|random| {
                        let commit = model.written(random);
                        let expected = model.commit(&commit, random.name);
                        (commit, expected)
                    })
                    .collect();
                let pending: Vec<_> = commits.into_iter().map(|(commit, expected)| (store.commit(commit), expected)).collect();
                pending.into_iter().for_each(|(pending, expected)| assert_eq!(pending.wait().unwrap(), expected));
            }
            Step::Scan { start, end, reverse, limit } => {
                let range = KeyRange { start: key(start), end: key(end) };
                let page = store.scan(&range, reverse, limit).unwrap();
                let found: Vec<_> = page.entries.into_iter().map(|(key, found)| (key, found.version, found.value)).collect();
                assert_eq!((found, page.more), model.scan(&range, reverse, limit));
            }
            Step::ReadLog { after, limit } => {
                let found: Vec<_> = store.read_log(after, limit).unwrap().into_iter().map(|entry| (entry.sequence, entry.value)).collect();
                let expected: Vec<_> =
                    model.log.range(after + 1..).take(limit).map(|(sequence, value)| (*sequence, value.clone())).collect();
                assert_eq!(found, expected);
            }
            Step::Trim(before) => {
                let kept = model.log.split_off(&before);
                let removed = std::mem::replace(&mut model.log, kept).len() as u64;
                assert_eq!(store.trim_log(before).unwrap(), removed);
            }
            Step::Reopen => {
                store.close().unwrap();
                store = bench.open();
            }
        }
        assert_eq!(store.durable_head(), model.head);
    }
    let keys: Vec<Key> = (0..26).map(key).collect();
    let found: Vec<_> = store.get(&keys).unwrap().into_iter().map(|found| found.map(|found| (found.version, found.value))).collect();
    assert_eq!(found, keys.iter().map(|key| model.rows.get(key).cloned()).collect::<Vec<_>>());
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 256, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn the_memory_engine_is_the_model(steps in vec(step(), 1..30)) {
        check(&Bench::memory(), steps);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 24, failure_persistence: None, ..ProptestConfig::default() })]
    #[test]
    fn sled_is_the_model(steps in vec(step(), 1..40)) {
        check(&Bench::sled(), steps);
    }
}
