//! What the kit found.

use std::fmt;

use serde::Serialize;

/// How a check came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case", tag = "outcome", content = "reason")]
pub enum Outcome {
    /// As it must be.
    Passed,
    /// Not as it must be.
    Failed(String),
    /// Left out, for the reason the kit gives.
    Skipped(String),
    /// The plugin does not do what is checked.
    NotApplicable(String),
}

/// One check and how it came out.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Line {
    /// The check's name: `group/what`.
    pub check: String,
    /// How it came out.
    #[serde(flatten)]
    pub outcome: Outcome,
}

/// All of a run.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct Report {
    /// The plugin's name.
    pub plugin: String,
    /// Its version.
    pub version: String,
    /// The checks in the order they were run.
    pub checks: Vec<Line>,
    /// The most memory an instance had, in bytes.
    pub peak_memory_bytes: u64,
    /// CPU time of all calls, in milliseconds.
    pub cpu_ms: u64,
    /// Calls into the plugin.
    pub calls: u64,
}

impl Report {
    /// Whether nothing failed.
    #[must_use]
    pub fn is_good(&self) -> bool {
        self.failures().next().is_none()
    }

    /// The checks that failed.
    pub fn failures(&self) -> impl Iterator<Item = &Line> {
        self.checks.iter().filter(|line| matches!(line.outcome, Outcome::Failed(_)))
    }

    /// The last two lines: how many came out how, and what was used up.
    #[must_use]
    pub fn summary(&self) -> String {
        let mebibytes = self.peak_memory_bytes as f64 / f64::from(1 << 20);
        format!(
            "{} {}: {} passed, {} failed, {} skipped, {} not applicable\npeak memory {mebibytes:.1} MiB, CPU {} ms, {} calls",
            self.plugin,
            self.version,
            self.count(|outcome| *outcome == Outcome::Passed),
            self.failures().count(),
            self.count(|outcome| matches!(outcome, Outcome::Skipped(_))),
            self.count(|outcome| matches!(outcome, Outcome::NotApplicable(_))),
            self.cpu_ms,
            self.calls,
        )
    }

    fn count(&self, is: impl Fn(&Outcome) -> bool) -> usize {
        self.checks.iter().filter(|line| is(&line.outcome)).count()
    }
}

impl fmt::Display for Line {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.outcome {
            Outcome::Passed => write!(f, "✓ {}", self.check),
            Outcome::Failed(reason) => write!(f, "✗ {}: {reason}", self.check),
            Outcome::Skipped(reason) => write!(f, "– {}: skipped: {reason}", self.check),
            Outcome::NotApplicable(reason) => write!(f, "– {}: not applicable: {reason}", self.check),
        }
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.checks.iter().try_for_each(|line| writeln!(f, "{line}"))?;
        f.write_str(&self.summary())
    }
}
