//! `cargo xtask bench continuity`: does the hub put what strangers, machines and confused mail programs send where it belongs?
//!
//! Every case of the corpus is a small history that a hub over an in-memory store takes in as it would in earnest; what it decides is
//! held against what a person says is right. `docs/continuity-corpus.md` is the format. Exit code 0 only if nothing was attached or
//! disclosed wrongly and at most one attachment in twenty was missed. `cargo test` runs it as well.
#![allow(clippy::unwrap_used, reason = "a case that cannot be run is to stop the run")]

mod case;
mod play;
mod score;
#[path = "../../tests/engine/scripted.rs"]
#[expect(dead_code, reason = "the silo of the tests can do more than a corpus asks of it")]
mod scripted;

use std::path::PathBuf;
use std::process::ExitCode;

use case::Case;
use score::Score;

/// The corpus that is part of the repository.
const OWN: &str = "benches/continuity/corpus.jsonl";
/// Fewer cases prove nothing of our own corpus.
const FEWEST: usize = 300;

fn main() -> ExitCode {
    let words: Vec<String> = std::env::args().skip(1).collect();
    let given = words.iter().position(|word| word == "--corpus").and_then(|at| words.get(at + 1)).map(PathBuf::from);
    let only = words.iter().position(|word| word == "--case").and_then(|at| words.get(at + 1)).cloned();
    let is_own = given.is_none() && only.is_none();
    let path = given.unwrap_or_else(|| PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(OWN));
    let text = std::fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()));
    let mut score = Score::default();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty() && !line.starts_with('#')) {
        match serde_json::from_str::<Case>(line) {
            Ok(case) if only.as_ref().is_some_and(|only| *only != case.id) => {}
            Ok(case) => {
                let found = runtime.block_on(play::play(&case));
                score.add(&case, found);
            }
            Err(error) => score.unreadable(format!("line {}: {error}", number + 1)),
        }
    }
    print!("{score}");
    let enough = !is_own || score.cases >= FEWEST;
    if !enough {
        println!("our own corpus has only {} cases", score.cases);
    }
    // Our own expectations are exact; another corpus may be of another mind where nothing is at stake.
    let exact = !is_own || score.is_exact();
    if score.is_good() && enough && exact { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}
