//! kill -9 at any moment: every acknowledged commit is there once, in order, whole.
//!
//! The test runs itself again as the process to be killed. That process tells each acknowledgement through its standard output; what the
//! parent has read, it may rely on. `THROUGHLINE_KILLS` raises the number of kills from 60.

use std::io::{BufRead, BufReader, Write};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, SystemTime, UNIX_EPOCH};

use throughline_store::port::{Commit, Committed, Expected, KeyRange};
use throughline_store::{CommitFuture, Store};

use crate::support::{Also, log, open, put, whole_log};

const CHILD: &str = "THROUGHLINE_KILL_CHILD";
const KILLS: &str = "THROUGHLINE_KILLS";
/// Commits that wait at once, so that batches carry many.
const AT_ONCE: u64 = 24;
/// Keys that one commit writes: a torn commit would show some of them only.
const KEYS: u64 = 4;
const SLOTS: u64 = 200;

#[test]
fn every_acknowledged_commit_survives_kill_9() {
    if let Some(dir) = std::env::var_os(CHILD) {
        write_until_killed(Path::new(&dir));
    }
    let kills = std::env::var(KILLS).map_or(60, |kills| kills.parse().expect("a number of kills"));
    let dir = tempfile::tempdir().unwrap();
    let mut random = Random::from_time();
    println!("seed {}", random.0);
    let (mut acknowledged, mut with_progress) = (0, 0);
    for kill in 0..kills {
        let before = acknowledged;
        let mut child = Killed(start(dir.path()));
        acknowledged = acknowledged.max(read_until(&mut child.0, random.below(60)));
        drop(child);
        verify(dir.path(), acknowledged, kill);
        with_progress += u64::from(acknowledged > before);
    }
    assert!(with_progress * 2 > kills, "only {with_progress} of {kills} processes acknowledged anything");
}

/// Kills its process, also when the test fails.
struct Killed(Child);

impl Drop for Killed {
    fn drop(&mut self) {
        self.0.kill().expect("SIGKILL");
        self.0.wait().expect("it is gone");
    }
}

fn start(dir: &Path) -> Child {
    Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "kill::every_acknowledged_commit_survives_kill_9", "--nocapture", "--test-threads", "1"])
        .env(CHILD, dir)
        .stdout(Stdio::piped())
        .stderr(Stdio::inherit())
        .spawn()
        .unwrap()
}

/// Reads acknowledgements for some milliseconds after the first one; gives the last. A process that is killed before its first one is
/// as good a test: opening was interrupted.
fn read_until(child: &mut Child, milliseconds: u64) -> u64 {
    let output = child.stdout.take().unwrap();
    if milliseconds < 5 {
        // Not even opening may be over.
        std::thread::sleep(Duration::from_millis(milliseconds * 4));
        return 0;
    }
    let mut last = 0;
    let mut deadline = None;
    for line in BufReader::new(output).lines() {
        let Some(number) = line.unwrap().strip_prefix("ack ").map(|number| number.parse().unwrap()) else { continue };
        last = number;
        let now = std::time::Instant::now();
        if now >= *deadline.get_or_insert(now + Duration::from_millis(milliseconds)) {
            break;
        }
    }
    last
}

fn verify(dir: &Path, acknowledged: u64, kill: u64) {
    let store = open(dir).unwrap_or_else(|error| panic!("kill {kill}: {error}"));
    let log = whole_log(&store);
    let numbers: Vec<u64> = log.iter().map(|(_, text)| text.parse().unwrap()).collect();
    let count = numbers.len() as u64;
    assert_eq!(numbers, (1..=count).collect::<Vec<_>>(), "kill {kill}: each once and in order");
    assert!(count >= acknowledged, "kill {kill}: {acknowledged} were acknowledged and {count} are there");
    for key in 0..KEYS {
        let range = KeyRange::prefix(format!("\x10{key}/").as_bytes());
        let page = store.scan(&range, false, usize::MAX).unwrap();
        let found: Vec<(u64, u64)> = page
            .entries
            .iter()
            .map(|(_, found)| (found.version, std::str::from_utf8(&found.value[..20]).unwrap().parse().unwrap()))
            .collect();
        assert_eq!(found.len() as u64, count.min(SLOTS), "kill {kill}: key {key}");
        for (version, number) in found {
            assert!(number + SLOTS > count, "kill {kill}: slot of {number} is stale");
            assert_eq!(log[number as usize - 1].0, version, "kill {kill}: commit {number} is torn");
        }
    }
    store.close().unwrap();
}

/// The process to be killed: goes on where the log ends.
fn write_until_killed(dir: &Path) -> ! {
    let store = open(dir).unwrap();
    let mut next = whole_log(&store).len() as u64 + 1;
    let mut waiting = std::collections::VecDeque::new();
    let mut output = std::io::stdout().lock();
    // The harness has begun a line of its own.
    writeln!(output).unwrap();
    loop {
        while waiting.len() < AT_ONCE as usize {
            waiting.push_back((next, send(&store, next)));
            next += 1;
        }
        let (number, pending): (u64, CommitFuture) = waiting.pop_front().unwrap();
        assert!(matches!(pending.wait(), Ok(Committed::Applied(_))), "commit {number}");
        writeln!(output, "ack {number}").unwrap();
        output.flush().unwrap();
    }
}

fn send(store: &Store, number: u64) -> CommitFuture {
    let slot = number % SLOTS;
    let commit = (0..KEYS).fold(Commit::default(), |commit, key| {
        commit.and(put(&format!("{key}/{slot:04}"), &format!("{number:020}{}", "x".repeat((number * 37 % 900) as usize))))
    });
    let once = format!("once{number}");
    store.commit(commit.and(put(&once, "")).and(log(&[&number.to_string()])).expecting(&once, Expected::Absent).named(&once, u64::MAX))
}

/// xorshift64*: enough to choose moments.
struct Random(u64);

impl Random {
    fn from_time() -> Self {
        let now = SystemTime::now().duration_since(UNIX_EPOCH).unwrap();
        Self(now.as_nanos() as u64 | 1)
    }

    fn below(&mut self, limit: u64) -> u64 {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        (self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33) % limit
    }
}
