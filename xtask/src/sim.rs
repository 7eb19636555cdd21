//! `cargo xtask sim`: the real engine in virtual time against silos that fail in every way.

use anyhow::Result;

use crate::shell::{cargo, heading};

/// Which seeds to run.
#[derive(Debug, clap::Args)]
pub(crate) struct Arguments {
    /// The seeds, as `FROM..TO`; the last one is not run.
    #[arg(long, default_value = "0..100000", value_name = "FROM..TO")]
    seeds: String,
    /// Switch a protective rule off, to see what it is for: `shadows`, `read_back_hints`, `read_back_outcomes`, `intents`,
    /// `creates_looked_for`, `conditions`, `clamped_clocks`, `freezes`, `quarantine`.
    #[arg(long, value_name = "RULE")]
    without: Option<String>,
}

/// Runs them on all cores, optimised. Failed seeds are told as stories, figures are JSON at the end.
pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    heading(&format!("Simulation: seeds {}", arguments.seeds));
    let mut command = vec!["run", "--release", "--quiet", "--package", "throughline-simulation", "--", &arguments.seeds];
    command.extend(arguments.without.as_deref());
    cargo(&command)
}
