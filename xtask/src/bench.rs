//! `cargo xtask bench`: runs the benchmarks of the hub in release mode.

use anyhow::Result;
use clap::Args;

use crate::plugins;
use crate::shell::{cargo, heading};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only the parts whose name contains this.
    filter: Option<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    heading("Plugins");
    plugins::build_all()?;
    heading("Benchmarks");
    let mut command = vec!["bench", "--package", "throughline", "--bench", "hub"];
    if let Some(filter) = &arguments.filter {
        command.extend(["--", filter.as_str()]);
    }
    cargo(&command)
}
