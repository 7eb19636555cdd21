//! What was measured, for people and as JSON.

use std::fmt;

use serde::Serialize;

/// Everything of one run.
#[derive(Debug, Serialize)]
pub(crate) struct Report {
    pub(crate) machine: Machine,
    pub(crate) parts: Vec<Part>,
}

/// Where it was measured.
#[derive(Debug, Serialize)]
pub(crate) struct Machine {
    cores: usize,
    /// How busy it was before anything was measured, over one minute.
    load_at_start: f64,
    rustc: String,
}

/// Figures that belong together.
#[derive(Debug, Serialize)]
pub(crate) struct Part {
    name: &'static str,
    figures: Vec<Figure>,
    targets: Vec<Target>,
}

#[derive(Debug, Serialize)]
struct Figure {
    name: String,
    value: f64,
    unit: &'static str,
}

/// What a figure is to reach.
#[derive(Debug, Serialize)]
struct Target {
    name: &'static str,
    wanted: f64,
    measured: f64,
    unit: &'static str,
    /// Whether more is better.
    at_least: bool,
    reached: bool,
}

impl Report {
    pub(crate) fn new() -> Self {
        Self { machine: Machine::of_this_run(), parts: Vec::new() }
    }

    /// All targets, one a line.
    pub(crate) fn targets(&self) -> String {
        let mut text = "targets\n".to_owned();
        for target in self.parts.iter().flat_map(|part| &part.targets) {
            text.push_str(&format!("{target}\n"));
        }
        text
    }
}

impl Machine {
    fn of_this_run() -> Self {
        let load = std::fs::read_to_string("/proc/loadavg").ok();
        let load_at_start = load.and_then(|text| text.split(' ').next()?.parse().ok()).unwrap_or(f64::NAN);
        let rustc = std::process::Command::new("rustc").arg("--version").output();
        let rustc = rustc.map_or_else(|_| "unknown".to_owned(), |output| String::from_utf8_lossy(&output.stdout).trim().to_owned());
        Self { cores: std::thread::available_parallelism().map_or(0, usize::from), load_at_start, rustc }
    }
}

impl Part {
    pub(crate) fn new(name: &'static str) -> Self {
        Self { name, figures: Vec::new(), targets: Vec::new() }
    }

    pub(crate) fn figure(&mut self, name: impl Into<String>, value: f64, unit: &'static str) {
        self.figures.push(Figure { name: name.into(), value, unit });
    }

    /// A figure that is to be at least so much.
    pub(crate) fn at_least(&mut self, name: &'static str, measured: f64, wanted: f64, unit: &'static str) {
        self.targets.push(Target { name, wanted, measured, unit, at_least: true, reached: measured >= wanted });
    }

    /// A figure that is to be at most so much.
    pub(crate) fn at_most(&mut self, name: &'static str, measured: f64, wanted: f64, unit: &'static str) {
        self.targets.push(Target { name, wanted, measured, unit, at_least: false, reached: measured <= wanted });
    }
}

impl fmt::Display for Machine {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{} cores, load {:.2} before the start, {}", self.cores, self.load_at_start, self.rustc)
    }
}

impl fmt::Display for Part {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}", self.name)?;
        for Figure { name, value, unit } in &self.figures {
            writeln!(f, "  {name:<76} {:>10} {unit}", shown(*value))?;
        }
        for target in &self.targets {
            writeln!(f, "{target}")?;
        }
        Ok(())
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { name, wanted, measured, unit, at_least, reached } = self;
        let (verdict, bound) = (if *reached { "reached    " } else { "NOT REACHED" }, if *at_least { "at least" } else { "at most" });
        write!(f, "  {verdict} {name:<52} {:>10} {unit}, to be {bound} {}", shown(*measured), shown(*wanted))
    }
}

/// Three digits that count.
fn shown(value: f64) -> String {
    match value.abs() {
        100.0.. => format!("{value:.0}"),
        10.0.. => format!("{value:.1}"),
        1.0.. => format!("{value:.2}"),
        _ => format!("{value:.3}"),
    }
}
