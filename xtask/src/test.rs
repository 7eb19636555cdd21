//! `cargo xtask test`: sets up and runs everything.

use anyhow::Result;

use crate::shell::{cargo, heading};
use crate::{plugins, setup};

/// Format, plugins, lints, then every test with the real systems.
pub(crate) fn run() -> Result<()> {
    setup::systems_of_tests()?;
    heading("Format");
    cargo(&["fmt", "--all", "--check"])?;
    heading("Plugins");
    plugins::build_all()?;
    heading("Lints");
    cargo(&["clippy", "--workspace", "--all-targets", "--quiet", "--", "-D", "warnings"])?;
    heading("Tests: unit, property, store, plugins, tidy, end to end");
    cargo(&["test", "--workspace", "--no-fail-fast"])
}
