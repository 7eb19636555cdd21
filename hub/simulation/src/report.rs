//! Many seeds, on several threads, and their figures.

use std::collections::BTreeMap;
use std::ops::Range;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use serde_json::{Value, json};

use crate::{Kind, Protections, Run, kind_of, run};

/// Failed seeds that are told in full.
const TOLD: usize = 5;

/// What many runs came to.
#[derive(Debug, Default)]
pub struct Figures {
    /// How many runs.
    pub runs: u64,
    /// Changes that people made.
    pub edits: u64,
    /// Writes that took effect.
    pub writes: u64,
    /// Those that brought something new.
    pub necessary: u64,
    /// The same two where two silos' own rules undo each other, which is a loop until it is broken.
    pub quarrels: (u64, u64),
    /// The greatest of all runs' writes by necessary writes.
    pub worst_amplification: f64,
    /// How often each rule was violated.
    pub violations: BTreeMap<&'static str, u64>,
    /// The first that failed, whole.
    pub failed: Vec<Run>,
    /// How many failed.
    pub failures: u64,
}

impl Figures {
    fn add(&mut self, run: Run) {
        self.runs += 1;
        self.edits += run.edits as u64;
        if kind_of(run.seed) == Kind::QuarrellingRules {
            self.quarrels.0 += run.writes;
            self.quarrels.1 += run.necessary;
        } else {
            self.writes += run.writes;
            self.necessary += run.necessary;
            self.worst_amplification = self.worst_amplification.max(run.writes as f64 / run.necessary.max(1) as f64);
        }
        for violation in &run.violations {
            *self.violations.entry(violation.rule).or_default() += 1;
        }
        if !run.violations.is_empty() {
            self.failures += 1;
            if self.failed.len() < TOLD {
                self.failed.push(run);
            }
        }
    }

    fn join(&mut self, other: Self) {
        self.runs += other.runs;
        self.edits += other.edits;
        self.writes += other.writes;
        self.necessary += other.necessary;
        self.quarrels = (self.quarrels.0 + other.quarrels.0, self.quarrels.1 + other.quarrels.1);
        self.worst_amplification = self.worst_amplification.max(other.worst_amplification);
        for (rule, count) in other.violations {
            *self.violations.entry(rule).or_default() += count;
        }
        self.failures += other.failures;
        self.failed.extend(other.failed);
        self.failed.sort_by_key(|run| run.seed);
        self.failed.truncate(TOLD);
    }

    /// Writes by necessary writes, over all runs.
    #[must_use]
    pub fn amplification(&self) -> f64 {
        self.writes as f64 / self.necessary.max(1) as f64
    }

    /// Whether everything held.
    #[must_use]
    pub fn holds(&self) -> bool {
        self.failures == 0 && self.amplification() <= 1.1
    }

    /// For programs.
    #[must_use]
    pub fn to_json(&self) -> Value {
        let count = |rule: &str| self.violations.get(rule).copied().unwrap_or(0);
        json!({
            "runs": self.runs,
            "failed_runs": self.failures,
            "edits": self.edits,
            "writes": self.writes,
            "necessary_writes": self.necessary,
            "amplification": self.amplification(),
            "worst_amplification_of_one_run": self.worst_amplification,
            "amplification_where_rules_quarrel": self.quarrels.0 as f64 / self.quarrels.1.max(1) as f64,
            "runs_writing_after_quiescence": count("late write"),
            "lost_updates": count("lost update"),
            "duplicate_creates": count("duplicate create"),
            "not_converged": count("converged"),
            "holds": self.holds(),
        })
    }

    /// The failed runs as stories.
    #[must_use]
    pub fn stories(&self) -> String {
        let tell = |run: &Run| {
            let wrong: Vec<String> = run.violations.iter().map(|violation| format!("{}: {}", violation.rule, violation.detail)).collect();
            format!("seed {} ({:?})\n  {}\n{}", run.seed, kind_of(run.seed), wrong.join("\n  "), run.story)
        };
        self.failed.iter().map(tell).collect::<Vec<_>>().join("\n")
    }
}

/// Runs all seeds of a range on so many threads; with `stop_early` it ends soon after the first failure.
#[must_use]
pub fn run_range(seeds: Range<u64>, threads: usize, protections: Protections, files: &Path, stop_early: bool) -> Figures {
    let (next, stop) = (AtomicU64::new(seeds.start), AtomicBool::new(false));
    let work = || {
        let mut figures = Figures::default();
        loop {
            let seed = next.fetch_add(1, Ordering::Relaxed);
            if seed >= seeds.end || (stop_early && stop.load(Ordering::Relaxed)) {
                return figures;
            }
            figures.add(run(seed, kind_of(seed), protections, files));
            if figures.failures > 0 {
                stop.store(true, Ordering::Relaxed);
            }
        }
    };
    let mut all = Figures::default();
    std::thread::scope(|scope| {
        let workers: Vec<_> = (0..threads.max(1)).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            match worker.join() {
                Ok(figures) => all.join(figures),
                Err(panic) => std::panic::resume_unwind(panic),
            }
        }
    });
    all
}
