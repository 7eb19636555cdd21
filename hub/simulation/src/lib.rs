//! Deterministic simulation of the real engine: an in-memory store with a pretended disk, virtual time, silos that fail in every way.
//!
//! A seed says everything: the silos' tempers, who changes what and when, which webhooks are lost, doubled and late, which answers
//! never come, at which commit the power fails. At the end, after all troubles, everybody must hold the same, nothing superseded may
//! have come back, nothing may have been made twice, and nobody may still be writing. Only what the hub shows and what the silos hold
//! is looked at; the hub runs the code that everybody runs.

mod checks;
mod connector;
mod driver;
mod edits;
mod random;
mod report;
mod scenario;
mod silo;
mod temper;
mod trace;
mod world;

pub use checks::Violation;
pub use report::{Figures, run_range};
pub use scenario::Kind;
pub use throughline_domain::sync::Protections;

use std::path::Path;

/// What a run came to.
#[derive(Debug, Clone)]
pub struct Run {
    /// Its seed.
    pub seed: u64,
    /// A digest of everything that happened.
    pub digest: u64,
    /// Writes that took effect at the silos.
    pub writes: u64,
    /// Those of them that brought something new.
    pub necessary: u64,
    /// Changes that people made.
    pub edits: usize,
    /// What must not be.
    pub violations: Vec<Violation>,
    /// What happened, short, if anything is wrong.
    pub story: String,
}

/// Lines of a story.
const STORY_LINES: usize = 60;

/// The kind of run that a seed is.
#[must_use]
pub fn kind_of(seed: u64) -> Kind {
    match seed % 8 {
        6 => Kind::TwoHelpdesks,
        7 => Kind::QuarrellingRules,
        _ => Kind::Anything,
    }
}

/// Runs one seed. `files` is a folder for the hub's files, which are none in a simulation.
#[must_use]
pub fn run(seed: u64, kind: Kind, protections: Protections, files: &Path) -> Run {
    let scenario = scenario::Scenario::new(kind, seed);
    let (hub, runtime) = driver::run(&scenario, seed, protections, files);
    let state = scenario.world.state();
    let violations = checks::violations(&state, &hub, kind);
    let about: Vec<String> = violations.first().map(|violation| violation.about.clone()).unwrap_or_default();
    let story = if violations.is_empty() { String::new() } else { state.trace.story(&about, STORY_LINES) };
    let (writes, necessary) = (state.writes.all, state.writes.necessary);
    let run = Run { seed, digest: state.trace.digest(), writes, necessary, edits: state.edits.count(), violations, story };
    drop(state);
    scenario.world.end_life();
    drop(runtime);
    run
}
