//! `cargo xtask bench`: runs the benchmarks of the hub, or of one set of its rules, in release mode.

use anyhow::{Context, Result, ensure};
use clap::Args;

use crate::plugins;
use crate::shell::{cargo, heading};

/// What to measure.
#[derive(Debug, Args)]
pub(crate) struct Arguments {
    /// Only the parts whose name contains this. `continuity` is a part of its own: right or wrong, not fast or slow; so is
    /// `identity`: how well and how fast people are recognised.
    filter: Option<String>,
    /// For `continuity`: cases to run instead of those of the repository, as JSON lines (`docs/continuity-corpus.md`).
    #[arg(long)]
    corpus: Option<std::path::PathBuf>,
    /// For `identity`: options of that benchmark, as `-- --records 1000000`.
    #[arg(last = true)]
    options: Vec<String>,
}

pub(crate) fn run(arguments: &Arguments) -> Result<()> {
    if arguments.filter.as_deref() == Some("continuity") {
        return continuity(arguments.corpus.as_deref());
    }
    ensure!(arguments.corpus.is_none(), "--corpus goes with `bench continuity`");
    if arguments.filter.as_deref() == Some("identity") {
        return identity(&arguments.options);
    }
    ensure!(arguments.options.is_empty(), "options behind -- go with `bench identity`");
    heading("Plugins");
    plugins::build_all()?;
    heading("Benchmarks");
    let mut command = vec!["bench", "--package", "throughline", "--bench", "hub"];
    if let Some(filter) = &arguments.filter {
        command.extend(["--", filter.as_str()]);
    }
    cargo(&command)
}

/// Runs the corpus. It fails if anything was attached or disclosed wrongly, or too much was missed.
fn continuity(corpus: Option<&std::path::Path>) -> Result<()> {
    heading("Continuity");
    // Optimising would take longer than running.
    let mut command = vec!["bench", "--quiet", "--profile", "dev", "--package", "throughline-engine", "--bench", "continuity"];
    let file = corpus.map(|file| file.canonicalize().with_context(|| format!("cannot read {}", file.display()))).transpose()?;
    let file = file.as_ref().map(|file| file.to_string_lossy());
    if let Some(file) = &file {
        command.extend(["--", "--corpus", file.as_ref()]);
    }
    cargo(&command)
}

fn identity(options: &[String]) -> Result<()> {
    heading("Who is who");
    let mut command = vec!["bench", "--package", "throughline-domain", "--bench", "identity", "--"];
    command.extend(options.iter().map(String::as_str));
    cargo(&command)
}
