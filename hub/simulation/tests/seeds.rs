//! Seeds of every kind, with every rule in force; that a seed says everything; that each rule is needed.
#![allow(clippy::unwrap_used, reason = "tests")]

use throughline_simulation::{Protections, kind_of, run, run_range};

/// Runs of the everyday test; `cargo xtask sim` runs as many as one likes.
const SEEDS: u64 = 40;
#[test]
fn nothing_is_lost_doubled_or_written_for_ever() {
    let files = tempfile::tempdir().unwrap();
    let figures = run_range(0..SEEDS, 2, Protections::default(), files.path(), false);
    assert!(figures.holds(), "{}\n{:#}", figures.stories(), figures.to_json());
    assert!(figures.edits > SEEDS * 8 && figures.writes > SEEDS * 5, "something happens in these runs: {:#}", figures.to_json());
}

#[test]
fn a_seed_says_everything() {
    let files = tempfile::tempdir().unwrap();
    for seed in 0..8 {
        let digest = || run(seed, kind_of(seed), Protections::default(), files.path()).digest;
        assert_eq!(digest(), digest(), "seed {seed}");
    }
    let digest = |seed| run(seed, kind_of(seed), Protections::default(), files.path()).digest;
    assert_ne!(digest(0), digest(1));
}

/// A seed in which the rule is needed: with all rules everything holds, without this one it does not.
fn is_needed(rule: &str, seed: u64) {
    let files = tempfile::tempdir().unwrap();
    let wrong = |rules| run(seed, kind_of(seed), rules, files.path()).violations;
    assert_eq!(wrong(Protections::default()), []);
    assert!(!wrong(Protections::without(rule).unwrap()).is_empty(), "seed {seed} holds without {rule}");
}

#[test]
fn without_shadows_an_echo_is_taken_for_a_change() {
    is_needed("shadows", 1);
}

#[test]
fn a_hint_that_is_believed_brings_old_values_back() {
    is_needed("read_back_hints", 1);
}

#[test]
fn an_outcome_that_is_not_read_back_is_written_again() {
    is_needed("read_back_outcomes", 2);
}

#[test]
fn a_write_that_was_not_noted_is_taken_for_the_silos_change() {
    is_needed("intents", 1);
}

#[test]
fn a_create_that_is_not_looked_for_is_doubled() {
    is_needed("creates_looked_for", 10);
}

#[test]
fn an_unconditional_write_overwrites_what_it_did_not_see() {
    is_needed("conditions", 1);
}

#[test]
fn two_rules_that_are_not_stopped_go_on_for_ever() {
    is_needed("freezes", 7);
}
