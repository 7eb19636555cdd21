//! Running other programs, in the open: every command is shown before it runs.

use std::path::{Path, PathBuf};
use std::process::Command;

use anyhow::{Context, Result, ensure};

/// The workspace's root.
pub(crate) fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).parent().expect("xtask lies in the workspace").to_owned()
}

/// Says what comes next.
pub(crate) fn heading(text: &str) {
    println!("\n== {text}");
}

/// Runs a command in the workspace's root; its failure is ours.
pub(crate) fn run(program: &str, arguments: &[&str]) -> Result<()> {
    println!("   $ {program} {}", arguments.join(" "));
    let status = Command::new(program).args(arguments).current_dir(root()).status().with_context(|| format!("cannot run {program}"))?;
    ensure!(status.success(), "`{program} {}` failed ({status})", arguments.join(" "));
    Ok(())
}

/// The cargo that runs us.
pub(crate) fn cargo(arguments: &[&str]) -> Result<()> {
    let cargo = std::env::var("CARGO").unwrap_or_else(|_| "cargo".to_owned());
    run(&cargo, arguments)
}
